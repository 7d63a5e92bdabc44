// Package channeltest is the suite that every channel runs against itself, over
// two nodes with one log: the sentences of package channel's contract as tests.
package channeltest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// Door is one node's side of the channel, as the people and programs on the
// other side of it see it.
type Door interface {
	// Begin begins a conversation and returns how the others name it.
	Begin(t *testing.T) string
	// Deliver hands a message in. An error is a refusal.
	Deliver(t *testing.T, conversation string, m Message) error
	// Receive returns what has come in a conversation after a mark, "" being
	// the beginning, or the first page of it, and the mark behind that.
	Receive(t *testing.T, conversation, after string) (got []Got, mark string)
}

// Message is said by a user.
type Message struct {
	Delivery string // what the other side repeats when it tries again
	Text     string
}

// Got is an activity that came out.
type Got struct {
	ID, Text string
	Bot      bool
	At       time.Time
}

// Harness is a channel under test.
type Harness struct {
	// Doors are two nodes. Their bot answers every message with its text in it.
	Doors [2]Door
	// Slow is a node whose bot takes ten seconds for an answer.
	Slow Door
	// Attacks are requests that must be refused and leave nothing behind, by
	// name: forged, expired, replayed, oversized, for another conversation.
	Attacks map[string]func(t *testing.T, d Door, conversation string) error
	// Flood is how many messages at once are too many.
	Flood int
}

// Run runs the suite.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Run("a delivery that is repeated is one message", func(t *testing.T) { once(t, open(t)) })
	t.Run("what goes out has one order everywhere", func(t *testing.T) { order(t, open(t)) })
	t.Run("a delivery is answered before the bot is done", func(t *testing.T) { inTime(t, open(t)) })
	t.Run("what is not to be trusted is refused", func(t *testing.T) { refused(t, open(t)) })
	t.Run("a flood is refused and the others are served", func(t *testing.T) { flood(t, open(t)) })
}

// patience is how long anything may take that is not measured.
const patience = 30 * time.Second

// until receives from the beginning until ok, and checks on the way that a
// receiver which goes on from its marks gets the same.
func until(t *testing.T, d Door, conv string, what string, ok func([]Got) bool) []Got {
	t.Helper()
	var (
		all  []Got
		mark string
	)
	for late := time.Now().Add(patience); ; {
		got, next := d.Receive(t, conv, mark)
		all, mark = append(all, got...), next
		if ok(all) {
			return all
		}
		if time.Now().After(late) {
			t.Fatalf("waited %v for %s; there is %+v", patience, what, all)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func texts(all []Got, bot bool) []string {
	var out []string
	for _, g := range all {
		if g.Bot == bot {
			out = append(out, g.Text)
		}
	}
	return out
}

func answers(n int) func([]Got) bool {
	return func(all []Got) bool { return len(texts(all, true)) >= n }
}

func once(t *testing.T, h Harness) {
	conv := h.Doors[0].Begin(t)
	var wg sync.WaitGroup
	for i := range 8 { // both nodes, at the same time
		wg.Go(func() {
			if err := h.Doors[i%2].Deliver(t, conv, Message{"again", "only once"}); err != nil {
				t.Errorf("delivery %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if err := h.Doors[1].Deliver(t, conv, Message{"again", "only once"}); err != nil { // and later
		t.Error(err)
	}
	if err := h.Doors[0].Deliver(t, conv, Message{"other", "the last"}); err != nil {
		t.Fatal(err)
	}
	for i, d := range h.Doors {
		all := until(t, d, conv, "two answers", answers(2))
		if got, want := texts(all, false), []string{"only once", "the last"}; !slices.Equal(got, want) {
			t.Errorf("node %d has the messages %q, want %q", i, got, want)
		}
		if n := len(texts(all, true)); n != 2 {
			t.Errorf("node %d has %d answers to 2 messages", i, n)
		}
	}
}

func order(t *testing.T, h Harness) {
	conv := h.Doors[1].Begin(t)
	const n = 30
	var want []string
	for i := range n {
		text := fmt.Sprintf("message %d.", i)
		if err := h.Doors[i%2].Deliver(t, conv, Message{fmt.Sprint(i), text}); err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
	}
	pieces := until(t, h.Doors[0], conv, "all answers", answers(n))
	whole := until(t, h.Doors[1], conv, "all answers", answers(n))
	if got := texts(whole, false); !slices.Equal(got, want) {
		t.Errorf("messages came out as %q", got)
	}
	if !slices.EqualFunc(pieces, whole, func(a, b Got) bool { return a.ID == b.ID && a.At.Equal(b.At) }) {
		t.Errorf("on one node: %+v\non the other: %+v", pieces, whole)
	}
	seen := map[string]bool{}
	for i, g := range whole {
		if seen[g.ID] || g.ID == "" {
			t.Errorf("the id %q came twice or is empty", g.ID)
		}
		seen[g.ID] = true
		if i > 0 && g.At.Before(whole[i-1].At) {
			t.Errorf("%q at %v comes after %q at %v", g.Text, g.At, whole[i-1].Text, whole[i-1].At)
		}
	}
}

func inTime(t *testing.T, h Harness) {
	conv := h.Slow.Begin(t)
	began := time.Now()
	if err := h.Slow.Deliver(t, conv, Message{"slow", "take your time"}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the delivery was answered after %v", took)
	}
	if got, _ := h.Slow.Receive(t, conv, ""); len(texts(got, false)) != 1 {
		t.Errorf("the message is not there: %+v", got)
	}
}

func refused(t *testing.T, h Harness) {
	if len(h.Attacks) == 0 {
		t.Fatal("a channel that refuses nothing was not tested")
	}
	conv := h.Doors[0].Begin(t)
	for name, attack := range h.Attacks {
		if err := attack(t, h.Doors[0], conv); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := h.Doors[0].Deliver(t, conv, Message{"good", "an honest one"}); err != nil {
		t.Fatalf("after the attacks: %v", err)
	}
	all := until(t, h.Doors[0], conv, "the answer", answers(1))
	if got := texts(all, false); !slices.Equal(got, []string{"an honest one"}) {
		t.Errorf("there is %q", got)
	}
}

func flood(t *testing.T, h Harness) {
	conv, other := h.Doors[0].Begin(t), h.Doors[0].Begin(t)
	var (
		mu  sync.Mutex // guards no
		no  int
		wg  sync.WaitGroup
		gap = make(chan struct{}, 64) // as many at once as a machine has sockets for
	)
	for i := range h.Flood {
		wg.Go(func() {
			gap <- struct{}{}
			defer func() { <-gap }()
			if h.Doors[0].Deliver(t, conv, Message{fmt.Sprint(i), "flood"}) != nil {
				mu.Lock()
				no++
				mu.Unlock()
			}
		})
	}
	if err := h.Doors[0].Deliver(t, other, Message{"calm", "somebody else"}); err != nil {
		t.Errorf("another conversation: %v", err)
	}
	wg.Wait()
	if no == 0 || no == h.Flood {
		t.Errorf("of %d messages %d were refused", h.Flood, no)
	}
	until(t, h.Doors[0], other, "the other's answer", answers(1))
}
