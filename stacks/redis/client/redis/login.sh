#!/bin/sh
# Logs in as any program does; ends with 0 when Valkey answers.
set -u
# User and password are lines of one file: two files could be of two moments.
{ IFS= read -r user; IFS= read -r password; } < /run/secrets/redis_main_login
answer=$(printf 'AUTH %s %s\nPING\n' "$user" "$password" \
  | timeout 3 valkey-cli -h "$REDIS_HOST" -p "$REDIS_PORT" --tls --sni "$REDIS_HOST" --cacert /run/secrets/ca.pem 2>&1)
[ "$answer" = "OK
PONG" ] || { echo "as $user: $answer" >&2; exit 1; }
