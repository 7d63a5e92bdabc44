// Tells the stories: node run.mjs [name...]
//   PARLEY_BIN  the built binary; without it `go build ./cmd/parley` makes one
//   OUT         folder for screenshots and the logs of failed stories (default out/)
//   CHROMIUM    path of the browser
//   LANES       how many stories are told at the same time (2)
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { binary, Node } from "./lib/node.mjs";
import { browser, Page } from "./lib/page.mjs";
import { Engine } from "./lib/engine.mjs";
import { Line } from "./lib/line.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.env.OUT ?? join(here, "out");
mkdirSync(out, { recursive: true });
const tmp = mkdtempSync(join(tmpdir(), "parley-stories-"));
const only = process.argv.slice(2);
const lanes = Number(process.env.LANES ?? 2);

// What is told in one go: stories that share what their file's setting makes, or
// one by itself. Those of a file that is alone are told when nothing else runs.
const units = [];
const alone = [];
for (const f of readdirSync(join(here, "stories")).sort()) {
  const m = await import(join(here, "stories", f));
  const stories = Object.entries(m.stories).filter(([name]) => only.length === 0 || only.some((o) => name.includes(o)));
  if (stories.length === 0) continue;
  if (m.setting) units.unshift({ stories, setting: m.setting }); // they take longest
  else for (const s of stories) (m.alone ? alone : units).push({ stories: [s] });
}

class Skip extends Error {}

// stage is what a story has, and what is to be undone when it is over.
function stage(web) {
  const t = {
    out,
    browser: web,
    undone: [],
    pages: [], // of which there are pictures if the story fails
    nodes: [],
    undo: (f) => t.undone.push(f),
    clear: async () => {
      for (const f of t.undone.reverse()) await Promise.resolve(f()).catch?.(() => {});
    },
    skip: (why) => {
      throw new Skip(why);
    },
    told: [],
    log: (s) => t.told.push(`       ${s}`),
    node: async (o = {}) => {
      const n = new Node(bin, o);
      t.nodes.push(n);
      t.undo(() => n.stop());
      if (o.host) n.host = o.host;
      return n.start();
    },
    engine: async (o) => {
      const e = await new Engine(o).start();
      t.undo(() => e.stop());
      return e;
    },
    line: async (port) => {
      const l = await new Line(port).start();
      t.undo(() => l.stop());
      return l;
    },
    page: async (url, o) => {
      const p = await Page.open(web, url, o);
      t.pages.push(p);
      t.undo(() => p.close().catch(() => {}));
      return p;
    },
  };
  return t;
}

let passed = 0;
let skipped = 0;
let failed = 0;

// tell tells one story and says how it ended.
async function tell([name, story], web, set) {
  const t = stage(web);
  const began = Date.now();
  const took = () => `(${((Date.now() - began) / 1000).toFixed(1)} s)`;
  t.nodes.push(...(set?.st.nodes ?? []));
  let end;
  try {
    if (set?.failed) throw set.failed;
    await story(t, set?.world);
    passed++;
    end = `ok     ${name} ${took()}`;
  } catch (err) {
    if (err instanceof Skip) {
      skipped++;
      end = `skip   ${name}: ${err.message}`;
    } else {
      failed++;
      end = `FAILED ${name} ${took()}\n${err.stack ?? err}`;
      const file = name.replace(/\W+/g, "-");
      for (const [i, p] of t.pages.entries()) await p.page.screenshot({ path: join(out, `failed-${file}-${i}.png`) }).catch(() => {});
      for (const [i, n] of t.nodes.entries()) n.writeLog(join(out, `failed-${file}-${i}.log`));
    }
  }
  console.log([...t.told, end].join("\n"));
  await t.clear();
}

// lane tells what is left, in a browser of its own: what is copied in one is not
// pasted in the other.
async function lane(left) {
  const web = await browser();
  try {
    for (let u = left.shift(); u; u = left.shift()) {
      const set = u.setting && { st: stage(web) };
      if (set) set.world = await u.setting(set.st).catch((err) => void (set.failed = err));
      for (const s of u.stories) await tell(s, web, set);
      await set?.st.clear();
    }
  } finally {
    await web.close();
  }
}

let bin;
try {
  bin = binary(tmp);
  await Promise.all(Array.from({ length: Math.min(lanes, units.length) }, () => lane(units)));
  if (alone.length > 0) await lane(alone);
} catch (err) {
  failed++;
  console.log(`FAILED to begin: ${err.stack ?? err}`);
} finally {
  rmSync(tmp, { recursive: true, force: true });
}
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
