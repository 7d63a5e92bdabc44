// Learning is the state of the page that labels what was not understood:
// messages in groups of likeness, and what an operator says that they mean.
import { ApiError, call, json } from "./api.ts";
import { world } from "./here.ts";
import { Bell } from "./bell.ts";

export type App = { app: string; live: string };
export type Message = { id: string; text: string; version: string; label: string; taken: boolean };
export type Ranked = { intent: string; score: number };

// Said is a text and the messages that say it.
export type Said = { text: string; ids: string[] };

export type Group = {
  key: string; // of its first message
  said: Said[]; // the first is the one that the others are like
  proposals: Ranked[];
  label: string; // "" = not yet
  busy: boolean;
};

export type State = "loading" | "ready" | "failed" | "login" | "forbidden";

const most = 1000; // texts that the node sorts at once
const pages = 20; // of the log's messages that are read
const clip = 400; // characters of a text that are sorted by

export const api = {
  apps: async (): Promise<App[]> => (await json<{ apps: App[] }>(world, "GET", "/understanding/models")).apps,
  unknown: (cursor: string): Promise<{ items: Message[]; next: string }> =>
    json(world, "GET", `/understanding/unknown?limit=1000&cursor=${encodeURIComponent(cursor)}`),
  groups: (app: string, texts: string[]): Promise<{ groups: { texts: number[]; proposals: Ranked[] }[]; intents: string[] }> =>
    json(world, "POST", `/understanding/models/${encodeURIComponent(app)}/groups`, { texts }),
  label: async (labels: { id: string; intent: string }[]): Promise<void> => {
    await call(world, "POST", "/understanding/labels", { labels });
  },
};

export class Learning {
  readonly bell = new Bell();
  state: State = "loading";
  problem = ""; // of loading, in the node's words
  undone: string | null = null; // why a label was not taken, in the node's words; null: it was
  apps: App[] = [];
  app = "";
  groups: Group[] = [];
  intents: string[] = [];
  waiting = 0; // labelled messages that no project has yet
  private messages: Message[] = [];
  private turn = 0; // of the newest load: older ones that end later count for nothing

  constructor(private readonly node = api) {}

  async load(): Promise<void> {
    const turn = ++this.turn;
    this.state = "loading";
    this.problem = "";
    this.bell.ring();
    try {
      const apps = (await this.node.apps()).filter((a) => a.live !== "");
      const messages: Message[] = [];
      let cursor = "";
      for (let n = 0; n < pages && (n === 0 || cursor !== ""); n++) {
        const page = await this.node.unknown(cursor);
        messages.push(...page.items);
        cursor = page.next;
      }
      if (turn !== this.turn) return;
      this.apps = apps;
      this.messages = messages;
      const busiest = apps.toSorted((a, b) => this.of(b.app).length - this.of(a.app).length)[0];
      if (!apps.some((a) => a.app === this.app)) this.app = busiest?.app ?? "";
      await this.sort(turn);
    } catch (err) {
      if (turn === this.turn) this.fail(err);
    }
    this.bell.ring();
  }

  async choose(app: string): Promise<void> {
    const turn = ++this.turn;
    this.app = app;
    this.state = "loading";
    this.bell.ring();
    await this.sort(turn).catch((err: unknown) => this.fail(err));
    this.bell.ring();
  }

  // of lists an app's messages that have no label.
  private of(app: string): Message[] {
    return this.messages.filter((m) => m.label === "" && m.version.startsWith(app + "@"));
  }

  private async sort(turn: number): Promise<void> {
    const open = this.of(this.app).slice(-most);
    const sorted =
      open.length > 0
        ? await this.node.groups(
            this.app,
            open.map((m) => [...m.text].slice(0, clip).join("")),
          )
        : { groups: [], intents: [] };
    if (turn !== this.turn) return;
    this.groups = sorted.groups.map((g) => together(g.texts.map((i) => open[i]!), g.proposals));
    this.intents = sorted.intents;
    this.waiting = this.messages.filter((m) => m.label !== "" && !m.taken).length;
    this.state = "ready";
  }

  // label says what a group means; "" takes that back.
  async label(g: Group, intent: string): Promise<void> {
    if (g.busy) return;
    g.busy = true;
    this.undone = null;
    this.bell.ring();
    const ids = new Set(g.said.flatMap((s) => s.ids));
    try {
      await this.node.label([...ids].map((id) => ({ id, intent })));
      this.waiting += (intent === "" ? 0 : ids.size) - (g.label === "" ? 0 : ids.size);
      g.label = intent;
      for (const m of this.messages) if (ids.has(m.id)) m.label = intent;
      if (intent !== "" && !this.intents.includes(intent)) this.intents = [...this.intents, intent].sort();
    } catch (err) {
      this.fail(err);
    }
    g.busy = false;
    this.bell.ring();
  }

  // leave takes a text out of its group: it is there again next time.
  leave(g: Group, s: Said): void {
    g.said = g.said.filter((x) => x !== s);
    if (g.said.length === 0) this.groups = this.groups.filter((x) => x !== g);
    this.bell.ring();
  }

  private fail(err: unknown): void {
    const e = err instanceof ApiError ? err : null;
    const why = e?.message ?? "";
    if (e?.status === 401) this.state = "login";
    else if (e?.status === 403) this.state = "forbidden";
    else if (this.state === "loading") [this.state, this.problem] = ["failed", why];
    else this.undone = why;
  }
}

// together makes a group of messages: the same words are one text.
function together(messages: Message[], proposals: Ranked[]): Group {
  const said = new Map<string, Said>();
  for (const m of messages) {
    const key = m.text.toLowerCase().replace(/\s+/g, " ").trim();
    const s = said.get(key);
    if (s) s.ids.push(m.id);
    else said.set(key, { text: m.text, ids: [m.id] });
  }
  return { key: messages[0]?.id ?? "", said: [...said.values()], proposals, label: "", busy: false };
}
