"""Asks a gateway by OpenAI's own client. Arguments: base URL. Prints JSON lines."""
import json
import sys

import openai

c = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x", max_retries=0)
ask = [{"role": "user", "content": "hello there"}]


def say(name, **kw):
    print(json.dumps({"name": name, **kw}), flush=True)


r = c.chat.completions.create(model="canned", messages=ask, max_tokens=4)
say("whole", text=r.choices[0].message.content, finish=r.choices[0].finish_reason, tokens=r.usage.total_tokens)

text, usage, finish = "", None, None
for ev in c.chat.completions.create(model="canned", messages=ask, stream=True, stream_options={"include_usage": True}):
    if ev.choices:
        text += ev.choices[0].delta.content or ""
        finish = ev.choices[0].finish_reason or finish
    usage = ev.usage or usage
say("stream", text=text, finish=finish, tokens=usage.completion_tokens)

r = c.completions.create(model="canned", prompt="once", max_tokens=2)
say("plain", text=r.choices[0].text, finish=r.choices[0].finish_reason)

r = c.embeddings.create(model="canned", input=["a", "b"])
say("embeddings", count=len(r.data), size=len(r.data[0].embedding))

say("models", ids=[m.id for m in c.models.list()])

for name, call in {
    "unknown model": lambda: c.chat.completions.create(model="none", messages=ask),
    "tools": lambda: c.chat.completions.create(
        model="canned", messages=ask, tools=[{"type": "function", "function": {"name": "f"}}]),
    "cut": lambda: list(c.chat.completions.create(model="fragile", messages=ask, stream=True)),
}.items():
    try:
        call()
        say(name, error=None)
    except openai.APIError as e:
        say(name, error=type(e).__name__, code=e.code)
