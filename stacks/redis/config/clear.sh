#!/bin/bash
# clear.sh USER: every key below a consumer's prefix goes; the user stays.
. /etc/valkey/session.sh
begin "${1:-}"
keys | sort -u -T /data | sed 's/.*/UNLINK &/' | session | awk '
    $0 !~ /^\(integer\) [01]$/ { print "clear.sh: Valkey answered: " substr($0, 1, 200) > "/dev/stderr"; exit 1 }'
[ "$(keys | wc -l)" = 0 ] || refuse "keys below $user: are made while they are removed: stop who writes them"
