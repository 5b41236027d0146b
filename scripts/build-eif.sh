#!/usr/bin/env bash
# Builds the enclave's image, and writes its measurements beside it.
#
#   scripts/build-eif.sh --lib-dir DIR --ca-bundle FILE [options] [-- options of denclavectl eif build]
#   scripts/build-eif.sh --docker IMAGE [options]
#
#   --lib-dir DIR     the SDK's libraries: build without Docker, with the same bytes on any machine (denclavectl eif build)
#   --ca-bundle FILE  CA certificates, PEM; those of KMS are taken from it
#   --docker IMAGE    build the image with nitro-cli build-enclave from this Docker image (docker build it first)
#   --output FILE     the image (default build/enclave.eif); measurements go to the same name with .json
#   --dry-run         print the commands without running them
#   --help            this text
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

lib_dir="" ca_bundle="" docker="" output=build/enclave.eif
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry_run=true; shift ;;
    --lib-dir) lib_dir=$(value_of "$@"); shift 2 ;;
    --ca-bundle) ca_bundle=$(value_of "$@"); shift 2 ;;
    --docker) docker=$(value_of "$@"); shift 2 ;;
    --output) output=$(value_of "$@"); shift 2 ;;
    --) shift; break ;;
    *) usage_error "unknown option $1" ;;
  esac
done
[[ -n $docker || (-n $lib_dir && -n $ca_bundle) ]] || usage_error "--lib-dir and --ca-bundle, or --docker, must be given"
[[ -z $docker || $# -eq 0 ]] || usage_error "options after -- are for denclavectl eif build: with --docker give them to nitro-cli yourself"

output=$(readlink -m -- "$output")
measurements=${output%.eif}.json
if [[ -n $lib_dir ]]; then lib_dir=$(readlink -m -- "$lib_dir"); fi
if [[ -n $ca_bundle ]]; then ca_bundle=$(readlink -m -- "$ca_bundle"); fi
cd "$folder/.."
run mkdir -p "$(dirname -- "$output")"
if [[ -n $docker ]]; then
  run nitro-cli build-enclave --docker-uri "$docker" --output-file "$output"
  run_into "$measurements" nitro-cli describe-eif --eif-path "$output"
else
  binary=$(dirname -- "$output")/denclave
  find_deno
  find_ctl
  run "${deno[@]}" task --quiet compile --output "$binary"
  run "${ctl[@]}" eif build --binary "$binary" --lib-dir "$lib_dir" --ca-bundle "$ca_bundle" --output "$output" "$@"
  run_into "$measurements" "${ctl[@]}" eif describe "$output" --json
fi
$dry_run || printf 'image:        %s\nmeasurements: %s\n' "$output" "$measurements"
