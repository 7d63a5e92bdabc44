package connector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/connector"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/secret"
)

const (
	owner   = "ann"
	appID   = "11111111-2222-3333-4444-555555555555"
	botsKey = "the-secret-of-a-bot"
)

var shared = bytes.Repeat([]byte("s"), 32)

// one serves every model with one engine.
type one struct{ e lm.Engine }

func (o one) Find(ctx context.Context, _, _ string) (lm.Engine, lm.Model, error) {
	models, err := o.e.Models(ctx)
	if err != nil {
		return nil, lm.Model{}, err
	}
	return o.e, models[0], nil
}

func openLog(t *testing.T) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MemoryOnly: true, Lease: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// node is one of the nodes of a log: it gives activities to bots, and is where
// they speak.
type node struct {
	t    *testing.T
	chat *chat.Service
	desk *channel.Desk
	keys *connector.Keys
	url  string
	log  *eventlog.Log
}

// start makes a node. The first bot is the one that conversations are with. at
// is the address by which bots reach all nodes; "" = this node's own.
func start(t *testing.T, log *eventlog.Log, name, at string, limit time.Duration, bots ...connector.Bot) *node {
	t.Helper()
	return startWith(t, log, name, at, limit, nil, bots...)
}

// startWith is start with a change of the node's chat, unless that is nil.
func startWith(t *testing.T, log *eventlog.Log, name, at string, limit time.Duration, change func(*chat.Options), bots ...connector.Bot) *node {
	t.Helper()
	var (
		mu sync.Mutex
		h  http.Handler
	)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now := h
		mu.Unlock()
		if r.Header.Get("X-Lost") != "" { // the answer does not reach the bot
			now.ServeHTTP(lost{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		now.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	if at == "" {
		at = srv.URL
	}
	n := &node{t: t, keys: connector.NewKeys(log, nil), url: srv.URL, log: log}
	courier, err := connector.NewCourier(connector.CourierOptions{Bots: bots, Service: at, Keys: n.keys})
	if err != nil {
		t.Fatal(err)
	}
	opts := chat.Options{Log: log, Engines: one{demo.Echo("echo")}, Worker: name, Checkpoint: 5 * time.Millisecond}
	if change != nil {
		change(&opts)
	}
	for _, b := range bots {
		opts.Bots = append(opts.Bots, chat.Bot{ID: b.ID, Name: b.Name, Courier: courier, Limit: limit})
	}
	if n.chat, err = chat.New(opts); err != nil {
		t.Fatal(err)
	}
	if err := n.chat.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.halt)
	if n.desk, err = channel.New(channel.Options{Name: connector.Name, Chat: n.chat, Rate: 1000, Burst: 5000}); err != nil {
		t.Fatal(err)
	}
	s, err := connector.New(connector.Options{
		Desk: n.desk, Chat: n.chat, Bots: bots, Keys: n.keys, Files: log, Secret: shared, Region: log.Region(), Service: at,
		Begun: func(string) (string, string) { return owner, "test" },
	})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	h = s
	mu.Unlock()
	return n
}

// lost is a connection that is cut before the answer.
type lost struct{ header http.Header }

func (l lost) Header() http.Header       { return l.header }
func (lost) WriteHeader(int)             {}
func (lost) Write(b []byte) (int, error) { return 0, errors.New("cut") }
func (lost) FlushError() error           { return errors.New("cut") }

// halt stops the node at once, whatever it is doing.
func (n *node) halt() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.chat.Stop(ctx)
}

func (n *node) begin() string {
	n.t.Helper()
	id := event.NewConversation(n.log.Region())
	if _, _, err := n.chat.Create(n.t.Context(), chat.NewConversation{ID: id, Owner: owner, Channel: "test", User: "dl_ann"}); err != nil {
		n.t.Fatal(err)
	}
	return id
}

func (n *node) say(conv, text string) chat.Accepted {
	n.t.Helper()
	return n.take(conv, activity.Activity{Type: activity.TypeMessage, Text: text})
}

func (n *node) take(conv string, a activity.Activity) chat.Accepted {
	n.t.Helper()
	acc, err := n.chat.Submit(n.t.Context(), chat.Message{
		Owner: owner, Conversation: conv, Open: true, Activity: a, From: &activity.Account{ID: "dl_ann", Name: "Ann"},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return acc
}

// until waits for a state.
func (n *node) until(conv, what string, ok func(*conversation.State) bool) {
	n.t.Helper()
	l, err := n.chat.Open(n.t.Context(), conv)
	if err != nil {
		n.t.Fatal(err)
	}
	defer l.Close()
	late := time.After(30 * time.Second)
	for {
		var holds bool
		var said []string
		more := l.View(func(st *conversation.State) {
			holds = ok(st)
			for _, a := range st.Activities {
				said = append(said, a.Type+" "+a.Text)
			}
		})
		if holds {
			return
		}
		select {
		case <-more:
		case <-late:
			n.t.Fatalf("%s: waited in vain; the log has %q", what, said)
		}
	}
}

// texts waits until a turn is over and returns how, and all messages of bots.
func (n *node) texts(conv, turn string) (end event.Ended, out []string) {
	n.t.Helper()
	n.until(conv, "the end of the turn", func(st *conversation.State) bool {
		x := st.Turn(turn)
		if x == nil || x.End == nil {
			return false
		}
		end, out = *x.End, nil
		for _, a := range st.Activities {
			if a.FromBot() && a.Type == activity.TypeMessage {
				out = append(out, a.Text)
			}
		}
		return true
	})
	return end, out
}

// asked is what a bot was given.
type asked struct {
	activity.Activity
	raw    []byte
	header http.Header
}

func (a asked) service() string {
	var s string
	_ = json.Unmarshal(a.Extra["serviceUrl"], &s)
	return s
}

// bot is a bot of somebody else's, on this machine.
type bot struct {
	t   *testing.T
	url string
	key string // that it shows

	mu  sync.Mutex // guards got
	got []asked
}

func newBot(t *testing.T, answer func(b *bot, a asked, w http.ResponseWriter)) *bot {
	t.Helper()
	b := &bot{t: t}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		a := asked{raw: body, header: r.Header}
		if err == nil {
			err = json.Unmarshal(body, &a.Activity)
		}
		if err != nil {
			t.Errorf("a bot got %q: %v", body, err)
			return
		}
		b.mu.Lock()
		b.got = append(b.got, a)
		b.mu.Unlock()
		answer(b, a, w)
	}))
	t.Cleanup(srv.Close)
	b.url = srv.URL + "/api/messages"
	return b
}

