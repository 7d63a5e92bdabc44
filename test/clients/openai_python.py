"""The published openai client for Python judges the OpenAI side."""

import json
import math
import os
import threading

import openai

from harness import Api, check, wait_for

ASK = [{"role": "user", "content": "Is anybody there?"}]
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather of a city", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}]


def client(node, key="any", **kw):
    return openai.OpenAI(base_url=node.url + "/v1", api_key=key, max_retries=0, timeout=60, **kw)


def raises(kind, call):
    """Returns the client's own exception, which must be of exactly this class."""
    try:
        got = call()
    except openai.OpenAIError as e:
        check(type(e).__name__, kind.__name__, f"the exception ({e})")
        return e
    raise AssertionError(f"no {kind.__name__}, but {got!r}")


def joined(stream):
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def story_chat_whole_and_streamed_are_the_same(world):
    for node, model in ((world.demo, "demonstration"), (world.mock_node, "scripted")):
        c = client(node)
        whole = c.chat.completions.create(model=model, messages=ASK)
        check(whole.object, "chat.completion")
        check(whole.choices[0].finish_reason, "stop")
        check(whole.model, model)
        assert whole.id and whole.created > 0 or model == "scripted"
        check(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens)
        stream = list(c.chat.completions.create(model=model, messages=ASK, stream=True))
        check(joined(stream), whole.choices[0].message.content)
        check([s.choices[0].finish_reason for s in stream][-1], "stop")
        check({s.object for s in stream}, {"chat.completion.chunk"})
        check(len({s.id for s in stream}), 1, "ids of one stream")
        assert len(stream) > 5, "a stream of one piece is none"
        assert all(s.usage is None for s in stream), "usage that nobody asked for"


def story_usage_at_the_end_of_a_stream(world):
    for node, model in ((world.demo, "demonstration"), (world.mock_node, "scripted")):
        c = client(node)
        whole = c.chat.completions.create(model=model, messages=ASK)
        stream = list(c.chat.completions.create(model=model, messages=ASK, stream=True, stream_options={"include_usage": True}))
        check(stream[-1].choices, [])
        check(stream[-1].usage, whole.usage)
        check([s.usage for s in stream[:-1]], [None] * (len(stream) - 1))


def story_the_clients_own_stream_helper(world):
    with client(world.demo).chat.completions.stream(model="demonstration", messages=ASK) as stream:
        deltas = "".join(e.delta for e in stream if e.type == "content.delta")
        final = stream.get_final_completion()
    check(final.choices[0].message.content, deltas)
    check(final.choices[0].finish_reason, "stop")


def story_stop_and_length(world):
    c = client(world.demo)
    whole = c.chat.completions.create(model="demonstration", messages=ASK).choices[0].message.content
    word = "language"
    for stop in (word, ["never there", word]):
        cut = c.chat.completions.create(model="demonstration", messages=ASK, stop=stop, seed=7, temperature=0)
        check((cut.choices[0].message.content, cut.choices[0].finish_reason), (whole[:whole.index(word)], "stop"), str(stop))
    streamed = joined(c.chat.completions.create(model="demonstration", messages=ASK, stop=[word], stream=True))
    check(streamed, whole[:whole.index(word)])
    for limit in ({"max_tokens": 4}, {"max_completion_tokens": 4}):
        short = c.chat.completions.create(model="demonstration", messages=ASK, **limit)
        check((short.choices[0].finish_reason, short.usage.completion_tokens), ("length", 4), str(limit))
        assert whole.startswith(short.choices[0].message.content) and short.choices[0].message.content


