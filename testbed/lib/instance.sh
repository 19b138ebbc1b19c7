# shellcheck shell=bash
# An instance: its state directory, its life, its addresses. `state/<name>` exists from the first moment of `up` to the last of
# `down`; the file `complete` in it appears when everything is up. What lacks it was interrupted and is removed by the next `up`.

# use_instance NAME: sets NAME, STATE, and what the instance was started with, if it was.
use_instance() {
  NAME=$1
  [[ $NAME =~ ^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$ ]] || fail "instance name \"$NAME\": expected 1 to 20 of a-z, 0-9 and -, no - at an end"
  STATE=$CACHE/state/$NAME
  MODE='' NODES=0 WITH='' KWOK_NODES=0 BASE=0
  # shellcheck source=/dev/null
  ! [ -f "$STATE/instance" ] || . "$STATE/instance"
  set_addresses
}

# Ports of an instance: a block from BASE. In a namespace of its own the API server and Prometheus have their usual ones.
readonly PORT_NAMES=(api etcd etcd_peer controller_manager scheduler prometheus metrics_server prometheus_adapter kwok
  keda_grpc keda_adapter keda_adapter_metrics keda_metrics keda_health vpa_recommender vpa_updater vpa_admission vpa_webhook karpenter_metrics karpenter_health)
readonly PORT_BLOCK=32
declare -A PORT
set_addresses() {
  local i
  for i in "${!PORT_NAMES[@]}"; do PORT[${PORT_NAMES[i]}]=$((BASE + i)); done
  API_HOST=127.0.0.1
  if [ "$MODE" = namespaces ]; then
    PORT[api]=6443 PORT[prometheus]=9090
    API_HOST=$CONTROL_IP
  fi
  API_URL=https://$API_HOST:${PORT[api]}
}

# One command at a time changes an instance. The lock is released by the kernel when its last holder ends.
lock_instance() {
  exec 9>"$CACHE/lock/instance-$NAME"
  if ! flock -n 9; then
    say "waiting for another testbed command on $NAME"
    flock -w 600 9 || fail "another testbed command has held $NAME for 10 minutes; see: ls -l /proc/*/fd | grep instance-$NAME"
  fi
  use_instance "$NAME"
}

instance_up() {
  local nodes=$1 with kwok_nodes=$3 peer
  local -a peers=() components=(kubernetes etcd prometheus)
  IFS=, read -ra peers <<<"$2"
  for peer in "${peers[@]}"; do
    [[ " ${PEERS[*]} " == *" $peer "* ]] || fail "--with \"$peer\": there are ${PEERS[*]}"
    components+=("$peer")
  done
  if [[ " ${peers[*]} " == *" keda "* && " ${peers[*]} " == *" prometheus-adapter "* ]]; then
    fail "--with keda,prometheus-adapter: both serve external.metrics.k8s.io and a cluster has one such server: choose one"
  fi
  if [[ " ${peers[*]} " == *" karpenter "* && " ${peers[*]} " != *" kwok "* ]]; then
    fail "--with karpenter: its simulated nodes need kwok to keep them Ready: --with karpenter,kwok"
  fi
  with=$(printf '%s\n' "${peers[@]}" | sort -u | paste -sd,)
  require_tools
  [ "$nodes" = 0 ] || { require_node_tools; components+=(containerd); }
  build_components "${components[@]}"
  [ "$nodes" = 0 ] || pause_image >/dev/null
  lock_instance
  if [ -e "$STATE/complete" ]; then
    [ "$NODES $WITH $KWOK_NODES" = "$nodes $with $kwok_nodes" ] ||
      fail "instance $NAME is up with --nodes $NODES --with \"$WITH\" --kwok-nodes $KWOK_NODES, and that cannot be changed: testbed down --name $NAME first, or choose another --name"
    # a subshell: what fails there is no reason to give up
    if (put_right); then return 0; fi
    say "making instance $NAME anew"
  fi
  remove_instance
  create_instance "$nodes" "$with" "$kwok_nodes"
}

