package channeltest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/event"
)

// Sender is one node's side of a channel that has to be called, as the other
// side sees it.
type Sender interface {
	// Begin begins a conversation and returns how the others name it.
	Begin(t *testing.T) string
	// Deliver hands a message in. An error is a refusal.
	Deliver(t *testing.T, conversation string, m Message) error
}

// Platform is the other side, which is called. It fails the test when it is
// called against its own rules.
type Platform interface {
	// Posted returns what people see in a conversation of what was posted, in
	// order. What was posted and changed afterwards is there once.
	Posted(conversation string) []string
	// Limit has the next call that brings a message refused, with a time to
	// wait. Calls before that is over are refused too, and fail the test.
	Limit(after time.Duration)
	// Reject has messages refused for good from now on, or no longer.
	Reject(on bool)
}

// Posting is a channel that has to be called, under test.
type Posting struct {
	// Doors are two nodes of one log. Their bot answers every message with its
	// text in it. Death is the log of both.
	Doors    [2]Sender
	Death    *Death
	Outlets  [2]*channel.Outlet
	Platform Platform
	// Asks: the platform can be asked what it has, so nothing comes twice.
	Asks bool
	// Slow is a node whose bot takes ten seconds for an answer.
	Slow Sender
	// Attacks and Flood are as a Harness'.
	Attacks map[string]func(t *testing.T, d Sender, conversation string) error
	Flood   int
}

// RunPosting runs the suite for a channel that has to be called.
func RunPosting(t *testing.T, open func(t *testing.T) Posting) {
	for name, test := range map[string]func(*testing.T, Posting){
		"a delivery that is repeated is answered once":              postedOnce,
		"what is posted is in the order of the log":                 postedInOrder,
		"a delivery is answered before the bot is done":             takenInTime,
		"what is not to be trusted is refused":                      refusedToPost,
		"a flood is refused and the others are served":              floodOfPosts,
		"who says wait is waited for, and nothing overtakes":        limited,
		"a node that dies between posting and noting loses nothing": dies,
		"what is refused for good can be seen and posted again":     deadLetters,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait more than they do
			test(t, open(t))
		})
	}
}

// Death has a node die at the worst moment: when it has posted something and
// before that is noted.
type Death struct {
	armed atomic.Bool
	died  chan struct{}
}

// NewDeath makes one that is far.
func NewDeath() *Death { return &Death{died: make(chan struct{})} }

// Log is a node's log; halt stops the node at once.
func (d *Death) Log(l chat.Log, halt func()) chat.Log { return &mortal{Log: l, death: d, halt: halt} }

type mortal struct {
	chat.Log
	death *Death
	halt  func()
	dead  atomic.Bool
}

func (m *mortal) Append(ctx context.Context, a event.Append) (event.Receipt, error) {
	if p := a.Event.Posted; p != nil && p.Step == event.There && m.death.armed.CompareAndSwap(true, false) {
		m.dead.Store(true)
		go func() {
			m.halt()
			close(m.death.died)
		}()
	}
	if m.dead.Load() {
		return event.Receipt{}, context.Canceled
	}
	return m.Log.Append(ctx, a)
}

