#!/usr/bin/env bash
# Gives a KMS key a policy for the enclave's image: makes the key, or adds the image to a key that is there.
#
#   scripts/setup-kms.sh --region REGION --parent ARN --admin ARN [options]     a new key
#   scripts/setup-kms.sh --key ARN --admin ARN [options]                        the image beside the key's others
#
#   --measurements FILE  of the image (default build/enclave.json, as scripts/build-eif.sh writes it)
#   --region REGION      where to make the key
#   --alias NAME         alias of the new key
#   --key ARN            a key that has a policy with builds already
#   --parent ARN         the role of the instance that the enclave runs on
#   --admin ARN          the role that looks after the key; you must be it, to change the policy
#   --policy FILE        where the policy is written (default build/key-policy.json)
#   --yes                give the key the policy; without it the difference is shown alone
#   --dry-run            print the commands, run none
#   --help               this text
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

measurements=build/enclave.json region="" alias="" key="" parent="" admin="" policy=build/key-policy.json yes=false
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry_run=true; shift ;;
    --yes) yes=true; shift ;;
    --measurements) measurements=$(value_of "$@"); shift 2 ;;
    --region) region=$(value_of "$@"); shift 2 ;;
    --alias) alias=$(value_of "$@"); shift 2 ;;
    --key) key=$(value_of "$@"); shift 2 ;;
    --parent) parent=$(value_of "$@"); shift 2 ;;
    --admin) admin=$(value_of "$@"); shift 2 ;;
    --policy) policy=$(value_of "$@"); shift 2 ;;
    *) usage_error "unknown option $1" ;;
  esac
done
[[ -n $admin ]] || usage_error "--admin must be given"
[[ -n $key || (-n $region && -n $parent) ]] || usage_error "--region and --parent, or --key, must be given"
$dry_run || [[ -r $measurements ]] || die 69 "there are no measurements $measurements: scripts/build-eif.sh writes them"

measurements=$(readlink -m -- "$measurements")
policy=$(readlink -m -- "$policy")
cd "$folder/.."
find_ctl
run mkdir -p "$(dirname -- "$policy")"
given=(-m "$measurements")
if [[ -n $parent ]]; then given+=(--parent "$parent"); fi
if [[ -n $key ]]; then
  run_into "$policy" "${ctl[@]}" policy rollover -k "$key" "${given[@]}" --reviewed "$admin"
else
  # The policy first: a wrong ARN in it must not leave a key behind.
  run_into "$policy" "${ctl[@]}" policy render "${given[@]}" --admin "$admin" --inspect
  create=("${ctl[@]}" kms create-key --region "$region" --json)
  if [[ -n $alias ]]; then create+=(--alias "$alias"); fi
  if $dry_run; then
    run "${create[@]}"
    key="arn:aws:kms:$region:111122223333:key/the-new-one"
  elif ! $yes; then
    # A key costs money, and another run would make another one.
    printf 'the policy is in %s; with --yes a key is made in %s and given it\n' "$policy" "$region"
    exit 0
  else
    key=$("${create[@]}" | sed -nE 's/.*"arn": ?"([^"]+)".*/\1/p')
    [[ -n $key ]] || die 1 "the key was not made"
    printf 'key: %s\n' "$key"
  fi
fi
apply=("${ctl[@]}" policy apply "$policy" -k "$key" --reviewed "$admin")
if $yes; then apply+=(--yes); fi
run "${apply[@]}" || die 1 "the policy was not applied; go on with: scripts/setup-kms.sh --key $key --admin $admin --yes"
