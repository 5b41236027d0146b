#!/usr/bin/env bash
# Builds the stand-ins into tests/native/build/. Does nothing where they are newer than their sources.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p build/broken
cc=${CC:-cc}
flags=(-std=gnu11 -O2 -g -Wall -Wextra -Werror)

newer() { # output, sources...: whether the output is there and none of the sources is newer
  local output=$1 source
  shift
  [[ -e $output ]] || return 1
  for source in "$@"; do [[ $source -ot $output ]] || return 1; done
}

common=build/libaws-c-common.so
newer "$common" aws_c_common_stub.c stub.h build.sh ||
  "$cc" "${flags[@]}" -fPIC -shared -pthread -Wl,-soname,libaws-c-common.so.1 -o "$common" aws_c_common_stub.c
# Needs the common library by its soname, as the real one does: whoever opens it must have opened that one before.
newer build/libaws-nitro-enclaves-sdk-c.so nitro_sdk_stub.c stub_json.h stub.h build.sh ||
  "$cc" "${flags[@]}" -fPIC -shared -o build/libaws-nitro-enclaves-sdk-c.so nitro_sdk_stub.c "$common"
newer build/libnsm-libc-stub.so nsm_libc_stub.c build.sh ||
  "$cc" "${flags[@]}" -fPIC -shared -o build/libnsm-libc-stub.so nsm_libc_stub.c
newer build/libclock-stub.so clock_stub.c build.sh ||
  "$cc" "${flags[@]}" -fPIC -shared -o build/libclock-stub.so clock_stub.c
newer build/libfixed-random.so fixed_random.c build.sh ||
  "$cc" "${flags[@]}" -fPIC -shared -o build/libfixed-random.so fixed_random.c -ldl
newer build/layout_probe layout_probe.c stub.h build.sh || "$cc" "${flags[@]}" -o build/layout_probe layout_probe.c
newer build/broken/libaws-nitro-enclaves-sdk-c.so broken_sdk_stub.c build.sh ||
  "$cc" "${flags[@]}" -fPIC -shared -o build/broken/libaws-nitro-enclaves-sdk-c.so broken_sdk_stub.c
newer build/broken/libaws-c-common.so "$common" || cp "$common" build/broken/
# The same with AWS-LC within, whose keys it counts: where that was built (scripts/build.ts).
if [[ -e build/libaws_lc_plain.so ]]; then
  mkdir -p build/aws_lc
  newer build/aws_lc/libaws-nitro-enclaves-sdk-c.so nitro_sdk_stub.c aead_counter.c stub_json.h stub.h build.sh ||
    "$cc" "${flags[@]}" -fPIC -shared -o build/aws_lc/libaws-nitro-enclaves-sdk-c.so nitro_sdk_stub.c aead_counter.c "$common" \
      -Lbuild -Wl,--no-as-needed -l:libaws_lc_plain.so -Wl,-rpath,'$ORIGIN/..' -ldl
  newer build/aws_lc/libaws-c-common.so "$common" || cp "$common" build/aws_lc/
fi
