// The chat bubble on pages of other sites: of another origin, with styles that
// break everything they reach, with the strictest policies.
import { createServer } from "node:http";
import { join } from "node:path";
import { clean } from "../lib/check.mjs";
import { numbered } from "../lib/engine.mjs";
import { equal, ok, until } from "../lib/util.mjs";

const words = numbered(120);
const hostile = `* { all: unset !important; display: inline !important; color: red !important; font: 40px serif !important; --accent: red !important; letter-spacing: 9px }
  html { font-size: 40px } button, dialog, textarea, aside { display: none !important } parley-chat { display: none !important; transform: scale(3); --rem: 99px !important }
  :host { display: none } article { visibility: hidden !important } ::slotted(*) { display: none }`;
const pages = (n, attributes) => `<!doctype html><html lang="en"><head><title>A shop</title><meta name="viewport" content="width=device-width"></head>
  <body><main><h1>A shop</h1><p>Shoes and hats.</p><p><a href="/other">Another page</a></p></main>
  <script src="${n.url}/widget.js" data-title="Shop help" ${attributes} defer></script></body></html>`;

// site serves a page of another origin.
async function site(t, page, headers = {}) {
  const server = createServer((req, res) => res.writeHead(200, { "Content-Type": "text/html; charset=utf-8", ...headers }).end(page(req.url)));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.undo(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

// shop is a node, a site that may show its widget, and what its pages hold.
async function shop(t, { answer = () => words, delay = 15, attributes = "", style = "", headers, env = {} } = {}) {
  const e = await t.engine({ delay, answer });
  let n;
  const origin = await site(t, () => pages(n, attributes).replace("</head>", style ? `<style>${style}</style></head>` : "</head>"), headers);
  n = await t.node({ engine: e.url, env: { PARLEY_WIDGET_ORIGINS: origin, ...env } });
  return { e, n, origin };
}

// visit opens a page as a visitor of one's own, unless a context is given.
async function visit(t, origin, { context, width = 1440, height = 900, dark = false, path = "/" } = {}) {
  context ??= await t.browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce" });
  t.undo(() => context.close());
  const page = await context.newPage();
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
    equal((await v.said.allTextContents()).join(), "Count for me", "what was said");
    await v.page.goto(origin + "/other");
    await v.answered();
    await v.page.screenshot({ path: join(t.out, "widget-hostile.png") });
    equal(v.errors.join("\n"), "", "errors");
  },
};
