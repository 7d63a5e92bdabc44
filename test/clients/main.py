"""Runs all stories: python main.py PARLEY_BINARY NODE_MODULES_DIRECTORY [ONLY]."""

import os
import shutil
import subprocess
import sys

import azure_python
import documents
import openai_python
import parley_api
import telegram
from harness import Count, Mock, Node


class World:
    """The nodes that stories may use, and those that they start themselves."""

    key, other_key = "pk-alice-0123456789abcdef", "pk-bob-0123456789abcdef"

    def __init__(self, binary):
        self.binary, self.nodes = binary, []
        self.mock = Mock()
        try:
            self.demo = self.start("demo").ready()
            self.mock_node = self.start(self.mock.url, PARLEY_PATIENCE="1s").ready()
            self.tight = self.start("demo", PARLEY_LIMITS_QUEUE=2).ready()
            self.keyed = self.served("engine: demo", "limits: {body: 128KiB, message: 64KiB}")
            examples = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
            self.guide = self.served(
                "engine: demo", "bots: [{id: guide}, {id: bookings}]", "understanding:",
                f"  - {{name: cityguide, model: {examples}/nlu/cityguide, flows: {examples}/flows/cityguide.yaml, ids: [{azure_python.APP}]}}")
        except BaseException:
            self.stop()
            raise

    def start(self, engine, **env):
        self.nodes.append(Node(self.binary, engine, **env))
        return self.nodes[-1]

    def served(self, *settings):
        """A node with two keys, from a file."""
        self.nodes.append(Node(self.binary, None, settings="\n".join([
            *settings, "keys:",
            f"  - {{name: alice, key: {self.key}}}", f"  - {{name: bob, key: {self.other_key}}}"])))
        return self.nodes[-1]

    def restart(self, node):
        self.nodes.append(node.again())
        return self.nodes[-1].ready()

    def stop(self):
        for n in self.nodes:
            n.stop()
        self.mock.stop()


def node_client(count, modules, name, env, *beside):
    """Runs a script for Node, which tells of each story in a line."""
    if not shutil.which("node"):
        return count.note(name, "there is no node on this machine")
    for file in (name + ".mjs", *beside):  # beside node_modules, where imports are looked for
        shutil.copyfile(os.path.join(os.path.dirname(os.path.abspath(__file__)), file), os.path.join(modules, file))
    p = subprocess.Popen(["node", os.path.join(modules, name + ".mjs")], env={**os.environ, **env},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    error, ended = [], False
    for line in p.stdout:
        kind, _, story = line.rstrip("\n").partition(" ")
        if kind == "ok":
            count.note(f"{name}: {story}")
        elif kind == "failed":
            count.note(f"{name}: {story}", "\n".join(error) or "failed")
        elif kind == "note":
            print("      " + story, flush=True)
            continue
        elif kind == "end":
            ended = True
        else:
            error.append(line.rstrip("\n"))
            continue
        error = []
    if p.wait() != 0 and not count.failed or not ended:
        count.note(name, "it did not come to its end:\n" + "\n".join(error))


def main(binary, modules, only=""):
    count = Count(only)
    print(f"Starting nodes of {binary}", flush=True)
    world = World(binary)
    try:
        count.run(parley_api, world)
        count.run(openai_python, world)
        count.run(azure_python, world)
        count.run(telegram, world)
        node_client(count, modules, "openai_node", {
            "DEMO": world.demo.url, "MOCK": world.mock_node.url, "KEYED": world.keyed.url, "KEY": world.key,
            "MOCK_ITSELF": world.mock.url, "WORDS": "".join(world.mock.WORDS), "ONLY": only})
        node_client(count, modules, "directline", {
            "PARLEY_BIN": os.path.abspath(binary), "ONLY": only,
            "EXAMPLES": os.path.abspath(os.path.join(os.path.dirname(__file__), "../../examples"))}, "directline_world.mjs", "browser_globals.mjs")
        node_client(count, modules, "bots", {"PARLEY_BIN": os.path.abspath(binary), "ONLY": only},
                    "bot_turn.mjs", "bot_botbuilder.mjs", "bot_agents.mjs", "directline_world.mjs", "browser_globals.mjs")
        node_client(count, modules, "slack", {"PARLEY_BIN": os.path.abspath(binary), "ONLY": only}, "slack_api.mjs", "directline_world.mjs", "browser_globals.mjs")
        node_client(count, modules, "teams", {"PARLEY_BIN": os.path.abspath(binary), "ONLY": only},
                    "microsoft.mjs", "bot_turn.mjs", "bot_agents.mjs", "directline_world.mjs", "browser_globals.mjs")
        node_client(count, modules, "called", {"PARLEY_BIN": os.path.abspath(binary), "ONLY": only},
                    "microsoft.mjs", "slack_api.mjs", "directline_world.mjs", "browser_globals.mjs")
        count.run(documents, world, modules)
    finally:
        world.stop()
    print(f"{count.passed} passed, {len(count.failed)} failed")
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
