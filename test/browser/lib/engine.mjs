// A canned OpenAI-compatible engine: not a language model, but a real server of
// the real protocol, so that a story knows what must be on the page. It answers
// by what the last user message says, continues a text that is prefilled, and
// can be slow or refuse.
import { createServer } from "node:http";
import { pause } from "./util.mjs";

export const numbered = (n) => Array.from({ length: n }, (_, i) => `w${i}`).join(" ") + ".";

export class Engine {
  constructor({ models = ["canned-1"], vision = [], delay = 20, size = 0, answer = (ask) => `You said: ${ask}. ${numbered(40)}` } = {}) {
    this.models = models;
    this.vision = vision; // models that read pictures
    this.delay = delay; // ms before each piece
    this.size = size; // of a piece in characters; 0 = a word
    this.answer = answer; // of the last user message
    this.calls = 0; // answers asked for
    this.cut = 0; // of them, given up by the caller
    this.pieces = 0; // sent
    this.running = 0;
  }

  async start() {
    this.server = createServer((req, res) => void this.handle(req, res).catch(() => res.destroy()));
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.url = `http://127.0.0.1:${this.server.address().port}/v1`;
    return this;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  async handle(req, res) {
    if (req.url.endsWith("/models")) {
      res.writeHead(200, { "Content-Type": "application/json" });
      return void res.end(JSON.stringify({ object: "list", data: this.models.map((id) => ({ id, object: "model", owned_by: "story", capabilities: { vision: this.vision.includes(id) } })) }));
    }
    if (req.method !== "POST" || !req.url.endsWith("/chat/completions")) return void res.writeHead(404, { "Content-Type": "application/json" }).end('{"error":{"message":"no such path"}}');
    let raw = "";
    for await (const b of req) raw += b;
    const body = JSON.parse(raw);
    this.calls++;
    this.asked = body.messages; // newest
    const said = (m) => (typeof m.content === "string" ? m.content : (m.content ?? []).map((p) => p.text ?? "").join(""));
    const ask = said(body.messages.findLast((m) => m.role === "user") ?? { content: "" });
    let text = this.answer(ask);
    const last = body.messages.at(-1);
    if (last?.role === "assistant" && text.startsWith(said(last))) text = text.slice(said(last).length);
    const head = { id: "c1", created: 1, model: body.model ?? "canned-1" };
    if (!body.stream) {
      res.writeHead(200, { "Content-Type": "application/json" });
      const message = { role: "assistant", content: text };
      return void res.end(JSON.stringify({ ...head, object: "chat.completion", choices: [{ index: 0, message, finish_reason: "stop" }], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } }));
    }
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    let gone = false;
    this.running++;
    res.on("close", () => {
      if (!res.writableEnded) {
        gone = true;
        this.cut++;
      }
    });
    const chunk = (delta, finish = null) =>
      res.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`);
    chunk({ role: "assistant", content: "" });
    try {
      for (const piece of (this.size > 0 ? text.match(new RegExp(`[^]{1,${this.size}}`, "gu")) : text.match(/\s*\S+\s*|\s+/gu)) ?? []) {
        await pause(this.delay);
        if (gone) return;
        this.pieces++;
        chunk({ content: piece });
      }
      chunk({}, "stop");
      if (body.stream_options?.include_usage) res.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", choices: [], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } })}\n\n`);
      res.end("data: [DONE]\n\n");
    } finally {
      this.running--;
    }
  }
}
