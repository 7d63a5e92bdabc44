// Formulas in markdown: \(…\) and $…$ in a line, \[…\] and $$…$$ on their own.
// A dollar is a dollar unless it hugs what it opens and no digit follows the one
// that closes. What is not closed (yet) is text.
import type MarkdownIt from "markdown-it";

type Parser = InstanceType<typeof MarkdownIt>;

type Mark = { open: string; close: string; display: boolean; most: number };

const longest = 5000; // characters

const marks: readonly Mark[] = [
  { open: "\\(", close: "\\)", display: false, most: 2000 },
  { open: "\\[", close: "\\]", display: true, most: longest },
  { open: "$$", close: "$$", display: true, most: longest },
  { open: "$", close: "$", display: false, most: 500 },
];

type Found = { tex: string; end: number; display: boolean };

// What was found last, for each mark: a text is asked about place after place.
const found = new Map<string, { src: string; from: number; at: number }>();

// next is src.indexOf(close, from) without looking at everything each time.
function next(src: string, close: string, from: number): number {
  const f = found.get(close);
  if (f?.src === src && f.from <= from && (from <= f.at || f.at < 0)) return f.at;
  const at = src.indexOf(close, from);
  found.set(close, { src, from, at });
  return at;
}

// formula returns the one that begins at a place of a text.
export function formula(src: string, at: number): Found | null {
  const m = marks.find((m) => src.startsWith(m.open, at));
  if (!m) return null;
  const from = at + m.open.length;
  if (m.open === "$" && /\s/.test(src[from] ?? " ")) return null;
  let end = next(src, m.close, from);
  while (m.close.startsWith("$") && end > from && src[end - 1] === "\\") end = next(src, m.close, end + 1);
  if (end < 0 || end - from > m.most) return null;
  if (m.close === "$" && (/\s/.test(src[end - 1]!) || /[\d$]/.test(src[end + 1] ?? ""))) return null;
  const tex = src.slice(from, end).trim();
  return tex === "" ? null : { tex, end: end + m.close.length, display: m.display };
}

// maths teaches the parser tokens of the type "math".
export function maths(md: Parser): void {
  md.inline.ruler.before("escape", "math", (state, silent) => {
    const c = state.src[state.pos];
    if (c !== "$" && c !== "\\") return false;
    const f = formula(state.src, state.pos);
    if (!f) return false;
    if (!silent) {
      const t = state.push("math", "math", 0);
      t.content = f.tex;
      t.info = f.display ? "display" : "";
    }
    state.pos = f.end;
    return true;
  });
  md.block.ruler.before(
    "fence",
    "math",
    (state, line, last, silent) => {
      const from = state.bMarks[line]! + state.tShift[line]!;
      if (state.sCount[line]! - state.blkIndent >= 4 || !/^(\$\$|\\\[)/.test(state.src.slice(from, from + 2))) return false;
      const here = formula(state.src, from);
      if (!here) return false; // nearly always, and at once
      let to = line + 1; // no further than the formula reaches
      while (to < last && state.eMarks[to - 1]! < here.end) to++;
      const text = state.getLines(line, to, state.blkIndent, false);
      const f = formula(text, text.search(/\S/));
      if (!f || !/^[ \t]*(\n|$)/.test(text.slice(f.end))) return false;
      if (silent) return true;
      const next = line + text.slice(0, f.end).split("\n").length;
      const t = state.push("math", "math", 0);
      t.block = true;
      t.content = f.tex;
      t.info = "display";
      t.map = [line, next];
      state.line = next;
      return true;
    },
    { alt: ["paragraph", "reference", "blockquote", "list"] },
  );
}
