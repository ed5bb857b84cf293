#!/bin/bash
# superuser.sh: does what only the superuser can, in every database, and notes the version of that. superuser.sh version: says it.
# A consumer may have written whatever is in its database: nothing of it is looked up by name here, and no trigger runs.
set -euo pipefail
export PGOPTIONS='-c search_path=pg_catalog,pg_temp -c event_triggers=off -c local_preload_libraries= -c log_statement=none'
cd "$(dirname "$0")"
version=$(cat superuser.sh hub.sql closed.sql | sha256sum | cut -d ' ' -f 1)
if [ "${1:-}" = version ]; then echo "$version"; exit; fi
run() { psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 --username=postgres --dbname="$@"; }
run postgres --file=hub.sql > /dev/null
databases=$(run postgres --command="SELECT datname FROM pg_database WHERE datallowconn AND datname ~ '^[a-z0-9_]+\$'")
for database in $databases; do
  run "$database" --file=closed.sql > /dev/null
done
echo "$version" > "${PGDATA%/*}/superuser"
