export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// until polls a condition; it fails with what was expected.
export async function until(ok, what, limit = 20_000, every = 25) {
  const end = Date.now() + limit;
  let last;
  for (;;) {
    last = await ok();
    if (last) return last;
    if (Date.now() > end) throw new Error(`not within ${limit / 1000} s: ${what}`);
    await pause(every);
  }
}

export function equal(got, want, what) {
  if (got === want) return;
  let i = 0;
  while (i < got?.length && i < want?.length && got[i] === want[i]) i++;
  const near = (s) => (typeof s === "string" ? `(${s.length}) …${JSON.stringify(s.slice(Math.max(0, i - 40), i + 60))}` : JSON.stringify(s));
  throw new Error(`${what}: they differ at ${i}\n  got  ${near(got)}\n  want ${near(want)}`);
}

// soon is equal for what the page shows a moment after it was asked to.
export async function soon(read, want, what, limit = 5_000) {
  let got;
  for (const end = Date.now() + limit; Date.now() < end; await pause(25)) {
    got = await read();
    if (got === want) return;
  }
  equal(got, want, what);
}

export function ok(v, what) {
  if (!v) throw new Error(`expected: ${what}`);
}

// bare is a text's letters and digits: markdown's own signs are not on screen.
export const bare = (s) => s.replace(/[^\p{L}\p{N}]+/gu, "");
