package teams

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	parley "github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/secret"
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

// node is one that Microsoft reaches.
type node struct {
	ms     *microsoft
	s      *Server
	desk   *channel.Desk
	chat   *parley.Service
	outlet *channel.Outlet
	halt   func()
	room   string // form of the names of its conversations
}

func start(t *testing.T, ms *microsoft, log *eventlog.Log, name, room string, e lm.Engine, death *channeltest.Death) *node {
	t.Helper()
	n := &node{ms: ms, room: room}
	x := channeltest.StartNode(t, channeltest.NodeOptions{
		Channel: Name, Worker: name, Log: log, Death: death, Engine: e, Rate: 5, Burst: 60,
		Attach: func(x *channeltest.Node) (err error) {
			if n.s, err = New(Options{Desk: x.Desk, Accounts: []Account{{Name: "shop", AppID: testApp, Secret: secret.New(testSecret), Cloud: ms.cloud()}}}); err == nil {
				x.Outlet.Add(x.Desk, n.s, "shop")
			}
			return err
		},
	})
	n.desk, n.chat, n.outlet, n.halt = x.Desk, x.Chat, x.Outlet, x.Halt
	return n
}

// Begin satisfies channeltest.Sender: in Teams a conversation has a name before
// anything is said in it.
func (n *node) Begin(*testing.T) string { return fmt.Sprintf(n.room, rand.Text()) }

func (n *node) Deliver(_ *testing.T, conv string, m channeltest.Message) error {
	return n.send(n.ms.sign(nil), n.ms.said(conv, m.Delivery, m.Text))
}

func (n *node) send(token string, activity any) error {
	if w := n.ms.deliver(n.s, "shop", token, activity); w.Code != http.StatusOK {
		return fmt.Errorf("status %d: %s", w.Code, w.Body)
	}
	return nil
}

func TestChannel(t *testing.T) {
	t.Parallel()
	const room = "a:%s"
	channeltest.RunPosting(t, func(t *testing.T) channeltest.Posting {
		ms, log, death := newMicrosoft(t), openLog(t), channeltest.NewDeath()
		ms.deaths = true
		x, y := start(t, ms, log, "x", room, demo.Echo("echo"), death), start(t, ms, log, "y", room, demo.Echo("echo"), death)
		slow := demo.Canned(demo.CannedOptions{Prefill: 10 * time.Second, Answer: func(lm.Request) string { return "late" }})
		return channeltest.Posting{
			Doors: [2]channeltest.Sender{x, y}, Outlets: [2]*channel.Outlet{x.outlet, y.outlet}, Death: death, Platform: ms,
			Slow:    start(t, ms, openLog(t), "slow", room, slow, channeltest.NewDeath()),
			Attacks: attacks(), Flood: 120,
		}
	})
}

// attacks are the ways in that TestRefused tries one by one; here nothing of
// them may reach the log.
func attacks() map[string]func(*testing.T, channeltest.Sender, string) error {
	with := func(change func(map[string]any)) func(*testing.T, channeltest.Sender, string) error {
		return func(_ *testing.T, d channeltest.Sender, conv string) error {
			n := d.(*node)
			return n.send(n.ms.sign(change), n.ms.said(conv, "e", "evil"))
		}
	}
	return map[string]func(*testing.T, channeltest.Sender, string) error{
		"forged": func(_ *testing.T, d channeltest.Sender, conv string) error {
			n := d.(*node)
			return n.send(n.ms.sign(nil)+"x", n.ms.said(conv, "e", "evil"))
		},
		"expired":           with(func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }),
		"for somebody else": with(func(c map[string]any) { c["aud"] = "other" }),
		"another service":   with(func(c map[string]any) { c["serviceurl"] = "https://smba.trafficmanager.net/" }),
		"oversized": func(_ *testing.T, d channeltest.Sender, _ string) error {
			n := d.(*node)
			return n.send(n.ms.sign(nil), bytes.Repeat([]byte(" "), 1<<20))
		},
	}
}

// A long answer grows in a chat of two. The node that shows it dies, and
// another one goes on in the same message.
func TestGrowing(t *testing.T) {
	t.Parallel()
	long := func() lm.Engine {
		return demo.Canned(demo.CannedOptions{Delay: 40 * time.Millisecond, Answer: func(lm.Request) string { return "one " + string(bytes.Repeat([]byte("word "), 110)) + "end." }})
	}
	ms, log := newMicrosoft(t), openLog(t)
	ms.deaths = true
	x := start(t, ms, log, "x", "a:%s", long(), channeltest.NewDeath())
	conv := x.Begin(t)
	if err := x.Deliver(t, conv, channeltest.Message{Delivery: "1", Text: "tell me"}); err != nil {
		t.Fatal(err)
	}
	parts := func() (n int) {
		for _, c := range ms.made() {
			if infoIn(c.activity) {
				n++
			}
		}
		return n
	}
	for parts() < 2 {
		<-time.After(10 * time.Millisecond)
	}
	start(t, ms, log, "y", "a:%s", long(), channeltest.NewDeath())
	go x.halt()
	for late := time.Now().Add(30 * time.Second); len(ms.Posted(conv)) == 0; {
		if time.Now().After(late) {
			t.Fatalf("people see %q", ms.seen(conv))
		}
		<-time.After(10 * time.Millisecond)
	}
	if got := ms.seen(conv); len(got) != 1 || len(got[0]) < 500 || got[0][len(got[0])-4:] != "end." {
		t.Errorf("people see %q", got)
	}
	if n := parts(); n < 4 {
		t.Errorf("it was shown in %d parts", n)
	}
}

// A reaction is to what people mean, whoever said it: they know it by Teams' name.
func TestReaction(t *testing.T) {
	ms, log := newMicrosoft(t), openLog(t)
	x := start(t, ms, log, "x", "19:%s@thread.v2", demo.Echo("echo"), channeltest.NewDeath())
	conv := x.Begin(t)
	if err := x.Deliver(t, conv, channeltest.Message{Delivery: "17", Text: "hello"}); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(30 * time.Second); len(ms.Posted(conv)) == 0; {
		if time.Now().After(late) {
			t.Fatal("there is no answer")
		}
		<-time.After(5 * time.Millisecond)
	}
	ms.mu.Lock()
	answer := ms.room(conv).messages[0].id
	ms.mu.Unlock()
	place, err := x.desk.Place(t.Context(), conv, channel.Start{Owner: Owner("shop")})
	if err != nil {
		t.Fatal(err)
	}
	l, err := x.chat.Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for noted := false; !noted; { // it is there before that is written down
		more := l.View(func(st *conversation.State) { noted = st.Out.Last.Step == event.There })
		if !noted {
			<-more
		}
	}
	for i, to := range []string{"17", answer, "of somebody else"} {
		in := ms.said(conv, fmt.Sprint("f:", i), "")
		in["type"], in["replyToId"], in["reactionsAdded"] = "messageReaction", to, []any{map[string]any{"type": "like"}}
		if err := x.send(ms.sign(nil), in); err != nil {
			t.Error(err)
		}
	}
	var got []string
	l.View(func(st *conversation.State) {
		for _, a := range st.Activities {
			if a.Type == activity.TypeReaction {
				got = append(got, st.Activity(a.ReplyToID).Text)
			}
		}
	})
	if len(got) != 2 || got[0] != "hello" || !strings.Contains(got[1], "hello") || got[1] == "hello" {
		t.Errorf("reactions are to %q", got)
	}
}
