package teams

import (
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
)

// Whatever Microsoft sends is translated or refused: what is kept has no
// secrets in it, is from a person, and leads back to where it came from.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte(`{"type":"message","id":"1","serviceUrl":"https://s","channelId":"msteams","text":"<at>P</at> hi","from":{"id":"29:a"},"recipient":{"id":"28:b"},"conversation":{"id":"a:1","conversationType":"personal"},
		"entities":[{"type":"mention","text":"<at>P</at>","mentioned":{"id":"28:b"}}],"attachments":[{"contentType":"text/html"},{"content":{"downloadUrl":"x"}},null],"channelData":{"tenant":{"id":"t"},"teams":1}}`))
	f.Add([]byte(`{"type":"invoke","name":"task/fetch","serviceUrl":"s","from":{"id":"a"},"recipient":{"id":"b"},"conversation":{"id":"c"},"value":{"authentication":{},"state":1,"x":2},"Value":{"state":2}}`))
	f.Add([]byte(`{"type":"conversationUpdate","serviceUrl":"s","conversation":{"id":"c"},"membersAdded":[null,{"id":""}],"channelData":null}`))
	f.Add([]byte(`{"type":"message","serviceUrl":"s","SERVICEURL":"t","from":{"id":"a","role":"bot"},"recipient":{"id":"b"},"conversation":{"id":"c"},"entities":[{"type":"mention","text":"a","mentioned":null}],"text":"aaa"}`))
	a := &account{Account: Account{Name: "shop", AppID: testApp}}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := readNative(b)
		if err != nil {
			return
		}
		in, to, err := translate(a, n, b)
		if err != nil || to != useTake && to != useInvoke {
			return
		}
		j, err := json.Marshal(in.Activity)
		var again activity.Activity
		if err != nil || json.Unmarshal(j, &again) != nil {
			t.Fatalf("%q becomes %q (%v)", b, j, err)
		}
		at, ok := addressOf(&again)
		if !ok || at.Service != n.Service || at.Conversation != n.Conversation.ID || in.Activity.From.Role != "user" || in.Key == "" {
			t.Fatalf("%q becomes %q by %q", b, j, in.Key)
		}
		var value map[string]json.RawMessage
		if json.Unmarshal(in.Activity.Extra["value"], &value) == nil && (value["authentication"] != nil || value["state"] != nil) {
			t.Fatalf("%q keeps %s", b, in.Activity.Extra["value"])
		}
		for name := range in.Activity.Extra {
			if strings.EqualFold(name, "serviceUrl") {
				t.Fatalf("%q keeps its service", b)
			}
		}
	})
}

// No token but Microsoft's is believed.
func FuzzToken(f *testing.F) {
	key := testKeys()[0]
	a := &account{Account: Account{AppID: testApp, Cloud: Clouds()["public"]}}
	now := time.Unix(1_800_000_000, 0)
	a.keys = &keys{now: func() time.Time { return now }, read: now, asked: now, set: map[string]issuerKey{"k": {public: &key.PublicKey}}}
	good, err := wire.SignToken(wire.TokenHeader{Key: "k"}, claims{Issuer: "https://api.botframework.com", Audience: testApp, Service: "s", From: now.Unix(), Expires: now.Unix() + 60}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer " + good)
	f.Add("bearer  " + good + " ")
	f.Add("Bearer " + strings.Replace(good, ".", "..", 1))
	f.Add("Bearer eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header["Authorization"] = []string{header}
		_, _, err := a.verify(r, now)
		if believed := len(header) > 7 && strings.TrimSpace(header[7:]) == good && strings.EqualFold(header[:7], "Bearer "); believed != (err == nil) {
			t.Fatalf("%q: %v", header, err)
		}
		if err != nil && !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("%q: %v", header, err)
		}
	})
}

// Keys are read or left out.
func FuzzJWK(f *testing.F) {
	f.Add([]byte(`{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB","endorsements":["msteams"]}`))
	f.Add([]byte(`{"kty":"RSA","kid":"a","n":"` + strings.Repeat("_", 342) + `","e":"AQAB"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var j jwk
		if json.Unmarshal(b, &j) != nil {
			return
		}
		key, ok := j.rsa()
		if ok && (key.N.BitLen() < 2048 || key.E < 3) {
			t.Fatalf("%q gives %v", b, key)
		}
		if ok {
			_ = rsa.VerifyPKCS1v15(key, 5, make([]byte, 32), make([]byte, key.Size()))
		}
	})
}

// Whatever Teams answers is an error with a code from the list and no text of
// Teams' own.
func FuzzRefused(f *testing.F) {
	f.Add(403, "1", []byte(`{"error":{"code":"BotNotInConversationRoster","message":"x"}}`))
	f.Add(403, "Fri, 31 Dec 1999 23:59:59 GMT", []byte(`{"errorCode":209,"message":"{\"subCode\":\"MessageWritesBlocked\"}"}`))
	f.Add(429, "99999999999999999999", []byte(`[`))
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		if status < 300 || status > 599 {
			return
		}
		err := refused(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}}, body, time.Now())
		if code := fault.CodeOf(err); code == fault.Internal || code == "" {
			t.Fatalf("%d %q: %v", status, body, err)
		}
		if d := fault.RetryAfterOf(err); d < 0 || d > time.Hour {
			t.Fatalf("%q: %v", after, d)
		}
		if len(err.Error()) > 1000 {
			t.Fatalf("%d %q: %v", status, body, err)
		}
	})
}

// Whatever a model writes and a bot attaches becomes messages that Teams takes.
func FuzzPieces(f *testing.F) {
	f.Add("# a\n|b|c|\n|-|-|\n|d|\n```\nx", []byte(`[{"contentType":"application/vnd.microsoft.card.hero","content":{"buttons":[{"type":"postBack","title":"x","value":1}]}}]`), []byte(`{"actions":[{"type":"imBack","title":"y"}]}`))
	f.Add("<at>x</at> `<b>` ![a](b)", []byte(`[{"contentType":"image/png","contentUrl":"/x"},null,{"contentType":"application/vnd.microsoft.card.video","content":{"media":[{"url":"https://x"}]}}]`), []byte(`null`))
	s := &Server{}
	to := target{&account{}, address{Conversation: "a:1", Type: personal, Bot: testBot, User: "29:u"}, s}
	f.Fuzz(func(t *testing.T, text string, attachments, suggestions []byte) {
		a := &activity.Activity{Type: activity.TypeMessage, Text: text, TextFormat: "markdown", Extra: map[string]json.RawMessage{}}
		_ = a.SetMeta(activity.Meta{Turn: "t"})
		for name, raw := range map[string][]byte{"attachments": attachments, "suggestedActions": suggestions} {
			if json.Valid(raw) {
				a.Extra[name] = raw
			}
		}
		for _, m := range to.pieces(channel.Item{Activity: a}) {
			b, err := json.Marshal(m)
			if err != nil || m.Text != "" && len(m.Attachments) > 0 || m.Text == "" && len(m.Attachments) == 0 {
				t.Fatalf("%q: %q %v", text, b, err)
			}
		}
	})
}
