// What is read aloud of an answer: its words, sentence by sentence. Of what
// nobody wants to hear sign by sign (code, formulas, addresses) it is said that
// it is there.
import { parse, type Token } from "../markdown/parser.ts";
import { most } from "../markdown/stream.ts";

// Instead is what is said in the place of things that can't be read.
export type Instead = { code: (lang: string) => string; formula: string; image: (alt: string) => string };

const long = 240; // units; speech of longer pieces is cut off in some browsers

// spoken lists the sentences of a text. That of a running answer ends with the
// last sentence that nothing can be added to.
export function spoken(text: string, complete: boolean, instead: Instead): string[] {
  const all = blocks(parse(text.slice(0, most), {}), instead);
  const last = complete ? all.length : all.length - 1;
  return all
    .flatMap((b, i) => (i < last ? sentences(b) : sentences(b).slice(0, -1)))
    .filter((s) => /[\p{L}\p{N}]/u.test(s))
    .flatMap(pieces);
}

// blocks are the texts of paragraphs, list items, rows of tables and so on.
function blocks(tokens: readonly Token[], instead: Instead): string[] {
  const out: string[] = [];
  let row: string[] | null = null;
  let number = "";
  for (const t of tokens) {
    if (t.type === "tr_open") row = [];
    else if (t.type === "tr_close") {
      out.push((row ?? []).join(", "));
      row = null;
    } else if (t.type === "list_item_open") number = t.info;
    else if (t.type === "fence" || t.type === "code_block") out.push(instead.code(t.info.trim().split(/\s/)[0] ?? ""));
    else if (t.type === "math") out.push(instead.formula);
    else if (t.type === "inline") {
      const line = flat(t.children ?? [], instead);
      if (row) row.push(line);
      else out.push(number === "" ? line : `${number}: ${line}`);
      number = "";
    }
  }
  return out;
}

function flat(tokens: readonly Token[], instead: Instead): string {
  const out = tokens.map((t) => {
    switch (t.type) {
      case "text":
      case "code_inline":
        return t.content;
      case "softbreak":
      case "hardbreak":
        return "\n";
      case "math":
        return instead.formula;
      case "image":
        return instead.image((t.children ?? []).map((c) => c.content).join("") || t.content);
    }
    return "";
  });
  return out
    .join("")
    .replace(/\bhttps?:\/\/(?:www\.)?([^\s/?#]+)\S*/g, "$1") // of an address, where it leads
    .replace(/\p{Extended_Pictographic}\ufe0f?/gu, "");
}

function sentences(text: string): string[] {
  const cut =
    typeof Intl.Segmenter === "function"
      ? [...new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(text)].map((s) => s.segment)
      : text.split(/(?<=[.!?…])\s+|(?<=[。！？])|\n/);
  return cut.map((s) => s.replace(/\s+/g, " ").trim()).filter((s) => s !== "");
}

// pieces cuts a sentence that is too long for one breath.
function pieces(sentence: string): string[] {
  const out: string[] = [];
  let rest = sentence;
  while (rest.length > long) {
    const head = rest.slice(0, long);
    const pause = Math.max(...[", ", "; ", "、", "，"].map((p) => head.lastIndexOf(p) + 1));
    const at = pause > 0 ? pause : head.lastIndexOf(" ") > 0 ? head.lastIndexOf(" ") : long;
    out.push(rest.slice(0, at).trim());
    rest = rest.slice(at).trim();
  }
  return rest === "" ? out : [...out, rest];
}
