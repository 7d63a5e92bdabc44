// The pages without JavaScript: a browser that runs none reads, says, stops,
// finds and deletes, and loses nothing when the node dies.
import { join } from "node:path";
import { clean, fits } from "../lib/check.mjs";
import { numbered } from "../lib/engine.mjs";
import { equal, ok, pause, soon, until } from "../lib/util.mjs";

const words = numbered(120);

// plain opens a browser that runs no scripts.
async function plain(t, url, { locale = "en-GB" } = {}) {
  const context = await t.browser.newContext({ javaScriptEnabled: false, reducedMotion: "reduce", locale, viewport: { width: 1024, height: 768 } });
  t.undo(() => context.close());
  const p = { context, page: await context.newPage(), url, wrong: [] };
  t.pages.push(p);
  p.page.on("console", (m) => p.wrong.push(m.text()));
  p.page.on("request", (r) => new URL(r.url()).origin !== new URL(url).origin && p.wrong.push(r.url()));
  p.say = async (text) => {
    await p.page.fill("#text", text);
    await p.page.click('.compose button:not([name])', { noWaitAfter: true });
  };
  // A page that is being left has nothing to show.
  p.texts = (what) => p.page.locator(what).allTextContents().catch(() => []);
  p.answers = () => p.texts("article.answer:not(.writing) .md");
  p.growing = async () => (await p.texts(".writing .flow")).join();
  await p.page.goto(`${url}/plain`);
  return p;
}

// seen is axe-core's judgement of the page, and pictures of it. axe-core is a
// script: a browser with the same session that runs some looks at the same page.
async function seen(t, p, name, what) {
  const judge = await t.browser.newContext({ reducedMotion: "reduce", bypassCSP: true, storageState: await p.context.storageState() });
  const j = { page: await judge.newPage() };
  await j.page.goto(p.page.url());
  for (const [width, height, colorScheme] of [[390, 844, "light"], [1440, 900, "dark"]]) {
    await j.page.setViewportSize({ width, height });
    await j.page.emulateMedia({ colorScheme });
    await fits(j, what);
    await clean(j, what);
    await j.page.screenshot({ path: join(t.out, `${name}-${width}.png`) });
  }
  await judge.close();
}

const hostile = '<script>document.title="ran"</script> <img src=https://evil.example/x onerror=alert(1)> <style>*{display:none}</style> [no](javascript:alert(1)) ![p](https://evil.example/p.png) </article></main><form action=https://evil.example><button>Log in</button></form>';

export const stories = {
  "without JavaScript: said, answered, found, judged, renamed and deleted": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => (ask.includes("harm") ? `${ask}\n\n# **Done**` : `About **${ask}**.\n\n| a | b |\n|---|---|\n| 1 | 2 |`) });
    const n = await t.node({ engine: e.url });
    const p = await plain(t, n.url);
    await seen(t, p, "plain-empty", "the list without a conversation");
    await p.say("tea");
    await until(async () => (await p.answers()).join().includes("About tea."), "the answer, formatted");
    await soon(() => p.page.locator("article.answer").locator("visible=true").count(), 1, "answers on screen");
    await p.page.setInputFiles("#file", { name: "leaf.txt", mimeType: "text/plain", buffer: Buffer.from("green") });
    await p.say(`harm ${hostile}`);
    await until(async () => (await p.answers()).length === 2, "the second answer");
    equal(await p.page.locator("main script, main style, main iframe, .md img, .bubble img, form[action*=evil]").count(), 0, "what a hostile text brought in");
    await until(async () => (await p.page.textContent("main")).includes('<script>document.title="ran"</script>'), "the text is shown as it was written");
    await soon(async () => (await p.texts(".bubble a[download]")).join(), "leaf.txt", "the file");
    await p.page.click("article.answer >> nth=-1 >> text=A good answer");
    await until(async () => (await p.texts("[value=like][aria-pressed=true]")).length === 1, "the thumb");
    await seen(t, p, "plain-thread", "a conversation");
    await p.page.click("summary");
    await p.page.fill("#title", "Leaves & more");
    await p.page.click("text=Rename >> nth=-1");
    await soon(() => p.page.textContent("h1"), "Leaves & more", "the new title");
    await p.page.click("nav >> text=Conversations");
    await p.page.fill("#q", "about tea");
    await p.page.press("#q", "Enter");
    await soon(async () => (await p.page.locator(".entries mark").allTextContents()).join(" ").toLowerCase(), "about tea", "what was found");
    await seen(t, p, "plain-found", "what was found");
    await p.page.click(".entries a");
    const german = await plain(t, n.url, { locale: "de-DE" });
    await soon(() => german.page.textContent("h1"), "Neues Gespräch", "the other language");
    await p.page.click("summary");
    await p.page.click("text=Delete this conversation");
    await seen(t, p, "plain-sure", "asking before deleting");
    await p.page.click("button >> text=Delete");
    await until(async () => (await p.page.textContent("main")).includes("No conversations here yet."), "it is gone");
    equal(p.wrong.concat(german.wrong).join(" "), "", "what went wrong or elsewhere");
  },

  "without JavaScript: killed in mid-answer, a reload shows it whole, once": async (t) => {
    const e = await t.engine({ delay: 25, answer: () => words });
    const n = await t.node({ engine: e.url });
    const p = await plain(t, n.url);
    await p.say("Count");
    await until(async () => (await p.growing()).includes("w9 "), "the answer grows");
    ok(words.startsWith((await p.growing()).trim()), "what is seen is its beginning");
    await n.kill();
    await pause(100);
    ok((await p.growing()).includes("w9 "), "what was there stays on screen");
    await n.start();
    await p.page.click(".writing a", { noWaitAfter: true });
    await until(async () => (await p.answers()).length === 1, "the answer is over");
    await soon(async () => (await p.answers())[0].trim(), words, "the answer");
    await soon(() => p.page.locator(".bubble").allTextContents().then((a) => a.join()), "Count", "what was said");
    const id = new URL(p.page.url()).pathname.split("/").at(-1);
    const log = (await (await p.context.request.get(`${n.url}/api/v1/conversations/${id}/activities`)).json()).activities;
    equal(log.map((a) => a.text).join("|"), `Count|${words}`, "the log");
  },

  "without JavaScript: an answer is stopped and asked for again": async (t) => {
    const e = await t.engine({ delay: 25, answer: () => words });
    const n = await t.node({ engine: e.url });
    const p = await plain(t, n.url);
    await p.say("Count");
    await until(async () => (await p.growing()).includes("w3 "), "the answer grows");
    await p.page.click(".writing button", { noWaitAfter: true });
    await until(async () => (await p.texts(".note")).includes("Stopped."), "it says so");
    await seen(t, p, "plain-stopped", "an answer that was stopped");
    await p.page.click("text=Answer again", { noWaitAfter: true });
    await until(async () => (await p.texts(".foot .note")).join().includes("version 2 of 2"), "the other answer");
    await soon(async () => (await p.answers()).map((s) => s.trim()).join(), words, "it is whole");
  },
};
