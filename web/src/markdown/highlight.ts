// Code in colours: comments, strings, numbers, keywords, calls. One pass over
// the text with one expression for each family of languages; no grammar, so it
// can be wrong about an odd literal, and never slow: every alternative begins
// with what it must, and runs to its own end.

export type Kind = "" | "com" | "str" | "num" | "kw" | "fn" | "add" | "del";
export type Piece = { kind: Kind; text: string };

type Family = { comment: string; string: string; words: ReadonlySet<string>; fold?: boolean };

const most = 60_000; // characters; a longer block stays plain

const set = (words: string): ReadonlySet<string> => new Set(words.split(" "));

const slashes = String.raw`\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)`;
const hash = String.raw`#[^\n]*`;
const dashes = String.raw`--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)`;
const quotes = String.raw`"(?:[^"\\\n]|\\[\s\S])*"?|'(?:[^'\\\n]|\\[\s\S])*'?`;
const ticks = String.raw`|${"`"}(?:[^${"`"}\\]|\\[\s\S])*${"`"}?`;
const triple = String.raw`"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|`;

const families: Record<string, Family> = {
  js: {
    comment: slashes,
    string: quotes + ticks,
    words: set(
      "as async await break case catch class const continue debugger declare default delete do else enum export extends false finally for from function get if implements import in instanceof interface keyof let namespace new null of package private protected public readonly return satisfies set static super switch this throw true try type typeof undefined var void while with yield",
    ),
  },
  go: {
    comment: slashes,
    string: quotes + ticks,
    words: set(
      "any append bool break byte case chan const continue default defer else error fallthrough false float32 float64 for func go goto if import int int64 interface iota len make map nil package panic range return rune select string struct switch true type uint64 var",
    ),
  },
  python: {
    comment: hash,
    string: triple + quotes,
    words: set(
      "False None True and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return self try while with yield",
    ),
  },
  c: {
    comment: slashes,
    string: quotes,
    words: set(
      "abstract alignas as async auto await base bool boolean break byte case catch char class const constexpr continue data default delegate delete do double else enum explicit export extends extern false final finally float for foreach fun func goto guard if implements import in include init inline int interface internal is lateinit let lock long mut namespace native new nil null nullptr object open operator out override package private protected public record ref return sealed short signed sizeof static string struct super switch synchronized template this throw throws true try typedef typename union unsafe unsigned using val var virtual void volatile when where while yield",
    ),
  },
  rust: {
    comment: slashes,
    string: String.raw`"(?:[^"\\]|\\[\s\S])*"?|'(?:[^'\\\n]|\\.)'`,
    words: set(
      "Box Err None Ok Option Result Self Some String Vec as async await bool break const continue crate dyn else enum extern f64 false fn for i32 i64 if impl in let loop match mod move mut pub ref return self static str struct super trait true type u32 u64 u8 unsafe use usize where while",
    ),
  },
  sh: {
    comment: hash,
    string: quotes,
    words: set("case cd do done echo elif else esac exit export fi for function if in local read return set shift sudo then unset until while"),
  },
  sql: {
    comment: dashes,
    string: quotes,
    fold: true,
    words: set(
      "add all alter and as asc begin between by case cascade check column commit constraint create cross default delete desc distinct drop else end exists false foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer primary references returning right rollback select set table then true union unique update using values view when where with",
    ),
  },
  data: { comment: hash, string: quotes, words: set("false no null off on true yes") },
  json: { comment: slashes, string: String.raw`"(?:[^"\\\n]|\\[\s\S])*"?`, words: set("false null true") },
  ruby: {
    comment: hash,
    string: quotes,
    words: set(
      "alias and begin break case class def do else elsif end ensure false for if in module next nil not or private raise redo require rescue retry return self super then true undef unless until when while yield",
    ),
  },
  css: { comment: String.raw`\/\*[\s\S]*?(?:\*\/|$)`, string: quotes, words: set("important media supports import keyframes layer container from to") },
  lua: {
    comment: String.raw`--[^\n]*`,
    string: quotes,
    words: set("and break do else elseif end false for function goto if in local nil not or repeat return then true until while"),
  },
};

