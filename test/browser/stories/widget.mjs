// The chat bubble on pages of other sites: of another origin, with styles that
// break everything they reach, with the strictest policies.
import { createServer } from "node:http";
import { join } from "node:path";
import { clean } from "../lib/check.mjs";
import { numbered } from "../lib/engine.mjs";
import { equal, ok, soon, until } from "../lib/util.mjs";

const words = numbered(120);
const hostile = `* { all: unset !important; display: inline !important; color: red !important; font: 40px serif !important; --accent: red !important; letter-spacing: 9px }
  html { font-size: 40px } button, dialog, textarea, aside { display: none !important } parley-chat { display: none !important; transform: scale(3); --rem: 99px !important }
  :host { display: none } article { visibility: hidden !important } ::slotted(*) { display: none }`;
const pages = (n, attributes) => `<!doctype html><html lang="en"><head><title>A shop</title><meta name="viewport" content="width=device-width"></head>
  <body><main><h1>A shop</h1><p>Shoes and hats.</p><p><a href="/other">Another page</a></p></main>
  <script src="${n.url}/widget.js" data-title="Shop help" ${attributes} defer></script></body></html>`;

// site serves a page of another origin.
async function site(t, page, headers = () => ({})) {
  const server = createServer((req, res) => res.writeHead(200, { "Content-Type": "text/html; charset=utf-8", ...headers() }).end(page(req.url)));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.undo(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

// shop is a node, a site that may show its widget, and what its pages hold.
async function shop(t, { answer = () => words, delay = 15, attributes = "", style = "", headers, env = {} } = {}) {
  const e = await t.engine({ delay, answer });
  let n;
  const origin = await site(t, () => pages(n, attributes).replace("</head>", style ? `<style>${style}</style></head>` : "</head>"), () => headers?.(n.url));
  n = await t.node({ engine: e.url, env: { PARLEY_WIDGET_ORIGINS: origin, ...env } });
  return { e, n, origin };
}

// visit opens a page as a visitor of one's own, unless a context is given.
async function visit(t, origin, { context, width = 1440, height = 900, dark = false, path = "/" } = {}) {
  context ??= await t.browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce" });
  t.undo(() => context.close());
  const page = await context.newPage();
  t.pages.push({ page });
  const errors = [];
  page.on("pageerror", (err) => errors.push(err.message));
  page.on("console", (m) => /Content Security Policy|Trusted Type/i.test(m.text()) && errors.push(m.text()));
  await page.goto(origin + path);
  const knob = page.locator("parley-chat .knob");
  const v = {
    page, context, errors, knob,
    area: page.locator("parley-chat textarea"),
    panel: page.locator("parley-chat .panel"),
    answers: page.locator("parley-chat article.answer:has(footer) .md"),
    said: page.locator("parley-chat article.said .bubble"),
    open: async () => {
      await knob.click();
      await v.area.waitFor();
    },
    say: async (text) => {
      await v.area.fill(text);
      await v.area.press("Enter");
    },
    answer: async () => (await v.answers.allTextContents()).at(-1) ?? "",
    answered: (want = words, limit = 30_000) => until(async () => (await v.answer()) === want, `the answer is whole`, limit),
    middle: () => until(async () => (await v.answer()).split(" ").length > 8, "an answer in its middle"),
  };
  return v;
}

export const stories = {
  "widget: a page with hostile styles, an answer, a reload, the next page": async (t) => {
    const { origin } = await shop(t, { style: hostile });
    const v = await visit(t, origin);
    await v.open();
    const box = await v.panel.boundingBox();
    ok(box.width === 400 && box.height === 640 && box.x + box.width === 1420, `the panel is as large as it should be: ${JSON.stringify(box)}`);
    await v.page.screenshot({ path: join(t.out, "widget-hostile-open.png") });
    await v.say("Count for me");
    await v.middle();
    await v.page.reload();
    await v.area.waitFor(); // it was open, and is again
    await v.answered();
    await soon(async () => (await v.said.allTextContents()).join(), "Count for me", "what was said");
    await v.page.goto(origin + "/other");
    await v.answered();
    await v.page.screenshot({ path: join(t.out, "widget-hostile.png") });
    equal(v.errors.join("\n"), "", "errors");
  },
  "widget: a site with the strictest policies, hostile text, stop and try again": async (t) => {
    const text = "# Hi <img src=x onerror=alert(1)>\n\n[x](javascript:alert(1)) **bold** &amp; &copy; `code`\n\n```js\nlet a = 1;\n```\n\n![p](https://evil.example/p.png)\n\n" + words;
    const { n, origin } = await shop(t, {
      answer: () => text,
      headers: (n) => ({
        "Content-Security-Policy": `default-src 'none'; script-src ${n}; connect-src ${n}; require-trusted-types-for 'script'; trusted-types 'none'`,
        "Cross-Origin-Embedder-Policy": "require-corp",
      }),
    });
    const v = await visit(t, origin);
    const asked = [];
    v.page.on("request", (r) => asked.push(r.url()));
    await v.open();
    await v.say("Show me");
    await v.middle();
    await v.page.locator("parley-chat .stop").click();
    await until(async () => (await v.page.locator("parley-chat .state").allTextContents()).includes("stopped"), "it is stopped");
    await v.page.locator("parley-chat article.answer .button").click(); // try again
    await until(async () => (await v.answers.count()) === 1 && (await v.answer()).includes("w119"), "another answer is whole");
    await soon(() => v.page.locator("parley-chat .md strong").textContent(), "bold", "markdown");
    equal(await v.page.locator("parley-chat .md img, parley-chat .md script, parley-chat a[href^=javascript]").count(), 0, "elements that are not allowed");
    await until(async () => (await v.answer()).includes("& ©"), "named characters are decoded");
    await v.page.screenshot({ path: join(t.out, "widget-1440.png") });
    ok(asked.every((u) => u.startsWith(n.url)), `nobody else is asked: ${asked.filter((u) => !u.startsWith(n.url))}`);
    equal(v.errors.join("\n"), "", "errors");
  },
  "widget: the node is killed in the middle of an answer": async (t) => {
    const { e, n, origin } = await shop(t, { delay: 30 });
    const v = await visit(t, origin, { width: 390, height: 844, dark: true });
    await v.open();
    await v.say("Count for me");
    await v.middle();
    await n.kill();
    await v.say("And again"); // nobody takes it yet
    await until(async () => /tries again|trying again/.test((await v.page.locator("parley-chat .state").allTextContents()).join()), "it waits");
    await n.start();
    await until(async () => (await v.answers.allTextContents()).filter((a) => a === words).length === 2, "both answers are whole", 40_000);
    await soon(async () => (await v.said.allTextContents()).join("|"), "Count for me|And again", "what was said, once");
    ok(e.calls >= 2, "the engine was asked");
    await v.page.screenshot({ path: join(t.out, "widget-390-dark.png") });
  },
  "widget: two pages of one site, the next one, start over, the handle": async (t) => {
    const { e, origin } = await shop(t, { delay: 5 });
    const one = await visit(t, origin, { width: 1024, height: 700 });
    const two = await visit(t, origin, { context: one.context });
    await one.page.evaluate(() => {
      window.heard = [];
      for (const e of ["open", "close", "message"]) Parley.on(e, (what) => heard.push([e, what?.role, what?.text?.slice(0, 5)].join(" ").trim()));
      Parley.send("Count for me");
    });
    await two.open();
    for (const v of [one, two]) await v.answered();
    await two.say("Once more");
    for (const v of [one, two]) await until(async () => (await v.answers.count()) === 2 && (await v.answer()) === words, "both pages show both answers");
    await one.page.evaluate(() => Parley.close());
    await soon(async () => (await one.page.evaluate(() => heard)).join(), "open,message user Count,message bot w0 w1,message bot w0 w1,close", "what the site heard");
    // Answered while nobody looks: the next page says that there is something.
    e.delay = 200; // it is closed before the answer ends
    await two.say("A third time");
    await two.middle();
    await two.page.keyboard.press("Escape");
    await two.page.goto(origin + "/other");
    e.delay = 5;
    const unread = (v, yes, what) => until(async () => /new answer/.test(await v.knob.getAttribute("aria-label")) === yes, what);
    for (const v of [one, two]) await unread(v, true, "the bubble says that an answer came");
    await two.page.goto(origin + "/"); // also on a page that was not there when it came
    await unread(two, true, "the bubble still says so");
    await two.open();
    for (const v of [one, two]) await unread(v, false, "it was seen, in one of them");
    await until(async () => (await two.answers.count()) === 3, "it is there");
    await two.page.locator("parley-chat [aria-label='Start over']").click();
    await one.open();
    for (const v of [one, two]) await until(async () => (await v.said.count()) === 0, "both pages begin anew");
    await one.say("Hello");
    for (const v of [one, two]) await v.answered();
    await soon(async () => (await two.said.allTextContents()).join(), "Hello", "the new conversation");
  },
  "widget: a site that is not named, and a visitor who asks too much": async (t) => {
    const { n, e, origin } = await shop(t, { delay: 1, env: { PARLEY_WIDGET_MESSAGES: "3", PARLEY_WIDGET_GUESTS: "2" } });
    const other = await site(t, () => pages(n, ""));
    const v = await visit(t, other);
    await v.open();
    await v.say("Let me in");
    await v.page.locator("parley-chat .banner").waitFor();
    await soon(() => v.page.locator("parley-chat .banner").textContent(), "The chat could not be reached. What you send waits here; trying again…", "what the visitor is told");
    const told = await v.page.evaluate(async (url) => {
      const call = (path, init) => fetch(url + path, init).then((r) => r.status, () => "nothing");
      return Promise.all([call("/api/v1/widget/session", { method: "POST" }), call("/api/v1/info"), call("/readyz"), call("/api/v1/conversations", { credentials: "include" })]);
    }, n.url);
    equal(told.join(), "nothing,nothing,nothing,nothing", "what its page can read");
    equal(e.calls, 0, "answers");
    const w = await visit(t, origin);
    await w.open();
    for (const text of ["one", "two", "three"]) await w.say(text);
    await until(async () => /too many messages.*tries again/.test((await w.page.locator("parley-chat .state").allTextContents()).join()), "the third waits");
    await until(() => e.calls === 2, "two answers were asked for");
    await (await visit(t, origin)).open();
    const late = await visit(t, origin);
    await late.open();
    await until(async () => /too many visitors|could not be reached/.test((await late.page.locator("parley-chat .banner").allTextContents()).join()), "the third visitor waits");
  },
  "widget: keyboard, screen reader, sheet, colours, both schemes": async (t) => {
    const { origin } = await shop(t, { delay: 2, answer: () => "Here is **all** of it: [our terms](https://example.org/terms).\n\n| a | b |\n|---|---|\n| 1 | 2 |", attributes: 'data-accent="#ffd400" data-position="left" data-greeting="Hello there!" data-lang="de"' });
    for (const [width, height, dark] of [[1440, 900, true], [390, 844, false]]) {
      const v = await visit(t, origin, { width, height, dark });
      const name = `${width}${dark ? "-dark" : ""}`;
      await clean(v, `closed ${name}`);
      await v.knob.focus();
      await v.page.keyboard.press("Enter");
      await v.area.waitFor();
      const within = () => v.page.evaluate(() => document.activeElement.tagName + " " + (document.activeElement.shadowRoot?.activeElement?.className ?? ""));
      await v.say("Zeig mir alles");
      await until(async () => (await v.answer()).includes("our terms"), "the answer");
      await until(async () => /^Antwort: Here is/.test((await v.page.locator("parley-chat .panel [role=status]").allTextContents()).join("")), "a screen reader hears the answer");
      await clean(v, `open ${name}`);
      await v.page.screenshot({ path: join(t.out, `widget-look-${name}.png`) });
      if (width === 390) {
        for (let i = 0; i < 20; i++) {
          await v.page.keyboard.press("Tab");
          ok(!/^(A|BODY|HTML) /.test(await within()) || (await within()).startsWith("BODY "), `the sheet holds the focus: ${await within()}`);
        }
      }
      await v.area.focus();
      await v.page.keyboard.press("Escape");
      await until(async () => (await v.panel.getAttribute("open")) === null, "Escape closes it");
      await soon(async () => (await within()).endsWith("knob"), true, "the focus is back on the bubble");
      equal(v.errors.join("\n"), "", "errors");
    }
  },
  "widget: the page to try it on": async (t) => {
    const e = await t.engine({ delay: 2, answer: () => words });
    const n = await t.node({ engine: e.url });
    for (const [width, dark] of [[1440, false], [390, true]]) {
      const v = await visit(t, n.url, { width, dark, path: "/widget" });
      await v.page.fill(".try input >> nth=0", 'Ask "us"');
      await v.page.selectOption(".try select >> nth=0", "left");
      await soon(async () => (await v.page.locator(".try pre").first().textContent()).includes('data-title="Ask &#34;us&#34;" data-position="left" defer></script>'), true, "the tag says it");
      await clean(v, "the page");
      if (width === 390) await v.page.screenshot({ path: join(t.out, "widget-try-390-dark.png"), fullPage: true });
      await v.open();
      await v.say("Count");
      await v.answered();
      await soon(() => v.page.locator("parley-chat .head h2").textContent(), 'Ask "us"', "the title");
      await v.page.screenshot({ path: join(t.out, `widget-try-${width}.png`) });
      equal(v.errors.join("\n"), "", "errors");
    }
  },
};