require_tools() {
  local t
  local -a missing=()
  for t in openssl curl jq flock; do have "$t" || missing+=("$t"); done
  [ ${#missing[@]} -eq 0 ] || fail "needed and not installed: ${missing[*]}; on Debian: apt-get install $(tr '\n' ' ' <"$HERE/packages")"
}

# Starts what has ended in a complete instance. False when it must be made anew, say after a reboot of the machine.
put_right() {
  local c
  for c in network $(node_names | sed 's/^/node-/'); do
    if [ -f "$STATE/command/$c" ] && ! pid_of "$c" >/dev/null; then
      say "instance $NAME has lost its $c"
      return 1
    fi
  done
  # a node's processes last, as at the first start
  for c in etcd kube-apiserver $(components_of_instance); do
    pid_of "$c" >/dev/null || { say "$c of $NAME had ended: starting it"; start "$c"; }
    [ "$c" != kube-apiserver ] || wait_for 120 "the API server" kube-apiserver api_is_ready
  done
  wait_until_usable
  say "instance $NAME is up"
}

create_instance() {
  local began=$SECONDS
  trap 'say "up did not finish; its logs stay until the next up or down: testbed logs --name $NAME COMPONENT"' EXIT
  mkdir -p "$STATE"
  NODES=$1 WITH=$2 KWOK_NODES=$3 MODE=namespaces BASE=19000
  if [ "$NODES" = 0 ]; then
    MODE=loopback
    choose_ports
  else
    write_instance
  fi
  set_addresses
  make_certificates
  [ "$MODE" = loopback ] || start_control_network
  start_control_plane
  start_prometheus
  [ "$NODES" = 0 ] || start_nodes
  start_peers
  wait_until_usable
  : >"$STATE/complete"
  trap - EXIT
  say "instance $NAME is up after $((SECONDS - began)) s; testbed status --name $NAME shows it"
}

write_instance() { printf '%s=%q\n' MODE "$MODE" NODES "$NODES" WITH "$WITH" KWOK_NODES "$KWOK_NODES" BASE "$BASE" >"$STATE/instance"; }

# Pods can be made: nodes Ready, the default service account there, Prometheus answers.
wait_until_usable() {
  wait_for 120 "the default service account" kube-controller-manager kubectl get serviceaccount default
  [ "$NODES" = 0 ] || wait_for 120 "$NODES nodes to be Ready" kubelet-n1 nodes_are_ready
  wait_for 60 "Prometheus" prometheus prometheus_is_ready
}

nodes_are_ready() {
  local n ready
  ready=$(kubectl get nodes --no-headers | awk '$2 ~ /^Ready/ { print $1 }')
  for n in $(node_names); do grep -qx "$n" <<<"$ready" || return 1; done
}

# A free block of ports on loopback, below the range that the kernel hands out. The global lock is held until the choice is written.
choose_ports() {
  local candidate busy port lock
  exec {lock}>"$CACHE/lock/ports"
  flock "$lock"
  busy=" $(awk '$4 == "0A" { split($2, a, ":"); print a[2] }' /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r p; do printf '%d ' "0x$p"; done)"
  # another instance may vanish while it is read
  busy+=" $(sed -n 's/^BASE=/block/p' "$CACHE"/state/*/instance 2>/dev/null | tr '\n' ' ' || true) "
  for ((candidate = 20000; candidate < 32000; candidate += PORT_BLOCK)); do
    [[ $busy != *" block$candidate "* ]] || continue
    for ((port = candidate; port < candidate + PORT_BLOCK; port++)); do [[ $busy != *" $port "* ]] || continue 2; done
    BASE=$candidate
    write_instance
    exec {lock}>&-
    return 0
  done
  fail "no free block of $PORT_BLOCK ports between 20000 and 32000 on loopback"
}

instance_down() {
  lock_instance
  [ -d "$STATE" ] || [ -n "$(owned)" ] || { say "instance $NAME is not up"; return 0; }
  remove_instance
  say "instance $NAME is down"
}

# Processes, then cgroups, then files: each step needs the one before, and all can be repeated.
remove_instance() {
  kill_all
  remove_cgroups
  # mounts were in the nodes' namespaces and ended with them
  rm -rf --one-file-system "$STATE"
}

require_running() {
  [ -d "$STATE" ] || fail "instance $NAME is not up: testbed up --name $NAME"
  [ -e "$STATE/complete" ] || fail "instance $NAME is not complete (an up is running or was interrupted): testbed up --name $NAME"
}

instance_env() {
  require_running
  cat <<Y
TRIMTAB_TESTBED=$STATE
TRIMTAB_TESTBED_NAME=$NAME
TRIMTAB_TESTBED_NODES=$NODES
TRIMTAB_TESTBED_WITH=$WITH
TRIMTAB_AUDIT_LOG=$STATE/log/audit.jsonl
TRIMTAB_PROMETHEUS_TARGETS=$STATE/prometheus-targets
KUBECONFIG=$STATE/kubeconfig
KUBECACHEDIR=$STATE/kubectl-cache
PROMETHEUS_URL=http://127.0.0.1:${PORT[prometheus]}
Y
  [ "$MODE" = loopback ] || echo "PROMETHEUS_POD_URL=http://$CONTROL_IP:${PORT[prometheus]}"
}

# instance_exec NODE|'' CMD...
instance_exec() {
  local node=$1
  local -a into=() variables
  shift
  require_running
  mapfile -t variables < <(instance_env)
  if [ -n "$node" ]; then mapfile -t into < <(enter_node "$node"); else mapfile -t into < <(enter_control_network); fi
  exec "${into[@]}" env "${variables[@]}" "PATH=$(dirname "$(binary kubectl)"):$(dirname "$(binary ctr)"):$HERE:$PATH" "$@"
}

instance_status() {
  local c p healthy=0 rss
  if ! [ -d "$STATE" ]; then
    echo "instance $NAME is not up"
    exit 3
  fi
  echo "instance $NAME: --nodes $NODES${WITH:+ --with $WITH}, $MODE, $([ -e "$STATE/complete" ] && echo complete || echo "not complete")"
  [ -e "$STATE/complete" ] || healthy=1
  for c in $(components_of_instance); do
    if p=$(pid_of "$c"); then
      rss=$(awk '/^VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$p/status")
      printf '  %-26s pid %-8s %5s MiB\n' "$c" "$p" "$rss"
    else
      printf '  %-26s stopped\n' "$c"
      healthy=1
    fi
  done
  if [ -e "$STATE/complete" ]; then
    instance_env | sed 's/^/  /'
    if api_is_ready; then
      kubectl get nodes 2>/dev/null | sed 's/^/  /'
      [ "$NODES" = 0 ] || nodes_are_ready || healthy=1
    else
      echo "  the API server does not answer"
      healthy=1
    fi
  fi
  exit $healthy
}

list_instances() {
  local d
  for d in "$CACHE"/state/*/; do
    [ -d "$d" ] || continue
    use_instance "$(basename "$d")"
    printf '%s\t--nodes %s%s\t%s\n' "$NAME" "$NODES" "${WITH:+ --with $WITH}" \
      "$([ -e "$STATE/complete" ] && echo complete || echo "not complete")"
  done
}
