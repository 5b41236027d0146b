#!/usr/bin/env bash
# Runs the vsock-proxy through which the enclave reaches KMS, in place of this script (exec). TLS ends in the enclave: the proxy sees only encrypted bytes.
#
#   scripts/vsock-proxy.sh --region REGION [options]
#
#   --region REGION   the key's region (env DENCLAVE_REGION, AWS_REGION)
#   --port PORT       vsock port that the enclave connects to (default 8000)
#   --workers N       connections at once (default 20)
#   --config FILE     allow-list (default /etc/nitro_enclaves/vsock-proxy.yaml)
#   --dry-run         print the command without running it
#   --help            this text
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

region=${DENCLAVE_REGION:-${AWS_REGION:-}} port=8000 workers=20 config=/etc/nitro_enclaves/vsock-proxy.yaml
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry_run=true; shift ;;
    --region) region=$(value_of "$@"); shift 2 ;;
    --port) port=$(value_of "$@"); shift 2 ;;
    --workers) workers=$(value_of "$@"); shift 2 ;;
    --config) config=$(value_of "$@"); shift 2 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
[[ -n $region ]] || usage_error "--region must be given"
# It becomes part of a host name.
[[ ${#region} -le 32 && $region =~ ^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$ ]] || usage_error "$region is not a region"
number_of --port "$port" 1 4294967295
number_of --workers "$workers" 1 10000

# As lib/shared/aws/partitions.ts has them.
case $region in
  cn-*) suffix=amazonaws.com.cn ;;
  eusc-*) suffix=amazonaws.eu ;;
  us-iso-*) suffix=c2s.ic.gov ;;
  us-isob-*) suffix=sc2s.sgov.gov ;;
  eu-isoe-*) suffix=cloud.adc-e.uk ;;
  us-isof-*) suffix=csp.hci.ic.gov ;;
  *) suffix=amazonaws.com ;;
esac
host=kms.$region.$suffix
if ! $dry_run && ! grep -sv '^[[:space:]]*#' "$config" | grep -qF "$host"; then
  die 69 "$config does not allow $host. Add to its allowlist:
- {address: $host, port: 443}"
fi
if $dry_run; then
  run vsock-proxy --num_workers "$workers" --config "$config" "$port" "$host" 443
else
  exec vsock-proxy --num_workers "$workers" --config "$config" "$port" "$host" 443
fi
