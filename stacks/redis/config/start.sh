#!/bin/sh
# Starts Valkey. Its ACL file belongs to `ACL SAVE`; only two lines are written here at each start: the default user, which
# is off, and the login that aihub reconciles and copies with, which either password of its pair opens.
set -eu
umask 077
copies="+scan +echo +pexpiretime +dump +restore +unlink" # what dump.sh and restore.sh need
own="+config|set +config|get +function|list +function|flush" # its certificate, its limits, and what nobody may load
hash() { tr -d '\n' < "/run/secrets/reconcile_$1" | sha256sum | cut -d ' ' -f 1; }
{
  echo "user default off resetkeys resetchannels -@all"
  echo "user hub_reconcile on #$(hash a) #$(hash b) resetkeys ~* resetchannels -@all +acl +ping $own $copies"
  if [ -f /data/users.acl ]; then
    sed -E '/^user (default|hub_reconcile) /d' /data/users.acl
  fi
} > /data/users.acl.new
mv /data/users.acl.new /data/users.acl
exec valkey-server /etc/valkey/valkey.conf