def story_tools_pass_through_both_ways(world):
    c = client(world.mock_node)
    args = dict(model="scripted", messages=ASK, tools=TOOLS, tool_choice="auto", parallel_tool_calls=False, seed=42,
                logit_bias={"11": -100}, metadata={"a": "b"}, user="someone", extra_body={"made_up": {"deep": [1, None]}})
    whole = c.chat.completions.create(**args)
    check(whole.choices[0].finish_reason, "tool_calls")
    call = whole.choices[0].message.tool_calls[0]
    check((call.id, call.function.name, json.loads(call.function.arguments)), ("call_1", "weather", {"city": "Zürich"}))
    check(whole.system_fingerprint, "fp_mock")
    path, headers, body = world.mock.requests[-1]
    check(path, "/v1/chat/completions")
    check(body["tools"], TOOLS)
    check((body["seed"], body["logit_bias"], body["made_up"], body["parallel_tool_calls"]), (42, {"11": -100}, {"deep": [1, None]}, False))
    assert "any" not in headers.get("Authorization", ""), "the caller's key went on to the engine"
    parts, finish = [], None
    for chunk in c.chat.completions.create(**args, stream=True):
        parts += [t for t in chunk.choices[0].delta.tool_calls or []]
        finish = chunk.choices[0].finish_reason or finish
    check(("".join(p.function.arguments for p in parts), parts[0].id, finish), (call.function.arguments, "call_1", "tool_calls"))
    told = [*ASK, whole.choices[0].message, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    last = c.chat.completions.create(model="scripted", messages=told, tools=TOOLS)
    check(last.choices[0].message.content, "".join(world.mock.WORDS))
    check(world.mock.requests[-1][2]["messages"][-1], told[-1])


def story_an_engine_without_tools_says_so(world):
    e = raises(openai.BadRequestError, lambda: client(world.demo).chat.completions.create(model="demonstration", messages=ASK, tools=TOOLS))
    check((e.status_code, e.param), (400, "tools"))


def story_errors_are_the_clients_own_exceptions(world):
    demo, keyed, mocked = client(world.demo), client(world.keyed, world.key), client(world.mock_node)
    ask = lambda c, **kw: (lambda: c.chat.completions.create(**{"model": "demonstration", "messages": ASK, **kw}))
    e = raises(openai.BadRequestError, ask(demo, messages=[]))
    check((e.status_code, e.param, e.type), (400, "messages", "invalid_request_error"))
    check(raises(openai.BadRequestError, ask(demo, temperature=9)).param, "temperature")
    check(raises(openai.BadRequestError, ask(demo, messages=[{"role": "robot", "content": "x"}])).param, "messages")
    check(raises(openai.BadRequestError, ask(demo, n=2)).param, "n")
    raises(openai.AuthenticationError, ask(client(world.keyed, "wrong")))
    raises(openai.AuthenticationError, lambda: client(world.keyed, "wrong").responses.create(input="x"))
    raises(openai.AuthenticationError, lambda: client(world.keyed, "wrong").models.list())
    check(ask(keyed)().object, "chat.completion")
    e = raises(openai.NotFoundError, ask(demo, model="no-such-model"))
    check(e.code, "model_not_found")
    raises(openai.NotFoundError, lambda: demo.models.retrieve("no-such-model"))
    raises(openai.NotFoundError, lambda: demo.responses.retrieve("resp_none"))
    large = [{"role": "user", "content": "x" * 200_000}]
    for call in (ask(keyed, messages=large), lambda: keyed.responses.create(input="x" * 200_000),
                 lambda: keyed.embeddings.create(model="demonstration", input="x" * 200_000)):
        check(raises(openai.APIStatusError, call).status_code, 413)
    for stream in (False, True):
        e = raises(openai.RateLimitError, ask(mocked, model="scripted", messages=[{"role": "user", "content": "please 429"}], stream=stream))
        check((e.status_code, e.response.headers["retry-after"], e.code), (429, "7", "scripted"))
        e = raises(openai.BadRequestError, ask(mocked, model="scripted", messages=[{"role": "user", "content": "please 400"}], stream=stream))
        check((e.param, e.code, "scripted 400" in e.message), ("model", "scripted", True))
        e = raises(openai.InternalServerError, ask(mocked, model="scripted", messages=[{"role": "user", "content": "please 500"}], stream=stream))
        # The engine refuses the node's key: no fault of this caller's.
        e = raises(openai.InternalServerError, ask(mocked, model="scripted", messages=[{"role": "user", "content": "please 401"}], stream=stream))
        check(e.status_code, 503)
    raises(openai.PermissionDeniedError, lambda: openai.OpenAI(
        base_url=world.demo.url + "/v1", api_key="x", max_retries=0, default_headers={"Host": "evil.example"}).models.list())


def story_a_full_queue_says_when_to_come_back(world):
    c = client(world.tight)  # takes two answers
    held = [c.responses.create(model="demonstration", input="Hold the line.", background=True).id for _ in range(2)]
    e = raises(openai.RateLimitError, lambda: c.responses.create(model="demonstration", input="Me too."))
    assert int(e.response.headers["retry-after"]) >= 1, e.response.headers
    for r in held:
        c.responses.cancel(r)
    wait_for("room in the queue", lambda: taken(c))


def taken(c):
    try:
        return c.responses.create(model="demonstration", input="And now?", max_output_tokens=1).id
    except openai.RateLimitError:
        return None


def story_a_cut_engine_never_looks_like_a_clean_end(world):
    c = client(world.mock_node)
    for how in ("please cut", "please end"):
        messages = [{"role": "user", "content": how}]
        stream = c.chat.completions.create(model="scripted", messages=messages, stream=True)
        got, broke, finish = "", None, None
        try:
            for chunk in stream:
                got += chunk.choices[0].delta.content or ""
                finish = chunk.choices[0].finish_reason or finish
        except Exception as e:  # the client's APIError, or the broken connection itself
            broke = e
        check(got, "".join(world.mock.WORDS[:4]), how)
        assert broke is not None and finish is None, f"{how}: half an answer ended like a whole one"
        assert isinstance(broke, openai.APIError), f"{how}: {type(broke)} {broke}"
        broke = None
        try:
            for chunk in c.completions.create(model="scripted", prompt=how, stream=True):
                pass
        except openai.APIError as e:
            broke = e
        assert broke is not None, f"{how}: a plain completion ended like a whole one"
        stream = c.responses.create(model="scripted", input=how, stream=True)
        types = [e.type for e in stream]
        assert "response.completed" not in types and types[-1] == "response.failed", f"{how}: {types}"
        check(c.responses.create(model="scripted", input=how).status, "failed", how)
    raises(openai.InternalServerError, lambda: c.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "please cut"}]))


