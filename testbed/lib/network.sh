# shellcheck shell=bash
# The network of an instance with nodes: a control namespace with a bridge, and one namespace for each node. They are held by
# processes (`network`, `node-nI`), not by files in /run/netns: when the processes end, nothing of them is left, and nothing
# links to the machine's own network. So every instance can use the same addresses.

readonly API_NET=10.89.0 # control namespace .1, node nI .1I
readonly POD_NET=10.90   # node nI: 10.90.I.0/24
readonly SERVICE_NET=10.91.0.0/24
readonly SERVICE_API=10.91.0.1
readonly CONTROL_IP=$API_NET.1

node_ip() { echo "$API_NET.$((10 + ${1#n}))"; }

# The command prefix, one word per line, that enters the control network (nothing on loopback).
enter_control_network() {
  [ "$MODE" = namespaces ] || return 0
  local p
  p=$(pid_of network) || fail "instance $NAME has lost its network: testbed up --name $NAME puts it right"
  # only the network: `ip netns exec` would mount a new /sys over the cgroups
  printf '%s\n' nsenter "--net=/proc/$p/ns/net" --
}

# The same for a node: all of its namespaces.
enter_node() {
  local p
  p=$(pid_of "node-$1") || fail "no node \"$1\" in instance $NAME"
  printf '%s\n' nsenter "--net=/proc/$p/ns/net" "--mount=/proc/$p/ns/mnt" "--uts=/proc/$p/ns/uts" "--ipc=/proc/$p/ns/ipc" "--pid=/proc/$p/ns/pid_for_children" --
}

in_control_network() {
  local -a into
  mapfile -t into < <(enter_control_network)
  "${into[@]}" "$@"
}

in_node() {
  local -a into
  mapfile -t into < <(enter_node "$1")
  shift
  "${into[@]}" "$@"
}

# True when the process of COMPONENT is in a network namespace other than ours.
has_own_network() {
  local p
  p=$(pid_of "$1") && ! [ "/proc/$p/ns/net" -ef /proc/self/ns/net ]
}

start_control_network() {
  launch network unshare --net --fork --kill-child sleep infinity
  wait_for 10 "the control network" '' control_network_exists
  in_control_network sh -c "ip link set lo up && ip link add nodes type bridge && ip addr add $CONTROL_IP/24 dev nodes && ip link set nodes up && echo 1 >/proc/sys/net/ipv4/ip_forward"
}

control_network_exists() { has_own_network network; }
