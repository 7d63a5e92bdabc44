// What helps with reading and writing: a voice, dictation, quotes, snippets.
import { join } from "node:path";
import { clean, fits } from "../lib/check.mjs";
import { equal, ok, pause, soon, until } from "../lib/util.mjs";

// looks has what is on screen in pictures: on a phone in the light and on a desk
// in the dark, or with LOOKS=1 in all widths and both.
async function looks(t, p, name) {
  const all = [390, 768, 1440].flatMap((width) => ["light", "dark"].map((colorScheme) => [width, colorScheme]));
  for (const [width, colorScheme] of process.env.LOOKS ? all : [all[0], all[5]]) {
    await p.page.setViewportSize({ width, height: width < 500 ? 844 : 900 });
    await p.page.emulateMedia({ colorScheme });
    await pause(100);
    await p.page.screenshot({ path: join(t.out, `${name}-${width}-${colorScheme}.png`) });
    await fits(p, `${name} at ${width}`);
  }
  await p.page.setViewportSize({ width: 1024, height: 768 });
  await p.page.emulateMedia({ colorScheme: "light" });
}

// voice stands in the place of the browser's own, which a machine without
// loudspeakers does not have: it notes what it is given to speak.
function voice() {
  window.heard = [];
  let timer;
  const voices = [["far", "en-GB", false], ["near", "en-US", true], ["nah", "de-DE", true]].map(([name, lang, localService]) => ({ name, lang, localService, default: false }));
  Object.defineProperty(window, "speechSynthesis", {
    value: {
      getVoices: () => voices,
      speak(u) {
        window.heard.push({ text: u.text, lang: u.lang, voice: u.voice?.name, rate: u.rate, during: document.querySelector("article.running") !== null });
        timer = setTimeout(() => {
          u.onstart?.();
          timer = setTimeout(() => u.onend?.(), 20);
        }, 20);
      },
      cancel: () => clearTimeout(timer),
    },
  });
  window.SpeechSynthesisUtterance = class {
    constructor(text) {
      this.text = text;
    }
  };
}

// ear stands in the place of the browser's recognition, which needs a microphone
// and, in most, a server of its maker.
function ear() {
  window.webkitSpeechRecognition = class extends EventTarget {
    start() {
      window.ear = this;
    }
    stop() {
      this.dispatchEvent(new Event("end"));
    }
    abort() {
      this.dispatchEvent(new Event("end"));
    }
    hears(...parts) {
      const results = parts.map((transcript, i) => Object.assign([{ transcript }], { isFinal: i < parts.length - 1 }));
      this.dispatchEvent(Object.assign(new Event("result"), { resultIndex: 0, results }));
    }
  };
  delete window.SpeechRecognition;
}

async function hearing(t, url, script) {
  const context = await t.browser.newContext({ viewport: { width: 1024, height: 768 }, colorScheme: "light", reducedMotion: "reduce", serviceWorkers: "block" });
  await context.addInitScript(script);
  return t.page(url, { context });
}

const tea = "The kettle is hot. The water is ready for the tea.\n\n```go\nfmt.Println(1)\n```\n\nPour it over the leaves and wait for three minutes, then drink it slowly. That is all there is to it.";
const german = "Der Kessel ist heiß. Das Wasser ist nicht mehr kalt, und der Tee ist gut.";
const box = "#compose";

