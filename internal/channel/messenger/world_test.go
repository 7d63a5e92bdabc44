package messenger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/messenger"
	"github.com/parleyhq/parley/internal/channel/messenger/graphtest"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/secret"
)

const (
	appSecret   = "the-app-secret-of-the-shop"
	verifyToken = "the-verify-token"
	pageToken   = "EAAG-page-token-of-the-shop"
	otherToken  = "EAAG-page-token-of-the-other"
	shop, other = "1900001", "1900002" // pages
	ann, bob    = "7000001", "7000002" // people
)

// account is a page's: a name, the page and its token.
func account(name, page, token string) messenger.Account {
	return messenger.Account{Name: name, AppSecret: secret.New(appSecret), VerifyToken: secret.New(verifyToken), Page: page, Token: secret.New(token)}
}

// desk notes what is taken.
type desk struct {
	mu     sync.Mutex // guards what follows
	taken  []channel.Inbound
	spoken []chat.Spoken
	fail   func(channel.Inbound) error // nil = nothing fails
	no     []string                    // reasons of refusals
}

func (d *desk) Place(_ context.Context, name string, s channel.Start) (string, error) {
	return s.Owner + "/" + name, nil
}

func (d *desk) Take(_ context.Context, in channel.Inbound) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		if err := d.fail(in); err != nil {
			return 0, err
		}
	}
	d.taken = append(d.taken, in)
	return uint64(len(d.taken)), nil
}

func (d *desk) Speak(_ context.Context, sp chat.Spoken) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoken = append(d.spoken, sp)
	return 1, nil
}

func (d *desk) Observer() channel.Observer { return observer{d} }

type observer struct{ d *desk }

func (observer) Received(string, string)         {}
func (observer) Delivered(string, time.Duration) {}
func (observer) Connected(string, int)           {}
func (observer) Posted(string, string)           {}
func (o observer) Refused(_, reason string) {
	o.d.mu.Lock()
	defer o.d.mu.Unlock()
	o.d.no = append(o.d.no, reason)
}

func (d *desk) texts(conv string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, in := range d.taken {
		if in.Conversation == conv {
			out = append(out, in.Activity.Text)
		}
	}
	return out
}

// side is a server of ours between a desk and a Graph.
type side struct {
	t     *testing.T
	desk  *desk
	graph *graphtest.Graph
	s     *messenger.Server
	url   string
	log   *bytes.Buffer

	graphURL string
}

func open(t *testing.T, change func(*messenger.Options)) *side {
	t.Helper()
	x := &side{t: t, desk: &desk{}, graph: &graphtest.Graph{Secret: appSecret, Pages: map[string]string{shop: pageToken, other: otherToken}}, log: &bytes.Buffer{}}
	meta := httptest.NewServer(x.graph)
	t.Cleanup(meta.Close)
	var mu sync.Mutex
	o := messenger.Options{
		Desk: x.desk, Accounts: []messenger.Account{account("shop", shop, pageToken), account("other", other, otherToken)}, Service: "https://chat.example.org",
		Logger: slog.New(slog.NewTextHandler(locked{&mu, x.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	x.graphURL = meta.URL + "/" + graphtest.Version
	for i := range o.Accounts {
		o.Accounts[i].Graph = x.graphURL
	}
	if change != nil {
		change(&o)
	}
	var err error
	if x.s, err = messenger.New(o); err != nil {
		t.Fatal(err)
	}
	us := httptest.NewServer(x.s)
	t.Cleanup(us.Close)
	x.url = us.URL + messenger.Base + "/shop"
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, key := range []string{appSecret, verifyToken, pageToken, otherToken} {
			if bytes.Contains(x.log.Bytes(), []byte(key)) {
				t.Errorf("a secret stands in the log:\n%s", x.log)
			}
		}
	})
	return x
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// event is one in a delivery, from ann to the shop unless it says otherwise.
func event(with map[string]any) map[string]any {
	out := map[string]any{"sender": map[string]string{"id": ann}, "recipient": map[string]string{"id": shop}, "timestamp": 1458692752478}
	for k, v := range with {
		out[k] = v
	}
	return out
}

func text(mid, text string) map[string]any {
	return event(map[string]any{"message": map[string]any{"mid": mid, "text": text}})
}

// batch is a delivery of events, each in the entry of the page that it is for.
func batch(t *testing.T, events ...map[string]any) []byte {
	t.Helper()
	var entries []any
	for _, e := range events {
		page := shop
		if r, ok := e["recipient"].(map[string]string); ok {
			page = r["id"]
		}
		entries = append(entries, map[string]any{"id": page, "time": 1458692752478, "messaging": []any{e}})
	}
	b, err := json.Marshal(map[string]any{"object": "page", "entry": entries})
	if err != nil {
		t.Fatal(err)
	}
	return graphtest.Escape(b)
}

// post delivers a body with a signature and returns the status.
func (x *side) post(body []byte, signature string) int {
	x.t.Helper()
	r, err := http.NewRequestWithContext(x.t.Context(), http.MethodPost, x.url, bytes.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if signature != "" {
		r.Header.Set("X-Hub-Signature-256", signature)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (x *side) deliver(events ...map[string]any) int {
	x.t.Helper()
	b := batch(x.t, events...)
	return x.post(b, graphtest.Sign(appSecret, b))
}

// say is an item as the outlet hands it to the poster, after ann wrote m_in.
func say(a activity.Activity) channel.Post {
	if a.Type == "" {
		a.Type = activity.TypeMessage
	}
	a.From = &activity.Account{ID: "bot", Role: "bot"}
	data, _ := json.Marshal(map[string]any{"messenger": map[string]string{"page": shop, "user": ann, "mid": "m_in"}})
	return channel.Post{
		Conversation: "local-1", Last: &activity.Activity{Type: activity.TypeMessage, Text: "hi", ChannelData: data},
		LastAt: time.Now().Add(-time.Minute), Item: channel.Item{Pos: 16, ID: 16, At: time.Now(), ReplyTo: 8, Activity: &a},
	}
}

// wrote has ann write, so that she can be written to.
func (x *side) wrote() {
	x.graph.Wrote(shop, ann, "m_in", "hi", time.Now().Add(-time.Minute))
}

func (x *side) right() {
	x.t.Helper()
	if wrong := x.graph.Wrong(); len(wrong) > 0 {
		x.t.Errorf("the Graph refuses: %q", wrong)
	}
}

func same(a, b []string) bool { return slices.Equal(a, b) }
