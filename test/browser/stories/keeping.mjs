// Finding what was said, and keeping it in order.
import { join } from "node:path";
import { clean } from "../lib/check.mjs";
import { numbered } from "../lib/engine.mjs";
import { equal, pause, soon, until } from "../lib/util.mjs";

// section lists the titles under a heading of the list.
const section = (p, where) =>
  p.page.evaluate((w) => {
    const s = [...document.querySelectorAll("nav section")].find((x) => x.querySelector("h2").textContent === w);
    return s ? [...s.querySelectorAll(".entry a")].map((a) => a.textContent).join() : "";
  }, where);

async function menu(p, title, what) {
  await p.page.hover(`nav .entry:has-text("${title}")`);
  await p.page.click(`nav .entry:has-text("${title}") .more`);
  await p.page.click(`.menu >> text="${what}"`);
}

// search types until something is found: what was just said reaches the index
// a moment later.
async function search(p, words) {
  await until(
    async () => {
      await p.page.fill("input[type=search]", "");
      await p.page.fill("input[type=search]", words);
      await pause(400);
      return (await p.page.$$(".hits li")).length > 0;
    },
    `a hit for ${words}`,
  );
}

export const stories = {
  "pin, archive, delete and undo: the log has it, and every tab follows": async (t) => {
    const e = await t.engine({ delay: 1, answer: (ask) => `About ${ask}.` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    for (const topic of ["tea", "coffee", "cocoa"]) {
      await p.page.click("text=New conversation");
      await p.say(topic);
      await p.finished();
    }
    const q = await t.page(n.url, { context: p.context, path: new URL(p.page.url()).pathname });
    await until(async () => (await section(p, "Today")) === "cocoa,coffee,tea", "the list");
    await menu(p, "tea", "Pin to the top");
    await until(async () => (await section(p, "Pinned")) === "tea", "tea is pinned");
    await soon(() => section(p, "Today"), "cocoa,coffee", "the rest: it is not shown twice");
    await menu(p, "coffee", "Archive");
    await until(async () => (await section(p, "Today")) === "cocoa", "coffee is out of the list");
    await clean(p, "a word with undo");
    await p.page.screenshot({ path: join(t.out, "toast.png") });
    await p.page.click("nav >> text=Archive");
    await until(async () => (await section(p, "Archive")) === "coffee", "and in the archive");
    await clean(p, "the archive");
    await p.page.click("text=Back to the conversations");
    await search(p, "coffee");
    await p.page.fill("input[type=search]", "");
    await p.page.reload();
    await until(async () => (await section(p, "Pinned")) === "tea" && (await section(p, "Today")) === "cocoa", "all the same after a reload");

    await soon(async () => (await q.said()).join(), "cocoa", "what the other tab shows");
    await menu(p, "cocoa", "Delete");
    await until(async () => (await section(p, "Today")) === "", "cocoa is gone");
    await until(() => q.page.isVisible("text=Take it back"), "the other tab says so");
    await clean(q, "a conversation that is about to be erased");
    await q.page.screenshot({ path: join(t.out, "trashed.png") });
    await p.page.click(".toast >> text=Undo");
    await until(async () => (await section(p, "Today")) === "cocoa", "cocoa is back");
    await until(async () => (await q.said()).join() === "cocoa", "in the other tab too");
    const list = async (shelf) => (await (await p.context.request.get(`${n.url}/api/v1/conversations?shelf=${shelf}`)).json()).conversations.map((c) => c.title).join();
    await soon(async () => `${await list("")}|${await list("pinned")}|${await list("archived")}`, "cocoa,tea|tea|coffee", "what the store says");
    equal(p.errors.concat(q.errors).join(" "), "", "errors");
  },

  "a hit is jumped to, and its words are marked in the answer": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => `${numbered(200)}\n\n${ask.includes("7") ? "Here is the **heliotrope** that was asked for." : ""}` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    for (let i = 1; i <= 10; i++) {
      await p.say(`Question ${i}`);
      await p.finished(i);
    }
    await search(p, "heliotrope");
    await p.page.press("input[type=search]", "Enter");
    await until(
      () =>
        p.page.evaluate(() => {
          const h = CSS.highlights.get("found");
          if (!h || h.size !== 1) return false;
          const r = [...h][0].getBoundingClientRect();
          const s = document.querySelector(".scroll").getBoundingClientRect();
          return [...h][0].toString() === "heliotrope" && r.top >= s.top && r.bottom <= s.bottom;
        }),
      "the word is marked and in view",
    );
    await p.page.screenshot({ path: join(t.out, "hit.png") });
    await p.page.click("header .more");
    await p.page.click("text=Rename");
    await p.page.click('.proposals >> text="Question 10"');
    await clean(p, "a title that is proposed");
    await p.page.press("dialog input", "Enter");
    await until(async () => (await p.page.textContent("h1")) === "Question 10", "the proposed title");
  },
};
