// Server-Sent Events, read with fetch: the position to go on from is ours, and
// a broken connection is tried again within milliseconds instead of seconds.

export type Message = { event: string; id: string; data: string };

// Parser takes a stream's text in any pieces and gives the messages that are
// complete, as the HTML standard describes them.
export class Parser {
  private rest = "";
  private data: string[] = [];
  private event = "";
  private id = ""; // of the message being read; unlike the standard it does not outlive it
  private bom = true;

  push(chunk: string): Message[] {
    const out: Message[] = [];
    let text = this.rest + chunk;
    if (this.bom && text !== "") {
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
      this.bom = false;
    }
    let from = 0;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c !== 10 && c !== 13) continue;
      if (c === 13 && i + 1 === text.length) break; // a line feed may follow in the next piece
      this.line(text.slice(from, i), out);
      if (c === 13 && text.charCodeAt(i + 1) === 10) i++;
      from = i + 1;
    }
    this.rest = text.slice(from);
    return out;
  }

  private line(line: string, out: Message[]): void {
    if (line === "") {
      if (this.data.length > 0) out.push({ event: this.event || "message", id: this.id, data: this.data.join("\n") });
      this.data = [];
      this.event = "";
      this.id = "";
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: the heart-beat
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id" && !value.includes("\0")) this.id = value;
  }
}

// backoff says how long to wait before try n (0, 1, ...): from 250 ms to most,
// doubled every time, with jitter so that many pages do not come at once.
export function backoff(n: number, most = 2000, random: () => number = Math.random): number {
  return Math.min(most, 250 * 2 ** Math.min(n, 20)) * (0.6 + 0.4 * random());
}

export type Link =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "waiting"; until: number } // lost; tries again then
  | { state: "closed"; status: number }; // refused: 401, 403, 404, 410

export type ReaderOptions = {
  url: () => string; // with the position to go on from
  onMessage: (m: Message) => void;
  onChunk?: () => void; // after all messages of one piece
  onLink: (l: Link) => void;
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  // doubt is asked when a live connection has been quiet for longer than
  // quiet() ms; if it says false the connection counts as lost.
  quiet?: () => number;
  doubt?: () => Promise<boolean>;
  most?: () => number; // ms, the longest wait between two tries
  silence?: number; // ms without a byte after which a connection counts as lost
  connect?: number; // ms until the headers must be here
};

// Reader keeps a stream open until it is stopped.
export class Reader {
  private ended = true;
  private tries = 0;
  private abort: AbortController | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private heard = 0;
  link: Link = { state: "connecting" };

  constructor(private readonly o: ReaderOptions) {}

  start(): void {
    if (!this.ended) return;
    this.ended = false;
    this.tries = 0;
    this.open();
  }

  stop(): void {
    this.ended = true;
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = undefined;
  }

  // again drops the connection and opens a new one at once.
  again(): void {
    if (this.ended) return;
    this.stop();
    this.start();
  }

  // nudge tries now if it was waiting, or if the line has been quiet so long
  // that it may be dead (a laptop that slept, a network that changed).
  nudge(quiet: number): void {
    if (this.ended) return;
    if (this.link.state === "waiting" || Date.now() - this.heard > quiet) this.again();
  }

  // watching ends a connection that was silent for longer than silence by the
  // clock: in a laptop that sleeps, timers stand still. And while a connection is
  // quiet it looks whether there is somebody at its other end: one that hangs or
  // was cut off says nothing for ever.
  private watching(abort: AbortController, silence: number): ReturnType<typeof setInterval> {
    const { quiet, doubt } = this.o;
    let asked = 0;
    return setInterval(() => {
      const now = Date.now();
      if (now - this.heard > silence) return abort.abort();
      if (!quiet || !doubt || now - Math.max(this.heard, asked) < quiet()) return;
      asked = now;
      void doubt().then((ok) => ok || abort.abort());
    }, 250);
  }

  private say(l: Link): void {
    this.link = l;
    this.o.onLink(l);
  }

  private async open(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    this.say({ state: "connecting" });
    const silence = this.o.silence ?? 45_000;
    let watch = setTimeout(() => abort.abort(), this.o.connect ?? 10_000);
    let looks: ReturnType<typeof setInterval> | undefined;
    let status = 0;
    try {
      const res = await (this.o.fetch ?? fetch)(this.o.url(), {
        headers: { Accept: "text/event-stream" },
        signal: abort.signal,
      });
      status = res.status;
      if (!res.ok || !res.body) throw new Error(`events answered ${status}`);
      const reader = res.body.getReader();
      const decoder = new TextDecoder();
      const parser = new Parser();
      this.heard = Date.now();
      this.say({ state: "live" });
      looks = this.watching(abort, silence);
      for (;;) {
        clearTimeout(watch);
        watch = setTimeout(() => abort.abort(), silence);
        const { done, value } = await reader.read();
        if (done || this.abort !== abort) break;
        this.heard = Date.now();
        this.tries = 0;
        for (const m of parser.push(decoder.decode(value, { stream: true }))) {
          if (this.abort !== abort) return;
          this.o.onMessage(m);
        }
        this.o.onChunk?.();
      }
    } catch {
      // A lost line, a refusal or our own abort; what follows is the same.
    } finally {
      clearTimeout(watch);
      clearInterval(looks);
    }
    if (this.ended || this.abort !== abort) return;
    abort.abort();
    if (status === 401 || status === 403 || status === 404 || status === 410) {
      this.ended = true;
      this.say({ state: "closed", status });
      return;
    }
    const wait = backoff(this.tries++, this.o.most?.());
    this.say({ state: "waiting", until: Date.now() + wait });
    this.timer = setTimeout(() => void this.open(), wait);
  }
}