def story_hanging_up_reaches_the_engine(world):
    c = client(world.mock_node)

    def chat(mark):
        return c.chat.completions.create(model="scripted", messages=[{"role": "user", "content": mark}], stream=True)

    def plain(mark):
        return c.completions.create(model="scripted", prompt=mark, stream=True)

    def response(mark):
        return c.responses.create(model="scripted", input=mark, stream=True)

    for i, start in enumerate((chat, plain, response)):
        mark = f"please hang, number {i}"
        with start(mark) as stream:
            for n, _ in enumerate(stream):
                if n == 5:
                    break
        wait_for(f"the engine to notice that the caller of {start.__name__} has left", lambda: mark in world.mock.left, 10)


def story_a_background_response_outlives_its_caller(world):
    c = client(world.mock_node)
    with c.responses.create(model="scripted", input="slowly, with patience", stream=True, background=True) as stream:
        first = next(iter(stream))
    r = wait_for("the answer", lambda: (lambda r: r if r.status == "completed" else None)(c.responses.retrieve(first.response.id)))
    check(r.output_text, "".join(world.mock.WORDS))


def story_plain_completions(world):
    for node, model in ((world.demo, "demonstration"), (world.mock_node, "scripted")):
        c = client(node)
        whole = c.completions.create(model=model, prompt="Once upon a time", max_tokens=12)
        check(whole.object, "text_completion")
        stream = list(c.completions.create(model=model, prompt="Once upon a time", max_tokens=12, stream=True, stream_options={"include_usage": True}))
        check("".join(s.choices[0].text for s in stream if s.choices), whole.choices[0].text)
        check(stream[-1].usage, whole.usage)


def story_embeddings_of_a_server(world):
    c = client(world.mock_node)
    got = c.embeddings.create(model="scripted", input=["one", "three"], encoding_format="float")
    check([d.embedding for d in got.data], [[0.5, -0.25, 3.0], [0.5, -0.25, 5.0]])
    raises(openai.BadRequestError, lambda: client(world.demo).embeddings.create(model="demonstration", input="x"))


