// An answer that began is finished, once, and shown whole.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { numbered } from "../lib/engine.mjs";
import { real } from "../lib/node.mjs";
import { bare, equal, ok, pause, soon, until } from "../lib/util.mjs";

const words = numbered(120);
const slow = { delay: 25, answer: () => words };

// whole checks that every word is there, once, in its order.
async function whole(p, expect) {
  equal(await p.agrees(expect), words, "the answer in the log");
  await soon(async () => (await p.answer()).trim(), words, "the answer on screen");
}

// midway asks a real model until an answer is met in its middle, for some are
// short, and returns the answer's number.
async function midway(p, ask, n = 1) {
  const words = 8;
  for (const most = n + 10; n < most; n++) {
    await p.say(ask);
    const met = () =>
      p.page.evaluate(([n, words]) => {
        const running = document.querySelector("article.running .md")?.textContent ?? "";
        if (running.split(/\s+/).length >= words) return "middle";
        return document.querySelectorAll("article.answer").length === n && !document.querySelector("article.running, article.waiting") ? "end" : "";
      }, [n, words]);
    if ((await until(met, "an answer of the model", 60_000)) === "middle") return n;
  }
  throw new Error("ten answers were over before their middle was seen");
}

export const stories = {
  "an answer streams in": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for me");
    await p.middle(3);
    ok((await p.said())[0] === "Count for me", "the message is on screen");
    const seen = new Set();
    await until(async () => {
      const a = await p.answer();
      ok(words.startsWith(a.trim()), `what is seen is a prefix of the answer: ${a.slice(-40)}`);
      seen.add(a.length);
      return !(await p.page.$("article.running"));
    }, "the answer ends");
    await p.finished();
    ok(seen.size >= 8, `the text grew in many steps (${seen.size})`);
    ok(/^\/c\//.test(new URL(p.page.url()).pathname), "the conversation has an address");
    await whole(p);
    t.log(`the text grew in ${seen.size} steps`);
  },

  "a reload in mid-answer shows the whole answer": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for me");
    await p.middle(20);
    await p.page.reload();
    await p.finished();
    await whole(p);
    ok(e.calls === 1, `the engine was asked once (${e.calls})`);
  },

  "a reload right after sending loses and doubles nothing": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.page.route("**/activities", async (route) => {
      await pause(150);
      await route.continue().catch(() => {});
    });
    await p.say("Count for me");
    await p.page.reload();
    await p.page.waitForSelector("#compose");
    await p.finished();
    await whole(p);
  },

  "a killed node: the page re-attaches by itself, nothing is doubled": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for me");
    await p.middle(25);
    const before = (await p.answer()).trim();
    await n.kill();
    await until(() => p.page.isVisible(".banner.warn"), "the page says that the connection is lost");
    ok((await p.answer()).trim().startsWith(before), "what was seen stays on screen");
    const began = Date.now();
    await n.start();
    await p.finished(1, 60_000);
    t.log(`the answer was whole ${((Date.now() - began) / 1000).toFixed(1)} s after the node was started again; ${await p.state()}`);
    await until(async () => !(await p.page.isVisible(".banner.warn")), "the page says no more that the connection is lost");
    await whole(p);
    await p.say("Once more");
    await p.finished(2);
    await p.agrees({ users: 2, bots: 2 });
  },

  "a node killed three times in one answer": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for me");
    for (const at of [10, 30, 50]) {
      await until(async () => (await p.answer()).trim().split(" ").length >= at || !(await p.page.$("article.running")), `${at} words`, 40_000);
      await n.kill();
      await n.start();
    }
    await p.finished(1, 60_000);
    await whole(p);
  },

  "a node killed at random moments, answer after answer": async (t) => {
    const rounds = Number(process.env.KILLS ?? 5); // the long run: KILLS=50
    const e = await t.engine({ delay: 10, answer: (ask) => `${ask}: ${numbered(60)}` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    let resumed = 0;
    for (let round = 1; round <= rounds; round++) {
      const i = ((round - 1) % 25) + 1; // in this conversation; a long one shows its end only
      if (i === 1 && round > 1) await p.page.click("text=New conversation");
      await p.say(`Round ${i}`);
      await pause(Math.random() * 1000);
      await n.kill();
      await pause(Math.random() * 300);
      await n.start();
      await p.finished(i, 60_000);
      if (/resumed/.test(await p.state())) resumed++;
      equal(await p.agrees({ users: i, bots: i }), `Round ${i}: ${numbered(60)}`, `answer ${i} in the log`);
      await soon(async () => (await p.answer()).trim(), `Round ${i}: ${numbered(60)}`, `answer ${i} on screen`);
      equal((await p.said()).join("|"), Array.from({ length: i }, (_, k) => `Round ${k + 1}`).join("|"), "every message once, in order");
    }
    t.log(`${rounds} kills, ${resumed} of them in the middle of an answer`);
  },

  "a real model's answer streams in, and survives a kill": async (t) => {
    if (process.env.PARLEY_TEST_REAL !== "1") t.skip("PARLEY_TEST_REAL=1 runs it, with the embedded engine");
    const n = await real(t);
    const p = await t.page(n.url);
    const asked = await midway(p, "Write a long story about the sea.");
    const before = (await p.answer()).trim();
    await n.kill();
    await n.start();
    await p.finished(asked, 240_000);
    const text = await p.agrees({ users: asked, bots: asked });
    ok(bare(text).startsWith(bare(before)), "what was seen before the kill is how the answer begins");
    t.log(`${text.split(/\s+/).length} words; ${await p.state()}`);
  },

  "a real model's engine killed in mid-answer: the answer goes on": async (t) => {
    if (process.env.PARLEY_TEST_REAL !== "1") t.skip("PARLEY_TEST_REAL=1 runs it, with the embedded engine");
    if (process.platform === "win32") t.skip("it looks for the engine's process with pgrep");
    const n = await real(t);
    const p = await t.page(n.url);
    let asked = 0;
    let text = "";
    for (let tries = 0; tries < 5 && !/resumed/.test(await p.state()); tries++) { // it may be over when the kill comes
      asked = await midway(p, "Write a long story about mountains.", asked + 1);
      const before = (await p.answer()).trim();
      const engines = spawnSync("pgrep", ["-P", String(n.child.pid)], { encoding: "utf8" }).stdout.split(/\s+/).filter(Boolean);
      ok(engines.length > 0, "the node has an engine process");
      for (const pid of engines) process.kill(Number(pid), "SIGKILL");
      await p.finished(asked, 240_000);
      text = await p.agrees({ users: asked, bots: asked });
      ok(bare(text).startsWith(bare(before)), "what was seen before the kill is how the answer begins");
    }
    await soon(async () => /resumed/.test(await p.state()), true, "the page says that it was resumed");
    t.log(`${text.split(/\s+/).length} words; ${await p.state()}`);
  },

  "a message sent while the node is down goes out when it is back": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("First");
    await p.finished();
    await n.kill();
    await p.say("Second, into the void");
    await until(async () => /not sent yet/.test(await p.state()), "the page says that it is not sent yet");
    await p.page.reload().catch(() => {}); // the server is gone: the browser's own error page
    await n.start();
    await p.page.goto(p.url + "/").catch(() => {});
    await until(async () => (await p.page.$$("nav .entry")).length === 1, "the list");
    await p.page.click("nav .entry a");
    await p.finished(2);
    await p.agrees({ users: 2, bots: 2 });
  },

  "a line cut in mid-answer, and back": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const l = await t.line(n.port);
    const p = await t.page(l.url);
    await p.say("Count for me");
    await p.middle(20);
    l.cut();
    await until(() => p.page.isVisible(".banner.warn"), "the page says that the connection is lost");
    await until(() => e.running === 0, "the answer ends without the page");
    l.mend();
    await p.finished();
    await whole(p);
    ok(e.calls === 1 && e.cut === 0, `the engine was asked once and not cut (${e.calls}, ${e.cut})`);
  },

  "a line that breaks every 300 ms": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const l = await t.line(n.port);
    const p = await t.page(l.url);
    await p.say("Count for me");
    await p.middle(5);
    for (let i = 0; i < 8; i++) {
      l.cut();
      await pause(50);
      l.mend();
      await pause(250);
    }
    await p.finished();
    await whole(p);
  },

  "offline in mid-answer, and back": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for me");
    await p.middle(20);
    await p.context.setOffline(true);
    await until(() => p.page.isVisible(".banner.warn"), "the page says that there is no connection");
    await p.say("And this waits");
    await until(async () => /not sent yet|sending/.test(await p.state()), "the message waits");
    await p.page.screenshot({ path: join(t.out, "offline.png") });
    await until(() => e.running === 0, "the answer ends without the page");
    ok(e.calls === 1, "the message did not get out");
    await p.context.setOffline(false);
    await p.finished(2);
    await p.agrees({ users: 2, bots: 2 });
    await soon(async () => (await p.answers())[0].trim(), words, "the first answer");
    ok(!(await p.page.isVisible(".banner.warn")), "no warning is left");
  },

  "a lost reply: the retry has the same key and doubles nothing": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    const keys = [];
    // Without its stream the page cannot see that the message is there already.
    await p.page.route("**/events?*", (route) => (keys.length > 2 ? route.continue() : route.abort("connectionreset")));
    await p.page.route("**/activities", async (route) => {
      keys.push(await route.request().headerValue("Idempotency-Key"));
      if (keys.length > 2) return route.continue();
      await route.fetch(); // the node has it
      return route.abort("connectionreset"); // the page does not know
    });
    await p.say("Only once, please");
    await until(() => keys.length >= 3, "three tries");
    await p.finished();
    ok(new Set(keys).size === 1 && keys[0], `one key for all tries: ${keys}`);
    await whole(p);
    ok(e.calls === 1, `the engine was asked once (${e.calls})`);
  },

  "a closed tab: what was not acknowledged goes out from the next one": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    const keys = [];
    await p.page.route("**/activities", async (route) => {
      keys.push(await route.request().headerValue("Idempotency-Key"));
      await route.fetch();
      return route.abort("connectionreset");
    });
    await p.say("From a tab that closes");
    await until(() => keys.length >= 1, "a try");
    await p.page.close();
    const q = await t.page(n.url, { context: p.context });
    await until(async () => (await q.page.$$("nav .entry")).length === 1, "the list");
    await q.page.click("nav .entry a");
    await q.finished();
    await whole(q);
    await until(() => q.page.evaluate(() => !Object.keys(localStorage).some((name) => name.startsWith("parley.outbox"))), "the outbox is empty");
  },

  "two tabs see the same answer": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for both");
    await p.middle(10);
    const q = await t.page(n.url, { context: p.context, path: new URL(p.page.url()).pathname });
    await q.middle(10);
    await Promise.all([p.finished(), q.finished()]);
    await whole(p);
    await whole(q);
    await q.say("From the other tab");
    await Promise.all([p.finished(2), q.finished(2)]);
    await p.agrees({ users: 2, bots: 2 });
    await q.agrees({ users: 2, bots: 2 });
  },

  "stop ends the answer, and the engine's work": async (t) => {
    const e = await t.engine({ delay: 25, answer: () => numbered(2000) });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for ever");
    await p.middle(10);
    const began = Date.now();
    await p.page.click("button.stop");
    await until(() => e.cut === 1, "the engine is told", 5000, 5);
    const took = Date.now() - began;
    await p.finished();
    await soon(async () => /stopped/.test(await p.state()), true, "the page says that it stopped");
    const text = await p.agrees();
    ok(numbered(2000).startsWith(text), "what was said stays");
    t.log(`the engine was told after ${took} ms`);
    await p.page.reload();
    await p.finished();
    await soon(async () => /stopped/.test(await p.state()), true, "still said after a reload");
    await p.agrees();
  },
};
