// The published openai client for Node judges the OpenAI side. It prints a line
// for each story, "ok NAME" or "failed NAME" behind the reasons, and "end".

import assert from "node:assert/strict";
import OpenAI, { APIError, AuthenticationError, BadRequestError, InternalServerError, NotFoundError, RateLimitError } from "openai";

const { DEMO, MOCK, KEYED, KEY, WORDS, ONLY = "" } = process.env;
const client = (base, apiKey = "any") => new OpenAI({ baseURL: base + "/v1", apiKey, maxRetries: 0, timeout: 60_000 });
const demo = client(DEMO), mock = client(MOCK);
const ask = [{ role: "user", content: "Is anybody there?" }];
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }];

const all = async (stream) => {
  const out = [];
  for await (const x of stream) out.push(x);
  return out;
};
const text = (chunks) => chunks.map((c) => c.choices[0]?.delta?.content ?? "").join("");
const rejects = async (kind, f) => {
  let error;
  try {
    await f();
  } catch (e) {
    error = e;
  }
  assert.equal(error?.constructor?.name, kind.name, `${error}`);
  return error;
};
const until = async (what, f) => {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const got = await f();
    if (got) return got;
    await new Promise((r) => setTimeout(r, 20));
  }
  throw new Error(`waited in vain: ${what}`);
};