def story_models(world):
    check([m.id for m in client(world.mock_node).models.list()], ["scripted"])
    (m,) = client(world.demo).models.list().data
    check((m.id, m.object, m.owned_by), ("demonstration", "model", "parley"))
    check(client(world.demo).models.retrieve("demonstration").id, "demonstration")


def story_a_response(world):
    c = client(world.demo)
    r = c.responses.create(model="demonstration", input="Hello?", instructions="Be brief.", metadata={"k": "v"}, temperature=0.5)
    check((r.status, r.object, r.error, r.metadata, r.instructions, r.temperature), ("completed", "response", None, {"k": "v"}, "Be brief.", 0.5))
    assert "demonstration" in r.output_text and r.usage.output_tokens > 10
    check(r.output[0].content[0].text, r.output_text)
    again = c.responses.retrieve(r.id)
    check((again.output_text, again.usage, again.status), (r.output_text, r.usage, r.status))
    short = c.responses.create(model="demonstration", input="Hello?", max_output_tokens=3)
    check((short.status, short.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    gone = c.responses.create(model="demonstration", input="Hello?", store=False, max_output_tokens=3)
    raises(openai.NotFoundError, lambda: c.responses.retrieve(gone.id))
    check(c.responses.create(model="demonstration", max_output_tokens=3, input=[
        {"role": "developer", "content": "Be kind."}, {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]).status, "incomplete")
    raises(openai.BadRequestError, lambda: c.responses.create(model="demonstration", input="x", tools=[{"type": "web_search"}]))
    c.responses.delete(r.id)
    raises(openai.NotFoundError, lambda: c.responses.retrieve(r.id))
    raises(openai.NotFoundError, lambda: c.responses.delete(r.id))


def story_a_streamed_response(world):
    c = client(world.demo)
    events = list(c.responses.create(model="demonstration", input="Hello?", stream=True))
    check([e.sequence_number for e in events], list(range(len(events))))
    check([events[0].type, events[1].type, events[-1].type], ["response.created", "response.in_progress", "response.completed"])
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    check([e.text for e in events if e.type == "response.output_text.done"], [text])
    check(events[-1].response.output_text, text)
    assert events[-1].response.usage.total_tokens > 0
    with c.responses.stream(model="demonstration", input="Hello?") as stream:
        for _ in stream:
            pass
        check(stream.get_final_response().output_text, text, "the client's own helper")
    short = list(c.responses.create(model="demonstration", input="Hello?", stream=True, max_output_tokens=3))
    check(short[-1].type, "response.incomplete")


def story_a_stream_resumes_at_every_cut(world):
    c = client(world.demo)
    whole = list(c.responses.create(model="demonstration", input="Cut me anywhere: 日本語, 👋🏽.", stream=True, background=True))
    rid = whole[0].response.id
    text = c.responses.retrieve(rid).output_text
    delta = lambda events: "".join(e.delta for e in events if e.type == "response.output_text.delta")
    check(delta(whole), text)
    assert len(whole) > 20, f"only {len(whole)} events"
    for cut in range(len(whole)):
        rest = list(c.responses.retrieve(rid, stream=True, starting_after=cut))
        check([(e.type, e.sequence_number) for e in rest], [(e.type, e.sequence_number) for e in whole[cut + 1:]], f"behind {cut}")
        check(delta(whole[:cut + 1]) + delta(rest), text, f"cut at {cut}")
    check([e.type for e in c.responses.retrieve(rid, stream=True)], [e.type for e in whole], "from the beginning")


def story_a_live_stream_is_cut_again_and_again(world):
    c = client(world.demo)
    got, rid, cuts = [], None, 0
    stream = c.responses.create(model="demonstration", input="Hold on to me.", stream=True, background=True)
    while not got or got[-1].type != "response.completed":
        with stream:
            for n, event in enumerate(stream):
                got.append(event)
                rid = rid or event.response.id
                if n == 3:
                    break
        cuts += 1
        if got[-1].type != "response.completed":
            stream = c.responses.retrieve(rid, stream=True, starting_after=got[-1].sequence_number)
    assert cuts > 5, f"only {cuts} connections"
    check([e.sequence_number for e in got], list(range(len(got))))
    check("".join(e.delta for e in got if e.type == "response.output_text.delta"), c.responses.retrieve(rid).output_text)


def story_background_without_a_stream(world):
    c = client(world.demo)
    r = c.responses.create(model="demonstration", input="Later.", background=True)
    assert r.status in ("queued", "in_progress") and r.output == [], r.status
    done = wait_for("the end", lambda: (lambda r: r if r.status not in ("queued", "in_progress") else None)(c.responses.retrieve(r.id)))
    check(done.status, "completed")
    other = c.responses.create(model="demonstration", input="Never mind.", background=True)
    check(c.responses.cancel(other.id).status, "cancelled")
    check(c.responses.retrieve(other.id).status, "cancelled")
    check(c.responses.cancel(r.id).status, "completed", "cancelling what has ended")


def story_a_conversation_by_previous_response(world):
    c = client(world.mock_node)
    one = c.responses.create(model="scripted", input="My name is Ada.", instructions="Be kind.")
    two = c.responses.create(model="scripted", input="What is my name?", previous_response_id=one.id)
    check(two.previous_response_id, one.id)
    check(world.mock.requests[-1][2]["messages"][-3:], [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": one.output_text},
        {"role": "user", "content": "What is my name?"}])
    fork = c.responses.create(model="scripted", input="Forget it.", previous_response_id=one.id)
    said = [m["content"] for m in world.mock.requests[-1][2]["messages"]]
    assert "What is my name?" not in said, f"a second continuation of the first response sees the other one: {said}"
    check(fork.previous_response_id, one.id)
    raises(openai.NotFoundError, lambda: c.responses.create(input="x", previous_response_id="resp_local-000000000000000000000000_t0"))


def story_a_retried_response_is_made_once(world):
    c = client(world.demo)
    key = {"Idempotency-Key": "retry-me"}
    one = c.responses.create(model="demonstration", input="Once.", extra_headers=key, max_output_tokens=3)
    check(c.responses.create(model="demonstration", input="Once.", extra_headers=key, max_output_tokens=3).id, one.id)
    raises(openai.ConflictError, lambda: c.responses.create(model="demonstration", input="Twice.", extra_headers=key))


def story_responses_belong_to_their_user(world):
    alice, bob = client(world.keyed, world.key), client(world.keyed, world.other_key)
    r = alice.responses.create(model="demonstration", input="Secret.", max_output_tokens=3)
    for call in (lambda: bob.responses.retrieve(r.id), lambda: bob.responses.cancel(r.id), lambda: bob.responses.delete(r.id),
                 lambda: bob.responses.create(input="x", previous_response_id=r.id)):
        raises(openai.NotFoundError, call)
    listed = Api(world.keyed, Authorization="Bearer " + world.key).get("/api/v1/conversations").json["conversations"]
    assert not any(c["id"] in r.id for c in listed), "a response's conversation is in the list"


def story_many_at_once(world):
    c = client(world.demo)
    want = c.chat.completions.create(model="demonstration", messages=ASK).choices[0].message.content
    got = []
    threads = [threading.Thread(target=lambda: got.append(joined(
        c.chat.completions.create(model="demonstration", messages=ASK, stream=True)))) for _ in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(set(got), {want})
    check(len(got), 32)


def story_a_real_model(world):
    """Only with PARLEY_TEST_REAL=1: the embedded engine."""
    if os.environ.get("PARLEY_TEST_REAL") != "1":
        return
    node = world.start("embedded").ready(600)
    c = client(node)
    model = c.models.list().data[0].id
    args = dict(model=model, messages=[{"role": "user", "content": "Name three colours."}], max_tokens=24, seed=7, temperature=0.8)
    one, two = (c.chat.completions.create(**args) for _ in range(2))
    check(one.choices[0].message.content, two.choices[0].message.content, "the same seed")
    check(joined(c.chat.completions.create(**args, stream=True)), one.choices[0].message.content, "streamed")
    assert one.usage.prompt_tokens > 0 and 0 < one.usage.completion_tokens <= 24
    a, b, other = (d.embedding for d in c.embeddings.create(model=model, input=["A cat sleeps.", "A cat is sleeping.", "Tax law of 1987"]).data)
    norm = lambda v: math.sqrt(sum(x * x for x in v))
    cosine = lambda x, y: sum(p * q for p, q in zip(x, y)) / norm(x) / norm(y)
    assert len(a) > 32 and cosine(a, b) > cosine(a, other), (len(a), cosine(a, b), cosine(a, other))
    floats = c.embeddings.create(model=model, input="A cat sleeps.", encoding_format="float").data[0].embedding
    assert max(abs(x - y) for x, y in zip(a, floats)) < 1e-2, "base64 and float differ"
    r = c.responses.create(model=model, input="Say hello.", max_output_tokens=16, temperature=0)
    assert r.output_text and r.usage.output_tokens <= 16
    schema = {"type": "object", "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
    shaped = c.chat.completions.create(model=model, messages=[{"role": "user", "content": "Choose a colour, as JSON."}], max_tokens=60,
                                       response_format={"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}})
    assert json.loads(shaped.choices[0].message.content)["colour"] in ("red", "blue"), shaped.choices[0].message.content
    node.stop()


def story_batches(world):
    line = lambda name, text: json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions",
                                          "body": {"model": "scripted", "messages": [{"role": "user", "content": text}]}})
    c = client(world.mock_node)
    lines = "\n".join([line(f"line-{i}", "Hello") for i in range(20)] + [line("bad", "please 400")])
    file = c.files.create(file=("in.jsonl", lines.encode()), purpose="batch")
    check((file.purpose, file.bytes, c.files.retrieve(file.id)), ("batch", len(lines.encode()), file))
    check(c.files.content(file.id).text, lines)
    batch = c.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"for": "a test"})
    batch = wait_for("the batch", lambda: (b := c.batches.retrieve(batch.id)).status == "completed" and b)
    check((batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed, batch.metadata), (21, 20, 1, {"for": "a test"}))
    out = [json.loads(x) for x in c.files.content(batch.output_file_id).text.splitlines()]
    check(sorted(x["custom_id"] for x in out), sorted(f"line-{i}" for i in range(20)))
    check({x["response"]["body"]["choices"][0]["message"]["content"] for x in out}, {"".join(world.mock.WORDS)})
    failed = json.loads(c.files.content(batch.error_file_id).text)
    check((failed["custom_id"], failed["response"]["status_code"]), ("bad", 400))
    assert batch.id in [b.id for b in c.batches.list(limit=1)], "auto-paging over one to a page"
    assert {file.id, batch.output_file_id} <= {f.id for f in c.files.list(limit=1)}
    check(raises(openai.ConflictError, lambda: c.batches.cancel(batch.id)).status_code, 409)
    check(c.files.delete(file.id).deleted, True)
    raises(openai.NotFoundError, lambda: c.files.retrieve(file.id))

    broken = c.files.create(file=("in.jsonl", (line("a", "x") + "\n{broken\n" + line("a", "x")).encode()), purpose="batch")
    batch = c.batches.create(input_file_id=broken.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = wait_for("the batch", lambda: (b := c.batches.retrieve(batch.id)).status == "failed" and b)
    check([(e.line, e.code) for e in batch.errors.data], [(2, "invalid_json_line"), (3, "duplicate_custom_id")])
    raises(openai.BadRequestError, lambda: c.files.create(file=("x", b"x"), purpose="fine-tune"))
    raises(openai.BadRequestError, lambda: c.batches.create(input_file_id=broken.id, endpoint="/v1/moderations", completion_window="24h"))

    flex = c.chat.completions.with_raw_response.create(model="scripted", messages=ASK, service_tier="flex")
    assert "why=idle" in flex.headers["parley-engine"], flex.headers["parley-engine"]
