// A world of regions on this machine.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ok, until } from "./util.mjs";

export const regions = ["koreacentral", "southeastasia"];

export function signal(w, region, how) {
  const pid = Number(readFileSync(join(w.home, "data", "regions", region, "parley.pid"), "utf8"));
  ok(pid > 1, `the pid of ${region}`);
  process.kill(pid, how);
  return pid;
}

// told is what a world says of its regions, or nothing.
export const told = async (w) => (await fetch(`${w.url}/api/v1/regions`).then((r) => r.json()).catch(() => ({ regions: [] }))).regions;

// whole waits until all regions serve, whatever the story before this one did.
export async function whole(w) {
  await until(async () => (await told(w)).length === 3 && (await told(w)).every((r) => r.state === (r.role === "witness" ? "witness" : "serving")), "all regions serve", 60_000, 200);
  return told(w);
}
