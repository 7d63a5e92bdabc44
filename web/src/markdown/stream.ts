// Stream turns a growing text into blocks and parses as little as it can: blocks
// that later text cannot change any more are kept, only the tail is parsed
// again. The last two blocks count as tail, because a line may still turn out
// to belong to the block before it. Link definitions that come late reach
// earlier blocks when the text is complete.
import type { ComponentChild } from "preact";
import { parse, type Env, type Token } from "./parser.ts";
import { view } from "./view.tsx";

export type Block = { src: string; children: ComponentChild[] };

export const most = 500_000; // UTF-16 units; a longer text is shown plain

export class Stream {
  private text = "";
  private kept: Block[] = []; // final
  private end = 0; // of the kept blocks in text
  private env: Env = {};
  private all: Block[] = [];
  private complete = false;
  parsed = 0; // units parsed so far, for tests

  // update returns the blocks of text. A block that did not change is the same
  // object as before.
  update(raw: string, complete: boolean): readonly Block[] {
    const text = raw.includes("\r") ? raw.replace(/\r\n?/g, "\n") : raw;
    if (text === this.text && complete === this.complete) return this.all;
    const old = this.all;
    if (complete || !text.startsWith(this.text)) {
      this.kept = [];
      this.end = 0;
      this.env = {};
    }
    this.text = text;
    this.complete = complete;
    if (text.length > most) {
      this.all = [{ src: text, children: [text] }];
      return this.all;
    }
    const tail = text.slice(this.end);
    const env: Env = { references: { ...this.env.references } };
    const parts = this.split(tail, env);
    const late = complete && Object.keys(env.references ?? {}).length > 0;
    let at = this.kept.length;
    const reuse = (p: Part): Block => {
      const before = late ? undefined : old[at];
      at++;
      return before?.src === p.src ? before : { src: p.src, children: view(p.tokens) };
    };
    const blocks = parts.map(reuse);
    this.all = [...this.kept, ...blocks];
    const sure = complete ? 0 : Math.max(0, parts.length - 2);
    if (sure > 0) {
      const cut = parts[sure]!.from;
      this.split(tail.slice(0, cut), this.env); // for the definitions in it
      this.kept.push(...blocks.slice(0, sure));
      this.end += cut;
    }
    return this.all;
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
    return groups.map((g, i) => ({ tokens: g, from: from[i]!, src: text.slice(from[i]!, from[i + 1] ?? text.length) }));
  }
}

type Part = { tokens: Token[]; from: number; src: string };

function lineStarts(text: string): number[] {
  const out = [0];
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) out.push(i + 1);
  return out;
}
