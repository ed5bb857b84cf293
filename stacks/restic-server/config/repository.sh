# Read by the others: `open ROLE` finds a consumer's repository and its key; `ask` runs restic with them.
set -u
repositories=/data/repositories
state=/data/state

open() {
  role=$1 name=$(awk -v role="$1" '$1 == role { print $2 }' /etc/restic/repositories)
  [ -n "$name" ] || { echo "no guest is called $1 here" >&2; exit 2; }
  folder=$repositories/$name key=/run/secrets/restic_${role}_password
}

ask() { restic --repo "$folder" --password-file "$key" --no-cache "$@"; }
