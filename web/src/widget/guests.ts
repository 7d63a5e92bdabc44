// Guests is the widget's world: the visitor is a guest of the service, known by
// a pass that this browser keeps for the site.
import { calls } from "../api.ts";
import type { Welcome } from "../types.ts";
import { World } from "../world.ts";

type Options = {
  home: string; // origin of the service
  origin: string; // of the site
  bot: string; // "" = the default one
  store: Pick<Storage, "getItem" | "setItem"> | null;
  slot: string;
  lock: <T>(work: () => Promise<T>) => Promise<T>; // one tab at a time
  fetch?: typeof fetch;
};

export class Guests extends World {
  welcome: Welcome | null = null; // as told in this page
  readonly api = calls(this);
  private entering: Promise<Welcome> | null = null;

  constructor(private readonly g: Options) {
    super(g);
  }

  // known reports whether there is a pass.
  known(): boolean {
    return this.pass !== null;
  }

  // guest is who the pass is for.
  guest(): string {
    return this.pass?.pass.split(".")[1] ?? "";
  }

  // enter returns when there is a pass at hand. One of an earlier visit is
  // renewed on the side.
  async enter(): Promise<void> {
    if (this.pass && this.welcome) return;
    const asked = this.visit();
    if (!this.pass) await asked;
    else asked.catch(() => {}); // the old one is good for now, or a request will say that it is not
  }

  // visit gets a pass. Tabs that open at once become one guest: the second
  // shows what the first was given.
  visit(): Promise<Welcome> {
    this.entering ??= this.g
      .lock(async () => {
        this.recall();
        if (!this.pass) {
          // What another tab has stored may reach this one a little later than the lock does.
          await new Promise((done) => setTimeout(done, 150));
          this.recall();
        }
        this.welcome = await this.api.visit(this.g.bot);
        this.pass = { pass: this.welcome.pass, until: this.welcome.until };
        // A page that came over TLS may not ask without it.
        const other = (p: string): boolean => p !== this.home && (p.startsWith("https:") || this.g.origin.startsWith("http:"));
        this.places = [this.home, ...this.welcome.regions.filter(other)];
        this.keep();
        this.watch(false);
        return this.welcome;
      })
      .finally(() => (this.entering = null));
    return this.entering;
  }

  // Strangers are told nothing of the regions but their addresses. What is left
  // to do is to come home.
  protected override async learn(): Promise<void> {
    await this.homing();
  }

  protected override pace(): number {
    return this.away() ? 10_000 : 3_600_000;
  }
}
