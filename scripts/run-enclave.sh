#!/usr/bin/env bash
# Starts the enclave, and waits until its service answers.
#
#   scripts/run-enclave.sh [options]
#
#   --eif FILE      the image (default build/enclave.eif)
#   --cpus N        CPUs (default 2)
#   --memory MIB    memory (default 2048; the least is in enclave_memory.json)
#   --cid CID       its address on vsock (default 16)
#   --port PORT     the port that its service listens on (default 5000)
#   --timeout S     how long to wait for the service, seconds (default 60)
#   --dry-run       print the commands without running them
#   --help          this text
#
# There is no option for debug mode: an enclave in debug mode has zeros for PCRs, and gets no key.
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

eif=build/enclave.eif cpus=2 memory=2048 cid=16 port=5000 timeout=60
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry_run=true; shift ;;
    --eif) eif=$(value_of "$@"); shift 2 ;;
    --cpus) cpus=$(value_of "$@"); shift 2 ;;
    --memory) memory=$(value_of "$@"); shift 2 ;;
    --cid) cid=$(value_of "$@"); shift 2 ;;
    --port) port=$(value_of "$@"); shift 2 ;;
    --timeout) timeout=$(value_of "$@"); shift 2 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
number_of --cpus "$cpus" 1 4096
least=$(sed -nE 's/^ *"minimum_mib": ([0-9]+),$/\1/p' "$folder/enclave_memory.json")
number_of --memory "$memory" "$least" 16777216
# 0 to 3 are the hypervisor's, the local one and the host's.
number_of --cid "$cid" 4 4294967294
number_of --port "$port" 1 4294967295
number_of --timeout "$timeout" 1 3600
timeout=$((10#$timeout)) # 08 is no octal number
$dry_run || [[ -r $eif ]] || die 69 "there is no image $eif: scripts/build-eif.sh makes it"

eif=$(readlink -m -- "$eif")
cd "$folder/.."
find_ctl # before the enclave runs: what is missing is said at once
run nitro-cli run-enclave --eif-path "$eif" --cpu-count "$cpus" --memory "$memory" --enclave-cid "$cid"

health=("${ctl[@]}" client health --connect "vsock:$cid:$port" --timeout-ms 2000)
if $dry_run; then
  run "${health[@]}"
  exit 0
fi
deadline=$((SECONDS + timeout))
until said=$("${health[@]}" 2>&1); do
  if ((SECONDS >= deadline)); then
    printf '%s\n' "$said" >&2
    die 1 "the service did not answer within $timeout s: ${ctl[*]} doctor --cid $cid --port $port looks for the reason"
  fi
  sleep "${POLL_S:-1}"
done
printf 'the enclave with CID %s answers on port %s\n' "$cid" "$port"
