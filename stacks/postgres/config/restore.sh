#!/bin/bash
# restore.sh DATABASE: puts what dump.sh wrote, from stdin, into a database that is there and empty.
# What the consumer wrote (functions, checks, defaults) runs as its own login. TimescaleDB's notes about hypertables lie in
# tables that only the superuser fills: he does that, and opens the schema of their parts to the owner for the time.
set -euo pipefail
case ${1:-} in '' | *[!a-z0-9_]*) echo "restore.sh DATABASE" >&2; exit 2 ;; esac
database=$1 owner=$1_a archive='' begun='' hypertables=''

ask() { psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 --set=db="$database" --dbname="$database" "$@"; }
# The superuser finds nothing of the consumer's by name, and what is set for the database or a role means nothing to him.
pinned='-c search_path=pg_catalog,pg_temp -c local_preload_libraries= -c row_security=on -c default_tablespace='
superuser() { PGOPTIONS=$pinned ask --username=postgres > /dev/null; }
restore() { pg_restore --exit-on-error --no-owner --no-privileges --dbname="$database" "$@" "$archive"; }
refuse() { echo "restore.sh: $1" >&2; exit 1; }

ended() {
  code=$?
  if [ -n "$archive" ]; then rm -f "$archive" "$archive".*; fi
  if [ -n "$hypertables" ]; then
    superuser <<'SQL' || code=1
ALTER DATABASE :"db" RESET timescaledb.restoring;
REVOKE CREATE ON SCHEMA _timescaledb_internal FROM :"db";
SET timescaledb.restoring = off;
SELECT _timescaledb_functions.start_background_workers();
SQL
  fi
  if [ -n "$begun" ] && [ "$code" != 0 ]; then
    echo "restore.sh: $database is not whole; drop it (dropdb --username=postgres $database), aihub up makes it again" >&2
  fi
  exit "$code"
}
trap ended EXIT

found=$(ask --username="$owner" <<'SQL'
SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
SQL
)
[ "$found" = 0 ] || refuse "$database is not empty: it has $found tables, views and sequences"

archive=$(mktemp "${PGDATA%/*}/restore.XXXXXX")
cat > "$archive"
last="end of $database"
[ "$(tail -c $((${#last} + 1)) "$archive" | tr '\0' ' ')" = "$last" ] || refuse "what came is no whole dump of $database"
truncate --size=-$((${#last} + 1)) "$archive"
# Extensions that are there stay as they are; their comments are the superuser's.
pg_restore --list "$archive" | sed -E '/^[0-9]+; [0-9]+ [0-9]+ COMMENT - EXTENSION /d' > "$archive.all"
notes='^[0-9]+; [0-9]+ [0-9]+ (TABLE DATA|SEQUENCE SET) _timescaledb_(catalog|config) [a-z_]+ postgres$'
sed -En "/$notes/p" "$archive.all" > "$archive.notes"
sed -E "/$notes/d" "$archive.all" > "$archive.own"

begun=yes
hypertables=$(ask --username="$owner" --command="SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'")
if [ -n "$hypertables" ]; then
  superuser <<'SQL'
ALTER DATABASE :"db" SET timescaledb.restoring = 'on';
GRANT CREATE ON SCHEMA _timescaledb_internal TO :"db";
SELECT _timescaledb_functions.stop_background_workers();
SQL
fi
restore --username="$owner" --use-list="$archive.own" --section=pre-data
if [ -s "$archive.notes" ]; then
  PGOPTIONS=$pinned restore --username=postgres --use-list="$archive.notes"
  noted=$(ask --username="$owner" --command="SELECT value FROM _timescaledb_catalog.metadata WHERE key = 'timescaledb_version'")
  [ "$noted" = "$hypertables" ] || refuse "it was dumped from TimescaleDB $noted, here is $hypertables: both must be equal"
fi
restore --username="$owner" --use-list="$archive.own" --section=data
restore --username="$owner" --use-list="$archive.own" --section=post-data
