// Session is the page's state: who we are, what can be talked to, the list,
// the conversation on screen, what waits to be sent. Components read it and
// call it; it knows nothing of them.
import { ApiError } from "./api.ts";
import { Bell } from "./bell.ts";
import { api, world } from "./here.ts";
import { known, seeing, trunk, upload } from "./files.ts";
import { Keep } from "./keep.ts";
import { kept } from "./kept.ts";
import { Outbox, type Item, type Luggage } from "./outbox.ts";
import { Open } from "./open.ts";
import type { Reaction } from "./conversation.ts";
import { backoff } from "./sse.ts";
import { Snippets } from "./snippets.ts";
import { Aloud } from "./speech/aloud.ts";
import { choose, follow } from "./tree.ts";
import { storage } from "./stored.ts";
import { oneLine, titleFrom } from "./text.ts";
import type { Attachment, Conversation, Hit, Info, Params, Settings, Share, Tag } from "./types.ts";
import { uuid } from "./uuid.ts";
import { paint } from "./theme.ts";
import { language, locale, speak, words } from "./words.ts";

// Asked names the dialog that is open.
export type Asked = "" | "preferences" | "keys" | "settings" | "tree" | "snippets";

// Chosen is how the answers of a conversation are made.
export type Chosen = { model: string; system: string; params: Params };

const nothing: Chosen = { model: "", system: "", params: {} };

// own reports whether anything is chosen at all.
export const own = (c: Chosen): boolean => c.model !== "" || c.system !== "" || Object.keys(c.params).length > 0;

// Toast is a short word about what was done, and how to undo it.
export type Toast = { key: string; text: string; undo?: () => Promise<void> };

export type Load = "idle" | "loading" | "ready" | "failed";

export class Session {
  readonly bell = new Bell(); // rings when anything but the text of a running answer changed
  info: Info | null = null;
  infoFailed = false;
  problem = ""; // why the node does not serve us, in its words
  login = false;
  online = typeof navigator === "undefined" || navigator.onLine;

  list: Conversation[] = []; // what is not archived
  pinned: Conversation[] = []; // of that, what is pinned, however old
  archive: Conversation[] | null = null; // null: not on screen
  listLoad: Load = "idle";
  listNext = "";
  tags: Tag[] = []; // the reader's, the most used ones first
  tag = ""; // only what has it is listed and searched

  query = "";
  hits: Hit[] = [];
  searchLoad: Load = "idle";

  worldOpen = recall("parley.world.open") === "1";

  draft = uuid(); // names the conversation that the empty page would begin
  chosen: Chosen = nothing; // for that conversation
  current: Open | null = null; // null: the empty page
  target = ""; // activity to show, from a search hit
  marks: string[] = []; // what the search hit on screen has in common with the question
  announcement = "";
  toast: Toast | null = null;
  asked: Asked = ""; // the dialog of the whole page that is open
  theme = recall("parley.theme"); // "" = the system's
  tongue = recall("parley.language"); // "" = the browser's

  private seeing: string[] | null = null; // models that read pictures; null: not asked

  readonly outbox: Outbox;
  readonly snippets = new Snippets(() => this.bell.ring());
  readonly aloud = new Aloud({
    changed: () => this.bell.ring(),
    failed: () => this.tell(words.noVoice),
    instead: () => words.instead,
    language: () => locale ?? language,
    rate: () => Number(recall("parley.rate")) || 1,
  });
  // quote puts a passage into the message box, which says here how.
  quote: (passage: string) => void = () => {};
  private readonly keep = new Keep();
  private keeping: ReturnType<typeof setTimeout> | undefined;
  private born = "";
  private readonly kept = new Map<string, Open>(); // newest last
  private searchNo = 0;
  private searchTimer: ReturnType<typeof setTimeout> | undefined;
  private infoTimer: ReturnType<typeof setTimeout> | undefined;
  private infoTries = 0;
  private renewed = 0;

