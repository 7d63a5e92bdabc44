// How a message is, in words.
import type { VNode } from "preact";
import { useEffect, useReducer } from "preact/hooks";
import { type Node, withdrawn } from "../conversation.ts";
import type { Open } from "../open.ts";
import type { Item, Progress } from "../outbox.ts";
import { locale, words } from "../talk.ts";

// useNode renders again with every change of one message.
export function useNode(open: Open, key: string): void {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => open.watch(key, () => again(undefined)), [open, key]);
}

// stateOf says in words where an answer is and who gave it.
// named: with the model and the region.
export function stateOf(n: Node, stopping: boolean, named = true): string {
  if (withdrawn(n)) return words.withdrawn;
  const t = n.turn;
  const meta = n.activity?.channelData?.parley;
  const where = named ? place(t?.region) : "";
  const out: string[] = [];
  if (!n.activity && t) {
    if (t.state === "queued") out.push(words.queued(t.position));
    else if (t.state === "running" && t.waits && n.text === "" && !stopping) out.push(words.inLine(t.waits.place, t.waits.soon, t.waits.late));
    else if (t.state === "running") out.push(stopping ? words.stopping : n.text === "" ? words.thinking(where) : words.answering(where));
  }
  if (t?.state === "stopped" || meta?.finish === "stopped" || meta?.finish === "stop_requested") out.push(words.stopped);
  if (meta?.finish === "length") out.push(words.cutShort);
  if (t?.resumed) out.push(words.resumed(t.resumed.after));
  else if (meta?.attempt !== undefined && meta.attempt > 1) out.push(words.attempts(meta.attempt));
  if (meta?.demo) out.push(words.demonstration);
  if (named) for (const who of [meta?.model, place(meta?.region)]) if (who && !out.includes(who)) out.push(who);
  return out.join(" · ");
}

// place is a region worth naming: one node alone calls itself local.
const place = (region: string | undefined): string => (region === "local" ? "" : (region ?? ""));

// Clock is the time at which something was said.
export function Clock({ at }: { at: string }): VNode | null {
  const d = new Date(at);
  if (at === "" || Number.isNaN(d.getTime())) return null;
  const today = d.toDateString() === new Date().toDateString();
  const short = today ? { timeStyle: "short" as const } : { dateStyle: "medium" as const, timeStyle: "short" as const };
  return (
    <time class="clock" dir="auto" dateTime={at} title={d.toLocaleString(locale, { dateStyle: "full", timeStyle: "medium" })}>
      {d.toLocaleString(locale, short)}
    </time>
  );
}

// waitingState says how something is that is on its way out.
export function waitingState(item: Item, p: Progress | undefined): string {
  if (item.failed !== undefined) return words.notSent(item.failed);
  if (item.activity !== undefined || item.answer !== undefined) return words.accepted;
  if (p?.sending && p.part) return p.part;
  if (!p || p.sending || p.tries === 0) return item.kind === "regenerate" ? words.asking : words.sending;
  const s = Math.ceil((p.next - Date.now()) / 1000);
  return p.why ? words.waitingWhy(p.why, s) : words.waitingNet(s);
}
