# shellcheck shell=bash
# What users of a cluster run beside trimtab: the other autoscalers and their metrics servers, and kwok's simulated nodes.
# They run as processes in the control network, not as pods, so that they also run without nodes. The API server's aggregator
# reaches them through Services of type ExternalName `localhost` (EndpointSlices with 127.0.0.1 are refused).

readonly PEERS=(metrics-server prometheus-adapter keda vpa karpenter kwok)

# The order matters: kwok's nodes are there before anybody asks about nodes.
start_peers() {
  local peer
  for peer in kwok metrics-server prometheus-adapter keda vpa karpenter; do
    [[ ",$WITH," != *",$peer,"* ]] || "start_${peer//-/_}"
  done
}

apply() { kubectl apply --server-side --force-conflicts -f - >>"$STATE/log/peers.log"; }

# CRDs of a component, and wait until they serve. `kubectl wait` alone fails on a CRD that has no status yet.
apply_manifests() {
  local file
  file=$(component_dir "$1")/manifests.yaml
  apply <"$file"
  wait_for 60 "the CRDs of $1" '' kubectl wait --for=condition=Established --timeout=1s -f "$file"
}

# aggregated GROUP VERSION NAMESPACE SERVICE PORT: a Service and an APIService for a server on localhost.
aggregated() {
  cat <<Y
---
apiVersion: v1
kind: Namespace
metadata: {name: $3}
---
apiVersion: v1
kind: Service
metadata: {name: $4, namespace: $3}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: $2.$1}
spec:
  group: $1
  version: $2
  groupPriorityMinimum: 100
  versionPriority: 100
  service: {name: $4, namespace: $3, port: $5}
  caBundle: $(base64 -w0 "$STATE/pki/ca.crt")
Y
}

wait_for_api() { wait_for 120 "$1" "$2" kubectl get --raw "/apis/$1"; }

start_kwok() {
  local i taint=''
  # beside real nodes, only what tolerates it may land on simulated ones
  [ "$NODES" = 0 ] || taint='taints: [{key: kwok.x-k8s.io/node, value: fake, effect: NoSchedule}]'
  launch kwok "$(binary kwok)" --config "$(component_dir kwok)/manifests.yaml" --config "$HERE/conf/kwok.yaml" --kubeconfig "$STATE/kubeconfig" \
    --manage-nodes-with-annotation-selector kwok.x-k8s.io/node=fake --node-ip 127.0.0.1 --node-port "${PORT[kwok]}" --server-address "127.0.0.1:${PORT[kwok]}" \
    --tls-cert-file "$STATE/pki/peers.crt" --tls-private-key-file "$STATE/pki/peers.key" --cidr 10.0.0.0/16 --node-lease-duration-seconds 40
  for ((i = 1; i <= KWOK_NODES; i++)); do
    cat <<Y
---
apiVersion: v1
kind: Node
metadata:
  name: kwok-$i
  annotations:
    node.alpha.kubernetes.io/ttl: "0"
    kwok.x-k8s.io/node: fake
    metrics.k8s.io/resource-metrics-path: /metrics/nodes/kwok-$i/metrics/resource
  labels: {type: kwok, kubernetes.io/arch: amd64, kubernetes.io/os: linux, kubernetes.io/hostname: kwok-$i, topology.kubernetes.io/zone: zone-a, node.kubernetes.io/instance-type: m.large}
spec: {$taint}
status:
  allocatable: {cpu: "64", memory: 256Gi, pods: "1000"}
  capacity: {cpu: "64", memory: 256Gi, pods: "1000"}
Y
  done | apply
  [ "$KWOK_NODES" = 0 ] || wait_for 60 "the simulated nodes" kwok kubectl wait --for=condition=Ready node -l type=kwok --timeout=1s
}

# The resolution must exceed the kubelets' time-out.
start_metrics_server() {
  launch metrics-server "$(binary metrics-server)" --kubeconfig "$STATE/kubeconfig" --authentication-kubeconfig "$STATE/kubeconfig" \
    --authorization-kubeconfig "$STATE/kubeconfig" --bind-address 127.0.0.1 --secure-port "${PORT[metrics_server]}" \
    --tls-cert-file "$STATE/pki/peers.crt" --tls-private-key-file "$STATE/pki/peers.key" --kubelet-use-node-status-port \
    --kubelet-preferred-address-types InternalIP --kubelet-certificate-authority "$STATE/pki/ca.crt" --metric-resolution 10s --kubelet-request-timeout 5s
  aggregated metrics.k8s.io v1beta1 kube-system metrics-server "${PORT[metrics_server]}" | apply
  wait_for_api metrics.k8s.io/v1beta1 metrics-server
}

