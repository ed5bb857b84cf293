#!/bin/sh
# Starts Valkey. Its ACL file belongs to `ACL SAVE`; only two lines are written here at each start: the default user, which
# is off, and the login that aihub reconciles with, so that a rotated password needs no more than a restart.
set -eu
umask 077
hash=$(tr -d '\n' < /run/secrets/reconcile_password | sha256sum | cut -d ' ' -f 1)
{
  echo "user default off resetkeys resetchannels -@all"
  echo "user hub_reconcile on #$hash resetkeys resetchannels -@all +acl +ping"
  if [ -f /data/users.acl ]; then
    sed -E '/^user (default|hub_reconcile) /d' /data/users.acl
  fi
} > /data/users.acl.new
mv /data/users.acl.new /data/users.acl
exec valkey-server /etc/valkey/valkey.conf
