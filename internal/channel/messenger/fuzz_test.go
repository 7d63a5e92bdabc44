package messenger

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel/format"
	"github.com/parleyhq/parley/internal/channel/messenger/graphtest"
)

func actionsOf(t *testing.T, action string) []format.Button {
	t.Helper()
	return format.Actions(json.RawMessage(`{"actions":[` + action + `]}`))
}

// Whatever Meta sends is taken as sound JSON with a key and a person, or left
// out.
func FuzzDelivery(f *testing.F) {
	one := func(event string) []byte {
		return []byte(`{"object":"page","entry":[{"id":"1","time":1,"messaging":[` + event + `]}]}`)
	}
	f.Add(one(`{"sender":{"id":"7"},"recipient":{"id":"1"},"timestamp":1,"message":{"mid":"m","text":"hi","quick_reply":{"payload":"{}"}}}`))
	f.Add(one(`{"sender":{"id":"7"},"recipient":{"id":"1"},"timestamp":"1","postback":{"title":"t","payload":"GET_STARTED","referral":{}}}`))
	f.Add(one(`{"sender":{"id":"7"},"recipient":{"id":"1"},"message":{"mid":"m","attachments":[{"type":"location","payload":{"coordinates":{"lat":1,"long":"2"}}},{"type":"image","payload":{"url":"https://x/y.png","sticker_id":"5"}}]}}`))
	f.Add(one(`{"sender":{"id":"7"},"recipient":{"id":"1"},"referral":null,"message":null,"postback":{}},null,{}`))
	f.Add([]byte(`{"object":"page","entry":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, _, err := read(b)
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Sender.ID == "" || e.key() == "" {
				t.Fatalf("of %q nobody knows who or which: %+v", b, e)
			}
			a, _ := e.activity(true)
			out, err := json.Marshal(a)
			if err != nil || !json.Valid(out) || strings.Contains(string(out), `:null`) && !strings.Contains(string(b), "null") {
				t.Fatalf("%q becomes %q (%v)", b, out, err)
			}
		}
	})
}

// Whatever a bot says goes out by the rules of the Send API.
func FuzzRender(f *testing.F) {
	f.Add("**hi** there", "", `[{"contentType":"application/vnd.microsoft.card.hero","content":{"title":"t","images":[{"url":"https://x/y"}],"buttons":[{"type":"call","title":"c","value":"tel:+49 30"}]}}]`, `{"actions":[{"type":"imBack","title":" "}]}`)
	f.Add("", "plain", `[{"contentType":"image/png","contentUrl":"https://"},{"contentUrl":"http://x y"}]`, `{"actions":[{"type":"openUrl","title":"t","value":"https://"}]}`)
	f.Add(strings.Repeat("👩‍👩‍👧", 900), "plain", `[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"body":[{"type":"TextBlock","text":"\n"}],"actions":[{"type":"Action.OpenUrl","title":"x","url":"https://%"}]}}]`, `null`)
	f.Fuzz(func(t *testing.T, text, kind, attachments, actions string) {
		a := activity.Activity{Text: strings.ToValidUTF8(text, ""), TextFormat: kind, Extra: map[string]json.RawMessage{
			"attachments": json.RawMessage(attachments), "suggestedActions": json.RawMessage(actions),
		}}
		for _, p := range render(&a, "https://chat.example.org") {
			b, err := json.Marshal(map[string]any{"recipient": map[string]string{"id": "1"}, "messaging_type": "UPDATE", "message": p})
			if err != nil {
				t.Fatal(err)
			}
			if _, rule := graphtest.Check(b); rule != "" {
				t.Fatalf("%s: %s", rule, b)
			}
		}
	})
}
