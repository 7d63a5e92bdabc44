import assert from "node:assert/strict";
import { test } from "node:test";
import type { ComponentChild, VNode } from "preact";
import { formula as find } from "../src/markdown/math.ts";
import { parse, type Token } from "../src/markdown/parser.ts";
import { formula as set } from "../src/markdown/tex.ts";

// shape names the formulas of a text and what stands between them.
function shape(text: string): string {
  const walk = (all: Token[]): string =>
    all.map((t) => (t.type === "math" ? (t.info === "display" ? `[[${t.content}]]` : `[${t.content}]`) : t.children ? walk(t.children) : t.type === "softbreak" ? " " : t.content)).join("");
  return walk(parse(text, {}));
}

test("formulas are found where they are, and money stays money", () => {
  for (const [text, want] of [
    ["so \\(a^2\\) is", "so [a^2] is"],
    ["so $a^2$ is", "so [a^2] is"],
    ["it is $x$.", "it is [x]."],
    ["\\[ a = b \\]", "[[a = b]]"],
    ["$$\na = b\n\\\\ c\n$$", "[[a = b\n\\\\ c]]"],
    ["we have $$a$$ here", "we have [[a]] here"],
    ["- one\n  \\[\n  x\n  \\]\n- two", "one[[x]]two"],
    ["text\n\\[\nx\n\\]\nmore", "text[[x]]more"],
    ["it costs $5 and $10", "it costs $5 and $10"],
    ["$5-$10 or US$4", "$5-$10 or US$4"],
    ["$ x $", "$ x $"],
    ["a \\$ b $x\\$y$", "a $ b [x\\$y]"],
    ["not closed \\(a^2", "not closed (a^2"],
    ["not closed $$a", "not closed $$a"],
    ["`$x$` and \\\\(x\\\\)", "$x$ and \\(x\\)"],
    ["$$\n$$", "$$ $$"],
    ["a_b *c* $d_e*f*g$", "a_b c [d_e*f*g]"],
  ] as const) {
    assert.equal(shape(text), want, text);
  }
});

test("many dollars take no time", () => {
  for (const text of ["$a ".repeat(100_000), "$$a ".repeat(50_000), "\\(".repeat(100_000), "\\[\n".repeat(50_000), "\\[ a \\] b\n".repeat(20_000), "$$a\n".repeat(50_000), "\\[a\n".repeat(3000) + "\\]b", "$".repeat(100_000)]) {
    const began = performance.now();
    parse(text, {});
    assert.ok(performance.now() - began < 10_000, `${text.slice(0, 4)}… took ${performance.now() - began} ms`);
  }
});

// flat writes elements down, and what they carry.
function flat(c: ComponentChild): string {
  if (Array.isArray(c)) return c.map(flat).join("");
  if (c === null || c === undefined || typeof c !== "object") return String(c ?? "").replaceAll("<", "&lt;");
  const v = c as VNode<Record<string, unknown>>;
  const props = Object.entries(v.props).filter(([k]) => k !== "children");
  return `<${v.type as string}${props.map(([k, x]) => ` ${k}=${JSON.stringify(x)}`).join("")}>${flat(v.props.children as ComponentChild)}</>`;
}

test("formulas that grow are refused", () => {
  for (const tex of [
    `${"\\llap{".repeat(40)}a${"}".repeat(40)}`,
    `${"\\cancelto{a}{".repeat(40)}a${"}".repeat(40)}`,
    `\\let\\l\\rlap ${"\\l{".repeat(40)}a${"}".repeat(40)}`,
    `\\def\\l#1{\\clap{#1}} ${"\\l{".repeat(40)}a${"}".repeat(40)}`,
    `${"\\sqrt{".repeat(500)}a${"}".repeat(500)}`,
    `\\begin{matrix}${"&".repeat(4000)}\\end{matrix}`,
  ]) assert.equal(set(tex, true), null, tex.slice(0, 30));
  assert.notEqual(set("a\\rlap{b}\\cancelto{0}{x}", false), null);
});

test("TeX becomes MathML", () => {
  assert.match(flat(set("\\frac{a}{b}", false)), /<mfrac><mi>a<\/><mi>b<\/><\/>/);
  assert.match(flat(set("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", true)), /<mtable.*<mtd.*4/);
  assert.equal(set("\\frac{a", false), null);
  assert.equal(set("\\nosuchcommand", false), null);
});

test("TeX can't become anything else", () => {
  for (const tex of [
    "\\href{javascript:alert(1)}{x}",
    "\\url{https://evil.example}",
    "\\includegraphics{https://evil.example/p.png}",
    "\\class{evil}{x}",
    "\\style{background:url(https://evil.example)}{x}",
    "\\data{a=b}{x}",
    "\\id{a}{x}",
    "\\color{url(https://evil.example)}{x}",
    "\\textcolor{red;background:url(//evil.example)}{x}",
    "\\text{<img src=x onerror=alert(1)>}",
    "\\unicode{60}",
    "\\hspace{100000em}x",
    "\\rule{100000em}{100000em}",
  ]) {
    const made = (flat(set(tex, true)).match(/<[^>]*>/g) ?? []).join("");
    assert.doesNotMatch(made, /<(a|img|script|span|iframe)\b|<[^>]* on\w+=|href|src=|url\(|javascript|\bid=|100000/, tex);
  }
  for (const bomb of ["\\def\\a{xx}\\def\\b{\\a\\a}".concat("\\def\\c{\\b\\b}\\def\\d{\\c\\c}\\def\\e{\\d\\d}\\def\\f{\\e\\e}\\def\\g{\\f\\f}\\g\\g\\g"), "\\def\\a{\\a\\a}\\a", "{".repeat(5000) + "}".repeat(5000), "x^{".repeat(1000) + "}".repeat(1000), "x".repeat(5000)]) {
    const began = performance.now();
    set(bomb, true);
    assert.ok(performance.now() - began < 5000, `${bomb.slice(0, 20)}… took ${performance.now() - began} ms`);
  }
});

test("nothing but a formula begins one", () => {
  assert.equal(find("plain", 0), null);
  assert.equal(find("\\(a\\)", 1), null);
});
