#!/bin/bash
# Starts PostgreSQL. What only its superuser can do is done before anybody gets in: by the first start's scripts, and here, once,
# on data that another version of these files has made.
set -euo pipefail
if [ -s "$PGDATA/PG_VERSION" ] && [ "$(bash /etc/postgresql/superuser.sh version)" != "$(cat "${PGDATA%/*}/superuser" 2> /dev/null)" ]; then
  private=$(mktemp -d)
  pg_ctl --pgdata="$PGDATA" --silent --wait --timeout=600 \
    --options="-c config_file=/etc/postgresql/postgresql.conf -c port=5432 -c listen_addresses= -c unix_socket_directories=$private" start > /dev/null
  ended=0
  PGHOST=$private bash /etc/postgresql/superuser.sh || ended=$?
  pg_ctl --pgdata="$PGDATA" --silent --wait --timeout=600 --mode=fast stop
  rm -rf "$private"
  [ "$ended" = 0 ] || exit "$ended"
fi
exec /docker-entrypoint.sh "$@"
