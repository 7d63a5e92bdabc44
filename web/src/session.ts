// Session is the page's state: who we are, what can be talked to, the list,
// the conversation on screen, what waits to be sent. Components read it and
// call it; it knows nothing of them.
import { api, ApiError } from "./api.ts";
import { Bell } from "./bell.ts";
import { Outbox, type Item } from "./outbox.ts";
import { Open } from "./open.ts";
import { backoff } from "./sse.ts";
import { choose, follow } from "./tree.ts";
import type { Conversation, Hit, Info } from "./types.ts";
import { uuid } from "./uuid.ts";
import { words } from "./words.ts";

export type Load = "idle" | "loading" | "ready" | "failed";

export class Session {
  readonly bell = new Bell(); // rings when anything but the text of a running answer changed
  info: Info | null = null;
  infoFailed = false;
  problem = ""; // why the node does not serve us, in its words
  login = false;
  online = typeof navigator === "undefined" || navigator.onLine;

  list: Conversation[] = [];
  listLoad: Load = "idle";
  listNext = "";

  query = "";
  hits: Hit[] = [];
  searchLoad: Load = "idle";

  draft = uuid(); // names the conversation that the empty page would begin
  current: Open | null = null; // null: the empty page
  target = ""; // activity to show, from a search hit
  announcement = "";

  readonly outbox: Outbox;
  private born = "";
  private readonly kept = new Map<string, Open>(); // newest last
  private searchNo = 0;
  private searchTimer: ReturnType<typeof setTimeout> | undefined;
  private infoTimer: ReturnType<typeof setTimeout> | undefined;
  private infoTries = 0;
  private renewed = 0;

  constructor() {
    this.outbox = new Outbox({
      store: storage(),
      create: async (key, bot) => {
        const c = await api.create(key, bot);
        this.insert(c);
        return c;
      },
      send: (item) => this.submit(item),
      onChange: () => this.bell.ring(),
      onUnauthenticated: () => void this.unauthenticated(),
      onCreated: (draft, id) => this.created(draft, id),
      lock: lock(),
    });
  }

  // start reads the address and begins. Call once.
  start(): void {
    addEventListener("popstate", () => this.route());
    addEventListener("hashchange", () => this.route());
    addEventListener("online", () => {
      this.online = true;
      this.back();
    });
    addEventListener("offline", () => {
      this.online = false;
      this.bell.ring();
    });
    addEventListener("storage", (e) => {
      if (e.key === null || e.key.startsWith("parley.outbox")) this.outbox.reread();
    });
    document.addEventListener("visibilitychange", () => this.visible());
    addEventListener("pageshow", (e) => {
      if (e.persisted) this.back();
    });
    this.tidy();
    this.route();
    void this.refreshInfo();
    void this.refreshList();
    void this.outbox.flush();
  }

  // tidy drops what an earlier visit had acknowledged already, and takes up a
  // first message: one that was not sent yet, or one whose conversation was
  // made while the page was being reloaded, so that the address did not say it.
  private tidy(): void {
    const cut = this.outbox.items().findLast((i) => i.draft !== "" && i.conversation !== "" && (i.activity === undefined || Date.now() - i.created < 60_000));
    if (cut && location.pathname === "/" && location.hash === "") history.replaceState(null, "", place(cut.conversation));
    for (const i of this.outbox.items()) {
      if (i.activity !== undefined || i.answer !== undefined) this.outbox.settle(i.key);
    }
    const waiting = this.outbox.items().find((i) => i.conversation === "");
    if (waiting) this.draft = waiting.draft;
  }

  // back is called when the world may be reachable again.
  private back(): void {
    this.outbox.resume();
    this.current?.nudge(5_000);
    void this.refreshInfo();
    void this.refreshList();
    this.bell.ring();
  }

  private visible(): void {
    if (document.visibilityState === "hidden") {
      this.current?.hide();
      return;
    }
    this.current?.show();
    this.current?.nudge(20_000);
    this.outbox.resume();
    void this.refreshList();
  }

