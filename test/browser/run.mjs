// Tells the stories: node run.mjs [name...]
//   PARLEY_BIN  the built binary; without it `go build ./cmd/parley` makes one
//   OUT         folder for screenshots and the logs of failed stories (default out/)
//   CHROMIUM    path of the browser
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

const stories = [];
for (const f of readdirSync(join(here, "stories")).sort()) {
  const m = await import(join(here, "stories", f));
  // What a file's setting makes serves all its stories, until the last of them.
  for (const [name, tell] of Object.entries(m.stories)) stories.push({ name, tell, setting: m.setting });
}

class Skip extends Error {}

// stage is what a story has, and what is to be undone when it is over.
function stage(bin) {
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
    log: (s) => console.log(`       ${s}`),
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
let web;
const made = new Map(); // settings
try {
  const bin = binary(tmp);
  web = await browser();
  for (const { name, tell, setting } of stories) {
    if (only.length > 0 && !only.some((o) => name.includes(o))) continue;
    const t = stage(bin);
    const began = Date.now();
    try {
      if (setting && !made.has(setting)) {
        const st = stage(bin);
        made.set(setting, { st, world: await setting(st) });
      }
      const set = made.get(setting);
      t.nodes.push(...(set?.st.nodes ?? []));
      await tell(t, set?.world);
      passed++;
      console.log(`ok     ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (err) {
      if (err instanceof Skip) {
        skipped++;
        console.log(`skip   ${name}: ${err.message}`);
        continue;
      }
      failed++;
      console.log(`FAILED ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)\n${err.stack ?? err}`);
      const file = name.replace(/\W+/g, "-");
      for (const [i, p] of t.pages.entries()) await p.page.screenshot({ path: join(out, `failed-${file}-${i}.png`) }).catch(() => {});
      for (const [i, n] of t.nodes.entries()) n.writeLog(join(out, `failed-${file}-${i}.log`));
    }
    await t.clear();
  }
} catch (err) {
  failed++;
  console.log(`FAILED to begin: ${err.stack ?? err}`);
} finally {
  for (const { st } of made.values()) await st.clear();
  await web?.close();
  rmSync(tmp, { recursive: true, force: true });
}
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
