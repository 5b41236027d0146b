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