start_prometheus_adapter() {
  launch prometheus-adapter "$(binary prometheus-adapter)" --lister-kubeconfig "$STATE/kubeconfig" --authentication-kubeconfig "$STATE/kubeconfig" \
    --authorization-kubeconfig "$STATE/kubeconfig" --bind-address 127.0.0.1 --secure-port "${PORT[prometheus_adapter]}" \
    --tls-cert-file "$STATE/pki/peers.crt" --tls-private-key-file "$STATE/pki/peers.key" --prometheus-url "http://127.0.0.1:${PORT[prometheus]}/" \
    --config "$HERE/conf/prometheus-adapter.yaml" --metrics-relist-interval 5s
  {
    aggregated external.metrics.k8s.io v1beta1 monitoring prometheus-adapter "${PORT[prometheus_adapter]}"
    aggregated custom.metrics.k8s.io v1beta2 monitoring prometheus-adapter "${PORT[prometheus_adapter]}"
    aggregated custom.metrics.k8s.io v1beta1 monitoring prometheus-adapter "${PORT[prometheus_adapter]}"
  } | apply
  wait_for_api external.metrics.k8s.io/v1beta1 prometheus-adapter
}

start_keda() {
  local d=$STATE/keda
  mkdir -p "$d"
  cp "$STATE/pki/ca.crt" "$d/ca.crt"
  cp "$STATE/pki/peers.crt" "$d/tls.crt"
  cp "$STATE/pki/peers.key" "$d/tls.key"
  apply_manifests keda
  aggregated external.metrics.k8s.io v1beta1 keda keda-metrics-apiserver "${PORT[keda_adapter]}" | apply
  launch keda-operator "KUBECONFIG=$STATE/kubeconfig" WATCH_NAMESPACE= POD_NAMESPACE=keda KEDA_CLUSTER_OBJECT_NAMESPACE=keda "$(binary keda-operator)" \
    --metrics-bind-address "127.0.0.1:${PORT[keda_metrics]}" --health-probe-bind-address "127.0.0.1:${PORT[keda_health]}" \
    --metrics-service-bind-address "127.0.0.1:${PORT[keda_grpc]}" --cert-dir "$d" --enable-cert-rotation=false --zap-log-level=info
  launch keda-adapter "KUBECONFIG=$STATE/kubeconfig" WATCH_NAMESPACE= POD_NAMESPACE=keda "$(binary keda-adapter)" --lister-kubeconfig "$STATE/kubeconfig" \
    --authentication-kubeconfig "$STATE/kubeconfig" --authorization-kubeconfig "$STATE/kubeconfig" --bind-address 127.0.0.1 --secure-port "${PORT[keda_adapter]}" \
    --cert-dir "$d" --tls-cert-file "$d/tls.crt" --tls-private-key-file "$d/tls.key" --metrics-service-address "127.0.0.1:${PORT[keda_grpc]}" \
    --port "${PORT[keda_adapter_metrics]}"
  wait_for_api external.metrics.k8s.io/v1beta1 keda-adapter
}

start_vpa() {
  apply_manifests vpa
  launch vpa-recommender "$(binary vpa-recommender)" --kubeconfig "$STATE/kubeconfig" --address "127.0.0.1:${PORT[vpa_recommender]}" --recommender-interval 10s
  launch vpa-admission POD_NAMESPACE=kube-system NAMESPACE=kube-system "$(binary vpa-admission)" --kubeconfig "$STATE/kubeconfig" \
    --address "127.0.0.1:${PORT[vpa_admission]}" --port "${PORT[vpa_webhook]}" --client-ca-file "$STATE/pki/ca.crt" --tls-cert-file "$STATE/pki/peers.crt" \
    --tls-private-key "$STATE/pki/peers.key" --register-by-url --webhook-address https://127.0.0.1 --webhook-port "${PORT[vpa_webhook]}"
  launch vpa-updater POD_NAMESPACE=kube-system NAMESPACE=kube-system "$(binary vpa-updater)" --kubeconfig "$STATE/kubeconfig" \
    --address "127.0.0.1:${PORT[vpa_updater]}" --updater-interval 15s --min-replicas 1
  wait_for 60 "VPA's webhook" vpa-admission kubectl get mutatingwebhookconfiguration vpa-webhook-config
}

# Its kwok provider makes Node objects, which kwok then keeps Ready.
start_karpenter() {
  apply_manifests karpenter
  launch karpenter-kwok "KUBECONFIG=$STATE/kubeconfig" DISABLE_LEADER_ELECTION=true "METRICS_PORT=${PORT[karpenter_metrics]}" \
    "HEALTH_PROBE_PORT=${PORT[karpenter_health]}" SYSTEM_NAMESPACE=kube-system BATCH_IDLE_DURATION=1s BATCH_MAX_DURATION=2s "$(binary karpenter-kwok)"
  apply <"$HERE/conf/karpenter.yaml"
}
