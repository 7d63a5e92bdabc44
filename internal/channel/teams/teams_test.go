package teams

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/wire"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/secret"
)

// desk notes what the channel takes.
type desk struct {
	mu      sync.Mutex // guards all below
	placed  map[string]channel.Start
	taken   []channel.Inbound
	refused []string
	value   json.RawMessage
	err     error
	wait    bool // an invoke is never answered
}

func (d *desk) Place(_ context.Context, name string, s channel.Start) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.placed == nil {
		d.placed = map[string]channel.Start{}
	}
	d.placed[name] = s
	return "conv of " + name, d.err
}

func (d *desk) Take(_ context.Context, in channel.Inbound) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken = append(d.taken, in)
	return 8, d.err
}

func (d *desk) Invoked(ctx context.Context, _ string, _ uint64) (json.RawMessage, error) {
	if d.wait {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.value, nil
}

func (d *desk) Observer() channel.Observer { return d }

func (d *desk) Refused(_, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = append(d.refused, reason)
}
func (*desk) Received(string, string)         {}
func (*desk) Delivered(string, time.Duration) {}
func (*desk) Connected(string, int)           {}
func (*desk) Posted(string, string)           {}

func open(t *testing.T, ms *microsoft, change func(*Options)) (*Server, *desk) {
	t.Helper()
	d := &desk{}
	o := Options{
		Desk: d, Now: func() time.Time { return ms.now() }, Public: "https://chat.example.org",
		Accounts: []Account{{Name: "shop", AppID: testApp, Secret: secret.New(testSecret), Bot: "helper", Cloud: ms.cloud()}},
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func TestTaken(t *testing.T) {
	ms := newMicrosoft(t)
	s, d := open(t, ms, nil)
	in := ms.said("19:abc@thread.tacv2;messageid=1481567603816", "1485983408511", "<at>Parley</at>&nbsp; what does <at>Kim</at> say about 1 < 2?\n")
	in["entities"] = []any{
		map[string]any{"type": "mention", "text": "<at>Parley</at>", "mentioned": map[string]any{"id": testBot, "name": "Parley"}},
		map[string]any{"type": "mention", "text": "<at>Kim</at>", "mentioned": map[string]any{"id": "29:kim", "name": "Kim"}},
	}
	in["attachments"] = []any{
		map[string]any{"contentType": "text/html", "content": "<p>x</p>"},
		map[string]any{
			"contentType": "application/vnd.microsoft.teams.file.download.info", "name": "plan.docx", "contentUrl": "https://contoso.sharepoint.com/plan.docx",
			"content": map[string]any{"downloadUrl": "https://contoso.sharepoint.com/?tempauth=SECRET", "uniqueId": "u", "fileType": "docx"},
		},
	}
	in["callerId"] = "urn:botframework:azure"
	in["channelData"] = map[string]any{"tenant": map[string]any{"id": testTenant}, "team": map[string]any{"id": "19:abc@thread.tacv2"}, "teams": "mine", "parley": map[string]any{"turn": "t"}}
	if w := ms.deliver(s, "shop", ms.sign(nil), in); w.Code != http.StatusOK || w.Body.String() != "{}\n" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(d.taken) != 1 {
		t.Fatalf("taken: %+v", d.taken)
	}
	got := d.taken[0]
	name := "19:abc@thread.tacv2;messageid=1481567603816"
	if diff := cmp.Diff(map[string]channel.Start{name: {Owner: "teams-shop", Bot: "helper", Data: got.Activity.ChannelData}}, d.placed); diff != "" {
		t.Errorf("placed (-want +got):\n%s", diff)
	}
	if got.Key != "1485983408511" || got.Owner != "teams-shop" || got.Conversation != "conv of "+name {
		t.Errorf("%+v", got)
	}
	b, _ := json.Marshal(got.Activity)
	want := fmt.Sprintf(`{
		"type":"message","from":{"id":"29:megan","name":"Megan Bowen","role":"user"},"text":"what does Kim say about 1 < 2?","textFormat":"plain","locale":"en-US","localTimestamp":"2026-02-01T14:10:07.437-07:00",
		"attachments":[{"contentType":"application/vnd.microsoft.teams.file.download.info","name":"plan.docx","contentUrl":"https://contoso.sharepoint.com/plan.docx","content":{"uniqueId":"u","fileType":"docx"}}],
		"entities":[{"type":"mention","text":"<at>Parley</at>","mentioned":{"id":%q,"name":"Parley"}},{"type":"mention","text":"<at>Kim</at>","mentioned":{"id":"29:kim","name":"Kim"}}],
		"channelData":{"tenant":{"id":%q},"team":{"id":"19:abc@thread.tacv2"},"teams":{"account":"shop","service":%q,"conversation":"19:abc@thread.tacv2;messageid=1481567603816",
			"type":"channel","tenant":%q,"bot":%q,"user":"29:megan","aadObjectId":"7faf8ab2-3d56-4244-b585-20c8a42ed2b8","activity":"1485983408511"}}}`,
		testBot, testTenant, ms.service(), testTenant, testBot)
	if diff := cmp.Diff(decoded(t, want), decoded(t, string(b))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func decoded(t *testing.T, s string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestUses(t *testing.T) {
	ms := newMicrosoft(t)
	for _, c := range []struct {
		name   string
		change map[string]any
		value  string
		status int
		taken  string // type of what was taken
		placed bool
		key    string
	}{
		{"a message", nil, "", 200, "message", true, "1"},
		{"typing", map[string]any{"type": "typing"}, "", 200, "", false, ""},
		{"what nobody knows", map[string]any{"type": "somethingNew"}, "", 200, "", false, ""},
		{"the bot is added", map[string]any{"type": "conversationUpdate", "membersAdded": []any{map[string]any{"id": testBot}, map[string]any{"id": "29:megan"}}}, "", 200, "", true, ""},
		{"somebody else is added", map[string]any{"type": "conversationUpdate", "membersAdded": []any{map[string]any{"id": "29:kim"}}}, "", 200, "", false, ""},
		{"a channel is renamed", map[string]any{"type": "conversationUpdate", "channelData": map[string]any{"eventType": "channelRenamed"}}, "", 200, "", false, ""},
		{"the app is installed", map[string]any{"type": "installationUpdate", "action": "add-upgrade"}, "", 200, "", true, ""},
		{"the app is removed", map[string]any{"type": "installationUpdate", "action": "remove"}, "", 200, "", false, ""},
		{"an edit", map[string]any{"type": "messageUpdate", "text": "better", "channelData": map[string]any{"eventType": "editMessage"}}, "", 200, "messageUpdate", true, "messageUpdate\x001\x002026-02-01T21:10:07.437Z"},
		{"an undo", map[string]any{"type": "messageDelete", "channelData": map[string]any{"eventType": "softDeleteMessage"}}, "", 200, "messageDelete", true, "messageDelete\x001\x002026-02-01T21:10:07.437Z"},
		{"an event", map[string]any{"type": "event", "name": "application/vnd.microsoft.meetingStart"}, "", 200, "event", true, "event\x001\x002026-02-01T21:10:07.437Z"},
		{"a card's action", map[string]any{"type": "invoke", "name": "adaptiveCard/action"}, `{"status":200,"body":{"statusCode":200}}`, 200, "invoke", true, "invoke\x001\x002026-02-01T21:10:07.437Z"},
		{"a dialog that the bot refuses", map[string]any{"type": "invoke", "name": "task/fetch"}, `{"status":412}`, 412, "invoke", true, "invoke\x001\x002026-02-01T21:10:07.437Z"},
		{"a dialog that no bot answers", map[string]any{"type": "invoke", "name": "task/fetch"}, "", 501, "invoke", true, "invoke\x001\x002026-02-01T21:10:07.437Z"},
		{"signing in", map[string]any{"type": "invoke", "name": "signin/tokenExchange"}, `{"status":200}`, 501, "", false, ""},
		{"a file's consent", map[string]any{"type": "invoke", "name": "fileConsent/invoke"}, `{"status":200}`, 501, "", false, ""},
	} {
		s, d := open(t, ms, nil)
		d.value = json.RawMessage(c.value)
		in := ms.said("a:1", "1", "hello")
		for k, v := range c.change {
			in[k] = v
		}
		w := ms.deliver(s, "shop", ms.sign(nil), in)
		taken, key := "", ""
		if len(d.taken) > 0 {
			taken, key = d.taken[0].Activity.Type, d.taken[0].Key
		}
		if w.Code != c.status || taken != c.taken || (len(d.placed) > 0) != c.placed || key != c.key {
			t.Errorf("%s: %d %s; taken %q by %q, placed %v", c.name, w.Code, w.Body, taken, key, d.placed)
		}
	}
}

func TestPersonal(t *testing.T) {
	ms := newMicrosoft(t)
	s, d := open(t, ms, nil)
	in := ms.said("a:1", "1", "hello")
	in["type"], in["name"], in["value"] = "invoke", "adaptiveCard/action", map[string]any{"action": map[string]any{"verb": "x"}, "authentication": map[string]any{"token": "SECRET"}, "state": "SECRET"}
	d.value = json.RawMessage(`{"status":200,"body":{"type":"application/vnd.microsoft.activity.message","statusCode":200,"value":"ok"}}`)
	w := ms.deliver(s, "shop", ms.sign(nil), in)
	if want := `{"type":"application/vnd.microsoft.activity.message","statusCode":200,"value":"ok"}` + "\n"; w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := d.placed["a:1"].User; got != "29:megan" {
		t.Errorf("the chat is of %q", got)
	}
	if b, _ := json.Marshal(d.taken[0].Activity); strings.Contains(string(b), "SECRET") || !strings.Contains(string(b), `"verb":"x"`) {
		t.Errorf("kept: %s", b)
	}
}

// A delivery that can't be made durable now is one that Microsoft shall make
// again.
func TestNotNow(t *testing.T) {
	ms := newMicrosoft(t)
	s, d := open(t, ms, nil)
	for err, want := range map[error]int{
		fault.New(fault.Unavailable, "no leader").After(time.Second): 503,
		fault.New(fault.Limited, "too many").After(2 * time.Second):  429,
		fault.New(fault.TooLarge, "too long"):                        413,
	} {
		d.err = err
		w := ms.deliver(s, "shop", ms.sign(nil), ms.said("a:1", "1", "hello"))
		if w.Code != want || (fault.RetryAfterOf(err) > 0) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%v: %d %v", err, w.Code, w.Header())
		}
	}
}

func TestRefused(t *testing.T) {
	ms := newMicrosoft(t)
	var log bytes.Buffer
	s, d := open(t, ms, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		other := o.Accounts[0]
		other.Name, other.AppID, other.Tenants = "other", "other-app", []string{testTenant}
		o.Accounts = append(o.Accounts, other)
	})
	ms.keys = append(ms.keys, signing{"skype", testKeys()[1], []string{"skype"}}, ms.keys[0])
	good := ms.sign(nil)
	part := strings.Split(good, ".")
	claim := func(name string, v any) string {
		return ms.sign(func(c map[string]any) {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		})
	}
	with := func(h wire.TokenHeader, key int) string {
		token, err := wire.SignToken(h, map[string]any{"iss": "https://api.botframework.com", "aud": testApp, "serviceurl": ms.service(), "exp": time.Now().Add(time.Hour).Unix()}, testKeys()[key])
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	now := time.Now()
	none := encodePart(`{"alg":"none","typ":"JWT","kid":"first"}`)
	hs := encodePart(`{"alg":"HS256","typ":"JWT","kid":"first"}`)
	for name, c := range map[string]struct {
		token  string
		status int
		body   map[string]any
		at     string
	}{
		"no token":                    {"", 401, nil, ""},
		"no JWT":                      {"x", 401, nil, ""},
		"too long":                    {good + strings.Repeat("x", wire.MostToken), 401, nil, ""},
		"expired":                     {claim("exp", now.Add(-6*time.Minute).Unix()), 401, nil, ""},
		"no end":                      {claim("exp", nil), 401, nil, ""},
		"not yet":                     {claim("nbf", now.Add(6*time.Minute).Unix()), 401, nil, ""},
		"another issuer":              {claim("iss", "https://sts.windows.net/"+testTenant+"/"), 401, nil, ""},
		"another audience":            {claim("aud", "other-app"), 401, nil, ""},
		"a list of audiences":         {claim("aud", []string{testApp}), 401, nil, ""},
		"another account's":           {good, 401, nil, "other"},
		"no account":                  {good, 404, nil, "nobody"},
		"another service":             {claim("serviceurl", "https://smba.trafficmanager.net/amer/"), 403, nil, ""},
		"no service in the token":     {claim("serviceurl", nil), 403, nil, ""},
		"a service that nobody knows": {claim("serviceurl", "https://evil.example.org/"), 403, map[string]any{"serviceUrl": "https://evil.example.org/"}, ""},
		"an unknown key":              {with(wire.TokenHeader{Key: "third"}, 2), 401, nil, ""},
		"another key by that name":    {with(wire.TokenHeader{Key: "first"}, 2), 401, nil, ""},
		"a key that is too weak":      {with(wire.TokenHeader{Key: "weak"}, 2), 401, nil, ""},
		"a key of another channel":    {with(wire.TokenHeader{Key: "skype"}, 1), 403, nil, ""},
		"algorithm none":              {none + "." + part[1] + ".", 401, nil, ""},
		"none with a signature":       {none + "." + part[1] + "." + part[2], 401, nil, ""},
		"the public key as secret":    {hs + "." + part[1] + "." + part[2], 401, nil, ""},
		"another channel":             {good, 403, map[string]any{"channelId": "webchat"}, ""},
		"no conversation":             {good, 400, map[string]any{"conversation": nil}, ""},
		"a text of a wrong kind":      {good, 400, map[string]any{"text": 5}, ""},
		"a long id":                   {good, 400, map[string]any{"id": strings.Repeat("x", 600)}, ""},
	} {
		in := ms.said("a:1", "1", "evil")
		for k, v := range c.body {
			in[k] = v
		}
		at := c.at
		if at == "" {
			at = "shop"
		}
		if w := ms.deliver(s, at, c.token, in); w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	for name, body := range map[string][]byte{
		"not JSON": []byte(`{"type":`), "not UTF-8": []byte("{\"type\":\"message\",\"text\":\"\xff\"}"), "null": []byte("null"), "a list": []byte("[]"), "nothing": nil,
		"deep": bytes.Repeat([]byte("["), 100_000),
	} {
		if w := ms.deliver(s, "shop", good, body); w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := ms.deliver(s, "shop", good, bytes.Repeat([]byte("x"), 300<<10)); w.Code != 413 {
		t.Errorf("too large: %d", w.Code)
	}
	if len(d.taken)+len(d.placed) > 0 || len(d.refused) < 30 {
		t.Errorf("taken %v, placed %v, refused %d", d.taken, d.placed, len(d.refused))
	}
	if strings.Contains(log.String(), part[2]) || strings.Contains(log.String(), testSecret) {
		t.Error("a token or a secret stands in the log")
	}
	if w := ms.deliver(s, "shop", good, ms.said("a:1", "1", "honest")); w.Code != 200 || len(d.taken) != 1 {
		t.Errorf("an honest one: %d %s", w.Code, w.Body)
	}
}

func encodePart(s string) string { return strings.TrimRight(b64(s), "=") }

func TestTenants(t *testing.T) {
	ms := newMicrosoft(t)
	s, d := open(t, ms, func(o *Options) { o.Accounts[0].Tenants = []string{testTenant} })
	for name, c := range map[string]struct {
		data, conversation string
		status             int
	}{
		"its own":   {testTenant, testTenant, 200},
		"said once": {testTenant, "", 200},
		"another":   {"other", "other", 403},
		"two":       {testTenant, "other", 403},
		"none":      {"", "", 403},
	} {
		in := ms.said("a:1", "1", "hello")
		in["channelData"] = map[string]any{"tenant": map[string]any{"id": c.data}}
		in["conversation"] = map[string]any{"id": "a:1", "tenantId": c.conversation}
		if w := ms.deliver(s, "shop", ms.sign(nil), in); w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if len(d.taken) != 2 {
		t.Errorf("taken: %d", len(d.taken))
	}
}

func TestServices(t *testing.T) {
	c := Clouds()["public"]
	for service, want := range map[string]bool{
		"https://smba.trafficmanager.net/amer/": true, "https://SMBA.trafficmanager.net:443/amer/": true, "https://smba.trafficmanager.net/teams": true,
		"https://smba.infra.gcc.teams.microsoft.com/gcc": true,
		"http://smba.trafficmanager.net/amer/":           false, "https://smba.trafficmanager.net:444/": false, "https://evil.trafficmanager.net/": false,
		"https://smba.trafficmanager.net.evil.org/": false, "https://smba.trafficmanager.net@evil.org/": false, "https://u:p@smba.trafficmanager.net/": false,
		"https://smba.trafficmanager.net/?x=": false, "https://smba.trafficmanager.net/?": false, "https://smba.trafficmanager.net/#x": false, "https://smba.trafficmanager.net/a/../b": false,
		"//smba.trafficmanager.net/": false, "https://169.254.169.254/": false, "": false, "https://[::1]/": false, "https://smba.trafficmanager.net\\@evil.org/": false,
	} {
		if got := c.serves(service); got != want {
			t.Errorf("%q: %v", service, got)
		}
	}
	for name, c := range Clouds() {
		if !strings.HasPrefix(c.Login, "https://") || !strings.HasPrefix(c.Metadata, "https://login.botframework.") || !strings.HasSuffix(c.Scope, "/.default") || c.Tenant == "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestOptions(t *testing.T) {
	good := Account{Name: "shop", AppID: testApp, Secret: secret.New("x"), Cloud: Clouds()["public"]}
	for name, change := range map[string]func(*Options){
		"no desk":    func(o *Options) { o.Desk = nil },
		"no account": func(o *Options) { o.Accounts = nil },
		"no name":    func(o *Options) { o.Accounts[0].Name = "" },
		"no app id":  func(o *Options) { o.Accounts[0].AppID = "" },
		"no secret":  func(o *Options) { o.Accounts[0].Secret = secret.String{} },
		"both":       func(o *Options) { o.Accounts[0].Certificate = certified(t) },
		"another kind of key": func(o *Options) {
			key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			o.Accounts[0].Secret, o.Accounts[0].Certificate = secret.String{}, tls.Certificate{PrivateKey: key, Certificate: [][]byte{{1}}}
		},
		"no services":    func(o *Options) { o.Accounts[0].Cloud = Clouds()["china"] },
		"the same twice": func(o *Options) { o.Accounts = append(o.Accounts, o.Accounts[0]) },
	} {
		o := Options{Desk: &desk{}, Accounts: []Account{good}}
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRoutes(t *testing.T) {
	ms := newMicrosoft(t)
	s, _ := open(t, ms, nil)
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/channels/teams/shop/messages", 405}, {"POST", "/channels/teams/shop", 404}, {"POST", "/channels/teams/shop/messages/x", 404}} {
		w := record(s, c.method, c.path)
		if w.Code != c.status {
			t.Errorf("%s %s: %d", c.method, c.path, w.Code)
		}
	}
}

// Bots that are asked too late say so while Microsoft still listens.
func TestInvokeTime(t *testing.T) {
	ms := newMicrosoft(t)
	s, d := open(t, ms, nil)
	d.wait = true
	in := ms.said("a:1", "1", "")
	in["type"], in["name"] = "invoke", "task/submit"
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := deliverWith(ctx, ms, s, in)
	if w.Code != http.StatusGatewayTimeout || time.Since(began) > invokeTime {
		t.Errorf("%d after %v", w.Code, time.Since(began))
	}
}
