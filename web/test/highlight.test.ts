import assert from "node:assert/strict";
import { test } from "node:test";
import { fileName, highlight } from "../src/markdown/highlight.ts";

const shown = (code: string, lang: string): string =>
  highlight(code, lang)
    .filter((p) => p.kind !== "")
    .map((p) => `${p.kind}:${p.text}`)
    .join(" ");

test("what is code keeps its words, and the words their kinds", () => {
  assert.equal(shown('func main() { x := "a // b" + f(42) } // done', "go"), 'kw:func fn:main str:"a // b" fn:f num:42 com:// done');
  assert.equal(shown("def f(x):\n  '''doc\n# no'''\n  return 'a\\'b'  # yes", "python"), "kw:def fn:f str:'''doc\n# no''' kw:return str:'a\\'b' com:# yes");
  assert.equal(shown("SELECT a FROM b -- all", "sql"), "kw:SELECT kw:FROM com:-- all");
  assert.equal(shown('{"a": [1, true]}', "json"), 'str:"a" num:1 kw:true');
  assert.equal(shown("+ new\n- old\n", "diff"), "add:+ new\n del:- old\n");
  assert.equal(shown('<a href="x">', "html"), 'kw:<a str:"x" kw:>');
  assert.equal(shown("const x = 1", "unheard-of"), "");
  assert.equal(fileName("Python"), "code.py");
  assert.equal(fileName("../../x"), "code.txt");
});

test("the pieces joined are the code, whatever it is, and soon", () => {
  const odd = ["`", '"', "'", "/*", "//", "#", '"""', "'''", "\\", "--", "<!--", "<", "1e", "$", "é日😀", "\n", "if", "f(", " "];
  let seed = 7;
  const random = (n: number): number => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
  for (let i = 0; i < 3000; i++) {
    const code = Array.from({ length: random(30) }, () => odd[random(odd.length)]).join("");
    for (const lang of ["js", "go", "py", "rust", "sql", "yaml", "json", "diff", "html", "css", "lua"]) {
      assert.equal(highlight(code, lang).map((p) => p.text).join(""), code, `${lang}: ${JSON.stringify(code)}`);
    }
  }
  for (const bad of ['"', "/*", "'", "`", "<!--", '"""', "a(", "\\"]) {
    const began = performance.now();
    for (const lang of ["js", "py", "html", "rust"]) highlight(bad.repeat(60_000 / bad.length), lang);
    assert.ok(performance.now() - began < 1500, `60,000 characters of ${bad} took ${Math.round(performance.now() - began)} ms`);
  }
});
