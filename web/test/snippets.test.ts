import assert from "node:assert/strict";
import { test } from "node:test";
import { called, filled, gap, suiting } from "../src/snippets.ts";

test("a slash at the beginning of a word calls for a snippet", () => {
  for (const [before, want] of [
    ["/", ""],
    ["/ma", "ma"],
    ["Dear all, /Grü", "grü"],
    ["line\n/x-1_y", "x-1_y"],
    ["either/or", null],
    ["/etc/hosts", null],
    ["https://", null],
    ["/mail now", null],
    ["", null],
  ] as const) {
    assert.equal(called(before), want, JSON.stringify(before));
  }
});

test("names that begin with what is called for come first", () => {
  const all = ["bigmail", "mail", "note"].map((name) => ({ name, text: name }));
  assert.deepEqual(suiting(all, "mail").map((s) => s.name), ["mail", "bigmail"]);
  assert.deepEqual(suiting(all, "").map((s) => s.name), ["bigmail", "mail", "note"]);
  assert.deepEqual(suiting(all, "x"), []);
});

test("what can be known is filled in, the rest is found to be written over", () => {
  const at = new Date(2026, 10, 22, 9, 5);
  const text = filled("On {{date}} at {{ Time }}: {{what}} for {{who}}", at, "en-GB");
  assert.equal(text, "On 22 November 2026 at 09:05: {{what}} for {{who}}");
  const [from, to] = gap(text, 0)!;
  assert.equal(text.slice(from, to), "{{what}}");
  const [a, b] = gap(text, to)!;
  assert.equal(text.slice(a, b), "{{who}}");
  assert.equal(gap(text, b), null);
  for (const none of ["{{}}", "{{a\nb}}", "{{{", "{{" + "x".repeat(99) + "}}", ""]) assert.equal(gap(none, 0), null, none);
});
