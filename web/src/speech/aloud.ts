// Aloud reads one answer at a time with the browser's own voice, sentence by
// sentence, also while it is being written.
import type { Node } from "../conversation.ts";
import type { Open } from "../open.ts";
import { spoken, type Instead } from "./spoken.ts";
import { tongue } from "./tongue.ts";

type Hooks = {
  changed: () => void;
  failed: () => void; // there is no voice, or it fell silent
  instead: () => Instead;
  language: () => string; // where a text does not tell its own
  rate: () => number;
};

const patience = 10_000; // ms until a voice must have begun

export class Aloud {
  key = ""; // of the answer that is read; "" = none

  private open: Open | null = null;
  private unwatch = (): void => {};
  private said = 0; // sentences
  private queue: string[] = [];
  // now is held here for as long as it is spoken: a browser may forget one that
  // nobody holds, and then never tells its end.
  private now: SpeechSynthesisUtterance | null = null;
  private late: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly hooks: Hooks) {
    if (!this.able()) return;
    speechSynthesis.getVoices(); // they are fetched when they are asked for first
    addEventListener("pagehide", () => this.stop()); // or it reads on without the page
  }

  able(): boolean {
    return typeof speechSynthesis !== "undefined" && typeof SpeechSynthesisUtterance !== "undefined";
  }

  // toggle reads an answer from its beginning, or stops reading it.
  toggle(open: Open, key: string): void {
    const same = key === this.key;
    this.stop();
    if (same || !this.able()) return;
    this.key = key;
    this.open = open;
    this.unwatch = open.watch(key, () => this.next());
    this.next();
    this.hooks.changed();
  }

  stop(): void {
    if (this.key === "") return;
    this.key = "";
    this.open = this.now = null;
    this.unwatch();
    this.queue = [];
    this.said = 0;
    clearTimeout(this.late);
    speechSynthesis.cancel();
    this.hooks.changed();
  }

  // next speaks the sentence that follows, if nothing is being spoken and there
  // is one: what an answer grows by rings it again.
  private next(): void {
    const node = this.open?.state.byKey.get(this.key);
    if (this.now || this.key === "") return;
    if (!node) return this.stop();
    if (this.queue.length === 0) this.queue = spoken(node.text, done(node), this.hooks.instead()).slice(this.said);
    const sentence = this.queue.shift();
    if (sentence === undefined) {
      if (done(node)) this.stop();
      return;
    }
    this.said++;
    const u = new SpeechSynthesisUtterance(sentence);
    u.lang = tongue(node.text, this.hooks.language());
    u.voice = voiceOf(u.lang);
    u.rate = this.hooks.rate();
    u.onstart = () => clearTimeout(this.late);
    u.onend = () => {
      if (this.now !== u) return;
      this.now = null;
      this.next();
    };
    u.onerror = () => {
      if (this.now === u) this.fail();
    };
    this.now = u;
    clearTimeout(this.late);
    this.late = setTimeout(() => this.fail(), patience);
    speechSynthesis.speak(u);
  }

  private fail(): void {
    this.stop();
    this.hooks.failed();
  }
}

const done = (n: Node): boolean => n.activity !== undefined || !n.turn || (n.turn.state !== "queued" && n.turn.state !== "running");

// voiceOf prefers a voice that speaks on this machine to one that is asked for
// over the network, and then the form of the language that the reader uses.
function voiceOf(lang: string): SpeechSynthesisVoice | null {
  const base = (tag: string): string => tag.toLowerCase().split(/[-_]/)[0]!;
  const mine = navigator.languages.find((l) => base(l) === base(lang))?.toLowerCase();
  const rank = (v: SpeechSynthesisVoice): number => (v.localService ? 4 : 0) + (v.lang.toLowerCase().replace("_", "-") === mine ? 2 : 0) + (v.default ? 1 : 0);
  return speechSynthesis.getVoices().filter((v) => base(v.lang) === base(lang)).sort((a, b) => rank(b) - rank(a))[0] ?? null;
}
