// Measures a long conversation on the page, and asserts nothing of its speed:
//   node measure/long.mjs [messages] [seconds]
// A conversation of so many messages is opened; then an answer of 100 words a
// second comes while the reader is at the end, in the middle and at the top.
// PARLEY_BIN and CHROMIUM as for the stories.
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, numbered } from "../lib/engine.mjs";
import { binary, Node } from "../lib/node.mjs";
import { browser, Page } from "../lib/page.mjs";
import { pause, until } from "../lib/util.mjs";

const messages = Number(process.argv[2] ?? 1000);
const seconds = Number(process.argv[3] ?? 10);
const answer = (ask) =>
  ask.startsWith("Now") ? `${numbered(60)}\n\n`.repeat(Math.ceil((100 * seconds) / 60)) : `## About ${ask}\n\n${numbered(60)}\n\n- one\n- **two**\n\n\`\`\`js\nlet a = 1; // a comment\n\`\`\`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n`;

const tmp = mkdtempSync(join(tmpdir(), "parley-long-"));
const e = await new Engine({ delay: 0, size: 1000, answer }).start();
const n = new Node(binary(tmp), { engine: e.url });
const web = await browser();
try {
  await n.start();
  const p = await Page.open(web, n.url);
  await p.say("Question 0");
  await p.finished();
  for (let i = 1; i < messages / 2; i++) {
    await until(async () => {
      const res = await p.context.request.post(`${n.url}/api/v1/conversations/${encodeURIComponent(p.id())}/activities`, {
        headers: { "X-Parley": "1", "Content-Type": "application/json", "Idempotency-Key": `key-${i}` },
        data: { type: "message", text: `Question ${i}` },
      });
      return res.ok();
    }, "room in the queue", 60_000);
  }
  await until(async () => (await p.activities()).length >= messages, "all answers", 300_000, 500);
  const path = new URL(p.page.url()).pathname;
  await p.page.close();

  const q = await Page.open(web, n.url, { context: p.context, path: "/" });
  const cdp = await q.context.newCDPSession(q.page);
  await cdp.send("Performance.enable");
  const metrics = async () => Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map((m) => [m.name, m.value]));
  const began = Date.now();
  await q.page.goto(n.url + path);
  await q.page.waitForFunction((t) => [...document.querySelectorAll(".bubble")].at(-1)?.textContent === t && (({ scrollHeight: h, scrollTop: s, clientHeight: c }) => h - s - c < 3)(document.querySelector(".scroll")), `Question ${messages / 2 - 1}`, { timeout: 120_000 });
  console.log(`opened ${messages} messages in ${Date.now() - began} ms, ${await q.page.evaluate(() => document.querySelectorAll("article").length)} of them on the page`);

  e.size = 0;
  e.delay = 10;
  const watch = () =>
    q.page.evaluate(() => {
      window.gaps = [];
      let last = performance.now();
      const own = (window.watching = {});
      const tick = (now) => {
        if (window.watching !== own) return;
        window.gaps.push(now - last);
        last = now;
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    });
  for (const where of ["end", "middle", "top"]) {
    await q.page.evaluate((w) => { const s = document.querySelector(".scroll"); if (w === "end") s.scrollTop = s.scrollHeight; }, where);
    await q.say("Now");
    await q.page.waitForSelector("article.running .md");
    if (where !== "end") {
      const began = Date.now();
      await q.page.evaluate(() => document.querySelector(".scroll").dispatchEvent(new WheelEvent("wheel", { deltaY: -1 })));
      await until(
        () => q.page.evaluate((w) => {
          const s = document.querySelector(".scroll");
          s.scrollTop = 0;
          const first = document.querySelector(".bubble").textContent;
          return w === "top" ? first === "Question 0" : Number(/\d+/.exec(first)?.[0]) < 300;
        }, where),
        `the ${where}`,
        120_000,
        20,
      );
      console.log(`the reader got to the ${where} in ${Date.now() - began} ms`);
    }
    const before = await metrics();
    await watch();
    await pause(((seconds * 1000) / 2) | 0);
    const after = await metrics();
    const gaps = (await q.page.evaluate(() => { window.watching = null; return window.gaps; })).slice(2).sort((a, b) => a - b);
    const d = (k) => ((1000 * (after[k] - before[k])) / (after.Timestamp - before.Timestamp)).toFixed(0);
    const of = await q.page.evaluate(() => [document.querySelectorAll("article").length, document.querySelectorAll(".main *").length]);
    console.log(
      `${where.padEnd(6)} ${of[0]} messages, ${of[1]} elements: frames median ${gaps[gaps.length >> 1].toFixed(1)} ms, p99 ${gaps[Math.floor(gaps.length * 0.99)].toFixed(1)} ms, longest ${gaps.at(-1).toFixed(1)} ms; ` +
        `of a second ${d("TaskDuration")} ms busy: script ${d("ScriptDuration")}, style ${d("RecalcStyleDuration")}, layout ${d("LayoutDuration")}; heap ${(after.JSHeapUsedSize / 1e6).toFixed(0)} MB; load ${loadavg()[0].toFixed(1)}`,
    );
    await until(() => q.page.evaluate(() => !document.querySelector("article.running")), "the answer's end", 120_000);
  }
} finally {
  await web.close();
  await n.stop();
  e.stop();
  rmSync(tmp, { recursive: true, force: true });
}
