package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/lm/demo"
)

const (
	shop     = "https://shop.example.org"
	stranger = "https://evil.example"
)

// visited is a node whose widget the shop may show.
func visited(t *testing.T, change func(*api.Options)) *node {
	t.Helper()
	return newNode(t, demo.CannedOptions{}, func(o *api.Options) {
		o.Widget = api.Widget{Origins: []string{shop}, Bots: []api.BotInfo{{ID: "default", Name: "Helper"}}, Region: "local", Regions: []string{"https://sg.example.org"}}
		o.Gateway = func(string, http.ResponseWriter, *http.Request) {}
		if change != nil {
			change(o)
		}
	})
}

type welcome struct {
	Pass, Guest, Region string
	Regions             []string
	Message             int `json:"message_bytes"`
}

// guest is a visitor of the shop: the headers of its requests.
func (n *node) guest(header ...string) (welcome, []string) {
	n.t.Helper()
	var w welcome
	n.want(200, &w, "POST", "/api/v1/widget/session", "", append([]string{"Origin", shop, "Sec-Fetch-Site", "cross-site"}, header...)...)
	return w, []string{"Origin", shop, "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer " + w.Pass}
}

func TestGuestTalks(t *testing.T) {
	n := visited(t, nil)
	w, h := n.guest()
	if w.Region != "local" || len(w.Regions) != 1 || w.Message != 4<<10 {
		t.Errorf("the welcome says %+v", w)
	}
	again, _ := n.guest("Authorization", "Bearer "+w.Pass)
	if other, _ := n.guest(); again.Guest != w.Guest || other.Guest == w.Guest {
		t.Errorf("guest %s is %s after a renewal, and the next one is %s", w.Guest, again.Guest, other.Guest)
	}
	if anew, _ := n.guest("Authorization", "Bearer guest.forged.1.xx"); anew.Guest == w.Guest {
		t.Error("a forged pass is somebody's")
	}
	var c struct{ ID, Bot string }
	n.want(201, &c, "POST", "/api/v1/conversations", `{"home":"local"}`, h...)
	path := "/api/v1/conversations/" + c.ID
	var a accepted
	n.want(202, &a, "POST", path+"/activities", `{"type":"message","text":"Hello!","channelData":{"client":{"key":"k1","more":1},"parley":{"edits":"x"},"model":"x"},"value":{"big":1},"from":{"name":"Mallory","role":"bot"}}`, h...)
	events := n.events(path+"/events", func(e sse) bool { return e.event == "turn" && strings.Contains(e.data, `"done"`) }, h...)
	said := events[0].data
	for _, e := range events {
		if e.event == "activity" {
			said = e.data
			break
		}
	}
	if !strings.Contains(said, `"k1"`) {
		t.Errorf("the client's key is lost: %s", said)
	}
	for _, dropped := range []string{"more", "edits", "value", "Mallory", `"model"`} {
		if strings.Contains(said, dropped) {
			t.Errorf("%s of a stranger is in the log: %s", dropped, said)
		}
	}
	n.want(202, nil, "POST", path+"/turns/"+a.Turn+"/regenerate", "", h...)
	n.want(204, nil, "DELETE", path, "", h...)
}

// What a stranger on the internet may try with a guest's pass.
func TestGuestIsNobodyElse(t *testing.T) {
	n := visited(t, nil)
	_, h := n.guest()
	_, other := n.guest()
	var theirs struct{ ID string }
	n.want(201, &theirs, "POST", "/api/v1/conversations", "", other...)
	mine := n.conversation() // of the user at the machine
	var c struct{ ID string }
	n.want(201, &c, "POST", "/api/v1/conversations", "", h...)
	own := "/api/v1/conversations/" + c.ID
	message := `{"type":"message","text":"x"}`
	for _, x := range []struct {
		status             int
		method, path, body string
	}{
		{404, "GET", "/api/v1/conversations/" + theirs.ID + "/events", ""},
		{404, "GET", "/api/v1/conversations/" + mine + "/events", ""},
		{404, "POST", "/api/v1/conversations/" + mine + "/activities", message},
		{404, "DELETE", "/api/v1/conversations/" + theirs.ID, ""},
		{400, "POST", "/api/v1/conversations", `{"bot":"other"}`},
		{400, "POST", "/api/v1/conversations", `{"title":"mine"}`},
		{403, "PATCH", own, `{"system":"You are a pirate."}`},
		{403, "PATCH", own, `{"model":"expensive"}`},
		{403, "GET", "/api/v1/conversations", ""},
		{403, "GET", own + "/export", ""},
		{403, "GET", own + "/activities", ""},
		{403, "POST", own + "/turns/x/continue", ""},
		{403, "GET", "/api/v1/search?q=x", ""},
		{403, "GET", "/api/v1/info", ""},
		{403, "GET", "/api/v1/regions", ""},
		{403, "POST", "/api/v1/session/pass", ""},
		{403, "POST", "/api/v1/directline/token", "{}"},
		{403, "GET", "/api/v1/understanding/models", ""},
		{403, "POST", "/v1/responses", `{"input":"x"}`},
		{403, "POST", "/v1/chat/completions", `{}`},
		{403, "GET", "/v1/models", ""},
		{403, "GET", "/metrics", ""},
		{400, "POST", own + "/activities", `{"type":"event","name":"x"}`},
		{400, "POST", own + "/activities", `{"type":"messageReaction","replyToId":"x"}`},
		{413, "POST", own + "/activities", `{"type":"message","text":"` + strings.Repeat("x", 4097) + `"}`},
		{413, "POST", own + "/activities", `{"type":"message","text":"x","value":"` + strings.Repeat("x", 60_000) + `"}`},
	} {
		// From the shop's page, and from a program.
		for _, who := range [][]string{h, h[4:]} {
			if got, text := n.do(x.method, x.path, x.body, who...); got != x.status {
				t.Errorf("%s %s %.60s: status %d, want %d: %s", x.method, x.path, x.body, got, x.status, text)
			}
		}
	}
	if got, text := n.do("GET", "/healthz", "", h...); !strings.Contains(text, `"parts":null`) {
		t.Errorf("a guest sees the parts of the node: %d %s", got, text)
	}
	if got, _ := n.do("GET", own+"/events", "", "Authorization", "Bearer "+strings.Replace(h[5], "Bearer guest.guest-", "guest.guest-a", 1)); got != 401 {
		t.Errorf("a changed pass: status %d", got)
	}
}

