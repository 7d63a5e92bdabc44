// The only place that imports the markdown parser. HTML in markdown is off: it
// comes out as the text it is.
import MarkdownIt from "markdown-it";
import { maths } from "./math.ts";
import { safe } from "./urls.ts";

export type Token = {
  type: string;
  tag: string;
  nesting: number;
  level: number;
  map: [number, number] | null;
  content: string;
  info: string;
  hidden: boolean;
  children: Token[] | null;
  attrGet(name: string): string | null;
};

export type Env = { references?: Record<string, unknown> };

const md = new MarkdownIt({ html: false, linkify: true, breaks: true, typographer: false });
md.set({ maxNesting: 30 });
md.use(maths);
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
md.validateLink = (url: string): boolean => safe(url) !== null;

export function parse(text: string, env: Env): Token[] {
  return md.parse(text, env as Record<string, unknown>) as unknown as Token[];
}
