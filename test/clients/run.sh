#!/usr/bin/env bash
# Runs the published clients of OpenAI (Python, Node), of LUIS and of CLU, of
# Direct Line, the SDKs of bots and of Slack, models of Telegram's Bot API, and
# plain HTTP, against real nodes: test/clients/run.sh [ONLY], where ONLY is a part
# of stories' names.
#
#   PARLEY_BIN         the binary to judge; default: built from this tree
#   PARLEY_CI_CACHE    where the clients are kept; default ~/.cache/parley-ci/clients
#   PARLEY_TEST_REAL=1 also the embedded engine, with a real model
#
# Everything listens on free loopback ports and is stopped at the end.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PARLEY_CI_CACHE:-$HOME/.cache/parley-ci/clients}
mkdir -p "$cache/node"

# Installs once, and again when what is pinned has changed.
stamp() { cat "$@" | cksum | tr -d ' '; }
want=$(stamp "$here/requirements.txt")
if [ "$(cat "$cache/venv.stamp" 2>/dev/null)" != "$want" ]; then
  echo "Installing the Python client into $cache/venv"
  rm -rf "$cache/venv"
  "${PYTHON:-python3}" -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  echo "$want" >"$cache/venv.stamp"
fi
if command -v npm >/dev/null; then
  want=$(stamp "$here/package.json" "$here/package-lock.json")
  if [ "$(cat "$cache/node.stamp" 2>/dev/null)" != "$want" ]; then
    echo "Installing the Node client into $cache/node"
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$cache/node"
    (cd "$cache/node" && npm ci --silent --ignore-scripts)
    echo "$want" >"$cache/node.stamp"
  fi
fi

if [ "${1:-}" = --install ]; then
  exit 0
fi
if [ -z "${PARLEY_BIN:-}" ]; then
  PARLEY_BIN=$cache/parley
  echo "Building parley"
  (cd "$here/../.." && CGO_ENABLED=0 go build -o "$PARLEY_BIN" ./cmd/parley)
fi
PYTHONDONTWRITEBYTECODE=1 exec "$cache/venv/bin/python" "$here/main.py" "$PARLEY_BIN" "$cache/node" "${1:-}"
