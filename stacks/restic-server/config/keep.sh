#!/bin/sh
# Once a day, for each repository: what is too old is removed, and a thirtieth of what is there is read and compared.
# What a guest says of times is not trusted: a snapshot from the future would make all others old, so nothing is removed then.
. /etc/restic/repository.sh
mkdir -p "$repositories" "$state"
( while sleep 60; do touch /tmp/awake; done ) &
touch /tmp/awake

told() { printf '%s %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2" > "$state/$role.$1"; echo "$role: $1: $2"; }

# Prints the newest time that a snapshot says it is of, in seconds; 0 where there is none.
newest() {
  ask --no-lock --json snapshots | tr ',{' '\n\n' | sed -n 's/^"time":"\([0-9-]*\)T\([0-9:]*\).*/\1 \2/p' | sort | tail -n 1 |
    { read -r when || when='1970-01-01 00:00:00'; date -u -d "$when" +%s; }
}

# Waits for who is at work; the lock of one who died is old enough to be removed after half an hour.
patient() {
  for _ in 1 2 3 4 5 6 7 8; do
    ask unlock > /dev/null 2>&1
    ask --retry-lock 5m "$@"
    code=$?
    [ "$code" = 11 ] || return "$code" # it is locked
  done
  return 11
}

keep() {
  if [ "$(newest)" -gt $(($(date -u +%s) + 93600)) ]; then
    told removal 'refused: a snapshot says that it is of the future'
  elif patient forget --quiet --group-by host,tags --prune --max-unused 10% \
      --keep-within 30d --keep-within-weekly 90d --keep-within-monthly 2y > "/tmp/$role" 2>&1; then
    told removal done
  else
    told removal "failed: $(tail -n 1 "/tmp/$role")"
  fi
  part=$(($(date -u +%s) / 86400 % 30 + 1))
  if patient check --quiet --read-data-subset="$part/30" > "/tmp/$role" 2>&1; then
    told reading "done: part $part of 30"
  else
    told reading "failed: $(grep -v '^$' "/tmp/$role" | tail -n 1)"
  fi
}

while :; do
  while read -r role name; do
    open "$role"
    if [ -e "$folder/config" ] && [ -e "$key" ] && [ -z "$(find "$state/$role.reading" -mmin -1430 2> /dev/null)" ]; then
      keep
    fi
  done < /etc/restic/repositories
  sleep 60 & wait $!
done
