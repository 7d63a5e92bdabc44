// Builds the page into internal/web/dist, the same bytes every time.
//   node build.mjs           build
//   node build.mjs --check   build to a temporary folder and compare with what is committed
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, parse, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "internal", "web", "dist");
const budget = 200_000; // bytes, compressed, of the first load
const widgetBudget = 60_000; // of the widget, which is on other people's pages

const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  target: ["es2022", "chrome109", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "utf8",
  metafile: true,
  logLevel: "warning",
};

async function make(out) {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(join(out, "assets"), { recursive: true });
  const define = await styles();
  const result = await build({
    ...common,
    entryPoints: { app: "src/main.tsx", learn: "src/learn.tsx", try: "src/widget/try.tsx", dark: "src/style/dark.css", plain: "src/style/plain.css" },
    outdir: join(out, "assets"),
    entryNames: "[name].[hash]",
    chunkNames: "[name].[hash]",
    splitting: true,
    format: "esm",
    define,
  });
  const widget = await build({
    ...common,
    entryPoints: { widget: "src/widget/main.tsx" },
    outdir: out,
    format: "iife",
    plugins: [light],
    define,
  });
  const made = Object.keys(result.metafile.outputs).map((f) => relative(out, join(here, f)).replaceAll("\\", "/"));
  const asset = (name, ext) => made.find((f) => f.startsWith(`assets/${name}.`) && f.endsWith(ext));
  const [js, css, dark] = [asset("app", ".js"), asset("app", ".css"), asset("dark", ".css")];
  for (const [page, entry] of [["index", "app"], ["learn", "learn"], ["widget", "try"]]) {
    const chunks = imported(result.metafile, out, asset(entry, ".js"));
    const html = readFileSync(join(here, "src", "index.html"), "utf8")
      .replace("%JS%", `/${asset(entry, ".js")}`)
      .replace("%CHUNKS%", chunks.map((f) => `<link rel="modulepreload" href="/${f}" />`).join(""))
      .replace("%CSS%", `/${asset(entry, ".css")}`)
      .replace("%DARK%", `/${dark}`);
    writeFileSync(join(out, `${page}.html`), html);
  }
  for (const f of readdirSync(join(here, "public"))) writeFileSync(join(out, f), readFileSync(join(here, "public", f)));
  const begin = ["index.html", js, ...imported(result.metafile, out, js), css, dark, "icon.svg", "manifest.webmanifest"]; // what the page can't begin without
  await worker(out, begin);
  writeFileSync(join(out, "licenses.txt"), notices(Object.keys({ ...result.metafile.inputs, ...widget.metafile.inputs })));
  let first = 0;
  for (const f of files(out)) {
    const body = readFileSync(join(out, f));
    const br = brotliCompressSync(body, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: body.length },
    });
    writeFileSync(join(out, f + ".br"), br);
    const gz = gzipSync(body, { level: 9 });
    gz[9] = 255; // the operating system: not said, so that every one writes the same
    writeFileSync(join(out, f + ".gz"), gz);
    if (begin.includes(f)) first += gz.length;
    if (f === "widget.js" && gz.length > widgetBudget) throw new Error(`the widget has ${gz.length} bytes compressed, more than ${widgetBudget}`);
    console.log(`${f.padEnd(28)} ${String(body.length).padStart(7)} bytes, gzip ${gz.length}, brotli ${br.length}`);
  }
  if (first > budget) throw new Error(`the first load has ${first} bytes compressed, more than ${budget}`);
}

// light puts small things in the place of large ones that the widget can do
// without: the tables of HTML's characters and of Unicode's kinds, and what sets
// formulas.
const light = {
  name: "light",
  setup: (b) => {
    const instead = (filter, file) => b.onResolve({ filter }, () => ({ path: join(here, "src", "widget", file) }));
    instead(/^entities$/, "entities.ts");
    instead(/^uc\.micro$/, "classes.ts");
    instead(/\/markdown\/tex\.ts$/, "tex.ts");
  },
};

