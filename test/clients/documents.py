"""What the documents tell a reader to type does what they say."""

import os
import pathlib
import re
import subprocess
import sys
import zipfile

from harness import Api

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8470"
# Fails on an HTTP error, and gives an endless stream six seconds.
CURL = 'curl() { command curl -sS --fail-with-body --max-time 6 "$@" || { c=$?; [ $c = 28 ] || exit $c; }; }\n'


def shell(script, node, cwd, **env):
    p = subprocess.run(["bash", "-euc", CURL + script.replace(ADDRESS, node.url)], cwd=cwd, capture_output=True, text=True,
                       env={**os.environ, "PARLEY_KEY": "", **env})
    assert p.returncode == 0, f"exit {p.returncode} of:\n{script}\n{p.stdout}\n{p.stderr}"
    return p.stdout


# As ChatGPT exports it.
EXPORT = """[{"id": "c1", "title": "Rivers", "create_time": 1700000000, "current_node": "b", "mapping": {
  "a": {"id": "a", "parent": null, "children": ["b"], "message": {"id": "a", "author": {"role": "user"}, "create_time": 1700000001, "content": {"content_type": "text", "parts": ["Which river is the longest?"]}}},
  "b": {"id": "b", "parent": "a", "children": [], "message": {"id": "b", "author": {"role": "assistant"}, "create_time": 1700000002, "content": {"content_type": "text", "parts": ["The Nile."]}}}}}]"""


REQUESTS = """{"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "The capital of France?"}]}}
"""


def story_every_curl_of_the_description(world, modules):
    with zipfile.ZipFile(pathlib.Path(modules) / "export.zip", "w") as z:
        z.writestr("conversations.json", EXPORT)
    (pathlib.Path(modules) / "requests.jsonl").write_text(REQUESTS)
    text = (ROOT / "api/openapi.yaml").read_text()
    commands = [re.sub(r"\\\n\s*", "", c).strip() for c in re.findall(r"^ +(curl (?:.*\\\n)*.*)$", text, re.M)]
    assert len(commands) > 14, f"only {len(commands)} examples were found"
    for command in commands:
        node = world.mock_node if "/embeddings" in command else world.guide if re.search("/understanding/|/luis/", command) else world.keyed
        api = Api(node)
        conv = api.post("/api/v1/conversations").json["id"]
        api.post(f"/api/v1/conversations/{conv}/activities", {"type": "message", "text": "the capital of France"})
        resp = api.post("/v1/responses", {"input": "x", "max_output_tokens": 2}).json["id"]
        kept = shell(f"curl {ADDRESS}/v1/files -F purpose=batch -F file=@requests.jsonl", node, modules)
        file = re.search(r'"(file-[^"]+)"', kept).group(1)
        out = shell(command, node, modules, ID=conv, RESP=resp, FILE=file, PARLEY_KEY=world.key)
        assert out.strip() or "-OJ" in command, f"nothing came back of: {command}"


def blocks(language):
    text = (ROOT / "docs/api.md").read_text()
    found = re.findall(r"^```" + language + r"\n(.*?)^```$", text, re.M | re.S)
    assert found, f"docs/api.md has no {language}"
    return found


def story_the_guide_by_curl(world, modules):
    out = shell("\n".join(blocks("sh")), world.demo, modules)
    for word in ('"turn"', "event: delta", "event: activity", '"state":"done"', "demonstration"):
        assert word in out, f"{word} is not in:\n{out}"


def story_the_guide_to_understanding(world, modules):
    out = shell("\n".join(blocks("bash")), world.guide, modules)
    assert '"topIntent":"book_table"' in out, out


def story_the_guide_in_python(world, modules):
    for script in blocks("python"):
        p = subprocess.run([sys.executable, "-c", script.replace(ADDRESS, world.demo.url)], capture_output=True, text=True, timeout=60)
        assert p.returncode == 0 and "demonstration" in p.stdout, f"{script}\n{p.stdout}\n{p.stderr}"


def story_the_guide_in_javascript(world, modules):
    for i, script in enumerate(blocks("js")):
        file = pathlib.Path(modules) / f"guide{i}.mjs"  # beside node_modules
        file.write_text(script.replace(ADDRESS, world.demo.url))
        p = subprocess.run(["node", str(file)], capture_output=True, text=True, timeout=60)
        assert p.returncode == 0 and "demonstration" in p.stdout, f"{script}\n{p.stdout}\n{p.stderr}"
