import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { backoff, Parser, Reader, type Link, type Message } from "../src/sse.ts";

test("messages come out whole however the stream is cut", () => {
  const stream =
    "\ufeff: hello\n\nid: 8\nevent: delta\ndata: {\"a\":1}\n\nid:9\r\ndata:one\r\ndata: two\r\n\r\nevent: x\rdata\rdata: \r\rretry: 5\n\nid: 10\n\nevent: last\ndata: 日本😀\n\ndata: never ended";
  const want: Message[] = [
    { event: "delta", id: "8", data: '{"a":1}' },
    { event: "message", id: "9", data: "one\ntwo" },
    { event: "x", id: "", data: "\n" },
    { event: "last", id: "", data: "日本😀" },
  ];
  for (let size = 1; size <= stream.length; size++) {
    const p = new Parser();
    const got: Message[] = [];
    for (let i = 0; i < stream.length; i += size) got.push(...p.push(stream.slice(i, i + size)));
    assert.deepEqual(got, want, `pieces of ${size}`);
  }
});

test("the wait doubles from 250 ms to its limit, with jitter", () => {
  assert.equal(backoff(0, 2000, () => 1), 250);
  assert.equal(backoff(1, 2000, () => 1), 500);
  assert.equal(backoff(9, 2000, () => 1), 2000);
  assert.equal(backoff(1000, 2000, () => 1), 2000);
  assert.equal(backoff(0, 2000, () => 0), 150);
});

// A server that hands out frames 1.. and cuts the line when told.
async function server(handle: (after: number, res: ServerResponse) => void) {
  const s = createServer((req, res) => handle(Number(new URL(req.url!, "http://x").searchParams.get("after")), res));
  await new Promise<void>((done) => s.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${(s.address() as AddressInfo).port}/`, close: () => (s.closeAllConnections(), s.close()) };
}

async function until(ok: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (ok()) return;
    await new Promise((done) => setTimeout(done, 5));
  }
  throw new Error("it did not happen in 10 s");
}

test("a cut stream goes on behind the last position, nothing lost or twice", async () => {
  let connections = 0;
  const s = await server((after, res) => {
    connections++;
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    for (let i = after + 1; i <= Math.min(10, after + 3); i++) res.write(`id: ${i}\ndata: ${i}\n\n`);
    if (after + 3 < 10) res.write(`id: 99\nda`, () => res.destroy()); // half a message, then the line breaks
  });
  let position = 0;
  const got: number[] = [];
  const links: string[] = [];
  const r = new Reader({
    url: () => `${s.url}?after=${position}`,
    onMessage: (m) => {
      position = Number(m.id);
      got.push(position);
    },
    onLink: (l) => links.push(l.state),
  });
  r.start();
  await until(() => got.length >= 10);
  r.stop();
  s.close();
  assert.deepEqual(got, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(connections, 4);
  assert.ok(links.includes("waiting"));
});

test("refusals end the stream, other errors do not", async () => {
  for (const [status, ends] of [[401, true], [404, true], [410, true], [503, false], [500, false]] as const) {
    const s = await server((_, res) => res.writeHead(status).end());
    const links: Link[] = [];
    const r = new Reader({ url: () => s.url, onMessage: () => assert.fail("a message"), onLink: (l) => links.push(l) });
    r.start();
    await until(() => links.some((l) => l.state === "closed" || l.state === "waiting"));
    r.stop();
    s.close();
    assert.equal(links.at(-1)!.state, ends ? "closed" : "waiting", String(status));
  }
});

test("a silent line counts as lost", async () => {
  let connections = 0;
  const s = await server((_, res) => {
    connections++;
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    res.write(": here\n\n");
  });
  const r = new Reader({ url: () => s.url, onMessage: () => {}, onLink: () => {}, silence: 50 });
  r.start();
  await until(() => connections >= 2);
  r.stop();
  s.close();
});

test("a line that was silent while the machine slept counts as lost", async () => {
  let connections = 0;
  const s = await server((_, res) => {
    connections++;
    res.writeHead(200, { "Content-Type": "text/event-stream" });
    res.write(": here\n\n");
  });
  const now = Date.now;
  const r = new Reader({ url: () => s.url, onMessage: () => {}, onLink: () => {} });
  try {
    r.start();
    await until(() => r.link.state === "live");
    Date.now = () => now() + 600_000;
    await until(() => connections >= 2);
  } finally {
    Date.now = now;
    r.stop();
    s.close();
  }
});
