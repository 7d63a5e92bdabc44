// Dictation writes down what is said, with the browser's own recognition. Many
// browsers send the sound to their maker for that; one that can do it on the
// machine is asked to.

// What the browser gives, as far as it is used here. Only some know it.
type Recognition = EventTarget & {
  lang: string;
  continuous: boolean;
  interimResults: boolean;
  processLocally?: boolean;
  start(): void;
  stop(): void;
  abort(): void;
};
type Heard = Event & { resultIndex: number; results: ArrayLike<ArrayLike<{ transcript: string }> & { isFinal: boolean }> };
type Maker = { new (): Recognition; available?: (o: { langs: string[]; processLocally: boolean }) => Promise<string> };

function maker(): Maker | undefined {
  const w = globalThis as { SpeechRecognition?: Maker; webkitSpeechRecognition?: Maker };
  return w.SpeechRecognition ?? w.webkitSpeechRecognition;
}

export type Trouble = "denied" | "deaf" | "unreachable";

type Hooks = {
  changed: () => void;
  heard: (text: string) => void; // all since the start; the end of it may still change
  failed: (why: Trouble) => void;
};

export class Dictation {
  on = false;
  private at: Recognition | null = null;

  constructor(private readonly hooks: Hooks) {}

  static able(): boolean {
    return maker() !== undefined;
  }

  async start(lang: string): Promise<void> {
    const Make = maker();
    if (!Make || this.on) return;
    this.on = true;
    this.hooks.changed();
    const near = (await Make.available?.({ langs: [lang], processLocally: true }).catch(() => "")) === "available";
    if (!this.on) return;
    const r = (this.at = new Make());
    r.lang = lang;
    r.continuous = r.interimResults = true;
    if (near) r.processLocally = true;
    r.addEventListener("result", (e) => {
      if (this.at === r) this.hooks.heard(Array.from((e as Heard).results, (x) => x[0]?.transcript ?? "").join(""));
    });
    r.addEventListener("error", (e) => {
      const why = (e as Event & { error?: string }).error ?? "";
      if (this.at !== r || why === "no-speech" || why === "aborted") return;
      this.hooks.failed(why === "not-allowed" || why === "service-not-allowed" ? "denied" : why === "audio-capture" ? "deaf" : "unreachable");
    });
    r.addEventListener("end", () => {
      if (this.at === r) this.over();
    });
    try {
      r.start();
    } catch {
      this.over();
      this.hooks.failed("unreachable");
    }
  }

  // stop lets what was said last still come.
  stop(): void {
    if (this.at) this.at.stop();
    else this.over();
  }

  // drop ends it at once: nothing comes any more.
  drop(): void {
    if (!this.on) return;
    const r = this.at;
    this.over();
    r?.abort();
  }

  private over(): void {
    this.at = null;
    this.on = false;
    this.hooks.changed();
  }
}
