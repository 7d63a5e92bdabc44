// Chat is the widget's state: one visitor, one conversation at a time. It keeps
// both for the site, so that they are the same on its next page and tomorrow.
import { ApiError } from "../api.ts";
import { Bell } from "../bell.ts";
import { Open } from "../open.ts";
import { Outbox, type Item, type Store } from "../outbox.ts";
import { uuid } from "../uuid.ts";
import { words } from "../talk.ts";
import { Guests } from "./guests.ts";

// Talk is what is kept of the conversation.
type Talk = {
  guest: string; // whose it is
  id: string; // "" = it is to be made
  draft: string; // the key that makes it once
  home: string; // region that it belongs to, the same for all tries to make it
  born: number; // when it was made here
  awaits: string; // the turn whose end no tab has seen yet; "" = none
  unread: boolean; // one came while no tab showed it
};

const none = (): Talk => ({ guest: "", id: "", draft: uuid(), home: "", born: 0, awaits: "", unread: false });

// A region may not have heard yet of what was made in another one. In ms.
const young = 60_000;

// put keeps a text where there is room for it; "" forgets it.
function put(store: Store | null, slot: string, text: string): void {
  try {
    if (text === "") store?.removeItem(slot);
    else store?.setItem(slot, text);
  } catch {
    // Full: it is forgotten with the page.
  }
}

export type Says = { open: void; close: void; message: { role: "user" | "bot"; text: string } };

export type ChatOptions = { home: string; bot: string; store: Store | null; tab: Store | null };

export class Chat {
  readonly bell = new Bell();
  readonly guests: Guests;
  readonly outbox: Outbox;
  current: Open | null = null;
  shown = false;
  touched = false; // opened by the visitor, who wants to be in it
  announcement = "";
  problem = ""; // why the service can't be talked to, in words
  online = navigator.onLine;
  text: string; // written and not sent

  private talk: Talk;
  private lasting: ReturnType<typeof setTimeout> | undefined;
  private readonly told = new Map<keyof Says, Set<(what: never) => void>>();
  private readonly slots: { talk: string; outbox: string; guest: string; text: string; shown: string };

  constructor(private readonly o: ChatOptions) {
    const base = `parley.widget.${o.home}.${o.bot}`;
    this.slots = { talk: `${base}.talk`, outbox: `${base}.outbox`, guest: `${base}.guest`, text: `${base}.text`, shown: `${base}.shown` };
    const lock = <T>(work: () => Promise<T>): Promise<T> => (navigator.locks ? (navigator.locks.request(base, work) as Promise<T>) : work());
    this.talk = this.recall();
    this.text = o.store?.getItem(this.slots.text) ?? "";
    this.guests = new Guests({ home: o.home, origin: location.origin, bot: o.bot, store: o.store, slot: this.slots.guest, lock });
    this.outbox = new Outbox({
      store: o.store,
      slot: this.slots.outbox,
      create: (key) => this.create(key),
      send: (item) => this.submit(item),
      onChange: () => this.bell.ring(),
      onUnauthenticated: () => void this.unknown(),
      onCreated: (draft, id) => this.created(draft, id),
      // Making a guest has the lock of the same name: this one is another.
      lock: navigator.locks ? (work) => navigator.locks.request(this.slots.outbox, work) as Promise<never> : undefined,
    });
  }

