// ConversationState folds a conversation's events into what the page shows. It
// is pure: no network, no clock but the one it is given, no DOM.
//
// The text of a running answer is always a prefix of the text in the log. A
// delta says how many code points precede it; what the page has already is
// skipped, and a delta that begins behind the end of what the page has is a
// gap: apply returns "gap", the event is not taken, and the caller reads the
// conversation again from the start. An answer's activity has the last word.
import { codePoints, firstCodePoints, skipCodePoints } from "./text.ts";
import type { Activity, DeltaEvent, ResumedEvent, Settings, TurnEvent, TurnState, WaitingEvent } from "./types.ts";

export type Role = "user" | "bot";

// Node is one message of the tree: something said, or an answer that is being
// written.
export type Node = {
  key: string; // stays the same while an answer runs and when it is complete
  id: string; // of the activity; "" while there is none
  parent: string; // id of the activity that it follows, "" for the first
  role: Role;
  order: number; // of arrival
  text: string;
  length: number; // code points in text
  time: string;
  rev: number; // grows with every change
  activity?: Activity;
  turn?: Turn; // that writes it (an answer)
  reaction?: Reaction; // what the reader thinks of it
};

// withdrawn reports whether a bot took back what it said.
export const withdrawn = (n: Node): boolean => n.activity?.type === "messageDelete";

export type Reaction = "like" | "dislike";

// Turn is the unit of work behind an answer.
export type Turn = {
  id: string;
  replyTo: string;
  state: TurnState;
  position: number;
  attempt: number;
  error: string;
  region: string;
  heard: number; // clock of the newest delta, 0 if none came while we watched
  waits?: { place: number; soon: number; late: number }; // in line before the engines; late 0: nothing is known
  resumed?: { after: number | null; attempt: number }; // seconds without text, if we watched
};

export type Outcome = "ok" | "gap" | "ignored";

export class ConversationState {
  position = ""; // id of the newest event taken
  title = "";
  deleted = false;
  settings: Settings = { pinned: false, archived: false, trashed: false, tags: [], share: null, system: "", model: "", params: {} };
  shape = 0; // grows when nodes come or change places
  readonly nodes: Node[] = [];
  readonly byKey = new Map<string, Node>();
  readonly byId = new Map<string, Node>();
  readonly turns = new Map<string, Turn>();
  readonly touched = new Set<Node>(); // changed since the reader last cleared it
  private readonly hidden = new Map<string, string>(); // activities that are not messages -> what they follow

  // apply takes one event. now is a clock in milliseconds. late says that the
  // event happened before we listened (again): it says nothing about when.
  apply(event: string, id: string, data: string, now: number, late = false): Outcome {
    let body: unknown;
    try {
      body = JSON.parse(data);
    } catch {
      return "ignored"; // not ours to repair; the activity has the last word
    }
    if (typeof body !== "object" || body === null) return "ignored";
    const outcome = this.take(event, body, now, late);
    if (outcome !== "gap" && id !== "") this.position = id;
    return outcome;
  }

  private take(event: string, body: object, now: number, late: boolean): Outcome {
    switch (event) {
      case "activity":
        return this.activity(body as Activity);
      case "delta":
        return this.delta(body as DeltaEvent, now, late);
      case "turn":
        return this.turn(body as TurnEvent);
      case "resumed":
        return this.resumed(body as ResumedEvent, now);
      case "waiting":
        return this.waiting(body as WaitingEvent);
      case "title":
        this.title = String((body as { title?: unknown }).title ?? "");
        this.shape++;
        return "ok";
      case "settings":
        this.settings = { ...this.settings, ...(body as Partial<Settings>) };
        this.shape++;
        return "ok";
      case "deleted":
        this.deleted = true;
        this.shape++;
        return "ok";
    }
    return "ignored";
  }

  private activity(a: Activity): Outcome {
    if (typeof a.id !== "string" || a.id === "") return "ignored";
    const meta = a.channelData?.parley ?? {};
    let parent = meta.parent ?? a.replyToId ?? this.nodes.at(-1)?.id ?? "";
    for (let i = 0; i < 1000 && this.hidden.has(parent); i++) parent = this.hidden.get(parent)!;
    if (a.type !== "message" && a.type !== "messageDelete") {
      this.hidden.set(a.id, parent);
      return a.type === "messageReaction" ? this.reaction(a) : "ignored";
    }
    const role: Role = a.from?.role === "bot" ? "bot" : "user";
    const key = (role === "bot" ? meta.turn : a.channelData?.client?.key) || a.id;
    let n = this.byId.get(a.id) ?? this.byKey.get(key);
    if (n && n.id !== "" && n.id !== a.id) n = undefined; // a key used twice: two messages all the same
    if (!n) n = this.add(this.byKey.has(key) ? a.id : key, parent, role);
    else if (n.parent !== parent) this.shape++;
    n.parent = parent;
    if (n.id === "") this.shape++;
    n.id = a.id;
    this.byId.set(a.id, n);
    n.activity = a;
    n.time = a.timestamp ?? "";
    n.text = typeof a.text === "string" && !withdrawn(n) ? a.text : "";
    n.length = codePoints(n.text);
    if (role === "bot" && meta.turn && !n.turn) n.turn = this.turns.get(meta.turn);
    this.touch(n);
    return "ok";
  }