// styles are the widget's style sheets, as texts for its script. A rem there
// would be the size of text of the site's root: the widget measures its own.
async function styles() {
  const result = await build({ ...common, entryPoints: { SHEET: "src/widget/widget.css", DARK: "src/style/dark.css" }, outdir: here, write: false });
  return Object.fromEntries(
    result.outputFiles.map((f) => {
      const css = f.text.trim().replace(/(?<![\w-])(\d*\.?\d+)rem\b/g, "calc($1*var(--rem))");
      if (/@(media|container)[^{]*var\(/.test(css)) throw new Error("a media query of the widget can't be in rem");
      return [parse(f.path).name, JSON.stringify(css)];
    }),
  );
}

// imported lists the files that a script of the build imports at once.
function imported(meta, out, js) {
  const name = (f) => relative(out, join(here, f)).replaceAll("\\", "/");
  const found = [];
  const visit = (file) => {
    for (const i of meta.outputs[file].imports) {
      if (i.kind !== "import-statement" || found.includes(name(i.path))) continue;
      found.push(name(i.path));
      visit(i.path);
    }
  };
  visit(Object.keys(meta.outputs).find((f) => name(f) === js));
  return found;
}

// worker builds the service worker, which knows what the page consists of.
async function worker(out, files) {
  const version = createHash("sha256");
  for (const f of files) version.update(f).update(readFileSync(join(out, f)));
  await build({
    ...common,
    entryPoints: { sw: "worker/worker.ts" },
    outdir: out,
    format: "iife",
    define: {
      FILES: JSON.stringify(files.map((f) => (f === "index.html" ? "/" : `/${f}`))),
      VERSION: JSON.stringify(version.digest("hex").slice(0, 12)),
    },
  });
}

// notices collects the licences of the packages that went into the bundle.
function notices(inputs) {
  const names = new Set();
  for (const f of inputs) {
    const m = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(f);
    if (m) names.add(m[1]);
  }
  const parts = ["The page holds code of these packages.\n"];
  for (const name of [...names].sort()) {
    const dir = join(here, "node_modules", name);
    const pkg = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
    const file = readdirSync(dir).find((f) => /^licen[cs]e/i.test(f));
    if (!file) throw new Error(`${name} has no licence file`);
    const text = readFileSync(join(dir, file), "utf8").replace(/\r\n/g, "\n").trim();
    parts.push(`\n${name} ${pkg.version} (${pkg.license})\n\n${text}\n`);
  }
  return parts.join("");
}

// files lists what a folder holds, without the compressed copies.
function files(root) {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && !/\.(br|gz)$/.test(e.name))
    .map((e) => relative(root, join(e.parentPath ?? e.path, e.name)).replaceAll("\\", "/"))
    .sort();
}

// differences compares two builds. Compressed copies are compared by what they
// hold, because another version of the compressor may pack it differently.
function differences(want, got) {
  const out = [];
  const w = files(want);
  const g = files(got);
  for (const f of new Set([...w, ...g])) {
    if (!g.includes(f)) out.push(`${f}: missing`);
    else if (!w.includes(f)) out.push(`${f}: not made by this source`);
    else {
      const body = readFileSync(join(want, f));
      if (!body.equals(readFileSync(join(got, f)))) out.push(`${f}: differs`);
      for (const [ext, open] of [[".br", brotliDecompressSync], [".gz", gunzipSync]]) {
        try {
          if (!body.equals(open(readFileSync(join(got, f + ext))))) out.push(`${f}${ext}: holds something else`);
        } catch (err) {
          out.push(`${f}${ext}: ${err.message}`);
        }
      }
    }
  }
  return out;
}

if (process.argv.includes("--check")) {
  const tmp = mkdtempSync(join(tmpdir(), "parley-web-"));
  try {
    await make(tmp);
    const bad = differences(tmp, dist);
    if (bad.length > 0) {
      console.error(`internal/web/dist is not current:\n  ${bad.join("\n  ")}\nrun: npm run build`);
      process.exitCode = 1;
    } else console.log("internal/web/dist is current");
  } finally {
    rmSync(tmp, { recursive: true, force: true });
  }
} else await make(dist);