  // start goes on where the page before ended. sheet: an open chat would cover
  // the page that the visitor just went to.
  start(sheet: boolean): void {
    addEventListener("storage", (e) => this.elsewhere(e.key));
    addEventListener("online", () => this.back(true));
    addEventListener("offline", () => this.back(false));
    addEventListener("pageshow", (e) => e.persisted && this.back(true));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.current?.hide();
      else {
        this.current?.show();
        this.current?.nudge(20_000);
        this.outbox.resume();
      }
    });
    this.guests.onMove = () => {
      this.outbox.resume();
      this.current?.nudge(1000);
    };
    for (const i of this.outbox.items()) if (i.activity !== undefined || i.answer !== undefined) this.outbox.settle(i.key);
    if (!sheet && this.o.tab?.getItem(this.slots.shown)) this.show(false);
    else if (this.outbox.items().length > 0 || this.talk.awaits !== "") this.attend();
  }

  // show opens the chat; by hand if the visitor did it.
  show(byHand = true): void {
    this.touched = byHand;
    if (!this.shown) {
      this.shown = true;
      put(this.o.tab, this.slots.shown, "1");
      this.tell("open", undefined);
    }
    this.read();
    this.attend();
    this.bell.ring();
  }

  get unread(): boolean {
    return this.talk.unread;
  }

  private read(): void {
    if (this.shown && this.talk.unread) this.keep({ ...this.talk, unread: false });
  }

  hide(): void {
    if (!this.shown) return;
    this.shown = false;
    put(this.o.tab, this.slots.shown, "");
    this.rest();
    this.tell("close", undefined);
    this.bell.ring();
  }

  // attend is at the conversation, and with the service.
  private attend(): void {
    if (this.guests.known()) this.listen();
    this.guests.enter().then(
      () => this.entered(),
      (err) => this.stuck(err),
    );
    void this.outbox.flush();
  }

  private listen(): void {
    if (!this.current && this.talk.id !== "") this.take(this.talk.id, false);
    this.current?.enter();
  }

  // rest lets go of the stream when nobody looks and nothing comes.
  private rest(): void {
    if (!this.shown && this.current?.loaded && this.talk.awaits === "" && this.outbox.items().length === 0) this.current.leave();
  }

  private entered(): void {
    this.problem = "";
    if (this.talk.guest !== "" && this.talk.guest !== this.guests.guest()) this.lost();
    this.listen();
    this.rest();
    this.bell.ring();
  }

  private stuck(err: unknown): void {
    const refused = err instanceof ApiError && !err.again;
    this.problem = refused ? words.chatRefused(err.message) : words.chatUnreachable;
    this.bell.ring();
    if (!refused && this.shown) {
      clearTimeout(this.lasting);
      this.lasting = setTimeout(() => this.shown && this.attend(), 5000);
    }
  }

  private back(online: boolean): void {
    this.online = online;
    if (online) {
      this.outbox.resume();
      this.current?.nudge(5000);
    }
    this.bell.ring();
  }

  // unknown: the service does not know this guest any more.
  private async unknown(): Promise<void> {
    this.guests.forget();
    try {
      await this.guests.visit();
    } catch (err) {
      this.stuck(err);
      return;
    }
    this.entered();
    this.current?.restart();
    this.outbox.resume();
  }

  // ---- the conversation

  private take(id: string, born: boolean): void {
    this.current?.leave();
    const open = new Open(id, { api: this.guests.api, world: this.guests }, {
      changed: () => this.changed(open),
      kept: () => Promise.resolve([]),
      titled: () => {},
      arranged: () => {},
      said: () => {},
      deleted: () => this.current === open && this.lost(),
      unauthenticated: () => void this.unknown(),
      back: () => this.outbox.resume(),
      announce: (text) => this.announce(text),
      answered: (text) => {
        this.tell("message", { role: "bot", text });
      },
    });
    this.current = open;
    open.enter(born);
  }

  private changed(open: Open): void {
    if (this.current !== open) return;
    for (const i of this.outbox.items()) if (i.conversation === open.id && open.saw(i)) this.outbox.settle(i.key);
    this.judge(open);
    if (open.missing) this.gone(open);
    else this.rest();
    this.bell.ring();
  }

  // judge notes what is being answered, and that it was. A turn that this tab
  // knows nothing of may be in what it has not read yet.
  private judge(open: Open): void {
    const { awaits } = this.talk;
    const turn = open.state.running().at(-1)?.id;
    if (turn !== undefined) {
      if (turn !== awaits) this.keep({ ...this.talk, awaits: turn, unread: false });
    } else if (open.state.turns.has(awaits)) this.keep({ ...this.talk, awaits: "", unread: !this.shown });
  }

  // gone: there is no such conversation, where we asked.
  private gone(open: Open): void {
    if (Date.now() - this.talk.born > young) this.lost();
    else setTimeout(() => this.current === open && open.restart(), 1000);
  }

  // lost begins anew, with what was not sent yet.
  private lost(): void {
    const { id } = this.talk;
    this.begin();
    if (id !== "") this.outbox.move(id, this.talk.draft);
    void this.outbox.flush();
  }

  private release(): void {
    const open = this.current;
    this.current = null;
    open?.leave();
  }

  private begin(): void {
    this.release();
    this.keep(none());
    this.bell.ring();
  }

  // startOver leaves the conversation, and stops what is being answered in it.
  startOver(): void {
    const open = this.current;
    for (const t of open?.state.running() ?? []) void open?.stop(t.id);
    if (this.talk.id !== "") this.outbox.forget(this.talk.id);
    this.begin();
  }

  private async create(key: string): Promise<{ id: string }> {
    await this.guests.enter();
    const { welcome } = this.guests;
    if (this.talk.draft === key && welcome) this.keep({ ...this.talk, guest: this.guests.guest(), home: this.talk.home || welcome.region });
    return this.guests.api.create(key, this.talk.home);
  }

  private created(draft: string, id: string): void {
    if (this.talk.draft !== draft || this.talk.id !== "") return;
    this.keep({ ...this.talk, id, born: Date.now() });
    this.take(id, true);
    this.bell.ring();
  }

  private async submit(item: Item): Promise<{ id?: string; turn?: string }> {
    await this.guests.enter();
    const done = await this.ask(item);
    if (done.turn && item.conversation === this.talk.id) {
      this.keep({ ...this.talk, awaits: done.turn, unread: false });
      if (this.current) this.judge(this.current);
    }
    return done;
  }

  private ask(item: Item): Promise<{ id?: string; turn?: string }> {
    if (item.kind === "regenerate") return this.guests.api.regenerate(item.conversation, item.turn ?? "", item.key);
    return this.guests.api.send(item.conversation, item.key, {
      type: "message",
      text: item.text,
      channelData: { parley: item.parent ? { parent: item.parent } : {}, client: { key: item.key } },
    });
  }

  say(text: string): void {
    if (text.trim() === "") return;
    const parent = this.current?.path().findLast((s) => s.node.id !== "")?.node.id;
    const { id, draft } = this.talk;
    if (id === "") this.keep(this.talk); // another tab may be the one that sends it
    this.outbox.add({ key: uuid(), kind: "message", conversation: id, draft: id ? "" : draft, text, parent, created: Date.now() });
    this.write("");
    this.attend();
    this.tell("message", { role: "user", text });
  }

  again(turn: string): void {
    if (!this.current || this.outbox.items().some((i) => i.turn === turn && i.failed === undefined)) return;
    this.outbox.add({ key: uuid(), kind: "regenerate", conversation: this.current.id, draft: "", text: "", turn, created: Date.now() });
  }

  // waiting lists what was asked for here and is not in the log yet.
  waiting(): Item[] {
    const { id, draft } = this.talk;
    return this.outbox.items().filter((i) => (i.conversation === "" ? i.draft === draft : i.conversation === id && !this.current?.saw(i)));
  }

  // write keeps what is written and not sent.
  write(text: string): void {
    this.text = text;
    put(this.o.store, this.slots.text, text);
    this.bell.ring();
  }

  // ---- what is kept

  private recall(): Talk {
    try {
      const kept = JSON.parse(this.o.store?.getItem(this.slots.talk) ?? "null") as Talk | null;
      if (kept && typeof kept.id === "string" && typeof kept.draft === "string") return { ...none(), ...kept, awaits: typeof kept.awaits === "string" ? kept.awaits : "" };
    } catch {
      // Nothing usable.
    }
    return none();
  }

  private keep(talk: Talk): void {
    this.talk = talk;
    put(this.o.store, this.slots.talk, JSON.stringify(talk));
  }

  // elsewhere takes over what another tab of the site did.
  private elsewhere(key: string | null): void {
    if (key === null || key === this.slots.guest) this.guests.recall();
    if (key === null || key === this.slots.talk) {
      const was = this.talk;
      this.talk = this.recall();
      this.read();
      if (this.talk.id !== was.id) {
        this.release();
        if (this.shown) this.attend();
      } else if (this.current) this.judge(this.current);
    }
    if (key === null || key.startsWith(this.slots.outbox)) {
      this.outbox.reread();
      const made = this.outbox.items().find((i) => i.draft === this.talk.draft && i.conversation !== "");
      if (made) this.created(made.draft, made.conversation);
    }
    this.bell.ring();
  }

  // ---- those who listen

  private announce(text: string): void {
    this.announcement = text;
    this.bell.ring();
  }

  on<K extends keyof Says>(event: K, f: (what: Says[K]) => void): () => void {
    const set = this.told.get(event) ?? new Set();
    this.told.set(event, set.add(f as (what: never) => void));
    return () => set.delete(f as (what: never) => void);
  }

  private tell<K extends keyof Says>(event: K, what: Says[K]): void {
    for (const f of [...(this.told.get(event) ?? [])]) {
      try {
        (f as (what: Says[K]) => void)(what);
      } catch (err) {
        setTimeout(() => {
          throw err; // the site's own, for its own console
        });
      }
    }
  }
}
