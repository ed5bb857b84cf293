#!/usr/bin/env bash
# Builds HashiCorp's Vault from its published Go modules: hashicorp.sh VERSION FILE. Half an hour on two cores, so neither
# `make test` nor the lab does it. Then: AIHUB_HASHICORP_VAULT=FILE pytest tests/vault
set -euo pipefail
version=$1 file=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
printf 'module build\n\ngo 1.23\n' > go.mod
source=$(go mod download -json "github.com/hashicorp/vault@v$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
cp -r "$source" vault
chmod -R u+w vault
cd vault
# Its own parts are modules of their own in the registry.
for part in api api/auth/approle api/auth/kubernetes api/auth/userpass sdk; do
  go mod edit -dropreplace "github.com/hashicorp/vault/$part"
done
CGO_ENABLED=0 go build -mod=mod -tags minimal -ldflags '-s -w' -o "$file" .
