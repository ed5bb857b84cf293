#!/bin/sh
# Logs in at its database as any program does; ends with 0 when that answers.
set -u
umask 077
# User and password are lines of one file: two files could be of two moments.
{ IFS= read -r user; IFS= read -r password; } < /run/secrets/postgres_main_login
printf '*:*:*:*:%s\n' "$password" > /tmp/pgpass
where="host=$POSTGRES_HOST port=$POSTGRES_PORT dbname=$POSTGRES_NAME user=$user"
PGPASSFILE=/tmp/pgpass PGCONNECT_TIMEOUT=3 exec psql --no-psqlrc --quiet --no-align --tuples-only --command='SELECT 1' \
  "$where sslmode=verify-full sslrootcert=/run/secrets/ca.pem"
