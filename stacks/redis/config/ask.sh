#!/bin/sh
# ask.sh COMMAND ANSWER: sends a command as hub_reconcile and wants exactly this answer. While a pair is being replaced one of
# its passwords may not work yet, so both are tried. They go through a pipe: arguments and variables can be seen by others.
set -eu
for half in a b; do
  answer=$(printf 'AUTH hub_reconcile %s\n%s\n' "$(cat "/run/secrets/reconcile_$half")" "$1" \
    | valkey-cli --tls --cacert /run/secrets/ca.pem 2>&1)
  if [ "$answer" = "OK
$2" ]; then exit 0; fi
done
echo "Valkey's answer to \"$1\": $answer" >&2
exit 1
