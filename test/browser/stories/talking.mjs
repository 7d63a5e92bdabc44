// What can be done with answers, and how they are made.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clean, fits } from "../lib/check.mjs";
import { numbered } from "../lib/engine.mjs";
import { equal, ok, soon, until } from "../lib/util.mjs";

export const stories = {
  "code has colours, and can be copied, wrapped and kept as a file": async (t) => {
    const code = 'func main() {\n\tfmt.Println("a line that is long enough to reach past the edge of every phone there is", 42) // so it wraps\n}\n';
    const e = await t.engine({ delay: 1, answer: () => `Here:\n\n\`\`\`go\n${code}\`\`\`\n` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url, { width: 390, height: 844 });
    await p.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await p.say("Show me code");
    await p.finished();
    await soon(() => p.page.textContent(".code code"), code, "the code on screen");
    await soon(async () => (await p.page.$$eval(".code .c-kw, .code .c-str, .code .c-num, .code .c-com", (all) => all.map((x) => x.className.slice(2)))).join(), "kw,str,num,com", "what has colours");
    await p.page.click(".code-bar >> text=Copy");
    await soon(() => p.page.evaluate(() => navigator.clipboard.readText()), code, "what was copied");
    const wide = () => p.page.$eval(".code pre", (x) => x.scrollWidth > x.clientWidth);
    ok(await wide(), "the line is longer than the phone");
    await p.page.click(".code-bar >> text=Wrap");
    await soon(() => wide(), false, "wrapped it is not");
    const download = p.page.waitForEvent("download");
    await p.page.click(".code-bar button[aria-label='Keep as a file']");
    const d = await download;
    equal(d.suggestedFilename(), "code.go", "the file's name");
    equal(readFileSync(await d.path(), "utf8"), code, "what is in the file");
    await clean(p, "code");
    await fits(p, "code");
    equal(p.errors.join(" "), "", "errors");
  },

  "formulas are set, once they are whole, and what sets them comes only then": async (t) => {
    const text = "The roots of \\(ax^2+bx+c\\) are\n\n\\[\nx = \\frac{-b \\pm \\sqrt{b^2-4ac}}{2a}\n\\]\n\nand cost $5 or $10; \\href{javascript:alert(1)}{x} and $\\href{javascript:alert(1)}{y}$ are not links.\n\n$$\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}$$\n";
    const e = await t.engine({ delay: 1, answer: (ask) => (ask === "Hello" ? "No formula." : text) });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url, { width: 390, height: 844 });
    const asked = [];
    p.page.on("request", (r) => asked.push(new URL(r.url()).pathname));
    await p.say("Hello");
    await p.finished();
    equal(asked.filter((u) => u.includes("/tex.")).length, 0, "requests for what sets formulas, without one");
    await p.say("Roots?");
    await p.finished(2);
    await until(async () => (await p.page.$$("math")).length === 3, "three formulas are set");
    equal(asked.filter((u) => u.includes("/tex.")).length, 1, "requests for what sets formulas");
    await soon(async () => (await p.page.$$("math mfrac msqrt")).length, 1, "a root in a fraction");
    await until(async () => (await p.page.textContent(".md >> nth=-1")).includes("cost $5 or $10"), "money stays money");
    await soon(async () => (await p.page.$$(".md a")).length, 0, "links");
    await clean(p, "formulas");
    await fits(p, "formulas");
    await p.page.screenshot({ path: join(t.out, "formulas-390.png") });
    equal(p.errors.join(" "), "", "errors");
  },

  "an answer that was stopped goes on where it ended, beside the first": async (t) => {
    const n = await t.node({ engine: "demo" });
    const p = await t.page(n.url);
    await p.say("Count");
    // In the page: the demonstration's answers are short, a busy machine is slow.
    await p.page.waitForFunction(
      () => {
        const far = (document.querySelector("article.running .md")?.textContent ?? "").split(/\s+/).length >= 8;
        const stop = document.querySelector("button.stop");
        if (far && stop) stop.click();
        return far && stop;
      },
      null,
      { polling: "raf" },
    );
    await p.finished();
    const before = (await p.answer()).trim();
    ok(!/compatible server\.$/.test(before), `the first answer is a part: ${before.slice(-20)}`);
    await p.page.click("article.answer >> text=Go on");
    await until(async () => (await p.answer()).trim().length > before.length + 10, "it goes on");
    ok((await p.answer()).startsWith(before), "what was there stays");
    await p.finished();
    ok(/compatible server\.$/.test(await p.agrees({ users: 1, bots: 2 })), "the answer is whole");
    await p.page.click("article.answer button[aria-label='Previous version']");
    await until(async () => (await p.answer()).trim() === before, "the first answer is there, as it was");
    // An engine that can't is not asked to.
    const e = await t.engine({ delay: 20, answer: () => numbered(80) });
    const m = await t.node({ engine: e.url });
    const q = await t.page(m.url);
    await q.say("Count");
    await q.middle(12);
    await q.page.click("button.stop");
    await q.finished();
    ok(!(await q.page.$("article.answer >> text=Go on")), "no button for it");
  },

  "thumbs land in the log, once, and can be taken back": async (t) => {
    const e = await t.engine({ delay: 1 });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("one");
    await p.finished();
    const reactions = async () => {
      const res = await p.context.request.get(`${n.url}/api/v1/conversations/${encodeURIComponent(p.id())}/activities`);
      const all = (await res.json()).activities;
      const answer = all.find((a) => a.from.role === "bot");
      return all
        .filter((a) => a.type === "messageReaction")
        .map((a) => `${a.replyToId === answer.id ? "" : "?"}${(a.reactionsAdded ?? []).map((r) => "+" + r.type)}${(a.reactionsRemoved ?? []).map((r) => "-" + r.type)}${a.text ? `:${a.text}` : ""}`)
        .join();
    };
    const pressed = () => p.page.$$eval("article.answer .acts [aria-pressed=true]", (all) => all.map((b) => b.getAttribute("aria-label")).join());
    await p.page.click("article.answer button[aria-label='A good answer']");
    await until(async () => (await reactions()) === "+like", "the log has it");
    await soon(() => pressed(), "A good answer", "what is pressed");
    await p.page.click("article.answer button[aria-label='A good answer']");
    await until(async () => (await reactions()) === "+like,-like", "taken back");
    await soon(() => pressed(), "", "what is pressed then");
    await p.page.click("article.answer button[aria-label='Not a good answer']");
    await p.page.waitForSelector(".why input");
    await clean(p, "the question why");
    await p.page.fill(".why input", "It is too short");
    await p.page.press(".why input", "Enter");
    await until(async () => (await reactions()) === "+like,-like,+dislike,+dislike:It is too short", `the log has the reason (${await reactions()})`);
    await p.page.reload();
    await p.finished();
    await soon(() => pressed(), "Not a good answer", "after a reload");
    await p.say("two");
    await p.finished(2);
    equal((await p.said()).join(), "one,two", "messages: a reaction is none");
    equal(p.errors.join(" "), "", "errors");
  },

  "instructions and parameters of a conversation reach the engine, from the first message on": async (t) => {
    const asked = [];
    const e = await t.engine({ delay: 1, models: ["canned-1", "canned-2"] });
    const real = e.handle.bind(e);
    e.handle = async (req, res) => {
      if (req.method !== "POST") return real(req, res);
      let raw = "";
      for await (const b of req) raw += b;
      asked.push(JSON.parse(raw));
      return real(Object.assign((async function* () { yield raw; })(), { url: req.url, method: req.method, headers: req.headers }), res);
    };
    const prices = join(t.out, "prices.yaml");
    writeFileSync(prices, 'prices: [{model: "canned-*", input: 30, output: 60}]\n');
    const n = await t.node({ engine: e.url, env: { PARLEY_PRICE_FILE: prices } });
    const p = await t.page(n.url);
    const set = async (system, temperature) => {
      await p.page.click("header button[aria-haspopup=dialog][aria-label*='ettings']");
      await p.page.waitForSelector("dialog[open]");
      await p.page.fill("dialog textarea", system);
      await p.page.fill("dialog input >> nth=0", temperature);
    };
    await set("Answer like a pirate.", "0.3");
    await p.page.selectOption("dialog select", "canned-2");
    await clean(p, "the settings");
    await p.page.screenshot({ path: join(t.out, "settings.png") });
    await p.page.click("dialog button[type=submit]");
    await p.say("Hello");
    await p.finished();
    const last = () => `${asked.at(-1).model}|${asked.at(-1).messages.find((m) => m.role === "system")?.content ?? "none"}|${asked.at(-1).temperature ?? "none"}`;
    equal(last(), "canned-2|Answer like a pirate.|0.3", "what the engine was asked");
    await p.page.reload();
    await p.finished();
    await set("", "");
    await p.page.click("dialog button.plain >> text=As the bot has it");
    await until(async () => !(await p.page.$("dialog[open]")), "the dialog closes");
    await p.say("And now?");
    await p.finished(2);
    ok(!last().includes("pirate") && last().startsWith("canned-1|") && last().endsWith("|none"), `what the engine is asked then: ${last()}`);
    await set("x", "7");
    await soon(() => p.page.textContent(".spent"), "So far: 2 tokens read, 2 written, $0.00018.", "what the conversation took");
    await clean(p, "the settings of a conversation");
    await p.page.screenshot({ path: join(t.out, "spent.png") });
    await p.page.click("dialog button[type=submit]");
    ok(await p.page.$("dialog[open]"), "a temperature of 7 is not taken");
    equal(p.errors.join(" "), "", "errors");
  },

  "the tree of branches is on view, and leads to each of them": async (t) => {
    let no = 0;
    const e = await t.engine({ delay: 1, answer: (ask) => `Answer ${++no} to “${ask}”` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("one");
    await p.finished();
    ok(!(await p.page.$("header button[aria-label=Branches]")), "without branches there is no tree to see");
    await p.page.click("article.answer button[aria-label='Answer again']");
    await until(async () => (await p.answer()) === "Answer 2 to “one”", "a second answer");
    await p.finished();
    await p.say("two");
    await p.finished(2);
    await p.page.click("header button[aria-label=Branches]");
    await soon(async () => (await p.page.$$eval(".branch", (all) => all.map((b) => b.textContent))).join("|"), "Youone|Answer 1 of 2Answer 1 to “one”|Answer 2 of 2Answer 2 to “one”|Youtwo|AnswerAnswer 3 to “two”", "the tree");
    await soon(async () => (await p.page.$$(".branch.here")).length, 4, "of them on screen");
    await clean(p, "the tree");
    await p.page.screenshot({ path: join(t.out, "branches.png") });
    await p.page.click('.branch >> text="Answer 1 to “one”"');
    await until(async () => (await p.answer()) === "Answer 1 to “one”" && (await p.said()).join() === "one", "the other branch");
    await p.say("from here on");
    await p.finished(2);
    await soon(async () => (await p.said()).join(), "one,from here on", "the branch that goes on");
    await soon(async () => (await p.activities()).length, 7, "activities in the log");
    equal(p.errors.join(" "), "", "errors");
  },
};
