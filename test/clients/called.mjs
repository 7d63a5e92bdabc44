// A region dies under channels that have to be called: while answers grow in
// Slack and in Teams, and while programs with a webhook write. Each platform
// delivers what it has next to another region, as by an edge. It prints a line
// for each story, as directline.mjs does.

import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Node, regions, secrets, sleep, tell, until } from "./directline_world.mjs";
import { APP, APP_SECRET, Microsoft, TENANT } from "./microsoft.mjs";
import { api, callback, said, seen, SELF, settings as slack, sign, stamp, web } from "./slack_api.mjs";

const KEY = Buffer.from("a-key-of-thirty-two-bytes-length");
for (const s of [KEY.toString("base64"), APP_SECRET]) secrets.add(s);
const ms = await new Microsoft().start();

// Programs behind the webhook. They keep the ids of what they were given, as
// docs/channels/own.md says, and what came twice.
const programs = { said: {}, ids: new Set(), twice: 0, forged: 0 };
const signature = (id, at, body) => "v1," + createHmac("sha256", KEY).update(`${id}.${at}.${body}`).digest("base64");
const program = createServer(async (q, s) => {
  let body = "";
  for await (const part of q) body += part;
  const [id, at] = [q.headers["webhook-id"], q.headers["webhook-timestamp"]];
  if (q.headers["webhook-signature"] !== signature(id, at, body)) programs.forged++;
  const a = JSON.parse(body);
  if (programs.ids.has(id)) programs.twice++;
  else if (a.type === "message") (programs.said[a.conversation.id] ??= []).push(a.text);
  programs.ids.add(id);
  s.writeHead(204).end();
});
await new Promise((r) => program.listen(0, "127.0.0.1", r));

const settings = `engines: [{name: demo, kind: demo}, {name: echo, kind: echo}]
bots: [{id: talker, model: demo}, {id: parrot, model: echo}]
channels:
${slack}
  teams: [{name: desk, app_id: ${APP}, tenant: ${TENANT}, secret: "${APP_SECRET}", services: ["${ms.url}"], login: "${ms.url}", metadata: "${ms.metadata}"}]
  webhook: [{name: kiosk, url: "http://127.0.0.1:${program.address().port}/", secret: "whsec_${KEY.toString("base64")}", private: true, bot: parrot}]`;

let one, two, front; // front is where platforms deliver to

// deliver brings a delivery in, the same bytes again until they are taken. It
// returns how long that took.
async function deliver(path, body, headers) {
  for (const began = Date.now(); ; ) {
    const r = await fetch(front.url + path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body }).catch(() => undefined);
    if (r?.ok) return Date.now() - began;
    assert.ok(!r || r.status === 503 || r.status === 429, `${path}: ${r?.status}`);
    assert.ok(Date.now() - began < 60_000, `nobody takes ${body}`);
    await sleep(100);
  }
}
const event = (body) => deliver("/channels/slack/desk/events", body, sign(body));
const activity = (a) => deliver("/channels/teams/desk/messages", JSON.stringify(a), { authorization: "Bearer " + ms.token() });
function webhook(conversation, text) {
  const body = JSON.stringify({ type: "message", text, conversation: { id: conversation }, from: { id: "ann" } });
  const [id, at] = [randomUUID(), String(Math.floor(Date.now() / 1000))];
  return deliver("/channels/webhook/kiosk", body, { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature(id, at, body) });
}

const stories = {
  async "a region is killed while answers grow and messages come in"() {
    const thread = "1700000000.000100";
    const mention = (text) => callback({ type: "app_mention", channel: "C0GROW", user: "U0ANN", text: `<@${SELF}> ${text}`, ts: stamp(), thread_ts: thread });
    await Promise.all([event(mention("tell me everything about rivers")), event(said("D0GROW", "tell me everything about lakes")), activity(ms.said("a:grow", "tell me everything about seas"))]);
    const calls = (method, channel) => api.calls.filter((c) => c.method === method && c.f.channel === channel).length;
    const pieces = () => ms.calls.filter((c) => c.conversation === "a:grow" && c.a.entities?.some((e) => e.type === "streaminfo")).length;

    // Programs write meanwhile, each what comes next when the last was taken.
    const people = Array.from({ length: 10 }, (_, i) => `hall ${i}`), sent = {};
    let ended = false, slowest = 0;
    const writing = people.map(async (name) => {
      for (sent[name] = []; !ended || sent[name].length < 12; ) {
        const text = `${name}, ${sent[name].length}.`;
        slowest = Math.max(slowest, await webhook(name, text));
        sent[name].push(text);
        await sleep(20);
      }
    });
    // Second pieces say that the node has noted what the first ones are called.
    await until("they grow everywhere", () => calls("chat.appendStream", "C0GROW") > 0 && calls("chat.update", "D0GROW") > 0 && pieces() > 1);
    const had = [seen("C0GROW", thread)[0], seen("D0GROW")[0], ms.seen("a:grow")[0]].map((m) => m.shown ?? m.text);
    const killed = Date.now();
    await one.kill();
    front = two;
    const took = await Promise.all([event(mention("and bridges")), event(said("D0GROW", "and dams")), activity(ms.said("a:grow", "and islands"))]);
    ended = true;
    await Promise.all(writing);

    const whole = (m) => m && !m.streaming && !m.growing;
    await until(`both answers, everywhere`, () => [seen("C0GROW", thread), seen("D0GROW"), ms.seen("a:grow")].every((all) => all.length === 2 && all.every(whole) && all.every((m) => (m.shown ?? m.text).endsWith("."))), 40_000)
      .catch((err) => assert.fail(`${err.message}; there is ${JSON.stringify([seen("C0GROW", thread), seen("D0GROW"), ms.seen("a:grow")])}`));
    const grown = Date.now() - killed;
    for (const [i, all] of [seen("C0GROW", thread), seen("D0GROW"), ms.seen("a:grow")].entries()) {
      const texts = all.map((m) => m.shown ?? m.text);
      assert.ok(texts[0].startsWith(had[i].slice(0, 40)), `${texts[0]} does not go on with ${had[i]}`);
      assert.match(texts[1], /message 2 of yours/);
    }
    await until("all answers of the webhook", () => people.every((name) => programs.said[name]?.length >= sent[name].length), 40_000)
      .catch((err) => assert.fail(`${err.message}; ${people.map((n) => `${n}: ${programs.said[n]?.length} of ${sent[n].length}`)}`));
    for (const name of people) assert.deepEqual(programs.said[name], sent[name].map((t) => "Echo: " + t), "each answered once, in order");
    assert.deepEqual([api.broken, ms.broken, programs.forged], [[], [], 0]);
    console.log(`note the other region takes what comes in ${Math.max(...took)} ms after the kill; all grown ${grown} ms after it; ` +
      `${people.reduce((n, name) => n + sent[name].length, 0)} messages by webhook, the slowest taken after ${slowest} ms; ${programs.twice} deliveries came twice, by the same name`);
  },
};

await tell(
  stories,
  async () => {
    const world = await regions();
    [one, two] = [await Node.start("called-one", `${world("one")}${settings}`), await Node.start("called-two", `${world("two")}${settings}`)];
    await Node.start("called-three", world("three"));
    await Promise.all([one.ready(), two.ready()]);
    front = one;
  },
  () => {
    for (const s of [web, program]) {
      s.closeAllConnections();
      s.close();
    }
    ms.stop();
  },
);
