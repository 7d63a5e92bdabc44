"""Nodes, a scripted engine behind them, and stories that are counted.

Only the standard library. Every process started here is ended by its own id.
"""

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import traceback
import urllib.parse

# Asked to end, end as after Ctrl-C: with what was started.
signal.signal(signal.SIGTERM, signal.default_int_handler)

PATIENCE = 30  # seconds that a condition may take before it counts as never coming


def wait_for(what, condition, limit=PATIENCE):
    """Polls until condition() is true and returns what it gave."""
    end = time.monotonic() + limit
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit} s in vain: {what}")
        time.sleep(0.01)


class Node:
    """A parley process on a free port: `up` with an engine, or `serve` with settings."""

    def __init__(self, binary, engine, dir=None, settings=None, **env):
        self.args = (binary, engine, env)
        self.dir = dir or tempfile.TemporaryDirectory(prefix="parley-clients-")
        data = os.path.join(self.dir.name, "data")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PARLEY_", "OPENAI_"))}
        environ.update({k: str(v) for k, v in env.items()})
        if os.environ.get("PARLEY_CACHE"):
            environ.setdefault("PARLEY_CACHE", os.environ["PARLEY_CACHE"])
        self.log = open(os.path.join(self.dir.name, "stderr"), "a+")
        command = [binary, "up", "--engine", engine, "--listen", "127.0.0.1:0", "--data", data, "--no-browser"]
        self.errors = self.log
        if settings is not None:
            file = os.path.join(self.dir.name, "parley.yaml")
            with open(file, "w") as f:
                f.write(f"listen: 127.0.0.1:0\ndata: {data}\n{settings}\n")
            command = [binary, "serve", "-c", file]
            self.errors = subprocess.STDOUT  # where serve says its address
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, env=environ, text=True)
        self.said, self.found, self.url = [], threading.Event(), None
        threading.Thread(target=self._listen, daemon=True).start()
        if not self.found.wait(PATIENCE) or not self.url:
            self.kill()
            self.log.seek(0)
            raise AssertionError("the node did not say where it is:\n" + "".join(self.said) + self.log.read())
        self.host = self.url.removeprefix("http://")

    def _listen(self):
        """Reads all that the node says, and its address out of that."""
        for line in self.process.stdout:
            self.said.append(line)
            if not self.url and (found := re.search(r"(?:Page: |serving.*url=)(http://127\.0\.0\.1:\d+)", line)):
                self.url = found.group(1)
                self.found.set()
        self.found.set()

    def ready(self, limit=PATIENCE):
        wait_for("an engine that is ready", lambda: Api(self).get("/readyz").status == 200 and Api(self).get("/api/v1/info").json["engine"]["ready"], limit)
        return self

    def again(self):
        """A new process on the same data, for one that is dead."""
        binary, engine, env = self.args
        return Node(binary, engine, self.dir, **env)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()
        self.dir.cleanup()


