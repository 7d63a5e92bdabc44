// Several regions on one machine: which one answers is on the page, and when it
// dies in mid-answer the answer is finished all the same.
import { join } from "node:path";
import { clean, fits } from "../lib/check.mjs";
import { equal, ok, pause, soon, until } from "../lib/util.mjs";
import { regions, signal, told, whole } from "../lib/world.mjs";

// world starts three regions, one of them a witness, with the demonstration
// engine and the edge in front.
export async function setting(t) {
  const w = await t.node({ engine: "demo", args: ["--regions", `japaneast:witness,${regions.join(",")}`] });
  w.addresses = Object.fromEntries((await whole(w)).map((r) => [r.name, r.address]));
  w.signal = (region, how) => signal(w, region, how);
  return w;
}

// card is what the panel says of a region.
const card = (p, region) =>
  p.page.$$eval(
    ".region",
    (all, name) => {
      const li = all.find((x) => x.querySelector("strong").textContent === name);
      return li ? { here: li.classList.contains("here"), state: li.querySelector(".region-state").textContent, text: li.textContent, live: !!li.querySelector(".tag.live") } : null;
    },
    region,
  );

const serving = async (p) => {
  for (const r of regions) if ((await card(p, r))?.here) return r;
  return "";
};

async function openPanel(p) {
  await p.page.waitForSelector(".where");
  if (!(await p.page.$(".world"))) await p.page.click(".where");
  await p.page.waitForSelector(".world .region.here");
}

// middle returns what is on screen as soon as an answer is under way: there is
// little time, the demonstration's answers are short. From then on the page
// measures how long the text stands still.
async function middle(p) {
  const found = await p.page.waitForFunction(
    () => {
      const text = document.querySelector("article.running .md")?.textContent ?? "";
      const state = document.querySelector("article.running .state")?.textContent ?? "";
      const live = document.querySelector(".region:has(.tag.live) strong")?.textContent ?? "";
      if (text.split(/\s+/).length < 8 || !/answering from/.test(state) || live === "") return null;
      window.still = 0;
      let at = performance.now();
      let length = text.length;
      const look = () => {
        const md = document.querySelector("article.running .md");
        if (!md) return;
        const now = performance.now();
        if (md.textContent.length !== length) {
          window.still = Math.max(window.still, now - at);
          [at, length] = [now, md.textContent.length];
        }
        requestAnimationFrame(look);
      };
      look();
      return { text: text.trim(), state, live };
    },
    null,
    { polling: "raf", timeout: 30_000 },
  );
  return found.jsonValue();
}

