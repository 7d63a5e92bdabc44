// Files and pictures in messages.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as zlib from "node:zlib";
import { clean, fits } from "../lib/check.mjs";
import { equal, ok, soon, until } from "../lib/util.mjs";

// png draws a picture of one colour.
function png(width, height, [r, g, b]) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length);
    body.copy(out, 4);
    out.writeUInt32BE(sum(body), body.length + 4);
    return out;
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 2], 8);
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(width * 3, Buffer.from([r, g, b]))]);
  const rows = Buffer.concat(Array.from({ length: height }, () => row));
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head), chunk("IDAT", zlib.deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

// sum is a CRC-32; older versions of Node have none.
function sum(bytes) {
  if (zlib.crc32) return zlib.crc32(bytes);
  let c = ~0;
  for (const x of bytes) {
    c ^= x;
    for (let i = 0; i < 8; i++) c = (c >>> 1) ^ (c & 1 ? 0xedb88320 : 0);
  }
  return ~c >>> 0;
}

const cat = { name: "cat.png", mimeType: "image/png", buffer: png(320, 200, [200, 120, 40]) };
const notes = { name: "notes.md", mimeType: "text/markdown", buffer: Buffer.from("# The lighthouse\n\nIt was lit in 1884.\n") };
const paper = { name: "paper.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.7\n\x00\x01") };

const drawn = (p, where) => p.page.waitForFunction((w) => [...document.querySelectorAll(w)].some((i) => i.complete && i.naturalWidth > 0), where);

// carry drops or pastes files as the system does it.
const carry = (p, event, files, where = "#compose") =>
  p.page.evaluate(
    ([event, files, where]) => {
      const data = new DataTransfer();
      for (const f of files) data.items.add(new File([new Uint8Array(f.bytes)], f.name, { type: f.type }));
      const at = document.querySelector(where);
      const e = event === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }) : new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true });
      at.dispatchEvent(e);
    },
    [event, files.map((f) => ({ name: f.name, type: f.mimeType, bytes: [...f.buffer] })), where],
  );

