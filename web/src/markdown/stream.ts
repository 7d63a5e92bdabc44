// Stream turns a growing text into blocks and parses as little as it can: blocks
// that later text cannot change any more are kept, only the tail is parsed
// again. The last two blocks count as tail, because a line may still turn out
// to belong to the block before it. Link definitions that come late reach
// earlier blocks when the text is complete. Whatever a text is made of, the work
// and the number of elements are bounded: what is beyond is shown plain.
import { h, type ComponentChild } from "preact";
import { parse, type Env, type Token } from "./parser.ts";
import { view } from "./view.tsx";

export type Block = { src: string; children: ComponentChild[] };

export const most = 200_000; // UTF-16 units; a longer text is shown plain
const long = 32_000; // units; a longer tail is parsed again only when it has grown by an eighth
const room = 40_000; // tokens; what comes after so many is shown plain
const formula = 50; // tokens that setting one is worth

export class Stream {
  private text = "";
  private kept: Block[] = []; // final
  private end = 0; // of the kept blocks in text
  private weight = 0; // of the kept blocks
  private env: Env = {};
  private all: Block[] = [];
  private drawn: Block[] = []; // what was parsed last
  private seen = 0; // units of text that drawn shows
  private complete = false;
  parsed = 0; // units parsed so far, for tests

  // update returns the blocks of text. A block that did not change is the same
  // object as before.
  update(raw: string, complete: boolean): readonly Block[] {
    const text = raw.includes("\r") ? raw.replace(/\r\n?/g, "\n") : raw;
    if (text === this.text && complete === this.complete) return this.all;
    const anew = complete || !text.startsWith(this.text);
    this.text = text;
    this.complete = complete;
    if (anew) {
      this.kept = [];
      this.end = this.weight = this.seen = 0;
      this.env = {};
    }
    if (text.length > most) return (this.all = [plain(text)]);
    const tail = text.length - this.end;
    if (this.seen > 0 && tail > long && text.length - this.seen < tail / 8) return (this.all = [...this.drawn, plain(text.slice(this.seen))]);
    this.drawn = this.all = this.draw();
    this.seen = text.length;
    return this.all;
  }

  private draw(): Block[] {
    const old = this.all;
    const tail = this.text.slice(this.end);
    const env: Env = { references: { ...this.env.references } };
    const parts = this.split(tail, env);
    const late = this.complete && Object.keys(env.references ?? {}).length > 0;
    const blocks: Block[] = [];
    const sure = this.complete ? 0 : Math.max(0, parts.length - 2);
    let weight = this.weight;
    for (const [i, p] of parts.entries()) {
      weight += p.weight;
      if (weight > room) return [...this.kept, ...blocks, plain(tail.slice(p.from))];
      const before = late ? undefined : old[this.kept.length + i];
      blocks.push(before?.src === p.src ? before : { src: p.src, children: view(p.tokens) });
      if (i < sure) this.weight = weight;
    }
    const all = [...this.kept, ...blocks];
    if (sure > 0) {
      const cut = parts[sure]!.from;
      this.split(tail.slice(0, cut), this.env); // for the definitions in it
      this.kept.push(...blocks.slice(0, sure));
      this.end += cut;
    }
    return all;
  }

  private split(text: string, env: Env): Part[] {
    this.parsed += text.length;
    const tokens = parse(text, env);
    const groups: Token[][] = [];
    let depth = 0;
    for (const t of tokens) {
      if (depth === 0) groups.push([]);
      groups.at(-1)!.push(t);
      depth += t.nesting;
    }
    const starts = lineStarts(text);
    const from = groups.map((g) => starts[g[0]!.map?.[0] ?? 0] ?? 0);
    return groups.map((g, i) => ({ tokens: g, weight: weigh(g), from: from[i]!, src: text.slice(from[i]!, from[i + 1] ?? text.length) }));
  }
}

// plain is a text without markdown, in slices: one line of a million characters
// would be laid out as a whole.
export function plain(text: string): Block {
  const children: ComponentChild[] = [];
  for (let i = 0, to = 0; i < text.length; i = to) {
    to = i + slice;
    const line = text.lastIndexOf("\n", to - 1) + 1;
    if (to < text.length) to = line > i ? line : /[\ud800-\udbff]/.test(text[to - 1]!) ? to - 1 : to;
    children.push(h("div", { class: "plain" }, text.slice(i, to)));
  }
  return { src: "", children }; // never taken for what was parsed
}

const slice = 8000; // units

const weigh = (tokens: readonly Token[]): number => tokens.reduce((sum, t) => sum + (t.type === "math" ? formula : 1 + weigh(t.children ?? [])), 0);

type Part = { tokens: Token[]; weight: number; from: number; src: string };

function lineStarts(text: string): number[] {
  const out = [0];
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) out.push(i + 1);
  return out;
}
