// What an activity carries came over the network: the page shows what it can
// stand for and nothing else.
import assert from "node:assert/strict";
import { test } from "node:test";
import { carried, plain, taken, trunk } from "../src/files.ts";
import type { Activity } from "../src/types.ts";

const of = (...attachments: unknown[]): Activity => ({ type: "message", id: "a", attachments: attachments as Activity["attachments"] });
const own = "/api/v1/conversations/local-1/files/0a";

test("files of this service are shown, others are links, the rest is not there", () => {
  assert.deepEqual(
    carried(of({ name: "cat.png", contentType: "image/png", contentUrl: own, size: 7 }, { name: "x", contentType: "image/png", contentUrl: "https://elsewhere.example/x.png" })),
    [
      { name: "cat.png", url: own, own: true, picture: true, size: 7 },
      { name: "x", url: "https://elsewhere.example/x.png", own: false, picture: false, size: 0 },
    ],
  );
  for (const contentUrl of ["javascript:alert(1)", "data:text/html,x", "//elsewhere.example/x", "/api/v1/conversations/../../metrics", "/metrics", "\\\\x", "", 7, null, `${own}?x`, `${own}\n`]) {
    assert.deepEqual(carried(of({ contentUrl, contentType: "image/png" })), [], String(contentUrl));
  }
  assert.equal(carried(of({ contentUrl: own, contentType: "image/svg+xml" }))[0]?.picture, false, "a drawing may be a program");
  assert.equal(carried(of({ contentUrl: own, name: 7, size: "big", contentType: [] }))[0]?.name, "file");
  for (const odd of [undefined, null, 7, "x", {}]) assert.deepEqual(carried({ type: "message", id: "a", attachments: odd as never }), []);
  assert.deepEqual(carried(of(null, 7, "x")), []);
  assert.equal(carried(of(...Array.from({ length: 1000 }, () => ({ contentUrl: own })))).length, 100);
});

test("a name reads as it is", () => {
  assert.equal(plain("invoice\u202egpj.exe"), "invoicegpj.exe");
  assert.equal(plain("a\u2066b\u2069\r\nc"), "abc");
  assert.equal(plain("x".repeat(10_000)).length, 200);
  assert.equal(plain(""), "file");
});

test("what a file is, its bytes say", async () => {
  const kind = async (bytes: string, type: string) => {
    const f = await trunk.put(new File([Uint8Array.from(bytes, (c) => c.charCodeAt(0))], "x", { type }));
    return `${f.kind} ${f.type}`;
  };
  assert.equal(await kind("\x89PNG\r\n\x1a\n\0", "text/plain"), "picture image/png");
  assert.equal(await kind("RIFF\0\0\n\0WEBPVP8 ", ""), "picture image/webp");
  assert.equal(await kind("# x", "text/markdown;charset=utf-8"), "text text/markdown");
  assert.equal(await kind("caf\xe9", "text/plain"), "other text/plain");
  assert.equal(await kind("\0\x01", ""), "other application/octet-stream");
  assert.equal(trunk.stored, false, "there is no database here, and it says so");
});

test("the node's types are known before anything is sent", () => {
  const f = (type: string) => ({ id: "", name: "", type, size: 1, kind: "other" as const });
  assert.equal(taken(f("image/png"), undefined), true);
  assert.equal(taken(f("image/png"), ["image/*"]), true);
  assert.equal(taken(f("application/pdf"), ["image/*", "text/*"]), false);
});
