package messenger

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/messenger/graphtest"
)

// ruled holds pieces against what the Send API takes.
func ruled(t *testing.T, pieces []piece) {
	t.Helper()
	for _, p := range pieces {
		b, err := json.Marshal(map[string]any{"recipient": map[string]string{"id": "1"}, "messaging_type": "RESPONSE", "message": p})
		if err != nil {
			t.Fatal(err)
		}
		if _, rule := graphtest.Check(b); rule != "" {
			t.Errorf("%s: %s", rule, b)
		}
	}
}

func TestRender(t *testing.T) {
	hero := func(title, sub, text, rest string) string {
		return fmt.Sprintf(`{"contentType":"application/vnd.microsoft.card.hero","content":{"title":%q,"subtitle":%q,"text":%q%s}}`, title, sub, text, rest)
	}
	buttons := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"type":"imBack","title":"Button %d","value":"press %d"}`, i, i))
		}
		return `,"buttons":[` + strings.Join(all, ",") + `]`
	}
	image := `,"images":[{"url":"https://example.org/a.png"}]`
	for _, c := range []struct{ what, in, want string }{
		{
			"markdown", `{"text":"# Prices\n\n- **one** for 5\n- two, see [here](https://example.org/x)\n\n1. a_b_c\n\n` + "```go\\nx := `y`\\n```" + `"}`,
			`[{"text":"Prices\n\n• one for 5\n• two, see here (https://example.org/x)\n\n1. a_b_c\n\nx := ` + "`y`" + `"}]`,
		},
		{"plain text", `{"text":"**no** _markdown_","textFormat":"plain"}`, `[{"text":"**no** _markdown_"}]`},
		{"nothing", `{"text":"  \n "}`, `null`},
		{
			"suggested actions", `{"text":"Which?","suggestedActions":{"to":[],"actions":[{"type":"imBack","title":"Red","value":"red"},{"type":"postBack","title":"A colour with a long name","value":{"n":7}},
			{"type":"openUrl","title":"More","value":"https://example.org"},{"type":"call","title":"Us","value":"tel:+4930"},{"type":"openUrl","title":"Evil","value":"javascript:1"}]}}`,
			`[{"text":"Which?\n\nMore: https://example.org\nUs: +4930","quick_replies":[{"content_type":"text","title":"Red","payload":"red"},{"content_type":"text","title":"A colour with a lon…","payload":"{\"n\":7}"}]}]`,
		},
		{"suggested actions alone", `{"suggestedActions":{"actions":[{"type":"imBack","title":"Go","value":"go"}]}}`, `[{"text":"…","quick_replies":[{"content_type":"text","title":"Go","payload":"go"}]}]`},
		{
			"a card with an image", `{"attachments":[` + hero("Shoes", "red", "**new**", image+buttons(2)) + `]}`,
			`[{"attachment":{"type":"template","payload":{"template_type":"generic","elements":[{"title":"Shoes","subtitle":"red – new","image_url":"https://example.org/a.png",
				"buttons":[{"type":"postback","title":"Button 0","payload":"press 0"},{"type":"postback","title":"Button 1","payload":"press 1"}]}]}}}]`,
		},
		{
			"a card without one", `{"text":"Look:","attachments":[` + hero("Shoes", "", "red", `,"buttons":[{"type":"openUrl","title":"Buy","value":"https://example.org/buy"},{"type":"call","title":"Call","value":"tel:+4930123"}]`) + `]}`,
			`[{"text":"Look:"},{"attachment":{"type":"template","payload":{"template_type":"button","text":"Shoes\nred","buttons":[{"type":"web_url","title":"Buy","url":"https://example.org/buy"},{"type":"phone_number","title":"Call","payload":"+4930123"}]}}}]`,
		},
		{"a card that is text", `{"attachments":[` + hero("Shoes", "red", "", "") + `]}`, `[{"text":"Shoes\nred"}]`},
		{
			"a row", `{"attachments":[` + hero("A", "", "", buttons(1)) + `,` + hero("B", "b", "", "") + `]}`,
			`[{"attachment":{"type":"template","payload":{"template_type":"generic","elements":[{"title":"A","buttons":[{"type":"postback","title":"Button 0","payload":"press 0"}]},{"title":"B","subtitle":"b"}]}}}]`,
		},
		{
			"five buttons", `{"attachments":[` + hero("A", "", "", buttons(5)) + `]}`,
			`[{"attachment":{"type":"template","payload":{"template_type":"button","text":"A","buttons":[{"type":"postback","title":"Button 0","payload":"press 0"},{"type":"postback","title":"Button 1","payload":"press 1"},{"type":"postback","title":"Button 2","payload":"press 2"}]}}},
				{"attachment":{"type":"template","payload":{"template_type":"button","text":"…","buttons":[{"type":"postback","title":"Button 3","payload":"press 3"},{"type":"postback","title":"Button 4","payload":"press 4"}]}}}]`,
		},
		{
			"files", `{"attachments":[{"contentType":"image/png","contentUrl":"/v3/x/a.png"},{"contentType":"video/mp4","contentUrl":"https://example.org/v"},{"contentType":"audio/mpeg","contentUrl":"https://example.org/s"},
			{"contentType":"application/pdf","contentUrl":"https://example.org/p","name":"p.pdf"},{"contentType":"image/png","contentUrl":"data:image/png;base64,AAAA","name":"inline.png"}]}`,
			`[{"attachment":{"type":"image","payload":{"url":"https://chat.example.org/v3/x/a.png"}}},{"attachment":{"type":"video","payload":{"url":"https://example.org/v"}}},{"attachment":{"type":"audio","payload":{"url":"https://example.org/s"}}},
				{"attachment":{"type":"file","payload":{"url":"https://example.org/p"}}},{"text":"📎 inline.png"}]`,
		},
		{
			"an adaptive card", `{"attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"type":"AdaptiveCard","body":[{"type":"TextBlock","text":"Order **5**"}],"actions":[{"type":"Action.Submit","title":"Yes","data":{"ok":true}}]}}]}`,
			`[{"attachment":{"type":"template","payload":{"template_type":"button","text":"Order 5","buttons":[{"type":"postback","title":"Yes","payload":"{\"ok\":true}"}]}}}]`,
		},
		{"a card of nobody's", `{"attachments":[{"contentType":"application/vnd.example","content":{}},5]}`, `null`},
	} {
		var a activity.Activity
		if err := json.Unmarshal([]byte(strings.ReplaceAll(c.in, "\n\t\t\t", "")), &a); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		out := render(&a, "https://chat.example.org")
		ruled(t, out)
		b, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		_ = json.Unmarshal(b, &got)
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

// Whatever is too large for its place is there all the same, somewhere.
func TestRenderLosesNothing(t *testing.T) {
	sentence := strings.Repeat("Ein 👋 längerer Satz. ", 100)
	card := map[string]any{"contentType": "application/vnd.microsoft.card.hero", "content": map[string]any{
		"title": "Title", "text": sentence, "images": []any{map[string]string{"url": "https://example.org/1.png"}, map[string]string{"url": "https://example.org/2.png"}},
		"buttons": []any{map[string]string{"type": "imBack", "title": "Yes", "value": "yes"}},
	}}
	var actions []any
	for i := range 20 {
		actions = append(actions, map[string]string{"type": "imBack", "title": fmt.Sprint("choice ", i), "value": fmt.Sprint(i)})
	}
	all := make([]any, 25)
	for i := range all {
		all[i] = map[string]any{"contentType": "application/vnd.microsoft.card.hero", "content": map[string]any{"title": fmt.Sprint("card ", i), "subtitle": "small"}}
	}
	for what, extra := range map[string]map[string]any{
		"a large card": {"attachments": []any{card}}, "a large card in a row": {"attachments": slices.Concat(all, []any{card})},
		"many cards": {"attachments": all}, "many actions": {"suggestedActions": map[string]any{"actions": actions}},
	} {
		a := activity.Activity{Text: sentence, Extra: map[string]json.RawMessage{}}
		for k, v := range extra {
			a.Extra[k] = object(v)
		}
		out := render(&a, "")
		ruled(t, out)
		b, _ := json.Marshal(out)
		var words []string
		switch what {
		case "many actions":
			for i := range 20 {
				words = append(words, fmt.Sprint("choice ", i))
			}
		case "many cards":
			for i := range 25 {
				words = append(words, fmt.Sprint("card ", i))
			}
		default:
			words = []string{"Title", "1.png", "2.png", `"Yes"`}
			if n := strings.Count(string(b), "längerer"); n != 200 {
				t.Errorf("%s: %d of 200 sentences", what, n)
			}
		}
		for _, w := range words {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s: %q is missing", what, w)
			}
		}
	}
}

// What somebody presses comes back as what the bot gave for it.
func TestPressed(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"imBack","title":"A","value":"red"}`:                               `{"type":"","text":"red"}`,
		`{"type":"postBack","title":"A","value":{"a": [1, 2]}}`:                     `{"type":"","text":"A","value":{"a":[1,2]}}`,
		`{"type":"messageBack","title":"A","text":"b","value":{"c":1}}`:             `{"type":"","text":"A","value":{"c":1}}`,
		`{"type":"messageBack","title":"A","text":"b"}`:                             `{"type":"","text":"b"}`,
		`{"type":"imBack","title":"A"}`:                                             `{"type":"","text":"A"}`,
		`{"type":"imBack","title":"A","value":"` + strings.Repeat("x", 1001) + `"}`: `{"type":"","text":"A"}`,
	} {
		replies, _ := suggested(actionsOf(t, in))
		a := activity.Activity{Text: replies[0].Title, Extra: map[string]json.RawMessage{}}
		chosen(&a, replies[0].Payload)
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != want {
			t.Errorf("%.80s comes back as %s, want %s", in, b, want)
		}
	}
}
