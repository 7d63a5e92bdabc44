// A MOCK of Parley's API for work on the page, and nothing else: no log, no
// engine, everything in memory. The real server is what the browser stories
// use. It can misbehave on demand; a message that contains
//   !cut      has its stream cut in mid-answer,
//   !resume   is interrupted and continued, !restart interrupted and begun anew,
//   !fail     ends as a failed turn, !queue waits as the third in a queue,
//   !lost     is accepted, but the reply to the POST is lost once,
//   !busy     is refused twice with 503 and Retry-After,
//   !gap      loses a delta on its way (the page must fetch again).
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

type Frame = { pos: number; event: string; data: string; drop?: boolean };
type Act = { id: string; text: string; role: "user" | "bot"; parent: string; json: Record<string, unknown> };
type Conv = {
  id: string;
  title: string;
  created: string;
  updated: string;
  frames: Frame[];
  acts: Act[];
  turns: Map<string, { replyTo: string; stop: boolean; live: boolean }>;
  readers: Set<ServerResponse>;
};

const sample = `Here is a **short tour** of what can be shown.

## A list
1. First, with \`inline code\` and a [link](https://example.org/path)
2. Second
   - nested, *emphasised*
   - ~~struck~~

\`\`\`go
func main() {
	fmt.Println("an answer that survives", 42) // and a rather long comment that goes on past the edge of a phone
}
\`\`\`

| Region | Round trip | State |
|:--|--:|:-:|
| japaneast | 30 ms | living |
| koreacentral | 75 ms | living |
| southeastasia | 70 ms | **draining** |

> What is acknowledged is never lost.

Unicode counts by code points: 😀 日本語 עברית.
![a picture](https://example.org/track.png)
`;

