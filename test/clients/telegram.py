"""Telegram's Bot API as aiogram has it from the published reference, and
Telegram's own code for texts (TDLib): they judge what a node sends. It is not
Telegram: what stands behind the methods is written here."""

import contextlib
import datetime
import http.server
import itertools
import json
import threading
import time

import aiogram.methods
import tdjson
from aiogram import types

from harness import Node, check, wait_for

TOKEN = "7000001:AAF-parley-clients-token-0123456789"
ME = types.User(id=7000001, is_bot=True, first_name="Parley", username="parley_bot")
ANN = types.User(id=42, is_bot=False, first_name="Ann", language_code="en")
KINDS = {"bold": "Bold", "italic": "Italic", "strikethrough": "Strikethrough", "code": "Code", "pre": "Pre", "blockquote": "BlockQuote", "text_link": "TextUrl"}


tdjson.td_execute(b'{"@type": "setLogVerbosityLevel", "new_verbosity_level": 0}')


def shown(text, entities):
    """Has TDLib read a text with entities as the Bot API's server does."""
    def one(e):
        more = {"url": e["url"]} if e["type"] == "text_link" else {}
        return {"offset": e["offset"], "length": e["length"], "type": {"@type": "textEntityType" + KINDS[e["type"]], **more}}
    got = json.loads(tdjson.td_execute(json.dumps(
        {"@type": "getMarkdownText", "text": {"@type": "formattedText", "text": text, "entities": [one(e) for e in entities]}}).encode()))
    assert got["@type"] == "formattedText", (got, text, entities)


class Bots:
    """A server of the Bot API for one bot and the chat with Ann."""

    def __init__(self):
        self.lock, self.news, self.wrong = threading.Condition(), [], []
        self.calls, self.messages, self.ids = [], {}, itertools.count(100)
        bots = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                try:
                    result = bots.answer(self.path, fields)
                except Exception as e:  # the story's to tell
                    bots.wrong.append(f"{self.path.replace(TOKEN, '…')} {json.dumps(fields)}: {e!r}")
                    result = True
                body = json.dumps({"ok": True, "result": result}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path, fields):
        bot, _, method = path.removeprefix("/").partition("/")
        check(bot, "bot" + TOKEN)
        model = getattr(aiogram.methods, method[0].upper() + method[1:])
        unknown = set(fields) - set(model.model_fields)
        assert not unknown, f"aiogram knows no {unknown}"
        model.model_validate(fields)
        if method == "getMe":
            return dump(ME)
        if method == "getUpdates":
            return self.wait(fields)
        if "text" in fields and method != "answerCallbackQuery":
            shown(fields["text"], fields.get("entities", []))
        with self.lock:
            self.calls.append((method, fields))
            if method == "sendMessage":
                fields["message_id"] = next(self.ids)
            if method in ("sendMessage", "editMessageText"):
                self.messages[fields["message_id"]] = fields
                return dump(message(fields["message_id"], fields["text"], ME))
        return True

    def wait(self, fields):
        end = time.monotonic() + fields["timeout"]
        with self.lock:
            self.news = [u for u in self.news if u["update_id"] >= fields.get("offset", 0)]
            while not self.news and (rest := end - time.monotonic()) > 0:
                self.lock.wait(rest)
            return self.news[:100]

    def happen(self, **what):
        with self.lock:
            self.news.append(dump(types.Update(update_id=next(self.ids), **what)))
            self.lock.notify_all()

    def said(self):
        with self.lock:
            return [m["text"] for m in self.messages.values()]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def dump(x):
    return x.model_dump(mode="json", exclude_none=True, by_alias=True)


def message(id, text, who=ANN, **more):
    return types.Message(message_id=id, date=datetime.datetime.now(datetime.timezone.utc), chat=types.Chat(id=42, type="private", first_name="Ann"), from_user=who, text=text, **more)


TEXTS = [
    "**bold _both `code` both_** ~~gone~~ [link](https://example.org/?a=1&b=2) <b>&amp;</b>", "```python\nif a < b:\n\tprint('👋')\n```", "> quote\n> > deeper\n> ```\n> code\n> ```",
    "| a | b |\n|---|---|\n| 1 | **2** |", "# Head\n\n- one\n  - two\n1. three", "👩‍👩‍👧 **👋** \u202e\u0301\u200d `\u00a0`", "[a](javascript:alert(1)) ![p](https://example.org/p.png) <https://example.org>",
    "\\*not\\* _a_ __b__ ***c*** `` ` `` *a **b** c*", "long " + "**word** and [more](https://example.org) " * 400,
]


def story_telegram_texts_and_entities(world):
    bots = Bots()
    try:
        node = Node(world.binary, None, settings=f"engine: echo\nchannels:\n  telegram: [{{name: shop, token: \"{TOKEN}\", greeting: '**Hello!**', api: \"{bots.url}\"}}]")
        world.nodes.append(node)
        bots.happen(message=message(1, "/start", entities=[types.MessageEntity(type="bot_command", offset=0, length=6)]))
        for i, text in enumerate(TEXTS):
            bots.happen(message=message(2 + i, "Here:\n\n" + text))  # echoed behind a word
        wait_for("the last answer", lambda: bots.wrong or sum(t.count("word") for t in bots.said()) >= 400)
        check(bots.wrong, [])
        said = bots.said()
        check(said[0], "Hello!")
        assert any("bold both code both gone link <b>&</b>" in t for t in said), said
        assert any("if a < b:\n\tprint('👋')" in t for t in said), said
        assert {"sendMessage", "sendChatAction"} <= {m for m, _ in bots.calls}, bots.calls
        wait_for("all to be confirmed", lambda: not bots.news)
    finally:
        bots.stop()
