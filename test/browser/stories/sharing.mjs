// Tags, and letting others read.
import { join } from "node:path";
import { clean } from "../lib/check.mjs";
import { zip } from "../lib/zip.mjs";
import { equal, ok, pause, soon, until } from "../lib/util.mjs";

const menu = async (p, what) => {
  await p.page.click("header .more");
  await p.page.click(`.menu >> text="${what}"`);
};

const titles = (p) => p.page.$$eval("nav .entry a", (all) => all.map((a) => a.textContent).join());

// shot looks at what is on screen on a phone in the light and on a desk in the
// dark.
async function shot(t, p, name) {
  for (const [width, height, colorScheme] of [[390, 844, "light"], [1440, 900, "dark"]]) {
    await p.page.setViewportSize({ width, height });
    await p.page.emulateMedia({ colorScheme });
    await pause(50);
    await p.page.screenshot({ path: join(t.out, `${name}-${width}.png`) });
  }
  await p.page.setViewportSize({ width: 1024, height: 768 });
  await p.page.emulateMedia({ colorScheme: "light" });
}

const nasty = "# Tea\n\nA *good* cup:\n\n1. Water at **95 °C**\n2. `sleep(180)`\n\n```go\nfmt.Println(\"<b>\")\n```\n\n| leaf | min |\n|:--|--:|\n| black | 3 |\n\n<script>document.title='bad'</script> <img src=x onerror=alert(1)> [no](javascript:alert(1))";

// exported is what ChatGPT would have written.
const node = (id, parent, role, text) => [id, { id, parent, children: [], message: { author: { role }, create_time: 1700000000, recipient: "all", content: { content_type: "text", parts: [text] } } }];
const attached = ([id, n]) => {
  n.message.content = { content_type: "multimodal_text", parts: [{ content_type: "image_asset_pointer", asset_pointer: "file-service://file-Gone2" }, ...n.message.content.parts] };
  n.message.metadata = { attachments: [{ id: "file-Leaf1", name: "leaf.txt", mime_type: "text/plain" }, { id: "file-Gone2", name: "cup.png", mime_type: "image/png" }] };
  return [id, n];
};
const exported = JSON.stringify([
  {
    title: "Tea in another house",
    create_time: 1700000000,
    conversation_id: "c1",
    current_node: "a2",
    mapping: Object.fromEntries([
      ["s", { id: "s", parent: null, message: { author: { role: "system" }, content: { content_type: "text", parts: ["be kind"] } } }],
      attached(node("u1", "s", "user", "How is tea made there?")),
      node("a1", "u1", "assistant", "With leaves."),
      node("a2", "u1", "assistant", "With **water**."),
    ]),
  },
]);

