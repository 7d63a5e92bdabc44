// Microsoft's Web Chat, unchanged, on the node's own page for it.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { numbered } from "../lib/engine.mjs";
import { real } from "../lib/node.mjs";
import { bare, equal, ok, soon, until } from "../lib/util.mjs";
import { regions, signal, told, whole } from "../lib/world.mjs";

const words = numbered(120);
const bundle = process.env.WEBCHAT_BUNDLE;

// open is a Web Chat page of a session of its own.
async function open(t, url, { width = 900, dark = false } = {}) {
  const context = await t.browser.newContext({ viewport: { width, height: 800 }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce" });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (e) => errors.push(e.message));
  page.on("console", (m) => /Content Security Policy/i.test(m.text()) && errors.push(m.text()));
  await page.goto(url + "/webchat");
  const box = page.locator('[data-id="webchat-sendbox-input"]');
  await box.waitFor({ timeout: 30_000 });
  const bubbles = page.locator(".webchat__bubble:not(.webchat__bubble--from-user) .webchat__bubble__content");
  return {
    page, errors, bubbles,
    close: () => context.close(),
    // say says something until it is on screen: before it is connected, Web Chat
    // takes what is said for nothing.
    say: async (text) => {
      const own = page.locator(".webchat__bubble--from-user");
      const before = await own.count();
      for (let end = Date.now() + 20_000; (await own.count()) === before; ) {
        ok(Date.now() < end, `"${text}" was said`);
        await box.fill(text);
        await box.press("Enter");
        await own.nth(before).waitFor({ timeout: 1_000 }).catch(() => {});
      }
    },
    shown: async () => (await bubbles.allInnerTexts()).map((s) => s.trim()),
  };
}

// channel is what a node needs to have the page.
function channel(t) {
  if (!bundle || !existsSync(bundle)) t.skip("missing: Web Chat's bundle; set WEBCHAT_BUNDLE to webchat.js of the package botframework-webchat");
  return { PARLEY_DIRECTLINE_SECRET: "a-secret-of-one-site", PARLEY_CHANNELS_WEBCHAT: bundle };
}

const node = (t, engine, args) => t.node({ engine, args, env: channel(t) });

export const stories = {
  "Web Chat shows an answer as one bubble that grows": async (t) => {
    const e = await t.engine({ delay: 25, answer: () => words });
    const n = await node(t, e.url);
    const p = await open(t, n.url, { width: 390 });
    await p.say("Count for me");
    const seen = new Set();
    await until(async () => {
      const all = await p.shown();
      ok(all.length <= 1, `${all.length} bubbles of one answer`);
      if (all.length > 0) {
        ok(words.startsWith(all[0]), `what is seen is a prefix of the answer: ${all[0].slice(-40)}`);
        seen.add(all[0].length);
      }
      return all[0] === words;
    }, "the answer ends");
    ok(seen.size > 3, `the bubble was seen in ${seen.size} sizes`);
    await p.page.screenshot({ path: join(t.out, "webchat-390.png") });
    await p.page.reload();
    await until(async () => (await p.shown())[0] === words, "the answer is there after a reload");
    await soon(async () => (await p.shown()).length, 1, "bubbles after a reload");
    equal(p.errors.join("\n"), "", "errors");
    await p.close();
  },
  "Web Chat: the node is killed in the middle of an answer": async (t) => {
    const e = await t.engine({ delay: 40, answer: () => words });
    const n = await node(t, e.url);
    const p = await open(t, n.url, { width: 1440, dark: true });
    await p.say("Count for me");
    await until(async () => ((await p.shown())[0] ?? "").length > 20, "the answer has begun");
    await n.kill();
    await n.start();
    await until(async () => (await p.shown()).at(-1) === words, "the bubble is finished", 60_000);
    await soon(async () => (await p.shown()).length, 1, "bubbles");
    await p.page.screenshot({ path: join(t.out, "webchat-killed-1440-dark.png") });
    await p.close();
  },
  "Web Chat shows a real model's answer as one bubble that grows": async (t) => {
    if (process.env.PARLEY_TEST_REAL !== "1") t.skip("PARLEY_TEST_REAL=1 runs it, with the embedded engine");
    const n = await real(t, channel(t));
    const p = await open(t, n.url);
    await p.say("Write a story about the sea, in five sentences.");
    const seen = [""];
    let at = Date.now();
    await until(async () => {
      const all = await p.shown();
      ok(all.length <= 1, `${all.length} bubbles of one answer`);
      const now = bare(all[0] ?? "");
      ok(now.startsWith(seen.at(-1)), "it only grows");
      if (now.length > seen.at(-1).length) {
        seen.push(now);
        at = Date.now();
      }
      return seen.length > 1 && Date.now() - at > 3_000; // nothing came for a while
    }, "the answer ends", 120_000);
    ok(seen.length > 4, `the bubble was seen in ${seen.length - 1} sizes`);
    await p.page.screenshot({ path: join(t.out, "webchat-real-900.png") });
    t.log(`${seen.length - 1} sizes: ${(await p.shown())[0].slice(0, 120)}`);
    await p.close();
  },
  "Web Chat: the region that serves is killed in the middle of an answer": async (t) => {
    const e = await t.engine({ delay: 60, answer: () => words });
    const w = await node(t, e.url, ["--regions", `japaneast:witness,${regions.join(",")}`]);
    await whole(w);
    const p = await open(t, w.url, { width: 390 });
    await p.say("Count for me");
    await until(async () => ((await p.shown())[0] ?? "").length > 20, "the answer has begun");
    const serves = await until(async () => (await told(w)).find((r) => r.nodes.some((n) => n.turns > 0))?.name, "the region that answers is known");
    signal(w, serves, "SIGKILL");
    ok((await p.shown())[0].length < words.length, "it was in the middle");
    await until(async () => (await p.shown()).at(-1) === words, "the bubble is finished", 60_000);
    await soon(async () => (await p.shown()).length, 1, "bubbles");
    await p.page.screenshot({ path: join(t.out, "webchat-region-killed-390.png") });
    await p.close();
  },
};
