// For everyone: other languages and scripts, the keyboard, a page that is
// installed and opens without a connection.
import { join } from "node:path";
import { clean, fits } from "../lib/check.mjs";
import { numbered } from "../lib/engine.mjs";
import { equal, ok, soon, until } from "../lib/util.mjs";

export const stories = {
  "in German, dark and back: every state has its words": async (t) => {
    const e = await t.engine({ delay: 2 });
    const n = await t.node({ engine: e.url });
    const context = await t.browser.newContext({ locale: "de-AT", viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", serviceWorkers: "block" });
    const p = await t.page(n.url, { context });
    await soon(() => p.page.getAttribute("html", "lang"), "de", "the browser's language");
    await p.say("Guten Tag");
    await p.finished();
    await until(async () => (await p.page.textContent("nav")).includes("Heute"), "the list is in German");
    await p.page.click("text=Vorlieben");
    await p.page.selectOption("dialog select >> nth=0", "dark");
    await clean(p, "the preferences");
    await soon(() => p.page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(21, 23, 26)", "dark");
    await p.page.screenshot({ path: join(t.out, "german-dark.png") });
    await p.page.selectOption("dialog select >> nth=1", "en");
    await until(async () => (await p.page.getAttribute("html", "lang")) === "en", "English");
    await p.page.reload();
    await p.finished();
    await until(async () => (await p.page.textContent("nav")).includes("Today"), "the choice stays");
    await soon(() => p.page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(21, 23, 26)", "still dark");
    await p.page.click("text=Preferences");
    await p.page.selectOption("dialog select >> nth=0", "light");
    await p.page.emulateMedia({ colorScheme: "dark" });
    await until(async () => (await p.page.evaluate(() => getComputedStyle(document.body).backgroundColor)) === "rgb(250, 249, 246)", "light, whatever the system says");
    equal(p.errors.join(" "), "", "errors");
  },

  "right to left: the page turns round, and mixed texts read right": async (t) => {
    const e = await t.engine({ delay: 1, answer: () => "שלום! זה **משפט** בעברית.\n\n- אחת\n- two\n\n```go\nx := 1\n```\n\nAnd an English paragraph." });
    const n = await t.node({ engine: e.url });
    for (const width of [390, 1440]) {
      const p = await t.page(n.url, { width, height: 860 });
      await p.say("مرحبا، كيف حالك؟");
      await p.finished();
      const sides = () =>
        p.page.$$eval(".md > *", (all) => all.map((x) => getComputedStyle(x).direction).join());
      await soon(() => sides(), "rtl,rtl,ltr,ltr", "paragraph, list, code, English");
      await p.page.evaluate(() => (document.documentElement.dir = "rtl"));
      const edges = await p.page.evaluate(() => {
        const b = document.querySelector(".bubble").getBoundingClientRect();
        return { left: b.left, right: innerWidth - b.right };
      });
      ok(width < 500 || edges.left < edges.right, `the reader's own words stand on the other side: ${JSON.stringify(edges)}`);
      await fits(p, `right to left at ${width}`);
      await clean(p, `right to left at ${width}`);
      await p.page.screenshot({ path: join(t.out, `rtl-${width}.png`) });
      await p.close();
    }
  },

  "every shortcut of the sheet does what it says": async (t) => {
    const e = await t.engine({ delay: 20, answer: (ask) => (ask === "count" ? numbered(2000) : `About ${ask}.`) });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const focus = () => p.page.evaluate(() => document.activeElement?.id || document.activeElement?.type || document.activeElement?.localName);
    const press = (k) => p.page.keyboard.press(k);
    await p.say("tea");
    await p.finished();
    const tea = p.id();
    await press("Control+Shift+KeyO");
    await until(async () => new URL(p.page.url()).pathname === "/", "a new conversation");
    await p.say("coffee");
    await p.finished();
    await press("Control+KeyK");
    await until(async () => (await focus()) === "search", "the search");
    await press("Shift+Escape");
    await until(async () => (await focus()) === "compose", "the message box");
    await press("Control+Shift+KeyC");
    await until(async () => (await p.page.evaluate(() => navigator.clipboard.readText())) === "About coffee.", "the last answer is copied");
    await press("ArrowUp");
    await soon(() => p.page.inputValue(".editor textarea"), "coffee", "the last message, to be edited");
    await press("Escape");
    await press("Alt+ArrowDown");
    await until(async () => p.id() === tea, "the next conversation of the list");
    await press("Alt+ArrowUp");
    await until(async () => p.id() !== tea, "the previous one");
    await p.say("count");
    await p.middle(10);
    await press("Control+Shift+Period");
    await p.finished(2);
    await soon(async () => /stopped/.test(await p.state()), true, "stopped");
    await press("Control+Slash");
    await p.page.waitForSelector("dialog[open] .sheet");
    await soon(async () => (await p.page.$$(".sheet > div")).length, 13, "shortcuts on the sheet");
    await clean(p, "the sheet");
    await p.page.screenshot({ path: join(t.out, "shortcuts.png") });
    await press("Escape");
    await until(async () => !(await p.page.$("dialog[open]")), "the sheet closes");
    equal(p.errors.join(" "), "", "errors");
  },

  "installed: it opens without a connection, shows what was said, and sends what is said then": async (t) => {
    const e = await t.engine({ delay: 1 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url, { workers: "allow" });
    await p.say("Before the node goes down");
    await p.finished();
    const said = await p.answer();
    await p.page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
    await until(() => p.page.evaluate(() => navigator.serviceWorker.controller !== null), "the worker has the page");
    await until(
      () =>
        p.page.evaluate(
          () =>
            new Promise((done) => {
              const req = indexedDB.open("parley", 1);
              req.onsuccess = () => {
                const all = req.result.transaction("kept").objectStore("kept").getAllKeys();
                all.onsuccess = () => (req.result.close(), done(all.result.length >= 2));
              };
            }),
        ),
      "the browser keeps list and conversation",
    );
    await n.kill();
    await p.page.reload();
    await p.page.waitForSelector("#compose");
    await until(async () => (await p.answer()) === said, "what was said is on screen");
    await until(async () => (await p.page.$$("nav .entry")).length === 1, "and in the list");
    await until(() => p.page.isVisible(".banner.warn"), "the page says that nobody answers");
    await clean(p, "without a connection");
    await p.say("Written without a connection");
    await until(async () => /not sent yet/.test(await p.state()), "it waits");
    await p.page.screenshot({ path: join(t.out, "offline-shell.png") });
    await p.page.reload();
    await p.page.waitForSelector("article.waiting");
    await n.start();
    await p.finished(2, 60_000);
    await p.agrees({ users: 2, bots: 2 });
    equal(p.errors.join(" "), "", "errors");
  },
};