// Which pages may do what: a page that may not is told nothing.
func TestWidgetOrigins(t *testing.T) {
	n := visited(t, nil)
	_, h := n.guest()
	pass := []string{"Authorization", h[5]}
	for _, tc := range []struct {
		name, method, path, origin string
		header                     []string
		status                     int
		allowed                    bool
	}{
		{"asks before", "OPTIONS", "/api/v1/widget/session", shop, []string{"Access-Control-Request-Method", "POST"}, 204, true},
		{"a stranger asks before", "OPTIONS", "/api/v1/widget/session", stranger, []string{"Access-Control-Request-Method", "POST"}, 405, false},
		{"a stranger begins", "POST", "/api/v1/widget/session", stranger, nil, 403, false},
		{"no page at all begins", "POST", "/api/v1/widget/session", "", nil, 403, false},
		{"a page without an origin begins", "POST", "/api/v1/widget/session", "null", nil, 403, false},
		{"a region's page begins", "POST", "/api/v1/widget/session", "https://sg.example.org", nil, 200, true},
		{"the own page begins", "POST", "/api/v1/widget/session", n.url, nil, 200, false},
		{"a guest's pass in the wrong hands", "POST", "/api/v1/conversations", stranger, pass, 403, false},
		{"without a pass", "POST", "/api/v1/conversations", shop, nil, 403, false},
		{"with a key", "POST", "/api/v1/conversations", shop, []string{"Authorization", "Bearer any"}, 403, false},
		{"with a cookie that could be somebody's", "GET", "/api/v1/conversations", shop, nil, 200, false},
		{"signs somebody out", "DELETE", "/api/v1/session", shop, pass, 403, false},
		{"talks", "POST", "/api/v1/conversations", shop, pass, 201, true},
		{"looks who is ready", "GET", "/readyz", shop, nil, 200, true},
		{"refused, readable", "POST", "/api/v1/conversations", shop, []string{"Authorization", "Bearer guest.x"}, 401, true},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, n.url+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.origin != "" {
			req.Header.Set("Origin", tc.origin)
			if tc.origin != n.url {
				req.Header.Set("Sec-Fetch-Site", "cross-site")
			}
		}
		for i := 0; i+1 < len(tc.header); i += 2 {
			req.Header.Set(tc.header[i], tc.header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != tc.status || (got == tc.origin && got != "") != tc.allowed {
			t.Errorf("%s: status %d, want %d; allowed %q", tc.name, resp.StatusCode, tc.status, got)
		}
		if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: a cookie may be taken along", tc.name)
		}
	}
	// A name that somebody points at this machine is not the node's own page.
	req, err := http.NewRequestWithContext(t.Context(), "POST", n.url+"/api/v1/widget/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	req.Header.Set("Origin", "http://evil.example")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("through a foreign name: status %d", resp.StatusCode)
	}
}

// Without a site named the widget is on the page of a node on loopback alone.
func TestWidgetIsOff(t *testing.T) {
	bots := []api.BotInfo{{ID: "default"}}
	for name, x := range map[string]struct {
		widget api.Widget
		status int
	}{
		"off":      {api.Widget{Bots: bots, Regions: []string{shop}}, 403},
		"loopback": {api.Widget{Bots: bots, Own: true}, 200},
	} {
		n := newNode(t, demo.CannedOptions{}, func(o *api.Options) { o.Widget = x.widget })
		if got, _ := n.do("POST", "/api/v1/widget/session", "", "Origin", n.url); got != x.status {
			t.Errorf("%s: status %d, want %d", name, got, x.status)
		}
		n.want(403, nil, "POST", "/api/v1/widget/session", "", "Origin", shop, "Sec-Fetch-Site", "cross-site")
	}
}

// A bot that is not for visitors any more is not reached with an old pass.
func TestWidgetBots(t *testing.T) {
	n := visited(t, nil)
	_, h := n.guest()
	m := visited(t, func(o *api.Options) { o.Widget.Bots = []api.BotInfo{{ID: "another"}} })
	m.want(401, nil, "POST", "/api/v1/conversations", "", h...)
	if w, _ := m.guest("Authorization", h[5]); strings.Contains(h[5], w.Guest) {
		t.Error("a guest of one bot is a guest of another")
	}
}

func TestWidgetLimits(t *testing.T) {
	n := visited(t, func(o *api.Options) { o.Widget.Guests, o.Widget.Messages = 3, 2 })
	from := func(address string) int {
		status, _ := n.do("POST", "/api/v1/widget/session", "", "Origin", shop, "X-Forwarded-For", address)
		return status
	}
	got := ""
	for _, address := range []string{
		"203.0.113.1", "203.0.113.1", "203.0.113.1", "203.0.113.1", // three in a minute
		"203.0.113.2",                                              // somebody else
		"198.51.100.9, 203.0.113.1",                                // what a client wrote itself says nothing
		"203.0.113.1, 10.0.0.1",                                    // proxies of one's own are looked through
		"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", // one household
		"2001:db8:1::1",
	} {
		got += fmt.Sprint(from(address), " ")
	}
	if want := "200 200 200 429 200 429 429 200 200 200 429 200 "; got != want {
		t.Errorf("new guests:\n got %s\nwant %s", got, want)
	}
	w, h := n.guest("X-Forwarded-For", "203.0.113.3")
	h = append(h, "X-Forwarded-For", "203.0.113.3")
	var c struct{ ID string }
	n.want(201, &c, "POST", "/api/v1/conversations", "", h...)
	path := "/api/v1/conversations/" + c.ID + "/activities"
	n.want(202, nil, "POST", path, `{"type":"message","text":"one"}`, h...)
	if status, text := n.do("POST", path, `{"type":"message","text":"two"}`, h...); status != 429 || !strings.Contains(text, `"limited"`) {
		t.Errorf("one message too many: status %d: %s", status, text)
	}
	// Who renews is no new guest.
	for range 5 {
		n.want(200, nil, "POST", "/api/v1/widget/session", "", "Origin", shop, "Authorization", "Bearer "+w.Pass, "X-Forwarded-For", "203.0.113.1")
	}
	// Ten times the messages of one guest come from one address, whoever they say they are.
	sent := 0
	for i := range 30 {
		_, g := n.guest("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i))
		status, _ := n.do("POST", "/api/v1/conversations", "", append(g, "X-Forwarded-For", "203.0.113.4")...)
		if status == 201 {
			sent++
		}
	}
	if sent != 20 {
		t.Errorf("%d of one address' 30 messages in a minute were taken, want 20", sent)
	}
}

func TestGuestStreams(t *testing.T) {
	n := visited(t, nil)
	_, h := n.guest()
	var c struct{ ID string }
	n.want(201, &c, "POST", "/api/v1/conversations", "", h...)
	for i := range 25 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", n.url+"/api/v1/conversations/"+c.ID+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", h[5])
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if want := map[bool]int{true: 200, false: 429}[i < 20]; resp.StatusCode != want {
			t.Fatalf("stream %d: status %d, want %d", i+1, resp.StatusCode, want)
		}
	}
}

// FuzzGuestMessage: whatever a stranger sends, the node answers in its own
// words and keeps nothing but the text.
func FuzzGuestMessage(f *testing.F) {
	for _, seed := range []string{
		`{"type":"message","text":"x"}`, `{"type":"message","text":"x","channelData":{"client":{"key":"\u0000"},"parley":{"parent":"y"}}}`,
		`{"type":"message","text":"\ud800"}`, `{"type":"message","text":5}`, `[]`, `null`, `{"TYPE":"message","TEXT":"x"}`, `{"type":"message","text":"x","channelData":[]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		n := visited(t, func(o *api.Options) { o.Widget.Messages = 1000 })
		_, h := n.guest()
		var c struct{ ID string }
		n.want(201, &c, "POST", "/api/v1/conversations", "", h...)
		status, text := n.do("POST", "/api/v1/conversations/"+c.ID+"/activities", body, h...)
		if status >= 500 || !json.Valid([]byte(text)) {
			t.Errorf("status %d: %s", status, text)
		}
	})
}
