package telegram_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	"github.com/parleyhq/parley/internal/channel/telegram"
	"github.com/parleyhq/parley/internal/channel/telegram/bottest"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
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

// platform is Telegram in the suite: people, named by their chats, who write to
// the bot.
type platform struct {
	t     *testing.T
	api   *bottest.API
	url   string
	names atomic.Int64

	mu      sync.Mutex // guards what follows
	limit   time.Duration
	until   time.Time
	reject  bool
	numbers map[string]int64 // of deliveries
}

func newPlatform(t *testing.T) *platform {
	p := &platform{t: t, api: &bottest.API{}, numbers: map[string]int64{}}
	p.api.Let(p.answer)
	srv := httptest.NewServer(p.api)
	p.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		for _, rule := range p.api.Wrong() {
			t.Errorf("against the rules: %s", rule)
		}
	})
	return p
}

// answer refuses what the suite wants refused.
func (p *platform) answer(w http.ResponseWriter, c bottest.Call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch early := time.Until(p.until); {
	case c.Method != "sendMessage" && c.Method != "editMessageText":
		return false
	case early > 0:
		p.t.Errorf("a call %v too early", early)
		bottest.Fail(w, 429, "Too Many Requests: retry after 1", 1, 0)
		return true
	case p.limit > 0:
		bottest.Fail(w, 429, "Too Many Requests: retry after 1", int(p.limit.Seconds()), 0)
		p.until, p.limit = time.Now().Add(p.limit), 0
		return true
	case p.reject:
		bottest.Fail(w, 403, "Forbidden: bot was blocked by the user", 0, 0)
		return true
	}
	return false
}

func chatOf(name string) (n int64) {
	_, _ = fmt.Sscan(name, &n)
	return n
}

func (p *platform) Posted(name string) []string { return p.api.Texts(chatOf(name)) }

func (p *platform) Limit(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = after
}

func (p *platform) Reject(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reject = on
}

// update is a message of somebody's; one that is delivered again has the same
// number.
func (p *platform) update(name string, m channeltest.Message) string {
	p.mu.Lock()
	n := p.numbers[name+" "+m.Delivery]
	if n == 0 {
		n = p.api.Next()
		p.numbers[name+" "+m.Delivery] = n
	}
	p.mu.Unlock()
	return strings.ReplaceAll(message(n, n, `"text":`+quoted(m.Text)), fmt.Sprint(ann), name)
}

// door is one of our nodes, as Telegram sees it.
type door struct {
	p      *platform
	url    string
	server *telegram.Server
	node   *channeltest.Node
}

type made struct {
	engine lm.Engine
	death  *channeltest.Death
	away   chat.Courier // a bot that runs elsewhere; nil = the engine answers
	polled bool
}

func start(t *testing.T, log channeltest.Log, name string, p *platform, m made) door {
	t.Helper()
	a := account("shop", hookSecret)
	a.API, a.Bot, a.Greeting = p.url, "bot", "**Welcome!**"
	if m.polled {
		a = account("shop", "")
		a.API = p.url
	}
	if m.death == nil {
		m.death = channeltest.NewDeath()
	}
	var s *telegram.Server
	n := channeltest.StartNode(t, channeltest.NodeOptions{
		Channel: telegram.Name, Worker: name, Log: log, Death: m.death, Engine: m.engine, Rate: 10, Burst: 40,
		Bots: []chat.Bot{{ID: "bot", Name: "Bot", Courier: m.away}},
		Attach: func(n *channeltest.Node) (err error) {
			if s, err = telegram.New(telegram.Options{Desk: n.Desk, Accounts: []telegram.Account{a}}); err == nil {
				n.Outlet.Add(n.Desk, s)
			}
			return err
		},
	})
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return door{p, srv.URL + telegram.Base + "shop", s, n}
}

func (d door) Begin(*testing.T) string { return fmt.Sprint(5_000_000 + d.p.names.Add(1)) }

func (d door) Deliver(t *testing.T, name string, m channeltest.Message) error {
	t.Helper()
	return d.post(t, d.p.update(name, m), hookSecret)
}

func (d door) post(t *testing.T, body, shown string) error {
	t.Helper()
	if status := post(t, d.url, body, shown); status != http.StatusOK {
		return errors.New(http.StatusText(status))
	}
	return nil
}

func TestPosting(t *testing.T) {
	channeltest.RunPosting(t, func(t *testing.T) channeltest.Posting {
		log, p, death := openLog(t), newPlatform(t), channeltest.NewDeath()
		slow := demo.Canned(demo.CannedOptions{Prefill: 10 * time.Second, Answer: func(lm.Request) string { return "late" }})
		x, y := start(t, log, "x", p, made{engine: demo.Echo("echo"), death: death}), start(t, log, "y", p, made{engine: demo.Echo("echo"), death: death})
		return channeltest.Posting{
			Doors: [2]channeltest.Sender{x, y}, Outlets: [2]*channel.Outlet{x.node.Outlet, y.node.Outlet}, Death: death, Platform: p,
			Slow:    start(t, openLog(t), "slow", p, made{engine: slow}),
			Attacks: attacks(), Flood: 300,
		}
	})
}

