#!/usr/bin/env bash
# Lets schemathesis read api/openapi.yaml and ask a real node for what nobody
# thought of: test/clients/schemathesis.sh [SECONDS], 60 by default. More options
# for schemathesis may follow. Variables as in run.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/run.sh" --install
cache=${PARLEY_CI_CACHE:-$HOME/.cache/parley-ci/clients}
if [ -z "${PARLEY_BIN:-}" ]; then
  PARLEY_BIN=$cache/parley
  echo "Building parley"
  (cd "$here/../.." && CGO_ENABLED=0 go build -o "$PARLEY_BIN" ./cmd/parley)
fi
PYTHONDONTWRITEBYTECODE=1 exec "$cache/venv/bin/python" "$here/fuzz.py" "$PARLEY_BIN" "${@:-60}"
