import assert from "node:assert/strict";
import { test } from "node:test";
import { ConversationState, withdrawn } from "../src/conversation.ts";
import { codePoints, firstCodePoints, skipCodePoints } from "../src/text.ts";
import { choose, follow, path } from "../src/tree.ts";

class Log {
  n = 0;
  readonly state = new ConversationState();
  ev(event: string, body: unknown, now = 0): string {
    return this.state.apply(event, String(++this.n), JSON.stringify(body), now);
  }
  user(id: string, parent: string, text = id, client?: string, edits?: string): void {
    this.ev("activity", { type: "message", id, text, from: { role: "user" }, channelData: { parley: { parent, edits }, client: { key: client } } });
  }
  bot(id: string, parent: string, turn: string, text: string): void {
    this.ev("activity", { type: "message", id, text, from: { role: "bot" }, replyToId: parent, channelData: { parley: { parent, turn } } });
  }
  turn(turn: string, state: string, replyTo: string, more: object = {}): void {
    this.ev("turn", { turn, state, replyTo, position: 0, attempt: 1, ...more });
  }
  texts(choice: ReadonlyMap<string, string> = new Map()): string[] {
    return path(this.state, choice).map((s) => s.node.text);
  }
}

test("code points are counted as the log counts them", () => {
  for (const s of ["", "abc", "😀", "a😀b", "日本", "\ud83d", "\ude00x", "👩‍👩‍👧"]) {
    const want = Array.from(s);
    assert.equal(codePoints(s), want.length, JSON.stringify(s));
    for (let n = 0; n <= want.length + 1; n++) {
      assert.equal(skipCodePoints(s, n), want.slice(n).join(""));
      assert.equal(firstCodePoints(s, n), want.slice(0, n).join(""));
    }
  }
});

test("an answer grows by deltas and its activity has the last word", () => {
  const l = new Log();
  l.user("a1", "");
  l.turn("t1", "queued", "a1", { position: 2 });
  l.turn("t1", "running", "a1");
  assert.equal(l.ev("delta", { turn: "t1", offset: 0, text: "Hi 😀" }), "ok");
  assert.equal(l.ev("delta", { turn: "t1", offset: 4, text: " you" }), "ok");
  const n = l.state.byKey.get("t1")!;
  assert.equal(n.text, "Hi 😀 you");
  assert.equal(n.length, 8);
  l.bot("b1", "a1", "t1", "Hi 😀 you!");
  l.turn("t1", "done", "a1");
  assert.equal(l.state.byId.get("b1"), n, "the same node, so that nothing on screen is replaced");
  assert.equal(n.text, "Hi 😀 you!");
  assert.deepEqual(l.texts(), ["a1", "Hi 😀 you!"]);
  assert.deepEqual(l.state.running(), []);
  assert.equal(l.ev("delta", { turn: "t1", offset: 99, text: "late" }), "ok");
  assert.equal(n.text, "Hi 😀 you!");
});

test("an overlap is skipped, a gap is refused and does not move the position", () => {
  const l = new Log();
  l.user("a1", "");
  l.turn("t1", "running", "a1");
  l.ev("delta", { turn: "t1", offset: 0, text: "ab😀d" });
  assert.equal(l.ev("delta", { turn: "t1", offset: 0, text: "ab😀d" }), "ok");
  assert.equal(l.ev("delta", { turn: "t1", offset: 2, text: "😀def" }), "ok");
  const n = l.state.byKey.get("t1")!;
  assert.equal(n.text, "ab😀def");
  const before = l.state.position;
  assert.equal(l.ev("delta", { turn: "t1", offset: 7, text: "x" }), "gap");
  assert.equal(l.state.position, before);
  assert.equal(n.text, "ab😀def");
});

test("every way of cutting a text into overlapping deltas gives the text", () => {
  const points = Array.from("Ünï 😀 códe — 日本語 👩‍👩‍👧 end");
  let seed = 7;
  const random = (n: number): number => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
  for (let round = 0; round < 200; round++) {
    const l = new Log();
    l.turn("t", "running", "");
    let have = 0;
    while (have < points.length) {
      const offset = Math.max(0, have - random(4));
      const end = Math.min(points.length, Math.max(have, offset) + random(6));
      assert.equal(l.ev("delta", { turn: "t", offset, text: points.slice(offset, end).join("") }), "ok");
      have = Math.max(have, end);
    }
    assert.equal(l.state.byKey.get("t")!.text, points.join(""));
  }
});