func attacks() map[string]func(*testing.T, channeltest.Sender, string) error {
	type attack = func(*testing.T, channeltest.Sender, string) error
	with := func(shown string) attack {
		return func(t *testing.T, s channeltest.Sender, name string) error {
			d := s.(door)
			return d.post(t, d.p.update(name, channeltest.Message{Delivery: "evil", Text: "evil"}), shown)
		}
	}
	raw := func(body string) attack {
		return func(t *testing.T, s channeltest.Sender, _ string) error { return s.(door).post(t, body, hookSecret) }
	}
	return map[string]attack{
		"no secret":         with(""),
		"a guess":           with("guess"),
		"nearly the secret": with(hookSecret + "x"),
		"half the secret":   with(hookSecret[:8]),
		"the token":         with(bottest.Token),
		"for another": func(t *testing.T, s channeltest.Sender, name string) error {
			d := s.(door)
			d.url = strings.TrimSuffix(d.url, "shop") + "other"
			return d.post(t, d.p.update(name, channeltest.Message{Delivery: "evil", Text: "evil"}), hookSecret)
		},
		"oversized":       raw(`{"update_id":1,"x":"` + strings.Repeat("x", 2<<20) + `"}`),
		"not JSON":        raw(`{"update_id":1`),
		"not UTF-8":       raw("{\"update_id\":1,\"x\":\"\xff\xfe\"}"),
		"of a wrong kind": raw(`{"update_id":1,"message":"evil"}`),
		"null":            raw(`null`),
		"deep":            raw(strings.Repeat("[", 100_000)),
	}
}

