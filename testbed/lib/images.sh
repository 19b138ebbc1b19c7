# shellcheck shell=bash
# The workspace's images: static binaries packed by trimtab-pack. .cargo/config.toml makes every build static; cargo says where
# the binaries are.

# package (and binary) of an image
image_package() {
  case $1 in
    trimtab) echo trimtab ;;
    reference | load) echo "trimtab-$1" ;;
    *) fail "images: no image \"$1\"; there are: ${IMAGES[*]}" ;;
  esac
}
readonly IMAGES=(trimtab reference load)

build_images() {
  local profile=dev image binary out path packages=()
  if [ "${1:-}" = --profile ]; then
    profile=${2:?--profile needs a value}
    shift 2
  fi
  [ $# -gt 0 ] || set -- "${IMAGES[@]}"
  for image in "$@"; do
    binary=$(image_package "$image") || exit 1
    packages+=(-p "$binary")
  done
  have cargo || fail "cargo is not installed: install Rust (rustup.rs)"
  (cd "$HERE/.." && cargo build --profile "$profile" --bins "${packages[@]}") >&2 || fail "images: the workspace did not build; cargo's words are above"
  mkdir -p "$HERE/../target/images/$profile"
  out=$(cd "$HERE/../target/images/$profile" && pwd)
  for image in "$@"; do
    binary=$(image_package "$image")
    path=$(cargo_binary "$binary" "$binary" --profile "$profile") || exit 1
    # debug sections are most of a development build, and every node imports them
    strip --strip-debug -o "$out/.$image.$$" "$path"
    pack --tag "trimtab.dev/$image:dev" --out "$out/$image.tar" "$out/.$image.$$=/$binary" >&2
    rm "$out/.$image.$$"
    echo "$out/$image.tar"
  done
}