export const stories = {
  "an answer is read aloud while it is written, in its own language, and not its code": async (t) => {
    const e = await t.engine({ delay: 250, answer: (ask) => (ask === "Tee?" ? german : tea) });
    const n = await t.node({ engine: e.url });
    const p = await hearing(t, n.url, voice);
    const heard = () => p.page.evaluate(() => window.heard);
    await p.say("Tea?");
    await p.middle(6);
    await p.page.keyboard.press("Control+Shift+KeyE");
    await until(async () => (await heard()).length > 0, "the first sentence is spoken");
    ok((await heard())[0].during, "the answer is still being written");
    await soon(() => p.page.getAttribute("article.answer [aria-label='Read aloud']", "aria-pressed"), "true", "the button");
    await clean(p, "an answer that is read aloud");
    e.delay = 5;
    await p.finished();
    const want = ["The kettle is hot.", "The water is ready for the tea.", "Here is code in go.", "Pour it over the leaves and wait for three minutes, then drink it slowly.", "That is all there is to it."];
    await soon(async () => (await heard()).map((h) => h.text).join("|"), want.join("|"), "what was spoken");
    equal([...new Set((await heard()).map((h) => `${h.lang} ${h.voice}`))].join(), "en near", "whose voice: one that stays on this machine");
    await soon(() => p.page.getAttribute("article.answer [aria-label='Read aloud']", "aria-pressed"), "false", "it ends by itself");
    await p.say("Tee?");
    await p.finished(2);
    await p.page.click("li:last-child article.answer [aria-label='Read aloud']");
    await soon(async () => (await heard()).slice(5).map((h) => `${h.lang} ${h.voice}`)[0], "de nah", "the voice of a German answer");
    await looks(t, p, "aloud");
    await p.page.click("text=New conversation");
    const then = (await heard()).length;
    await pause(150);
    equal((await heard()).length, then, "who leaves hears no more of it");
    equal(p.errors.join(" "), "", "errors");
  },

  "what is said is written down, and what goes wrong is said in words": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => `About ${ask}.` });
    const n = await t.node({ engine: e.url });
    const real = await t.page(n.url); // the browser's own: no microphone, no server
    await real.page.click(".mic");
    await until(async () => /microphone|could not write down/.test(await real.page.textContent(".toasts")), "what is wrong is told");
    await soon(() => real.page.getAttribute(".mic", "aria-pressed"), "false", "it is off again");
    const p = await hearing(t, n.url, ear);
    const hears = (...parts) => p.page.evaluate((all) => window.ear.hears(...all), parts);
    await p.page.fill(box, "Dear all,");
    await p.page.keyboard.press("Control+Shift+KeyD");
    await soon(() => p.page.getAttribute(".mic", "aria-pressed"), "true", "it is on");
    await hears("the kettle");
    await soon(() => p.page.inputValue(box), "Dear all, the kettle", "what may still change");
    await hears("The kettle is hot.", " and");
    await soon(() => p.page.inputValue(box), "Dear all, The kettle is hot. and", "what stays, and what may change");
    await clean(p, "dictation");
    await looks(t, p, "dictation");
    await p.page.focus(box);
    await p.page.keyboard.press("End");
    await p.page.keyboard.type("!");
    await soon(() => p.page.getAttribute(".mic", "aria-pressed"), "false", "who types goes on by hand");
    await hears("nothing of this");
    await soon(() => p.page.inputValue(box), "Dear all, The kettle is hot. and!", "the text is as it was typed");
    await p.page.press(box, "Enter");
    await p.finished();
    await soon(async () => (await p.said()).join(), "Dear all, The kettle is hot. and!", "what was sent");
    equal(p.errors.join(" ") + real.errors.join(" "), "", "errors");
  },

  "a passage is quoted by a button and by a key": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => (ask === "Tea?" ? "The *first* passage.\n\nThe second one\nhas two lines." : `About ${ask}`) });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.say("Tea?");
    await p.finished();
    await p.page.click("article.answer .md p:first-child", { clickCount: 3 });
    await p.page.waitForSelector(".quote-button");
    await clean(p, "the button to quote");
    await looks(t, p, "quote");
    await p.page.click("article.answer .md p:first-child", { clickCount: 3 });
    await p.page.click(".quote-button");
    await soon(() => p.page.inputValue(box), "> The first passage.\n\n", "the message box");
    await until(() => p.page.evaluate(() => document.activeElement?.id === "compose"), "the box has the focus");
    await p.page.keyboard.type("Why the first?");
    await p.page.evaluate(() => getSelection().selectAllChildren(document.querySelector(".md p:last-child")));
    await p.page.keyboard.press("Control+Shift+Digit9");
    await soon(() => p.page.inputValue(box), "> The first passage.\n\nWhy the first?\n\n> The second one\n> has two lines.\n\n", "by a key, behind what was written");
    await until(async () => (await p.page.$(".quote-button")) === null, "the button goes with the selection");
    await p.page.fill(box, "");
    await p.page.keyboard.press("Control+Shift+Digit9");
    await soon(() => p.page.inputValue(box), "> The *first* passage.\n>\n> The second one\n> has two lines.\n\n", "without a selection the last answer, as it was written");
    await p.page.keyboard.press("Enter");
    await p.finished(2);
    equal(p.errors.join(" "), "", "errors");
  },

  "snippets: written once, put in by name on every device, and there after a kill": async (t) => {
    const e = await t.engine({ delay: 0, answer: (ask) => `About ${ask}.` });
    const n = await t.node({ engine: e.url });
    const p = await t.page(n.url);
    await p.page.click("text=Preferences");
    await p.page.click("dialog >> text=Snippets");
    await p.page.waitForSelector("dialog.wide");
    const write = async (name, text) => {
      await p.page.fill("dialog input", name);
      await p.page.fill("dialog textarea", text);
      await p.page.click("dialog >> text=Save");
      await p.page.waitForSelector(`.book >> text="/${name.toLowerCase()}"`);
    };
    await write("Mail", "Write a mail to {{whom}} about {{what}}, briefly.");
    await write("minutes", "Minutes of {{date}}:");
    await write("grüße", "Viele Grüße");
    await clean(p, "the dialog of snippets");
    await p.page.setViewportSize({ width: 390, height: 844 });
    ok(await p.page.evaluate(() => [...document.querySelectorAll("dialog .book button")].every((b) => b.getBoundingClientRect().right <= b.closest("dialog").getBoundingClientRect().right)), "every button of the dialog is on a phone's screen");
    await looks(t, p, "snippets");
    await p.page.fill("dialog input", "two words");
    await p.page.fill("dialog textarea", "x");
    await p.page.click("dialog >> text=Save");
    await soon(() => p.page.evaluate(() => document.querySelector("dialog input").validity.valid), false, "a name with a space");
    await p.page.keyboard.press("Escape");

    await p.page.focus(box);
    await p.page.keyboard.type("/m");
    await p.page.waitForSelector(".snippets li >> nth=1");
    await soon(async () => (await p.page.$$eval(".snippets b", (all) => all.map((b) => b.textContent))).join(), "/mail,/minutes", "what is proposed");
    await p.page.keyboard.press("ArrowDown");
    await soon(() => p.page.getAttribute(box, "aria-activedescendant"), "snippet-1", "the one that a screen reader hears of");
    await clean(p, "the list of snippets");
    await looks(t, p, "snippet-list");
    await p.page.keyboard.press("ArrowUp");
    await p.page.keyboard.press("Enter");
    await soon(() => p.page.inputValue(box), "Write a mail to {{whom}} about {{what}}, briefly.", "put in");
    await soon(() => p.page.$eval(box, (a) => a.value.slice(a.selectionStart, a.selectionEnd)), "{{whom}}", "the first gap");
    await p.page.keyboard.type("Ann");
    await p.page.keyboard.press("Tab");
    await p.page.keyboard.type("tea");
    await p.page.keyboard.press("Enter");
    await p.finished();
    await soon(async () => (await p.said()).join(), "Write a mail to Ann about tea, briefly.", "what was sent");

    await p.page.keyboard.type("/min");
    await p.page.waitForSelector(".snippets");
    await p.page.keyboard.press("Escape");
    await until(async () => (await p.page.$(".snippets")) === null, "Escape closes the list");
    await p.page.keyboard.press("Enter");
    await p.finished(2);
    await soon(async () => (await p.said())[1], "/min", "a slash is a slash to who wants one");

    await n.kill();
    await n.start();
    const context = await t.browser.newContext({ viewport: { width: 390, height: 844 }, reducedMotion: "reduce", serviceWorkers: "block", storageState: await p.context.storageState() });
    const q = await t.page(n.url, { context });
    await q.page.focus(box);
    await q.page.keyboard.type("/gr");
    await q.page.click(".snippets li");
    await soon(() => q.page.inputValue(box), "Viele Grüße", "on another device, after a kill");
    await p.page.click("text=Preferences");
    await p.page.click("dialog >> text=Snippets");
    await p.page.click("dialog [aria-label='Remove “mail”']");
    await until(async () => (await p.page.$$(".book li")).length === 2, "it is gone");
    await p.page.keyboard.press("Escape");
    await p.page.click(".toast >> text=Undo");
    await until(async () => (await (await p.context.request.get(`${n.url}/api/v1/snippets`)).json()).snippets.length === 3, "and back");
    equal(p.errors.join(" ") + q.errors.join(" "), "", "errors");
  },
};
