import assert from "node:assert/strict";
import { test } from "node:test";
import { spoken } from "../src/speech/spoken.ts";
import { tongue } from "../src/speech/tongue.ts";

const instead = { code: (lang: string) => `Code ${lang}.`, formula: "a formula", image: (alt: string) => `Picture ${alt}` };

test("what is read aloud are sentences, and of code that it is there", () => {
  const text = "# Tea 🍵\n\nA *good* cup. See [the guide](https://a.example/x) or https://www.b.example/y?z=1 for more!\n\n1. Water at `95 °C`\n2. Wait\n\n```go\nfmt.Println(1)\n```\n\n| leaf | min |\n|--|--|\n| black | 3 |\n\nIt is $x^2$.\n\n![a cup](https://c.example/p.png)\n\n---\n\n…\n";
  assert.deepEqual(spoken(text, true, instead), [
    "Tea",
    "A good cup.",
    "See the guide or b.example for more!",
    "1: Water at 95 °C",
    "2: Wait",
    "Code go.",
    "leaf, min",
    "black, 3",
    "It is a formula.",
    "Picture a cup",
  ]);
});

test("a running answer is read as far as nothing can be added to its sentences", () => {
  const text = "One is here. Two is here. Three is\n\nFour. Five";
  const whole = spoken(text, true, instead);
  let before: string[] = [];
  for (let i = 1; i <= text.length; i++) {
    const now = spoken(text.slice(0, i), false, instead);
    assert.deepEqual(now.slice(0, before.length), before, `what was said stays said (${text.slice(0, i)})`);
    assert.deepEqual(now, whole.slice(0, now.length), text.slice(0, i));
    before = now;
  }
  assert.deepEqual(before, ["One is here.", "Two is here.", "Three is", "Four."]);
});

test("a sentence without an end is read in breaths, and loses no word", () => {
  for (const text of ["word, ".repeat(200), "x".repeat(1000), "words ".repeat(300), "語、".repeat(400)]) {
    const all = spoken(text, true, instead);
    assert.ok(all.length > 1 && all.every((s) => s.length <= 240), JSON.stringify(all.map((s) => s.length)));
    assert.equal(all.join("").replace(/\s/g, ""), text.replace(/\s/g, ""));
  }
  assert.deepEqual(spoken("", true, instead), []);
});

test("the language of a text is told by its script or its small words", () => {
  for (const [text, want] of [
    ["The kettle is on the table and the water is hot.", "en"],
    ["Der Kessel steht auf dem Tisch, und das Wasser ist heiß.", "de"],
    ["La théière est sur la table et les tasses sont dans le placard.", "fr"],
    ["El agua está en la mesa y las tazas son para los niños.", "es"],
    ["お湯は机の上にあります。", "ja"],
    ["水在桌子上。", "zh"],
    ["물이 책상 위에 있습니다.", "ko"],
    ["Вода стоит на столе.", "ru"],
    ["Вода стоїть на столі.", "uk"],
    ["الماء على الطاولة", "ar"],
    ["OK", "xx"],
    ["", "xx"],
    ["Das Wort 水 heißt Wasser und ist nicht schwer.", "de"],
  ] as const) {
    assert.equal(tongue(text, "xx"), want, text);
  }
});
