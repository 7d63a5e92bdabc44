// The outbox holds what the reader asked for until the node says that it is
// durable. It lives in the browser's storage, so a closed tab loses nothing,
// and every item keeps its Idempotency-Key for all tries, so none is doubled.
// Each has a place of its own there: tabs write at the same time, and a list in
// one place would lose what another tab has just put on it.
import { ApiError } from "./api.ts";
import { backoff } from "./sse.ts";
import type { Attachment } from "./types.ts";

export type Item = {
  key: string; // the Idempotency-Key
  kind: "message" | "regenerate" | "reaction";
  conversation: string; // "" while the conversation is to be made
  draft: string; // names a conversation that is to be made; "" else
  text: string;
  edits?: string; // id of the activity that it replaces in a new branch
  parent?: string; // id of the activity that the reader saw last
  turn?: string; // to be answered again, or
  onward?: boolean; // to be gone on with
  on?: string; // id of the activity that a reaction is to
  files?: Luggage[]; // that are to go along; their bytes are kept by files.ts
  carried?: Attachment[]; // that are in the log already
  added?: string; // the reaction, or
  removed?: string; // the one that is taken back
  bot?: string;
  chosen?: { model: string; system: string; params: object }; // settings of a conversation that is to be made
  home?: string; // region that a conversation which is to be made belongs to, the same for all tries
  created: number;
  rank?: number; // place among those that wait
  activity?: string; // id, once accepted
  answer?: string; // the turn, once accepted
  failed?: string; // in words; it waits for the reader
};

// Luggage is a file that waits to be sent.
export type Luggage = { id: string; name: string; type: string; size: number; kind: "picture" | "text" | "other" };

// Progress of an item in this tab; not kept. part: what of it is being sent.
export type Progress = { sending: boolean; tries: number; next: number; why: string; part?: string };

export type Store = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

export type OutboxOptions = {
  store: Store | null; // null: nothing outlives the page (storage refused)
  slot?: string; // in the store
  create: (key: string, item: Item) => Promise<{ id: string }>;
  send: (item: Item) => Promise<{ id?: string; turn?: string }>;
  onChange: () => void;
  onUnauthenticated: () => void;
  onCreated?: (draft: string, id: string) => void;
  onGone?: (item: Item) => void; // it waits no more
  lock?: <T>(work: () => Promise<T>) => Promise<T>; // one tab at a time
  now?: () => number;
  wait?: (n: number) => number; // ms before try n
};

export class Outbox {
  private memory: Item[] = [];
  private readonly unkept = new Map<string, Item>(); // that the storage did not take: full or forbidden
  private readonly progress = new Map<string, Progress>();
  private running = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private paused = false;
  private readonly slot: string;

  constructor(private readonly o: OutboxOptions) {
    this.slot = o.slot ?? "parley.outbox.v1";
    this.split();
    this.memory = this.load();
  }

  // stored: false while something is held by this page alone.
  get stored(): boolean {
    return this.o.store !== null && this.unkept.size === 0;
  }

  private now(): number {
    return this.o.now?.() ?? Date.now();
  }

  // split gives each item of a list that an earlier version kept its own place.
  private split(): void {
    try {
      const list = this.o.store?.getItem(this.slot) ?? null;
      if (list === null) return;
      this.o.store?.removeItem(this.slot);
      const items: unknown = JSON.parse(list);
      if (Array.isArray(items)) items.filter(valid).forEach((i, n) => this.keep({ ...i, rank: n }));
    } catch {
      // foreign bytes
    }
  }

