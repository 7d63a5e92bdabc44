// Bots of other people behind the node, by their own SDKs, and in front of it
// people with the published Direct Line client. It prints a line for each story,
// as directline.mjs does.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, Node, once, Person, SECRET, secrets, site, sleep, tell, tmp, until } from "./directline_world.mjs";

const APP = "11111111-2222-3333-4444-555555555555";
const KEY = "the-secret-of-a-bot";
secrets.add(KEY);

// Bot is a process with a bot of an SDK.
class Bot {
  static all = [];
  static async start(kind, env = {}, port = 0) {
    const b = new Bot();
    b.said = [];
    b.process = spawn("node", [new URL(`bot_${kind}.mjs`, import.meta.url).pathname], { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NODE_ENV: "development", PORT: String(port), ...env } });
    for (const s of [b.process.stdout, b.process.stderr]) s.on("data", (d) => b.said.push(String(d)));
    Bot.all.push(b);
    const found = await until(`the bot ${kind} listens; it says ${b.said}`, () => /listening (\d+)/.exec(b.said.join("")), 60_000);
    b.url = `http://127.0.0.1:${found[1]}`;
    return b;
  }
  async got(text) {
    return (await (await fetch(this.url + "/got")).json()).filter((t) => t === text).length;
  }
  stop() {
    this.process.kill("SIGKILL");
  }
}

const settings = (bot, more = "") => `engine: echo\nbots:\n  - {id: shop, name: Shop, url: "${bot.url}/api/messages", private: true, timeout: 5s${more}}\n${site()}`;

// talk begins a conversation as somebody whom the bot greets. The other one only
// polls.
async function talk(node) {
  const t = await node.token("dl_ann");
  const p = new Person({ domain: node.base, token: t.token, user: "dl_ann" });
  await p.answer("Welcome!");
  return [p, polling(node.base, t)];
}

const polling = (domain, t) => new Person({ domain, token: t.token, conversationId: t.conversationId, webSocket: false, pollingInterval: 300 });

// same waits until who polls has what who holds a WebSocket was given, once. A
// polling client on a busy machine mixes two pages; the names tell the order.
async function same(p, q) {
  const of = (who) => who.got.filter((a) => a.type === "message").map((a) => `${a.id} ${a.text}`).sort();
  await until(`by polling there are ${of(q).length} of ${of(p).length}; ${q.statuses} ${q.error?.message ?? ""}`, () => of(q).length >= of(p).length, 60_000);
  assert.deepEqual(of(q), of(p));
}

