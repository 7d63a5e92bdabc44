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
  for (const [name, tell] of Object.entries(m.stories)) stories.push({ name, tell });
}

class Skip extends Error {}

let passed = 0;
let skipped = 0;
let failed = 0;
let web;
try {
  const bin = binary(tmp);
  web = await browser();
  for (const { name, tell } of stories) {
    if (only.length > 0 && !only.some((o) => name.includes(o))) continue;
    const undo = [];
    const pages = [];
    const nodes = [];
    const t = {
      out,
      browser: web,
      undo: (f) => undo.push(f),
      pages, // of which there are pictures if the story fails
      skip: (why) => {
        throw new Skip(why);
      },
      log: (s) => console.log(`       ${s}`),
      node: async (o = {}) => {
        const n = new Node(bin, o);
        nodes.push(n);
        undo.push(() => n.stop());
        if (o.host) n.host = o.host;
        return n.start();
      },
      engine: async (o) => {
        const e = await new Engine(o).start();
        undo.push(() => e.stop());
        return e;
      },
      line: async (port) => {
        const l = await new Line(port).start();
        undo.push(() => l.stop());
        return l;
      },
      page: async (url, o) => {
        const p = await Page.open(web, url, o);
        pages.push(p);
        undo.push(() => p.close().catch(() => {}));
        return p;
      },
    };
    const began = Date.now();
    try {
      await tell(t);
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
      for (const [i, p] of pages.entries()) await p.page.screenshot({ path: join(out, `failed-${file}-${i}.png`) }).catch(() => {});
      for (const [i, n] of nodes.entries()) n.writeLog(join(out, `failed-${file}-${i}.log`));
    }
    for (const f of undo.reverse()) await Promise.resolve(f()).catch?.(() => {});
  }
} catch (err) {
  failed++;
  console.log(`FAILED to begin: ${err.stack ?? err}`);
} finally {
  await web?.close();
  rmSync(tmp, { recursive: true, force: true });
}
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
