# shellcheck shell=bash
# Functions that the scripts of this folder share. Sourced, not run.

# The comment at a script's head, without the marks: its help.
usage() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"
}

# Prints what is wrong on stderr, and exits with the code for wrong usage.
usage_error() {
  printf '%s: %s\n%s --help shows the usage.\n' "${0##*/}" "$1" "$0" >&2
  exit 2
}

# Prints what went wrong, and exits: 1 refused, 69 something is missing.
die() {
  printf '%s: %s\n' "${0##*/}" "$2" >&2
  exit "$1"
}

# The value of an option: value_of --name "$@" prints the second argument, or exits.
value_of() {
  [[ $# -ge 2 && -n $2 && $2 != --* ]] || usage_error "$1 needs a value"
  printf '%s' "$2"
}

# A whole number within bounds: number_of --name value min max.
number_of() {
  if [[ $2 =~ ^[0-9]{1,10}$ ]] && ((10#$2 >= $3 && 10#$2 <= $4)); then return; fi
  usage_error "$1 must be a whole number from $3 to $4"
}

dry_run=false

# Runs a command; in a dry run prints it instead.
run() {
  if $dry_run; then
    printf '%q ' "$@" | sed 's/ $//'
    printf '\n'
  else
    "$@"
  fi
}

# Runs a command with its output in a file; in a dry run prints it instead.
run_into() {
  local file=$1
  shift
  if $dry_run; then
    printf '%q ' "$@"
    printf '> %q\n' "$file"
  else
    "$@" >"$file.new" || {
      local code=$?
      rm -f -- "$file.new"
      exit "$code"
    }
    mv -- "$file.new" "$file"
  fi
}

# Where the scripts are: each sets it before it reads this file.
: "${folder:?}"

# The version of Deno that npx fetches: the Dockerfile's.
deno_version() {
  sed -nE 's/^ARG DENO_IMAGE=.*:debian-([0-9.]+)$/\1/p' "$folder/../Dockerfile"
}

# Deno, as the array deno: the one on PATH, else npm's.
find_deno() {
  if [[ -n ${deno[*]-} ]]; then return; fi
  if command -v deno >/dev/null; then
    deno=(deno)
  elif command -v npx >/dev/null; then
    deno=(npx --yes "deno@$(deno_version)")
  else
    die 69 "neither deno nor npx is on PATH: install Deno (deno.com) or Node.js${1:-}"
  fi
}

# denclavectl, as the array ctl: the compiled one of this repository or on PATH, else from source by Deno.
# shellcheck disable=SC2034 # used by who sources this
find_ctl() {
  local compiled
  compiled=$(readlink -m -- "$folder/../dist/denclavectl")
  if [[ -x $compiled ]]; then
    ctl=("$compiled")
  elif command -v denclavectl >/dev/null; then
    ctl=(denclavectl)
  else
    find_deno ", or put denclavectl (deno task compile --flavour ctl) on PATH"
    ctl=("${deno[@]}" task --quiet ctl)
  fi
}