export async function start(o: { port: number; key: string; demo: boolean }) {
  const convs = new Map<string, Conv>();
  const created = new Map<string, string>();
  const keys = new Map<string, { id: string; turn: string }>();
  const lost = new Set<string>();
  const busy = new Map<string, number>();
  let n = 0;

  const frame = (c: Conv, event: string, body: unknown, drop = false): void => {
    const f: Frame = { pos: (c.frames.at(-1)?.pos ?? 0) + 8, event, data: JSON.stringify(body), drop };
    c.frames.push(f);
    for (const r of c.readers) if (!drop) write(r, f);
  };
  const write = (r: ServerResponse, f: Frame): void => void r.write(`id: ${f.pos}\nevent: ${f.event}\ndata: ${f.data}\n\n`);

  const add = (c: Conv, role: "user" | "bot", text: string, parent: string, meta: object, extra: object): Act => {
    const id = `a${++n}`;
    const json = {
      type: "message", id, timestamp: new Date().toISOString(), from: { id: role, role }, text, ...extra,
      channelData: { ...(extra as { channelData?: object }).channelData, parley: { parent, ...meta } },
    };
    const a: Act = { id, text, role, parent, json };
    c.acts.push(a);
    c.updated = new Date().toISOString();
    frame(c, "activity", json);
    return a;
  };

  const answer = async (c: Conv, turn: string, replyTo: string, ask: string): Promise<void> => {
    const t = { replyTo, stop: false, live: true };
    c.turns.set(turn, t);
    const say = (state: string, more: object = {}): void => frame(c, "turn", { turn, state, replyTo, position: 0, attempt: 1, ...more });
    say("queued", { position: ask.includes("!queue") ? 2 : 0 });
    await pause(ask.includes("!queue") ? 2500 : 150);
    say("running", { region: "local" });
    await pause(250);
    const text = ask.includes("!long") ? sample.repeat(6) : sample;
    const points = Array.from(text);
    let at = 0;
    let done = "stop";
    const cut = Math.floor(points.length / 3);
    let interrupted = false;
    while (at < points.length) {
      if (t.stop) { done = "stopped"; break; }
      const piece = points.slice(at, at + 6).join("");
      frame(c, "delta", { turn, offset: at, text: piece }, ask.includes("!gap") && at > cut && at <= cut + 6);
      at += Array.from(piece).length;
      await pause(35);
      if (at > cut && !interrupted) {
        interrupted = true;
        if (ask.includes("!cut")) for (const r of c.readers) r.destroy();
        if (ask.includes("!fail")) { say("failed", { error: "the engine went away", code: "unavailable" }); t.live = false; return; }
        if (ask.includes("!resume") || ask.includes("!restart")) {
          await pause(1200);
          const restart = ask.includes("!restart");
          frame(c, "resumed", { turn, attempt: 2, offset: restart ? 0 : at, policy: restart ? "restart" : "exact" });
          if (restart) at = 0;
        }
      }
    }
    add(c, "bot", points.slice(0, at).join(""), replyTo, { turn, model: "mock-1b", engine: "mock", finish: done, attempt: 1 }, { replyToId: replyTo });
    t.live = false;
    say(done === "stopped" ? "stopped" : "done");
  };

  const api = async (req: IncomingMessage, res: ServerResponse, url: URL): Promise<void> => {
    const send = (status: number, body?: unknown, head: Record<string, string> = {}): void => {
      res.writeHead(status, { "Content-Type": "application/json", ...head });
      res.end(body === undefined ? undefined : JSON.stringify(body));
    };
    const fail = (status: number, code: string, message: string, head = {}): void => send(status, { error: { code, message } }, head);
    const path = url.pathname.slice("/api/v1".length);
    const m = req.method ?? "GET";
    let body: Record<string, any> = {};
    if (m !== "GET") {
      if (req.headers["x-parley"] !== "1") return fail(403, "forbidden", "X-Parley is missing");
      let raw = "";
      for await (const b of req) raw += b;
      try { body = raw ? JSON.parse(raw) : {}; } catch { return fail(400, "invalid", "not JSON"); }
    }
    if (path === "/session") {
      if (body.key !== o.key) return fail(401, "unauthenticated", "wrong key");
      return send(204, undefined, { "Set-Cookie": "mock=1; Path=/; HttpOnly; SameSite=Lax" });
    }
    if (o.key && !/mock=1/.test(req.headers.cookie ?? "")) return fail(401, "unauthenticated", "a key is needed");
    if (path === "/info")
      return send(200, {
        version: "mock", region: "local", bots: [{ id: "parley", name: "Parley" }], limits: { message_bytes: 100_000 },
        engine: { name: "mock", model: "mock-1b", demo: o.demo, ready: true, problem: o.demo ? "no model could be fetched." : "" },
      });
    const show = (c: Conv) => ({ id: c.id, title: c.title, created: c.created, updated: c.updated, bot: "parley" });
    if (path === "/conversations" && m === "POST") {
      const key = String(req.headers["idempotency-key"] ?? "");
      let c = convs.get(created.get(key) ?? "");
      if (!c) {
        const now = new Date().toISOString();
        c = { id: `local.${++n}`, title: "", created: now, updated: now, frames: [], acts: [], turns: new Map(), readers: new Set() };
        convs.set(c.id, c);
        if (key) created.set(key, c.id);
      }
      return send(201, show(c));
    }
    if (path === "/conversations") {
      const all = [...convs.values()].sort((a, b) => (a.updated < b.updated ? 1 : -1));
      return send(200, { conversations: all.map(show), next: "" });
    }
    if (path === "/search") {
      const q = (url.searchParams.get("q") ?? "").toLowerCase();
      const hits = [...convs.values()].flatMap((c) =>
        c.acts.filter((a) => a.text.toLowerCase().includes(q)).map((a) => {
          const i = a.text.toLowerCase().indexOf(q);
          return { conversation: c.id, title: c.title, activity: a.id, at: c.updated,
            snippet: `${a.text.slice(Math.max(0, i - 40), i)}\ue000${a.text.slice(i, i + q.length)}\ue001${a.text.slice(i + q.length, i + 60)}` };
        }));
      return send(200, { hits });
    }
    const [, id, rest] = /^\/conversations\/([^/]+)(.*)$/.exec(path) ?? [];
    const c = convs.get(decodeURIComponent(id ?? ""));
    if (!c) return fail(404, "not_found", "there is no such conversation");
    if (rest === "" && m === "GET") return send(200, show(c));
    if (rest === "" && m === "PATCH") { c.title = body.title; frame(c, "title", { title: c.title }); return send(200, show(c)); }
    if (rest === "" && m === "DELETE") { frame(c, "deleted", {}); convs.delete(c.id); return send(204); }
    if (rest === "/activities" && m === "GET") return send(200, { activities: c.acts.map((a) => a.json) });
    if (rest === "/activities") {
      const key = String(req.headers["idempotency-key"] ?? "");
      const text = String(body.text ?? "");
      if (text.includes("!busy") && (busy.get(key) ?? 0) < 2) { busy.set(key, (busy.get(key) ?? 0) + 1); return fail(503, "unavailable", "the node is starting", { "Retry-After": "1" }); }
      let done = keys.get(key);
      if (!done) {
        const edits = body.channelData?.parley?.edits;
        const parent = edits ? (c.acts.find((a) => a.id === edits)?.parent ?? "") : (body.channelData?.parley?.parent ?? c.acts.at(-1)?.id ?? "");
        const turn = `t${++n}`;
        const a = add(c, "user", text, parent, { turn, edits }, { channelData: { client: body.channelData?.client } });
        done = { id: a.id, turn };
        keys.set(key, done);
        void answer(c, turn, a.id, text);
        if (!c.title) { c.title = text.slice(0, 40); frame(c, "title", { title: c.title }); }
      }
      if (text.includes("!lost") && !lost.has(key)) { lost.add(key); res.destroy(); return; }
      return send(202, done);
    }
    const turn = /^\/turns\/([^/]+)\/(stop|regenerate)$/.exec(rest ?? "");
    if (turn) {
      const t = c.turns.get(turn[1]!);
      if (!t) return fail(404, "not_found", "there is no such turn");
      if (turn[2] === "stop") { t.stop = true; return send(202, {}); }
      const key = String(req.headers["idempotency-key"] ?? "");
      let done = keys.get(key);
      if (!done) { done = { id: "", turn: `t${++n}` }; keys.set(key, done); void answer(c, done.turn, t.replyTo, ""); }
      return send(202, { turn: done.turn });
    }
    if (rest === "/events") {
      res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      const after = Number(url.searchParams.get("after") ?? 0);
      for (const f of c.frames) if (f.pos > after && !(f.drop && after > 0)) write(res, f);
      res.write(": here\n\n");
      c.readers.add(res);
      const beat = setInterval(() => res.write(": beat\n\n"), 10_000);
      res.on("close", () => { clearInterval(beat); c.readers.delete(res); });
      return;
    }
    fail(404, "not_found", "no such path");
  };

  const dist = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "internal", "web", "dist");
  const server = createServer((req, res) => {
    const url = new URL(req.url ?? "/", "http://mock");
    if (url.pathname.startsWith("/api/v1/")) return void api(req, res, url).catch(() => res.destroy());
    const name = url.pathname === "/" || url.pathname.startsWith("/c/") ? "/index.html" : normalize(url.pathname);
    try {
      const kind = name.endsWith(".html") ? "text/html; charset=utf-8" : name.endsWith(".js") ? "text/javascript" : name.endsWith(".css") ? "text/css" : "image/svg+xml";
      const file = readFileSync(join(dist, name));
      res.writeHead(200, {
        "Content-Type": kind,
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
      });
      res.end(file);
    } catch {
      res.writeHead(404).end();
    }
  });
  await new Promise<void>((done) => server.listen(o.port, "127.0.0.1", done));
  const a = server.address() as { port: number };
  return { url: `http://127.0.0.1:${a.port}/`, close: () => { server.closeAllConnections(); server.close(); } };
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