const stories = {
  async "chat, whole and streamed"() {
    for (const [c, model] of [[demo, "demonstration"], [mock, "scripted"]]) {
      const whole = await c.chat.completions.create({ model, messages: ask });
      const chunks = await all(await c.chat.completions.create({ model, messages: ask, stream: true, stream_options: { include_usage: true } }));
      assert.equal(text(chunks), whole.choices[0].message.content);
      assert.deepEqual(chunks.at(-1).usage, whole.usage);
      assert.equal(chunks.at(-2).choices[0].finish_reason, "stop");
      assert.ok(chunks.length > 5);
    }
  },
  async "stop, seed and length"() {
    const whole = (await demo.chat.completions.create({ model: "demonstration", messages: ask })).choices[0].message.content;
    const cut = await demo.chat.completions.create({ model: "demonstration", messages: ask, stop: ["language"], seed: 1 });
    assert.equal(cut.choices[0].message.content, whole.slice(0, whole.indexOf("language")));
    const short = await demo.chat.completions.create({ model: "demonstration", messages: ask, max_tokens: 3 });
    assert.equal(short.choices[0].finish_reason, "length");
    assert.equal(short.usage.completion_tokens, 3);
  },
  async "the client's own loop of tools"() {
    const asked = [];
    const runner = mock.chat.completions.runTools({
      model: "scripted", messages: ask, stream: true,
      tools: [{ type: "function", function: { name: "weather", parse: JSON.parse, parameters: tools[0].function.parameters,
        function: (a) => { asked.push(a); return "rain"; } } }],
    });
    assert.equal(await runner.finalContent(), WORDS);
    assert.deepEqual(asked, [{ city: "Zürich" }]);
  },
  async "the client's own helper for streams"() {
    const stream = demo.chat.completions.stream({ model: "demonstration", messages: ask });
    let deltas = "";
    stream.on("content", (d) => (deltas += d));
    assert.equal(await stream.finalContent(), deltas);
  },
  async "errors are the client's own classes"() {
    const chat = (c, more) => () => c.chat.completions.create({ model: "demonstration", messages: ask, ...more });
    assert.equal((await rejects(BadRequestError, chat(demo, { messages: [] }))).param, "messages");
    await rejects(BadRequestError, chat(demo, { tools }));
    await rejects(AuthenticationError, chat(client(KEYED, "wrong")));
    await rejects(AuthenticationError, () => client(KEYED, "wrong").responses.create({ input: "x" }));
    assert.equal((await rejects(NotFoundError, chat(demo, { model: "none" }))).code, "model_not_found");
    const large = [{ role: "user", content: "x".repeat(200_000) }];
    assert.equal((await rejects(APIError, chat(client(KEYED, KEY), { messages: large }))).status, 413);
    for (const stream of [false, true]) {
      const limited = await rejects(RateLimitError, chat(mock, { model: "scripted", stream, messages: [{ role: "user", content: "please 429" }] }));
      assert.equal(limited.headers.get("retry-after"), "7");
      await rejects(InternalServerError, chat(mock, { model: "scripted", stream, messages: [{ role: "user", content: "please 500" }] }));
    }
  },
  async "a cut engine never looks like a clean end"() {
    for (const how of ["please cut", "please end"]) {
      const got = [];
      await assert.rejects(async () => {
        for await (const c of await mock.chat.completions.create({ model: "scripted", messages: [{ role: "user", content: how }], stream: true })) got.push(c);
      }, how);
      assert.ok(got.length > 2 && got.every((c) => !c.choices[0].finish_reason), how);
      const events = (await all(await mock.responses.create({ model: "scripted", input: how, stream: true }))).map((e) => e.type);
      assert.ok(!events.includes("response.completed") && events.at(-1) === "response.failed", `${how}: ${events}`);
    }
  },
  async "hanging up reaches the engine"() {
    const stream = await mock.chat.completions.create({ model: "scripted", messages: [{ role: "user", content: "please hang, says node" }], stream: true });
    let n = 0;
    for await (const _ of stream) if (++n === 5) break; // the client aborts
    await until("the engine to notice", async () => (await (await fetch(process.env.MOCK_ITSELF + "/left")).json()).includes("please hang, says node"));
  },
  async "completions, embeddings and models"() {
    const whole = await mock.completions.create({ model: "scripted", prompt: "Once" });
    assert.equal((await all(await mock.completions.create({ model: "scripted", prompt: "Once", stream: true }))).map((c) => c.choices[0].text).join(""), whole.choices[0].text);
    assert.deepEqual((await mock.embeddings.create({ model: "scripted", input: ["one"], encoding_format: "float" })).data[0].embedding, [0.5, -0.25, 3]);
    assert.deepEqual((await all(demo.models.list())).map((m) => m.id), ["demonstration"]);
    assert.equal((await demo.models.retrieve("demonstration")).object, "model");
    await rejects(NotFoundError, () => demo.models.retrieve("none"));
  },
  async "responses: create, stream, continue, cancel, delete"() {
    const one = await demo.responses.create({ model: "demonstration", input: "Hello?", metadata: { k: "v" } });
    assert.equal(one.status, "completed");
    assert.match(one.output_text, /demonstration/);
    assert.equal((await demo.responses.retrieve(one.id)).output_text, one.output_text);
    const stream = demo.responses.stream({ model: "demonstration", input: "Hello?" });
    assert.equal((await stream.finalResponse()).output_text, one.output_text);
    const two = await demo.responses.create({ model: "demonstration", input: "And now?", previous_response_id: one.id, background: true });
    assert.ok(["queued", "in_progress"].includes(two.status));
    assert.equal((await demo.responses.cancel(two.id)).status, "cancelled");
    await demo.responses.delete(one.id);
    await rejects(NotFoundError, () => demo.responses.retrieve(one.id));
  },
  async "a retried response is made once"() {
    const again = () => demo.responses.create({ model: "demonstration", input: "Once.", max_output_tokens: 3 }, { headers: { "Idempotency-Key": "from-node" } });
    assert.equal((await again()).id, (await again()).id);
  },
  async "a background stream resumes at every cut"() {
    const whole = await all(await demo.responses.create({ model: "demonstration", input: "日本語 👋🏽", stream: true, background: true }));
    const id = whole[0].response.id;
    const said = (events) => events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join("");
    const { output_text } = await demo.responses.retrieve(id);
    for (let cut = 0; cut < whole.length; cut++) {
      const rest = await all(await demo.responses.retrieve(id, { stream: true, starting_after: cut }));
      assert.deepEqual(rest.map((e) => [e.type, e.sequence_number]), whole.slice(cut + 1).map((e) => [e.type, e.sequence_number]), `behind ${cut}`);
      assert.equal(said(whole.slice(0, cut + 1)) + said(rest), output_text);
    }
  },
};

for (const [name, story] of Object.entries(stories)) {
  if (!`openai_node: ${name}`.includes(ONLY)) continue;
  try {
    await story();
    console.log("ok", name);
  } catch (e) {
    console.log(e?.stack ?? e);
    console.log("failed", name);
  }
}
console.log("end");