async function commands(node, p) {
  const says = async (text, want) => {
    const before = p.messages("bot").length;
    const id = await p.say(text);
    assert.notEqual(id, "retry");
    return until(`${want} for ${text}; it said ${JSON.stringify(p.messages("bot").slice(before).map((a) => a.text))}`, () => p.messages("bot").slice(before).find((a) => (a.text ?? "").includes(want)));
  };
  const echo = await says("hello", "Echo: hello");
  assert.equal(echo.replyToId, p.messages("user").at(-1).id);
  assert.equal(echo.from.role, "bot");
  assert.equal(echo.serviceUrl, undefined);

  await p.say("cmd:card");
  await until("the card", () => p.messages("bot").find((a) => a.attachments?.[0]?.content?.type === "AdaptiveCard"));
  await p.post({ type: "message", value: { from: "card", name: "Ann" } });
  await p.answer('value {"from":"card","name":"Ann"}');
  const suggest = await says("cmd:suggest", "pick one");
  assert.deepEqual(suggest.suggestedActions.actions.map((x) => x.value), ["Red", "Blue"]);
  await says("cmd:typing 100", "typed");
  assert.ok(p.got.some((a) => a.type === "typing" && a.from.role === "bot"));
  await says("cmd:burst 30", "b29;");
  await says("cmd:batch 5", "B4;");
  assert.deepEqual(p.messages("bot").map((a) => /^b(\d+);$/.exec(a.text)?.[1]).filter(Boolean), Array.from({ length: 30 }, (_, i) => String(i)));
  await says("cmd:twice", "the same");
  await until("it twice", () => p.messages("bot").filter((a) => a.text === "the same").length === 2);

  const updated = await says("cmd:update", "updated ");
  const versions = p.messages("bot").filter((a) => updated.text === "updated " + a.id);
  assert.equal(versions.at(-1).text, "second version");
  const deleted = await says("cmd:delete", "deleted ");
  assert.ok(p.got.some((a) => a.type === "messageDelete" && "deleted " + a.id === deleted.text), "the deletion is told");

  assert.match((await says("cmd:members", "members ")).text, /dl_ann/);
  const fields = JSON.parse((await says("cmd:fields", "fields ")).text.slice(7));
  assert.equal(fields.id, p.messages("user").at(-1).id);
  assert.equal(fields.channelId, "directline");
  assert.equal(fields.serviceUrl, node.url);
  assert.deepEqual([fields.from.id, fields.from.role, fields.recipient.id], ["dl_ann", "user", "shop"]);

  const parts = p.got.length;
  const whole = await says("cmd:stream 150", "lazy dog.");
  const stream = p.got.slice(parts).filter((a) => a.channelData?.streamType && a.type === "typing");
  assert.ok(stream.length > 2, `${stream.length} parts`);
  assert.equal(stream[0].channelData.streamId, undefined);
  for (const a of [...stream.slice(1), whole]) assert.equal(a.channelData.streamId, stream[0].id);
  assert.equal(whole.channelData.streamType, "final");
  assert.equal(whole.entities.find((e) => e.type === "streaminfo").streamId, stream[0].id);

  await p.post({ type: "event", name: "shop/open", value: { a: 1 } });
  await p.answer('event shop/open {"a":1}');
  await p.post({ type: "messageReaction", reactionsAdded: [{ type: "like" }], replyToId: echo.id });
  await p.answer("reaction like to " + echo.id);
  const made = JSON.parse((await says("cmd:create", "created ")).text.slice(8));
  assert.match(made.id, /^local-/);
  const theirs = await (await fetch(`${node.base}/conversations/${made.id}/activities?watermark=`, { headers: { authorization: "Bearer " + SECRET } })).json();
  assert.deepEqual(theirs.activities.map((a) => [a.id, a.text]), [[made.activityId, "in a new one"]]);
  await says("cmd:later 300", "hello again");
  await p.say("cmd:throw");
  await until("the person is told", () => p.messages("bot").find((a) => a.text?.startsWith("No answer: the bot failed")));
  await p.post({ type: "message", text: "a file", attachments: [{ contentType: "text/plain", contentUrl: "data:text/plain,hello", name: "a.txt" }] });
  await p.answer("Echo: a file [text/plain]");

  // What a stranger's client sends in other forms than the schema's does not
  // reach the bot, and his message does: the Agents SDK would fail at each of these.
  const odd = ["name", "label", "summary", "speak", "importance", "inputHint", "deliveryMode", "attachments", "entities", "membersAdded", "semanticAction", "relatesTo", "listenFor"];
  for (const value of [null, 5, {}, [null]]) {
    const text = `odd ${JSON.stringify(value)}`;
    const r = await fetch(`${node.base}/conversations/${p.line.conversationId}/activities`, {
      method: "POST", headers: { authorization: "Bearer " + p.line.token, "content-type": "application/json" },
      body: JSON.stringify({ type: "message", text, from: { id: "dl_ann" }, replyToId: "", locale: null, ...Object.fromEntries(odd.map((f) => [f, value])) }),
    });
    assert.equal(r.status, 200, await r.text());
    await p.answer("Echo: " + text);
  }

  const invoke = (value) => p.post({ type: "invoke", name: "signin/verify", value });
  assert.match(await invoke({ a: 1 }), /\|\d{7}$/);
  assert.equal(await invoke({ status: 412 }), "retry");
  await p.say("cmd:end");
  await until("the end", () => p.got.find((a) => a.type === "endOfConversation"));
  const ids = p.got.filter((a) => a.type === "message" && a.text !== "first version" && a.text !== "to be deleted").map((a) => a.id);
  assert.equal(new Set(ids).size, ids.length, "something came twice");
}

// trusted has a bot and a node that ask each other for credentials.
async function trusted(kind) {
  const port = await freePort();
  const bot = { url: `http://127.0.0.1:${port}` };
  const node = await (await Node.start(kind + "-trusted", settings(bot, `, app_id: ${APP}, secret: ${KEY}`))).ready();
  const base = node.url + "/v3/bots";
  await Bot.start(kind, { APP_ID: APP, SECRET: KEY, ISSUER: base, METADATA: base + "/.well-known/openid-configuration", AUTHORITY: base, SIDECAR_URL: base + "/shop/sidecar" }, port);
  const [p] = await talk(node);
  await commands(node, p);
  const forged = await fetch(bot.url + "/api/messages", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ type: "message", text: "evil" }) });
  assert.equal(forged.status, 401, "the bot takes what nobody signed");
}

async function open(kind) {
  const node = await (await Node.start(kind, settings(bots[kind]))).ready();
  const [p] = await talk(node);
  await commands(node, p);
  const [other, q] = await talk(node);
  const began = Date.now();
  const before = p.messages("bot").length;
  await Promise.all([p.say("cmd:burst 500"), q.say("cmd:burst 100")]);
  await until("all of them", () => p.messages("bot").length >= before + 500, 60_000);
  assert.deepEqual(p.messages("bot").slice(before).map((a) => a.text), Array.from({ length: 500 }, (_, i) => `b${i};`));
  await other.answer("b99;", 60_000);
  await same(other, q);
  console.log(`note ${kind}: 500 messages in ${Date.now() - began} ms`);
}