  // load reads what all tabs wait for, oldest first.
  private load(): Item[] {
    const { store } = this.o;
    const items = new Map<string, Item>();
    try {
      for (let n = 0; store && n < store.length; n++) {
        const name = store.key(n);
        if (!name?.startsWith(`${this.slot}/`)) continue;
        const i = parsed(store.getItem(name));
        if (i && name === this.place(i.key)) items.set(i.key, i);
      }
    } catch {
      for (const i of this.memory) items.set(i.key, i); // the storage is closed now
    }
    for (const i of this.unkept.values()) items.set(i.key, i);
    return [...items.values()].sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0) || a.created - b.created);
  }

  private place(key: string): string {
    return `${this.slot}/${key}`;
  }

  private keep(i: Item): void {
    this.unkept.set(i.key, i);
    try {
      if (!this.o.store) return;
      this.o.store.setItem(this.place(i.key), JSON.stringify(i));
      this.unkept.delete(i.key);
    } catch {
      // this page still holds it
    }
  }

  private drop(key: string): void {
    this.unkept.delete(key);
    try {
      this.o.store?.removeItem(this.place(key));
    } catch {
      // nothing can be kept there either
    }
  }

  // edit changes the list as it is in storage now: other tabs write it too. Only
  // what the change touched is written.
  private edit(change: (items: Item[]) => Item[]): void {
    const before = this.load();
    this.memory = change(before);
    const left = new Set(this.memory.map((i) => i.key));
    for (const i of before) if (!left.has(i.key)) this.drop(i.key);
    for (const i of this.memory) if (this.unkept.has(i.key) || !before.includes(i)) this.keep(i);
    this.o.onChange();
  }

  // items lists everything that waits, oldest first.
  items(): readonly Item[] {
    return this.memory;
  }

  // reread takes over what another tab wrote.
  reread(): void {
    this.memory = this.load();
    this.o.onChange();
    void this.flush();
  }

  of(key: string): Progress | undefined {
    return this.progress.get(key);
  }

  add(item: Item): void {
    this.edit((items) => [...items, { ...item, rank: 1 + Math.max(0, ...items.map((i) => i.rank ?? 0)) }]);
    void this.flush();
  }

  // settle forgets an item whose effect was seen in the log.
  settle(key: string): void {
    this.progress.delete(key);
    const gone = this.memory.find((i) => i.key === key);
    if (!gone) return;
    this.edit((items) => items.filter((i) => i.key !== key));
    this.o.onGone?.(gone);
  }

  // retry sends a failed item again, with the same key.
  retry(key: string): void {
    this.progress.delete(key);
    this.edit((items) => items.map((i) => (i.key === key ? { ...i, failed: undefined } : i)));
    void this.flush();
  }

  // forget drops what belongs to a conversation that is gone.
  forget(conversation: string): void {
    this.edit((items) => items.filter((i) => i.conversation !== conversation));
  }

  // move takes what waits for a conversation that is gone to one that is to be
  // made.
  move(conversation: string, draft: string): void {
    const waits = (i: Item): boolean => i.conversation === conversation && i.kind === "message" && i.activity === undefined;
    this.edit((items) => items.flatMap((i) => (i.conversation !== conversation ? [i] : waits(i) ? [{ ...i, conversation: "", draft, parent: undefined, failed: undefined }] : [])));
  }

  // resume tries at once whatever waits: the network or the session is back.
  resume(): void {
    this.paused = false;
    for (const p of this.progress.values()) p.next = 0;
    void this.flush();
  }

  // stop tries nothing by itself any more.
  stop(): void {
    this.paused = true;
    clearTimeout(this.timer);
  }

  // flush sends what is due, in order, and comes back by itself for the rest.
  async flush(): Promise<void> {
    if (this.running || this.paused) return;
    this.running = true;
    clearTimeout(this.timer);
    try {
      const blocked = new Set<string>(); // keep the order within a conversation
      for (;;) {
        const item = this.memory.find((i) => this.due(i, blocked));
        if (!item || this.paused) break;
        const ok = await (this.o.lock ? this.o.lock(() => this.attempt(item.key)) : this.attempt(item.key));
        if (!ok) blocked.add(placeOf(item));
      }
    } finally {
      this.running = false;
    }
    this.schedule();
  }

  private due(i: Item, blocked: Set<string>): boolean {
    const done = i.activity !== undefined || i.answer !== undefined;
    if (done || i.failed !== undefined || blocked.has(placeOf(i))) return false;
    const p = this.progress.get(i.key);
    if (p && p.next > this.now()) {
      blocked.add(placeOf(i));
      return false;
    }
    return true;
  }

  private schedule(): void {
    if (this.paused) return;
    let next = Infinity;
    const first = new Set<string>(); // the rest of a conversation waits for its first
    for (const i of this.memory) {
      if (i.failed !== undefined || i.activity !== undefined || i.answer !== undefined || first.has(placeOf(i))) continue;
      first.add(placeOf(i));
      next = Math.min(next, this.progress.get(i.key)?.next ?? 0);
    }
    if (next === Infinity) return;
    this.timer = setTimeout(() => void this.flush(), Math.max(20, next - this.now()));
  }

  // attempt makes one try and reports whether the item is out of the way.
  private async attempt(key: string): Promise<boolean> {
    this.memory = this.load(); // another tab may have been first
    const item = this.memory.find((i) => i.key === key);
    if (!item || item.failed !== undefined || item.activity !== undefined || item.answer !== undefined) return true;
    const p = this.progress.get(key) ?? { sending: false, tries: 0, next: 0, why: "" };
    this.progress.set(key, p);
    p.sending = true;
    this.o.onChange();
    try {
      let conversation = item.conversation;
      if (conversation === "") conversation = await this.make(item);
      const done = await this.o.send({ ...item, conversation });
      p.sending = false;
      this.edit((items) => items.map((i) => (i.key === key ? { ...i, conversation, activity: done.id, answer: done.turn } : i)));
      return true;
    } catch (err) {
      p.sending = false;
      return this.failed(item, p, err);
    }
  }

  private async make(item: Item): Promise<string> {
    const { id } = await this.o.create(item.draft, item);
    this.edit((items) => items.map((i) => (i.draft === item.draft && i.conversation === "" ? { ...i, conversation: id } : i)));
    this.o.onCreated?.(item.draft, id);
    return id;
  }

  private failed(item: Item, p: Progress, err: unknown): boolean {
    const e = err instanceof ApiError ? err : new ApiError(0, "page", err instanceof Error ? err.message : "", null);
    if (e.status === 401) {
      this.paused = true;
      p.next = 0;
      this.o.onUnauthenticated();
      this.o.onChange();
      return false;
    }
    if (e.again) {
      const wait = this.o.wait?.(p.tries) ?? backoff(p.tries, 10_000);
      p.tries++;
      p.why = e.message;
      p.next = this.now() + Math.min(60_000, Math.max(wait, e.retryAfter ?? 0));
      this.o.onChange();
      return false;
    }
    this.edit((items) => items.map((i) => (i.key === item.key ? { ...i, failed: e.message || `${e.status} ${e.code}` } : i)));
    return true;
  }
}

function placeOf(i: Item): string {
  return i.conversation || `draft ${i.draft}`;
}

function parsed(raw: string | null): Item | null {
  try {
    const v: unknown = JSON.parse(raw ?? "null");
    return valid(v) ? v : null;
  } catch {
    return null; // foreign bytes
  }
}

function valid(v: unknown): v is Item {
  const i = v as Item;
  return (
    typeof v === "object" &&
    v !== null &&
    typeof i.key === "string" &&
    (i.kind === "message" || i.kind === "regenerate" || i.kind === "reaction") &&
    typeof i.conversation === "string" &&
    typeof i.draft === "string" &&
    typeof i.text === "string"
  );
}
