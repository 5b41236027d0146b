#!/usr/bin/env bash
# Compiles the binaries that tests/binary runs: the enclave's as it ships, but it may also listen on loopback, and the
# stand-ins lie beside it; the same beside a library that is not the SDK, and beside one with AWS-LC, where that was
# built; the development service; denclavectl.
set -euo pipefail
cd "$(dirname "$0")/.."
deno=${DENO:-deno}
build=$PWD/tests/native/build
compile() {
  "$deno" run --quiet --no-prompt --allow-run --allow-read --allow-write --allow-env scripts/compile.ts "$@"
}
bash tests/native/build.sh
for folder in "$build" "$build/broken" "$build/aws_lc"; do
  if [[ -e $folder ]]; then compile --install-dir "$folder" --output "$folder/denclave-test" --test-net 127.0.0.1; fi
done
compile --flavour dev --output "$build/denclave-dev"
compile --flavour ctl --output "$build/denclavectl"
