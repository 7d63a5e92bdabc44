// What was not understood is labelled on a page, and one command adds it.
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clean, fits } from "../lib/check.mjs";
import { root } from "../lib/node.mjs";
import { equal, ok, soon, until } from "../lib/util.mjs";

const key = "an-operators-key-0123456789";
const other = "somebody-elses-key-0123456789";

// guide is a node with keys, whose bot's people agreed to collecting.
async function guide(t) {
  const dir = mkdtempSync(join(tmpdir(), "parley-story-"));
  const project = join(dir, "cityguide");
  cpSync(join(root, "examples/nlu/cityguide"), project, { recursive: true });
  writeFileSync(
    join(dir, "parley.yaml"),
    `bots: [{id: guide, name: City guide}, {id: bookings}]
keys: [{name: ann, key: ${key}, operator: true}, {name: bob, key: ${other}}]
understanding:
  - {name: cityguide, model: cityguide, flows: ${JSON.stringify(join(root, "examples/flows/cityguide.yaml"))}, collect: true}
`,
  );
  const n = await t.node({ engine: "demo", args: ["-c", join(dir, "parley.yaml")], host: "0.0.0.0" });
  return Object.assign(n, { project });
}

async function signIn(p, with_) {
  await p.page.fill(".login input", with_);
  await p.page.press(".login input", "Enter");
}

const unclear = ["purple monkey dishwasher", "Purple monkey dishwasher", "zzxq wvvk", "mail me at ann.lee@corp.example qqzx"];

export const stories = {
  "what was not understood is labelled on a page": async (t) => {
    const n = await guide(t);
    const said = await t.page(n.url);
    await signIn(said, key);
    await said.page.waitForSelector("#compose");
    for (const [i, text] of unclear.entries()) {
      if (i === 2) { // the third in a row would get a person
        await said.page.goto(n.url);
        await said.page.waitForSelector("#compose");
      }
      await said.say(text);
      await said.finished((i % 2) + 1);
    }
    const stranger = await t.page(n.url, { path: "/learn" });
    await signIn(stranger, other);
    await stranger.page.waitForSelector(".learn [role=alert]");
    ok(/operator/.test(await stranger.page.textContent(".learn [role=alert]")), "it is said who may");
    await stranger.page.screenshot({ path: join(t.out, "learn-forbidden.png") });

    const p = await t.page(n.url, { path: "/learn" });
    await signIn(p, key);
    await p.page.waitForSelector(".heap");
    const text = await p.page.textContent("main");
    ok(!text.includes("ann.lee"), "no address on the page");
    ok(/said 2 times/.test(text), `the same words are one text: ${text}`);
    for (const [width, dark] of [[390, false], [390, true], [1440, false], [1440, true]]) {
      await p.page.setViewportSize({ width, height: 800 });
      await p.page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
      await fits(p, `learn ${width}`);
      if (dark === (width === 390)) await clean(p, `learn ${width} ${dark ? "dark" : "light"}`);
      await p.page.screenshot({ path: join(t.out, `learn-${width}-${dark ? "dark" : "light"}.png`) });
    }
    const groups = await p.page.locator(".heap").count();
    const heap = p.page.locator(".heap", { hasText: "purple monkey" });
    await heap.locator("input").fill("noise");
    await heap.getByRole("button", { name: "New intent noise" }).click();
    await until(async () => /2 messages mean noise/.test(await p.page.textContent("main")), "the group is labelled");
    const odd = p.page.locator(".heap", { hasText: "zzxq wvvk" });
    await odd.getByRole("button", { name: "Nothing the bot does" }).click();
    await until(async () => (await p.page.locator(".heap.done").count()) === 2, "two groups are labelled");
    await p.page.locator(".heap.done", { hasText: "nothing" }).getByRole("button", { name: "Undo" }).click();
    await until(async () => (await p.page.locator(".heap.done").count()) === 1, "one is taken back");
    await p.page.screenshot({ path: join(t.out, "learn-labelled.png") });
    await p.page.reload();
    await p.page.waitForSelector(".heap");
    await soon(() => p.page.locator(".heap").count(), groups - 1, "groups after a reload");

    const out = execFileSync(n.bin, ["nlu", "learn", n.project, "--labelled", "--url", n.url], { env: { ...process.env, PARLEY_KEY: key }, encoding: "utf8" });
    ok(/1 lines? w/.test(out), out);
    ok(/- purple monkey dishwasher/i.test(readFileSync(join(n.project, "learned", "noise.yaml"), "utf8")), "the project has the line");
    const again = execFileSync(n.bin, ["nlu", "learn", n.project, "--labelled", "--url", n.url], { env: { ...process.env, PARLEY_KEY: key }, encoding: "utf8" });
    ok(/Nothing was added/.test(again), again);
    await p.page.reload();
    await p.page.waitForSelector(".heap");
    await soon(() => p.page.locator(".learn-next").count(), 0, "nothing waits any more");
    equal(p.errors.join("; "), "", "errors");
  },
};
