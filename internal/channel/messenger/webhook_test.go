package messenger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/messenger"
	"github.com/parleyhq/parley/internal/channel/messenger/graphtest"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

func TestVerify(t *testing.T) {
	x := open(t, nil)
	for _, c := range []struct {
		what, mode, token, challenge string
		want                         int
	}{
		{"as Meta asks", "subscribe", verifyToken, "1158201444", 200},
		{"a wrong token", "subscribe", verifyToken + "x", "1", 403},
		{"no token", "subscribe", "", "1", 403},
		{"another mode", "unsubscribe", verifyToken, "1", 403},
		{"no challenge", "subscribe", verifyToken, "", 403},
		{"a long challenge", "subscribe", verifyToken, strings.Repeat("1", 300), 403},
	} {
		q := url.Values{"hub.mode": {c.mode}, "hub.verify_token": {c.token}, "hub.challenge": {c.challenge}}
		resp, err := http.Get(x.url + "?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.want || c.want == 200 && string(b) != c.challenge {
			t.Errorf("%s: %d %s, want %d", c.what, resp.StatusCode, b, c.want)
		}
		if c.want == 200 && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: what somebody else wrote is sent back as %s", c.what, resp.Header.Get("Content-Type"))
		}
	}
	resp, err := http.Get(strings.Replace(x.url, "/shop", "/nobody", 1) + "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=" + verifyToken)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("an account that is not there: %d", resp.StatusCode)
	}
}

// Only Meta is heard, and nothing else is even looked at.
func TestSignatures(t *testing.T) {
	x := open(t, nil)
	body := batch(t, text("m_1", "evil"))
	good := graphtest.Sign(appSecret, body)
	for what, signature := range map[string]string{
		"none": "", "empty": "sha256=", "another secret": graphtest.Sign("guess", body), "no secret": graphtest.Sign("", body),
		"of another body": graphtest.Sign(appSecret, append([]byte(" "), body...)), "without its name": strings.TrimPrefix(good, "sha256="),
		"as SHA-1": "sha1=" + strings.TrimPrefix(good, "sha256=")[:40], "cut": good[:len(good)-2], "no digits": "sha256=" + strings.Repeat("z", 64),
		"longer": good + "00",
	} {
		if got := x.post(body, signature); got != 401 {
			t.Errorf("%s: %d, want 401", what, got)
		}
	}
	// Not the bytes as they came, but what they mean: an easy mistake.
	var v any
	if err := json.Unmarshal(batch(t, text("m_1", "schön/gut")), &v); err != nil {
		t.Fatal(err)
	}
	plain, _ := json.Marshal(v)
	if got := x.post(batch(t, text("m_1", "schön/gut")), graphtest.Sign(appSecret, plain)); got != 401 {
		t.Errorf("the signature of other bytes with the same meaning: %d", got)
	}
	if n := len(x.desk.taken); n != 0 {
		t.Errorf("%d messages were taken", n)
	}
	if got := x.post(body, good); got != 200 || len(x.desk.taken) != 1 {
		t.Errorf("the right one: %d, %d taken", got, len(x.desk.taken))
	}
}

