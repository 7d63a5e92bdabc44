package telegram

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/format"
	"github.com/parleyhq/parley/internal/channel/telegram/bottest"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/files"
	"github.com/parleyhq/parley/internal/secret"
)

// Markdown becomes words and entities, and what is in what keeps Telegram's
// rules.
func TestFormatted(t *testing.T) {
	for _, c := range []struct{ in, words, entities string }{
		{"plain", "plain", "[]"},
		{"**b** _i_ ~~s~~ `c`", "b i s c", "[bold 0+1] [italic 2+1] [strikethrough 4+1] [code 6+1]"},
		{"**a `c` b**", "a c b", "[bold 0+2] [code 2+1] [bold 3+2]"},
		{"[![p](https://x.org/p.png) q](https://x.org)", "p q", "[text_link 0+3 https://x.org]"},
		{"**a _b_ c**", "a b c", "[bold 0+5] [italic 2+1]"},
		{"[a `c`](https://x.org/?a=1&b=2)", "a c", "[text_link 0+3 https://x.org/?a=1&b=2]"},
		{"```go\nx < y\n```", "x < y", "[pre 0+5 go]"},
		{"> a\n> > b\n> ```\n> c\n> ```", "a\n\nb\n\nc", "[blockquote 0+7] [pre 6+1]"},
		{"👋 **b**", "👋 b", "[bold 3+1]"},
		{"a <b>&lt; & \\*", "a <b>< & *", "[]"},
		{"# H\n- a\n- b", "H\n\n• a\n• b", "[bold 0+1]"},
		{"| a | b |\n|---|---|\n| 1 | 2 |", "a | b\n--+--\n1 | 2", "[pre 0+17]"},
	} {
		got := formatted(c.in)
		all := []string{}
		for _, e := range got.entities {
			all = append(all, "["+strings.TrimSpace(fmt.Sprintf("%s %d+%d %s%s", e.Type, e.Offset, e.Length, e.URL, e.Language))+"]")
		}
		entities := strings.Join(all, " ")
		if entities == "" {
			entities = "[]"
		}
		if got.words != c.words || entities != c.entities {
			t.Errorf("%q is %q %s,\nwant %q %s", c.in, got.words, entities, c.words, c.entities)
		}
	}
}

// A text is cut between paragraphs, lines or words, and a link is in one part.
func TestSplit(t *testing.T) {
	word := strings.Repeat("word ", 700)
	for what, c := range map[string]struct {
		in   text
		ends []string
	}{
		"paragraphs":       {plain(word + "end.\n\n" + word), []string{"end."}},
		"lines":            {plain(word + "end.\n" + word), []string{"end."}},
		"one long word":    {plain(strings.Repeat("x", 5000)), []string{strings.Repeat("x", 96)}},
		"only half emojis": {plain("x" + strings.Repeat("👋", 4000)), []string{"👋"}},
	} {
		parts := c.in.split(mostText)
		if len(parts) < 2 || !strings.HasSuffix(parts[0].words, c.ends[0]) {
			t.Errorf("%s: %d parts, the first ends in …%q", what, len(parts), parts[0].words[len(parts[0].words)-20:])
		}
	}
	link := formatted(word + strings.Repeat("y ", 200) + "[" + strings.Repeat("link ", 80) + "](https://example.org) end")
	parts := link.split(mostText)
	if len(parts) != 2 || len(parts[0].entities) != 0 || len(parts[1].entities) != 1 || parts[1].entities[0].Offset != 0 {
		t.Errorf("a link is cut: %+v", parts)
	}
	links := formatted(strings.Repeat("[a](https://example.org) ", 250)).split(mostText)
	n := 0
	for _, part := range links {
		n += len(part.entities)
	}
	if len(links) != 3 || n != 250 {
		t.Errorf("of 250 links there are %d, in %d parts", n, len(links))
	}
	if got := short("ab👋👋", 4); got != "ab…" {
		t.Errorf("short is %q", got)
	}
}

