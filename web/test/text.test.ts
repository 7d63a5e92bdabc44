import assert from "node:assert/strict";
import { test } from "node:test";
import { oneLine } from "../src/text.ts";

test("a title turns nothing round and piles nothing up", () => {
  for (const [text, want] of [
    ["plain title", "plain title"],
    ["\u202egpj.exe", " gpj.exe"],
    ["a\u2066\u202eb\u2069 c", "a b  c"],
    ["\u001b[31mred\r\nline", " [31mred line"],
    [`Z${"\u0301".repeat(50)}`, `Z${"\u0301".repeat(3)}`],
    ["שלום \u200f!", "שלום \u200f!"],
    ["नमस्ते", "नमस्ते"],
  ] as const) {
    assert.equal(oneLine(text), want, JSON.stringify(text));
  }
});