  // ---- where we are

  private route(): void {
    const hash = /^#\/c\/([^/?]+)/.exec(location.hash)?.[1];
    const id = decode(hash ?? /^\/c\/([^/]+)/.exec(location.pathname)?.[1] ?? "");
    if (hash) history.replaceState(null, "", place(id));
    this.show(id);
  }

  // go shows a conversation ("" = the empty page) and writes the address.
  go(id: string, activity = ""): void {
    this.target = activity;
    const to = place(id);
    if (location.pathname !== to) history.pushState(null, "", to);
    this.show(id);
  }

  private show(id: string): void {
    if (this.current?.id === id && id !== "") {
      this.reveal();
      this.bell.ring();
      return;
    }
    this.current?.leave();
    this.current = null;
    if (id !== "") {
      const known = this.kept.get(id);
      this.current = known ?? new Open(id, this.hooks(id));
      this.kept.delete(id);
      this.kept.set(id, this.current);
      for (const old of this.kept.keys()) {
        if (this.kept.size <= 8) break;
        this.kept.delete(old);
      }
      this.current.enter(this.born === id);
    }
    this.bell.ring();
  }

  private hooks(id: string) {
    return {
      changed: () => {
        this.reveal();
        this.settle(id);
        this.bell.ring();
      },
      titled: (title: string) => this.patch(id, { title }),
      said: (at: string) => this.patch(id, { updated: at }),
      deleted: () => this.removed(id),
      unauthenticated: () => void this.unauthenticated(),
      back: () => {
        if (this.outbox.items().length > 0) this.outbox.resume();
        void this.refreshInfo();
      },
      announce: (text: string) => {
        this.announcement = text;
        this.bell.ring();
      },
    };
  }

  // reveal turns to the branch that holds the activity of a search hit.
  private reveal(): void {
    const c = this.current;
    const node = this.target ? c?.state.byId.get(this.target) : undefined;
    if (c && node) c.choice = choose(c.state, c.choice, node);
  }

  // settle forgets outbox items whose effect is in the log now.
  private settle(id: string): void {
    const state = this.kept.get(id)?.state;
    if (!state) return;
    for (const i of this.outbox.items()) {
      if (i.conversation !== id) continue;
      const seen = i.kind === "message" ? (i.activity ? state.byId.has(i.activity) : state.byKey.has(i.key)) : i.answer !== undefined && state.turns.has(i.answer);
      if (seen) this.outbox.settle(i.key);
    }
  }

  // ---- talking

  // say sends a message, or one that replaces another in a new branch.
  say(text: string, edits?: string): void {
    const c = this.current;
    const steps = c?.path() ?? [];
    this.outbox.add({
      key: uuid(),
      kind: "message",
      conversation: c?.id ?? "",
      draft: c ? "" : this.draft,
      text,
      edits,
      parent: edits ? undefined : steps.findLast((s) => s.node.id !== "")?.node.id,
      created: Date.now(),
    });
    if (c) c.choice = follow(c.state, c.choice);
  }

  again(turn: string): void {
    const c = this.current;
    if (!c || this.outbox.items().some((i) => i.turn === turn && i.failed === undefined)) return;
    this.outbox.add({ key: uuid(), kind: "regenerate", conversation: c.id, draft: "", text: "", turn, created: Date.now() });
    c.choice = follow(c.state, c.choice);
  }

  async stop(turn: string): Promise<void> {
    const c = this.current;
    if (!c || c.stopping.has(turn)) return;
    c.stopping.add(turn);
    this.bell.ring();
    for (let n = 0; n < 8; n++) {
      const t = c.state.turns.get(turn);
      if (t && t.state !== "queued" && t.state !== "running") break;
      try {
        await api.stop(c.id, turn);
        return; // the log says the rest; the button stays "stopping" until then
      } catch (err) {
        if (!(err instanceof ApiError) || !err.again) break;
        await new Promise((done) => setTimeout(done, backoff(n)));
      }
    }
    c.stopping.delete(turn);
    this.bell.ring();
  }

