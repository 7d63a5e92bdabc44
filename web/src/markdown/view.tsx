// From the parser's tokens to elements. There is no HTML text anywhere on the
// way: only the elements named here, with only the attributes named here, so
// that nothing a model writes can become markup of its own.
import { h, type ComponentChild } from "preact";
import { CodeBlock } from "../ui/code.tsx";
import { Formula } from "../ui/math.tsx";
import { words } from "../talk.ts";
import type { Token } from "./parser.ts";
import { safe } from "./urls.ts";

const plain: Record<string, string> = {
  paragraph: "p",
  blockquote: "blockquote",
  bullet_list: "ul",
  list_item: "li",
  thead: "thead",
  tbody: "tbody",
  tr: "tr",
  em: "em",
  strong: "strong",
  s: "s",
};

type Frame = { open: Token | null; children: ComponentChild[] };

// view makes elements of tokens, which must be complete (every opening closed).
export function view(tokens: readonly Token[]): ComponentChild[] {
  const stack: Frame[] = [{ open: null, children: [] }];
  for (const t of tokens) {
    if (t.nesting === 1) {
      stack.push({ open: t, children: [] });
      continue;
    }
    if (t.nesting === -1) {
      if (stack.length === 1) continue; // never from this parser
      const f = stack.pop()!;
      stack.at(-1)!.children.push(...element(f.open!, f.children));
      continue;
    }
    stack.at(-1)!.children.push(...leaf(t));
  }
  while (stack.length > 1) {
    const f = stack.pop()!;
    stack.at(-1)!.children.push(...f.children);
  }
  return stack[0]!.children;
}

function leaf(t: Token): ComponentChild[] {
  switch (t.type) {
    case "inline":
      return view(t.children ?? []);
    case "text":
      return t.content === "" ? [] : [t.content];
    case "softbreak":
    case "hardbreak":
      return [h("br", null)];
    case "code_inline":
      return [h("code", null, t.content)];
    case "fence":
    case "code_block":
      return [h(CodeBlock, { text: t.content, lang: language(t.info) })];
    case "math":
      return [h(Formula, { tex: t.content, display: t.info === "display" })];
    case "hr":
      return [h("hr", null)];
    case "image":
      return [picture(t)];
  }
  return t.content === "" ? [] : [t.content]; // a kind we do not know: its text
}

function element(t: Token, children: ComponentChild[]): ComponentChild[] {
  if (t.hidden) return children; // the paragraphs of a tight list
  const kind = t.type.replace(/_open$/, "");
  const tag = plain[kind];
  if (tag) return [h(tag, block(tag) ? { dir: "auto" } : null, ...children)];
  switch (kind) {
    case "heading": {
      // Every message is headed by a level 2 of the page's own. Answers begin
      // with either of the first two levels; both are the third here.
      const level = Math.max(3, Math.min(6, Number(t.tag.slice(1)) + 1));
      return [h(`h${level}`, { dir: "auto", class: `md-${t.tag}` }, ...children)];
    }
    case "ordered_list": {
      const start = Number(t.attrGet("start") ?? 1);
      return [h("ol", { start: Number.isSafeInteger(start) ? start : 1, dir: "auto" }, ...children)];
    }
    case "table":
      return [
        h("div", { class: "table", tabIndex: 0, role: "region", "aria-label": words.table }, h("table", { dir: "auto" }, ...children)),
      ];
    case "th":
    case "td":
      return [h(kind, { class: align(t), dir: "auto" }, ...children)];
    case "link":
      return [link(t.attrGet("href") ?? "", children)];
  }
  return children;
}

const block = (tag: string): boolean => tag === "p" || tag === "ul" || tag === "blockquote";

function link(href: string, children: ComponentChild[]): ComponentChild {
  const to = safe(href);
  if (!to) return h("span", null, ...children);
  const a = h("a", { href: to.href, title: to.href, target: "_blank", rel: "noopener noreferrer nofollow ugc" }, ...children);
  return posing(flat(children), to.host) ? h("span", { class: "link" }, a, h("small", null, to.host)) : a;
}

// posing reports whether a link's text looks like an address of somebody else,
// which letters of another script can do too.
function posing(text: string, host: string): boolean {
  const shown = /^\s*(?:https?:\/\/|mailto:)?([^\s/?#@]+\.[^\s/?#@]+)/i.exec(text)?.[1];
  return shown !== undefined && shown.toLowerCase() !== host;
}

function flat(c: ComponentChild): string {
  if (Array.isArray(c)) return c.map(flat).join("");
  return c !== null && typeof c === "object" && "props" in c ? flat(c.props.children as ComponentChild) : String(c ?? "");
}

// picture shows what a picture is about and where it lies, and loads nothing:
// an address can carry what was said here to somebody else.
function picture(t: Token): ComponentChild {
  const alt = (t.children ?? []).map((c) => c.content).join("") || t.content;
  const to = safe(t.attrGet("src") ?? "");
  if (!to) return h("span", { class: "picture" }, words.image(alt));
  return h(
    "a",
    { class: "picture", href: to.href, target: "_blank", rel: "noopener noreferrer nofollow ugc", title: `${to.href} (${words.imageNote})` },
    words.image(alt),
    h("small", null, to.host),
  );
}

function align(t: Token): string | undefined {
  const m = /text-align:\s*(left|center|right)/.exec(t.attrGet("style") ?? "");
  return m ? m[1] : undefined;
}

// language is the first word after a fence, if it looks like a language's name.
export function language(info: string): string {
  const m = /^[\w+#.-]{1,24}/.exec(info.trim());
  return m ? m[0] : "";
}
