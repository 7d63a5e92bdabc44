package plain

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestMarkdown(t *testing.T) {
	for in, want := range map[string]string{
		"# A\n\ntext *em* **b** `c<d`":                     "<h3>A</h3>\n<p>text <em>em</em> <strong>b</strong> <code>c&lt;d</code></p>\n",
		"<script>alert(1)</script>":                        "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n",
		"a <img src=x onerror=alert(1)> b":                 "<p>a &lt;img src=x onerror=alert(1)&gt; b</p>\n",
		"[x](javascript:alert(1)) [y](https://e.org/?a&b)": `<p>x <a rel="noopener noreferrer nofollow" href="https://e.org/?a&amp;b">y</a></p>` + "\n",
		"![pic](https://e.org/p.png)":                      `<p><a rel="noopener noreferrer nofollow" href="https://e.org/p.png">pic</a></p>` + "\n",
		"![pic](data:image/svg+xml,x)":                     "<p>pic</p>\n",
		"<https://e.org> <mailto:a@e.org>":                 `<p><a rel="noopener noreferrer nofollow" href="https://e.org">https://e.org</a> <a rel="noopener noreferrer nofollow" href="mailto:a@e.org">mailto:a@e.org</a></p>` + "\n",
		"```js\n<b>\n```":                                  "<pre><code class=\"language-js\">&lt;b&gt;\n</code></pre>\n",
		"|a|b|\n|-|-:|\n|1|2|":                             "<table>\n<thead>\n<tr>\n<th>a</th>\n<th align=\"right\">b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td align=\"right\">2</td>\n</tr>\n</tbody>\n</table>\n",
	} {
		if got := string(markdown(in, time.Now().Add(time.Minute))); got != want {
			t.Errorf("%q:\n got %q\nwant %q", in, got, want)
		}
	}
}

// A page of hostile answers is made in bounded time, and nothing of it is lost.
func TestHostile(t *testing.T) {
	began := time.Now()
	var out strings.Builder
	for range 3 {
		for _, unit := range []string{">", "[", "1. ", "![a]("} {
			out.WriteString(string(markdown(strings.Repeat(unit, 1<<20/len(unit))+" end", began.Add(200*time.Millisecond))))
		}
	}
	if took, ends := time.Since(began), strings.Count(out.String(), " end"); took > 20*time.Second || ends != 12 {
		t.Errorf("%v, %d of 12 are whole", took, ends)
	}
}

// tags are all that an answer may become.
var tags = regexp.MustCompile(`^<(/?(p|h[3-6]|em|strong|code|pre|ul|ol|li|blockquote|del|table|thead|tbody|tr)|hr|br|(code class="language-[^"<>]*")|ol start="[0-9]+"|/?t[hd]|t[hd] align="[a-z]+"|a rel="noopener noreferrer nofollow" href="(https?|mailto):[^"<>]*"|/a|input( (checked|disabled)="")+ type="checkbox")>`)

// Whatever an answer holds, nothing comes of it but text in a few known tags.
func FuzzMarkdown(f *testing.F) {
	for _, s := range []string{
		"# A\n- [x] b\n1. c\n\n> d\n\n---\n|a|\n|-|\n|b|\n", "<svg onload=x>", "[a](javascript:b)", "[a](JaVa\tscript:b)", "![a](x \"y\")", "<!-- a", "```\"><b>\nx", strings.Repeat(">", 500),
		"[a]: javascript:x\n[a]", "<a@b.c>", "&lt;&#0;\x00", "a\\\nb  \nc", strings.Repeat("[", 300), "<?php ?>", "~~a~~ 5. x", "7) x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := string(markdown(s, time.Now().Add(time.Minute)))
		for i := strings.IndexByte(out, '<'); i >= 0; i = strings.IndexByte(out, '<') {
			out = out[i:]
			tag := tags.FindString(out)
			if tag == "" {
				t.Fatalf("%q became %.80q", s, out)
			}
			out = out[len(tag):]
		}
	})
}