// Signed but senseless: refused, and nothing is taken of it.
func TestBodies(t *testing.T) {
	x := open(t, func(o *messenger.Options) { o.MaxBody = 64 << 10 })
	for _, c := range []struct {
		what, body string
		want       int
	}{
		{"nothing", "", 400},
		{"no JSON", `{"object":`, 400},
		{"a list", `[]`, 400},
		{"not UTF-8", "{\"object\":\"page\",\"entry\":[{\"id\":\"\xff\"}]}", 400},
		{"of Instagram", `{"object":"instagram","entry":[]}`, 400},
		{"of a wrong kind", `{"object":"page","entry":{}}`, 400},
		{"too large", `{"object":"page","x":"` + strings.Repeat("x", 64<<10) + `"}`, 413},
		{"deep", strings.Repeat("[", 20_000), 400},
		{"empty", `{"object":"page","entry":[]}`, 200},
		{"null", `{"object":"page","entry":[null,{"id":"1900001","messaging":null}]}`, 200},
	} {
		if got := x.post([]byte(c.body), graphtest.Sign(appSecret, []byte(c.body))); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
	if n := len(x.desk.taken); n != 0 {
		t.Errorf("%d messages were taken", n)
	}
}

// What nobody said to a bot is left out, and does not keep the rest away.
func TestLeftOut(t *testing.T) {
	x := open(t, nil)
	no := []map[string]any{
		event(map[string]any{"message": map[string]any{"mid": "m_e", "text": "echo", "is_echo": true, "app_id": 15}}),
		event(map[string]any{"delivery": map[string]any{"mids": []string{"m_1"}, "watermark": 1}}),
		event(map[string]any{"read": map[string]any{"watermark": 1}}),
		event(map[string]any{"message": map[string]any{"mid": "m_p", "text": "the page itself"}, "sender": map[string]string{"id": shop}}),
		event(map[string]any{"message": map[string]any{"mid": "m_r", "text": "a stranger"}, "sender": map[string]string{"user_ref": "x"}}),
		event(map[string]any{"message": map[string]any{"mid": "m_o", "text": "another's"}, "recipient": map[string]string{"id": "999"}}),
		event(map[string]any{"message": map[string]any{"mid": 5, "text": []string{"odd"}}}),
		event(map[string]any{"message": "odd"}),
	}
	if got := x.deliver(append(no, text("m_1", "heard"))...); got != 200 {
		t.Fatalf("status %d", got)
	}
	if got := x.desk.texts("messenger-shop/" + shop + ":" + ann); !same(got, []string{"heard"}) {
		t.Errorf("taken: %q", got)
	}
	if n := len(x.desk.taken); n != 1 {
		t.Errorf("%d were taken", n)
	}
}

func TestTranslation(t *testing.T) {
	file := func(kind, link string, more map[string]any) map[string]any {
		p := map[string]any{"url": link}
		for k, v := range more {
			p[k] = v
		}
		return map[string]any{"type": kind, "payload": p}
	}
	message := func(with map[string]any) map[string]any {
		with["mid"] = "m_1"
		return event(map[string]any{"message": with})
	}
	for _, c := range []struct {
		what  string
		event map[string]any
		want  string // without channelData
	}{
		{"text", message(map[string]any{"text": "Grüße 👋 a/b"}), `{"type":"message","text":"Grüße 👋 a/b"}`},
		{"a quick reply", message(map[string]any{"text": "Red…", "quick_reply": map[string]any{"payload": "red as a rose"}}), `{"type":"message","text":"red as a rose"}`},
		{"a quick reply with an object", message(map[string]any{"text": "Red", "quick_reply": map[string]any{"payload": `{"colour":1}`}}), `{"type":"message","text":"Red","value":{"colour":1}}`},
		{"a quick reply for nothing", message(map[string]any{"text": "Red", "quick_reply": map[string]any{"payload": ""}}), `{"type":"message","text":"Red"}`},
		{
			"files",
			message(map[string]any{"attachments": []any{
				file("image", "https://cdn.example/a/b.PNG?x=1", nil), file("video", "https://cdn.example/v", nil), file("audio", "https://cdn.example/s.mp4", nil),
				file("file", "https://cdn.example/bill.pdf?y=2", nil),
			}}),
			`{"type":"message","attachments":[{"contentType":"image/png","contentUrl":"https://cdn.example/a/b.PNG?x=1","name":"b.PNG"},
				{"contentType":"video/mp4","contentUrl":"https://cdn.example/v","name":"v"},{"contentType":"audio/mp4","contentUrl":"https://cdn.example/s.mp4","name":"s.mp4"},
				{"contentType":"application/pdf","contentUrl":"https://cdn.example/bill.pdf?y=2","name":"bill.pdf"}]}`,
		},
		{
			"a sticker, which comes twice",
			message(map[string]any{"attachments": []any{file("image", "https://cdn.example/s.png", map[string]any{"sticker_id": 123}), file("sticker", "https://cdn.example/s.png", map[string]any{"sticker_id": 123})}}),
			`{"type":"message","attachments":[{"contentType":"image/png","contentUrl":"https://cdn.example/s.png","name":"s.png"}]}`,
		},
		{"a thumb", message(map[string]any{"attachments": []any{file("image", "https://cdn.example/t.png", map[string]any{"sticker_id": 369239263222822})}}), `{"type":"message","text":"👍"}`},
		{
			"a place",
			message(map[string]any{"attachments": []any{map[string]any{"type": "location", "title": "Ann's place", "payload": map[string]any{"coordinates": map[string]any{"lat": 52.5, "long": 13.4}}}}}),
			`{"type":"message","entities":[{"type":"Place","name":"Ann's place","geo":{"type":"GeoCoordinates","latitude":52.5,"longitude":13.4}}]}`,
		},
		{"something shared", message(map[string]any{"attachments": []any{map[string]any{"type": "fallback", "title": "News", "url": "https://news.example/1", "payload": nil}}}), `{"type":"message","text":"News https://news.example/1"}`},
		{"an answer to a message", message(map[string]any{"text": "yes", "reply_to": map[string]any{"mid": "m_0"}}), `{"type":"message","text":"yes","replyToId":"m_0"}`},
		{"a reaction", event(map[string]any{"reaction": map[string]any{"mid": "m_0", "action": "react", "reaction": "love", "emoji": "❤"}}), `{"type":"messageReaction","replyToId":"m_0","reactionsAdded":[{"type":"love"}]}`},
		{"one taken back", event(map[string]any{"reaction": map[string]any{"mid": "m_0", "action": "unreact", "reaction": "other", "emoji": "🦓"}}), `{"type":"messageReaction","replyToId":"m_0","reactionsRemoved":[{"type":"🦓"}]}`},
		{"a postback", event(map[string]any{"postback": map[string]any{"mid": "m_1", "title": "Order", "payload": "order 5"}}), `{"type":"message","text":"order 5"}`},
		{"a postback with an object", event(map[string]any{"postback": map[string]any{"mid": "m_1", "title": "Order", "payload": `{"order":5}`}}), `{"type":"message","text":"Order","value":{"order":5}}`},
		{"get started", event(map[string]any{"postback": map[string]any{"mid": "m_1", "title": "Get Started", "payload": "GET_STARTED"}}), `{"type":"message","text":"Get Started"}`},
		{"a referral", event(map[string]any{"referral": map[string]any{"ref": "poster", "source": "SHORTLINK"}}), `{"type":"event","name":"referral","value":{"ref":"poster","source":"SHORTLINK"}}`},
		{"a time as a text", event(map[string]any{"timestamp": "1458692752478", "message": map[string]any{"mid": "m_1", "text": "late"}}), `{"type":"message","text":"late"}`},
	} {
		x := open(t, nil)
		if got := x.deliver(c.event); got != 200 || len(x.desk.taken) != 1 {
			t.Errorf("%s: %d, %d taken", c.what, got, len(x.desk.taken))
			continue
		}
		in := x.desk.taken[0]
		var data struct {
			Messenger struct {
				Page, User string
				Event      json.RawMessage
			}
		}
		if err := json.Unmarshal(in.Activity.ChannelData, &data); err != nil || data.Messenger.Page != shop || data.Messenger.User != ann || len(data.Messenger.Event) == 0 {
			t.Errorf("%s: channelData %s", c.what, in.Activity.ChannelData)
		}
		if in.Activity.From.ID != ann || in.Activity.From.Role != "user" || in.Owner != "messenger-shop" {
			t.Errorf("%s: from %+v of %s", c.what, in.Activity.From, in.Owner)
		}
		in.Activity.ChannelData, in.Activity.From = nil, nil
		b, err := json.Marshal(in.Activity)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		_ = json.Unmarshal(b, &got)
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

// Who presses Get Started is greeted, if there is a greeting, however often
// Meta tells of it.
func TestGreeting(t *testing.T) {
	x := open(t, func(o *messenger.Options) { o.Accounts[0].Greeting, o.Accounts[0].Bot = "**Welcome!**", "bot" })
	press := event(map[string]any{"postback": map[string]any{"title": "Get Started", "payload": "GET_STARTED"}})
	for range 2 {
		if got := x.deliver(press); got != 200 {
			t.Fatalf("status %d", got)
		}
	}
	if len(x.desk.spoken) != 2 || x.desk.spoken[0].Key != x.desk.spoken[1].Key || x.desk.spoken[0].Activity.Text != "**Welcome!**" {
		t.Errorf("spoken: %+v", x.desk.spoken)
	}
	if a := x.desk.taken[0].Activity; a.Type != activity.TypeEvent || string(a.Extra["name"]) != `"getStarted"` {
		t.Errorf("taken: %+v", a)
	}
}

// The key that makes repetitions one message.
func TestKeys(t *testing.T) {
	x := open(t, nil)
	press := func(at int, payload string) map[string]any {
		return event(map[string]any{"timestamp": at, "postback": map[string]any{"title": "Order", "payload": payload}})
	}
	all := []map[string]any{
		text("m_1", "one"), text("m_2", "one"), press(1, "a"), press(2, "a"), press(1, "b"),
		event(map[string]any{"postback": map[string]any{"mid": "m_1", "title": "x", "payload": "y"}}),
	}
	for range 2 {
		if got := x.deliver(all...); got != 200 {
			t.Fatalf("status %d", got)
		}
	}
	seen := map[string]int{}
	for _, in := range x.desk.taken {
		seen[in.Key]++
	}
	if len(seen) != len(all) || slices.ContainsFunc(x.desk.taken, func(in channel.Inbound) bool { return seen[in.Key] != 2 || in.Key == "" }) {
		t.Errorf("keys: %v", seen)
	}
}

// A batch is taken whole or comes again. What one person said keeps its order,
// and what can't be taken of one does not hold up the others.
func TestBatch(t *testing.T) {
	x := open(t, nil)
	from := func(who string, e map[string]any) map[string]any {
		e["sender"] = map[string]string{"id": who}
		return e
	}
	var events []map[string]any
	for i := range 40 {
		events = append(events, from([]string{ann, bob}[i%2], text(fmt.Sprint("m_", i), fmt.Sprint(i))))
	}
	down := true
	x.desk.fail = func(in channel.Inbound) error {
		switch {
		case in.Activity.Text == "3":
			return fault.New(fault.TooLarge, "never")
		case in.Activity.Text == "10" && down:
			return fault.New(fault.Unavailable, "not now")
		}
		return nil
	}
	toAnn, toBob := "messenger-shop/"+shop+":"+ann, "messenger-shop/"+shop+":"+bob
	if got := x.deliver(events...); got != 503 {
		t.Errorf("status %d, want 503: Meta sends it again", got)
	}
	if got := x.desk.texts(toAnn); !same(got, []string{"0", "2", "4", "6", "8"}) {
		t.Errorf("of ann: %q", got)
	}
	if got := x.desk.texts(toBob); len(got) != 19 || !slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) }) || slices.Contains(got, "3") {
		t.Errorf("of bob: %q", got)
	}
	down = false
	if got := x.deliver(events...); got != 200 {
		t.Errorf("status %d", got)
	}
	if got := x.desk.texts(toAnn); len(got) != 25 || got[24] != "38" {
		t.Errorf("of ann: %q", got)
	}
}