  private reaction(a: Activity): Outcome {
    const n = this.byId.get(a.replyToId ?? "");
    if (!n) return "ignored";
    const is = (r: { type?: unknown } | undefined): r is { type: Reaction } => r?.type === "like" || r?.type === "dislike";
    const added = Array.isArray(a.reactionsAdded) ? a.reactionsAdded.find(is) : undefined;
    const removed = Array.isArray(a.reactionsRemoved) ? a.reactionsRemoved.find(is) : undefined;
    if (added) n.reaction = added.type;
    else if (removed && n.reaction === removed.type) n.reaction = undefined;
    else return "ignored";
    this.shape++;
    this.touch(n);
    return "ok";
  }

  // shown returns the message that an activity is, or is about.
  shown(id: string): Node | undefined {
    for (let i = 0; i < 1000 && this.hidden.has(id); i++) id = this.hidden.get(id)!;
    return this.byId.get(id);
  }

  private delta(d: DeltaEvent, now: number, late: boolean): Outcome {
    if (typeof d.turn !== "string" || typeof d.text !== "string" || !Number.isInteger(d.offset)) return "ignored";
    const n = this.answer(d.turn, "");
    if (n.activity) return "ok"; // complete already
    if (d.offset > n.length) return "gap";
    const fresh = d.offset === n.length ? d.text : skipCodePoints(d.text, n.length - d.offset);
    if (fresh === "") return "ok";
    n.text += fresh;
    n.length += codePoints(fresh);
    if (!late) n.turn!.heard = now;
    this.touch(n);
    return "ok";
  }

  private turn(t: TurnEvent): Outcome {
    if (typeof t.turn !== "string" || t.turn === "") return "ignored";
    const n = this.answer(t.turn, t.replyTo ?? "");
    const turn = n.turn!;
    turn.state = t.state;
    turn.position = t.position ?? 0;
    turn.attempt = t.attempt ?? turn.attempt;
    turn.error = t.error ?? "";
    if (t.region) turn.region = t.region;
    this.shape++; // buttons and waiting messages depend on it
    this.touch(n);
    return "ok";
  }

  private waiting(w: WaitingEvent): Outcome {
    const t = typeof w.turn === "string" ? this.turns.get(w.turn) : undefined;
    const n = this.byKey.get(w.turn);
    if (!t || !n) return "ignored";
    if (w.place > 0) t.waits = { place: w.place, soon: w.soon ?? 0, late: w.late ?? 0 };
    else delete t.waits;
    this.touch(n);
    return "ok";
  }

  private resumed(r: ResumedEvent, now: number): Outcome {
    if (typeof r.turn !== "string") return "ignored";
    const n = this.answer(r.turn, "");
    if (n.activity) return "ok";
    const turn = n.turn!;
    if (r.policy === "restart") {
      n.text = "";
      n.length = 0;
    } else if (r.offset > n.length) {
      return "gap";
    } else if (r.offset < n.length) {
      n.text = firstCodePoints(n.text, r.offset);
      n.length = r.offset;
    }
    turn.attempt = r.attempt;
    turn.resumed = { after: turn.heard > 0 ? Math.max(0, now - turn.heard) / 1000 : null, attempt: r.attempt };
    this.touch(n);
    return "ok";
  }

  // answer returns the node that a turn writes, made if there is none yet.
  private answer(turn: string, replyTo: string): Node {
    let t = this.turns.get(turn);
    if (!t) {
      t = { id: turn, replyTo, state: "queued", position: 0, attempt: 0, error: "", region: "", heard: 0 };
      this.turns.set(turn, t);
    }
    let n = this.byKey.get(turn);
    if (!n) n = this.add(turn, replyTo, "bot");
    if (replyTo !== "" && t.replyTo !== replyTo) t.replyTo = replyTo;
    if (replyTo !== "" && n.id === "" && n.parent !== replyTo) {
      n.parent = replyTo;
      this.shape++;
    }
    n.turn = t;
    return n;
  }

  private add(key: string, parent: string, role: Role): Node {
    const n: Node = { key, id: "", parent, role, order: this.nodes.length, text: "", length: 0, time: "", rev: 0 };
    this.nodes.push(n);
    this.byKey.set(key, n);
    this.shape++;
    return n;
  }

  private touch(n: Node): void {
    n.rev++;
    this.touched.add(n);
  }

  // running returns the turns that are not at their end.
  running(): Turn[] {
    return [...this.turns.values()].filter((t) => t.state === "queued" || t.state === "running");
  }
}
