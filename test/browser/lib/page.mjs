// The browser, and what a story does on the page.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import { bare, until } from "./util.mjs";

const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function browser() {
  const executablePath = places.find((p) => p && existsSync(p));
  if (!executablePath) throw new Error("no Chromium: apt-get install -y chromium, or set CHROMIUM to its path");
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

export class Page {
  // open begins a session of its own unless a context is given.
  static async open(browser, url, { context, workers = "block", width = 1024, height = 768, path = "/", dark = false } = {}) {
    const p = new Page();
    p.context = context ?? (await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce", serviceWorkers: workers }));
    p.page = await p.context.newPage();
    p.url = url;
    p.errors = [];
    p.foreign = [];
    p.page.on("pageerror", (e) => p.errors.push(`page error: ${e.message}`));
    p.page.on("dialog", (d) => {
      p.errors.push(`dialog: ${d.message()}`);
      void d.dismiss();
    });
    p.page.on("console", (m) => {
      if (/Content Security Policy|TrustedHTML|Trusted Type/i.test(m.text())) p.errors.push(`policy: ${m.text()}`);
    });
    p.page.on("request", (r) => {
      const u = new URL(r.url());
      if (u.protocol !== "data:" && u.origin !== new URL(url).origin) p.foreign.push(r.url());
    });
    await p.page.goto(url + path);
    await p.page.waitForSelector("#compose, .login, .learn");
    return p;
  }

  // say waits, as a person does, until nothing lies over the box that takes the keys.
  async say(text) {
    await until(() => this.page.evaluate(() => !document.querySelector("dialog:modal")), "no dialog over the message box");
    await this.page.fill("#compose", text);
    await this.page.press("#compose", "Enter");
  }

  // answers returns the text of each answer on screen as it was written: the
  // words, because markdown changes the white space.
  answers() {
    return this.page.$$eval("article.answer", (all) => all.map((a) => a.querySelector(".md")?.textContent ?? ""));
  }

  async answer() {
    return (await this.answers()).at(-1) ?? "";
  }

  said() {
    return this.page.$$eval("article.said .bubble", (all) => all.map((a) => a.textContent));
  }

  state() {
    return this.page.$$eval("article .state", (all) => all.at(-1)?.textContent ?? "");
  }

  // finished waits until n answers are there and none is running or waiting.
  async finished(n = 1, limit = 30_000) {
    await until(
      () =>
        this.page.evaluate(
          (n) => document.querySelectorAll("article.answer").length === n && !document.querySelector("article.running, article.waiting"),
          n,
        ),
      `${n} finished answers`,
      limit,
    ).catch(async (err) => {
      throw new Error(`${err.message}; on screen: ${JSON.stringify(await this.page.$$eval("article", (a) => a.map((x) => x.className + ": " + x.textContent.slice(-120))))}`);
    });
  }

  // middle waits until an answer of at least so many words is running.
  async middle(words = 8) {
    await until(
      () => this.page.evaluate((w) => (document.querySelector("article.running .md")?.textContent ?? "").split(/\s+/).length >= w, words),
      `an answer in the middle (${words} words)`,
    );
  }

  id() {
    return decodeURIComponent(new URL(this.page.url()).pathname.replace(/^\/c\//, ""));
  }

  // activities is what the log holds, asked with the page's own session.
  async activities() {
    const res = await this.context.request.get(`${this.url}/api/v1/conversations/${encodeURIComponent(this.id())}/activities`);
    if (!res.ok()) throw new Error(`GET activities: ${res.status()} ${await res.text()}`);
    return (await res.json()).activities.filter((a) => a.type === "message");
  }

  // agrees checks the page's last answer and its messages against the log.
  async agrees({ users = 1, bots = 1 } = {}) {
    const acts = await this.activities();
    const of = (role) => acts.filter((a) => a.from?.role === role);
    if (of("user").length !== users || of("bot").length !== bots) {
      throw new Error(`the log holds ${of("user").length} messages and ${of("bot").length} answers, want ${users} and ${bots}: ${JSON.stringify(acts.map((a) => [a.from?.role, a.text.slice(0, 40)]))}`);
    }
    const want = of("bot").at(-1).text.trim();
    const got = (await this.answer()).trim();
    if (bare(got) !== bare(want)) throw new Error(`the page and the log differ\n  page ${JSON.stringify(got)}\n  log  ${JSON.stringify(want)}`);
    if (this.errors.length > 0) throw new Error(this.errors.join("; "));
    return want;
  }

  close() {
    return this.context.close();
  }
}
