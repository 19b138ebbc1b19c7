# shellcheck shell=bash
# What the testbed is built from, and its cache: every binary comes from a Go module pinned in mod/<component>/go.{mod,sum}.
# A component is built once per key (its module files, Go version, flags), to a temporary name and then renamed, under a lock.

readonly KUBERNETES_VERSION=v1.36.3
readonly COMPONENTS=(kubernetes etcd containerd prometheus promtool metrics-server kwok prometheus-adapter keda vpa karpenter helm)

# The binaries of a component, one per line: name, package.
component_binaries() {
  case $1 in
    kubernetes)
      for b in kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet kube-proxy; do echo "$b k8s.io/kubernetes/cmd/$b"; done ;;
    etcd) echo "etcd go.etcd.io/etcd/server/v3" ;;
    containerd)
      for b in containerd containerd-shim-runc-v2 ctr; do echo "$b github.com/containerd/containerd/v2/cmd/$b"; done ;;
    prometheus) echo "prometheus github.com/prometheus/prometheus/cmd/prometheus" ;;
    promtool) echo "promtool github.com/prometheus/prometheus/cmd/promtool" ;;
    metrics-server) echo "metrics-server sigs.k8s.io/metrics-server/cmd/metrics-server" ;;
    kwok) echo "kwok sigs.k8s.io/kwok/cmd/kwok" ;;
    prometheus-adapter) echo "prometheus-adapter sigs.k8s.io/prometheus-adapter/cmd/adapter" ;;
    keda)
      echo "keda-operator github.com/kedacore/keda/v2/cmd/operator"
      echo "keda-adapter github.com/kedacore/keda/v2/cmd/adapter" ;;
    vpa)
      for b in recommender updater; do echo "vpa-$b k8s.io/autoscaler/vertical-pod-autoscaler/pkg/$b"; done
      echo "vpa-admission k8s.io/autoscaler/vertical-pod-autoscaler/pkg/admission-controller" ;;
    karpenter) echo "karpenter-kwok sigs.k8s.io/karpenter/kwok" ;;
    helm) echo "helm helm.sh/helm/v4/cmd/helm" ;;
    *) fail "no component \"$1\"; there are: ${COMPONENTS[*]}" ;;
  esac
}

# The `go build` arguments of a component, one per line. Kubernetes, containerd and Prometheus are told their version: it is in what
# they serve, and the first two refuse or misreport without it.
component_flags() {
  echo -trimpath
  case $1 in
    kubernetes)
      local v=k8s.io/component-base/version
      echo "-ldflags=-s -w -X $v.gitVersion=$KUBERNETES_VERSION -X $v.gitMajor=1 -X $v.gitMinor=36" ;;
    containerd)
      echo "-tags=no_btrfs no_devmapper no_zfs no_aufs"
      echo "-ldflags=-s -w -X github.com/containerd/containerd/v2/version.Version=2.3.7" ;;
    prometheus | promtool) # all discovery but Kubernetes left out: the cloud SDKs are most of the build
      echo "-tags=remove_all_sd enable_kubernetes_sd"
      echo "-ldflags=-s -w -X github.com/prometheus/common/version.Version=3.13.5" ;;
    *) echo "-ldflags=-s -w" ;;
  esac
}

# YAML that a component needs and that its module carries (CRDs, simulated kubelets' stages): a module, then paths in it.
component_manifests() {
  case $1 in
    kwok)
      echo "sigs.k8s.io/kwok"
      printf "kustomize/%s.yaml\n" stage/node/fast/node-initialize stage/pod/fast/pod-ready stage/pod/fast/pod-complete stage/pod/fast/pod-delete \
        metrics/resource/metrics-resource metrics/usage/usage-from-annotation ;;
    keda) printf "%s\n" github.com/kedacore/keda/v2 config/crd/bases ;;
    vpa) printf "%s\n" k8s.io/autoscaler/vertical-pod-autoscaler deploy/vpa-v1-crd-gen.yaml ;;
    karpenter) printf "%s\n" sigs.k8s.io/karpenter pkg/apis/crds kwok/apis/crds ;;
  esac
}

# Where the binaries of a component are (built or not).
component_dir() {
  local key
  key=$({ cat "$HERE/mod/$1/go.mod" "$HERE/mod/$1/go.sum"; component_flags "$1"; component_binaries "$1"; go_version; } | sha256sum)
  echo "$CACHE/bin/$1-${key:0:12}"
}

# Any process may ask often: asked once, exported.
go_version() {
  if [ -z "${TRIMTAB_TESTBED_GO:-}" ]; then
    have go || fail "Go is not installed; the testbed builds Kubernetes from its Go modules: install Go 1.26.8 or newer (go.dev/dl)"
    TRIMTAB_TESTBED_GO=$(go env GOVERSION GOARCH | tr '\n' ' ')
    export TRIMTAB_TESTBED_GO
  fi
  echo "$TRIMTAB_TESTBED_GO"
}