export const stories = {
  "another program's conversations are brought along, once, and gone on with": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => `About ${ask}.` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    const bring = async (want) => {
      await p.page.click("text=Preferences");
      await p.page.setInputFiles(".import input", { name: "export.zip", mimeType: "application/zip", buffer: zip({ "conversations.json": exported, "file-Leaf1-leaf.txt": "green", "message_feedback.json": '[{"id":"a2","rating":"thumbs_up"}]' }) });
      await until(async () => (await p.page.textContent(".import")).includes("The file holds 1 conversation with 3 messages, 1 file and 1 thumb."), "what is in the file");
      await until(async () => (await p.page.textContent(".import")).includes("Not carried over: 1 hidden instruction, 1 picture that is not in it."), "what of it can't be carried over is told before");
      await p.page.click("text=What the files are called");
      await clean(p, "the report before an import");
      await shot(t, p, "import-before");
      await p.page.click("text=Take it in");
      await until(async () => (await p.page.textContent(".import")).includes(want), want);
    };
    await bring("1 new conversation, 3 new messages.");
    await until(async () => (await p.page.textContent(".import")).includes("With 1 file and 1 thumb.Not carried over: 1 hidden instruction, 1 picture that is not in it."), "what came along and what was left is told");
    await clean(p, "an import");
    await shot(t, p, "import");
    await p.page.keyboard.press("Escape");
    await bring("0 new conversations, 0 new messages; 1 were here already.");
    await p.page.keyboard.press("Escape");
    await p.page.click('nav >> text="Tea in another house"');
    await until(async () => (await p.answer()) === "With water.", "the branch that was on screen");
    await until(async () => (await p.page.textContent("article.answer")).includes("2/2"), "the other branch is there");
    await soon(() => p.page.getAttribute('article.answer [aria-label="A good answer"]', "aria-pressed"), "true", "what was thought of it");
    await until(async () => (await p.page.textContent("article.said")).includes("leaf.txt"), "the file");
    await soon(async () => (await p.page.textContent("nav section h2")).trim(), "Earlier", "where it stands in the list");
    await p.say("And here?");
    await p.finished(2);
    await p.page.click("text=Preferences");
    await p.page.setInputFiles(".import input", { name: "x.zip", mimeType: "application/zip", buffer: Buffer.from("PK\u0003\u0004") });
    await until(async () => (await p.page.textContent(".import")).includes("zip is damaged"), "what is wrong with a zip");
    equal(p.errors.join(" "), "", "errors");
  },

  "a link shows what was said to anybody, until it is taken back": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => (ask.includes("tea") ? nasty : `About ${ask}.`) });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("How is tea made?");
    await p.finished();
    await menu(p, "Share by a link");
    await p.page.click("text=Make the link");
    await p.page.waitForSelector("dialog input[readonly]");
    await clean(p, "the dialog of a link");
    await shot(t, p, "share");
    const link = await p.page.inputValue("dialog input[readonly]");
    await p.page.keyboard.press("Escape");
    await p.say("And coffee?");
    await p.finished(2);

    const stranger = await t.browser.newContext({ javaScriptEnabled: false, reducedMotion: "reduce" });
    t.undo(() => stranger.close());
    const q = { page: await stranger.newPage(), errors: [] };
    q.page.on("console", (m) => q.errors.push(m.text()));
    const res = await q.page.goto(link);
    const text = await q.page.textContent("main");
    ok(text.includes("How is tea made?") && text.includes("Water at 95 °C") && text.includes("<script>") && !text.includes("coffee"), `what the link shows: ${text}`);
    equal((await q.page.$$("main script, main img, main a")).length, 0, "what a hostile answer brought in");
    equal((await stranger.cookies()).length, 0, "cookies");
    const h = res.headers();
    ok(h["content-security-policy"].startsWith("default-src 'none'; style-src 'self'") && h["x-robots-tag"].includes("noindex") && h["cache-control"] === "no-store", JSON.stringify(h));
    const user = (await (await p.context.request.get(`${n.url}/api/v1/info`)).json()).user;
    ok(!(await q.page.content()).includes(user), "the owner's name is not on it");
    await shot(t, q, "shared");
    // axe-core is a script: the same page in a browser that has some.
    const judge = await t.browser.newContext({ reducedMotion: "reduce", bypassCSP: true });
    t.undo(() => judge.close());
    const j = { page: await judge.newPage() };
    await j.page.goto(link);
    await clean(j, "a shared page");

    await p.page.click("text=Preferences");
    await p.page.waitForSelector(".links li");
    await clean(p, "the list of links");
    await shot(t, p, "links");
    await p.page.click(".links >> text=Take back");
    await until(async () => (await p.page.$$(".links li")).length === 0, "the list is empty");
    equal((await q.page.goto(link)).status(), 404, "the page after it was taken back");
    await until(async () => (await q.page.textContent("main")).includes("no longer shared"), "it says so");
    equal(p.errors.concat(q.errors.filter((x) => !x.includes("404"))).join(" "), "", "errors");
  },

  "tags cut the list and the search": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => `About ${ask}.` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    for (const topic of ["tea", "coffee"]) {
      await p.page.click("text=New conversation");
      await p.say(topic);
      await p.finished();
      await menu(p, "Tags");
      await p.page.fill("dialog input", topic === "tea" ? "leaves" : " my  beans ");
      await p.page.keyboard.press("Enter");
      await p.page.waitForSelector("dialog .chip.on");
      if (topic === "coffee") await p.page.click('dialog .chip >> text="leaves"');
      await until(async () => (await p.page.$$("dialog .chip.on")).length === (topic === "tea" ? 1 : 2), "the tags");
      if (topic === "coffee") {
        await clean(p, "the dialog of tags");
        await shot(t, p, "tags");
      }
      await p.page.keyboard.press("Escape");
    }
    await p.page.click('.tags >> text="my beans"');
    await until(async () => (await titles(p)) === "coffee", "only what has the tag");
    await clean(p, "a list that is cut");
    await shot(t, p, "tagged");
    await p.page.fill("input[type=search]", "about");
    await until(async () => (await p.page.$$(".hits li")).length === 1, "the search is cut too");
    await p.page.fill("input[type=search]", "");
    await p.page.click('.tags >> text="my beans"');
    await until(async () => (await titles(p)) === "coffee,tea", "all again");
    await p.page.click("nav >> text=coffee");
    await menu(p, "Tags");
    await p.page.click('dialog .chip.on >> text="my beans"');
    await until(async () => (await p.page.$$('.tags >> text="my beans"')).length === 0, "a tag that nothing has is gone");
    equal(p.errors.join(" "), "", "errors");
  },
};
