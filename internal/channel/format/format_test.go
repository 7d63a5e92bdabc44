package format_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/channel/format"
)

func TestRender(t *testing.T) {
	for _, c := range []struct{ name, in, plain, mrkdwn, html string }{
		{"words", "a *b* **c** ~~d~~ `e`", "a b c d e", "a _b_ *c* ~d~ `e`", "a <i>b</i> <b>c</b> <s>d</s> <code>e</code>"},
		{"nothing", " \n", "", "", ""},
		{"what is special", "1 < 2 & 3 > 2 \\*x\\* &amp; <b>", "1 < 2 & 3 > 2 *x* & <b>", "1 &lt; 2 &amp; 3 &gt; 2 *x* &amp; &lt;b&gt;", "1 &lt; 2 &amp; 3 &gt; 2 *x* &amp; &lt;b&gt;"},
		{"a mention that nobody means", "<!channel> <@U123|x> @here", "<!channel> <@U123|x> @here", "&lt;!channel&gt; &lt;@U123|x&gt; @here", "&lt;!channel&gt; &lt;@U123|x&gt; @here"},
		{"a heading", "# T **b**\n\ntext", "T b\n\ntext", "*T b*\n\ntext", "<b>T b</b>\n\ntext"},
		{"a link", "[l & m](https://e.org/?a=1&b=2)", "l & m (https://e.org/?a=1&b=2)", "<https://e.org/?a=1&amp;b=2|l &amp; m>", `<a href="https://e.org/?a=1&amp;b=2">l &amp; m</a>`},
		{"no address", "[x](javascript:y) <a@b.example>", "x (javascript:y) a@b.example", "x (javascript:y) a@b.example", "x (javascript:y) a@b.example"},
		{"an address", "<https://e.org>", "https://e.org", "<https://e.org>", "https://e.org"},
		{"a picture", "![alt](https://e.org/i.png)", "alt (https://e.org/i.png)", "<https://e.org/i.png|alt>", `<a href="https://e.org/i.png">alt</a>`},
		{"lists", "- a\n- b\n  1. c\n  2. d\n- [x] e", "• a\n• b\n  1. c\n  2. d\n• ☑ e", "• a\n• b\n  1. c\n  2. d\n• ☑ e", "• a\n• b\n  1. c\n  2. d\n• ☑ e"},
		{"a list that begins later", "3. a\n4. b", "3. a\n4. b", "3. a\n4. b", "3. a\n4. b"},
		{"a quote", "> a\n> b\n>\n> c", "> a\n> b\n> \n> c", "> a\n> b\n> \n> c", "<blockquote>a\nb\n\nc</blockquote>"},
		{"code", "```go\nx < y\n\n```", "x < y", "```\nx &lt; y\n```", "<pre><code class=\"language-go\">x &lt; y</code></pre>"},
		{"a table", "|a|b|\n|-|-|\n|1<2|`x`|", "a | b\n1<2 | x", "```\na   | b\n----+--\n1&lt;2 | x\n```", "<pre>a   | b\n----+--\n1&lt;2 | x</pre>"},
		{"lines", "a\nb  \nc<br>d", "a\nb\nc\nd", "a\nb\nc\nd", "a\nb\nc\nd"},
		{"a rule", "a\n\n---\n\nb", "a\n\n———\n\nb", "a\n\n———\n\nb", "a\n\n———\n\nb"},
		{"no UTF-8", "a\xffb", "a\uFFFDb", "a\uFFFDb", "a\uFFFDb"},
	} {
		got := []string{format.Plain().Render(c.in), format.Mrkdwn().Render(c.in), format.HTML().Render(c.in)}
		if diff := cmp.Diff([]string{c.plain, c.mrkdwn, c.html}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// A hostile text costs neither a stack nor a minute.
func TestDeep(t *testing.T) {
	for _, x := range []string{"> ", "- ", "[", "![", "*a ", "**", "`", "<", "|a", "1. ", "&#x", "\\", "~~", "# ", "(", "](", "a*b_"} {
		began := time.Now()
		format.HTML().Render(strings.Repeat(x, 20000/len(x)))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q took %v", x, took)
		}
	}
}

func TestSplit(t *testing.T) {
	para := strings.Repeat("x", 50) + "\n\n"
	code := "```go\n" + strings.Repeat("line of code\n", 12) + "```\nend"
	for _, c := range []struct {
		name, in string
		most     int
		want     []string
	}{
		{"nothing", "", 100, nil},
		{"short", "hello", 100, []string{"hello"}},
		{"paragraphs", para + "a\n\n" + para, 70, []string{para, "a\n\n" + para}},
		{"a sentence", strings.Repeat("word ", 12) + "end. " + "Next one", 72, []string{strings.Repeat("word ", 12) + "end. ", "Next one"}},
		{"no border", strings.Repeat("é", 130), 64, []string{strings.Repeat("é", 60), strings.Repeat("é", 60), strings.Repeat("é", 10)}},
		{"wide", strings.Repeat("😀", 40), 64, []string{strings.Repeat("😀", 30), strings.Repeat("😀", 10)}},
		{"code", code, 100, []string{
			"```go\n" + strings.Repeat("line of code\n", 6) + "```", "```go\n" + strings.Repeat("line of code\n", 6) + "```", "```go\n```\nend",
		}},
	} {
		if diff := cmp.Diff(c.want, format.Split(c.in, c.most)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Parts are never too long, and a text that grows keeps those it had.
func FuzzSplit(f *testing.F) {
	f.Add("a\n\nb ```c\nd\n```\ne. f", 64)
	f.Add("```\n"+strings.Repeat("é😀\n", 100), 70)
	f.Add(strings.Repeat("word. ", 100), 80)
	f.Add("\n\n\n```````x", 64)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 64 || most > 300 || len(s) > 800 {
			return
		}
		whole := format.Split(s, most)
		for _, p := range whole {
			if format.Length(p) > most || p == "" {
				t.Fatalf("%q has %d units of %d", p, format.Length(p), most)
			}
		}
		for i := range s {
			if !utf8.RuneStart(s[i]) {
				continue
			}
			parts := format.Split(s[:i], most)
			for j, p := range parts {
				if j >= len(whole) || j < len(parts)-1 && p != whole[j] || !strings.HasPrefix(whole[j], p) {
					t.Fatalf("part %d of %q is %q, and later %q", j, s[:i], p, whole)
				}
			}
		}
	})
}

func FuzzRender(f *testing.F) {
	f.Add("# a *b*\n\n- c\n> d\n\n|a|\n|-|\n|<!channel>|\n```x\ny\n```")
	f.Add("<!here> <@U1> &lt;!here&gt; [<!here>](<!here>) ![](<!here|x>)")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4000 {
			return
		}
		_ = format.Plain().Render(s)
		out := format.Mrkdwn().Render(s)
		if strings.Contains(out, "<!") || strings.Contains(out, "<@") || strings.Contains(out, "<#") || !utf8.ValidString(out) {
			t.Fatalf("%q becomes %q", s, out)
		}
		if !utf8.ValidString(format.HTML().Render(s)) {
			t.Fatalf("%q becomes no UTF-8", s)
		}
	})
}

func TestAttachments(t *testing.T) {
	cards, files, left := format.Attachments(json.RawMessage(`[
		{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"T","subtitle":"S","text":"x","images":[{"url":"https://e.org/i.png","alt":"A"}],
			"buttons":[{"type":"openUrl","title":"Open","value":"https://e.org"},{"type":"imBack","title":"Yes","value":"yes"},{"type":"messageBack","title":"M","text":"said","value":{"a":1}}]}},
		{"contentType":"application/vnd.microsoft.card.adaptive","content":{"type":"AdaptiveCard","body":[{"type":"TextBlock","text":"one"},
			{"type":"ColumnSet","columns":[{"items":[{"type":"TextBlock","text":"two"},{"type":"Image","url":"https://e.org/j.png"}]}]},{"type":"FactSet","facts":[{"title":"k","value":"v"}]}],
			"actions":[{"type":"Action.OpenUrl","title":"Go","url":"https://e.org/go"},{"type":"Action.Submit","title":"Send","data":{"b":2}}]}},
		{"contentType":"image/png","contentUrl":"https://e.org/k.png","name":"k.png"},
		{"contentType":"application/vnd.microsoft.card.adaptive","content":{}},
		{"contentType":"application/x","content":{}}]`))
	want := []format.Card{
		{
			Title: "T", Subtitle: "S", Text: "x", Images: []format.Image{{URL: "https://e.org/i.png", Alt: "A"}},
			Buttons: []format.Button{
				{Title: "Open", Type: "openUrl", Value: json.RawMessage(`"https://e.org"`)},
				{Title: "Yes", Type: "imBack", Value: json.RawMessage(`"yes"`)},
				{Title: "M", Type: "messageBack", Text: "said", Value: json.RawMessage(`{"a":1}`)},
			},
		},
		{
			Text: "one\n\ntwo\n\n**k** v", Images: []format.Image{{URL: "https://e.org/j.png"}},
			Buttons: []format.Button{
				{Title: "Go", Type: "openUrl", Value: json.RawMessage(`"https://e.org/go"`)},
				{Title: "Send", Type: "postBack", Value: json.RawMessage(`{"b":2}`)},
			},
		},
	}
	if diff := cmp.Diff(want, cards); diff != "" {
		t.Errorf("cards (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]format.File{{Type: "image/png", URL: "https://e.org/k.png", Name: "k.png"}}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"application/vnd.microsoft.card.adaptive", "application/x"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	b := cards[0].Buttons
	if b[0].URL() != "https://e.org" || b[1].URL() != "" || (format.Button{Type: "openUrl", Value: json.RawMessage(`"javascript:x"`)}).URL() != "" {
		t.Error("addresses of buttons")
	}
	if said, back := b[1].Said(); said != "yes" || back != nil {
		t.Errorf("imBack says %q and %s", said, back)
	}
	if said, back := b[2].Said(); said != "said" || string(back) != `{"a":1}` {
		t.Errorf("messageBack says %q and %s", said, back)
	}
}

func TestActions(t *testing.T) {
	got := format.Actions(json.RawMessage(`{"to":[],"actions":[{"type":"imBack","title":"Red","value":"red"},{"type":"imBack","value":"blue"},{"type":"imBack"}]}`))
	want := []format.Button{{Title: "Red", Type: "imBack", Value: json.RawMessage(`"red"`)}, {Title: "blue", Type: "imBack", Value: json.RawMessage(`"blue"`)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, odd := range []string{"", "null", "[]", `{"actions":5}`, `{"actions":[null]}`} {
		if got := format.Actions(json.RawMessage(odd)); len(got) > 0 {
			t.Errorf("%q has actions %v", odd, got)
		}
	}
}
