#!/bin/bash
# clear.sh DATABASE: a consumer's database goes, whoever is connected to it; `aihub` makes an empty one anew.
set -eu
case ${1:-} in '' | *[!a-z0-9_]*) echo "clear.sh DATABASE" >&2; exit 2 ;; esac
dropdb --force --if-exists --username=postgres --no-password "$1"
