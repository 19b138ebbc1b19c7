# shellcheck shell=bash
# A node: containerd, kubelet and kube-proxy in pid, mount, uts, ipc and network namespaces of their own. One SIGKILL of the
# node's `unshare --kill-child` takes all of it away, pods and mounts too.

cni_directory() {
  local d
  for d in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    [ -x "$d/bridge" ] && [ -x "$d/host-local" ] && echo "$d" && return 0
  done
  return 1
}

# Says all at once what real nodes need and this machine lacks.
require_node_tools() {
  local t
  local -a missing=()
  [ "$(id -u)" = 0 ] || missing+=("root (namespaces, cgroups and mounts are made; as another user: testbed up --nodes 0 --with kwok)")
  for t in runc ip iptables nsenter unshare; do have "$t" || missing+=("$t"); done
  cni_directory >/dev/null || missing+=("the CNI plugins bridge and host-local in /usr/lib/cni")
  case $CACHE/ in /run/* | /var/lib/* | /var/log/*) missing+=("TRIMTAB_TESTBED_CACHE outside /run, /var/lib and /var/log: a node hides those (it is $CACHE)") ;; esac
  [ ${#missing[@]} -gt 0 ] || return 0
  printf 'testbed: nodes need: %s\n' "${missing[@]}" >&2
  fail "on Debian: apt-get install $(tr '\n' ' ' <"$HERE/packages")"
}

start_nodes() {
  local n
  for n in $(node_names); do prepare_node "$n"; done
  for n in $(node_names); do wait_for 20 "the namespaces of $n" "node-$n" test -e "$STATE/$n/entered"; done
  for n in $(node_names); do
    connect_node "$n"
    launch "containerd-$n" "PATH=$(dirname "$(binary containerd)"):$PATH" "$(binary containerd)" --config "$STATE/$n/containerd.toml"
  done
  # a client in the control network reaches ClusterIPs through the first node's kube-proxy
  in_control_network ip route replace "$SERVICE_NET" via "$(node_ip n1)"
  for n in $(node_names); do
    wait_for 30 "containerd of $n" "containerd-$n" node_ctr "$n" version
    node_ctr "$n" images import "$(pause_image)" >>"$STATE/log/containerd-$n.log" 2>&1
    launch "kubelet-$n" "$(binary kubelet)" --config "$STATE/$n/kubelet.yaml" --kubeconfig "$STATE/pki/$n.conf" --hostname-override "$n" \
      --node-ip "$(node_ip "$n")" --root-dir "$STATE/$n/kubelet" --cert-dir "$STATE/$n/kubelet-pki" --v=2
    launch "kube-proxy-$n" "$(binary kube-proxy)" --config "$STATE/$n/kube-proxy.yaml"
  done
}

node_ctr() {
  local n=$1
  shift
  in_node "$n" "$(binary ctr)" --address /run/containerd/containerd.sock --namespace k8s.io "$@"
}

prepare_node() {
  local n=$1 d=$STATE/$1
  mkdir -p "$d/cni"
  make_node_cgroup "$n"
  write_cni "$n"
  write_containerd "$n"
  write_kubelet "$n"
  write_kube_proxy "$n"
  launch "node-$n" unshare --net --mount --pid --uts --ipc --fork --kill-child --mount-proc --propagation private bash "$HERE/lib/node-init" "$n" "$d"
}

# Wires a node to the bridge, and its pods' range to it.
connect_node() {
  local n=$1 ip
  ip=$(node_ip "$n")
  in_control_network ip link add "v-$n" type veth peer name eth0 netns "$(pid_of "node-$n")"
  in_control_network ip link set "v-$n" master nodes up
  in_node "$n" sh -c "ip link set lo up && ip addr add $ip/24 dev eth0 && ip link set eth0 up && ip route add default via $CONTROL_IP && echo 1 >/proc/sys/net/ipv4/ip_forward"
  in_control_network ip route add "$POD_NET.${n#n}.0/24" via "$ip"
}

# The cgroups of an instance are below its own name in every hierarchy; the kubelet wants its root to be there before it starts.
# Against other work they weigh as the many processes that are in them: left alone all pods would weigh as one.
readonly CGROUPS=/sys/fs/cgroup
is_cgroup2() { [ -e "$CGROUPS/cgroup.controllers" ]; }

make_node_cgroup() {
  local h top=trimtab-$NAME f g c
  if is_cgroup2; then
    for g in "$CGROUPS" "$CGROUPS/$top"; do
      mkdir -p "$g"
      for c in cpu cpuset memory pids io; do
        if grep -qw "$c" "$g/cgroup.controllers"; then echo "+$c" >"$g/cgroup.subtree_control"; fi
      done
    done
    mkdir -p "$CGROUPS/$top/$1"
    [ ! -w "$CGROUPS/$top/cpu.weight" ] || echo 1600 >"$CGROUPS/$top/cpu.weight"
    return 0
  fi
  for h in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
    [ -d "$CGROUPS/$h" ] || continue
    mkdir -p "$CGROUPS/$h/$top/$1"
    [ ! -w "$CGROUPS/$h/$top/cpu.shares" ] || echo 16384 >"$CGROUPS/$h/$top/cpu.shares"
    if [ "$h" = cpuset ]; then # a new cpuset is empty, and nothing can run in it
      for g in "$top" "$top/$1"; do
        for f in cpuset.cpus cpuset.mems; do cat "$CGROUPS/cpuset/$f" >"$CGROUPS/cpuset/$g/$f"; done
      done
    fi
  done
}

# Removes them from the leaves up; the kernel needs a moment after the last process.
remove_cgroups() {
  local top deadline=$((SECONDS + 30))
  for top in "$CGROUPS/trimtab-$NAME" "$CGROUPS"/*/"trimtab-$NAME"; do
    while [ -d "$top" ] && ! find "$top" -depth -type d -exec rmdir {} + 2>/dev/null; do
      [ $SECONDS -lt $deadline ] || fail "cgroup $top cannot be removed; processes in it: $(find "$top" -name cgroup.procs -exec cat {} + | tr '\n' ' ')"
      sleep 0.05
    done
  done
}