// Whatever a bot says goes out by the rules of the Bot API, and none of its
// words is lost.
func FuzzRender(f *testing.F) {
	f.Add("**hi** `c` [l](https://x.org)\n> q\n> > r\n```go\nx\n```", "", `[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"t","images":[{"url":"https://x.org/y"}],"buttons":[{"type":"call","title":"c","value":"tel:+49 30"},{"type":"openUrl","title":"o","value":"http://localhost/"}]}}]`, `{"actions":[{"type":"imBack","title":" "}]}`)
	f.Add("**a `b` _c `d` e_**", "plain", `[{"contentType":"image/png","contentUrl":"https://"},{"contentUrl":"http://x y"},{"contentType":"image/png","contentUrl":"data:image/png;base64,AAAA"}]`, `{"actions":[{"type":"openUrl","title":"t","value":"https://x.y/"}]}`)
	f.Add(strings.Repeat("👩‍👩‍👧 **b** ", 900), "", `[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"body":[{"type":"TextBlock","text":"\n"}],"actions":[{"type":"Action.OpenUrl","title":"x","url":"https://%"}]}}]`, `null`)
	f.Add("[![p](https://x.org/p.png)`c`](https://x.org/)\t[", "", `null`, `null`)
	f.Add("[a\n\n**b](https://x.org)\r\x00<b>", "", `null`, `null`)
	f.Fuzz(func(t *testing.T, s, kind, attachments, actions string) {
		a := activity.Activity{Text: strings.ToValidUTF8(s, ""), TextFormat: kind, Extra: map[string]json.RawMessage{
			"attachments": json.RawMessage(attachments), "suggestedActions": json.RawMessage(actions),
		}}
		d := delivery{Server: &Server{}, account: &account{}, to: place{Chat: 5}}
		none := func(string) *files.File { return nil }
		pieces := render(&a, 640, "https://chat.example.org", none)
		for _, p := range append(pieces, growing(a.Text, kind)...) {
			in := d.fields(p)
			if p.bytes != nil {
				in[string(p.file)] = "attach://x"
			}
			c := bottest.Call{Method: p.file.method(), Chat: 5}
			if err := json.Unmarshal(object(in), &c.Fields); err != nil {
				t.Fatal(err)
			}
			if rule := bottest.Check(c); rule != "" {
				t.Fatalf("%s: %s", rule, object(in))
			}
		}
		whole := plain(clean(a.Text))
		if kind != "plain" {
			whole = formatted(a.Text)
		}
		var got strings.Builder
		for _, part := range whole.split(64) {
			if format.Length(part.words) > 64 {
				t.Fatalf("a part has %d characters", format.Length(part.words))
			}
			got.WriteString(part.words)
		}
		bare := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if bare(got.String()) != bare(whole.words) {
			t.Fatalf("%q is cut into %q", whole.words, got.String())
		}
	})
}

// Whatever comes in is refused, left out or an activity in sound JSON of which
// it is known whose it is.
func FuzzUpdate(f *testing.F) {
	for _, s := range []string{
		`{"update_id":1,"message":{"message_id":2,"from":{"id":5,"first_name":"A"},"chat":{"id":5},"text":"hi","entities":[{"type":"mention","offset":0,"length":2}]}}`,
		`{"update_id":1,"message":{"message_id":2,"from":{"id":5},"chat":{"id":-5},"text":"@b hi","entities":[{"type":"mention","offset":0,"length":2},{"type":"bot_command","offset":-1,"length":99}],"reply_to_message":{"from":{"id":7}}}}`,
		`{"update_id":1,"callback_query":{"id":"1","from":{"id":5},"data":"hs.0","message":{"message_id":1,"chat":{"id":5}}}}`,
		`{"update_id":1,"message":{"from":{"id":5},"chat":{"id":5},"location":{"latitude":1e999,"longitude":"x"},"contact":{},"sticker":null,"photo":[{}]}}`,
		`{"update_id":1,"message_reaction":{"chat":{"id":5},"user":{"id":5},"new_reaction":[{"type":"emoji","emoji":"x"}]}}`,
		`null`, `{"update_id":-1}`, `[]`, "{\"update_id\":1,\"x\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := read(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		_ = u.chat()
		if c := u.Callback; c != nil {
			if id, at := pressed(c.Data); id != 0 && press(id, at) == "" {
				t.Fatalf("%q is no button", c.Data)
			}
		}
		m := u.Message
		if m == nil || !person(m.From) {
			return
		}
		rest, _ := m.words().without(&user{ID: 7, Username: "b"})
		p := m.where(m.From, u)
		a := activity.Activity{Type: activity.TypeMessage, Text: rest, ChannelData: object(map[string]place{Name: p}), Extra: map[string]json.RawMessage{}}
		m.other(&a)
		out, err := json.Marshal(a)
		if err != nil || !json.Valid(out) {
			t.Fatalf("%q becomes %q (%v)", b, out, err)
		}
		if back, ok := placeOf(&a); ok != (p.Chat != 0) || back.User != m.From.ID || back.Chat != p.Chat {
			t.Fatalf("%q is of %+v", b, back)
		}
	})
}

// What Telegram answers is never more than an error, and never shows the token.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"ok":false,"error_code":429,"description":"x","parameters":{"retry_after":-5,"migrate_to_chat_id":1}}`, 429)
	f.Add(`{"ok":false,"error_code":400,"description":"123:token-token-token-token"}`, 400)
	f.Add(`null`, 200)
	f.Fuzz(func(t *testing.T, body string, status int) {
		var got answer
		if json.Unmarshal([]byte(body), &got) != nil {
			return
		}
		if !got.OK && got.Code == 0 {
			if unnamed(status) == nil {
				t.Fatal("no error")
			}
			return
		}
		if got.OK {
			return
		}
		err := (&account{Account: Account{Name: "a", Token: secret.New("123:token-token-token-token")}}).refused(got)
		if err == nil || strings.Contains(err.Error(), "token-token-token") || fault.RetryAfterOf(err) > mostWait || fault.RetryAfterOf(err) < 0 {
			t.Fatalf("%q is %v", body, err)
		}
		_ = moved(err)
	})
}
