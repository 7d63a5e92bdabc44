// The published Direct Line client (botframework-directlinejs) judges that
// channel: the program is started, killed and started again under it. It prints
// a line for each story, "ok NAME" or "failed NAME" behind the reasons, and "end".

import assert from "node:assert/strict";
import { join } from "node:path";
import { Node, once, Person, regions, SECRET, site, sleep, tell, until } from "./directline_world.mjs";
import { Socket } from "./browser_globals.mjs";

const { EXAMPLES, KILLS = "3" } = process.env;

// guide is the example of a script: no language model has a part in it.
const guide = `engine: demo\nbots: [{id: guide}, {id: bookings}]
understanding: [{name: cityguide, model: ${join(EXAMPLES, "nlu/cityguide")}, flows: ${join(EXAMPLES, "flows/cityguide.yaml")}}]\n`;
const booking = [
  ["a table for four, please", "At what time?"],
  ["tomorrow at 8 pm", "Would you like to sit inside or outside?"],
  ["outside", "Under which name?"],
  ["Kim", "A table for four, tomorrow at 8 pm, outside, for Kim. Is that right?"],
  ["no, make it six", "A table for six, tomorrow at 8 pm, outside, for Kim. Is that right?"],
];

let echo;
const stories = {
  async "token, WebSocket, an answer to what was said"() {
    const t = await echo.token("dl_ann");
    const p = new Person({ domain: echo.base, token: t.token, user: "dl_ann" });
    const id = await p.say("hello one", { channelData: { clientActivityID: "c1" } });
    const answer = await p.answer("hello one");
    const own = await until("the own message", () => p.got.find((a) => a.id === id));
    assert.equal(own.channelData.clientActivityID, "c1");
    assert.equal(own.from.id, "dl_ann");
    assert.equal(answer.replyToId, id);
    await p.is("Online");
    once(p);
  },
  async "the secret itself, and polling"() {
    const p = new Person({ domain: echo.base, secret: SECRET });
    await p.say("by secret");
    await p.answer("by secret");
    const q = new Person({ domain: echo.base, token: (await echo.token()).token, webSocket: false, pollingInterval: 200 });
    await q.say("by polling");
    await q.answer("by polling");
    await sleep(600);
    once(q);
  },
  async "many see the same, one of them cut off twice"() {
    const t = await echo.token("dl_ann");
    const open = (more) => new Person({ domain: echo.base, token: t.token, user: "dl_ann", ...more });
    const a = open({});
    await a.say("first");
    await a.answer("first");
    const b = open({ conversationId: t.conversationId });
    const c = open({ conversationId: t.conversationId, webSocket: false, pollingInterval: 200 });
    const n = 60;
    for (let i = 0; i < n; i++) {
      assert.match(await a.say(`m${i};`), /\|\d{7}$/);
      if (i % 20 === 10) [...Socket.open].at(-1)?.terminate();
    }
    for (const p of [a, b, c]) {
      await until("all of it", () => p.messages().length >= 2 * n + 2);
      // On a machine that is busy for long, the polling client mixes two pages.
      if (p === c) p.got.sort((x, y) => (x.id < y.id ? -1 : 1));
      once(p);
      assert.deepEqual(p.messages().map((x) => x.id), a.messages().map((x) => x.id));
    }
    assert.deepEqual(a.messages("user").slice(1).map((x) => x.text), Array.from({ length: n }, (_, i) => `m${i};`));
  },
  async "files go there and back"() {
    const p = new Person({ domain: echo.base, token: (await echo.token("dl_ann")).token, user: "dl_ann" });
    await p.is("Online");
    const id = await p.say("with files", {
      attachments: [
        { contentType: "text/plain", contentUrl: "data:text/plain,hello%20file", name: "é.txt" },
        { contentType: "image/gif", contentUrl: "data:image/gif;base64,R0lGODlhAQABAAAAACw=", name: "dot.gif" },
      ],
    });
    const a = await until("the message with its files", () => p.got.find((x) => x.id === id));
    assert.deepEqual(a.attachments.map((x) => [x.name, x.contentType]), [["é.txt", "text/plain"], ["dot.gif", "image/gif"]]);
    assert.equal(await (await fetch(a.attachments[0].contentUrl)).text(), "hello file");
    await p.answer("with files");
  },
  async "an answer grows under one name"() {
    const node = await (await Node.start("demo", "engine: demo\n" + site())).ready();
    const p = new Person({ domain: node.base, token: (await node.token()).token });
    const id = await p.say("tell me");
    const end = await p.answer("demonstration");
    const parts = p.got.filter((a) => a.type === "typing");
    assert.ok(parts.length > 3, `${parts.length} parts`);
    for (const [i, a] of parts.entries()) {
      assert.equal(a.replyToId, id);
      assert.equal(a.channelData.streamId, i ? parts[0].id : undefined);
      assert.ok(i === 0 || a.text.startsWith(parts[i - 1].text));
      assert.ok(i === 0 || a.channelData.streamSequence > parts[i - 1].channelData.streamSequence);
    }
    assert.equal(end.channelData.streamId, parts[0].id);
    assert.equal(end.channelData.streamType, "final");
    assert.ok(end.text.startsWith(parts.at(-1).text));
  },
  async "a token that runs out"() {
    const node = await (await Node.start("short", "engine: echo\n" + site("6s"))).ready();
    const t = await node.token("dl_ann");
    const p = new Person({ domain: node.base, token: t.token, user: "dl_ann", timeout: 500 });
    await p.say("in time");
    await p.answer("in time");
    await sleep(6200);
    // 401 would end a client for good, 403 has it wait for another token.
    for (const [method, path] of [["GET", `/conversations/${t.conversationId}/activities`], ["GET", `/conversations/${t.conversationId}?watermark=`], ["POST", "/tokens/refresh"], ["POST", "/conversations"]]) {
      const r = await fetch(node.base + path, { method, headers: { authorization: "Bearer " + t.token } });
      assert.deepEqual([r.status, (await r.json()).error.code], [403, "TokenExpired"], `${method} ${path}`);
    }
    assert.equal(await p.say("too late"), "retry");
    await p.is("ExpiredToken");
    const r = await fetch(`${node.base}/conversations/${t.conversationId}?watermark=${p.line.watermark}`, { headers: { authorization: "Bearer " + SECRET } });
    p.line.reconnect(await r.json());
    await p.is("Online");
    await sleep(1000); // the library opens several streams now, and what is said meanwhile may come on two of them
    await p.say("again");
    await p.answer("again");
    once(p);
  },
  async "wrong tokens end as FailedToConnect"() {
    for (const token of ["bad.bad.bad", (await echo.token()).token.slice(0, -3) + "AAA"]) {
      const p = new Person({ domain: echo.base, token });
      await until("FailedToConnect", () => p.statuses.includes("FailedToConnect"));
    }
  },
  async "the node is killed while people write"() {
    const node = await (await Node.start("killed", "engine: echo\n" + site())).ready();
    const t = await node.token("dl_ann");
    const p = new Person({ domain: node.base, token: t.token, user: "dl_ann" });
    await p.is("Online");
    const told = [];
    let ended = false;
    const writing = (async () => {
      for (let i = 0; !ended; i++) {
        // What was not acknowledged is sent again, as Web Chat does when asked to.
        for (;;) {
          const id = await p.say(`k${i};`, { channelData: { clientActivityID: `k${i}` } }).catch(() => "retry");
          if (id !== "retry") {
            told.push(id);
            break;
          }
          await sleep(100);
        }
      }
    })();
    for (let k = 0; k < +KILLS; k++) {
      const before = told.length;
      await until("some messages", () => told.length > before + 5);
      await node.kill();
      await sleep(50);
      node.spawn();
      await node.ready();
    }
    const before = told.length;
    await until("some more", () => told.length > before + 5);
    ended = true;
    await writing;
    await until("all answers", () => p.messages("bot").length >= told.length, 60_000);
    once(p);
    assert.deepEqual(p.messages("user").map((a) => a.id), told, "what was acknowledged is not what came");
    assert.deepEqual(p.messages("bot").map((a) => a.text), told.map((_, i) => `Echo: k${i};`));
    assert.ok(!p.statuses.includes("Ended") && !p.statuses.includes("FailedToConnect"), `${p.statuses}`);
    console.log(`note ${told.length} messages over ${KILLS} kills, each there once and answered once`);
  },
  async "another region goes on with the conversation"() {
    const world = await regions(), echoing = "engine: echo\n" + site();
    const one = await Node.start("one", world("one") + echoing), two = await Node.start("two", world("two") + echoing);
    await Node.start("three", world("three"));
    await one.ready();
    await two.ready();
    const t = await one.token("dl_ann");
    const p = new Person({ domain: one.base, token: t.token, user: "dl_ann" });
    for (let i = 0; i < 10; i++) await p.say(`r${i};`);
    await p.answer("r9;");
    const files = await p.say("a file", { attachments: [{ contentType: "text/plain", contentUrl: "data:text/plain,kept", name: "a.txt" }] });
    const kept = await until("the file", () => p.got.find((x) => x.id === files));
    await until("its answer", () => p.messages().length >= 22);
    const before = p.messages().map((x) => [x.id, x.timestamp]);
    const mark = p.line.watermark;
    await one.kill();
    // At once, with the same token: nothing there may say that there is no such conversation.
    const q = new Person({ domain: two.base, token: t.token, conversationId: t.conversationId, watermark: "0", user: "dl_ann" });
    const r = new Person({ domain: two.base, token: t.token, conversationId: t.conversationId, watermark: mark, user: "dl_ann" });
    const began = Date.now();
    let id;
    do id = await q.say("and now here;", { channelData: { clientActivityID: "moved" } }); while (id === "retry");
    console.log(`note taken by the other region ${Date.now() - began} ms after the death of the first`);
    await q.answer("and now here;", 60_000);
    await r.answer("and now here;", 60_000);
    assert.deepEqual(q.messages().slice(0, 22).map((x) => [x.id, x.timestamp]), before, "the same ids and times in the other region");
    assert.deepEqual(r.messages().map((x) => x.text), ["and now here;", "Echo: and now here;"], "after the watermark of the first region");
    for (const x of [q, r]) {
      once(x);
      assert.ok(!x.statuses.includes("Ended") && !x.statuses.includes("FailedToConnect"), `${x.statuses}`);
    }
    assert.equal(await (await fetch(kept.attachments[0].contentUrl.replace(one.url, two.url))).text(), "kept");
  },
  async "a script asks its next question after its node and its region were killed"() {
    const world = await regions();
    const one = await Node.start("guide-one", world("one") + guide + site()), two = await Node.start("guide-two", world("two") + guide + site());
    await Node.start("guide-three", world("three"));
    await one.ready();
    await two.ready();
    const t = await one.token("dl_ann");
    const open = (node, more) => new Person({ domain: node.base, token: t.token, user: "dl_ann", ...more });
    let p = open(one);
    for (const [i, [says, answer]] of booking.entries()) {
      const clientActivityID = `s${i}`;
      while ((await p.say(says, { channelData: { clientActivityID } }).catch(() => "retry")) === "retry") await sleep(100);
      if (i === 1) { // as soon as it is said: the node comes back
        await one.kill();
        one.spawn();
        await one.ready();
      }
      if (i === 2) { // for good: another region has the next question
        await one.kill();
        p = open(two, { conversationId: t.conversationId, watermark: "0" });
      }
      await p.answer(answer, 60_000);
    }
    assert.deepEqual(p.messages().map((a) => a.text), booking.flat(), "all that was said, once, in its order");
    once(p);
  },
};

await tell(stories, async () => {
  echo = await (await Node.start("echo", "engine: echo\n" + site())).ready();
});
