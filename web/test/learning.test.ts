import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError } from "../src/api.ts";
import { api, Learning, type Message } from "../src/learning.ts";

const message = (id: string, text: string, more: Partial<Message> = {}): Message => ({ id, text, version: "city@1", label: "", taken: false, ...more });

// node answers as a node does that has these messages in pages of two.
function node(messages: Message[], more: Partial<typeof api> = {}): typeof api & { labels: Record<string, string>; sorted: string[][] } {
  const labels: Record<string, string> = {};
  const sorted: string[][] = [];
  return {
    labels,
    sorted,
    apps: async () => [{ app: "city", live: "1" }, { app: "other", live: "2" }, { app: "asleep", live: "" }],
    unknown: async (cursor) => {
      const at = Number(cursor || 0);
      return { items: messages.slice(at, at + 2), next: at + 2 < messages.length ? String(at + 2) : "" };
    },
    groups: async (app, texts) => {
      sorted.push([app, ...texts]);
      return { groups: [{ texts: texts.map((_, i) => i), proposals: [{ intent: "hours", score: 0.6 }] }], intents: ["hours", "tickets"] };
    },
    label: async (all) => {
      for (const l of all) labels[l.id] = l.intent;
    },
    ...more,
  };
}

test("a group is labelled, taken back and left in parts", async () => {
  const n = node([
    message("a", "is it open"),
    message("b", "Is it  open"),
    message("c", "do you open", {}),
    message("d", "labelled before", { label: "hours" }),
    message("e", "in the project", { label: "hours", taken: true }),
    message("f", "other words", { version: "other@2" }),
  ]);
  const l = new Learning(n);
  await l.load();
  assert.equal(l.state, "ready");
  assert.deepEqual(l.apps.map((a) => a.app), ["city", "other"]);
  assert.equal(l.app, "city");
  assert.deepEqual(n.sorted, [["city", "is it open", "Is it  open", "do you open"]]);
  assert.equal(l.waiting, 1);
  const g = l.groups[0]!;
  assert.deepEqual(g.said, [{ text: "is it open", ids: ["a", "b"] }, { text: "do you open", ids: ["c"] }]);
  l.leave(g, g.said[1]!);
  await l.label(g, "opening");
  assert.deepEqual(n.labels, { a: "opening", b: "opening" });
  assert.deepEqual([g.label, l.waiting, l.intents], ["opening", 3, ["hours", "opening", "tickets"]]);
  await l.label(g, "");
  assert.deepEqual([n.labels, g.label, l.waiting], [{ a: "", b: "" }, "", 1]);
  await l.choose("other");
  assert.deepEqual(n.sorted.at(-1), ["other", "other words"]);
});

test("what the node refuses is said, and nothing is lost", async () => {
  const n = node([message("a", "x")], { label: async () => Promise.reject(new ApiError(429, "limited", "2000 labels wait", null)) });
  const l = new Learning(n);
  await l.load();
  await l.label(l.groups[0]!, "hours");
  assert.deepEqual([l.state, l.undone, l.groups[0]!.label, l.waiting], ["ready", "2000 labels wait", "", 0]);
  for (const [status, state] of [[401, "login"], [403, "forbidden"], [503, "failed"]] as const) {
    const refused = new Learning(node([], { unknown: async () => Promise.reject(new ApiError(status, "x", "why", null)) }));
    await refused.load();
    assert.equal(refused.state, state);
  }
});

test("nothing to label is asked for nothing", async () => {
  const n = node([]);
  const l = new Learning(n);
  await l.load();
  assert.deepEqual([l.state, l.groups, n.sorted], ["ready", [], []]);
});
