package slack_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	"github.com/parleyhq/parley/internal/channel/slack"
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

// node is one of Parley's, to which Slack's requests go.
type node struct {
	slack   *fake
	handler *slack.Server
	desk    *channel.Desk
	outlet  *channel.Outlet
	halt    func()
	threads bool // conversations are threads of a channel
}

func start(t *testing.T, log *eventlog.Log, name string, f *fake, e lm.Engine, death *channeltest.Death) *node {
	t.Helper()
	n := &node{slack: f}
	x := channeltest.StartNode(t, channeltest.NodeOptions{
		Channel: slack.Name, Worker: name, Log: log, Death: death, Engine: e, Rate: 10, Burst: 40,
		Attach: func(x *channeltest.Node) (err error) {
			if n.handler, err = slack.New(slack.Options{Desk: x.Desk, Accounts: []slack.Account{account()}, API: f.url()}); err == nil {
				x.Outlet.Add(x.Desk, n.handler)
			}
			return err
		},
	})
	n.desk, n.outlet, n.halt = x.Desk, x.Outlet, x.Halt
	return n
}

func (n *node) Begin(*testing.T) string {
	n.slack.mu.Lock()
	defer n.slack.mu.Unlock()
	n.slack.n++
	if n.threads {
		return fmt.Sprintf("C0CHAN/17000%04d.000100", n.slack.n)
	}
	return fmt.Sprintf("D0D%d", n.slack.n)
}

// event is a message as Slack sends it. In a thread the app is mentioned.
func event(conv string, m channeltest.Message) string {
	ch, thread, _ := strings.Cut(conv, "/")
	kind, more, text := "message", "", m.Text
	if thread != "" {
		kind, more, text = "app_mention", `"thread_ts":"`+thread+`",`, "<@U0SELF> "+text
	}
	stamp := fmt.Sprintf("18%x.0", m.Delivery)
	stamp = strings.NewReplacer("a", "10", "b", "11", "c", "12", "d", "13", "e", "14", "f", "15").Replace(stamp)
	return callback(fmt.Sprintf(`{"type":%q,"channel":%q,"channel_type":"im",%s"user":"U0USER","text":%q,"ts":%q}`, kind, ch, more, text, stamp))
}

func (n *node) Deliver(_ *testing.T, conv string, m channeltest.Message) error {
	return fine(signed(n.handler, "desk/events", event(conv, m)).Code)
}

func fine(status int) error {
	if status != http.StatusOK {
		return fmt.Errorf("status %d", status)
	}
	return nil
}

// Posted is what people see, as soon as it stands still.
func (f *fake) Posted(conv string) (out []string) {
	ch, thread, _ := strings.Cut(conv, "/")
	for _, m := range f.all(ch, thread) {
		if m.streaming || time.Since(m.at) < 300*time.Millisecond {
			break
		}
		out = append(out, m.shown())
	}
	return out
}

func (f *fake) Limit(after time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after, f.limited = int(after.Seconds()), 1
}

func (f *fake) Reject(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range []string{"chat.postMessage", "chat.startStream"} {
		if f.refuse[m] = ""; on {
			f.refuse[m] = "is_archived"
		}
	}
}

func attacks() map[string]func(*testing.T, channeltest.Sender, string) error {
	evil := func(conv string) string { return event(conv, channeltest.Message{Delivery: "e", Text: "evil"}) }
	with := func(secret string, ago time.Duration, body func(string) string) func(*testing.T, channeltest.Sender, string) error {
		return func(_ *testing.T, d channeltest.Sender, conv string) error {
			b := body(evil(conv))
			return fine(send(d.(*node).handler, "desk/events", b, sign(b, secret, time.Now().Add(-ago))).Code)
		}
	}
	same := func(s string) string { return s }
	return map[string]func(*testing.T, channeltest.Sender, string) error{
		"forged":            with("guess", 0, same),
		"replayed":          with(signing, 301*time.Second, same),
		"from the future":   with(signing, -301*time.Second, same),
		"another workspace": with(signing, 0, func(s string) string { return strings.ReplaceAll(s, team, "T0OTHER") }),
		"oversized":         with(signing, 0, func(s string) string { return s + strings.Repeat(" ", 1<<20) }),
		"a changed body": func(_ *testing.T, d channeltest.Sender, conv string) error {
			b := evil(conv)
			return fine(send(d.(*node).handler, "desk/events", b+" ", sign(b, signing, time.Now())).Code)
		},
		"unsigned": func(_ *testing.T, d channeltest.Sender, conv string) error {
			return fine(send(d.(*node).handler, "desk/events", evil(conv), http.Header{}).Code)
		},
	}
}

// The suite's conversations are threads and direct messages by turns.
func TestSuite(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	channeltest.RunPosting(t, func(t *testing.T) channeltest.Posting {
		threads := n.Add(1)%2 == 1
		log, f, death := openLog(t), newFake(t), channeltest.NewDeath()
		slow := demo.Canned(demo.CannedOptions{Prefill: 30 * time.Second, Answer: func(lm.Request) string { return "late" }})
		x, y := start(t, log, "x", f, demo.Echo("echo"), death), start(t, log, "y", f, demo.Echo("echo"), death)
		x.threads, y.threads = threads, threads
		return channeltest.Posting{
			Doors: [2]channeltest.Sender{x, y}, Outlets: [2]*channel.Outlet{x.outlet, y.outlet}, Death: death, Platform: f, Asks: true,
			Slow:    start(t, openLog(t), "slow", f, slow, channeltest.NewDeath()),
			Attacks: attacks(), Flood: 300,
		}
	})
}

// An answer that grows is one message, also when the node dies that shows it.
func TestAnswerGrows(t *testing.T) {
	answer := strings.TrimSpace(strings.Repeat("word after word, ", 25)) + " end."
	engine := func() lm.Engine {
		return demo.Canned(demo.CannedOptions{Delay: 25 * time.Millisecond, Answer: func(lm.Request) string { return answer }})
	}
	for _, threads := range []bool{false, true} {
		t.Run(fmt.Sprintf("threads %v", threads), func(t *testing.T) {
			t.Parallel()
			log, f := openLog(t), newFake(t)
			x := start(t, log, "x", f, engine(), channeltest.NewDeath())
			x.threads = threads
			conv := x.Begin(t)
			if err := x.Deliver(t, conv, channeltest.Message{Delivery: "1", Text: "tell me"}); err != nil {
				t.Fatal(err)
			}
			more := map[bool]string{false: "chat.update", true: "chat.appendStream"}[threads]
			wait(t, "a part", func() bool { return slices.Contains(f.methods(), more) })
			x.halt()
			start(t, log, "y", f, engine(), channeltest.NewDeath())
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("Slack was called: %q", f.methods())
				}
			})
			wait(t, "the end", func() bool {
				got := f.Posted(conv)
				return len(got) > 0 && strings.HasSuffix(got[0], "end.")
			})
			if got := f.Posted(conv); len(got) != 1 || got[0] != answer {
				t.Errorf("there is %q", got)
			}
		})
	}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(late) {
			t.Fatalf("waited for %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