  private async submit(item: Item): Promise<{ id?: string; turn: string }> {
    if (item.kind === "regenerate") return api.regenerate(item.conversation, item.turn ?? "", item.key);
    const parley = { ...(item.edits ? { edits: item.edits } : {}), ...(item.parent ? { parent: item.parent } : {}) };
    const done = await api.send(item.conversation, item.key, {
      type: "message",
      text: item.text,
      channelData: { parley, client: { key: item.key } },
    });
    this.patch(item.conversation, { updated: new Date().toISOString() });
    // A conversation that is not on screen will not show it: nothing to wait for.
    if (this.current?.id !== item.conversation) queueMicrotask(() => this.outbox.settle(item.key));
    return done;
  }

  // draftTaken reports whether the empty page just became this conversation.
  draftTaken(id: string): boolean {
    return this.born === id;
  }

  private created(draft: string, id: string): void {
    if (this.current === null && this.draft === draft) {
      this.born = id;
      history.replaceState(null, "", place(id));
      this.show(id);
    }
    if (this.draft === draft) this.draft = uuid();
  }

  // waiting lists what was asked for here and is not in the log yet.
  waiting(): Item[] {
    const c = this.current;
    return this.outbox.items().filter((i) => {
      if (!c) return i.conversation === "" && i.draft === this.draft;
      if (i.conversation !== c.id) return false;
      if (i.kind === "regenerate") return i.answer === undefined || !c.state.turns.has(i.answer);
      return !c.state.byKey.has(i.key) && (i.activity === undefined || !c.state.byId.has(i.activity));
    });
  }

  // ---- the list

  async refreshList(): Promise<void> {
    if (this.listLoad === "loading" || this.login) return;
    const before = this.listLoad;
    this.listLoad = before === "ready" ? "ready" : "loading";
    this.bell.ring();
    try {
      const page = await api.conversations();
      const fresh = page.conversations ?? [];
      const ids = new Set(fresh.map((c) => c.id));
      const oldest = when(fresh.at(-1)?.updated);
      // Pages loaded before stay; what the first page should hold and does not is gone.
      const rest = page.next ? this.list.filter((c) => !ids.has(c.id) && when(c.updated) < oldest) : [];
      if (rest.length === 0) this.listNext = page.next ?? "";
      this.list = [...fresh, ...rest];
      this.listLoad = "ready";
    } catch (err) {
      this.listLoad = this.list.length > 0 ? "ready" : "failed";
      if (err instanceof ApiError && err.status === 401) void this.unauthenticated();
    }
    this.bell.ring();
  }

  async older(): Promise<void> {
    if (!this.listNext) return;
    try {
      const page = await api.conversations(this.listNext);
      const known = new Set(this.list.map((c) => c.id));
      this.list = [...this.list, ...(page.conversations ?? []).filter((c) => !known.has(c.id))];
      this.listNext = page.next ?? "";
    } catch {
      // The button is still there.
    }
    this.bell.ring();
  }

  titleOf(id: string): string {
    const c = this.kept.get(id)?.state.title || this.list.find((x) => x.id === id)?.title;
    return c || words.untitled;
  }

  private insert(c: Conversation): void {
    const now = new Date().toISOString();
    this.list = [{ ...c, title: c.title ?? "", created: c.created ?? now, updated: c.updated ?? now }, ...this.list.filter((x) => x.id !== c.id)];
    this.bell.ring();
  }

  private patch(id: string, change: Partial<Conversation>): void {
    const old = this.list.find((c) => c.id === id);
    if (!old) return;
    const c = { ...old, ...change };
    if (change.updated && when(change.updated) <= when(old.updated)) c.updated = old.updated;
    if (c.title === old.title && c.updated === old.updated) return;
    this.list = this.list.map((x) => (x.id === id ? c : x)).sort((a, b) => when(b.updated) - when(a.updated));
    this.bell.ring();
  }

