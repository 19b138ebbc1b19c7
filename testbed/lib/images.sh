# shellcheck shell=bash
# The workspace's images: static binaries packed by trimtab-pack. Cargo is asked for the paths; .cargo/config.toml makes them static.

# image, package, binary
readonly IMAGES=(
  "trimtab trimtab trimtab"
  "reference trimtab-reference trimtab-reference"
  "load trimtab-load trimtab-load"
)

build_images() {
  local profile=dev image package binary out path entry
  case ${1:-} in
    '') ;;
    --profile) profile=${2:?--profile needs a value} ;;
    *) fail "images: unknown argument \"$1\"" ;;
  esac
  out=$HERE/../target/images/$profile
  mkdir -p "$out"
  out=$(cd "$out" && pwd)
  for entry in "${IMAGES[@]}"; do
    read -r image package binary <<<"$entry"
    path=$(cargo_binary "$package" "$binary" --profile "$profile") || exit 1
    # debug sections are three quarters of a development build, and every node imports them
    strip --strip-debug -o "$out/.$image.stripped" "$path"
    pack --tag "trimtab.dev/$image:dev" --out "$out/$image.tar" --entrypoint "/$binary" "$out/.$image.stripped=/$binary" >&2
    rm "$out/.$image.stripped"
    echo "$out/$image.tar"
  done
}
