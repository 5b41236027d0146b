#!/usr/bin/env bash
# Compiles the binaries that tests/binary runs: the enclave's as it ships, but it may also listen on loopback, and the
# stand-ins lie beside it; the same beside a library that is not the SDK, and beside one with AWS-LC, where that was
# built; one with a hostile workflow; the development service; denclavectl.
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
# The enclave's binary with a workflow that attacks it, from a copy of the source.
hostile=$(mktemp -d)
trap 'rm -rf "$hostile"' EXIT
mkdir -p "$hostile/tests" "$build/hostile"
cp -r main.ts deno.json ./*.lock ffi lib scripts "$hostile"
cp -r tests/helpers "$hostile/tests"
echo 'export { workflow } from "../tests/helpers/hostile_workflow.ts";' >"$hostile/lib/workflow.ts"
cp "$build"/*.so "$build/hostile"
(
  cd "$hostile"
  compile --install-dir "$build/hostile" --output "$build/hostile/denclave-test" --test-net 127.0.0.1
)
compile --flavour dev --output "$build/denclave-dev"
compile --flavour ctl --output "$build/denclavectl"
