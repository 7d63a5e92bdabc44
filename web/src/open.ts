// Open is a conversation on screen: its state, the stream that feeds it, and
// what the reader picked in it.
import { ApiError, type Api } from "./api.ts";
import { nextFrame } from "./bell.ts";
import { ConversationState, type Node } from "./conversation.ts";
import type { Item } from "./outbox.ts";
import { backoff, Reader, type Link, type Message } from "./sse.ts";
import { path, type Step } from "./tree.ts";
import type { Activity, Settings } from "./types.ts";
import { words } from "./talk.ts";
import type { World } from "./world.ts";

export type Hooks = {
  changed: () => void; // more than the text of a running answer
  titled: (title: string) => void;
  arranged: (settings: Settings) => void;
  said: (at: string) => void;
  deleted: () => void;
  kept: () => Promise<Activity[]>; // what this browser holds of it
  unauthenticated: () => void;
  back: () => void; // the stream is live again after a loss
  announce: (text: string) => void;
  answered?: (text: string) => void; // an answer came to its end while we watched
};

// What comes so soon after a stream began is what was missed before. In ms.
const catchUp = 250;

export class Open {
  state = new ConversationState();
  link: Link = { state: "connecting" };
  loaded = false;
  missing = false;
  lost = false; // the stream broke, is not back, and it is not a mere hiccup
  choice: Map<string, string> = new Map();
  readonly stopping = new Set<string>(); // turns

  private fresh: ConversationState | null = null; // read anew from the start after a gap
  private reader: Reader;
  private readonly listeners = new Map<string, Set<() => void>>();
  private due = false;
  private shape = -1;
  private refetched = 0;
  private hiding: ReturnType<typeof setTimeout> | undefined;
  private broken = false; // the stream broke and is not back
  private hiccup: ReturnType<typeof setTimeout> | undefined;
  private slow: ReturnType<typeof setTimeout> | undefined;
  private steps: { shape: number; state: ConversationState; choice: Map<string, string>; path: Step[] } | null = null;
  private onScreen = false;
  private settings = this.state.settings; // as told last
  private live = 0; // clock when the stream began
  private lively = false; // caught up: what comes now is news

  constructor(
    readonly id: string,
    private readonly line: { api: Api; world: World },
    private readonly hooks: Hooks,
  ) {
    const { api, world } = line;
    this.reader = new Reader({
      url: () => api.events(id, (this.fresh ?? this.state).position),
      fetch: (url, init) => world.fetch(url, init),
      quiet: () => (this.state.running().length > 0 ? 1000 : 20_000),
      doubt: () => world.doubt(),
      most: () => (world.several() ? 500 : 2000), // elsewhere it may go on at any moment
      onMessage: (m) => this.take(m),
      onChunk: () => this.chunk(),
      onLink: (l) => this.linked(l),
    });
  }

  // enter opens the stream. born: this page made the conversation, so all that
  // happens in it is news.
  enter(born = false): void {
    this.onScreen = true;
    if (born) this.lively = true;
    else if (this.state.nodes.length === 0) void this.recall();
    this.reader.start();
  }

  // recall shows what was there the last time, until the log says what is there
  // now: the stream begins at its beginning all the same.
  private async recall(): Promise<void> {
    const kept = await this.hooks.kept();
    if (kept.length === 0 || this.loaded || this.state.nodes.length > 0) return;
    for (const a of kept) this.state.apply("activity", "", JSON.stringify(a), 0, true);
    this.loaded = true;
    this.hooks.changed();
  }

  leave(): void {
    this.onScreen = false;
    clearTimeout(this.hiding);
    clearTimeout(this.slow);
    clearTimeout(this.hiccup);
    this.broken = this.lost = false;
    this.reader.stop();
    this.lively = false;
  }

  restart(): void {
    this.missing = false;
    this.reader.stop();
    this.reader.start();
  }

  nudge(quiet: number): void {
    this.reader.nudge(quiet);
  }

  // hide lets go of the stream of a tab that nobody looks at, unless an answer
  // runs: a browser opens only six connections to one host.
  hide(): void {
    clearTimeout(this.hiding);
    this.hiding = setTimeout(() => {
      if (this.state.running().length === 0) this.reader.stop();
      else this.hide();
    }, 60_000);
  }

  show(): void {
    clearTimeout(this.hiding);
    if (this.onScreen && this.link.state !== "closed") this.reader.start();
  }

  // saw reports whether the effect of what was asked for is in the log now.
  saw(i: Item): boolean {
    const s = this.state;
    if (i.kind === "reaction") return i.activity !== undefined;
    if (i.kind === "regenerate") return i.answer !== undefined && s.turns.has(i.answer);
    return s.byKey.has(i.key) || (i.activity !== undefined && s.byId.has(i.activity));
  }

