// Makes the pictures of the README: node pictures.mjs
//   PARLEY_BIN and CHROMIUM as for the stories
// The binary and the browser are real; what is said is written here, so that the
// pictures are the same every time.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine } from "./lib/engine.mjs";
import { binary, Node, root } from "./lib/node.mjs";
import { browser, Page } from "./lib/page.mjs";

const answers = {
  "How do I keep a server from losing messages?": `Write each message to disk **before** you acknowledge it, and make every retry harmless:

1. The client sends a key of its own with the message.
2. The server appends it to a log and syncs.
3. Only then does it say *accepted*.

\`\`\`go
if err := log.Append(ctx, key, msg); err != nil {
	return err // not acknowledged: the client tries again
}
\`\`\`

| What dies | What is lost |
|:--|:--|
| the connection | nothing, the retry has the same key |
| the process | nothing that was acknowledged |`,
  "And if the disk dies?": "Then you need a second copy somewhere else *before* you acknowledge. Two regions that have both synced survive the loss of either one.",
};
const others = ["Plan a weekend in Kyoto", "Why is the sky blue?", "Explain raft to a ten-year-old"];

const tmp = mkdtempSync(join(tmpdir(), "parley-pictures-"));
const out = join(root, "docs", "pictures");
mkdirSync(out, { recursive: true });
const e = await new Engine({ models: ["your-model"], delay: 0, answer: (ask) => answers[ask] ?? "Gladly." }).start();
const n = new Node(binary(tmp), { engine: e.url });
const web = await browser();
try {
  await n.start();
  const p = await Page.open(web, n.url, { width: 1280, height: 800 });
  for (const title of others) {
    await p.say(title);
    await p.finished();
    await p.page.click("text=New conversation");
  }
  let said = 0;
  for (const ask of Object.keys(answers)) {
    await p.say(ask);
    await p.finished(++said);
  }
  await shoot(p, "page.webp");
  const context = await web.newContext({ viewport: { width: 390, height: 760 }, deviceScaleFactor: 1.5, colorScheme: "dark", reducedMotion: "reduce", hasTouch: true, isMobile: true, serviceWorkers: "block", storageState: await p.context.storageState() });
  const q = await Page.open(web, n.url, { context, path: new URL(p.page.url()).pathname });
  await q.finished(said);
  await shoot(q, "phone.webp");
} finally {
  await web.close();
  await n.stop();
  e.stop();
  rmSync(tmp, { recursive: true, force: true });
}

async function shoot(p, name) {
  await p.page.mouse.move(0, 0);
  await p.page.evaluate(() => document.activeElement?.blur());
  await p.page.waitForTimeout(300);
  const cdp = await p.context.newCDPSession(p.page);
  const { data } = await cdp.send("Page.captureScreenshot", { format: "webp", quality: 85 });
  const bytes = Buffer.from(data, "base64");
  writeFileSync(join(out, name), bytes);
  console.log(`${name}: ${(bytes.length / 1000).toFixed(0)} kB`);
}
