#!/bin/sh
# watch.sh postgres|redis: logs in again and again, as any consumer would, with what its files say at that moment.
# /run/canary/count holds one line: logins that worked, that were refused, that met no server, the times of the last refusal
# and of the last attempt. Nothing counts before the first login that works: until then it is not healthy.
set -u
umask 077
works=0 refused=0 silent=0 last=0 now=0

postgres() {
  printf '*:*:*:*:%s\n' "$password" > /run/canary/pgpass
  PGPASSFILE=/run/canary/pgpass PGCONNECT_TIMEOUT=3 psql --no-psqlrc --quiet --no-align --tuples-only --command='SELECT 1' \
    "host=$POSTGRES_HOST dbname=$POSTGRES_DATABASE user=$user sslmode=verify-full sslrootcert=/run/secrets/ca.pem" 2>&1
}

redis() {
  printf 'AUTH %s %s\nPING\n' "$user" "$password" \
    | timeout 3 valkey-cli -h "$REDIS_HOST" --tls --sni "$REDIS_HOST" --cacert /run/secrets/ca.pem 2>&1
}

trap 'exit 0' TERM INT
while :; do
  # User and password are lines of one file: two files could be of two moments.
  { IFS= read -r user; IFS= read -r password; } < "/run/secrets/${1}_main_login"
  answer=$("$1")
  now=$(date +%s)
  case $answer in
    1 | "OK
PONG") works=$((works + 1)) ;;
    *)
      if [ "$works" -gt 0 ]; then
        case $answer in
          *certificate*) refused=$((refused + 1)) last=$now ;;
          # After a lost connection valkey-cli sends the next command on a new one, which nobody has logged in on.
          *"Could not connect"*) silent=$((silent + 1)) ;;
          *authentication* | *permitted* | *denied* | *WRONGPASS* | *NOPERM* | *NOAUTH*)
            refused=$((refused + 1)) last=$now ;;
          *) silent=$((silent + 1)) ;;
        esac
        echo "$1, as $user: $answer" >&2
      fi
      ;;
  esac
  echo "$works $refused $silent $last $now" > /run/canary/count.new && mv /run/canary/count.new /run/canary/count
  sleep "$CANARY_INTERVAL" &
  wait $!
done
