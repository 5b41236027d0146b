#!/usr/bin/env bash
# Shows that the same source gives the same bytes: two clones of HEAD, in folders of different depth, with other file times, modes and umasks,
# each compiled and made into an image. Compares binary, source map, image and measurements.
#
#   scripts/check_reproducible.sh [--lib-dir DIR]
#
#   --lib-dir DIR   the SDK's libraries (default tests/native/build: the stand-ins of the tests)
#   --help          this text
#
# DENO names the Deno that compiles (default deno). Changes that are not committed are not part of it.
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

cd "$folder/.."
deno=${DENO:-deno} lib_dir=$PWD/tests/native/build
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --lib-dir) lib_dir=$(readlink -f -- "$(value_of "$@")"); shift 2 ;;
    *) usage_error "unknown option $1" ;;
  esac
done

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
# Kernel, init and driver: any bytes will do, for they are taken as they are.
mkdir "$work/blobs"
head -c 4096 /dev/zero >"$work/blobs/kernel"
printf 'init' >"$work/blobs/init"
printf 'nsm' >"$work/blobs/nsm.ko"

# build CLONE UMASK MODE TIME: clones, changes times and modes, compiles, makes the image, each beside the clone.
build() (
  umask "$2"
  git clone --quiet --no-hardlinks . "$1"
  cd "$1"
  find . -path ./.git -prune -o -type f -exec chmod "$3" {} + -exec touch -d "$4" {} +
  "$deno" run --quiet --no-prompt --allow-run --allow-read --allow-write --allow-env scripts/compile.ts --output "$1.out/denclave" >/dev/null
  "$deno" task --quiet ctl eif build --binary "$1.out/denclave" --lib-dir "$lib_dir" --output "$1.out/enclave.eif" \
    --kernel "$work/blobs/kernel" --init "$work/blobs/init" --nsm "$work/blobs/nsm.ko" --cmdline "reboot=k" --all-certificates "${@:5}" >/dev/null
)
build "$work/one" 022 644 "2020-01-01T00:00:00Z"
TZ=Pacific/Kiritimati LC_ALL=C build "$work/deeper/folder/two" 077 700 "2031-12-31T23:59:59Z"

status=0
for file in denclave denclave.map enclave.eif enclave.provenance.json; do
  if cmp -- "$work/one.out/$file" "$work/deeper/folder/two.out/$file"; then
    printf 'the same bytes: %s (%s)\n' "$file" "$(sha256sum <"$work/one.out/$file" | cut -d' ' -f1)"
  else
    status=1
  fi
done
exit "$status"
