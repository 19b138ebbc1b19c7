# shellcheck shell=bash
# The processes of an instance. There are no pid files: every process that the testbed starts carries its instance's state
# directory in its environment, so they can be found after any crash, and no other process can be taken for one of them.

# Process ids of the instance, all of them or those of one component.
owned() {
  local pattern=TRIMTAB_TESTBED_OWNER=$STATE f
  # grep's exit code says only whether there was a match; a process may end meanwhile
  { grep -lszxF -e "$pattern" /proc/[0-9]*/environ || true; } | while read -r f; do
    if [ $# -eq 0 ] || grep -qszxF "TRIMTAB_TESTBED_COMPONENT=$1" "$f"; then
      f=${f#/proc/}
      echo "${f%/environ}"
    fi
  done | sort -n
}

# The process of a component that runs the component's own program (not the nsenter that carries it, nor its children). By path:
# a program that was built anew or removed meanwhile still runs.
pid_of() {
  local program p exe
  [ -f "$STATE/command/$1" ] || return 1
  program=$(realpath -m "$(program_of "$1")")
  for p in $(owned "$1"); do
    exe=$(readlink "/proc/$p/exe") || continue
    [ "${exe% (deleted)}" = "$program" ] && echo "$p" && return 0
  done
  return 1
}

# The first word of the saved command line that is not VARIABLE=VALUE.
program_of() {
  local -a words
  local w
  mapfile -d '' -t words <"$STATE/command/$1"
  for w in "${words[@]}"; do
    [[ $w == [A-Z_]*=* ]] || { command -v "$w" || echo "$w"; return 0; }
  done
}

components_of_instance() { ls "$STATE/command" 2>/dev/null || true; }

# launch COMPONENT [VARIABLE=VALUE...] PROGRAM ARGS...: saves the command line, then starts it.
launch() {
  local component=$1
  shift
  mkdir -p "$STATE/command" "$STATE/log"
  printf '%s\0' "$@" >"$STATE/command/$component"
  start "$component"
}

# Starts a component with its saved command line, where it belongs: nodes' own processes inside the node.
start() {
  local component=$1 tries
  local -a words into=()
  [ -f "$STATE/command/$component" ] || fail "no component \"$component\" in instance $NAME; there are: $(components_of_instance | tr '\n' ' ')"
  ! pid_of "$component" >/dev/null || { say "$component runs already"; return 0; }
  mapfile -d '' -t words <"$STATE/command/$component"
  case $component in
    network | node-n*) ;;
    *-n[0-9]) mapfile -t into < <(enter_node "n${component##*-n}") ;;
    *) mapfile -t into < <(enter_control_network) ;;
  esac
  # The instance's lock (descriptor 9) is closed last, when the new process can already be found by its environment:
  # whoever holds the lock after a SIGKILL of this script sees every process that it started.
  env -u KUBECONFIG -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy TRIMTAB_TESTBED_OWNER="$STATE" TRIMTAB_TESTBED_COMPONENT="$component" \
    setsid sh -c 'exec 9>&-; exec "$@"' sh "${into[@]}" env "${words[@]}" >>"$STATE/log/$component.log" 2>&1 </dev/null &
  disown
  for ((tries = 0; tries < 250; tries++)); do
    ! pid_of "$component" >/dev/null || return 0
    sleep 0.02
  done
  tail -n 5 "$STATE/log/$component.log" >&2
  fail "$component did not start or ended at once; its last words are above"
}

# Ends a component: SIGTERM, and SIGKILL after a minute.
stop() {
  local component=$1 pid deadline=$((SECONDS + 60))
  [ -f "$STATE/command/$component" ] || fail "no component \"$component\" in instance $NAME; there are: $(components_of_instance | tr '\n' ' ')"
  pid=$(pid_of "$component") || { say "$component is stopped already"; return 0; }
  case $component in network | node-n*) fail "$component holds namespaces and cannot be stopped alone; stop kubelet-nI instead, or testbed down" ;; esac
  kill -TERM "$pid" 2>/dev/null || true
  while [ "$(pid_of "$component" || true)" = "$pid" ]; do
    [ $SECONDS -lt $deadline ] || { say "$component did not end within 60 s: killed"; kill -KILL "$pid" 2>/dev/null || true; }
    sleep 0.05
  done
}

# wait_for SECONDS WHAT COMPONENT CMD...: until CMD succeeds. Fails early, with its last words, when COMPONENT ends.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2 component=$3
  shift 3
  until "$@" >/dev/null 2>&1; do
    if [ -n "$component" ] && ! pid_of "$component" >/dev/null; then
      tail -n 5 "$STATE/log/$component.log" >&2
      fail "$component ended before $what; its last words are above, all of them: testbed logs --name $NAME $component"
    fi
    if [ $SECONDS -ge $deadline ]; then
      [ -z "$component" ] || tail -n 5 "$STATE/log/$component.log" >&2
      fail "waited in vain for $what${component:+; see testbed logs --name $NAME $component}"
    fi
    sleep 0.1
  done
}

# Ends every process of the instance at once. Nothing of an instance is worth keeping, so nobody is asked.
kill_all() {
  local deadline=$((SECONDS + 30)) p
  while :; do
    p=$(owned)
    [ -n "$p" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $p 2>/dev/null || true
    [ $SECONDS -lt $deadline ] || fail "processes of instance $NAME do not end: $(echo "$p" | tr '\n' ' ')"
    sleep 0.05
  done
}
