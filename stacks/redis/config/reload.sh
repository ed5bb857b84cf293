#!/bin/sh
# Makes Valkey load its certificate and key again; open connections stay. Setting a file's name reads the file even if the
# name is the same.
exec sh /etc/valkey/ask.sh "CONFIG SET tls-cert-file /run/secrets/tls.pem tls-key-file /run/secrets/tls.pem" OK
