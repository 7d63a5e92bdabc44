// The real node, as a process of its own: started, killed, started again.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./util.mjs";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");

// binary returns PARLEY_BIN, or builds the command once.
export function binary(tmp) {
  if (process.env.PARLEY_BIN) return process.env.PARLEY_BIN;
  const out = join(tmp, process.platform === "win32" ? "parley.exe" : "parley");
  const made = spawnSync("go", ["build", "-o", out, "./cmd/parley"], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (made.status !== 0) throw new Error("go build ./cmd/parley failed");
  return out;
}

let last = process.pid * 61;

// freePort finds a port that nobody listens on now, below those of outgoing
// connections: one of these could have it while the node that it is for is dead.
export async function freePort() {
  for (;;) {
    const port = 20000 + (++last % 12768);
    const s = createServer();
    const free = await new Promise((done) => s.once("error", () => done(false)).listen(port, "127.0.0.1", () => done(true)));
    if (!free) continue;
    await new Promise((done) => s.close(done));
    return port;
  }
}

export class Node {
  constructor(bin, { engine, args = [], env = {} }) {
    this.bin = bin;
    this.engine = engine;
    this.args = args;
    this.env = env;
    this.log = "";
    this.home = mkdtempSync(join(tmpdir(), "parley-story-"));
  }

  async start() {
    this.port ??= await freePort();
    this.host ??= "127.0.0.1";
    this.url = `http://127.0.0.1:${this.port}`;
    const args = ["up", "--engine", this.engine, "--listen", `${this.host}:${this.port}`, "--data", join(this.home, "data"), "--no-browser", ...this.args];
    const env = { PATH: process.env.PATH, HOME: this.home, TMPDIR: process.env.TMPDIR ?? tmpdir(), ...(process.env.XDG_CACHE_HOME ? { XDG_CACHE_HOME: process.env.XDG_CACHE_HOME } : {}), ...this.env };
    const child = spawn(this.bin, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    this.exited = new Promise((done) => child.on("exit", (code, signal) => done(signal ?? code)));
    child.on("exit", () => (child.gone = true));
    for (const s of [child.stdout, child.stderr]) s.on("data", (b) => (this.log = (this.log + b).slice(-20_000)));
    await until(
      async () => {
        if (child.gone) throw new Error(`the node ended:\n${this.log}`);
        return (await fetch(`${this.url}/livez`).catch(() => null))?.ok;
      },
      `the node answers at ${this.url}`,
      30_000,
      20,
    ).catch((err) => {
      throw new Error(`${err.message}\n${this.log}`);
    });
    return this;
  }

  // kill ends it as a power cut would.
  async kill() {
    if (this.child && !this.child.gone) this.child.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    if (this.child && !this.child.gone) {
      this.child.kill("SIGTERM");
      const ended = await Promise.race([this.exited.then(() => true), new Promise((done) => setTimeout(done, 10_000, false))]);
      if (!ended) await this.kill();
    }
    rmSync(this.home, { recursive: true, force: true });
  }

  writeLog(file) {
    writeFileSync(file, this.log);
  }
}

// real starts a node with the embedded engine and waits for its model.
export async function real(t, env = {}) {
  const n = await t.node({ engine: "embedded", env: { XDG_CACHE_HOME: process.env.XDG_CACHE_HOME ?? `${process.env.HOME}/.cache`, ...env } });
  await until(async () => (await (await fetch(`${n.url}/api/v1/info`)).json()).engine.ready, "the model is ready", 300_000, 200);
  return n;
}
