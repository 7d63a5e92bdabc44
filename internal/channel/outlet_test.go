package channel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/channeltest"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
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

// board is a platform of which everything is known: it holds what was posted
// and judges the calls.
type board struct {
	t    *testing.T
	pace time.Duration
	// before is asked before a call is answered; nil = nobody.
	before func(p channel.Post) (ref string, err error)

	mu     sync.Mutex // guards all below
	places map[string][]*note
	posts  []channel.Post
	until  time.Time // no calls before
	limit  time.Duration
	reject bool
}

type note struct{ id, text string }

func (b *board) Pace() time.Duration { return b.pace }

func (b *board) Post(_ context.Context, p channel.Post) (string, error) {
	if b.before != nil {
		if ref, err := b.before(p); err != nil {
			return ref, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.Item.Activity.Type == activity.TypeTyping && p.Item.Stream == nil {
		return "", nil
	}
	b.posts = append(b.posts, p)
	switch {
	case p.Last == nil:
		b.t.Errorf("%q goes to nobody", p.Item.Activity.Text)
	case time.Now().Before(b.until):
		b.t.Errorf("a call %v too early", time.Until(b.until))
		return "", fault.New(fault.Limited, "wait").After(time.Until(b.until))
	case b.limit > 0:
		b.until, b.limit = time.Now().Add(b.limit), 0
		return "", fault.New(fault.Limited, "wait").After(time.Until(b.until))
	case b.reject:
		return "", fault.New(fault.Forbidden, "the board won't have it")
	}
	if p.Ref != "" {
		for _, n := range b.places[p.Conversation] {
			if n.id != p.Ref {
				continue
			}
			if p.Item.Stream != nil && !p.Doubt && n.text != p.Sent {
				b.t.Errorf("said to be there is %q, and is %q", p.Sent, n.text)
			}
			n.text = p.Item.Activity.Text
			if p.Item.Activity.Type == activity.TypeDelete {
				n.text = "(gone)"
			}
			return n.id, nil
		}
		b.t.Errorf("there is no %q", p.Ref)
	}
	n := &note{fmt.Sprint("n", len(b.posts)), p.Item.Activity.Text}
	b.places[p.Conversation] = append(b.places[p.Conversation], n)
	return n.id, nil
}

func (b *board) Posted(conv string) (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.places[conv] {
		out = append(out, n.text)
	}
	return out
}

func (b *board) Limit(after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = after
}

func (b *board) Reject(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reject = on
}

func (b *board) all() []channel.Post {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]channel.Post(nil), b.posts...)
}

// forgetful is the log of a node that is late: it extends no lease.
type forgetful struct{ *eventlog.Log }

func (f forgetful) Leases(ctx context.Context, home string, limit int, each func(event.Lease)) error {
	return f.Log.Leases(ctx, home, limit, func(x event.Lease) {
		x.Extend = func() error { return nil }
		each(x)
	})
}

// node brings what is said to a board.
type node struct {
	t      *testing.T
	chat   *chat.Service
	desk   *channel.Desk
	outlet *channel.Outlet
	halt   func()
}

const owner = "board-x"

func start(t *testing.T, log *eventlog.Log, name string, b *board, e lm.Engine, death *channeltest.Death) *node {
	t.Helper()
	return startOn(t, log, log, name, b, e, death)
}

// startOn is start with something between the node's chat and the log.
func startOn(t *testing.T, log *eventlog.Log, through chat.Log, name string, b *board, e lm.Engine, death *channeltest.Death) *node {
	t.Helper()
	x := channeltest.StartNode(t, channeltest.NodeOptions{
		Channel: "board", Worker: name, Log: log, Through: through, Death: death, Engine: e, Rate: 10, Burst: 40, GiveUp: time.Second,
		Bots:   []chat.Bot{{ID: "bot", Name: "Bot"}, {ID: "away", Name: "Away"}},
		Attach: func(n *channeltest.Node) error { n.Outlet.Add(n.Desk, b); return nil },
	})
	return &node{t, x.Chat, x.Desk, x.Outlet, x.Halt}
}

