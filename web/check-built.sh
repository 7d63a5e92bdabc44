#!/bin/sh
# Fails if internal/web/dist is not what the sources here build to.
set -eu
cd "$(dirname "$0")"
[ -d node_modules ] || npm ci --no-audit --no-fund
exec node build.mjs --check