const kinds = ["botbuilder", "agents"];
const bots = {};
const stories = {
  // Side by side: most of the time somebody waits.
  async "every command of both SDKs, and 500 messages; nobody asks who calls, and both sides do"() {
    const all = await Promise.allSettled(kinds.flatMap((kind) => [open(kind), trusted(kind)]));
    const failed = all.find((x) => x.status === "rejected");
    if (failed) throw failed.reason;
  },
};

stories["the node is killed while a bot is at it"] = async () => {
  const bot = bots.botbuilder;
  const node = await (await Node.start("bot-killed", settings(bot))).ready();
  const [p, q] = await talk(node);
  for (const [i, ms] of [600, 1500].entries()) {
    const text = `cmd:slow ${ms}`;
    const done = p.messages("bot").filter((a) => a.text === "slow done").length;
    await p.say(text);
    await until("the bot has it", () => bot.got(text));
    await node.kill();
    await sleep(50);
    node.spawn();
    await node.ready();
    await until("the bot's answer", () => p.messages("bot").filter((a) => a.text === "slow done").length > done);
    await p.say(`after ${i}`);
    await p.answer(`Echo: after ${i}`);
    assert.equal(await bot.got(text), 1, "the bot got it more than once");
  }
  // Nothing is heard from the bot: the person is told, and the next message goes on.
  await p.say("cmd:silent 2000");
  await until("the bot has it", () => bot.got("cmd:silent 2000"));
  await node.kill();
  node.spawn();
  await node.ready();
  await p.say("after silence");
  await p.answer("it is not certain that the bot has got this");
  await p.answer("Echo: after silence");
  assert.equal(await bot.got("cmd:silent 2000"), 1);
  once(p);
  // The published client never polls again after a poll that failed: a new one does.
  await same(p, polling(node.base, { token: q.line.token, conversationId: q.line.conversationId }));
};

// The region that serves is killed while bots are at it. What they say reaches
// the other one by the edge, and people who were there go on there.
stories["a region is killed while bots are at it"] = async () => {
  const [a, b, c, e] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const edge = `http://127.0.0.1:${e}`;
  const world = (me, witness) => `region: ${me}\ncluster: {round_trip: 20ms}\nnodes:\n` +
    `  - {name: one, region: one, address: "127.0.0.1:${a}"}\n  - {name: two, region: two, address: "127.0.0.1:${b}"}\n` +
    `  - {name: three, region: three, address: "127.0.0.1:${c}", witness: true}\nengine: echo\n` +
    (witness ? "" : `bots:\n  - {id: shop, url: "${bots.botbuilder.url}/api/messages", private: true}\n  - {id: other, url: "${bots.agents.url}/api/messages", private: true}\n` +
      `channels:\n  service: ${edge}\n  directline:\n    - {name: shop, secret: ${SECRET}}\n    - {name: other, secret: ${SECRET}-2, bot: other}\n`);
  const [one, two] = [await Node.start("bot-one", world("one")), await Node.start("bot-two", world("two"))];
  await Node.start("bot-three", world("three", true));
  await Promise.all([one.ready(), two.ready()]);
  const file = join(tmp, "edge.yaml");
  writeFileSync(file, `http: {listen: "127.0.0.1:${e}"}\nregions:\n  - {name: one, url: "${one.url}"}\n  - {name: two, url: "${two.url}"}\n` +
    "policies:\n  - {name: first, method: priority, targets: [{region: one}, {region: two}]}\n");
  const front = spawn(process.env.PARLEY_BIN, ["edge", "-c", file], { stdio: "ignore" });
  try {
    await until("the edge", () => fetch(edge + "/readyz").then((r) => r.ok, () => false));
    const people = [];
    for (const [kind, secret] of [["botbuilder", SECRET], ["agents", SECRET + "-2"]]) {
      const r = await fetch(edge + "/v3/directline/tokens/generate", { method: "POST", headers: { authorization: "Bearer " + secret } });
      const t = await r.json();
      const p = new Person({ domain: edge + "/v3/directline", token: t.token });
      await p.answer("Welcome!");
      people.push([p, bots[kind], polling(edge + "/v3/directline", t)]);
    }
    const text = "cmd:slow 2222";
    await Promise.all(people.map(([p]) => p.say(text)));
    for (const [, bot] of people) await until("the bot has it", () => bot.got(text));
    await one.kill();
    for (const [p, bot, q] of people) {
      await p.answer("slow done", 60_000);
      await p.say("and on", { channelData: { clientActivityID: "on" } });
      await p.answer("Echo: and on", 60_000);
      assert.equal(await bot.got(text), 1, "the bot got it more than once");
      assert.equal(p.messages("bot").filter((x) => x.text === "slow done").length, 1);
      assert.ok(!p.statuses.includes("Ended") && !p.statuses.includes("FailedToConnect"), `${p.statuses}`);
      once(p);
      await same(p, q);
    }
  } finally {
    front.kill("SIGKILL");
  }
};

await tell(stories, async () => {
  for (const kind of kinds) bots[kind] = await Bot.start(kind);
}, () => {
  for (const b of Bot.all) b.stop();
});