# Builds what is missing of the named components.
build_components() {
  local c b package dir lock began
  local -a flags
  go_version >/dev/null
  for c in "$@"; do
    dir=$(component_dir "$c")
    component_is_built "$c" "$dir" && continue
    mkdir -p "$dir"
    (
      exec {lock}>"$CACHE/lock/build-$c"
      flock -n "$lock" || { say "waiting for another build of $c"; flock "$lock"; }
      mapfile -t flags < <(component_flags "$c")
      while read -r b package; do
        [ -x "$dir/$b" ] && continue
        say "building $b ($package)"
        began=$SECONDS
        (cd "$HERE/mod/$c" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false go build "${flags[@]}" -o "$dir/.$b.new" "$package") ||
          fail "$b did not build; Go's words are above. It needs a module proxy (GOPROXY=$(go env GOPROXY)) and Go as new as mod/$c/go.mod says"
        mv "$dir/.$b.new" "$dir/$b"
        say "built $b in $((SECONDS - began)) s"
      done < <(component_binaries "$c")
      copy_manifests "$c" "$dir"
    ) || exit 1
  done
}

component_is_built() {
  local b package
  while read -r b package; do [ -x "$2/$b" ] || return 1; done < <(component_binaries "$1")
  [ -z "$(component_manifests "$1")" ] || [ -s "$2/manifests.yaml" ]
}

# The pause image, which every pod sandbox needs: packed once by trimtab-pack.
readonly PAUSE_IMAGE=trimtab.dev/pause:1
pause_image() {
  local key out new=$CACHE/images/.pause
  key=$(cat "$HERE/pause/pause.c" "$HERE"/pack/src/*.rs | sha256sum)
  out=$CACHE/images/pause-${key:0:12}.tar
  if ! [ -s "$out" ]; then
    (
      exec {lock}>"$CACHE/lock/build-pause"
      flock "$lock"
      rm -rf "$new"
      mkdir -p "$new"
      gcc -Os -s -static -o "$new/pause" "$HERE/pause/pause.c" >&2 || fail "gcc with a static libc is needed for the pause image: install gcc and libc6-dev"
      pack --tag "$PAUSE_IMAGE" --out "$new/pause.tar" "$new/pause=/pause" >&2
      mv "$new/pause.tar" "$out"
      rm -r "$new"
    ) || exit 1
  fi
  echo "$out"
}

# trimtab-pack, built in the workspace by cargo (which knows itself what is fresh).
pack() {
  if [ -z "${PACK:-}" ]; then
    PACK=$(cargo_binary trimtab-pack pack) || exit 1
  fi
  "$PACK" "$@"
}

# cargo_binary PACKAGE BINARY [CARGO ARGUMENTS...]: builds it and prints where it is, in cargo's own words.
cargo_binary() {
  local package=$1 binary=$2 path
  shift 2
  have cargo || fail "cargo is not installed: install Rust (rustup.rs)"
  path=$(cd "$HERE/.." && cargo build --quiet -p "$package" --bin "$binary" --message-format=json-render-diagnostics "$@" |
    jq -r --arg b "$binary" 'select(.reason == "compiler-artifact" and .executable != null and .target.name == $b) | .executable')
  [ -x "$path" ] || fail "$package did not build"
  echo "$path"
}

# Gathers the YAML of a component into one file beside its binaries, so that a cached build needs no module cache.
copy_manifests() {
  local module path file root
  local -a wanted
  mapfile -t wanted < <(component_manifests "$1")
  [ ${#wanted[@]} -gt 0 ] || return 0
  module=${wanted[0]}
  root=$(cd "$HERE/mod/$1" && GOTOOLCHAIN=local go list -m -f '{{.Dir}}' "$module")
  for path in "${wanted[@]:1}"; do
    while read -r file; do
      echo ---
      cat "$file"
    done < <(find "$root/$path" -name '*.yaml' | sort)
  done >"$2/.manifests.yaml.new"
  mv "$2/.manifests.yaml.new" "$2/manifests.yaml"
}

# Where a binary of a component is (built or not).
binary() {
  case $1 in
    kube-* | kubectl | kubelet) echo "$(component_dir kubernetes)/$1" ;;
    containerd | ctr) echo "$(component_dir containerd)/$1" ;;
    keda-*) echo "$(component_dir keda)/$1" ;;
    vpa-*) echo "$(component_dir vpa)/$1" ;;
    karpenter-kwok) echo "$(component_dir karpenter)/$1" ;;
    *) echo "$(component_dir "$1")/$1" ;;
  esac
}

which_binary() {
  local c
  [ $# -eq 1 ] || fail "which: expected one binary"
  c=$(binary "$1")
  build_components "$(basename "$(dirname "$c")" | sed 's/-[0-9a-f]*$//')"
  echo "$c"
}
