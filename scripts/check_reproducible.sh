#!/usr/bin/env bash
# Shows that the same source gives the same bytes: two clones of HEAD, in folders of different depth, with other file times, modes, umasks and
# package caches, each compiled and made into an image. Compares binary, source map, image and measurements.
#
#   scripts/check_reproducible.sh [--lib-dir DIR]
#
#   --lib-dir DIR     the SDK's libraries (default tests/native/build: the stand-ins of the tests)
#   --ca-bundle FILE  CA certificates (default /etc/ssl/certs/ca-certificates.crt)
#   --ctl FILE        a compiled denclavectl: also test its eif reproduce, once with the same libraries and once with a changed one
#   --help            this text
#
# DENO names the Deno that compiles (default deno). Changes that are not committed are not part of it.
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

cd "$folder/.."
compiler=${DENO:-deno} lib_dir=$PWD/tests/native/build ca_bundle=/etc/ssl/certs/ca-certificates.crt compiled_ctl=""
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --lib-dir) lib_dir=$(readlink -f -- "$(value_of "$@")"); shift 2 ;;
    --ca-bundle) ca_bundle=$(readlink -f -- "$(value_of "$@")"); shift 2 ;;
    --ctl) compiled_ctl=$(readlink -f -- "$(value_of "$@")"); shift 2 ;;
    *) usage_error "unknown option $1" ;;
  esac
done

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
# Kernel, init and driver: stand-ins of the right format are enough, since they are copied unchanged. As in AWS's blobs, the kernel's configuration is there.
mkdir "$work/blobs"
zeros() { head -c "$1" /dev/zero; }
kernel=$work/blobs/bzImage
if [[ $(uname -m) == aarch64 ]]; then
  kernel=$work/blobs/Image
  { zeros 56; printf 'ARMd'; zeros 4096; printf 'Linux version 6.6.79 (made)'; } >"$kernel"
else
  { zeros 510; printf '\125\252\0\0HdrS'; zeros 8; printf '\0\1'; zeros 240; printf '6.6.79 (made)'; zeros 4096; } >"$kernel"
fi
printf '#\n#\n# Linux/%s 6.6.79 Kernel Configuration\n' "$(uname -m)" >"$kernel.config"
printf 'void _start(void) {}' | "${CC:-cc}" -x c -nostdlib -static -o "$work/blobs/init" -
printf '__attribute__((section(".modinfo"), used)) static const char info[] = "vermagic=6.6.79 SMP";' |
  "${CC:-cc}" -x c -c -o "$work/blobs/nsm.ko" -
printf 'reboot=k' >"$work/blobs/cmdline"

# build CLONE UMASK MODE TIME [CACHE]: clones, changes times and modes, compiles with packages from CACHE, makes the image, each beside the clone.
build() (
  umask "$2"
  git clone --quiet --no-hardlinks . "$1"
  cd "$1"
  find . -path ./.git -prune -o -type f -exec chmod "$3" {} + -exec touch -d "$4" {} +
  ${5:+env "DENO_DIR=$5"} "$compiler" run --quiet --no-prompt --allow-run --allow-read --allow-write --allow-env scripts/compile.ts --output "$1.out/denclave" >/dev/null
  "$compiler" task --quiet ctl eif build --binary "$1.out/denclave" --lib-dir "$lib_dir" --output "$1.out/enclave.eif" --blobs "$work/blobs" \
    --ca-bundle "$ca_bundle" --env "KMS_KEYS=arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000" \
    --env FEATURES=session_key >/dev/null
)
build "$work/one" 022 go=rX "2020-01-01T00:00:00Z"
TZ=Pacific/Kiritimati LC_ALL=C build "$work/deeper/folder/two" 077 go= "2031-12-31T23:59:59Z" "$work/cache"

status=0
for file in denclave denclave.map enclave.eif enclave.provenance.json; do
  if cmp -- "$work/one.out/$file" "$work/deeper/folder/two.out/$file"; then
    printf 'the same bytes: %s (%s)\n' "$file" "$(sha256sum <"$work/one.out/$file" | cut -d' ' -f1)"
  else
    status=1
  fi
done

if [[ -n $compiled_ctl ]]; then
  # Deno by its usual name, as eif reproduce looks for it, in the folder for temporary files.
  mkdir "$work/bin" "$work/other-libraries"
  ln -s -- "$(readlink -f -- "$(command -v "$compiler")")" "$work/bin/deno"
  cp -L -- "$lib_dir"/libaws-*.so "$work/other-libraries/"
  printf 'one more byte' >>"$work/other-libraries/libaws-c-common.so"
  # reproduce LIBRARIES: by a relative path from elsewhere, with nothing but git and Deno on PATH.
  reproduce() (
    cd "$work/one.out"
    PATH=$work/bin:/usr/bin:/bin TMPDIR=$work "$compiled_ctl" eif reproduce enclave.provenance.json --source ../one --lib-dir "$1" --blobs ../blobs \
      --ca-bundle "$ca_bundle" --eif ../deeper/folder/two.out/enclave.eif
  )
  reproduce "$lib_dir" || status=1
  if said=$(reproduce "$work/other-libraries"); then status=1; fi
  grep -E '^DIFFERS /app/libaws-c-common.so: recorded [0-9]+ bytes' <<<"$said" || status=1
  grep -qx 'same    program' <<<"$said" || status=1
fi
exit "$status"
