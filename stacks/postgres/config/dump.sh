#!/bin/bash
# dump.sh DATABASE: a consumer's database, to stdout, without roles and privileges; its last line says that it is whole. Its own
# login reads it, so that nothing that the consumer wrote runs as somebody who can do more.
set -eu
case ${1:-} in '' | *[!a-z0-9_]*) echo "dump.sh DATABASE" >&2; exit 2 ;; esac
# Not packed: whoever keeps it finds the equal parts of two dumps, and packs them.
pg_dump --format=custom --compress=0 --no-privileges --no-password --username="$1_a" --dbname="$1"
echo "end of $1"
