// Parley as an app in Slack. Slack itself can't be had, so it is played: its
// requests are signed as Slack signs them, which @slack/bolt judges, and its Web
// API takes only what Slack has published that it takes. It prints a line for
// each story, as directline.mjs does.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { freePort, Node, sleep, tell, until } from "./directline_world.mjs";
import { api, BOT, callback, said, seen, sees, SELF, settings as account, sign, SIGNING, stamp, TEAM, TOKEN, web } from "./slack_api.mjs";

const { App, HTTPReceiver, verifySlackRequest } = (await import("@slack/bolt")).default;

// A bot that runs elsewhere and takes half a minute.
const slowBot = createServer((q, s) => setTimeout(() => s.writeHead(200).end(), 30_000).unref());
await new Promise((r) => slowBot.listen(0, "127.0.0.1", r));

const post = (node, path, body, headers = sign(body), kind = "application/json") =>
  fetch(`${node.url}/channels/slack/desk/${path}`, { method: "POST", headers: { "content-type": kind, ...headers }, body });

async function say(node, body) {
  const r = await post(node, "events", body);
  assert.equal(r.status, 200, await r.text());
}

let echo, demo, slow;
const settings = (more) => `${more}\nchannels:\n${account}`;

const stories = {
  async "of signatures Parley says what Bolt says"() {
    const now = Math.floor(Date.now() / 1000);
    const body = said("D0SIGN", "signed \u00e9");
    const cases = {
      good: [sign(body)], "four minutes old": [sign(body, now - 240)], "six minutes old": [sign(body, now - 360)], "in four minutes": [sign(body, now + 240)],
      "another secret": [sign(body, now, "guess")], "another body": [sign(body + " ")], "another time": [{ ...sign(body), "x-slack-request-timestamp": String(now - 1) }],
      "another version": [{ ...sign(body), "x-slack-signature": sign(body)["x-slack-signature"].replace("v0", "v1") }],
      "half of it": [{ ...sign(body), "x-slack-signature": sign(body)["x-slack-signature"].slice(0, 30) }],
      // Parley is stricter: what comes early may be kept for later.
      "in six minutes": [sign(body, now + 360), true],
    };
    for (const [name, [headers, stricter]] of Object.entries(cases)) {
      let bolt = true;
      try {
        verifySlackRequest({ signingSecret: SIGNING, body, headers: { ...headers, "x-slack-request-timestamp": +headers["x-slack-request-timestamp"] } });
      } catch {
        bolt = false;
      }
      const status = (await post(echo, "events", body, headers)).status;
      assert.equal(status, (stricter ? false : bolt) ? 200 : 401, `${name}: Bolt says ${bolt}`);
      if (stricter) assert.ok(bolt, name);
    }
    await sees("D0SIGN", undefined, "signed é");
    assert.equal(seen("D0SIGN").length, 1);
  },

  async "what Parley is sent, Bolt takes for what it is"() {
    const got = [];
    const port = await freePort();
    const receiver = new HTTPReceiver({ signingSecret: SIGNING, endpoints: "/channels/slack/desk/events", logLevel: "error" });
    const app = new App({ receiver, authorize: async () => ({ botToken: TOKEN, botId: BOT, botUserId: SELF }), logLevel: "error" });
    app.message(async ({ message }) => void got.push(message.text));
    app.event("app_mention", async ({ event }) => void got.push(event.text));
    await app.start({ port, host: "127.0.0.1" });
    try {
      const message = said("D0BOLT", "to bolt");
      const mention = callback({ type: "app_mention", channel: "C0BOLT", user: "U0ANN", text: `<@${SELF}> and to bolt`, ts: stamp() });
      for (const node of [{ url: `http://127.0.0.1:${port}` }, echo]) for (const body of [message, mention]) await say(node, body);
      const url = JSON.stringify({ type: "url_verification", challenge: "c1" });
      for (const node of [{ url: `http://127.0.0.1:${port}` }, echo]) assert.equal((await (await post(node, "events", url)).json()).challenge, "c1");
      await until("Bolt has both", () => got.length === 2);
    } finally {
      await app.stop();
    }
    await sees("D0BOLT", undefined, "Echo: to bolt");
    const thread = api.calls.find((c) => c.f.channel === "C0BOLT")?.f.thread_ts ?? (await until("an answer in the channel", () => api.messages.find((m) => m.channel === "C0BOLT")?.thread));
    await sees("C0BOLT", thread, "Echo: and to bolt");
  },

  async "what Slack sends again is one message"() {
    const body = said("D0TWICE", "only once");
    const all = await Promise.all(Array.from({ length: 6 }, (_, i) => post(echo, "events", body, { ...sign(body), "x-slack-retry-num": String(i) })));
    assert.deepEqual(all.map((r) => r.status), Array(6).fill(200));
    await say(echo, said("D0TWICE", "the last"));
    await sees("D0TWICE", undefined, "the last");
    assert.equal(seen("D0TWICE").length, 2);
  },

  async "it answers within three seconds while a bot takes thirty"() {
    const began = Date.now();
    await say(slow, said("D0SLOW", "take your time"));
    assert.ok(Date.now() - began < 3000, `${Date.now() - began} ms`);
  },

  async "a pause that Slack asks for is kept, and nothing overtakes"() {
    await say(echo, said("D0LIMIT", "message 0"));
    await sees("D0LIMIT", undefined, "message 0");
    api.limit = 2;
    for (const i of [1, 2, 3]) await say(echo, said("D0LIMIT", `message ${i}`));
    await sees("D0LIMIT", undefined, "message 3");
    assert.deepEqual(seen("D0LIMIT").map((m) => m.shown), [0, 1, 2, 3].map((i) => `Echo: message ${i}`));
  },

  async "a long answer grows in its thread, and in a direct message by changes"() {
    await say(demo, callback({ type: "app_mention", channel: "C0LONG", user: "U0ANN", text: `<@${SELF}> tell me everything about rivers`, ts: "1700000000.000100" }));
    await say(demo, said("D0LONG", "tell me everything about mountains"));
    for (const [channel, thread, by] of [["C0LONG", "1700000000.000100", "chat.appendStream"], ["D0LONG", undefined, "chat.update"]]) {
      await until(`an answer in ${channel}`, () => api.calls.some((c) => c.method === by && c.f.channel === channel));
      const m = await until(`its end in ${channel}`, () => seen(channel, thread).find((m) => !m.streaming && m.shown.length > 100));
      await sleep(1500);
      assert.equal(seen(channel, thread).length, 1);
      assert.ok(m.shown.length > 100);
    }
  },

  async "a command is answered where it was typed, and a press where the button is"() {
    const form = (o) => new URLSearchParams(o).toString();
    const kind = "application/x-www-form-urlencoded";
    const command = form({ command: "/desk", text: "what is it", team_id: TEAM, channel_id: "C0CMD", user_id: "U0ANN", trigger_id: "t1", response_url: "https://hooks.slack.com/x", token: "old" });
    const r = await (await post(echo, "commands", command, sign(command), kind)).json();
    assert.equal(r.response_type, "ephemeral");
    await sees("C0CMD", undefined, "what is it");
    const press = form({ payload: JSON.stringify({
      type: "block_actions", user: { id: "U0ANN" }, team: { id: TEAM }, channel: { id: "D0PRESS" }, container: { message_ts: "17.01" }, trigger_id: "t2",
      actions: [{ action_id: "parley.0", type: "button", value: JSON.stringify({ s: "the red one" }), action_ts: "18.01" }],
    }) });
    assert.equal((await post(echo, "actions", press, sign(press), kind)).status, 200);
    await sees("D0PRESS", undefined, "the red one");
  },

  async "what is odd is refused and reaches nobody"() {
    const body = said("D0ODD", "evil");
    for (const [status, b] of [[403, body.replaceAll(TEAM, "T0OTHER")], [413, body + " ".repeat(1 << 20)], [400, "{"], [400, body.replace("D0ODD", "../x")]]) {
      assert.equal((await post(echo, "events", b)).status, status, b.slice(0, 80));
    }
    assert.equal((await post(echo, "events", body, {})).status, 401);
    await say(echo, said("D0ODD", "honest"));
    await sees("D0ODD", undefined, "honest");
    assert.equal(seen("D0ODD").length, 1);
  },

  async "nothing was against Slack's rules"() {
    assert.deepEqual(api.broken, []);
  },
};

await tell(
  stories,
  async () => {
    [echo, demo, slow] = await Promise.all([
      Node.start("slack-echo", settings("engine: echo")), Node.start("slack-demo", settings("engine: demo")),
      Node.start("slack-slow", settings(`engine: echo\nbots: [{id: sdk, name: SDK, url: "http://127.0.0.1:${slowBot.address().port}/api/messages", private: true, timeout: 40s}]`)),
    ]);
    await Promise.all([echo, demo, slow].map((n) => n.ready()));
  },
  () => {
    web.closeAllConnections();
    web.close();
    slowBot.closeAllConnections();
    slowBot.close();
  },
);
