#!/bin/bash
# restore.sh USER: puts what dump.sh wrote, from stdin, below a consumer's prefix, where nothing may be yet. What can't be put back
# whole is not there afterwards.
. /etc/valkey/session.sh
begin "${1:-}"
found=$(keys | wc -l)
[ "$found" = 0 ] || refuse "there are $found keys below $user: already"
file=$(mktemp /data/restore.XXXXXX)
trap 'rm -f "$file"' EXIT
cat > "$file"
count=$(($(wc -l < "$file") - 1))
[ "$(tail -n 1 "$file")" = "end of $user: $count" ] || refuse "what came is no whole dump of $user"
sed -i '$d' "$file"
strange=$(grep -cvE "$line" "$file" || true)
[ "$strange" = 0 ] || refuse "$strange lines of what came are no keys below $user:"
if ! sed 's/.*/RESTORE & ABSTTL/' "$file" | session | awk -v count="$count" '
    $0 != "OK" { print "restore.sh: Valkey answered: " substr($0, 1, 200) > "/dev/stderr"; bad = 1; exit }
    END { exit bad || NR != count }'; then
  sed -E "s/$line/UNLINK \\1/" "$file" | session > /dev/null
  refuse "$user is not put back, its keys are taken away again"
fi