func (b *bot) all(kind string) (out []asked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.got {
		if kind == "" || a.Type == kind {
			out = append(out, a)
		}
	}
	return out
}

type reply struct {
	status int
	body   []byte
	header http.Header
}

func (r reply) id(t *testing.T) string {
	t.Helper()
	var out struct{ ID string }
	if err := json.Unmarshal(r.body, &out); err != nil || r.status > 299 || out.ID == "" {
		t.Errorf("%d %s: no id", r.status, r.body)
	}
	return out.ID
}

func (b *bot) call(ctx context.Context, method, url string, body any, headers ...string) (reply, error) {
	var r io.Reader
	switch x := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(x)
	case string:
		r = strings.NewReader(x)
	default:
		j, err := json.Marshal(x)
		if err != nil {
			return reply{}, err
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, r)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if b.key != "" {
		req.Header.Set("Authorization", "Bearer "+b.key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, out, resp.Header}, err
}

func (b *bot) must(method, url string, body any, headers ...string) reply {
	b.t.Helper()
	r, err := b.call(b.t.Context(), method, url, body, headers...)
	if err != nil {
		b.t.Errorf("%s %s: %v", method, url, err)
	}
	return r
}

// path is where a conversation is for bots.
func path(a asked) string { return a.service() + "/v3/conversations/" + a.Conversation.ID }

// reply answers as the SDKs do: to the activity, in its conversation.
func (b *bot) reply(a asked, text string) string {
	b.t.Helper()
	return b.must("POST", path(a)+"/activities/"+strings.ReplaceAll(a.ID, "|", "%7C"), map[string]any{"type": "message", "text": text, "replyToId": a.ID}).id(b.t)
}

// echo says what it is told, and greets.
func echo(b *bot, a asked, w http.ResponseWriter) {
	switch {
	case a.Type == activity.TypeUpdate:
		b.reply(a, "Welcome!")
	case a.Type == activity.TypeMessage:
		b.reply(a, "Echo: "+a.Text)
	}
	w.WriteHeader(http.StatusOK)
}

func open(b *bot) connector.Bot {
	return connector.Bot{ID: "shop", Name: "Shop", URL: b.url, Private: true}
}

func trusted(b *bot) connector.Bot {
	out := open(b)
	out.AppID, out.Secret = appID, secret.HashOf(secret.New(botsKey))
	b.key = botsKey
	return out
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}()
	return l.Addr().String()
}