export const stories = {
  "files are attached by button, drop and paste, seen by those who can, and kept": async (t) => {
    const e = await t.engine({ models: ["canned-1", "canned-eye"], vision: ["canned-eye"], delay: 1, answer: () => "I have read it." });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url, { width: 390, height: 844 });
    await p.page.waitForSelector("button.clip");
    await p.page.setInputFiles("input[type=file]", [cat, notes]);
    await until(async () => (await p.page.$$(".composer .packed")).length === 2, "two files beside the box");
    await until(async () => (await p.page.textContent(".packing")).includes("can't see pictures"), "that this model sees no pictures is said before sending");
    await carry(p, "drop", [paper], "main");
    await until(async () => (await p.page.$$(".composer .packed")).length === 3, "a dropped one too");
    await until(async () => (await p.page.textContent(".packing")).includes("What is in paper.pdf can't be read"), "nor what is in a PDF");
    await p.page.click("[aria-label='Leave paper.pdf out']");
    await carry(p, "paste", [{ ...cat, name: "pasted.png" }]);
    await until(async () => (await p.page.textContent(".composer .files")).includes("pasted.png"), "a pasted one");
    await drawn(p, ".composer .thumb img");
    await clean(p, "files beside the box");
    await fits(p, "files beside the box");
    await p.page.screenshot({ path: join(t.out, "files-compose-390.png") });
    await p.page.fill("#compose", "What do you see?");
    await p.page.keyboard.press("Enter");
    await p.finished();
    const asked = e.asked.at(-1).content;
    ok(typeof asked === "string" && asked.includes("# The lighthouse\n\nIt was lit in 1884.") && asked.endsWith("What do you see?"), `the text is in the prompt: ${asked}`);
    ok(asked.includes('"cat.png"') && asked.includes("can't see"), "of the picture its name");
    await drawn(p, "article.said .thumb img");
    await soon(async () => (await p.page.$$(".composer .packed")).length, 0, "files left beside the box");

    // The same to a model that sees.
    const id = new URL(p.page.url()).pathname.split("/").pop();
    await p.page.evaluate((id) => fetch(`/api/v1/conversations/${id}`, { method: "PATCH", headers: { "Content-Type": "application/json", "X-Parley": "1" }, body: JSON.stringify({ model: "canned-eye" }) }), id);
    await p.page.setInputFiles("input[type=file]", [cat]);
    await until(async () => (await p.page.$$(".composer .packed")).length === 1, "a picture beside the box");
    await until(async () => !(await p.page.textContent(".packing")).includes("can't see"), "no warning for a model that sees");
    await p.page.click("button.send"); // without a word
    await p.finished(2);
    const parts = e.asked.at(-1).content;
    equal(parts[0]?.image_url?.url, `data:image/png;base64,${cat.buffer.toString("base64")}`, "the picture that the engine gets");
    await p.page.reload();
    await drawn(p, "article.said .thumb img");
    await p.page.click("article.said a.file >> nth=0", { trial: true });
    const download = p.page.waitForEvent("download");
    await p.page.click("article.said a.file >> nth=0");
    const d = await download;
    equal(d.suggestedFilename(), "notes.md", "the file's name");
    equal(readFileSync(await d.path(), "utf8"), notes.buffer.toString(), "what is in it");
    await p.page.click("article.said .thumb >> nth=0");
    await drawn(p, "dialog img.large");
    await clean(p, "a picture shown large");
    await p.page.keyboard.press("Escape");
    await fits(p, "a thread with files");
    await clean(p, "a thread with files");
    await p.page.screenshot({ path: join(t.out, "files-390.png") });
    await p.page.setViewportSize({ width: 1440, height: 900 });
    await p.page.emulateMedia({ colorScheme: "dark" });
    await p.page.screenshot({ path: join(t.out, "files-1440-dark.png") });
    equal(p.errors.join(" "), "", "errors");
  },

  "what can't go along is said in words": async (t) => {
    const e = await t.engine({ delay: 1 });
    const n = await t.node({ engine: e.url, env: { PARLEY_LIMITS_FILE: "64KiB", PARLEY_LIMITS_FILES: "2", PARLEY_LIMITS_FILE_TYPES: "image/*,text/*" } });
    const p = await t.page(n.url, { width: 390, height: 844 });
    const says = async (files, ...words) => {
      await p.page.setInputFiles("input[type=file]", files);
      for (const w of words) await until(async () => (await p.page.textContent(".packing")).includes(w), `"${w}" is said`);
    };
    await p.page.waitForSelector("button.clip");
    await says([{ ...notes, name: "long.txt", buffer: Buffer.alloc(70_000, "x") }], "long.txt is too large", "66 kB");
    await says([{ ...notes, buffer: Buffer.alloc(0) }], "is empty");
    await says([paper], "not of a type that is taken here (image/*, text/*)");
    await says([{ ...cat, name: "fake.png", buffer: Buffer.from("\x00\x01\x02") }], "can't be read"); // claims to be a picture
    await p.page.click("[aria-label='Leave fake.png out']");
    await says([cat, notes, { ...notes, name: "third.md" }], "At most 2 files");
    await soon(async () => (await p.page.$$(".composer .packed")).length, 2, "files beside the box");
    await clean(p, "refused files");
    await fits(p, "refused files");
    await p.page.screenshot({ path: join(t.out, "files-refused-390.png") });
    equal(p.errors.join(" "), "", "errors");
  },

  "a file outlives the tab and the server, and goes out once": async (t) => {
    const e = await t.engine({ delay: 1, answer: () => "Thanks." });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.page.waitForSelector("button.clip");
    await p.page.setInputFiles("input[type=file]", [cat, notes]);
    await until(async () => (await p.page.$$(".composer .packed")).length === 2, "two files beside the box");
    await p.page.reload(); // nothing was sent yet
    await until(async () => (await p.page.$$(".composer .packed")).length === 2, "they are still there");
    await drawn(p, ".composer .thumb img");
    await n.kill();
    await p.page.fill("#compose", "Keep these");
    await p.page.keyboard.press("Enter");
    await drawn(p, "article.waiting .thumb img");
    await p.page.close();
    await n.start();
    p.page = await p.context.newPage();
    await p.page.goto(n.url);
    await p.finished();
    const acts = (await p.activities()).filter((a) => a.type === "message" && a.from.role === "user");
    equal(acts.length, 1, "messages");
    equal(acts[0].attachments.map((a) => `${a.name} ${a.contentType} ${a.size}`).join(), `cat.png image/png ${cat.buffer.length},notes.md text/markdown ${notes.buffer.length}`, "what it carries");
    await drawn(p, "article.said .thumb img");
    ok(JSON.stringify(e.asked).includes("It was lit in 1884."), "the text is in the prompt");
    await until(() => p.page.evaluate(() => new Promise((done) => {
      const r = indexedDB.open("parley.files");
      r.onsuccess = () => (r.result.transaction("files").objectStore("files").count().onsuccess = (x) => done(x.target.result === 0));
    })), "nothing of it is left in the browser's store");
  },

  "a hostile file runs nowhere and its name lies to nobody": async (t) => {
    const e = await t.engine({ delay: 1, answer: () => "Hm." });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url, { width: 390, height: 844 });
    const evil = "<svg xmlns='http://www.w3.org/2000/svg'><script>window.opener&&(window.opener.hit=1);document.title='hit'</script></svg>";
    const svg = { name: "a\u202egnp.svg", mimeType: "image/svg+xml", buffer: Buffer.from(evil) };
    const html = { name: `${"x".repeat(3000)}.html`, mimeType: "text/html", buffer: Buffer.from("<script>document.title='hit'</script>") };
    await p.page.waitForSelector("button.clip");
    await carry(p, "drop", [svg, html]);
    await until(async () => (await p.page.$$(".composer .packed")).length === 2, "two files beside the box");
    await fits(p, "long names");
    await p.page.fill("#compose", "Open them");
    await p.page.keyboard.press("Enter");
    await p.finished();
    await soon(async () => (await p.page.$$("article.said .thumb")).length, 0, "pictures");
    await soon(() => p.page.textContent("article.said .file-name >> nth=0"), "agnp.svg", "the name as it reads");
    await fits(p, "a thread with long names");
    const acts = (await p.activities()).filter((a) => a.attachments);
    for (const at of acts[0].attachments) {
      const res = await p.page.evaluate(async (u) => {
        const r = await fetch(u);
        return ["content-disposition", "x-content-type-options", "content-security-policy"].map((h) => r.headers.get(h)).join(" | ");
      }, at.contentUrl);
      ok(/^attachment.*\| nosniff \| default-src 'none'; sandbox$/.test(res), `how it is served: ${res}`);
      ok(at.name.length <= 200 && !/[\u202e/]/.test(at.name), `its name: ${at.name}`);
      const tab = await p.context.newPage(); // as a link would open it
      await tab.goto(new URL(at.contentUrl, n.url).href).catch(() => undefined); // it is a download
      ok((await tab.title()) !== "hit", "it ran");
      await tab.close();
    }
    equal(p.errors.join(" "), "", "errors");
  },
};