// until waits for what the bot says to somebody.
func (p *platform) see(t *testing.T, name string, ok func([]string) bool) []string {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); ; {
		got := p.Posted(name)
		if ok(got) {
			return got
		}
		if time.Now().After(late) {
			t.Fatalf("there is %q", got)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func are(want ...string) func([]string) bool {
	return func(got []string) bool { return slices.EqualFunc(got, want, strings.Contains) }
}

// An answer that grows over several messages is whole in the end, though one
// call in the middle is refused, and its messages were changed and not sent
// anew.
func TestGrowingAnswer(t *testing.T) {
	p := newPlatform(t)
	n := 0
	p.api.Let(func(w http.ResponseWriter, c bottest.Call) bool {
		if c.Method != "editMessageText" {
			return false
		}
		if n++; n == 2 {
			bottest.Fail(w, 429, "Too Many Requests: retry after 1", 1, 0)
		}
		return n == 2
	})
	slowly := demo.Canned(demo.CannedOptions{Answer: func(lm.Request) string { return long(5) }, Delay: time.Millisecond})
	d := start(t, openLog(t), "x", p, made{engine: slowly})
	name := d.Begin(t)
	if err := d.Deliver(t, name, channeltest.Message{Delivery: "1", Text: "tell me"}); err != nil {
		t.Fatal(err)
	}
	want := words(strings.ReplaceAll(long(5), "*", ""))
	p.see(t, name, func(got []string) bool { return words(strings.Join(got, " ")) == want })
	edits := 0
	for _, m := range p.api.Chat(chatOf(name)) {
		edits += m.Edits
	}
	if sent := len(p.api.Calls("sendMessage")); sent != 2 || edits < 2 {
		t.Errorf("%d messages were sent and changed %d times", sent, edits)
	}
}

// away is a bot that runs elsewhere, which offers a choice.
type away struct{}

func (away) Deliver(_ context.Context, d chat.Delivery, sending func() error) ([]activity.Activity, error) {
	if err := sending(); err != nil {
		return nil, err
	}
	a := activity.Activity{Type: activity.TypeMessage, Text: "away: " + d.Activity.Text}
	if d.Activity.Text == "offer" {
		a.Extra = map[string]json.RawMessage{"suggestedActions": json.RawMessage(`{"actions":[{"type":"imBack","title":"The long one","value":"` + strings.Repeat("value ", 100) + `"}]}`)}
	}
	return []activity.Activity{a}, nil
}

// What a button stands for comes from the log, however long it is.
func TestPress(t *testing.T) {
	p, log := newPlatform(t), openLog(t)
	d, other := start(t, log, "x", p, made{engine: demo.Echo("echo"), away: away{}}), start(t, log, "y", p, made{engine: demo.Echo("echo"), away: away{}})
	name := d.Begin(t)
	if err := d.Deliver(t, name, channeltest.Message{Delivery: "1", Text: "offer"}); err != nil {
		t.Fatal(err)
	}
	got := p.see(t, name, func(got []string) bool { return slices.Contains(got, "away: offer") })
	var on bottest.Message
	for _, m := range p.api.Chat(chatOf(name)) {
		if m.Text == "away: offer" {
			on = m
		}
	}
	_, data, _ := strings.Cut(string(on.Fields["reply_markup"]), `"callback_data":"`)
	data, _, _ = strings.Cut(data, `"`)
	press := fmt.Sprintf(`{"update_id":%d,"callback_query":{"id":"press-1","from":{"id":%s,"is_bot":false,"first_name":"Ann"},"chat_instance":"1","data":%q,"message":{"message_id":%d,"date":1,"chat":{"id":%s,"type":"private"}}}}`,
		p.api.Next(), name, data, on.ID, name)
	for range 2 {
		if err := other.post(t, press, hookSecret); err != nil {
			t.Fatal(err)
		}
	}
	p.see(t, name, are(append(got, "away: "+strings.TrimSpace(strings.Repeat("value ", 100)))...))
	if n := len(p.api.Calls("answerCallbackQuery")); n != 2 {
		t.Errorf("acknowledged %d times", n)
	}
}

// One node of two asks for news. When it goes the other one does, and nothing is
// lost or comes twice, though what was taken last was not confirmed.
func TestPolling(t *testing.T) {
	p, log := newPlatform(t), openLog(t)
	x, y := start(t, log, "x", p, made{engine: demo.Echo("echo"), polled: true}), start(t, log, "y", p, made{engine: demo.Echo("echo"), polled: true})
	name := x.Begin(t)
	say := func(text string) {
		p.api.Happen(strings.ReplaceAll(strings.Replace(message(1, 1, `"text":`+quoted(text)), `"update_id":1,"message":{"message_id":1,`, `"update_id":%d,"message":{"message_id":%d,`, 1), fmt.Sprint(ann), name))
	}
	say("before anybody asked.")
	first, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { x.server.Run(first) })
	p.see(t, name, are("before anybody asked."))
	all.Go(func() { y.server.Run(t.Context()) })
	for i := range 5 {
		say(fmt.Sprintf("message %d.", i))
	}
	want := []string{"before anybody asked.", "message 0.", "message 1.", "message 2.", "message 3.", "message 4."}
	p.see(t, name, are(want...))
	stop()
	say("after it went.")
	p.see(t, name, are(append(want, "after it went.")...))
	if region, err := y.node.Desk.AloneAt(t.Context(), "poll"); region != log.Region() || err != nil {
		t.Errorf("asked from %q: %v", region, err)
	}
}

// refusing is a desk whose log can't be written for a while.
type refusing struct {
	*desk
	times atomic.Int64
}

func (r *refusing) Take(ctx context.Context, in channel.Inbound) (uint64, error) {
	if r.times.Add(-1) >= 0 {
		return 0, fault.New(fault.Unavailable, "no leader")
	}
	return r.desk.Take(ctx, in)
}

// What is not durable is not confirmed, and what can't be read does not hold up
// what comes behind it.
func TestConfirmed(t *testing.T) {
	r := &refusing{desk: &desk{}}
	r.times.Store(2)
	x := open(t, func(o *telegram.Options) { o.Desk = r })
	x.api.Happen(`{"update_id":%d,"message":{"chat":"odd"}}`)
	for i := range 3 {
		x.api.Happen(message(int64(900_002+i), int64(i+1), fmt.Sprintf(`"text":"%d"`, i)))
	}
	run, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); x.s.Run(run) }()
	for late := time.Now().Add(20 * time.Second); x.api.Waiting() > 0 && time.Now().Before(late); {
		if wait, taken := x.api.Waiting(), len(r.all()); wait < 3-taken {
			t.Fatalf("%d updates wait at Telegram, and %d are taken", wait, taken)
		}
		<-time.After(5 * time.Millisecond)
	}
	stop()
	<-done
	var got []string
	for _, in := range r.all() {
		got = append(got, in.Activity.Text)
	}
	if !slices.Equal(got, []string{"0", "1", "2"}) || x.api.Waiting() != 0 {
		t.Errorf("taken %q; %d wait", got, x.api.Waiting())
	}
}

// A program that asks for the same bot's news, or a webhook, is said to be in
// the way, and asked around.
func TestConflict(t *testing.T) {
	x := open(t, nil)
	x.api.Hooked(bottest.Hook{URL: "https://elsewhere.example.org/"})
	run, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); x.s.Run(run) }()
	for late := time.Now().Add(20 * time.Second); x.api.Asked() < 2 && time.Now().Before(late); {
		<-time.After(5 * time.Millisecond)
	}
	x.api.Hooked(bottest.Hook{})
	x.api.Happen(message(900_001, 1, `"text":"at last"`))
	for late := time.Now().Add(20 * time.Second); len(x.desk.all()) == 0 && time.Now().Before(late); {
		<-time.After(5 * time.Millisecond)
	}
	stop()
	<-done
	if n := len(x.desk.all()); n != 1 || !slices.Contains(x.desk.no, "conflict") {
		t.Errorf("%d taken, refused %q", n, x.desk.no)
	}
}