// An app's webhook brings what people write to all of its pages, and to no
// other app's.
func TestPages(t *testing.T) {
	x := open(t, func(o *messenger.Options) {
		third := account("third", "1900003", "x")
		third.AppSecret, third.Bot = secret.New("another-app's-secret"), "third"
		o.Accounts[1].Bot = "clerk"
		o.Accounts = append(o.Accounts, third)
	})
	var events []map[string]any
	for i, page := range []string{shop, other, "1900003"} {
		events = append(events, event(map[string]any{"recipient": map[string]string{"id": page}, "message": map[string]any{"mid": fmt.Sprint("m_", i), "text": "to " + page}}))
	}
	if got := x.deliver(events...); got != 200 {
		t.Errorf("status %d", got)
	}
	if a, b := x.desk.texts("messenger-shop/"+shop+":"+ann), x.desk.texts("messenger-other/"+other+":"+ann); !same(a, []string{"to " + shop}) || !same(b, []string{"to " + other}) || len(x.desk.taken) != 2 {
		t.Errorf("taken: %q %q of %d", a, b, len(x.desk.taken))
	}
	if !same(x.desk.no, []string{"not_found"}) {
		t.Errorf("refused: %q", x.desk.no)
	}
}

func TestOptions(t *testing.T) {
	for what, change := range map[string]func(*messenger.Options){
		"no account":           func(o *messenger.Options) { o.Accounts = nil },
		"no desk":              func(o *messenger.Options) { o.Desk = nil },
		"no app secret":        func(o *messenger.Options) { o.Accounts[0].AppSecret = secret.String{} },
		"no verify token":      func(o *messenger.Options) { o.Accounts[0].VerifyToken = secret.String{} },
		"no page":              func(o *messenger.Options) { o.Accounts[0].Page = "" },
		"no token":             func(o *messenger.Options) { o.Accounts[0].Token = secret.String{} },
		"a page twice":         func(o *messenger.Options) { o.Accounts = append(o.Accounts, account("x", shop, "x")) },
		"a name twice":         func(o *messenger.Options) { o.Accounts = append(o.Accounts, account("shop", "5", "x")) },
		"a greeting of nobody": func(o *messenger.Options) { o.Accounts[0].Greeting = "hi" },
		"an odd Graph":         func(o *messenger.Options) { o.Accounts[0].Graph = "graph.facebook.com" },
	} {
		o := messenger.Options{Desk: &desk{}, Accounts: []messenger.Account{account("shop", shop, pageToken)}}
		change(&o)
		if _, err := messenger.New(o); err == nil || strings.Contains(err.Error(), pageToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	x := open(t, nil)
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		r, _ := http.NewRequestWithContext(t.Context(), method, x.url, bytes.NewReader(nil))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 405 {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
}