  constructor() {
    this.outbox = new Outbox({
      store: storage(() => localStorage),
      create: async (key, item) => {
        const c = await api.create(key, item.home, item.bot);
        if (item.chosen) await api.change(c.id, item.chosen); // before anything is said in it
        this.insert(c);
        return c;
      },
      send: (item) => this.submit(item),
      onChange: () => this.bell.ring(),
      onUnauthenticated: () => void this.unauthenticated(),
      onCreated: (draft, id) => this.created(draft, id),
      onGone: (item) => void trunk.drop((item.files ?? []).map((f) => f.id)),
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
    world.onChange = () => this.bell.ring();
    world.onMove = () => this.moved();
    world.watch(this.worldOpen);
    this.tidy();
    void trunk.tidy();
    this.route();
    void this.recallLists();
    void this.refreshInfo();
    void this.refreshList();
    void this.outbox.flush();
  }

  // recallLists shows the lists of the last visit until the node answers.
  private async recallLists(): Promise<void> {
    const kept = await this.keep.lists();
    if (!kept || this.list.length > 0 || this.pinned.length > 0 || this.login) return;
    this.list = kept.list;
    this.pinned = kept.pinned;
    if (this.listLoad === "failed") this.listLoad = "ready";
    this.bell.ring();
  }

  private keepLists(): void {
    if (this.info?.user && this.tag === "") void this.keep.putLists(this.info.user, this.list, this.pinned);
  }

  // keepSoon keeps a conversation in this browser once it has come to rest.
  private keepSoon(id: string): void {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      const s = this.kept.get(id)?.state;
      if (!s || s.deleted || s.settings.trashed || s.running().length > 0 || s.position === "") return;
      this.keepLists();
      const all = s.nodes.flatMap((n) => (n.activity ? [n.activity] : []));
      if (all.length > 0) void this.keep.put(id, this.titleOf(id), all);
    }, 1000);
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

  // moved is called when another region serves us from now on.
  private moved(): void {
    this.outbox.resume();
    this.current?.nudge(1000);
    void this.refreshInfo();
  }

  // region is the one that serves us.
  region(): string {
    return world.here()?.name ?? this.info?.region ?? "";
  }

  showWorld(on: boolean): void {
    this.worldOpen = on;
    remember("parley.world.open", on ? "1" : "");
    world.watch(on);
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
  go(id: string, activity = "", marks: string[] = []): void {
    this.target = activity;
    this.marks = marks;
    const to = place(id);
    if (location.pathname !== to) history.pushState(null, "", to);
    this.show(id);
  }

  // step goes to the conversation that many places down the list.
  step(by: number): void {
    const pinned = new Set(this.pinned.map((c) => c.id));
    const all = [...this.pinned, ...this.list.filter((c) => !pinned.has(c.id))];
    const i = all.findIndex((c) => c.id === this.current?.id);
    const to = all[i < 0 ? 0 : i + by];
    if (to) this.go(to.id);
  }

  private show(id: string): void {
    if (this.current?.id === id && id !== "") {
      this.reveal();
      this.bell.ring();
      return;
    }
    this.current?.leave();
    this.aloud.stop();
    this.current = null;
    if (id !== "") {
      const known = this.kept.get(id);
      this.current = known ?? new Open(id, { api, world }, this.hooks(id));
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
        this.keepSoon(id);
        if (this.kept.get(id)?.missing) void this.keep.drop(id);
        this.bell.ring();
      },
      kept: () => this.keep.conversation(id),
      titled: (title: string) => this.patch(id, { title }),
      arranged: (s: Settings) => this.arranged(id, s),
      said: (at: string) => this.patch(id, { updated: at }),
      deleted: () => this.removed(id),
      unauthenticated: () => void this.unauthenticated(),
      back: () => {
        if (this.outbox.items().length > 0) this.outbox.resume();
        void this.refreshInfo();
      },
      announce: (text: string) => this.announce(text),
    };
  }

  // reveal turns to the branch that holds the activity of a search hit.
  private reveal(): void {
    const c = this.current;
    const node = this.target ? c?.state.shown(this.target) : undefined;
    if (node && node.id !== this.target) this.target = node.id; // what was found is about it
    if (c && node) c.choice = choose(c.state, c.choice, node);
  }

  // settle forgets outbox items whose effect is in the log now.
  private settle(id: string): void {
    const open = this.kept.get(id);
    for (const i of this.outbox.items()) if (i.conversation === id && open?.saw(i)) this.outbox.settle(i.key);
  }

  // ---- talking

  // say sends a message, or one that replaces another in a new branch. Files may
  // go along: new ones, and those that the other one carried.
  say(text: string, edits?: string, files: Luggage[] = [], carried: Attachment[] = []): void {
    const c = this.current;
    const steps = c?.path() ?? [];
    this.outbox.add({
      key: uuid(),
      kind: "message",
      conversation: c?.id ?? "",
      draft: c ? "" : this.draft,
      text,
      files: files.length > 0 ? files : undefined,
      carried: carried.length > 0 ? carried : undefined,
      edits,
      home: c ? undefined : this.region(),
      chosen: !c && own(this.chosen) ? this.chosen : undefined,
      parent: edits ? undefined : steps.findLast((s) => s.node.id !== "")?.node.id,
      created: Date.now(),
    });
    if (c) c.choice = follow(c.state, c.choice);
  }

  // again asks for another answer; onward: for one that goes on where that of
  // the turn ended.
  again(turn: string, onward = false): void {
    const c = this.current;
    if (!c || this.outbox.items().some((i) => i.turn === turn && i.failed === undefined)) return;
    this.outbox.add({ key: uuid(), kind: "regenerate", conversation: c.id, draft: "", text: "", turn, onward, created: Date.now() });
    c.choice = follow(c.state, c.choice);
  }

  // react says what the reader thinks of an answer; the same again takes it
  // back. It goes out as messages do, and is a fact of the log.
  react(id: string, what: Reaction, why = ""): void {
    const c = this.current;
    const was = this.reactionTo(id);
    if (!c || id === "") return;
    const back = was === what && why === "";
    this.outbox.add({
      key: uuid(),
      kind: "reaction",
      conversation: c.id,
      draft: "",
      text: why,
      on: id,
      ...(back ? { removed: what } : { added: what }),
      created: Date.now(),
    });
  }

  // reactionTo is what the reader thinks of an activity, as far as he has said.
  reactionTo(id: string): Reaction | undefined {
    const waiting = this.outbox.items().findLast((i) => i.kind === "reaction" && i.on === id && i.failed === undefined);
    if (waiting) return waiting.added as Reaction | undefined;
    return this.current?.state.byId.get(id)?.reaction;
  }

  private async submit(item: Item): Promise<{ id?: string; turn?: string }> {
    if (item.kind === "reaction") {
      return api.send(item.conversation, item.key, {
        type: "messageReaction",
        replyToId: item.on,
        ...(item.added ? { reactionsAdded: [{ type: item.added }] } : {}),
        ...(item.removed ? { reactionsRemoved: [{ type: item.removed }] } : {}),
        ...(item.text ? { text: item.text } : {}),
      });
    }
    if (item.onward) return api.onward(item.conversation, item.turn ?? "", item.key);
    if (item.kind === "regenerate") return api.regenerate(item.conversation, item.turn ?? "", item.key);
    const attachments = [...(item.carried ?? []), ...(await this.uploaded(item))];
    const parley = { ...(item.edits ? { edits: item.edits } : {}), ...(item.parent ? { parent: item.parent } : {}) };
    const done = await api.send(item.conversation, item.key, {
      type: "message",
      text: item.text,
      ...(attachments.length > 0 ? { attachments } : {}),
      channelData: { parley, client: { key: item.key } },
    });
    this.patch(item.conversation, { updated: new Date().toISOString() });
    // A conversation that is not on screen will not show it: nothing to wait for.
    if (this.current?.id !== item.conversation) queueMicrotask(() => this.outbox.settle(item.key));
    return done;
  }

  // uploaded has the files of a message in the log, each under a key of its own:
  // a try after a broken one keeps none twice.
  private async uploaded(item: Item): Promise<Attachment[]> {
    const files = item.files ?? [];
    const out: Attachment[] = [];
    const p = this.outbox.of(item.key);
    for (const [i, f] of files.entries()) {
      const blob = await trunk.get(f.id);
      if (!blob) throw new ApiError(400, "gone", words.fileGone(f.name), null);
      if (p) p.part = words.fileSending(f.name, i + 1, files.length);
      this.bell.ring();
      const at = await upload(item.conversation, `${item.key}.${i}`, f.name, new Blob([blob], { type: f.type }));
      if (f.kind === "picture" && at.contentUrl) known(at.contentUrl, blob, f.type);
      out.push(at);
    }
    if (p) p.part = undefined;
    return out;
  }

  // announce says something to those who don't see the page.
  announce(text: string): void {
    this.announcement = text;
    this.bell.ring();
  }

  // sees reports whether who answers here can be shown pictures; undefined while
  // that is not known.
  sees(open: Open | null): boolean | undefined {
    const model = this.settings(open).model;
    if (model === "") {
      const bot = open && this.known(open.id)?.bot;
      const bots = this.info?.bots ?? [];
      return this.info ? (bots.find((b) => b.id === bot) ?? bots[0])?.vision === true : undefined;
    }
    if (!this.seeing) {
      this.seeing = [];
      seeing().then(
        (all) => {
          this.seeing = all;
          this.bell.ring();
        },
        () => (this.seeing = null),
      );
      return undefined;
    }
    return this.seeing.includes(model);
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
    if (this.draft === draft) {
      this.draft = uuid();
      this.chosen = nothing;
    }
  }

  // waiting lists what was asked for here and is not in the log yet.
  waiting(): Item[] {
    const c = this.current;
    return this.outbox.items().filter((i) => {
      if (i.kind === "reaction") return false; // seen at what it is to
      if (!c) return i.conversation === "" && i.draft === this.draft;
      return i.conversation === c.id && !c.saw(i);
    });
  }

  // ---- the list

  async refreshList(): Promise<void> {
    if (this.listLoad === "loading" || this.login) return;
    const before = this.listLoad;
    this.listLoad = before === "ready" ? "ready" : "loading";
    this.bell.ring();
    try {
      const tag = this.tag;
      const [page, pinned, tags] = await Promise.all([api.conversations("", "", tag), api.conversations("pinned", "", tag), kept.tags()]);
      this.tags = tags.tags ?? [];
      if (tag !== "" && tag === this.tag && !this.tags.some((t) => t.name === tag)) this.tag = ""; // nothing has it any more
      if (tag !== this.tag) {
        this.listLoad = "idle";
        void this.refreshList();
        return;
      }
      this.pinned = pinned.conversations ?? [];
      const fresh = page.conversations ?? [];
      const ids = new Set(fresh.map((c) => c.id));
      const oldest = when(fresh.at(-1)?.updated);
      // Pages loaded before stay; what the first page should hold and does not is gone.
      const rest = page.next ? this.list.filter((c) => !ids.has(c.id) && when(c.updated) < oldest) : [];
      if (rest.length === 0) this.listNext = page.next ?? "";
      this.list = [...fresh, ...rest];
      this.listLoad = "ready";
      this.keepLists();
    } catch (err) {
      this.listLoad = this.list.length > 0 ? "ready" : "failed";
      if (err instanceof ApiError && err.status === 401) void this.unauthenticated();
    }
    this.bell.ring();
  }

  async older(): Promise<void> {
    if (!this.listNext) return;
    try {
      const page = await api.conversations("", this.listNext, this.tag);
      const known = new Set(this.list.map((c) => c.id));
      this.list = [...this.list, ...(page.conversations ?? []).filter((c) => !known.has(c.id))];
      this.listNext = page.next ?? "";
    } catch {
      // The button is still there.
    }
    this.bell.ring();
  }

  titleOf(id: string): string {
    return oneLine(this.kept.get(id)?.state.title || this.known(id)?.title || words.untitled);
  }

  // known is what the lists hold of a conversation.
  known(id: string): Conversation | undefined {
    for (const list of [this.list, this.pinned, this.archive ?? []]) {
      const c = list.find((x) => x.id === id);
      if (c) return c;
    }
    return undefined;
  }

  // proposals are titles that suit what was said.
  proposals(id: string): string[] {
    const said = this.kept.get(id)?.state.nodes.filter((n) => n.role === "user" && n.text.trim() !== "") ?? [];
    const all = [said[0], said.at(-1)].map((n) => titleFrom(n?.text ?? "")).filter((t) => t !== "" && t !== this.titleOf(id));
    return [...new Set(all)];
  }

  private insert(c: Conversation): void {
    const now = new Date().toISOString();
    this.list = [{ ...c, title: c.title ?? "", created: c.created ?? now, updated: c.updated ?? now }, ...this.list.filter((x) => x.id !== c.id)];
    this.bell.ring();
  }

  private patch(id: string, change: Partial<Conversation>): void {
    const in_ = (list: Conversation[]): Conversation[] => {
      const old = list.find((c) => c.id === id);
      if (!old) return list;
      const c = { ...old, ...change };
      if (change.updated && when(change.updated) <= when(old.updated)) c.updated = old.updated;
      if (c.title === old.title && c.updated === old.updated) return list;
      return list.map((x) => (x.id === id ? c : x)).sort(newestFirst);
    };
    const was = [this.list, this.pinned, this.archive];
    this.list = in_(this.list);
    this.pinned = in_(this.pinned);
    this.archive = this.archive && in_(this.archive);
    if (was[0] !== this.list || was[1] !== this.pinned || was[2] !== this.archive) this.bell.ring();
  }

  async rename(id: string, title: string): Promise<void> {
    await api.change(id, { title });
    this.patch(id, { title });
    const open = this.kept.get(id);
    if (open) open.state.title = title;
    this.bell.ring();
  }

  async pin(id: string, on: boolean): Promise<void> {
    await this.arrange(id, { pinned: on });
  }

  async shelve(id: string, on: boolean): Promise<void> {
    const title = this.titleOf(id);
    if (!(await this.arrange(id, { archived: on }))) return;
    this.tell(on ? words.archived(title) : words.unarchived(title), async () => void (await this.arrange(id, { archived: !on })));
  }

  // trash deletes a conversation; for a while it can be taken back.
  async trash(id: string): Promise<void> {
    const title = this.titleOf(id);
    if (!(await this.arrange(id, { trashed: true }))) return;
    void this.keep.drop(id);
    const here = this.current?.id === id;
    if (here) this.go("");
    this.tell(words.trashed(title), async () => {
      if ((await this.arrange(id, { trashed: false })) && here && this.current === null) this.go(id);
    });
  }

  async restore(id: string): Promise<void> {
    if (await this.arrange(id, { trashed: false })) this.toast = null;
    this.bell.ring();
  }

  // configure says how the next answers of a conversation are made.
  async configure(open: Open | null, change: Chosen): Promise<void> {
    if (open) await api.change(open.id, change); // the log tells the rest
    else this.chosen = change;
    this.bell.ring();
  }

  // settings are those of a conversation, or of the one that the empty page
  // would begin.
  settings(open: Open | null): Chosen {
    return open ? open.state.settings : this.chosen;
  }

  // find brings a message of the conversation on screen into view.
  find(activity: string): void {
    this.target = activity;
    this.marks = [];
    this.bell.ring();
  }

  // arrange changes what is chosen for a conversation, first on screen; it
  // reports whether the log has it.
  private async arrange(id: string, change: Partial<Settings>): Promise<boolean> {
    const before = this.known(id);
    this.arranged(id, change, before);
    try {
      await api.change(id, change);
      void this.refreshList();
      return true;
    } catch (err) {
      if (err instanceof ApiError && err.status === 401) void this.unauthenticated();
      this.tell(words.notDone(err instanceof ApiError ? err.message : ""));
      void this.refreshList();
      return false;
    } finally {
      if (this.archive) void this.showArchive(true);
    }
  }

  // arranged puts a conversation where its settings say, in the lists at hand.
  private arranged(id: string, s: Partial<Settings>, c = this.known(id)): void {
    if (!c) return;
    const now = { ...c, pinned: s.pinned ?? c.pinned, archived: s.archived ?? c.archived, tags: s.tags ?? c.tags };
    const put = (list: Conversation[], there: boolean): Conversation[] => {
      const rest = list.filter((x) => x.id !== id);
      return there ? [...rest, now].sort(newestFirst) : rest;
    };
    const gone = s.trashed === true || (this.tag !== "" && now.tags?.includes(this.tag) === false);
    this.list = put(this.list, !gone && !now.archived);
    this.pinned = put(this.pinned, !gone && !now.archived && now.pinned === true);
    this.archive = this.archive && put(this.archive, !gone && now.archived === true);
    if (gone) this.hits = this.hits.filter((h) => h.conversation !== id);
    this.bell.ring();
  }

  // only lists what has a tag; "" lists everything again.
  only(tag: string): void {
    this.tag = this.tag === tag ? "" : tag;
    this.list = [];
    this.pinned = [];
    this.listNext = "";
    void this.refreshList();
    this.search(this.query);
  }

  async retag(id: string, tags: string[]): Promise<void> {
    await api.change(id, { tags });
    this.arranged(id, { tags });
    void this.refreshList();
  }

  // share makes the link to a conversation, or changes what it shows.
  async share(id: string, live: boolean): Promise<Share> {
    const open = this.current?.id === id ? this.current : undefined;
    const c = await kept.share(id, live, open?.path().findLast((s) => s.node.activity)?.node.id);
    return c.share!;
  }

  // showArchive opens the list of what is archived, or closes it.
  async showArchive(on: boolean): Promise<void> {
    if (!on) this.archive = null;
    else {
      this.archive ??= [];
      try {
        const all: Conversation[] = [];
        for (let next: string | undefined = ""; next !== undefined && all.length < 500; ) {
          const page: { conversations: Conversation[]; next?: string } = await api.conversations("archived", next);
          all.push(...(page.conversations ?? []));
          next = page.next || undefined;
        }
        if (this.archive) this.archive = all;
      } catch (err) {
        this.tell(words.notDone(err instanceof ApiError ? err.message : ""));
      }
    }
    this.bell.ring();
  }

  ask(what: Asked): void {
    this.asked = what;
    this.bell.ring();
  }

  paint(theme: string): void {
    this.theme = theme;
    remember("parley.theme", theme);
    paint(theme);
    this.bell.ring();
  }

  speak(tongue: string): void {
    this.tongue = tongue;
    remember("parley.language", tongue);
    speak(tongue);
    document.documentElement.lang = language;
    this.bell.ring();
  }

  tell(text: string, undo?: () => Promise<void>): void {
    this.toast = { key: uuid(), text, undo };
    this.bell.ring();
  }

  hush(key: string): void {
    if (this.toast?.key === key) this.toast = null;
    this.bell.ring();
  }

  private removed(id: string): void {
    this.list = this.list.filter((c) => c.id !== id);
    this.pinned = this.pinned.filter((c) => c.id !== id);
    this.archive = this.archive && this.archive.filter((c) => c.id !== id);
    this.hits = this.hits.filter((h) => h.conversation !== id);
    this.outbox.forget(id);
    void this.keep.drop(id);
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
        const { hits } = await api.search(q.trim(), this.tag);
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
      if (this.listLoad === "ready") this.keepLists();
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
    world.forget();
    world.watch(this.worldOpen);
    this.snippets.forget();
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

const newestFirst = (a: Conversation, b: Conversation): number => when(b.updated) - when(a.updated) || (a.id < b.id ? 1 : -1);

function decode(s: string): string {
  try {
    return decodeURIComponent(s);
  } catch {
    return s;
  }
}

// remember keeps a choice of the reader for the next visit, where it may.
export function remember(slot: string, value: string): void {
  try {
    if (value === "") localStorage.removeItem(slot);
    else localStorage.setItem(slot, value);
  } catch {
    // It is forgotten with the page.
  }
}

export function recall(slot: string): string {
  try {
    return localStorage.getItem(slot) ?? "";
  } catch {
    return "";
  }
}

function lock(): (<T>(work: () => Promise<T>) => Promise<T>) | undefined {
  if (typeof navigator === "undefined" || !navigator.locks) return undefined;
  return <T>(work: () => Promise<T>): Promise<T> => navigator.locks.request("parley.outbox", work) as Promise<T>;
}

