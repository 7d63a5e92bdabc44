package messenger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	"github.com/parleyhq/parley/internal/channel/messenger"
	"github.com/parleyhq/parley/internal/channel/messenger/graphtest"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

func openLog(t *testing.T) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MemoryOnly: true, Lease: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// meta is the platform of the suite: people, named by their ids, who write to
// the shop.
type meta struct {
	t     *testing.T
	graph *graphtest.Graph
	url   string
	names atomic.Int64

	mu     sync.Mutex // guards what follows
	limit  time.Duration
	until  time.Time
	reject bool
}

func newMeta(t *testing.T) *meta {
	m := &meta{t: t, graph: &graphtest.Graph{Secret: appSecret, Pages: map[string]string{shop: pageToken}}}
	m.graph.Let(m.answer)
	srv := httptest.NewServer(m.graph)
	m.url = srv.URL + "/" + graphtest.Version
	t.Cleanup(func() {
		srv.Close()
		for _, rule := range m.graph.Wrong() {
			t.Errorf("against the rules: %s", rule)
		}
	})
	return m
}

// answer refuses what the suite wants refused.
func (m *meta) answer(w http.ResponseWriter, c graphtest.Call, _ func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch early := time.Until(m.until); {
	case c.Action != "":
		return false
	case early > 0:
		m.t.Errorf("a call %v too early", early)
		graphtest.Fail(w, http.StatusBadRequest, 613, 0, "slow down")
		return true
	case m.limit > 0:
		w.Header().Set("Retry-After", fmt.Sprint(int(m.limit.Seconds())))
		m.until, m.limit = time.Now().Add(m.limit), 0
		graphtest.Fail(w, http.StatusBadRequest, 613, 0, "slow down")
		return true
	case m.reject:
		graphtest.Fail(w, http.StatusBadRequest, 100, 2018001, "No matching user found")
		return true
	}
	return false
}

func (m *meta) Posted(user string) []string { return m.graph.Texts(shop, user) }

func (m *meta) Limit(after time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = after
}

func (m *meta) Reject(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reject = on
}

// door is one of our nodes, as Meta sees it.
type door struct {
	meta   *meta
	url    string
	outlet *channel.Outlet
	desk   *channel.Desk
	chat   *chat.Service
}

// look shows what the log has of a person's conversation.
func (d door) look(t *testing.T, user string, at func(*conversation.State)) {
	t.Helper()
	conv, err := d.desk.Place(t.Context(), shop+":"+user, channel.Start{Owner: messenger.Owner("shop"), User: user})
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.chat.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.View(at)
}

func start(t *testing.T, log *eventlog.Log, name string, m *meta, e lm.Engine, death *channeltest.Death) door {
	t.Helper()
	return startWith(t, log, name, m, e, death, nil)
}

// startWith is start with a bot that runs elsewhere, unless that is nil.
func startWith(t *testing.T, log *eventlog.Log, name string, m *meta, e lm.Engine, death *channeltest.Death, away chat.Courier) door {
	t.Helper()
	a := account("shop", shop, pageToken)
	a.Graph, a.Bot, a.Greeting = m.url, "bot", "**Welcome!**"
	var s *messenger.Server
	n := channeltest.StartNode(t, channeltest.NodeOptions{
		Channel: messenger.Name, Worker: name, Log: log, Death: death, Engine: e, Rate: 10, Burst: 40,
		Bots: []chat.Bot{{ID: "bot", Name: "Bot", Courier: away}},
		Attach: func(n *channeltest.Node) (err error) {
			if s, err = messenger.New(messenger.Options{Desk: n.Desk, Accounts: []messenger.Account{a}}); err == nil {
				n.Outlet.Add(n.Desk, s)
			}
			return err
		},
	})
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return door{m, srv.URL + messenger.Base + "/shop", n.Outlet, n.Desk, n.Chat}
}

func (d door) Begin(*testing.T) string { return fmt.Sprint(7_000_000 + d.meta.names.Add(1)) }

func (d door) Deliver(t *testing.T, user string, m channeltest.Message) error {
	t.Helper()
	mid := "m_" + user + "_" + m.Delivery
	d.meta.graph.Wrote(shop, user, mid, m.Text, time.Now())
	e := text(mid, m.Text)
	e["sender"] = map[string]string{"id": user}
	b := batch(t, e)
	return d.post(t, b, graphtest.Sign(appSecret, b))
}

