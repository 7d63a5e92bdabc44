"""Runs schemathesis against a node: python fuzz.py PARLEY_BINARY SECONDS [OPTION ...]."""

import os
import pathlib
import subprocess
import sys
import tempfile

from harness import Mock, Node

HERE = pathlib.Path(__file__).resolve().parent
GATEWAY = "^/v1/(chat|completions|embeddings|models)"
CHANNELS, DIRECT_LINE, CONNECTOR = "^/(v3|channels)/", "^/v3/directline/", "^/v3/(conversations|attachments|bots)"
SITE = "a-secret-of-one-site"
# Nobody answers there, and nobody has to.
BOT = f"bots: [{{id: shop, url: 'http://127.0.0.1:9/', private: true, app_id: app, secret: {SITE}, timeout: 1s}}]"


def judge(node, seconds, *options):
    """One run; returns whether nothing was found."""
    with tempfile.TemporaryDirectory() as cwd:  # it leaves files behind
        code = subprocess.call([
            os.path.join(os.path.dirname(sys.executable), "schemathesis"), "--config-file", str(HERE / "schemathesis.toml"),
            "run", str(HERE.parents[1] / "api/openapi.yaml"), "--url", node.url, "--max-time", str(seconds), "--workers", "1",
            "--no-color", "--warnings", "off",
            "--exclude-operation-id", "events",  # has no end; parley_api.py judges it
            "--exclude-operation-id", "publishModel",  # takes a zip file, which schemathesis can't make
            *options], cwd=cwd)
    if node.process.poll() is not None:
        print("the node died")
        return False
    return code == 0


def main(binary, seconds, *options):
    mock, nodes = Mock(), []
    passed = 0
    # The gateway gets an engine of this node: a server behind it would judge for itself.
    runs = [
        ("Parley's own API and responses", mock.url, ("--exclude-path-regex", f"{GATEWAY}|{CHANNELS}")),
        ("the gateway", "demo", ("--include-path-regex", GATEWAY)),
        ("Direct Line", "echo", ("--include-path-regex", DIRECT_LINE, "--header", f"Authorization: Bearer {SITE}")),
        ("the connector", "echo", ("--include-path-regex", CONNECTOR, "--header", f"Authorization: Bearer {SITE}")),
    ]
    try:
        for title, engine, paths in runs:
            print(f"Asking {title}", flush=True)
            settings = f"engine: echo\n{BOT}" if title == "the connector" else None
            nodes.append(Node(binary, engine, settings=settings, PARLEY_PATIENCE="1s", PARLEY_DIRECTLINE_SECRET=SITE).ready())
            passed += judge(nodes[-1], max(1, int(seconds) // len(runs)), *paths, *options)
    finally:
        for n in nodes:
            n.stop()
        mock.stop()
    print(f"schemathesis: {passed} passed, {len(runs) - passed} failed")
    return 0 if passed == len(runs) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
