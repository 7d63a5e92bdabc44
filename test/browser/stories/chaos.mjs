// What goes wrong in browsers: each ends in a page that tells the truth and a
// log with nothing doubled.
import { join } from "node:path";
import { numbered } from "../lib/engine.mjs";
import { clean } from "../lib/check.mjs";
import { equal, ok, pause, until } from "../lib/util.mjs";

const words = numbered(120);
const slow = { delay: 25, answer: () => words };

// init opens a page in which a script runs before the page's own.
async function init(t, url, script) {
  const context = await t.browser.newContext({ viewport: { width: 1024, height: 768 }, reducedMotion: "reduce", serviceWorkers: "block" });
  await context.addInitScript(script);
  return t.page(url, { context });
}

export const stories = {
  "a tab that was frozen in mid-answer catches up": async (t) => {
    const e = await t.engine(slow);
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Count for me");
    await p.middle(15);
    const cdp = await p.context.newCDPSession(p.page);
    await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
    await until(() => e.running === 0, "the answer ends without the page");
    await pause(1500);
    await cdp.send("Page.setWebLifecycleState", { state: "active" });
    await p.finished();
    equal(await p.agrees(), words, "the answer in the log");
    equal(e.calls, 1, "times the engine was asked");
  },

  "a clock that is hours off changes nothing that matters": async (t) => {
    const e = await t.engine({ delay: 5 });
    const n = await t.node({ engine: e.url });
    for (const off of [-7, 26]) {
      const p = await init(t, n.url, `{ const D = Date, by = ${off} * 3600e3; globalThis.Date = class extends D { constructor(...a) { a.length ? super(...a) : super(D.now() + by); } static now() { return D.now() + by; } }; }`);
      await p.say("What time is it?");
      await p.finished();
      await p.agrees();
      await n.kill();
      await p.say("And now?");
      await n.start();
      await p.finished(2, 60_000);
      await p.agrees({ users: 2, bots: 2 });
      await p.close();
    }
  },

  "a browser that keeps nothing: everything works, and what waits is said to be at risk": async (t) => {
    const e = await t.engine({ delay: 5 });
    const n = await t.node({ engine: e.url });
    const p = await init(
      t,
      n.url,
      `Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };
       Object.defineProperty(globalThis, "indexedDB", { get() { throw new DOMException("no", "SecurityError"); } });`,
    );
    await p.say("one");
    await p.finished();
    await p.agrees();
    await n.kill();
    await p.say("two");
    await until(async () => /keeps nothing for this page/.test((await p.page.textContent("main")) ?? ""), "the page says what is at risk");
    await clean(p, "a browser that keeps nothing");
    await n.start();
    await p.finished(2, 60_000);
    await p.agrees({ users: 2, bots: 2 });
  },

  "a cookie that is deleted: nothing goes to somebody else's conversation, and no word is lost": async (t) => {
    const e = await t.engine({ delay: 5 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("mine");
    await p.finished();
    const before = await p.activities();
    const state = await p.context.storageState();
    await p.context.clearCookies();
    await p.say("whose am I now?");
    await until(async () => /not sent/.test(await p.state()), "the page says that it is not sent");
    ok((await p.said()).includes("whose am I now?"), "the text is still there");
    await p.page.screenshot({ path: join(t.out, "cookie-deleted.png") });
    const back = await t.browser.newContext({ storageState: state });
    const res = await back.request.get(`${n.url}/api/v1/conversations/${encodeURIComponent(p.id())}/activities`);
    equal((await res.json()).activities.length, before.length, "activities in the log");
    await back.close();
  },

  "the network comes and goes while messages wait: all of them arrive, once, in order": async (t) => {
    const e = await t.engine({ delay: 2 });
    const n = await t.node({ engine: e.url });
    const l = await t.line(n.port);
    const p = await t.page(l.url);
    await p.say("m0");
    await p.finished();
    const flap = (async () => {
      for (let i = 0; i < 12; i++) {
        l.cut();
        await pause(120);
        l.mend();
        await pause(180);
      }
    })();
    for (let i = 1; i <= 6; i++) {
      await p.say(`m${i}`);
      await pause(300);
    }
    await flap;
    await p.finished(7, 60_000);
    equal((await p.activities()).filter((a) => a.from.role === "user").map((a) => a.text).join(), "m0,m1,m2,m3,m4,m5,m6", "messages in the log");
    equal((await p.said()).join(), "m0,m1,m2,m3,m4,m5,m6", "messages on screen");
  },
};