  async stop(turn: string): Promise<void> {
    if (this.stopping.has(turn)) return;
    this.stopping.add(turn);
    this.hooks.changed();
    for (let n = 0; n < 8; n++) {
      const t = this.state.turns.get(turn);
      if (t && t.state !== "queued" && t.state !== "running") break;
      try {
        await this.line.api.stop(this.id, turn);
        return; // the log says the rest; the button stays "stopping" until then
      } catch (err) {
        if (!(err instanceof ApiError) || !err.again) break;
        await new Promise((done) => setTimeout(done, backoff(n)));
      }
    }
    this.stopping.delete(turn);
    this.hooks.changed();
  }

  // path is what is on screen, first to last.
  path(): Step[] {
    const s = this.steps;
    if (!s || s.state !== this.state || s.shape !== this.state.shape || s.choice !== this.choice) {
      this.steps = { shape: this.state.shape, state: this.state, choice: this.choice, path: path(this.state, this.choice) };
    }
    return this.steps!.path;
  }

  pick(choice: Map<string, string>): void {
    this.choice = choice;
    this.hooks.changed();
  }

  // watch calls f, at most once per frame, when the node's text or turn changed.
  watch(key: string, f: () => void): () => void {
    let set = this.listeners.get(key);
    if (!set) this.listeners.set(key, (set = new Set()));
    set.add(f);
    return () => set.delete(f);
  }

  private linked(l: Link): void {
    const before = this.link;
    this.link = l;
    if (l.state === "live") {
      this.live = performance.now();
      if (this.broken) this.hooks.back();
      this.broken = this.lost = false;
      clearTimeout(this.hiccup);
      clearTimeout(this.slow);
      this.slow = setTimeout(() => this.caughtUp(), 400); // an empty conversation says nothing
    } else if (l.state === "waiting" && !this.broken) {
      this.broken = true;
      this.hiccup = setTimeout(() => {
        this.lost = true;
        this.hooks.changed();
      }, 500);
    } else if (l.state === "closed") {
      if (l.status === 401) this.hooks.unauthenticated();
      else {
        this.missing = true;
        this.loaded = true;
      }
    }
    if (before.state !== l.state) this.hooks.changed();
  }

  private take(m: Message): void {
    const now = performance.now();
    const to = this.fresh ?? this.state;
    const running = m.event === "turn" || m.event === "activity" ? this.runningNow(to) : null;
    const outcome = to.apply(m.event, m.id, m.data, now, now - this.live < catchUp);
    if (outcome === "gap") {
      if (this.fresh || Date.now() - this.refetched < 2000) {
        if (m.id !== "") to.position = m.id; // go on; the answer's activity has the last word
        return;
      }
      this.refetched = Date.now();
      this.fresh = new ConversationState();
      this.reader.again();
      return;
    }
    if (running && this.lively && !this.fresh) this.tell(running);
  }

  private chunk(): void {
    if (this.fresh && Number(this.fresh.position) >= Number(this.state.position)) {
      this.state = this.fresh;
      this.fresh = null;
      this.shape = -1;
    }
    if (!this.due) {
      this.due = true;
      nextFrame(() => this.flush());
    }
  }

  private flush(): void {
    this.due = false;
    const s = this.state;
    const touched = [...s.touched];
    s.touched.clear();
    const first = !this.loaded && s.nodes.length > 0;
    if (first) this.caughtUp();
    if (s.shape !== this.shape) {
      this.shape = s.shape;
      for (const [turn] of this.stops()) this.stopping.delete(turn);
      if (s.title) this.hooks.titled(s.title);
      if (s.settings !== this.settings) this.hooks.arranged((this.settings = s.settings));
      const at = s.nodes.findLast((n) => n.time !== "")?.time;
      if (at) this.hooks.said(at);
      if (s.deleted) this.hooks.deleted();
      this.hooks.changed();
    }
    for (const n of touched) for (const f of [...(this.listeners.get(n.key) ?? [])]) f();
  }

  private *stops(): Iterable<[string]> {
    for (const turn of this.stopping) {
      const t = this.state.turns.get(turn);
      if (t && t.state !== "queued" && t.state !== "running") yield [turn];
    }
  }

  private caughtUp(): void {
    this.lively = true;
    if (this.loaded) return;
    this.loaded = true;
    this.hooks.changed();
  }

  // ---- for those who listen: one sentence when an answer begins, one at its end

  private runningNow(s: ConversationState): Map<string, string> {
    return new Map([...s.turns.values()].map((t) => [t.id, t.state]));
  }

  private tell(before: Map<string, string>): void {
    for (const t of this.state.turns.values()) {
      const was = before.get(t.id);
      if (was === t.state) continue;
      const n: Node | undefined = this.state.byKey.get(t.id);
      if (t.state === "running" && was !== "running") this.hooks.announce(words.announceStart);
      else if (t.state === "done") {
        this.hooks.announce(words.announceDone((n?.text ?? "").replace(/\s+/g, " ").slice(0, 600)));
        this.hooks.answered?.(n?.text ?? "");
      }
      else if (t.state === "stopped") this.hooks.announce(words.announceStopped);
      else if (t.state === "failed") this.hooks.announce(words.announceFailed);
    }
  }
}
