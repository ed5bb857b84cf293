#!/bin/sh
# Starts Qdrant with settings that hold its keys and lie in memory: it reads keys from no file of their own. `api_key` is
# aihub's own login, `alt_api_key` signs the tokens of consumers, so that each can be replaced without the other.
set -eu
umask 077
cat > /tmp/config.yaml <<EOF
{
  "log_level": "INFO",
  "telemetry_disabled": true,
  "storage": {"storage_path": "/qdrant/data/storage", "snapshots_path": "/qdrant/data/snapshots"},
  "service": {
    "host": "0.0.0.0", "http_port": 6333, "grpc_port": null, "enable_cors": false, "max_request_size_mb": 32,
    "jwt_rbac": true,
    "api_key": "$(cat /run/secrets/reconcile)",
    "alt_api_key": "$(cat /run/secrets/signing_key)"
  }
}
EOF
exec /qdrant/qdrant --config-path /tmp/config.yaml
