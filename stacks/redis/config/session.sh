# What dump.sh and restore.sh share. valkey-cli writes any byte as a quoted escape, so that keys and values are lines of text, and
# reads them so. Passwords go through a pipe, and while a pair is being replaced one of them may not work yet: see ask.sh.
set -euo pipefail
half=''
refuse() { echo "${0##*/}: $1" >&2; exit 1; }

# session: sends the commands on stdin, one a line; their answers, one after the other
session() {
  { printf 'AUTH hub_reconcile %s\n' "$(cat "/run/secrets/reconcile_$half")"; cat; } \
    | valkey-cli --no-raw --tls --cacert /run/secrets/ca.pem 2>&1 \
    | { IFS= read -r first && [ "$first" = OK ] && sed -E '/^\([0-9.]+s\)$/d'; } # how long a slow one took
}

# begin USER: chooses the password, and wants that user to be there
begin() {
  case ${1:-} in '' | *[!a-z0-9_]*) echo "${0##*/} USER" >&2; exit 2 ;; esac
  user=$1
  for half in a b ''; do
    [ -n "$half" ] || refuse "Valkey does not let hub_reconcile in"
    if [ "$(echo PING | session)" = PONG ]; then break; fi
  done
  [ "$(echo "ACL GETUSER $user" | session)" != '(nil)' ] || refuse "Valkey has no user $user"
  # "KEY" TIME "VALUE": when it expires in milliseconds since 1970, or 0
  line="^(\"$user:([^\"\\\\]|\\\\.)*\") [0-9]+ \"([^\"\\\\]|\\\\.)+\"\$"
}

# keys: those below the user's prefix, quoted; one may come twice
keys() {
  local cursor=0 answer
  while :; do
    answer=$(echo "SCAN $cursor MATCH $user:* COUNT 1000" | session)
    printf '%s\n' "$answer" | sed -nE 's/^(2\)|  ) *[0-9]+\) (".*")$/\2/p'
    cursor=$(printf '%s\n' "$answer" | sed -nE '1s/^1\) "([0-9]+)"$/\1/p')
    [ -n "$cursor" ] || refuse "SCAN: $answer"
    [ "$cursor" != 0 ] || break
  done
}