write_cni() {
  cat >"$STATE/$1/cni/10-bridge.conflist" <<Y
{"cniVersion": "0.4.0", "name": "trimtab", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$STATE/$1/cni-addresses", "ranges": [[{"subnet": "$POD_NET.${1#n}.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
Y
}

# restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE (a container, some VMs) refuses lower scores
write_containerd() {
  cat >"$STATE/$1/containerd.toml" <<Y
version = 3
root = "$STATE/$1/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "$PAUSE_IMAGE"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["$(cni_directory)"]
  conf_dir = "$STATE/$1/cni"
Y
}

# No eviction and no image collection: they look at the whole machine's disk and memory, which are not the node's.
# failCgroupV1 is on by default in 1.36. Nothing answers at clusterDNS; naming it avoids an event for every pod.
write_kubelet() {
  cat >"$STATE/$1/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(node_ip "$1")
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/$1.crt
tlsPrivateKeyFile: $STATE/pki/$1.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /trimtab-$NAME/$1
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: [pods]
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
podLogsDir: $STATE/$1/pods
volumePluginDir: $STATE/$1/volume-plugins
clusterDomain: cluster.local
clusterDNS: ["10.91.0.10"]
maxPods: 110
serializeImagePulls: false
Y
}

# conntrack limits are the whole machine's, not ours: zero means leave them alone
write_kube_proxy() {
  cat >"$STATE/$1/kube-proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: $1
clientConnection: {kubeconfig: $STATE/pki/kube-proxy.conf}
clusterCIDR: $POD_NET.0.0/16
bindAddress: 0.0.0.0
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {localhostNodePorts: false}
Y
}

load_images() {
  local tar n
  [ $# -gt 0 ] || fail "load-image: expected image archives"
  for tar in "$@"; do [ -r "$tar" ] || fail "load-image: cannot read $tar"; done
  require_running
  [ "$NODES" -gt 0 ] || fail "instance $NAME has no nodes to load images into"
  for n in $(node_names); do
    for tar in "$@"; do node_ctr "$n" images import - <"$tar" >"$STATE/log/load-image-$n.log" 2>&1 || exit 1; done &
  done
  local failed=0 job
  for job in $(jobs -p); do wait "$job" || failed=1; done
  [ $failed = 0 ] || fail "load-image: an import failed: $(tail -qn 1 "$STATE"/log/load-image-*.log)"
}