// see waits until what people see are answers to these messages.
func see(t *testing.T, h Posting, conv string, want ...string) {
	t.Helper()
	for late := time.Now().Add(patience); ; {
		got := h.Platform.Posted(conv)
		if slices.EqualFunc(got, want, strings.Contains) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("waited %v for answers to %q; there are %q", patience, want, got)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func deliver(t *testing.T, s Sender, conv, key, text string) {
	t.Helper()
	if err := s.Deliver(t, conv, Message{key, text}); err != nil {
		t.Fatal(err)
	}
}

func postedOnce(t *testing.T, h Posting) {
	conv := h.Doors[0].Begin(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := h.Doors[i%2].Deliver(t, conv, Message{"again", "only once"}); err != nil {
				t.Errorf("delivery %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	see(t, h, conv, "only once")
	deliver(t, h.Doors[1], conv, "again", "only once")
	deliver(t, h.Doors[0], conv, "other", "the last")
	see(t, h, conv, "only once", "the last")
}

func postedInOrder(t *testing.T, h Posting) {
	conv := h.Doors[1].Begin(t)
	var want []string
	for i := range 12 {
		want = append(want, fmt.Sprintf("message %d.", i))
		deliver(t, h.Doors[i%2], conv, fmt.Sprint(i), want[i])
	}
	see(t, h, conv, want...)
}

func takenInTime(t *testing.T, h Posting) {
	conv := h.Slow.Begin(t)
	began := time.Now()
	deliver(t, h.Slow, conv, "slow", "take your time")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the delivery was answered after %v", took)
	}
}

func refusedToPost(t *testing.T, h Posting) {
	if len(h.Attacks) == 0 {
		t.Fatal("a channel that refuses nothing was not tested")
	}
	conv := h.Doors[0].Begin(t)
	for name, attack := range h.Attacks {
		if err := attack(t, h.Doors[0], conv); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	deliver(t, h.Doors[0], conv, "good", "an honest one")
	see(t, h, conv, "an honest one")
}

func floodOfPosts(t *testing.T, h Posting) {
	conv, other := h.Doors[0].Begin(t), h.Doors[0].Begin(t)
	var (
		no  atomic.Int64
		wg  sync.WaitGroup
		gap = make(chan struct{}, 64)
	)
	for i := range h.Flood {
		wg.Go(func() {
			gap <- struct{}{}
			defer func() { <-gap }()
			if h.Doors[0].Deliver(t, conv, Message{fmt.Sprint(i), "flood"}) != nil {
				no.Add(1)
			}
		})
	}
	deliver(t, h.Doors[0], other, "calm", "somebody else")
	wg.Wait()
	if n := int(no.Load()); n == 0 || n == h.Flood {
		t.Errorf("of %d messages %d were refused", h.Flood, n)
	}
	see(t, h, other, "somebody else")
}

func limited(t *testing.T, h Posting) {
	conv := h.Doors[0].Begin(t)
	deliver(t, h.Doors[0], conv, "0", "before it.")
	see(t, h, conv, "before it.")
	const pause = time.Second
	began := time.Now()
	h.Platform.Limit(pause)
	want := []string{"before it."}
	for i := range 4 {
		want = append(want, fmt.Sprintf("message %d.", i))
		deliver(t, h.Doors[i%2], conv, fmt.Sprint(i+1), want[i+1])
	}
	see(t, h, conv, want...)
	if took := time.Since(began); took < pause {
		t.Errorf("all was posted after %v, though the platform wanted %v", took, pause)
	}
}

func dies(t *testing.T, h Posting) {
	conv := h.Doors[0].Begin(t)
	h.Death.armed.Store(true)
	deliver(t, h.Doors[0], conv, "1", "the first.")
	select {
	case <-h.Death.died:
	case <-time.After(patience):
		t.Fatal("no node noted that it had posted something")
	}
	// One of the nodes is dead. Both take messages in all the same, as far as
	// they still can.
	for i, d := range []Sender{h.Doors[0], h.Doors[1]} {
		if err := d.Deliver(t, conv, Message{"2", "the second."}); err == nil {
			break
		} else if i == 1 {
			t.Fatal(err)
		}
	}
	var got []string
	for late := time.Now().Add(patience); ; {
		got = h.Platform.Posted(conv)
		if len(got) > 1 && strings.Contains(got[len(got)-1], "the second.") {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the second answer does not come; there is %q", got)
		}
		<-time.After(10 * time.Millisecond)
	}
	if len(got) == 3 && !h.Asks {
		got = got[1:] // in doubt it came twice
	}
	if !slices.EqualFunc(got, []string{"the first.", "the second."}, strings.Contains) {
		t.Errorf("posted was %q", got)
	}
}

func deadLetters(t *testing.T, h Posting) {
	conv := h.Doors[0].Begin(t)
	h.Platform.Reject(true)
	deliver(t, h.Doors[0], conv, "1", "nobody wants this.")
	var letters []channel.Letter
	for late := time.Now().Add(patience); len(letters) == 0; {
		var err error
		if letters, _, err = h.Outlets[1].Letters(t.Context(), "", "", 10); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(late) {
			t.Fatal("there is no dead letter")
		}
		<-time.After(10 * time.Millisecond)
	}
	if len(letters) != 1 || letters[0].Error == "" {
		t.Fatalf("the dead letters are %+v", letters)
	}
	if err := h.Outlets[0].Replay(t.Context(), letters[0].ID()); err == nil {
		t.Error("a letter that is refused again was posted")
	}
	h.Platform.Reject(false)
	deliver(t, h.Doors[1], conv, "2", "the next one.")
	see(t, h, conv, "the next one.")
	if err := h.Outlets[0].Replay(t.Context(), letters[0].ID()); err != nil {
		t.Fatal(err)
	}
	see(t, h, conv, "the next one.", "nobody wants this.")
	if err := h.Outlets[1].Replay(t.Context(), letters[0].ID()); err == nil {
		t.Error("a letter was posted twice")
	}
	if letters, _, err := h.Outlets[1].Letters(t.Context(), "", "", 10); len(letters) != 0 || err != nil {
		t.Errorf("left over: %+v, %v", letters, err)
	}
}