func (d door) post(t *testing.T, b []byte, signature string) error {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Hub-Signature-256", signature)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func TestPosting(t *testing.T) {
	channeltest.RunPosting(t, func(t *testing.T) channeltest.Posting {
		log, m, death := openLog(t), newMeta(t), channeltest.NewDeath()
		slow := demo.Canned(demo.CannedOptions{Prefill: 10 * time.Second, Answer: func(lm.Request) string { return "late" }})
		x, y := start(t, log, "x", m, demo.Echo("echo"), death), start(t, log, "y", m, demo.Echo("echo"), death)
		return channeltest.Posting{
			Doors: [2]channeltest.Sender{x, y}, Outlets: [2]*channel.Outlet{x.outlet, y.outlet}, Death: death, Platform: m, Asks: true,
			Slow:    start(t, openLog(t), "slow", m, slow, channeltest.NewDeath()),
			Attacks: attacks(), Flood: 300,
		}
	})
}

func attacks() map[string]func(*testing.T, channeltest.Sender, string) error {
	evil := func(t *testing.T, user string) []byte {
		e := text("m_evil", "evil")
		e["sender"] = map[string]string{"id": user}
		return batch(t, e)
	}
	signed := func(sign func([]byte) string) func(*testing.T, channeltest.Sender, string) error {
		return func(t *testing.T, d channeltest.Sender, user string) error {
			b := evil(t, user)
			return d.(door).post(t, b, sign(b))
		}
	}
	raw := func(body string) func(*testing.T, channeltest.Sender, string) error {
		return func(t *testing.T, d channeltest.Sender, _ string) error {
			return d.(door).post(t, []byte(body), graphtest.Sign(appSecret, []byte(body)))
		}
	}
	return map[string]func(*testing.T, channeltest.Sender, string) error{
		"no signature":         signed(func([]byte) string { return "" }),
		"another secret":       signed(func(b []byte) string { return graphtest.Sign("guess", b) }),
		"the verify token":     signed(func(b []byte) string { return graphtest.Sign(verifyToken, b) }),
		"the page's token":     signed(func(b []byte) string { return graphtest.Sign(pageToken, b) }),
		"no secret":            signed(func(b []byte) string { return graphtest.Sign("", b) }),
		"of another delivery":  signed(func(b []byte) string { return graphtest.Sign(appSecret, append(b, ' ')) }),
		"without an algorithm": signed(func(b []byte) string { return strings.TrimPrefix(graphtest.Sign(appSecret, b), "sha256=") }),
		"algorithm none":       signed(func([]byte) string { return "none=" }),
		"oversized":            raw(`{"object":"page","entry":[],"x":"` + strings.Repeat("x", 5<<20) + `"}`),
		"not JSON":             raw(`{"object":"page"`),
		"not UTF-8":            raw("{\"object\":\"page\",\"entry\":[],\"x\":\"\xff\xfe\"}"),
		"of a wrong kind":      raw(`{"object":"page","entry":[{"messaging":"evil"}]}`),
		"another object":       raw(`{"object":"user","entry":[]}`),
		"deep":                 raw(strings.Repeat("[", 100_000)),
	}
}

