// The world: the regions of the service, and which of them this page talks to.
//
// The page asks the place that it came from. When that is gone, hangs, or can't
// serve, the page goes on in the first other region that says it can, within a
// second or two, and comes home once home has been well for a while. Requests
// carry their own keys and positions, so changing the place loses and doubles
// nothing.
import type { Region } from "./types.ts";

// A browser takes no cookie to other hosts: there the page shows a pass.
export type Pass = { pass: string; until: string };

type Kept = { places: string[]; pass: Pass | null };

export type WorldOptions = {
  fetch?: typeof fetch;
  home?: string; // origin of the place to be served by; "" = the page's own, which knows us by its cookie
  origin?: string; // of the page
  store?: Pick<Storage, "getItem" | "setItem"> | null; // of this tab
  slot?: string; // in the store
  patience?: number; // ms without an answer until we look whether the place lives
  limit?: number; // ms that a living place has to say so
  election?: number; // ms to wait for a place that is ready, when none is
};

const own = ""; // the place that the page came from: the same origin

export class World {
  regions: Region[] = []; // as told last
  told = 0; // Date.now() of that; 0: never
  failed = false; // nobody answered the newest question
  onChange: () => void = () => {};
  onMove: () => void = () => {}; // requests go elsewhere from now on

  protected readonly home: string;
  protected places: string[]; // origins, home first
  protected pass: Pass | null = null;
  private at: string;
  private moving: Promise<void> | null = null;
  private well = 0; // checks in a row that found home well while we are away
  private asking: Promise<void> | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ended = false;
  private close = false; // somebody watches: ask often

  constructor(private readonly o: WorldOptions = {}) {
    this.home = this.at = o.home ?? own;
    this.places = [this.home];
    this.recall();
  }

  // recall takes over what was kept, by an earlier visit or another tab.
  recall(): void {
    try {
      const kept = JSON.parse(this.o.store?.getItem(this.slot()) ?? "null") as Kept | null;
      if (Array.isArray(kept?.places)) this.places = [this.home, ...kept.places.filter((p) => typeof p === "string" && p !== this.home)];
      if (typeof kept?.pass?.pass === "string") this.pass = kept.pass;
    } catch {
      // Nothing usable was kept: home is all we know.
    }
  }

  private slot(): string {
    return this.o.slot ?? "parley.world.v1";
  }

  // here is the region that answered last, "" if it is the only one.
  here(): Region | undefined {
    return this.regions.length > 1 ? this.regions.find((r) => r.here) : undefined;
  }

  // away reports whether requests go to another place than home.
  away(): boolean {
    return this.at !== this.home;
  }

  // several reports whether there is somewhere else to go.
  several(): boolean {
    return this.places.length > 1;
  }

