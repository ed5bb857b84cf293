#!/bin/sh
# transfer.sh ROLE: a guest's repository takes over snapshots of another one. On standard input stand the other's name and
# key, then a snapshot in each line; those that are there already are passed over.
. /etc/restic/repository.sh
open "${1:-}"
umask 077
IFS= read -r other && IFS= read -r password || { echo "which repository, and its key?" >&2; exit 2; }
case "$other" in '' | .* | */*) echo "no repository is called $other" >&2; exit 2 ;; esac
secret=$(mktemp) # in memory
trap 'rm -f "$secret"' EXIT
printf '%s' "$password" > "$secret"
while read -r snapshot; do
  ask --quiet --retry-lock 30m copy --from-repo "$repositories/$other" --from-password-file "$secret" "$snapshot" >&2 || exit 1
done
