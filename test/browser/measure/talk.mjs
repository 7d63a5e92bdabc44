// Measures a conversation that goes on and on, and asserts nothing of its speed:
//   node measure/talk.mjs [minutes] [answers]
// Answers come one after the other, at once with a number of them, else at 100
// words a second; ten times it says what the page holds after a collection of
// garbage. It fails if the page, at its end, holds twice what it held after a
// tenth and what the texts themselves take.
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, numbered } from "../lib/engine.mjs";
import { binary, Node } from "../lib/node.mjs";
import { browser, Page } from "../lib/page.mjs";

const minutes = Number(process.argv[2] ?? 30);
const most = Number(process.argv[3] ?? Infinity);
const text = `## An answer\n\n${numbered(120)}\n\n- one\n- **two**\n\n\`\`\`js\nlet a = 1; // a comment\n\`\`\`\n`;

const tmp = mkdtempSync(join(tmpdir(), "parley-talk-"));
const e = await new Engine(most < Infinity ? { delay: 0, size: 400, answer: () => text } : { delay: 10, answer: () => text }).start();
const n = new Node(binary(tmp), { engine: e.url });
const web = await browser();
let failed = false;
try {
  await n.start();
  const p = await Page.open(web, n.url);
  const cdp = await p.context.newCDPSession(p.page);
  await cdp.send("Performance.enable");
  const look = async (answers) => {
    await cdp.send("HeapProfiler.collectGarbage");
    const m = Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map((x) => [x.name, x.value]));
    const gaps = (await p.page.evaluate(() => window.gaps.splice(0))).sort((a, b) => a - b);
    console.log(
      `${String(answers).padStart(5)} answers: heap ${(m.JSHeapUsedSize / 1e6).toFixed(1)} MB, ${m.Nodes} nodes, ${m.JSEventListeners} listeners, ` +
        `frames median ${gaps[gaps.length >> 1].toFixed(1)} ms, p99 ${gaps[Math.floor(gaps.length * 0.99)].toFixed(1)} ms; load ${loadavg()[0].toFixed(1)}`,
    );
    return { answers, heap: m.JSHeapUsedSize, nodes: m.Nodes };
  };
  await p.page.evaluate(() => {
    window.gaps = [];
    let last = performance.now();
    const tick = (now) => {
      window.gaps.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  const began = Date.now();
  const past = (i) => Math.max((Date.now() - began) / 60_000 / minutes, i / most);
  const seen = [];
  for (let i = 0; past(i) < 1; i++) {
    if (past(i) >= (seen.length + 1) / 10) seen.push(await look(i));
    await p.say(`Question ${i}`);
    await p.page.waitForFunction(
      (q) => [...document.querySelectorAll(".bubble")].at(-1)?.textContent === q && document.querySelector("li:last-child > article.answer") && !document.querySelector("article.running, article.waiting"),
      `Question ${i}`,
      { timeout: 60_000 },
    );
    seen.last = i + 1;
  }
  const [first, last] = [seen[0], await look(seen.last)];
  const each = (last.heap - first.heap) / (last.answers - first.answers);
  console.log(`${(each / 1e3).toFixed(1)} kB of heap for each answer of ${(text.length / 1e3).toFixed(1)} kB; ${last.nodes - first.nodes} nodes more than after ${first.answers} answers`);
  failed = last.heap > 2 * first.heap + 8 * text.length * last.answers || last.nodes > 2 * first.nodes + 5000;
  if (failed) console.log("FAILED: the page grows");
} finally {
  await web.close();
  await n.stop();
  e.stop();
  rmSync(tmp, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