  // fetch is the browser's, at the place that serves us now. It fails as that
  // does; the next call may go elsewhere.
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    while (this.moving) await this.moving;
    const base = this.at;
    const abort = new AbortController();
    const outer = init.signal;
    const stop = (): void => abort.abort(outer?.reason);
    if (outer?.aborted) stop();
    outer?.addEventListener("abort", stop, { once: true });
    const slow = this.several()
      ? setTimeout(() => void this.alive(base).then((ok) => ok || abort.abort()), this.o.patience ?? 1000)
      : undefined;
    try {
      const res = await this.ask(base, path, { ...init, signal: abort.signal });
      if (res.status === 502 || res.status === 503 || res.status === 504) this.leave(base, true);
      return res;
    } catch (err) {
      if (!outer?.aborted) this.leave(base, false);
      throw err;
    } finally {
      clearTimeout(slow);
    }
  }

  // doubt asks whether the place that serves us lives, and leaves it if not.
  doubt(): Promise<boolean> {
    return this.several() ? this.alive(this.at) : Promise.resolve(true);
  }

  private async alive(base: string): Promise<boolean> {
    if (await this.ready(base)) return true;
    this.leave(base, true);
    await this.moving;
    return base === this.at; // there was nowhere else to go: wait on
  }

  private ask(base: string, path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (base !== own && this.pass) headers.set("Authorization", `Bearer ${this.pass.pass}`);
    return (this.o.fetch ?? fetch)(base + path, { ...init, headers, credentials: base === own ? "same-origin" : "omit", cache: "no-store" });
  }

  private async ready(base: string): Promise<boolean> {
    try {
      const res = await (this.o.fetch ?? fetch)(base + "/readyz", {
        credentials: "omit",
        cache: "no-store",
        signal: AbortSignal.timeout(this.o.limit ?? 800),
      });
      return res.ok;
    } catch {
      return false;
    }
  }

  // leave looks for a better place than base. One that said itself that it
  // can't serve is not asked again; one that merely broke off may be the best.
  private leave(base: string, ill: boolean): void {
    if (base !== this.at || this.moving || !this.several()) return;
    this.moving = this.choose(ill).finally(() => {
      this.moving = null;
    });
  }

  // choose waits for the first place that is ready, a while: when a region dies
  // the others need a moment to agree on who leads its log.
  private async choose(ill: boolean): Promise<void> {
    const was = this.at;
    let best = "";
    for (const late = Date.now() + (this.o.election ?? 3000); ; ) {
      const found = await this.first(was, ill);
      if (found !== null) {
        best = found;
        break;
      }
      if (Date.now() > late || (typeof navigator !== "undefined" && navigator.onLine === false)) return; // here is as good as anywhere
      await new Promise((go) => setTimeout(go, 100));
      ill = false; // who could not may be able to by now
    }
    if (best === was) return;
    this.at = best;
    this.well = 0;
    this.onMove();
    this.onChange();
    this.again(0);
  }

  // first returns the place that is ready first, null if none is. One that is
  // not ill has a start, so that a hiccup moves nobody.
  private async first(was: string, ill: boolean): Promise<string | null> {
    const stay = ill ? Promise.resolve(false) : this.ready(was);
    const start = Promise.race([stay, new Promise((go) => setTimeout(go, 100))]);
    const sure = async (place: string, ready: Promise<boolean>, after?: Promise<unknown>): Promise<string> => {
      const ok = await ready;
      await after;
      if (!ok) throw new Error(`${place} is not ready`);
      return place;
    };
    const others = this.places.filter((p) => p !== was).map((p) => sure(p, this.ready(p), start));
    return Promise.any([sure(was, stay), ...others]).catch(() => null);
  }

  // ---- what is known of the regions

  // watch asks for the regions from time to time, often while close is set.
  watch(close: boolean): void {
    this.close = close;
    this.again(0);
  }

  private again(after: number): void {
    clearTimeout(this.timer);
    if (this.ended) return;
    this.timer = setTimeout(() => void this.refresh(), after);
  }

  // stop asks nobody anything by itself any more.
  stop(): void {
    this.ended = true;
    clearTimeout(this.timer);
  }

  refresh(): Promise<void> {
    this.asking ??= this.learn().finally(() => {
      this.asking = null;
      this.again(this.pace());
    });
    return this.asking;
  }

  // pace is how long to wait until the next question, in ms.
  protected pace(): number {
    const hidden = typeof document !== "undefined" && document.visibilityState === "hidden";
    return hidden ? 60_000 : this.close ? 1000 : this.several() ? 10_000 : 60_000;
  }

  protected async learn(): Promise<void> {
    try {
      const res = await this.fetch("/api/v1/regions", { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(5000) });
      if (!res.ok) throw new Error(`regions answered ${res.status}`);
      const { regions } = (await res.json()) as { regions?: Region[] };
      this.regions = Array.isArray(regions) ? regions : [];
      this.told = Date.now();
      this.failed = false;
      this.places = [this.home, ...this.addresses()];
      if (this.several()) await this.renew();
      this.keep();
      await this.homing();
    } catch {
      this.failed = true;
    }
    this.onChange();
  }

  // addresses are the other origins at which a region serves users.
  private addresses(): string[] {
    const mine = this.o.origin ?? (typeof location === "undefined" ? "" : location.origin);
    const out = new Set<string>();
    // One region alone is behind whatever the page came through.
    if (this.regions.filter((r) => r.role !== "witness").length < 2) return [];
    for (const r of this.regions) {
      if (r.role === "witness") continue;
      try {
        const u = new URL(r.address || "");
        // A page that came over TLS may not ask without it.
        if (u.origin !== mine && (u.protocol === "https:" || (u.protocol === "http:" && mine.startsWith("http:")))) out.add(u.origin);
      } catch {
        // It has said no address yet, or is down: what it said before is kept.
      }
    }
    for (const p of this.places) if (p !== this.home && p !== mine && this.regions.some((r) => r.state === "down" && !r.address)) out.add(p);
    return [...out];
  }

  // renew has a pass at hand that is good for hours.
  private async renew(): Promise<void> {
    if (this.pass && Date.parse(this.pass.until) - Date.now() > 6 * 3_600_000) return;
    const res = await this.fetch("/api/v1/session/pass", {
      method: "POST",
      headers: { "X-Parley": "1", "Content-Type": "application/json" },
      body: "{}",
      signal: AbortSignal.timeout(5000),
    });
    if (res.ok) this.pass = (await res.json()) as Pass;
  }

  // homing goes back to the place that the page came from once it is well.
  protected async homing(): Promise<void> {
    if (!this.away()) return;
    this.well = (await this.ready(this.home)) ? this.well + 1 : 0;
    if (this.well < 2 || this.moving) return;
    this.at = this.home;
    this.onMove();
  }

  protected keep(): void {
    const kept: Kept = { places: this.places.slice(1), pass: this.pass };
    try {
      this.o.store?.setItem(this.slot(), JSON.stringify(kept));
    } catch {
      // Full or forbidden: this page still knows it.
    }
  }

  // forget drops the pass of a user who signs out or in.
  forget(): void {
    this.pass = null;
    this.keep();
  }
}