test("resumed continues, cuts back, begins anew, or shows a gap", () => {
  const l = new Log();
  l.turn("t", "running", "a1");
  l.ev("delta", { turn: "t", offset: 0, text: "abc" }, 1000);
  assert.equal(l.ev("resumed", { turn: "t", attempt: 2, offset: 3, policy: "exact" }, 2200), "ok");
  const n = l.state.byKey.get("t")!;
  assert.equal(n.text, "abc");
  assert.equal(n.turn!.resumed!.after, 1.2);
  assert.equal(l.ev("resumed", { turn: "t", attempt: 3, offset: 2, policy: "quick" }, 0), "ok");
  assert.equal(n.text, "ab");
  assert.equal(l.ev("resumed", { turn: "t", attempt: 4, offset: 9, policy: "quick" }, 0), "gap");
  assert.equal(l.ev("resumed", { turn: "t", attempt: 4, offset: 0, policy: "restart" }, 0), "ok");
  assert.equal(n.text, "");
  l.ev("delta", { turn: "t", offset: 0, text: "new" });
  assert.equal(n.text, "new");
});

test("what was missed and is read later does not count as heard now", () => {
  const l = new Log();
  l.turn("t", "running", "a1");
  l.ev("delta", { turn: "t", offset: 0, text: "abc" }, 1000);
  l.state.apply("delta", "90", JSON.stringify({ turn: "t", offset: 3, text: "def" }), 2900, true);
  l.state.apply("resumed", "91", JSON.stringify({ turn: "t", attempt: 2, offset: 6, policy: "exact" }), 3000, true);
  const n = l.state.byKey.get("t")!;
  assert.equal(n.text, "abcdef");
  assert.equal(n.turn!.resumed!.after, 2);
});

test("nonsense is ignored", () => {
  const s = new ConversationState();
  for (const [event, data] of [
    ["activity", "{"], ["activity", "null"], ["activity", "{}"], ["activity", '{"type":"message","id":7}'],
    ["delta", '{"turn":1}'], ["delta", '{"turn":"t","offset":"0","text":"x"}'], ["turn", "{}"], ["resumed", "{}"], ["other", "{}"], ["delta", "[]"],
  ] as const) {
    assert.notEqual(s.apply(event, "1", data, 0), "gap", event + data);
  }
  assert.equal(s.nodes.filter((n) => n.text !== "").length, 0);
});

test("a turn in line says where it is until it waits no more", () => {
  const l = new Log();
  l.user("a1", "");
  l.turn("t1", "running", "a1");
  assert.equal(l.ev("waiting", { turn: "t1", place: 3, soon: 4, late: 21 }), "ok");
  const t = l.state.turns.get("t1")!;
  assert.deepEqual(t.waits, { place: 3, soon: 4, late: 21 });
  assert.equal(l.ev("waiting", { turn: "t1", place: 1 }), "ok");
  assert.deepEqual(t.waits, { place: 1, soon: 0, late: 0 });
  assert.equal(l.ev("waiting", { turn: "t1", place: 0 }), "ok");
  assert.equal(t.waits, undefined);
  assert.equal(l.ev("waiting", { turn: "t9", place: 1 }), "ignored");
  assert.equal(l.ev("waiting", {}), "ignored");
});

test("edits and second answers branch; the newest is shown unless the reader picks", () => {
  const l = new Log();
  l.user("a1", "");
  l.turn("t1", "running", "a1");
  l.bot("b1", "a1", "t1", "one");
  l.turn("t2", "queued", "a1");
  l.bot("b2", "a1", "t2", "two");
  assert.deepEqual(l.texts(), ["a1", "two"]);
  const first = choose(l.state, new Map(), l.state.byId.get("b1")!);
  assert.deepEqual(l.texts(first), ["a1", "one"]);
  l.user("a2", "b2");
  assert.deepEqual(l.texts(), ["a1", "two", "a2"]);
  assert.deepEqual(l.texts(first), ["a1", "one"]);
  l.user("a1x", "", "a1x", "", "a1");
  l.turn("t3", "running", "a1x");
  assert.deepEqual(l.texts(), ["a1x", ""]);
  const steps = path(l.state, new Map());
  assert.deepEqual(steps[0]!.siblings.map((n) => n.id), ["a1", "a1x"]);
  assert.deepEqual(l.texts(choose(l.state, new Map(), l.state.byId.get("a2")!)), ["a1", "two", "a2"]);
  assert.deepEqual(l.texts(follow(l.state, first)), ["a1x", ""]);
});

