// The tree of a conversation: edits and second answers make siblings, and the
// page shows one path through it.
import type { ConversationState, Node } from "./conversation.ts";

export type Step = { node: Node; siblings: Node[] }; // siblings in order of arrival, node among them

// Choice says which sibling the reader picked: the siblings' place -> its key.
// Where nothing was picked the newest branch is shown.
export type Choice = ReadonlyMap<string, string>;

// placeOf names what a message is an alternative in: answers to one message are
// alternatives, and so are a message and all that edit it. Messages that were
// sent while an answer still ran follow the same one without being edits of
// each other; they are no alternatives, all of them are shown.
function placeOf(state: ConversationState, n: Node): string {
  if (n.role === "bot") return `bot ${n.parent}`;
  let root = n;
  for (let i = 0; i < 10_000; i++) {
    const edited = state.byId.get(root.activity?.channelData?.parley?.edits ?? "");
    if (!edited || edited === n || edited.role !== "user") break;
    root = edited;
  }
  return `user ${root.key}`;
}

// path returns the messages to show, first to last.
export function path(state: ConversationState, choice: Choice): Step[] {
  const kids = new Map<string, Node[]>();
  for (const n of state.nodes) {
    const parent = `${n.role} ${n.parent !== "" && state.byId.has(n.parent) ? n.parent : ""}`;
    const list = kids.get(parent);
    if (list) list.push(n);
    else kids.set(parent, [n]);
  }
  const newest = ancestors(state);
  const of = (id: string, role: string): Node[] => kids.get(`${role} ${id}`) ?? [];
  const steps: Step[] = [];
  const shown = new Set<Node>();
  // Sets of alternatives to be shown, the one that began first at the end.
  const open: Node[][] = [];
  const later = (users: Node[]): void => {
    const places = new Map<string, Node[]>();
    for (const n of users) {
      const place = placeOf(state, n);
      const list = places.get(place);
      if (list) list.push(n);
      else places.set(place, [n]);
    }
    for (const set of places.values()) {
      let i = open.length;
      while (i > 0 && open[i - 1]![0]!.order < set[0]!.order) i--;
      open.splice(i, 0, set);
    }
  };
  later(of("", "user"));
  let bots = of("", "bot"); // one may speak first
  while (bots.length > 0 || open.length > 0) {
    // An answer stands right behind what it answers.
    const siblings = bots.length > 0 ? bots : open.pop()!;
    bots = [];
    const picked = choice.get(placeOf(state, siblings[0]!));
    const node = siblings.find((n) => n.key === picked) ?? siblings.findLast((n) => newest.has(n)) ?? siblings.at(-1)!;
    if (shown.has(node)) continue;
    shown.add(node);
    steps.push({ node, siblings });
    if (node.id === "") continue;
    later(of(node.id, "user"));
    bots = of(node.id, "bot");
  }
  return steps;
}

// ancestors returns the newest message and all that it follows.
function ancestors(state: ConversationState): Set<Node> {
  const out = new Set<Node>();
  for (let n = state.nodes.at(-1); n && !out.has(n); n = state.byId.get(n.parent)) out.add(n);
  return out;
}

// choose returns a choice whose path leads through node.
export function choose(state: ConversationState, choice: Choice, node: Node): Map<string, string> {
  const out = new Map(choice);
  const seen = new Set<Node>();
  for (let n: Node | undefined = node; n && !seen.has(n); n = state.byId.get(n.parent)) {
    seen.add(n);
    out.set(placeOf(state, n), n.key);
  }
  return out;
}

// follow returns a choice that shows the newest branch again.
export function follow(state: ConversationState, choice: Choice): Map<string, string> {
  const out = new Map(choice);
  for (const n of ancestors(state)) out.delete(placeOf(state, n));
  return out;
}

export type Row = { node: Node; depth: number; version: number; versions: number; shown: boolean };

// outline lists every message of the tree, each under the one it follows. It
// goes deeper only where the tree branches, so that a long conversation without
// branches is one column.
export function outline(state: ConversationState, shown: ReadonlySet<Node>): Row[] {
  const kids = new Map<string, Node[]>();
  for (const n of state.nodes) {
    const parent = n.parent !== "" && state.byId.has(n.parent) ? n.parent : "";
    const list = kids.get(parent);
    if (list) list.push(n);
    else kids.set(parent, [n]);
  }
  const out: Row[] = [];
  const seen = new Set<Node>();
  const todo: { node: Node; depth: number; version: number; versions: number }[] = [];
  const put = (parent: string, depth: number): void => {
    const all = kids.get(parent) ?? [];
    const deeper = all.length > 1 ? depth + 1 : depth;
    for (let i = all.length - 1; i >= 0; i--) todo.push({ node: all[i]!, depth: deeper, version: i + 1, versions: all.length });
  };
  put("", 0);
  for (let r = todo.pop(); r; r = todo.pop()) {
    if (seen.has(r.node)) continue;
    seen.add(r.node);
    out.push({ ...r, shown: shown.has(r.node) });
    if (r.node.id !== "") put(r.node.id, r.depth);
  }
  return out;
}

// branched reports whether there is more than one way through the tree.
export function branched(state: ConversationState): boolean {
  const first = new Set<string>();
  for (const n of state.nodes) {
    const place = `${n.role} ${n.parent}`;
    if (first.has(place)) return true;
    first.add(place);
  }
  return false;
}
