// Parley as a bot in Microsoft Teams. Teams itself can't be had, so Microsoft is
// played, and Microsoft's own packages say whether it is played well and whether
// Parley does right: botframework-connector judges tokens, agents-activity reads
// what Parley posts, and a bot of agents-hosting in Teams has to pass the same
// rules as Parley. It prints a line for each story, as directline.mjs does.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { freePort, Node, secrets, sleep, tell, until } from "./directline_world.mjs";
import { APP, APP_SECRET, Microsoft, TENANT } from "./microsoft.mjs";

const { ChannelValidation, SimpleCredentialProvider } = (await import("botframework-connector")).default;
const { activityZodSchema } = (await import("@microsoft/agents-activity")).default;

const ms = await new Microsoft().start();
const direct = await new Microsoft({ open: true }).start(); // of a bot that needs no credentials
direct.gap = 100; // how fast it is, the story says
let bot, echo, demo, behind;
secrets.add(APP_SECRET);

const settings = (more) => `${more}
channels:
  teams:
    - {name: desk, app_id: ${APP}, tenant: ${TENANT}, secret: "${APP_SECRET}", services: ["${ms.url}"], login: "${ms.url}", metadata: "${ms.metadata}"}`;

const deliver = (node, activity, token = ms.token()) =>
  fetch(node.url + "/channels/teams/desk/messages", { method: "POST", headers: { authorization: "Bearer " + token, "content-type": "application/json" }, body: JSON.stringify(activity) });

async function say(node, conversation, text, more) {
  const r = await deliver(node, ms.said(conversation, text, more));
  assert.equal(r.status, 200, await r.text());
}

const sees = (conversation, what, ok, at = ms) => until(`${what} in ${conversation}; there is ${JSON.stringify(at.seen(conversation))}`, () => at.seen(conversation).find((m) => !m.growing && ok(m)));

// sdk says whether Microsoft's SDK would let a request in.
async function sdk(token, activity) {
  ChannelValidation.OpenIdMetadataEndpoint = ms.metadata;
  const quiet = console.error;
  console.error = () => {};
  try {
    await ChannelValidation.authenticateChannelTokenWithServiceUrl("Bearer " + token, new SimpleCredentialProvider(APP, ""), activity.serviceUrl, activity.channelId);
    return true;
  } catch {
    return false;
  } finally {
    console.error = quiet;
  }
}

// posted are the activities that Parley has posted, each read by Microsoft's own
// schema.
function posted(conversation) {
  const all = ms.calls.filter((c) => c.conversation === conversation && c.a);
  for (const { a } of all) {
    const read = activityZodSchema.passthrough().safeParse({ channelId: "msteams", serviceUrl: ms.service, ...a });
    assert.ok(read.success, `${JSON.stringify(a)}: ${read.error}`);
  }
  return all;
}

