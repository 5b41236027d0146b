# shellcheck shell=bash
# What the scripts of this folder share. Sourced, not run.

# The comment at a script's head, without the marks: its help.
usage() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"
}

# Says what is wrong on stderr, and ends with the exit code for wrong usage.
usage_error() {
  printf '%s: %s\n%s --help shows the usage.\n' "${0##*/}" "$1" "$0" >&2
  exit 2
}

# Says what went wrong, and ends: 1 refused, 69 something is not there.
die() {
  printf '%s: %s\n' "${0##*/}" "$2" >&2
  exit "$1"
}

# The value of an option: value_of --name "$@" gives the second argument, or ends.
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