export const stories = {
  "the serving region is killed in mid-answer: the bubble is finished, and the panel tells the truth": async (t, w) => {
    await whole(w);
    const p = await t.page(w.url, { width: 1440, height: 900 });
    await openPanel(p);
    await soon(async () => (await p.page.$$eval(".region strong", (all) => all.map((x) => x.textContent))).sort().join(), ["japaneast", ...regions].sort().join(), "the regions");
    await soon(async () => /witness/.test((await card(p, "japaneast")).state), true, "the witness is called one", 20_000);
    await clean(p, "the panel");
    await p.say("Who answers me here?");
    const seen = await middle(p);
    const victim = regions.find((r) => seen.state.includes(`answering from ${r}`));
    ok(victim, `the bubble says who answers: ${seen.state}`);
    w.signal(victim, "SIGKILL");
    const other = regions.find((r) => r !== victim);
    equal(seen.live, victim, "who answers now, by the panel");
    const before = seen.text;
    await until(async () => (await card(p, victim)).state === "down", "the panel says that it is down", 20_000);
    await soon(async () => (await card(p, other)).here, true, "and that the other one serves this page");
    await p.finished(1, 60_000);
    const text = await p.agrees();
    ok((await p.answer()).trim().startsWith(before), "what was seen is how the answer begins");
    t.log(`${victim} was killed; the text stood still for ${Math.round(await p.page.evaluate(() => window.still))} ms; ${await p.state()}`);
    ok(text.length > before.length, "the answer went on");
    await soon(async () => (await p.state()).includes(other), true, "the bubble says who finished it");
    await until(async () => /leads the log of .*koreacentral.*|leads the log/.test((await card(p, other)).text), "the panel says who leads", 20_000);
    await until(async () => (await card(p, other)).text.includes(victim) || (await card(p, "japaneast")).text.includes(victim), `somebody leads the log of ${victim}`);
    await p.page.screenshot({ path: join(t.out, "world-1440-down.png") });
    await clean(p, "the panel with a region down");
    await until(async () => (await card(p, victim)).state === "serving", "it comes back and the panel says so", 60_000, 200);
    await p.say("And now?");
    await p.finished(2, 60_000);
    await p.agrees({ users: 2, bots: 2 });
    const path = new URL(p.page.url()).pathname;
    const storageState = await p.context.storageState();
    for (const [width, height, dark] of [[390, 844, true], [768, 1024, false]]) {
      const context = await t.browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce", storageState, hasTouch: width < 500 });
      const q = await t.page(w.url, { context, path });
      await q.finished(2);
      await openPanel(q);
      const name = `world-${width}-${dark ? "dark" : "light"}`;
      await q.page.screenshot({ path: join(t.out, `${name}.png`) });
      await clean(q, name);
      await fits(q, name);
      await q.close();
    }
  },

  "a page that came from a region goes on in another one when that is killed or hangs": async (t, w) => {
    await whole(w);
    const [near, far] = regions;
    const p = await t.page(w.addresses[near], { width: 1440, height: 900 });
    await openPanel(p);
    await soon(() => serving(p), near, "who serves the page");
    await p.say("Do you stay with me?");
    const before = (await middle(p)).text;
    w.signal(near, "SIGKILL");
    p.url = w.addresses[far]; // where the story asks for the log from now on
    await until(async () => (await serving(p)) === far, "the page says that the other region serves it", 20_000);
    await p.finished(1, 60_000);
    ok((await p.answer()).trim().startsWith(before), "what was seen is how the answer begins");
    await p.agrees();
    t.log(`killed: the text stood still for ${Math.round(await p.page.evaluate(() => window.still))} ms; ${await p.state()}`);
    await p.say("Said while away from home");
    await p.finished(2, 60_000);
    await p.agrees({ users: 2, bots: 2 });
    ok(p.foreign.length > 0 && p.foreign.every((u) => u.startsWith(w.addresses[far])), "the page asked the other region, and nobody else");
    await until(async () => (await serving(p)) === near, "the page comes home", 60_000, 200);

    await p.page.click("text=New conversation");
    await p.say("And if you hang?");
    await middle(p);
    const pid = w.signal(near, "SIGSTOP");
    try {
      await until(async () => (await serving(p)) === far, "the page leaves a region that hangs", 20_000);
      await p.finished(1, 60_000);
      await p.agrees();
      t.log(`hung: the text stood still for ${Math.round(await p.page.evaluate(() => window.still))} ms; ${await p.state()}`);
      await p.page.click("text=New conversation");
      await p.say("A new one, from away");
      await p.finished(1, 60_000);
      await p.agrees();
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await pause(500);
    const listed = async () => (await (await p.context.request.get(`${w.addresses[far]}/api/v1/conversations`)).json()).conversations.length;
    await soon(listed, 3, "conversations: none was made twice");
    equal(p.errors.join(" "), "", "errors");
  },

  "a link is taken back while a region dies: from then on nobody is shown anything, anywhere": async (t, w) => {
    await whole(w);
    const p = await t.page(w.url);
    await p.say("A secret between us");
    await p.finished(1, 60_000);
    const home = /^[a-z]+/.exec(p.id())[0];
    const other = regions.find((r) => r !== home);
    const at = (base) => `${base}/api/v1/conversations/${encodeURIComponent(p.id())}/share`;
    const init = { headers: { "X-Parley": "1", "Content-Type": "application/json" }, timeout: 5000 };
    const made = await p.context.request.put(at(w.url), { ...init, data: { live: true } });
    ok(made.ok(), `the link: ${made.status()}`);
    const { link } = (await made.json()).share;
    const looks = []; // of strangers, at the edge and in both regions, all the time
    let looking = true;
    const stranger = async (base) => {
      while (looking) {
        const began = performance.now();
        const res = await fetch(`${base}/s/${link}`, { signal: AbortSignal.timeout(5000) }).catch(() => null);
        const text = await res?.text().catch(() => "");
        looks.push({ base, began, status: res?.status ?? 0, shown: text?.includes("A secret between us") === true });
        await pause(50);
      }
    };
    const strangers = [w.url, ...regions.map((r) => w.addresses[r])].map(stranger);
    try {
      await until(() => regions.every((r) => looks.some((l) => l.base === w.addresses[r] && l.shown)), "both regions show it");
      w.signal(home, "SIGKILL");
      let answered;
      await until(async () => {
        const res = await p.context.request.delete(at(w.addresses[other]), init).catch(() => null);
        answered = performance.now();
        return res?.status() === 204;
      }, "it is taken back in the region that is left", 30_000);
      await until(() => looks.some((l) => l.base === w.addresses[other] && l.began > answered && l.status === 404), "the region that is left says that it is gone", 20_000);
      await until(() => looks.some((l) => l.base === w.addresses[home] && l.began > answered && l.status === 404), "so does the one that died, when it is back", 60_000);
      const shown = looks.filter((l) => l.shown && l.began > answered);
      equal(shown.length, 0, `shown after it was taken back: ${JSON.stringify(shown.slice(0, 3))}`);
      t.log(`${looks.length} looks, ${looks.filter((l) => l.shown).length} of them before it was taken back; the others: ${JSON.stringify(Object.fromEntries([0, 404, 502, 503, 504].map((s) => [s, looks.filter((l) => l.status === s).length])))}`);
    } finally {
      looking = false;
      await Promise.all(strangers);
    }
    equal(p.errors.join(" "), "", "errors");
  },
};
