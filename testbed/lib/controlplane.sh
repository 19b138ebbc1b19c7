# shellcheck shell=bash
# etcd, API server, controller-manager, scheduler, Prometheus: the same on loopback and in a control namespace, but for
# addresses. Flags that differ from a production cluster's say why.

start_control_plane() {
  local d=$STATE/pki
  local -a where
  # etcd's data is thrown away with the instance: no fsync
  launch etcd "$(binary etcd)" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://127.0.0.1:${PORT[etcd]}" --advertise-client-urls "http://127.0.0.1:${PORT[etcd]}" \
    --listen-peer-urls "http://127.0.0.1:${PORT[etcd_peer]}" --initial-advertise-peer-urls "http://127.0.0.1:${PORT[etcd_peer]}" \
    --initial-cluster "default=http://127.0.0.1:${PORT[etcd_peer]}"
  # without a reconciler of its own endpoints the API server consents to live on loopback alone
  if [ "$MODE" = loopback ]; then where=(--bind-address 127.0.0.1 --endpoint-reconciler-type none); else where=(--bind-address 0.0.0.0 --advertise-address "$CONTROL_IP"); fi
  # the shutdown grace period for watches: without one they are not ended, and hold up a stop for the whole request time-out of 60 s
  launch kube-apiserver "$(binary kube-apiserver)" "${where[@]}" --secure-port "${PORT[api]}" --etcd-servers "http://127.0.0.1:${PORT[etcd]}" \
    --service-cluster-ip-range "$SERVICE_NET" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --client-ca-file "$d/ca.crt" --tls-cert-file "$d/apiserver.crt" --tls-private-key-file "$d/apiserver.key" \
    --kubelet-certificate-authority "$d/ca.crt" --kubelet-client-certificate "$d/kubelet-client.crt" --kubelet-client-key "$d/kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP \
    --service-account-key-file "$d/sa.pub" --service-account-signing-key-file "$d/sa.key" --service-account-issuer https://kubernetes.default.svc \
    --requestheader-client-ca-file "$d/ca.crt" --requestheader-allowed-names front-proxy-client --requestheader-username-headers X-Remote-User \
    --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$d/front-proxy.crt" --proxy-client-key-file "$d/front-proxy.key" \
    --shutdown-watch-termination-grace-period 3s \
    --audit-policy-file "$HERE/conf/audit-policy.yaml" --audit-log-path "$STATE/log/audit.jsonl" --audit-log-maxsize 4096
  wait_for 120 "the API server" kube-apiserver api_is_ready
  launch kube-controller-manager "$(binary kube-controller-manager)" --bind-address 127.0.0.1 --secure-port "${PORT[controller_manager]}" \
    --kubeconfig "$d/kube-controller-manager.conf" --authentication-kubeconfig "$d/kube-controller-manager.conf" \
    --authorization-kubeconfig "$d/kube-controller-manager.conf" --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file "$d/sa.key" --root-ca-file "$d/ca.crt" --cluster-signing-cert-file "$d/ca.crt" --cluster-signing-key-file "$d/ca.key" \
    --allocate-node-cidrs=false
  launch kube-scheduler "$(binary kube-scheduler)" --bind-address 127.0.0.1 --secure-port "${PORT[scheduler]}" --leader-elect=false \
    --kubeconfig "$d/kube-scheduler.conf" --authentication-kubeconfig "$d/kube-scheduler.conf" --authorization-kubeconfig "$d/kube-scheduler.conf"
}

api_is_ready() {
  [ "$(in_control_network curl --noproxy "*" -s --max-time 2 --cacert "$STATE/pki/ca.crt" --cert "$STATE/pki/admin.crt" --key "$STATE/pki/admin.key" "$API_URL/readyz")" = ok ]
}

kubectl() { in_control_network "$(binary kubectl)" --kubeconfig "$STATE/kubeconfig" --cache-dir "$STATE/kubectl-cache" "$@"; }

start_prometheus() {
  local listen=127.0.0.1
  [ "$MODE" = loopback ] || listen=0.0.0.0 # pods ask it too
  mkdir -p "$STATE/prometheus-targets"
  sed -e "s|@STATE@|$STATE|g" -e "s|@PROMETHEUS@|127.0.0.1:${PORT[prometheus]}|g" "$HERE/conf/prometheus.yaml" >"$STATE/prometheus.yaml"
  launch prometheus "$(binary prometheus)" --config.file "$STATE/prometheus.yaml" --storage.tsdb.path "$STATE/prometheus" \
    --web.listen-address "$listen:${PORT[prometheus]}" --log.level warn
}

prometheus_is_ready() { in_control_network curl --noproxy "*" -sf --max-time 2 -o /dev/null "http://127.0.0.1:${PORT[prometheus]}/-/ready"; }
