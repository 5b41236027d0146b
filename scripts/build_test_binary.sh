#!/usr/bin/env bash
# Compiles the binary that tests/binary runs: as it ships, but it may also listen on loopback, and the stand-ins lie beside it.
# A second one looks in the folder of a library that is not the SDK; a third has the development backends.
set -euo pipefail
cd "$(dirname "$0")/.."
deno=${DENO:-deno}
build=$PWD/tests/native/build
for folder in "$build" "$build/broken"; do
  "$deno" run --quiet --no-prompt --allow-run --allow-read --allow-write --allow-env scripts/compile.ts \
    --install-dir "$folder" --output "$folder/denclave-test" --test-net 127.0.0.1
done
"$deno" run --quiet --no-prompt --allow-run --allow-read --allow-write --allow-env scripts/compile.ts \
  --flavour dev --output "$build/denclave-dev"