// A long answer is several messages. One in the middle is refused, and none
// comes twice, though the page may not read its conversations.
func TestLongAnswer(t *testing.T) {
	m := newMeta(t)
	m.graph.Blind(true)
	n := 0
	m.graph.Let(func(w http.ResponseWriter, c graphtest.Call, _ func()) bool {
		if c.Action != "" {
			return false
		}
		if n++; n == 3 {
			graphtest.Fail(w, http.StatusInternalServerError, 2, 0, "Service temporarily unavailable")
			return true
		}
		return false
	})
	canned := demo.Canned(demo.CannedOptions{Answer: func(lm.Request) string { return long(9) }})
	d := start(t, openLog(t), "x", m, canned, channeltest.NewDeath())
	user := d.Begin(t)
	if err := d.Deliver(t, user, channeltest.Message{Delivery: "1", Text: "tell me"}); err != nil {
		t.Fatal(err)
	}
	want := strings.Join(strings.Fields(long(9)), " ")
	for late := time.Now().Add(30 * time.Second); ; {
		got := strings.Join(strings.Fields(strings.Join(m.Posted(user), " ")), " ")
		if got == want {
			return
		}
		if len(got) > len(want) || time.Now().After(late) {
			t.Fatalf("%d messages, %d bytes of %d", len(m.Posted(user)), len(got), len(want))
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Who presses Get Started is greeted once, however often Meta tells of it.
func TestGreeted(t *testing.T) {
	m := newMeta(t)
	d := start(t, openLog(t), "x", m, demo.Echo("echo"), channeltest.NewDeath())
	user := d.Begin(t)
	m.graph.Wrote(shop, user, "m_start", "Get Started", time.Now())
	press := event(map[string]any{"sender": map[string]string{"id": user}, "postback": map[string]any{"mid": "m_start", "title": "Get Started", "payload": "GET_STARTED"}})
	for range 3 {
		b := batch(t, press)
		if err := d.post(t, b, graphtest.Sign(appSecret, b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Deliver(t, user, channeltest.Message{Delivery: "1", Text: "hello"}); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(30 * time.Second); len(m.Posted(user)) < 2 && time.Now().Before(late); {
		<-time.After(10 * time.Millisecond)
	}
	if got := m.Posted(user); len(got) != 2 || got[0] != "Welcome!" || !strings.Contains(got[1], "hello") {
		t.Errorf("said: %q", got)
	}
}

// away is a bot that runs elsewhere: it greets who comes, and says what it is
// told.
type away struct{}

func (away) Deliver(_ context.Context, d chat.Delivery, sending func() error) ([]activity.Activity, error) {
	if err := sending(); err != nil {
		return nil, err
	}
	text := "away: " + d.Activity.Text
	if d.Activity.Type == activity.TypeUpdate {
		text = "Hello from elsewhere"
	}
	return []activity.Activity{{Type: activity.TypeMessage, Text: text}}, nil
}

// A bot that runs elsewhere is told of somebody new before they have said
// anything, and its greeting finds them.
func TestGreetedFromElsewhere(t *testing.T) {
	m := newMeta(t)
	d := startWith(t, openLog(t), "x", m, demo.Echo("echo"), channeltest.NewDeath(), away{})
	user := d.Begin(t)
	// What is too long is left out, so for now nothing but the greeting is there.
	for i, text := range []string{strings.Repeat("x", 3<<20), "hello"} {
		if err := d.Deliver(t, user, channeltest.Message{Delivery: fmt.Sprint(i), Text: text}); err != nil {
			t.Fatal(err)
		}
		for late := time.Now().Add(20 * time.Second); len(m.Posted(user)) <= i && time.Now().Before(late); {
			<-time.After(10 * time.Millisecond)
		}
	}
	if got := m.Posted(user); !same(got, []string{"Hello from elsewhere", "away: hello"}) {
		t.Errorf("said: %q", got)
	}
}

// Reactions find the message that they are to, any of those of a long one; one
// to something unknown is left out.
func TestReactions(t *testing.T) {
	m, log := newMeta(t), openLog(t)
	d := start(t, log, "x", m, demo.Canned(demo.CannedOptions{Answer: func(lm.Request) string { return long(5) }}), channeltest.NewDeath())
	user := d.Begin(t)
	if err := d.Deliver(t, user, channeltest.Message{Delivery: "1", Text: "tell me"}); err != nil {
		t.Fatal(err)
	}
	for late, upto := time.Now().Add(30*time.Second), uint64(0); upto == 0 && time.Now().Before(late); {
		<-time.After(10 * time.Millisecond)
		d.look(t, user, func(st *conversation.State) { upto = st.Out.Upto })
	}
	thread := m.graph.Thread(shop, user)
	for _, mid := range []string{thread[0].ID, thread[1].ID, thread[2].ID, "m_unknown"} {
		b := batch(t, event(map[string]any{"sender": map[string]string{"id": user}, "reaction": map[string]any{"mid": mid, "action": "react", "reaction": "love"}}))
		if err := d.post(t, b, graphtest.Sign(appSecret, b)); err != nil {
			t.Errorf("a reaction to %s: %v", mid, err)
		}
	}
	var found int
	d.look(t, user, func(st *conversation.State) {
		for _, a := range st.Activities {
			if a.Type == activity.TypeReaction && st.Activity(a.ReplyToID) != nil {
				found++
			}
		}
	})
	if found != 3 {
		t.Errorf("%d reactions found what they are to", found)
	}
}
