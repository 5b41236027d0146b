#!/usr/bin/env bash
# Makes a release of this commit in a folder: both binaries with their source maps and build records, the packages for npm and Python, bills of materials and
# SHA-256 sums. Nothing is published without --publish, and even the check before it changes nothing outside the folder.
#
#   scripts/release.sh [--output DIR] [--arch LIST] [--publish]
#
#   --output DIR   a folder that does not exist (default dist/release-<version>)
#   --arch LIST    architectures, with commas (default x86_64,aarch64)
#   --publish      afterwards: tag the commit, push the tag, publish the package and the files (needs git, npm and gh with their credentials)
#   --help         this text
#
# DENO names the Deno that compiles (default deno).
set -euo pipefail
folder=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/common.sh
source "$folder/common.sh"

cd "$folder/.."
compiler=${DENO:-deno} output="" architectures=x86_64,aarch64 publish=false
while [[ $# -gt 0 ]]; do
  case $1 in
    --help) usage; exit 0 ;;
    --output) output=$(readlink -m -- "$(value_of "$@")"); shift 2 ;;
    --arch) architectures=$(value_of "$@"); shift 2 ;;
    --publish) publish=true; shift ;;
    *) usage_error "unknown option $1" ;;
  esac
done

version=$(sed -nE 's/^  "version": "([^"]+)",$/\1/p' deno.json)
output=${output:-$PWD/dist/release-$version}
[[ ! -e $output ]] || die 1 "$output exists already: name another folder with --output, or delete it"
grep -qF "## $version" CHANGELOG.md || die 1 "CHANGELOG.md has no section for $version, the version in deno.json"
if $publish; then
  [[ -z $(git status --porcelain) ]] || die 1 "the work tree has changes: commit them first"
  ! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || die 1 "the tag v$version exists already"
  for tool in npm gh; do command -v "$tool" >/dev/null || die 69 "$tool is not on PATH"; done
fi

mkdir -p "$output"
awk -v heading="## $version" '/^## / { on = index($0, heading) == 1; next } on' CHANGELOG.md >"$output/notes.md"
denclave() { "$compiler" run --quiet --no-prompt --allow-run --allow-read --allow-write --allow-env "$@"; }
for architecture in ${architectures//,/ }; do
  case $architecture in
    x86_64 | aarch64) ;;
    *) usage_error "--arch has an unknown architecture: $architecture" ;;
  esac
  # Deno takes that file whatever the target.
  [[ -z ${DENORT_BIN:-} || $architecture == $(uname -m) ]] ||
    die 69 "DENORT_BIN is a base binary for $(uname -m): unset it, so that Deno fetches the one for $architecture, or leave $architecture out of --arch"
  for flavour in production ctl; do
    name=denclave
    [[ $flavour == production ]] || name=denclavectl
    printf 'compiling %s for %s\n' "$name" "$architecture"
    mkdir -p "$output/$architecture"
    denclave scripts/compile.ts --flavour "$flavour" --target "$architecture-unknown-linux-gnu" --output "$output/$architecture/$name" >/dev/null
  done
done
printf 'the npm package\n'
denclave scripts/build.ts package --output "$output" >/dev/null
printf 'the Python package\n'
python3 -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$output" clients/python >/dev/null
printf 'bills of materials\n'
"$compiler" run --quiet --no-prompt --allow-read scripts/sbom.ts --name denclave enclave.lock >"$output/denclave.cdx.json"
"$compiler" run --quiet --no-prompt --allow-read scripts/sbom.ts --name denclavectl ctl.lock >"$output/denclavectl.cdx.json"
mapfile -t files < <(cd "$output" && find . -type f -printf '%P\n' | LC_ALL=C sort)
(cd "$output" && sha256sum -- "${files[@]}" >SHA256SUMS)
printf '\n%s\n\n' "$output"
cat "$output/SHA256SUMS"

if $publish; then
  git tag --annotate "v$version" --message "denclave $version"
  # Go finds the version of a module below the root by this name.
  git tag --annotate "clients/go/v$version" --message "denclave $version, the Go module"
  git push origin "v$version" "clients/go/v$version"
  npm publish --access public "$output"/*.tgz
  (cd "$output" && gh release create "v$version" --verify-tag --title "denclave $version" --notes-file notes.md \
    SHA256SUMS "${files[@]}")
else
  printf '\nNothing was published. scripts/release.sh --publish would tag v%s, push the tag, and publish the package and these files.\n' "$version"
fi