class Answer:
    """What came back from a plain request."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Api:
    """Plain HTTP with what the standard library has."""

    def __init__(self, node, **headers):
        self.host = node.host
        self.headers = {k.replace("_", "-"): v for k, v in headers.items()}

    def connect(self, method, path, body=None, headers=None, timeout=PATIENCE):
        conn = http.client.HTTPConnection(self.host, timeout=timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        conn.request(method, path, body, {**self.headers, **(headers or {})})
        return conn, conn.getresponse()

    def call(self, method, path, body=None, headers=None):
        conn, response = self.connect(method, path, body, headers)
        with contextlib.closing(conn):
            return Answer(response)

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.call("POST", path, body, **kw)

    def events(self, path, headers=None):
        """Yields (id, event, data) until the stream ends or the caller stops."""
        conn, response = self.connect("GET", path, None, headers)
        with contextlib.closing(conn):
            if response.status != 200:
                raise AssertionError(f"{path}: {response.status} {response.read()!r}")
            ident, name, data = None, "message", None
            while line := response.readline():
                line = line.decode().rstrip("\n")
                if not line:
                    if data is not None:
                        yield ident, name, data
                    ident, name, data = None, "message", None
                    continue
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "id":
                    ident = value
                elif field == "event":
                    name = value
                elif field == "data":
                    data = value if data is None else data + "\n" + value


class Mock:
    """A server with the OpenAI API that does what the last message says.

    please STATUS: answers with it (429 with Retry-After). please cut: sends half
    an answer and breaks the connection. please end: the same, but ends the HTTP
    answer cleanly, without the API's farewell. please hang: sends words until the
    caller has left and notes it in `left`. A request with tools and no result of
    one gets a call of the first.
    """

    WORDS = ["Every", " word", " of", " this", " answer", " is", " scripted", "."]

    def __init__(self):
        self.requests = []  # (path, headers, body) of every POST
        self.left = []  # what the callers who hung up had asked
        mock = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/v1/models":
                    model = {"id": "scripted", "object": "model", "created": 0, "owned_by": "mock"}
                    return self.reply(200, {"object": "list", "data": [model]})
                if self.path == "/v1/left":
                    return self.reply(200, mock.left)
                return self.reply(404, {"error": {"message": "not here", "type": "invalid_request_error", "param": None, "code": None}})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                mock.requests.append((self.path, dict(self.headers), body))
                last = str(body.get("prompt") or (body.get("messages") or [{}])[-1].get("content") or body.get("input"))
                if wanted := re.search(r"please (\d{3})", last):
                    status = int(wanted.group(1))
                    error = {"message": f"scripted {status}", "type": "scripted_error", "param": "model", "code": "scripted"}
                    return self.reply(status, {"error": error}, {"Retry-After": "7"} if status == 429 else {})
                if self.path == "/v1/embeddings":
                    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
                    data = [{"object": "embedding", "index": i, "embedding": [0.5, -0.25, float(len(t))]} for i, t in enumerate(texts)]
                    return self.reply(200, {"object": "list", "model": "scripted", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}})
                chat = self.path == "/v1/chat/completions"
                kind = "chat.completion" if chat else "text_completion"
                head = {"id": "mock-1", "created": 1700000000, "model": "scripted", "system_fingerprint": "fp_mock"}
                usage = {"prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19, "prompt_tokens_details": {"cached_tokens": 4}}
                called = chat and body.get("tools") and not any(m["role"] == "tool" for m in body["messages"])
                calls = [{"index": 0, "id": "call_1", "type": "function", "function": {
                    "name": body["tools"][0]["function"]["name"], "arguments": '{"city":"Zürich"}'}}] if called else []
                text = "".join(mock.WORDS)
                if not body.get("stream"):
                    choice = {"index": 0, "finish_reason": "tool_calls" if called else "stop", "logprobs": None}
                    if chat:
                        message = {"role": "assistant", "content": None if called else text, "refusal": None}
                        if called:
                            message["tool_calls"] = [{k: v for k, v in calls[0].items() if k != "index"}]
                        choice["message"] = message
                    else:
                        choice["text"] = text
                    return self.reply(200, {**head, "object": kind, "choices": [choice], "usage": usage}, cut="please cut" in last)
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()

                def event(choices, **more):
                    chunk = json.dumps({**head, "object": kind + ".chunk" if chat else kind, "choices": choices, **more})
                    self.chunk(f"data: {chunk}\n\n")

                def piece(delta, finish=None):
                    event([{"index": 0, "logprobs": None, "finish_reason": finish,
                            **({"delta": delta} if chat else {"text": delta.get("content", "")})}])

                try:
                    piece({"role": "assistant", "content": ""})
                    if "please hang" in last:
                        while True:
                            piece({"content": "tick "})
                            time.sleep(0.02)
                    if called:
                        first = json.loads(json.dumps(calls[0]))
                        arguments, first["function"]["arguments"] = first["function"]["arguments"], ""
                        piece({"tool_calls": [first]})
                        for at in range(0, len(arguments), 5):
                            piece({"tool_calls": [{"index": 0, "function": {"arguments": arguments[at:at + 5]}}]})
                    for i, word in enumerate([] if called else mock.WORDS):
                        piece({"content": word})
                        if i == 3 and "please cut" in last:
                            self.wfile.flush()
                            self.close_connection = True
                            return self.connection.shutdown(2)
                        if i == 3 and "please end" in last:
                            return self.chunk("")
                        if "slowly" in last:
                            time.sleep(0.05)
                    piece({}, "tool_calls" if called else "stop")
                    if (body.get("stream_options") or {}).get("include_usage"):
                        event([], usage=usage)
                    self.chunk("data: [DONE]\n\n")
                    self.chunk("")
                except OSError:
                    mock.left.append(last)
                    self.close_connection = True

            def chunk(self, text):
                b = text.encode()
                self.wfile.write(f"{len(b):x}\r\n".encode() + b + b"\r\n")
                self.wfile.flush()

            def reply(self, status, value, headers=None, cut=False):
                b = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(b)))
                for k, v in (headers or {}).items():
                    self.send_header(k, v)
                self.end_headers()
                self.wfile.write(b[: len(b) // 2] if cut else b)
                if cut:
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(2)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # callers that leave are part of the play
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Count:
    """Runs stories, says how each went, and counts."""

    def __init__(self, only=""):
        self.passed, self.failed, self.only = 0, [], only

    def note(self, name, error=None, took=None):
        took = f" ({took:.1f} s)" if took is not None else ""
        if error is None:
            self.passed += 1
            print(f"  ok    {name}{took}", flush=True)
        else:
            self.failed.append(name)
            print(f"  FAIL  {name}{took}\n" + "\n".join("        " + l for l in error.rstrip().splitlines()[-18:]), flush=True)

    def run(self, module, *args):
        """Runs every function of the module whose name begins with story_."""
        title = module.__name__
        stories = [(n.removeprefix("story_").replace("_", " "), f) for n, f in vars(module).items() if n.startswith("story_")]
        for name, story in stories:
            if self.only not in f"{title}: {name}":
                continue
            began = time.monotonic()
            try:
                story(*args)
            except Exception:  # a story that fails must not end the others
                self.note(f"{title}: {name}", traceback.format_exc(), time.monotonic() - began)
            else:
                self.note(f"{title}: {name}", took=time.monotonic() - began)


def check(got, want, what=""):
    assert got == want, f"{what}: got {got!r}, want {want!r}"


def quote(text):
    return urllib.parse.quote(text, safe="")