func (n *node) Begin(t *testing.T) string {
	t.Helper()
	conv, err := n.desk.Place(t.Context(), t.Name()+time.Now().String(), channel.Start{Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	return conv
}

func (n *node) Deliver(t *testing.T, conv string, m channeltest.Message) error {
	if strings.Contains(m.Text, "evil") {
		return fault.New(fault.Invalid, "no")
	}
	_, err := n.desk.Take(t.Context(), channel.Inbound{
		Conversation: conv, Owner: owner, Key: m.Delivery,
		Activity: activity.Activity{Type: activity.TypeMessage, Text: m.Text, From: &activity.Account{ID: "ann"}, ChannelData: []byte(`{"board":{"place":1}}`)},
	})
	return err
}

func TestPosting(t *testing.T) {
	for _, pace := range []time.Duration{0, 100 * time.Millisecond} {
		t.Run(fmt.Sprint("pace ", pace), func(t *testing.T) {
			t.Parallel()
			channeltest.RunPosting(t, func(t *testing.T) channeltest.Posting {
				log, b, death := openLog(t), newBoard(t, pace), channeltest.NewDeath()
				slow := demo.Canned(demo.CannedOptions{Prefill: 10 * time.Second, Answer: func(lm.Request) string { return "late" }})
				x, y := start(t, log, "x", b, demo.Echo("echo"), death), start(t, log, "y", b, demo.Echo("echo"), death)
				return channeltest.Posting{
					Doors: [2]channeltest.Sender{x, y}, Outlets: [2]*channel.Outlet{x.outlet, y.outlet}, Death: death, Platform: b,
					Slow: start(t, openLog(t), "slow", b, slow, channeltest.NewDeath()),
					Attacks: map[string]func(*testing.T, channeltest.Sender, string) error{
						"evil": func(t *testing.T, d channeltest.Sender, conv string) error {
							return d.Deliver(t, conv, channeltest.Message{Delivery: "e", Text: "evil"})
						},
					},
					Flood: 300,
				}
			})
		})
	}
}

func newBoard(t *testing.T, pace time.Duration) *board {
	return &board{t: t, pace: pace, places: map[string][]*note{}}
}

func (n *node) say(conv, text string) {
	n.t.Helper()
	if err := n.Deliver(n.t, conv, channeltest.Message{Delivery: text, Text: text}); err != nil {
		n.t.Fatal(err)
	}
}

// until waits for what people see.
func (b *board) want(conv string, want ...string) {
	b.t.Helper()
	for late := time.Now().Add(30 * time.Second); !slices.EqualFunc(b.Posted(conv), want, strings.Contains); {
		if time.Now().After(late) {
			b.t.Fatalf("on the board is %q, want %q", b.Posted(conv), want)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// long is an engine whose answers grow for seconds.
func long() lm.Engine {
	return demo.Canned(demo.CannedOptions{Delay: 20 * time.Millisecond, Answer: func(lm.Request) string { return strings.Repeat("word ", 40) + "end." }})
}

// An answer is shown while it grows. The node that shows it dies, and another
// one goes on in the same message.
func TestGrowing(t *testing.T) {
	for name, end := range map[string]func(*node){
		"whole":                  nil,
		"the node dies":          func(n *node) { n.halt() },
		"the node goes in peace": func(n *node) { n.chat.Stop(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log, b := openLog(t), newBoard(t, 50*time.Millisecond)
			x := start(t, log, "x", b, long(), channeltest.NewDeath())
			conv := x.Begin(t)
			x.say(conv, "tell me")
			for len(b.all()) < 4 {
				<-time.After(5 * time.Millisecond)
			}
			if end != nil {
				go end(x)
				start(t, log, "y", b, long(), channeltest.NewDeath())
			}
			b.want(conv, "end.")
			var refs, unsure int
			for _, p := range b.all() {
				if p.Ref == "" {
					refs++
				}
				if p.Doubt {
					unsure++
				}
			}
			if refs != 1 {
				t.Errorf("%d messages were begun", refs)
			}
			if dead := name == "the node dies"; dead != (unsure > 0) {
				t.Errorf("of %d posts %d were in doubt", len(b.all()), unsure)
			}
		})
	}
}

// What a bot says that runs elsewhere goes out without a turn, and so does what
// it changes and takes back.
func TestSpoken(t *testing.T) {
	t.Parallel()
	log, b := openLog(t), newBoard(t, 0)
	x := start(t, log, "x", b, demo.Echo("echo"), channeltest.NewDeath())
	y := start(t, log, "y", b, demo.Echo("echo"), channeltest.NewDeath())
	conv, err := x.desk.Place(t.Context(), "place", channel.Start{Owner: owner, Bot: "away"})
	if err != nil {
		t.Fatal(err)
	}
	x.say(conv, "hello")
	b.want(conv, "hello")
	said := func(n *node, text string) chat.Spoken {
		return chat.Spoken{Bot: "away", Conversation: conv, Key: text, Activity: activity.Activity{Type: activity.TypeMessage, Text: text}}
	}
	var places []uint64
	for i := range 6 {
		n := []*node{x, y}[i%2]
		pos, err := n.desk.Speak(t.Context(), said(n, fmt.Sprint("line ", i)))
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, pos)
	}
	b.want(conv, "hello", "line 0", "line 1", "line 2", "line 3", "line 4", "line 5")
	for _, change := range []activity.Activity{{Type: activity.TypeMessage, Text: "line two"}, {Type: activity.TypeMessage, Text: "line II"}} {
		if err := y.desk.Change(t.Context(), chat.Spoken{Bot: "away", Conversation: conv, Activity: change}, places[2]); err != nil {
			t.Fatal(err)
		}
	}
	b.want(conv, "hello", "line 0", "line 1", "line II", "line 3", "line 4", "line 5")
	if err := x.desk.Change(t.Context(), chat.Spoken{Bot: "away", Conversation: conv, Activity: activity.Activity{Type: activity.TypeDelete}}, places[3]); err != nil {
		t.Fatal(err)
	}
	b.want(conv, "hello", "line 0", "line 1", "line II", "(gone)", "line 4", "line 5")
}

// Nothing goes out of a conversation that was deleted meanwhile.
func TestDeleted(t *testing.T) {
	t.Parallel()
	b := newBoard(t, 0)
	slow := demo.Canned(demo.CannedOptions{Prefill: time.Second, Answer: func(lm.Request) string { return "late" }})
	x := start(t, openLog(t), "x", b, slow, channeltest.NewDeath())
	conv := x.Begin(t)
	x.say(conv, "hello")
	if _, err := x.chat.Delete(t.Context(), owner, conv); err != nil {
		t.Fatal(err)
	}
	other := x.Begin(t)
	x.say(other, "hello")
	b.want(other, "late")
	if got := b.Posted(conv); len(got) > 0 {
		t.Errorf("posted was %q", got)
	}
}

// Who says that it is not well is asked again, and not for ever. Nothing
// overtakes what it would not have.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := newBoard(t, 0)
	var mu sync.Mutex // guards down, doubts
	down, doubts := error(fault.New(fault.Unavailable, "the board is away")), 0
	b.before = func(p channel.Post) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if p.Doubt {
			doubts++
		}
		return "", down
	}
	be := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		down = err
	}
	x := start(t, openLog(t), "x", b, demo.Echo("echo"), channeltest.NewDeath())
	conv := x.Begin(t)
	x.say(conv, "one.")
	x.say(conv, "two.")
	<-time.After(700 * time.Millisecond)
	be(nil)
	b.want(conv, "one.", "two.")
	if doubts > 0 {
		t.Errorf("%d posts were in doubt that had been refused", doubts)
	}
	be(fault.New(fault.Timeout, "no answer from the board"))
	x.say(conv, "three.")
	<-time.After(300 * time.Millisecond)
	be(nil)
	b.want(conv, "one.", "two.", "three.")
	if doubts == 0 {
		t.Error("what may be there was posted again without doubt")
	}
	be(fault.New(fault.Unavailable, "the board is away for long"))
	x.say(conv, "four.")
	for {
		letters, _, err := x.outlet.Letters(t.Context(), "board", "", 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(letters) == 1 && letters[0].Error == "the board is away for long" {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	be(nil)
	x.say(conv, "five.")
	b.want(conv, "one.", "two.", "three.", "five.")
}

// All nodes find one conversation under one name, also when they look for it at
// the same moment; and a new one when that was deleted.
func TestPlace(t *testing.T) {
	t.Parallel()
	log, b := openLog(t), newBoard(t, 0)
	x := start(t, log, "x", b, demo.Echo("echo"), channeltest.NewDeath())
	y := start(t, log, "y", b, demo.Echo("echo"), channeltest.NewDeath())
	find := func(owner string) string {
		t.Helper()
		var (
			wg    sync.WaitGroup
			convs [8]string
			errs  [8]error
		)
		for i := range convs {
			n := []*node{x, y}[i%2]
			wg.Go(func() { convs[i], errs[i] = n.desk.Place(t.Context(), "room 1", channel.Start{Owner: owner}) })
		}
		wg.Wait()
		for i := range convs {
			if errs[i] != nil || convs[i] != convs[0] {
				t.Fatalf("found %q, %v", convs, errs)
			}
		}
		return convs[0]
	}
	conv := find(owner)
	if other := find("another"); other == conv {
		t.Error("two owners have one conversation")
	}
	if again := find(owner); again != conv {
		t.Errorf("found %s, and then %s", conv, again)
	}
	if _, err := x.chat.Delete(t.Context(), owner, conv); err != nil {
		t.Fatal(err)
	}
	for { // until the other node has heard of it
		if _, err := y.desk.Look(t.Context(), owner, conv); err != nil {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	if again := find(owner); again == conv {
		t.Error("a deleted conversation was found")
	}
}

// What came in part is gone on with, also by another worker.
func TestPieces(t *testing.T) {
	t.Parallel()
	log, b := openLog(t), newBoard(t, 0)
	var mu sync.Mutex // guards refs
	var refs []string
	b.before = func(p channel.Post) (string, error) {
		if p.Item.Activity.Type == activity.TypeTyping {
			return "", nil
		}
		mu.Lock()
		defer mu.Unlock()
		refs = append(refs, p.Ref)
		if len(refs) < 3 {
			return p.Ref + "+", fault.New(fault.Limited, "not all at once")
		}
		return "", fault.New(fault.Invalid, "enough")
	}
	x := start(t, log, "x", b, demo.Echo("echo"), channeltest.NewDeath())
	start(t, log, "y", b, demo.Echo("echo"), channeltest.NewDeath())
	x.say(x.Begin(t), "long")
	for {
		letters, _, err := x.outlet.Letters(t.Context(), "", "", 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(letters) == 1 {
			if letters[0].Ref != "++" {
				t.Errorf("the letter came as far as %q", letters[0].Ref)
			}
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	if want := []string{"", "+", "++"}; !slices.Equal(refs, want) {
		t.Errorf("the tries began at %q, want %q", refs, want)
	}
}

// A person over there may want no more of an answer. While it is written and
// not shown, it is shown that it is.
func TestUnwanted(t *testing.T) {
	t.Parallel()
	b := newBoard(t, 50*time.Millisecond)
	stopped, typed := make(chan struct{}), make(chan struct{}, 16)
	b.before = func(p channel.Post) (string, error) {
		switch {
		case p.Item.Activity.Type != activity.TypeTyping:
		case p.Item.Stream == nil:
			typed <- struct{}{}
		case p.Ref != "":
			close(stopped)
			return "", fault.New(fault.Canceled, "stopped by a person")
		}
		return "", nil
	}
	x := start(t, openLog(t), "x", b, demo.Canned(demo.CannedOptions{Words: 10_000, Delay: 20 * time.Millisecond}), channeltest.NewDeath())
	conv := x.Begin(t)
	x.say(conv, "tell me")
	for _, c := range []chan struct{}{typed, stopped} {
		select {
		case <-c:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was shown")
		}
	}
	l, err := x.chat.Open(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		var state event.State
		more := l.View(func(st *conversation.State) { state = st.Turns()[0].State })
		if state == event.Stopped {
			break
		}
		select {
		case <-more:
		case <-time.After(10 * time.Second):
			t.Fatalf("the turn is %s", state)
		}
	}
}

// A worker that only seems dead comes back in the middle of a call. Another one
// has posted in doubt what it had in hand; the log believes that one.
func TestLate(t *testing.T) {
	t.Parallel()
	log, b := openLog(t), newBoard(t, 0)
	held, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	b.before = func(channel.Post) (string, error) {
		if calls.Add(1) == 1 {
			close(held)
			<-release
		}
		return "", nil
	}
	x := startOn(t, log, forgetful{log}, "x", b, demo.Echo("echo"), channeltest.NewDeath())
	conv, err := x.desk.Place(t.Context(), "place", channel.Start{Owner: owner, Bot: "away"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.chat.Submit(t.Context(), chat.Message{ // no turn: nothing but what the bot says goes out
		Owner: owner, Conversation: conv, Open: true,
		Activity: activity.Activity{Type: activity.TypeTyping, ChannelData: []byte(`{"board":{"place":1}}`)},
	}); err != nil {
		t.Fatal(err)
	}
	pos, err := x.desk.Speak(t.Context(), chat.Spoken{Bot: "away", Conversation: conv, Activity: activity.Activity{Type: activity.TypeMessage, Text: "hello"}})
	if err != nil {
		t.Fatal(err)
	}
	<-held
	y := start(t, log, "y", b, demo.Echo("echo"), channeltest.NewDeath())
	b.want(conv, "hello")
	if posts := b.all(); !posts[0].Doubt {
		t.Error("what may be there was posted again without doubt")
	}
	close(release)
	b.want(conv, "hello", "hello")
	if err := y.desk.Change(t.Context(), chat.Spoken{Bot: "away", Conversation: conv, Activity: activity.Activity{Type: activity.TypeMessage, Text: "good bye"}}, pos); err != nil {
		t.Fatal(err)
	}
	b.want(conv, "good bye", "hello")
}
