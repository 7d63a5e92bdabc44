// What the first visit costs a slow phone: bytes, requests, and how long the
// page can't be used.
import { ok, until } from "../lib/util.mjs";

export const alone = true;

// A network and a processor as Lighthouse plays them: "slow 4G", four times
// slower.
const line = { offline: false, latency: 150, downloadThroughput: (1.6 * 1024 * 1024) / 8, uploadThroughput: (750 * 1024) / 8 };
const slower = 4;

// What a visit may cost. Work is what the page's thread did until all was there,
// in its own processor time: what blocks the reader is a part of it. The clock's
// times are told and not judged, for they are those of whatever else the machine
// does.
const most = { bytes: 200_000, requests: 16, work: 1500, shift: 0.05 };

async function visit(t, url) {
  const context = await t.browser.newContext({ viewport: { width: 390, height: 844 }, hasTouch: true, serviceWorkers: "block" });
  t.undo(() => context.close());
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.seen = { tasks: [], largest: 0, first: 0, shift: 0 };
    const on = (type, each) => new PerformanceObserver((l) => l.getEntries().forEach(each)).observe({ type, buffered: true });
    on("longtask", (e) => window.seen.tasks.push([e.startTime, e.duration]));
    on("largest-contentful-paint", (e) => (window.seen.largest = e.startTime));
    on("paint", (e) => e.name === "first-contentful-paint" && (window.seen.first = e.startTime));
    on("layout-shift", (e) => (window.seen.shift += e.value));
  });
  const cdp = await context.newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  await cdp.send("Network.enable");
  await cdp.send("Network.emulateNetworkConditions", line);
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: slower });
  const got = { bytes: 0, requests: 0, open: 0 };
  cdp.on("Network.requestWillBeSent", () => (got.requests++, got.open++));
  cdp.on("Network.loadingFailed", () => got.open--);
  cdp.on("Network.loadingFinished", (e) => {
    got.bytes += e.encodedDataLength;
    got.open--;
  });
  await page.goto(url);
  await page.waitForSelector("#compose:enabled");
  const usable = await page.evaluate(() => performance.now());
  let quiet = 0;
  await until(() => (quiet = got.open === 0 ? quiet + 1 : 0) > 20, "all has come", 60_000);
  const seen = await page.evaluate(() => window.seen);
  const blocked = seen.tasks.filter(([at]) => at >= seen.first).reduce((sum, [, took]) => sum + took - 50, 0);
  const work = 1000 * (await cdp.send("Performance.getMetrics")).metrics.find((m) => m.name === "TaskDuration").value;
  await context.close();
  return { bytes: got.bytes, requests: got.requests, work: Math.round(work), blocked: Math.round(blocked), first: Math.round(seen.first), largest: Math.round(seen.largest), usable: Math.round(usable), shift: Math.round(1000 * seen.shift) / 1000 };
}

export const stories = {
  "the first visit on a slow phone costs no more than it may": async (t) => {
    const e = await t.engine({ delay: 0 });
    const n = await t.node({ engine: e.url });
    const v = await visit(t, n.url);
    t.log(`${(v.bytes / 1000).toFixed(1)} kB in ${v.requests} requests, work ${v.work} ms, shift ${v.shift}; by the clock: first paint ${v.first} ms, largest ${v.largest} ms, usable ${v.usable} ms, blocked ${v.blocked} ms`);
    ok(v.largest > 0 && v.first > 0 && v.work > 0, "the browser measured");
    for (const [what, bound] of Object.entries(most)) ok(v[what] <= bound, `${what}: at most ${bound}; it was ${v[what]}`);
  },
};
