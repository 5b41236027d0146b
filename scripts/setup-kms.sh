#!/usr/bin/env bash
# Sets up the enclave's KMS key in two steps: create the key before the image, which contains its ARN; set its policy after, from the image's measurements.
#
#   scripts/setup-kms.sh key --region REGION --parent ARN --admin ARN [options]   makes the key, writes the policy file, prints the key's ARN
#   scripts/setup-kms.sh policy [options]                                         renders the policy for the policy file's builds, and applies it
#
#   --region REGION  key: the region to create it in
#   --parent ARN     key: the role of the instance that the enclave runs on
#   --admin ARN      key: the role that administers it; changing the policy requires this role
#   --issuer ARN     key: a role that may wrap session keys
#   --alias NAME     key: its alias
#   --file FILE      the policy file (default denclave-policy.yaml)
#   --policy FILE    policy: the file to write (default build/key-policy.json)
#   --yes            policy: apply it to the key; without this option, only show the difference
#   --dry-run        print the commands, run none
#   --help           this text
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

step="" file=denclave-policy.yaml region="" alias="" parent="" admin="" issuer="" policy=build/key-policy.json yes=false
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry_run=true; shift ;;
    --yes) yes=true; shift ;;
    --region) region=$(value_of "$@"); shift 2 ;;
    --alias) alias=$(value_of "$@"); shift 2 ;;
    --parent) parent=$(value_of "$@"); shift 2 ;;
    --admin) admin=$(value_of "$@"); shift 2 ;;
    --issuer) issuer=$(value_of "$@"); shift 2 ;;
    --file) file=$(value_of "$@"); shift 2 ;;
    --policy) policy=$(value_of "$@"); shift 2 ;;
    key | policy) [[ -z $step ]] || usage_error "one step at a time"; step=$1; shift ;;
    *) usage_error "unknown option $1" ;;
  esac
done

file=$(readlink -m -- "$file")
policy=$(readlink -m -- "$policy")
cd "$folder/.."
find_ctl

make_key() {
  [[ -n $region && -n $parent && -n $admin ]] || usage_error "--region, --parent and --admin must be given"
  # Checked before the key is made: a mistake must not leave one behind.
  local arn='^arn:aws[a-z-]*:iam::[0-9]{12}:[a-z-]+(/[^[:space:]]+)?$' given
  for given in "$parent" "$admin" ${issuer:+"$issuer"}; do
    [[ $given =~ $arn ]] || usage_error "$given is not an IAM ARN, such as arn:aws:iam::111122223333:role/Name"
  done
  [[ ! -e $file ]] || die 1 "$file is there already: it names a key"
  local create=("${ctl[@]}" kms create-key --region "$region" --rotation --json) key
  if [[ -n $alias ]]; then create+=(--alias "$alias"); fi
  if $dry_run; then
    run "${create[@]}"
    key="arn:aws:kms:$region:111122223333:key/the-new-one"
  else
    key=$("${create[@]}" | sed -nE 's/.*"arn": ?"([^"]+)".*/\1/p')
    [[ -n $key ]] || die 1 "the key was not made"
  fi
  local init=("${ctl[@]}" policy init -k "$key" --parent "$parent" --admin "$admin" -f "$file")
  if [[ -n $issuer ]]; then init+=(--issuer "$issuer"); fi
  # On stderr: stdout has only the ARN.
  if $dry_run; then run "${init[@]}"; else "${init[@]}" >&2 || die 1 "the key $key was made, $file was not: continue with denclavectl policy init -k $key"; fi
  $dry_run || printf '%s\n' "$key"
}

put_policy() {
  $dry_run || [[ -r $file ]] || die 69 "there is no $file: scripts/setup-kms.sh key writes it"
  run mkdir -p "$(dirname -- "$policy")"
  run_into "$policy" "${ctl[@]}" policy render -f "$file"
  local apply=("${ctl[@]}" policy apply "$policy" -f "$file")
  if $yes; then apply+=(--yes); fi
  run "${apply[@]}"
}

case $step in
  key) make_key ;;
  policy) put_policy ;;
  *) usage_error "which step? key, or policy" ;;
esac