test("a message sent while an answer runs is shown behind it, not instead of it", () => {
  const l = new Log();
  l.user("a1", "");
  l.turn("t1", "running", "a1");
  l.ev("delta", { turn: "t1", offset: 0, text: "one" });
  l.user("a2", "a1");
  l.turn("t2", "queued", "a2");
  assert.deepEqual(l.texts(), ["a1", "one", "a2", ""]);
  l.bot("b1", "a1", "t1", "one");
  l.bot("b2", "a2", "t2", "two");
  l.user("a3", "b2");
  assert.deepEqual(l.texts(), ["a1", "one", "a2", "two", "a3"]);
  for (const s of path(l.state, new Map())) assert.equal(s.siblings.length, 1);
});

test("many messages sent while answers run are all shown, whichever activity they follow", () => {
  const l = new Log();
  l.user("a1", "");
  l.user("a2", "a1");
  l.user("a3", "a2");
  l.bot("b1", "a1", "t1", "one");
  l.user("a4", "b1"); // the newest activity was the answer to the first
  l.bot("b2", "a2", "t2", "two");
  l.user("a5", "b2");
  l.bot("b3", "a3", "t3", "three");
  l.bot("b4", "a4", "t4", "four");
  const texts = l.texts();
  assert.deepEqual(texts, ["a1", "one", "a2", "two", "a3", "three", "a4", "four", "a5"]);
  for (const s of path(l.state, new Map())) assert.equal(s.siblings.length, 1);
});

test("edits of edits are one set of alternatives; a conversation of 20,000 messages has a path", () => {
  const l = new Log();
  l.user("a1", "");
  l.user("a2", "", "a2", "", "a1");
  l.user("a3", "", "a3", "", "a2");
  assert.deepEqual(path(l.state, new Map())[0]!.siblings.map((n) => n.id), ["a1", "a2", "a3"]);
  assert.deepEqual(l.texts(), ["a3"]);
  let parent = "a3";
  for (let i = 0; i < 20_000; i++) {
    l.user(`u${i}`, parent);
    parent = `u${i}`;
  }
  assert.equal(l.texts().length, 20_001);
});

test("activities that are not messages are links of the chain, not messages", () => {
  const l = new Log();
  l.user("a1", "");
  l.ev("activity", { type: "event", id: "e1", from: { role: "user" }, channelData: { parley: { parent: "a1" } } });
  l.user("a2", "e1");
  assert.deepEqual(l.texts(), ["a1", "a2"]);
});

test("what a bot took back leaves its place and no words", () => {
  const l = new Log();
  l.user("a1", "");
  const bot = { from: { role: "bot" }, channelData: { parley: { parent: "a1" } } };
  l.ev("activity", { ...bot, type: "message", id: "b1", text: "You owe us 1,000 euros." });
  l.user("a2", "b1");
  l.ev("activity", { ...bot, type: "messageDelete", id: "b1", text: "a server that forgot to leave it out" });
  assert.deepEqual(l.texts(), ["a1", "", "a2"]);
  assert.equal(withdrawn(l.state.byId.get("b1")!), true);
  const again = new Log(); // as read from the store
  again.user("a1", "");
  again.ev("activity", { ...bot, type: "messageDelete", id: "b1" });
  again.user("a2", "b1");
  assert.deepEqual(again.texts(), ["a1", "", "a2"]);
});

test("a loop of parents ends", () => {
  const l = new Log();
  l.user("a1", "a2");
  l.user("a2", "a1");
  assert.ok(l.texts().length <= 2);
});

test("the log's activity takes the key of what was sent, once", () => {
  const l = new Log();
  l.user("a1", "", "x", "key-1");
  l.user("a1", "", "x", "key-1");
  assert.equal(l.state.nodes.length, 1);
  assert.equal(l.state.byKey.get("key-1")!.id, "a1");
  l.user("a2", "a1", "y", "key-1");
  assert.deepEqual(l.texts(), ["x", "y"]);
});