  async rename(id: string, title: string): Promise<void> {
    await api.rename(id, title);
    this.patch(id, { title });
    const open = this.kept.get(id);
    if (open) open.state.title = title;
    this.bell.ring();
  }

  async remove(id: string): Promise<void> {
    await api.remove(id);
    this.removed(id);
    if (this.current?.id === id) this.go("");
  }

  private removed(id: string): void {
    this.list = this.list.filter((c) => c.id !== id);
    this.hits = this.hits.filter((h) => h.conversation !== id);
    this.outbox.forget(id);
    if (this.current?.id !== id) this.kept.delete(id);
    this.bell.ring();
  }

  search(q: string): void {
    this.query = q;
    clearTimeout(this.searchTimer);
    const no = ++this.searchNo;
    if (q.trim() === "") {
      this.hits = [];
      this.searchLoad = "idle";
      this.bell.ring();
      return;
    }
    this.searchLoad = "loading";
    this.bell.ring();
    this.searchTimer = setTimeout(async () => {
      try {
        const { hits } = await api.search(q.trim());
        if (no !== this.searchNo) return;
        this.hits = hits ?? [];
        this.searchLoad = "ready";
      } catch (err) {
        if (no !== this.searchNo) return;
        this.searchLoad = "failed";
        if (err instanceof ApiError && err.status === 401) void this.unauthenticated();
      }
      this.bell.ring();
    }, 150);
  }

  // ---- the node

  async refreshInfo(): Promise<void> {
    clearTimeout(this.infoTimer);
    try {
      this.info = await api.info();
      this.infoFailed = false;
      this.problem = "";
      this.infoTries = 0;
    } catch (err) {
      this.infoFailed = true;
      this.problem = err instanceof ApiError ? err.message : "";
      if (err instanceof ApiError && err.status === 401) {
        void this.unauthenticated();
        return;
      }
    }
    const settled = !this.infoFailed && this.info?.engine?.ready !== false;
    if (!settled) this.infoTimer = setTimeout(() => void this.refreshInfo(), this.infoFailed ? backoff(this.infoTries++, 10_000) : 2000);
    this.bell.ring();
  }

  // unauthenticated tries once to be given a new session, then asks for a key.
  private async unauthenticated(): Promise<void> {
    if (this.login) return;
    if (Date.now() - this.renewed > 30_000) {
      this.renewed = Date.now();
      try {
        await api.renew();
        await api.info();
        this.resume();
        return;
      } catch {
        // No session for the asking here.
      }
    } else if (Date.now() - this.renewed < 3_000) {
      return; // the renewal above is under way
    }
    this.login = true;
    this.bell.ring();
  }

  async enter(key: string): Promise<void> {
    await api.login(key);
    this.login = false;
    this.resume();
  }

  private resume(): void {
    this.listLoad = this.list.length > 0 ? "ready" : "idle";
    this.outbox.resume();
    this.current?.restart();
    void this.refreshInfo();
    void this.refreshList();
    this.bell.ring();
  }
}

export const place = (id: string): string => (id === "" ? "/" : `/c/${encodeURIComponent(id)}`);

// when is a time in ms; servers write fractions of different lengths, so the
// texts cannot be compared.
const when = (s: string | undefined): number => Date.parse(s ?? "") || 0;

function decode(s: string): string {
  try {
    return decodeURIComponent(s);
  } catch {
    return s;
  }
}

function storage(): Storage | null {
  try {
    localStorage.setItem("parley.probe", "1");
    localStorage.removeItem("parley.probe");
    return localStorage;
  } catch {
    return null;
  }
}

function lock(): (<T>(work: () => Promise<T>) => Promise<T>) | undefined {
  if (typeof navigator === "undefined" || !navigator.locks) return undefined;
  return <T>(work: () => Promise<T>): Promise<T> => navigator.locks.request("parley.outbox", work) as Promise<T>;
}

