// What the page is like.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { clean, fits } from "../lib/check.mjs";
import { numbered } from "../lib/engine.mjs";
import { equal, ok, pause, soon, until } from "../lib/util.mjs";

const rich = `Here is what an answer can hold: **bold**, *emphasis*, \`code\`, and a [link](https://example.org/a/path).

## Steps
1. Append the message to the log
2. Ask the engine
   - stream what it says
   - keep a checkpoint
3. Write the answer

\`\`\`go
func main() {
	fmt.Println("a line of code that is long enough to reach past the edge of every phone there is", 42)
}
\`\`\`

| Region | Round trip | State | Remark |
|:--|--:|:-:|:--|
| japaneast | 30 ms | living | the home of this conversation |
| koreacentral | 75 ms | living | holds a copy |
| southeastasia | 70 ms | draining | gives its answers to another |

> What was acknowledged is never lost.

A_word_without_any_place_to_break_that_goes_on_and_on_and_on_${"x".repeat(200)}
`;

export const stories = {
  "the policy forbids what is not ours": async (t) => {
    const n = await t.node({ engine: "demo" });
    const p = await t.page(n.url);
    const got = await p.page.evaluate(async () => {
      const out = {};
      try {
        document.body.insertAdjacentHTML("beforeend", "<b>x</b>");
        out.html = "allowed";
      } catch {
        out.html = "refused";
      }
      const s = document.createElement("style");
      s.textContent = "body{color:red}";
      document.head.append(s);
      out.style = s.sheet?.cssRules.length ? "allowed" : "refused";
      out.fetch = await fetch("https://example.org/").then(() => "allowed", () => "refused");
      return out;
    });
    equal(JSON.stringify(got), '{"html":"refused","style":"refused","fetch":"refused"}', "the policy");
  },

  "the demonstration engine is called what it is": async (t) => {
    const n = await t.node({ engine: "demo" });
    const p = await t.page(n.url);
    await until(() => p.page.isVisible(".banner.info"), "a banner");
    await soon(async () => /demonstration/i.test(await p.page.textContent(".banner.info")), true, "it says so");
    await p.say("Who are you?");
    await p.finished(1, 60_000);
    await p.agrees();
  },

  "edit and answer again make branches": async (t) => {
    let no = 0;
    const e = await t.engine({ delay: 2, answer: (ask) => `Answer ${++no} to “${ask}”` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("one");
    await p.finished();
    await soon(() => p.answer(), "Answer 1 to “one”", "the first answer");
    await p.page.click("article.answer button[aria-label='Answer again']");
    await until(async () => (await p.answer()) === "Answer 2 to “one”", "the second answer");
    await p.finished();
    await soon(() => p.page.textContent(".versions span"), "2/2", "the switcher");
    await p.page.click("article.answer button[aria-label='Previous version']");
    await until(async () => (await p.answer()) === "Answer 1 to “one”", "the first answer again");
    await p.page.hover("article.said");
    await p.page.click("article.said button[aria-label='Edit']");
    await p.page.fill(".editor textarea", "uno");
    await p.page.press(".editor textarea", "Enter");
    await until(async () => (await p.answer()) === "Answer 3 to “uno”", "an answer to the edited message");
    await p.finished();
    await soon(async () => (await p.said()).join(), "uno", "the edited message is shown instead");
    await p.page.reload();
    await p.finished();
    await soon(async () => (await p.said()).join(), "uno", "the newest branch after a reload");
    await p.page.click("article.said button[aria-label='Previous version']");
    await until(async () => (await p.said()).join() === "one", "the first message again");
    await soon(() => p.answer(), "Answer 2 to “one”", "and its newest answer");
    const acts = await p.activities();
    equal(acts.length, 5, "activities in the log");
  },

  "list, address, search, rename, export, delete": async (t) => {
    const e = await t.engine({ delay: 1, answer: (ask) => `About ${ask}: the ${ask === "tea" ? "Darjeeling harvest" : "Arabica roast"}.` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("tea");
    await p.finished();
    const tea = p.id();
    await p.page.click("text=New conversation");
    await p.say("coffee");
    await p.finished();
    ok(p.id() !== tea, "another conversation");
    await until(async () => (await p.page.$$("nav .entry")).length === 2, "two in the list");
    await p.page.goBack();
    await until(async () => p.id() === tea && (await p.said()).join() === "tea", "the browser's back leads back");
    await p.page.goto(`${n.url}/#/c/${encodeURIComponent(tea)}`);
    await p.finished();
    equal(p.id(), tea, "the short address leads there too");
    await until(
      async () => {
        await p.page.fill("input[type=search]", "");
        await p.page.fill("input[type=search]", "Arabica");
        await pause(400);
        return (await p.page.$$(".hits li")).length > 0;
      },
      "a hit",
    );
    await soon(async () => /arabica/i.test(await p.page.textContent(".hits mark")), true, "the hit is marked");
    await p.page.click(".hits a");
    await until(async () => (await p.said()).join() === "coffee", "the hit's conversation");
    await p.page.fill("input[type=search]", "");
    await p.page.click("header .more");
    await p.page.click("text=Rename");
    await clean(p, "a dialog");
    await p.page.fill("dialog input", "Beans");
    await p.page.press("dialog input", "Enter");
    await until(async () => (await p.page.textContent("h1")) === "Beans", "the new title");
    await until(async () => (await p.page.title()).startsWith("Beans"), "in the tab too");
    await p.page.click("header .more");
    const download = p.page.waitForEvent("download");
    await p.page.click("text=Export as Markdown");
    const file = await (await download).path();
    ok(/Arabica roast/.test(readFileSync(file, "utf8")), "the export holds the answer");
    await p.page.click("header .more");
    await p.page.click(".menu .danger");
    await until(async () => (await p.page.$$("nav .entry")).length === 1, "one in the list");
    await p.page.reload();
    await until(async () => (await p.page.$$("nav .entry")).length === 1, "still one");
    await soon(async () => (await p.page.textContent("nav")).includes("Beans"), false, "the right one is gone");
  },

  "somebody else's conversation, and one that never was": async (t) => {
    const e = await t.engine({ delay: 1 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("mine");
    await p.finished();
    const q = await t.page(n.url, { path: new URL(p.page.url()).pathname }); // another session
    await until(async () => /no such conversation/.test(await q.page.textContent("main")), "the page says so");
    await soon(async () => (await q.said()).join(), "", "and shows nothing of it");
    ok(await q.page.isDisabled("#compose"), "nothing can be sent to it");
  },

  "a key is asked for where others can reach the node": async (t) => {
    const key = "story-key-3f1c0c6e9a2b4d5f8e7a6b5c4d3e2f10";
    const e = await t.engine({ delay: 1 });
    const n = await t.node({ engine: e.url, host: "0.0.0.0", env: { PARLEY_KEY: key } });
    const p = await t.page(n.url);
    await p.page.waitForSelector(".login");
    await clean(p, "the form");
    await p.page.screenshot({ path: join(t.out, "login.png") });
    await p.page.fill(".login input", "wrong");
    await p.page.press(".login input", "Enter");
    await until(async () => /not right/.test((await p.page.textContent(".login [role=alert]").catch(() => "")) ?? ""), "a wrong key is said to be wrong");
    await p.page.fill(".login input", key);
    await p.page.press(".login input", "Enter");
    await p.page.waitForSelector("#compose");
    await p.say("hello");
    await p.finished();
    await p.agrees();
    await p.page.reload();
    await p.finished();
    ok(!(await p.page.$(".login")), "the session lasts");
    ok((await p.context.cookies()).every((c) => c.httpOnly && c.sameSite === "Lax"), "the cookie is HttpOnly and SameSite=Lax");
    ok(!(await p.page.evaluate((k) => JSON.stringify({ ...localStorage }).includes(k), key)), "the key is not kept in the page");
  },

  "a failed answer says why and can be tried again": async (t) => {
    const e = await t.engine({ delay: 2 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    const real = e.handle.bind(e);
    e.handle = async (req, res) => {
      if (req.url.endsWith("/models")) return real(req, res);
      res.writeHead(400, { "Content-Type": "application/json" }).end('{"error":{"message":"this prompt is refused","type":"invalid_request_error"}}');
    };
    await p.say("hello");
    await until(() => p.page.isVisible(".trouble"), "the page says that it failed", 60_000);
    ok(/failed/.test(await p.page.textContent(".trouble")), "in words");
    await clean(p, "a failed answer");
    await p.page.screenshot({ path: join(t.out, "failed.png") });
    e.handle = real;
    await p.page.click(".trouble button");
    await until(async () => /You said: hello/.test(await p.answer()), "the next answer");
  },

  "the reader's place is kept while an answer comes": async (t) => {
    const e = await t.engine({ delay: 8, answer: () => Array.from({ length: 240 }, (_, i) => `Paragraph ${i} with a few words in it.`).join("\n\n") });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("A long one");
    await until(() => p.page.evaluate(() => (document.querySelector(".scroll")?.scrollTop ?? 0) > 200), "the end is followed");
    await p.page.hover(".scroll");
    // On a busy machine the wheel turns late: nothing is measured before it has.
    await p.page.evaluate(() => document.querySelector(".scroll").addEventListener("wheel", () => setTimeout(() => (window.wheeled = true), 200), { once: true, passive: true }));
    await p.page.mouse.wheel(0, -150);
    await until(() => p.page.evaluate(() => window.wheeled), "the wheel has turned");
    const place = () => p.page.evaluate(() => document.querySelector(".scroll").scrollTop);
    const at = await place();
    const height = await p.page.evaluate(() => document.querySelector(".scroll").scrollHeight);
    await until(() => p.page.evaluate((h) => document.querySelector(".scroll").scrollHeight > h + 600, height), "the answer grows");
    ok(Math.abs((await place()) - at) < 2, `the place is kept (${at}, ${await place()})`);
    await p.page.click(".latest");
    await p.finished(1, 60_000);
    await until(() => p.page.evaluate(() => { const s = document.querySelector(".scroll"); return s.scrollHeight - s.scrollTop - s.clientHeight < 3; }), "the end is followed again");
  },

  "a long conversation opens at its end, and older messages come without moving the reader": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => `## About ${ask}\n\n${numbered(30)}\n\n- one\n- two\n\n\`\`\`js\nlet a = 1;\n\`\`\`` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Question 0");
    await p.finished();
    const most = 99;
    for (let i = 1; i <= most; i++) {
      await until(async () => {
        const res = await p.context.request.post(`${n.url}/api/v1/conversations/${encodeURIComponent(p.id())}/activities`, {
          headers: { "X-Parley": "1", "Content-Type": "application/json", "Idempotency-Key": `key-${i}` },
          data: { type: "message", text: `Question ${i}` },
        });
        ok(res.ok() || res.status() === 429, `message ${i} is taken: ${res.status()}`);
        return res.ok();
      }, "room in the queue");
    }
    await until(async () => (await p.activities()).length === 2 * (most + 1), "all answers", 120_000, 200);
    await p.page.reload();
    const last = () => p.page.evaluate(() => [...document.querySelectorAll(".bubble")].at(-1)?.textContent);
    await until(async () => (await last()) === `Question ${most}`, "the newest message");
    await until(() => p.page.evaluate(() => { const s = document.querySelector(".scroll"); return s.scrollHeight - s.scrollTop - s.clientHeight < 3; }), "the end is in view");
    ok((await p.page.$$("article")).length <= 90, "only the newest messages are on the page");
    await p.page.evaluate(() => addEventListener("beforeprint", () => (window.printed = document.querySelectorAll("article").length), { once: true }));
    await p.page.pdf();
    await soon(() => p.page.evaluate(() => window.printed), 2 * (most + 1), "messages on paper");
    await until(async () => (await p.page.$$("article")).length <= 90, "the rest leaves the page again");
    await p.page.hover(".scroll");
    // Where a message stands that is in view, as "text top".
    const stand = () =>
      p.page.evaluate(() => {
        const top = document.querySelector(".scroll").getBoundingClientRect().top;
        const all = [...document.querySelectorAll(".bubble")];
        const b = all.find((x) => x.getBoundingClientRect().top > top + 10);
        return { text: b.textContent, top: b.getBoundingClientRect().top, from: all[0].textContent, at: document.querySelector(".scroll").scrollTop };
      });
    let shown = 0;
    for (let i = 0; i < 400; i++) {
      const was = await stand();
      if (was.at === 0 && was.from === "Question 0") break;
      await p.page.mouse.wheel(0, -250);
      await pause(40);
      const now = await stand();
      if (now.from !== was.from) {
        shown++;
        const moved = await p.page.evaluate((text) => [...document.querySelectorAll(".bubble")].find((x) => x.textContent === text).getBoundingClientRect().top, was.text);
        ok(moved - was.top >= 0 && moved - was.top <= 251, `what is read moves with the wheel only (${moved - was.top})`);
      }
    }
    await soon(() => p.page.evaluate(() => document.querySelector(".bubble").textContent), "Question 0", "the first message");
    ok(shown >= 2, `older messages came in steps (${shown})`);
    const all = await p.said();
    equal(all.join(), Array.from({ length: most + 1 }, (_, i) => `Question ${i}`).join(), "every message once, in order");
    await p.page.click(".latest");
    await until(async () => (await p.page.$$("article")).length < 2 * (most + 1), "old ones leave again");
  },

  "by keyboard alone": async (t) => {
    const e = await t.engine({ delay: 1 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await soon(() => p.page.evaluate(() => document.activeElement?.id), "compose", "the message box has the focus");
    await p.page.evaluate(() => document.querySelector("a, button, input, textarea").focus());
    await soon(() => p.page.evaluate(() => document.activeElement?.className), "skip", "the first stop skips to the message box");
    await p.page.keyboard.press("Enter");
    await p.page.keyboard.type("line one");
    await p.page.keyboard.press("Shift+Enter");
    await p.page.keyboard.type("line two");
    await p.page.keyboard.press("Enter");
    await p.finished();
    await soon(async () => (await p.said()).join(), "line one\nline two", "the message");
    for (let i = 0; i < 40 && !(await p.page.evaluate(() => document.activeElement?.matches("nav .entry .more"))); i++) await p.page.keyboard.press("Shift+Tab");
    await p.page.keyboard.press("Enter");
    await p.page.keyboard.press("ArrowDown");
    await p.page.keyboard.press("Escape");
    await soon(() => p.page.evaluate(() => document.activeElement?.matches("nav .entry .more")), true, "Escape leads back to where the menu was opened");
    const said = await p.page.textContent("[role=status][aria-live]");
    ok(/Answer: You said/.test(said), `the end of the answer was announced: ${said}`);
  },

  "it fits every width, looks right and is accessible": async (t) => {
    const e = await t.engine({ delay: 1, answer: () => rich });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await clean(p, "the empty page");
    await p.say("Show me what an answer can hold, please");
    await p.finished();
    const state = await p.context.storageState();
    const path = new URL(p.page.url()).pathname;
    for (const dark of [false, true]) {
      for (const [width, height] of [[390, 844], [768, 1024], [1440, 900]]) {
        const context = await t.browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce", storageState: state, hasTouch: width < 500 });
        const q = await t.page(n.url, { context, path });
        await q.finished();
        const name = `${width}-${dark ? "dark" : "light"}`;
        await fits(q, name);
        await q.page.screenshot({ path: join(t.out, `page-${name}.png`) });
        await clean(q, name);
        await q.page.evaluate(() => (document.querySelector(".scroll").scrollTop = 0));
        if (width < 800) {
          await q.page.click("button[aria-controls=list]");
          await q.page.waitForSelector(".side.open");
          await pause(250);
          await q.page.screenshot({ path: join(t.out, `list-${name}.png`) });
          await clean(q, `${name} with the list`);
          await fits(q, `${name} with the list`);
          await q.page.keyboard.press("Escape");
        } else {
          await q.page.click("header .more");
          await q.page.screenshot({ path: join(t.out, `menu-${name}.png`) });
          await clean(q, `${name} with the menu`);
        }
        await q.close();
      }
    }
  },

  "1,000 words a second do not stall the page": async (t) => {
    const text = Array.from({ length: 60 }, (_, i) => `Paragraph ${i}: ${numbered(25)}`).join("\n\n");
    const e = await t.engine({ delay: 1, answer: () => text });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.page.evaluate(() => {
      window.gaps = [];
      let last = performance.now();
      const tick = (now) => {
        window.gaps.push(now - last);
        last = now;
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    });
    await p.say("Quickly");
    await p.finished(1, 60_000);
    const gaps = (await p.page.evaluate(() => window.gaps)).slice(2).sort((a, b) => a - b);
    t.log(`frames while ${text.split(" ").length} words came: median ${gaps[gaps.length >> 1].toFixed(1)} ms, p99 ${gaps[Math.floor(gaps.length * 0.99)].toFixed(1)} ms, longest ${gaps.at(-1).toFixed(1)} ms`);
    await p.agrees();
  },
};
