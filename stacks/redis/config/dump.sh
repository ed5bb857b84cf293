#!/bin/bash
# dump.sh USER: the keys below a consumer's prefix, each as it is at one moment, to stdout: a line for each, then one that says
# that it is whole.
. /etc/valkey/session.sh
begin "${1:-}"
keys | sort -u -T /data | sed -E 's/.*/ECHO &\nPEXPIRETIME &\nDUMP &/' | session \
  | sed -E 's/^\(integer\) (-[12]|[0-9]+)$/\1/; s/^-[12]$/0/' | paste -d ' ' - - - | sed '/ (nil)$/d' \
  | awk -v line="$(printf %s "$line" | sed 's/\\/\\\\/g')" -v user="$user" '
      $0 !~ line { print "dump.sh: Valkey answered: " substr($0, 1, 200) > "/dev/stderr"; bad = 1; exit }
      { print }
      END { if (bad) exit 1; print "end of " user ": " NR }'
