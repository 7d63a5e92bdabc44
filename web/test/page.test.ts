import assert from "node:assert/strict";
import { test } from "node:test";
import { ConversationState } from "../src/conversation.ts";
import { actOf } from "../src/keys.ts";
import { titleFrom } from "../src/text.ts";
import { branched, outline } from "../src/tree.ts";
import { languages, speak, words, language } from "../src/words.ts";

const said = (id: string, parent: string, text = id) => ({ type: "message", id, text, from: { role: "user" }, channelData: { parley: { parent } } });
const answer = (id: string, parent: string, turn: string) => ({ type: "message", id, text: id, from: { role: "bot" }, channelData: { parley: { parent, turn } } });

function state(...acts: object[]): ConversationState {
  const s = new ConversationState();
  acts.forEach((a, i) => s.apply("activity", String(8 * i + 8), JSON.stringify(a), 0));
  return s;
}

test("settings replace what they name, and reactions go to what they are to", () => {
  const s = state(said("a1", ""), answer("b1", "a1", "t1"));
  s.apply("settings", "40", '{"pinned":true,"archived":false,"trashed":false,"system":"Be kind.","model":"","params":{"temperature":0.5}}', 0);
  assert.equal(s.settings.system, "Be kind.");
  assert.equal(s.settings.params.temperature, 0.5);
  const react = (added: unknown, removed: unknown, to = "b1") =>
    s.apply("activity", "48", JSON.stringify({ type: "messageReaction", id: `a${Math.random()}`, replyToId: to, reactionsAdded: added, reactionsRemoved: removed }), 0);
  react([{ type: "like" }], undefined);
  assert.equal(s.byId.get("b1")!.reaction, "like");
  react([{ type: "dislike" }], undefined);
  assert.equal(s.byId.get("b1")!.reaction, "dislike");
  react(undefined, [{ type: "like" }]);
  assert.equal(s.byId.get("b1")!.reaction, "dislike", "what is not there can't be taken back");
  react(undefined, [{ type: "dislike" }]);
  assert.equal(s.byId.get("b1")!.reaction, undefined);
  for (const odd of [7, "like", [7], [null], [{ type: 7 }], {}]) react(odd, odd);
  react([{ type: "like" }], undefined, "nothing");
  assert.equal(s.byId.get("b1")!.reaction, undefined);
  assert.equal(s.nodes.length, 2, "a reaction is no message");
});

test("a hit in a reaction leads to what it is to", () => {
  const s = state(said("a1", ""), answer("b1", "a1", "t1"), { type: "messageReaction", id: "a2", replyToId: "b1", channelData: { parley: { parent: "b1" } } });
  assert.equal(s.shown("a2")?.id, "b1");
  assert.equal(s.shown("nothing"), undefined);
});

test("the outline shows every message under what it follows, deeper where it branches", () => {
  const s = state(said("a1", ""), answer("b1", "a1", "t1"), answer("b2", "a1", "t2"), said("a2", "b2"), answer("b3", "a2", "t3"), said("a3", "b1"));
  const rows = outline(s, new Set([s.byId.get("b2")!])).map((r) => `${"-".repeat(r.depth)}${r.node.id} ${r.version}/${r.versions}${r.shown ? "*" : ""}`);
  assert.deepEqual(rows, ["a1 1/1", "-b1 1/2", "-a3 1/1", "-b2 2/2*", "-a2 1/1", "-b3 1/1"]);
  assert.ok(branched(s));
  assert.ok(!branched(state(said("a1", ""), answer("b1", "a1", "t1"), said("a2", "b1"))));
  const loop = state(said("a1", "a2"), said("a2", "a1"));
  assert.ok(outline(loop, new Set()).length <= 2, "a damaged tree ends too");
});

test("titles are the first words", () => {
  assert.equal(titleFrom("  Hello\n there "), "Hello there");
  assert.equal(titleFrom("This is a rather long first message, which must be cut at a word"), "This is a rather long first message, which must…");
  assert.equal(titleFrom("😀".repeat(60)), "😀".repeat(48) + "…");
  assert.equal(titleFrom(""), "");
});

test("keys ask for what the sheet says, and typing asks for nothing", () => {
  const press = (code: string, key: string, mods = ""): string =>
    actOf({ code, key, ctrlKey: mods.includes("c"), metaKey: mods.includes("m"), shiftKey: mods.includes("s"), altKey: mods.includes("a") });
  assert.equal(press("KeyK", "k", "c"), "search");
  assert.equal(press("KeyK", "k", "m"), "search");
  assert.equal(press("KeyO", "O", "cs"), "new");
  assert.equal(press("Slash", "/", "c"), "sheet");
  assert.equal(press("Digit7", "/", "cs"), "sheet");
  assert.equal(press("Escape", "Escape", "s"), "compose");
  assert.equal(press("Digit9", "(", "cs"), "quote");
  assert.equal(press("KeyE", "E", "cs"), "read");
  assert.equal(press("KeyD", "D", "ms"), "dictate");
  for (const [code, key, mods] of [["KeyK", "k", ""], ["Slash", "/", ""], ["Slash", "?", "s"], ["KeyC", "c", "c"], ["KeyK", "k", "cm"], ["KeyK", "k", "ca"], ["ArrowUp", "ArrowUp", ""]] as const) {
    assert.equal(press(code, key, mods), "", `${mods} ${key}`);
  }
});

test("every catalogue has every text, and says something of its own", () => {
  const english = languages.en!.words as unknown as Record<string, unknown>;
  const same = new Set(["product", "table", "topP", "version", "code", "languageSystem", "snippetName", "snippetBody"]); // may be alike
  for (const [tag, { words: w }] of Object.entries(languages)) {
    const own = w as unknown as Record<string, unknown>;
    assert.deepEqual(Object.keys(own).sort(), Object.keys(english).sort(), tag);
    for (const [name, text] of Object.entries(own)) {
      if (tag === "en" || same.has(name)) continue;
      if (typeof text === "string") assert.notEqual(text, english[name], `${tag}.${name}`);
      else if (typeof text === "function") assert.equal(text.length, (english[name] as () => string).length, `${tag}.${name}`);
    }
    assert.equal(w.queued(2), tag === "de" ? "wartet an dritter Stelle" : "queued third");
    assert.equal(w.inLine(3, 4, 21), tag === "de" ? "Platz 3 in der Schlange vor dem Modell, 4 bis 20 s" : "third in line for a model, 4 to 20 s");
    assert.equal(w.inLine(1, 0, 400), tag === "de" ? "als Nächste in der Schlange vor dem Modell, unter 7 min" : "next in line for a model, less than 7 min");
    assert.equal(w.inLine(40, 0, 0), tag === "de" ? "Platz 40 in der Schlange vor dem Modell" : "number 40 in line for a model");
    assert.ok(w.resumed(1.25).includes(tag === "de" ? "1,3" : "1.3"), w.resumed(1.25));
    assert.ok(!/undefined|NaN/.test([w.regionLag(0), w.regionLoad(0, 0), w.regionLoad(2, 1), w.queued(40), w.regionSilent(300)].join()));
  }
  speak("", ["fr-FR", "de-CH", "en"]);
  assert.equal(language, "de");
  assert.equal(words.send, "Senden");
  speak("", ["fr"]);
  assert.equal(language, "en");
  speak("constructor", []);
  assert.equal(language, "en");
});