const stories = {
  async "of tokens Parley says what Microsoft's SDK says"() {
    const now = Math.floor(Date.now() / 1000);
    const good = ms.token();
    const part = good.split(".");
    const header = (h) => Buffer.from(JSON.stringify(h)).toString("base64url");
    const cases = {
      good: [good],
      "expired for four minutes": [ms.token({ claims: { exp: now - 240 } })],
      "expired for six": [ms.token({ claims: { exp: now - 360 } })],
      "not yet for four minutes": [ms.token({ claims: { nbf: now + 240 } })],
      "not yet for six": [ms.token({ claims: { nbf: now + 360 } })],
      "another audience": [ms.token({ claims: { aud: "other" } })],
      "a list of audiences": [ms.token({ claims: { aud: [APP, "other"] } })],
      "another issuer": [ms.token({ claims: { iss: `https://sts.windows.net/${TENANT}/` } })],
      "no service": [ms.token({ claims: { serviceurl: undefined } })],
      "another service": [ms.token({ claims: { serviceurl: "https://evil.example.org/" } })],
      "a service without its slash": [ms.token({ claims: { serviceurl: ms.service.slice(0, -1) } })],
      "a key of another channel": [ms.token({ by: ms.keys[1] })],
      "an unknown key": [ms.token({ header: { kid: "nobody" } })],
      "another key by that name": [ms.token({ by: ms.stranger })],
      "algorithm none": [header({ alg: "none", typ: "JWT", kid: "teams" }) + "." + part[1] + "."],
      "HS256 with the public key": [header({ alg: "HS256", typ: "JWT", kid: "teams" }) + "." + part[1] + "." + part[2]],
      "no token": ["x"],
      "other claims, old signature": [part[0] + "." + header({ iss: "https://api.botframework.com", aud: APP, serviceurl: ms.service, exp: now + 9999 }) + "." + part[2]],
      // Parley is stricter: Microsoft signs with RS256 only, all its keys say what they are for, and a token without an end is none.
      "RS512": [ms.token({ alg: "RS512" }), true],
      "a key for no channel": [ms.token({ by: ms.keys[2] }), true],
      "no end": [ms.token({ claims: { exp: undefined } }), true],
    };
    for (const [name, [token, stricter]] of Object.entries(cases)) {
      const a = ms.said("a:tokens", name);
      const [want, got] = [await sdk(token, a), (await deliver(echo, a, token)).status === 200];
      if (stricter) assert.deepEqual([want, got], [true, false], name);
      else assert.equal(got, want, `${name}: Microsoft's SDK says ${want}`);
    }
    const taken = Object.entries(cases).filter(([name]) => ["good", "expired for four minutes", "not yet for four minutes"].includes(name));
    await until("the answers to the good ones", () => ms.seen("a:tokens").filter((m) => !m.growing).length === taken.length);
  },

  async "a chat of two, a group, a thread of a channel"() {
    for (const name of ["a:two", "19:many@thread.v2", "19:team@thread.tacv2;messageid=1481567603816"]) {
      await say(echo, name, "<at>Parley</at> hello", { entities: [{ type: "mention", text: "<at>Parley</at>", mentioned: { id: "28:" + APP, name: "Parley" } }] });
      const m = await sees(name, "the answer", (m) => m.text.includes("hello"));
      assert.ok(!m.text.includes("at>"), m.text);
      assert.ok(posted(name).length > 0);
    }
    assert.deepEqual(ms.broken, []);
  },

  async "what Microsoft sends twice is one message"() {
    const a = ms.said("a:twice", "once");
    const all = await Promise.all(Array.from({ length: 6 }, () => deliver(echo, a)));
    assert.deepEqual(all.map((r) => r.status), Array(6).fill(200));
    await say(echo, "a:twice", "the last");
    await sees("a:twice", "the last answer", (m) => m.text.includes("the last"));
    assert.equal(ms.seen("a:twice").length, 2);
  },

  async "a long answer grows, by the rules of a bot of Microsoft's SDK"() {
    const r = await fetch(bot + "/api/messages", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(direct.said("a:sdk", "cmd:stream 300")) });
    assert.ok(r.ok, String(r.status));
    await sees("a:sdk", "what the SDK streams", (m) => m.text.endsWith("."), direct);
    assert.deepEqual(direct.broken, [], "Microsoft's own SDK breaks the rules that Parley is held to");
    const pieces = (at, name) => at.calls.filter((c) => c.conversation === name).map((c) => c.a.entities?.find((e) => e.type === "streaminfo")).filter(Boolean);
    assert.ok(pieces(direct, "a:sdk").length > 3);

    await say(demo, "a:long", "tell me everything about rivers");
    await sees("a:long", "the answer", (m) => m.text.length > 100);
    posted("a:long");
    const ours = pieces(ms, "a:long");
    assert.ok(ours.length > 2, `${ours.length} pieces`);
    assert.deepEqual(ms.broken, []);
    // The names of the fields, and which pieces have which, are those of the SDK.
    const shape = (all) => all.map((e) => [e.streamType, "streamId" in e, "streamSequence" in e]);
    assert.deepEqual(shape(ours)[0].slice(1), [false, true]);
    assert.deepEqual(shape(ours)[1], ["streaming", true, true]);
    assert.deepEqual(shape(ours).at(-1).slice(0, 2), ["final", true]);
    for (const [one, of] of [[ours, "Parley"], [pieces(direct, "a:sdk"), "the SDK"]]) assert.ok(one.every((e) => Object.keys(e).every((k) => ["type", "streamId", "streamType", "streamSequence"].includes(k))), of);
  },

  async "the node is killed in mid-answer and the message is finished"() {
    await say(demo, "a:kill", "tell me everything about mountains");
    // A second part says that the node has noted what Teams calls the first. A
    // node that dies in between leaves a beginning behind: docs/channels/teams.md.
    const parts = () => ms.calls.filter((c) => c.conversation === "a:kill" && c.a.entities?.some((e) => e.type === "streaminfo"));
    await until("two parts of it", () => parts().length > 1);
    assert.ok(ms.seen("a:kill")[0].growing);
    await demo.kill();
    const had = ms.seen("a:kill")[0].text;
    demo.spawn();
    await demo.ready();
    const m = await sees("a:kill", "the whole answer", (m) => m.text.length > had.length);
    assert.equal(ms.seen("a:kill").length, 1, JSON.stringify(ms.seen("a:kill")));
    assert.ok(m.text.startsWith(had.slice(0, 20)));
    assert.deepEqual(ms.broken, []);
  },

  async "429 is obeyed, in order"() {
    await say(echo, "19:slow@thread.v2", "first");
    await sees("19:slow@thread.v2", "the first answer", (m) => m.text.includes("first"));
    ms.plan.push([429, { error: { code: "Throttled" } }, { "retry-after": "2" }]);
    const began = Date.now();
    for (const t of ["one.", "two.", "three."]) await say(echo, "19:slow@thread.v2", t);
    await sees("19:slow@thread.v2", "the third answer", (m) => m.text.includes("three."));
    assert.ok(Date.now() - began >= 2000);
    assert.deepEqual(ms.seen("19:slow@thread.v2").map((m) => /(first|one\.|two\.|three\.)/.exec(m.text)?.[1]), ["first", "one.", "two.", "three."]);
  },

  async "a bot of the Agents SDK behind Parley, in Teams"() {
    const name = "a:behind";
    await say(behind, name, "", { type: "conversationUpdate", membersAdded: [{ id: "28:" + APP }, { id: "29:megan" }] });
    await sees(name, "the greeting", (m) => m.text.includes("Welcome!"));
    await say(behind, name, "hello");
    await sees(name, "the answer", (m) => m.text === "Echo: hello");
    await say(behind, name, "cmd:card");
    const card = await sees(name, "the card", (m) => m.cards.length === 1);
    assert.equal(card.cards[0].content.type, "AdaptiveCard");
    await say(behind, name, "", { text: undefined, value: { from: "card", name: "Ann" } });
    await sees(name, "what the card held", (m) => m.text.includes('value {"from":"card","name":"Ann"}'));
    await say(behind, name, "cmd:suggest");
    assert.deepEqual((await sees(name, "the suggestions", (m) => m.text === "pick one")).buttons, ["Red", "Blue"]);
    await say(behind, name, "cmd:update");
    assert.ok((await sees(name, "the update", (m) => m.text === "second version")).edited);
    await say(behind, name, "cmd:delete");
    await sees(name, "the deletion", (m) => m.text.startsWith("deleted "));
    await until("it is gone", () => !ms.seen(name).some((m) => m.text === "to be deleted"));
    await say(behind, name, "cmd:burst 8");
    await sees(name, "all of the burst", (m) => m.text === "b7;");
    assert.deepEqual(ms.seen(name).map((m) => /^b(\d);$/.exec(m.text)?.[1]).filter(Boolean), [..."01234567"]);
    await say(behind, name, "cmd:fields");
    const fields = JSON.parse((await sees(name, "the fields", (m) => m.text.startsWith("fields "))).text.slice(7));
    assert.equal(fields.channelId, "msteams");
    await say(behind, name, "cmd:stream 200");
    await until("the end of its stream", () => ms.seen(name).some((m) => !m.growing && m.text.split(" ").length > 5 && m.text.endsWith(".")));
    const invoke = await deliver(behind, ms.said(name, "", { type: "invoke", name: "adaptiveCard/action", value: { action: { verb: "x" } } }));
    assert.equal(invoke.status, 200, await invoke.clone().text());
    assert.equal((await deliver(echo, ms.said(name, "", { type: "invoke", name: "task/fetch" }))).status, 501);
    posted(name);
    assert.deepEqual(ms.broken, []);
  },
};

await tell(
  stories,
  async () => {
    const port = await freePort();
    const child = spawn("node", [new URL("bot_agents.mjs", import.meta.url).pathname], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, NODE_ENV: "development", PORT: String(port) } });
    process.on("exit", () => child.kill("SIGKILL"));
    let says = "";
    child.stdout.on("data", (d) => (says += d));
    await until("the bot listens", () => says.includes("listening"), 60_000);
    bot = `http://127.0.0.1:${port}`;
    [echo, demo, behind] = await Promise.all([
      Node.start("echo", settings("engine: echo")), Node.start("demo", settings("engine: demo")),
      Node.start("behind", settings(`engine: echo\nbots: [{id: sdk, name: SDK, url: "${bot}/api/messages", private: true, timeout: 10s}]`)),
    ]);
    await Promise.all([echo, demo, behind].map((n) => n.ready()));
    await sleep(0);
  },
  () => {
    ms.stop();
    direct.stop();
  },
);
