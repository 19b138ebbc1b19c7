# shellcheck shell=bash
# One CA for everything of an instance, fresh with every `up`; EC keys, because RSA keys take seconds.

# certificate NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
certificate() {
  local d=$STATE/pki
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$d/$1.key" -out "$d/$1.csr" 2>/dev/null
  openssl x509 -req -in "$d/$1.csr" -CA "$d/ca.crt" -CAkey "$d/ca.key" -set_serial "0x$(openssl rand -hex 8)" -days 30 -out "$d/$1.crt" -extfile <(
    echo keyUsage=critical,digitalSignature
    echo extendedKeyUsage=serverAuth,clientAuth
    [ -z "${3:-}" ] || echo "subjectAltName=$3"
  ) 2>/dev/null
}

# Client certificate NAME as a kubeconfig that holds all it needs, at PATH.
kubeconfig() {
  local d=$STATE/pki
  cat >"$2" <<Y
apiVersion: v1
kind: Config
current-context: trimtab-$NAME
clusters: [{name: c, cluster: {server: "$API_URL", certificate-authority-data: $(base64 -w0 "$d/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$d/$1.crt"), client-key-data: $(base64 -w0 "$d/$1.key")}}]
contexts: [{name: trimtab-$NAME, context: {cluster: c, user: $1}}]
Y
}

make_certificates() {
  local d=$STATE/pki i names=''
  mkdir -p "$d"
  chmod 700 "$d"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=trimtab-testbed -keyout "$d/ca.key" -out "$d/ca.crt" \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out "$d/sa.key"
  openssl ec -in "$d/sa.key" -pubout -out "$d/sa.pub" 2>/dev/null
  # the aggregation layer calls a server by its Service's name, whatever address it has
  for i in metrics-server.kube-system prometheus-adapter.monitoring keda-metrics-apiserver.keda keda-operator.keda; do names+=",DNS:$i.svc"; done
  certificate apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$CONTROL_IP,IP:$SERVICE_API,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc" &
  certificate peers /CN=peers "IP:127.0.0.1,DNS:localhost$names" &
  certificate front-proxy /CN=front-proxy-client &
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client &
  certificate admin /O=system:masters/CN=admin &
  certificate kube-controller-manager /CN=system:kube-controller-manager &
  certificate kube-scheduler /CN=system:kube-scheduler &
  certificate kube-proxy /CN=system:kube-proxy &
  for ((i = 1; i <= NODES; i++)); do
    certificate "n$i" "/O=system:nodes/CN=system:node:n$i" "IP:$(node_ip "n$i"),DNS:n$i" &
  done
  wait
  for i in kube-controller-manager kube-scheduler kube-proxy $(node_names); do kubeconfig "$i" "$d/$i.conf"; done
  kubeconfig admin "$STATE/kubeconfig"
}

node_names() {
  local i
  for ((i = 1; i <= NODES; i++)); do echo "n$i"; done
}
