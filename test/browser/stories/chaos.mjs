// What goes wrong in browsers: each ends in a page that tells the truth and a
// log with nothing doubled.
import { join } from "node:path";
import { numbered } from "../lib/engine.mjs";
import { clean } from "../lib/check.mjs";
import { equal, pause, soon, until } from "../lib/util.mjs";

const words = numbered(120);
const slow = { delay: 25, answer: () => words };

// init opens a page in which a script runs before the page's own.
async function init(t, url, script) {
  const context = await t.browser.newContext({ viewport: { width: 1024, height: 768 }, reducedMotion: "reduce", serviceWorkers: "block" });
  await context.addInitScript(script);
  return t.page(url, { context });
}

// again is the same person on another device.
const again = async (t, p) => t.browser.newContext({ viewport: { width: 390, height: 844 }, hasTouch: true, reducedMotion: "reduce", serviceWorkers: "block", storageState: { cookies: (await p.context.storageState()).cookies, origins: [] } });

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

  "a laptop that slept for ten minutes in mid-answer shows what happened meanwhile, and sends what was written": async (t) => {
    const e = await t.engine({ ...slow });
    const n = await t.node({ engine: e.url });
    const l = await t.line(n.port);
    const p = await init(
      t,
      l.url,
      `{ const now = Date.now, tick = performance.now.bind(performance); globalThis.slept = 0;
         Date.now = () => now() + slept; performance.now = () => tick() + slept; }`,
    );
    await p.say("Count for me");
    await p.middle(15);
    e.delay = 1000; // however long it takes to take up the phone
    const path = new URL(p.page.url()).pathname;
    const phone = await t.page(n.url, { context: await again(t, p), width: 390, height: 844, path });
    await phone.middle(15);
    const cdp = await p.context.newCDPSession(p.page);
    l.hush();
    e.delay = 5;
    await p.page.fill("#compose", "Written before it slept");
    await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
    await phone.finished();
    await phone.say("Said on the phone");
    await phone.finished(2);
    await n.kill();
    await n.start();
    await cdp.send("Page.setWebLifecycleState", { state: "active" });
    await p.page.evaluate(() => (slept = 600_000));
    l.mend();
    await p.finished(2, 60_000);
    await soon(async () => (await p.said()).join("|"), "Count for me|Said on the phone", "messages on the laptop");
    await soon(() => p.page.inputValue("#compose"), "Written before it slept", "what was being written");
    await p.page.press("#compose", "Enter");
    await p.finished(3, 60_000);
    await phone.finished(3, 60_000);
    equal(await p.agrees({ users: 3, bots: 3 }), words, "the answer in the log");
    equal(e.calls, 3, "times the engine was asked");
  },

  "two tabs and a phone speak at once: each message once, in the same order everywhere": async (t) => {
    const e = await t.engine({ delay: 3 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("m0");
    await p.finished();
    const path = new URL(p.page.url()).pathname;
    const all = [p, await t.page(n.url, { context: p.context, path }), await t.page(n.url, { context: await again(t, p), width: 390, height: 844, path })];
    for (const x of all) await x.finished();
    await Promise.all(
      all.map(async (x, i) => {
        for (let j = 0; j < 3; j++) await x.say(`m${i}${j}`);
      }),
    );
    await Promise.all(all.map((x) => x.finished(10, 60_000)));
    const log = (await p.activities()).filter((a) => a.from.role === "user").map((a) => a.text);
    equal(log.toSorted().join(), "m0,m00,m01,m02,m10,m11,m12,m20,m21,m22", "messages in the log");
    for (const x of all) equal((await x.said()).join(), log.join(), "messages on screen");
    for (const i of [0, 1, 2]) equal(log.filter((m) => m.length === 3 && m[1] === `${i}`).join(), `m${i}0,m${i}1,m${i}2`, "what one of them said, in its order");
    equal(e.calls, 10, "times the engine was asked");
  },

  "a storage that is full: everything works, and what waits is said to be at risk": async (t) => {
    const e = await t.engine({ delay: 5 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    const cdp = await p.context.newCDPSession(p.page);
    await cdp.send("Storage.overrideQuotaForOrigin", { origin: n.url, quotaSize: 1 });
    await p.say("one");
    await p.finished();
    const left = await p.page.evaluate(() => {
      let size = 1 << 22;
      for (let i = 0; size > 0; ) {
        try {
          localStorage.setItem(`fill${i++}`, "x".repeat(size));
        } catch {
          size >>= 1;
        }
      }
      try {
        localStorage.setItem("more", "x".repeat(200));
        return true;
      } catch {
        return false;
      }
    });
    equal(left, false, "the storage is full");
    await n.kill();
    const long = `two ${numbered(200)}`;
    await p.say(long);
    await until(async () => /keeps nothing for this page/.test((await p.page.textContent("main")) ?? ""), "the page says what is at risk");
    await until(async () => (await p.said()).includes(long), "the text is on screen");
    await n.start();
    await p.finished(2, 60_000);
    await p.agrees({ users: 2, bots: 2 });
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
    await until(async () => (await p.said()).includes("whose am I now?"), "the text is still there");
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
