package slack

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/format"
)

// Whatever an event or a press says, what is taken of it names a place in
// Slack's own ids and gives access to nothing.
func FuzzInbound(f *testing.F) {
	f.Add([]byte(`{"type":"message","channel":"D0","channel_type":"im","user":"U0","text":"<@U1> &lt; <https://e|x>","ts":"1.2","files":[{}],"x_token":"no"}`))
	f.Add([]byte(`{"type":"block_actions","user":{"id":"U0"},"team":{"id":"T0"},"channel":{"id":"C0"},"container":{"message_ts":"1.2"},"actions":[{"action_id":"parley.0","value":"{\"s\":\"x\",\"f\":\"U1\"}"}]}`))
	f.Add([]byte(`{"type":"assistant_thread_started","assistant_thread":{}}`))
	f.Add([]byte(`{"type":"app_mention","channel":null,"thread_ts":"/"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(p place, a activity.Activity, key string) {
			if key == "" || !p.sound() {
				return
			}
			p.Account = "desk"
			if name := p.name(); strings.Count(name, "/") > 3 || strings.ContainsAny(name, " <>\\\x00") {
				t.Fatalf("the name %q", name)
			}
			data, err := json.Marshal(map[string]place{Name: p})
			if err != nil || strings.Contains(string(data), "_token\"") {
				t.Fatalf("%s: %v", data, err)
			}
			a.ChannelData = data
			if _, err := json.Marshal(a); err != nil {
				t.Fatal(err)
			}
			if back, ok := placeOf(&a); !ok || back.name() != p.name() {
				t.Fatalf("%+v comes back as %+v", p, back)
			}
		}
		var h happening
		if json.Unmarshal(b, &h) == nil {
			p, a, key := h.read(envelope{Team: "T0", Event: b}, "U9")
			check(p, a, key)
		}
		var in interaction
		if json.Unmarshal(b, &in) == nil {
			p, a, key := in.read(b)
			check(p, a, key)
		}
	})
}

// However an answer grows, what was shown of it is how the whole begins.
func FuzzGrowing(f *testing.F) {
	f.Add("a <!channel> and <@U1>x and\n\n```\ncode\n``` 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字<!here>漢字漢字漢字漢字漢字漢字漢字漢字", false)
	f.Add("<!<!here><!he", true)
	f.Fuzz(func(t *testing.T, s string, plain bool) {
		if len(s) > 600 || !utf8.ValidString(s) {
			return
		}
		whole := said(s, plain, false)
		for i := range s {
			parts := said(s[:i], plain, true)
			for j, p := range parts {
				if j >= len(whole) || !strings.HasPrefix(whole[j].text, p.text) {
					t.Fatalf("%q shows %q, and then it is %v", s[:i], p.text, whole)
				}
				if !plain && called.MatchString(p.text) {
					t.Fatalf("%q calls people", p.text)
				}
			}
		}
	})
}

// Cards and buttons of any kind become blocks within Slack's limits.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte(`[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"T","text":"x","buttons":[{"type":"imBack","title":"a","value":"b"}]}},{"contentType":"image/png","contentUrl":"https://e.org/x"},{"contentUrl":"data:;base64,eA=="}]`), []byte(`{"actions":[{"title":"x","value":1}]}`))
	f.Add([]byte(`[null,{}]`), []byte(`null`))
	f.Fuzz(func(t *testing.T, attachments, actions []byte) {
		if len(attachments) > 20000 || !json.Valid(attachments) || !json.Valid(actions) {
			return
		}
		all, _ := messages(&activity.Activity{Type: "message", Extra: map[string]json.RawMessage{"attachments": attachments, "suggestedActions": actions}}, "https://p", "")
		for _, m := range all {
			notice := m.notice()
			if len(m.blocks) > 50 || notice == "" || format.Length(notice) > 4000 || !utf8.ValidString(notice) {
				t.Fatalf("%d blocks, notice %q", len(m.blocks), notice)
			}
			if _, err := json.Marshal(m.blocks); err != nil {
				t.Fatal(err)
			}
		}
	})
}