const names: Record<string, string> = {
  javascript: "js", js: "js", jsx: "js", mjs: "js", ts: "js", tsx: "js", typescript: "js",
  go: "go", golang: "go",
  py: "python", python: "python", python3: "python",
  c: "c", h: "c", cc: "c", cpp: "c", "c++": "c", cs: "c", csharp: "c", "c#": "c", java: "c", kotlin: "c", kt: "c", swift: "c", scala: "c", dart: "c", php: "c", proto: "c",
  rust: "rust", rs: "rust",
  sh: "sh", bash: "sh", zsh: "sh", shell: "sh", console: "sh", dockerfile: "sh", makefile: "sh",
  sql: "sql", postgres: "sql", sqlite: "sql", mysql: "sql",
  yaml: "data", yml: "data", toml: "data", ini: "data", conf: "data", properties: "data", hcl: "data", terraform: "data",
  json: "json", jsonc: "json", json5: "json",
  ruby: "ruby", rb: "ruby", elixir: "ruby",
  css: "css", scss: "css", less: "css",
  lua: "lua",
}; // prettier-ignore

const extensions: Record<string, string> = {
  javascript: "js", typescript: "ts", golang: "go", python: "py", python3: "py", "c++": "cpp", csharp: "cs", "c#": "cs", kotlin: "kt", rust: "rs",
  bash: "sh", zsh: "sh", shell: "sh", console: "sh", ruby: "rb", markdown: "md", yaml: "yml", dockerfile: "Dockerfile", postgres: "sql", sqlite: "sql", mysql: "sql",
}; // prettier-ignore

// fileName is what a block of code is called when it is kept as a file.
export function fileName(lang: string): string {
  const l = lang.toLowerCase();
  const ext = extensions[l] ?? (/^[a-z0-9]{1,8}$/.test(l) ? l : "txt");
  return `code.${ext}`;
}

const built = new Map<string, RegExp>();

function expression(name: string, f: Family): RegExp {
  let re = built.get(name);
  if (!re) {
    re = new RegExp(String.raw`(${f.comment})|(${f.string})|(\b\d[\w.]*)|([\p{L}_$@][\p{L}\p{N}_$]*)(?=([ \t]*\()?)`, "gu");
    built.set(name, re);
  }
  return re;
}

// highlight cuts code into pieces; joined they are the code.
export function highlight(code: string, lang: string): Piece[] {
  const l = lang.toLowerCase();
  if (code.length > most) return [{ kind: "", text: code }];
  if (l === "diff" || l === "patch") return diff(code);
  if (l === "html" || l === "xml" || l === "svg" || l === "vue") return markup(code);
  const name = names[l];
  const f = name === undefined ? undefined : families[name];
  if (!f) return [{ kind: "", text: code }];
  const out: Piece[] = [];
  let at = 0;
  for (const m of code.matchAll(expression(name!, f))) {
    const word = m[4];
    const kind: Kind = m[1] ? "com" : m[2] ? "str" : m[3] ? "num" : f.words.has(f.fold ? word!.toLowerCase() : word!) ? "kw" : m[5] ? "fn" : "";
    if (kind === "" || m[0] === "") continue;
    if (m.index > at) out.push({ kind: "", text: code.slice(at, m.index) });
    out.push({ kind, text: m[0] });
    at = m.index + m[0].length;
  }
  if (at < code.length) out.push({ kind: "", text: code.slice(at) });
  return out;
}

function diff(code: string): Piece[] {
  return code.split(/(?<=\n)/).map((line) => ({
    kind: line.startsWith("+") ? "add" : line.startsWith("-") ? "del" : line.startsWith("@@") ? "com" : "",
    text: line,
  }));
}

function markup(code: string): Piece[] {
  const out: Piece[] = [];
  let at = 0;
  for (const m of code.matchAll(/(<!--[\s\S]*?(?:-->|$))|(<\/?[\w:-]+|\/?>)|("[^"]*"?)/g)) {
    if (m.index > at) out.push({ kind: "", text: code.slice(at, m.index) });
    out.push({ kind: m[1] ? "com" : m[2] ? "kw" : "str", text: m[0] });
    at = m.index + m[0].length;
  }
  if (at < code.length) out.push({ kind: "", text: code.slice(at) });
  return out;
}
