#!/bin/bash
# Starts PostgreSQL as the upstream image does: an empty data directory is initialised first, then the scripts of
# /docker-entrypoint-initdb.d run against a server that only the container's own socket reaches.
set -Eeuo pipefail

# value NAME DEFAULT: what $NAME says, or the file that ${NAME}_FILE names
value() {
  local file="${1}_FILE"
  if [[ -n "${!1:-}" && -n "${!file:-}" ]]; then
    echo "docker-entrypoint: $1 and $file are both set" >&2
    exit 1
  fi
  if [[ -n "${!file:-}" ]]; then cat "${!file}"; else printf '%s' "${!1:-$2}"; fi
}

initialise() {
  local user database password method script
  user=$(value POSTGRES_USER postgres)
  database=$(value POSTGRES_DB "$user")
  password=$(value POSTGRES_PASSWORD "")
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [[ -z "$password" && "$method" != trust ]]; then
    echo "docker-entrypoint: neither POSTGRES_PASSWORD nor POSTGRES_PASSWORD_FILE gives a superuser password" >&2
    exit 1
  fi
  # shellcheck disable=SC2086  # POSTGRES_INITDB_ARGS holds several arguments
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "$(printf '%q ' "${@:2}" -c listen_addresses= -p 5432)" start
  export PGHOST=/var/run/postgresql PGUSER=$user PGDATABASE=postgres POSTGRES_USER=$user POSTGRES_DB=$database
  if [[ "$database" != postgres ]]; then createdb "$database"; fi
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) if [[ -x $script ]]; then "$script"; else . "$script"; fi ;;
      *.sql) psql -v ON_ERROR_STOP=1 --no-psqlrc -d "$database" -f "$script" ;;
      *.sql.gz) gunzip -c "$script" | psql -v ON_ERROR_STOP=1 --no-psqlrc -d "$database" ;;
      *.sql.xz) xzcat "$script" | psql -v ON_ERROR_STOP=1 --no-psqlrc -d "$database" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGHOST PGUSER PGDATABASE
}

if [[ "${1:-}" == -* ]]; then set -- postgres "$@"; fi
if [[ "${1:-}" == postgres ]]; then
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA"
  if [[ ! -s "$PGDATA/PG_VERSION" ]]; then initialise "$@"; fi
fi
exec "$@"
