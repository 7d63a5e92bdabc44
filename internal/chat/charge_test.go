package chat_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// till is whoever lets turns in. It keeps what they took in order.
type till struct {
	mu    sync.Mutex
	begun int
	took  []lm.Usage
	none  int // that got nothing
	no    []error
}

func (x *till) meter(_ context.Context, owner, model string, prompt, _ int) (chat.Charge, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if owner != "ann" || model == "" || prompt == 0 {
		return nil, fault.New(fault.Invalid, "%q asks for %d tokens of %q", owner, prompt, model)
	}
	if len(x.no) > 0 {
		err := x.no[0]
		x.no = x.no[1:]
		return nil, err
	}
	x.begun++
	return &charge{till: x}, nil
}

type charge struct {
	*till
	over bool
}

func (c *charge) Settle(u lm.Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.took = append(c.took, u)
	}
	c.over = true
}

func (c *charge) Cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.none++
	}
	c.over = true
}

// A turn is paid for once, whatever its engine does in between.
func TestTurnsAreCharged(t *testing.T) {
	x := &till{}
	e := demo.Canned(demo.CannedOptions{Words: 40, Resume: lm.Exact, Fault: demo.Fault{Kind: demo.Cut, After: 20, Times: 1}})
	s := start(t, openLog(t, t.TempDir()), e, func(o *chat.Options) { o.Meter = x.meter })
	conv := newConversation(t, s)
	for _, key := range []string{"a", "b"} {
		if _, b := answer(t, s, conv, say(t, s, conv, "hello", key).Turn); b.State != event.Ok {
			t.Fatalf("%+v", b)
		}
	}
	wait, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s.Stop(wait) // a turn is settled when everybody can see its end
	x.mu.Lock()
	defer x.mu.Unlock()
	var answers []int
	for _, u := range x.took {
		answers = append(answers, u.Completion)
	}
	if d := cmp.Diff([]int{40, 40}, answers); d != "" || x.begun != 2 || x.none != 0 {
		t.Errorf("%d let in, %d for nothing: %s", x.begun, x.none, d)
	}
}

// A budget that is used up ends the turn in words; a ledger that can't be asked
// is waited for.
func TestTurnsOverTheLimit(t *testing.T) {
	x := &till{no: []error{
		fault.New(fault.Limited, "the budget is used up; it begins again at noon").After(time.Hour),
		fault.New(fault.Unavailable, "the budget can't be asked"),
	}}
	s := start(t, openLog(t, t.TempDir()), demo.Canned(demo.CannedOptions{Words: 3}), func(o *chat.Options) { o.Meter = x.meter })
	conv := newConversation(t, s)
	if _, b := answer(t, s, conv, say(t, s, conv, "hello", "a").Turn); b.State != event.Failed || b.Code != fault.Limited || !strings.Contains(b.Error, "begins again at noon") {
		t.Errorf("%+v", b)
	}
	if _, b := answer(t, s, conv, say(t, s, conv, "hello", "b").Turn); b.State != event.Ok {
		t.Errorf("%+v", b)
	}
	wait, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s.Stop(wait)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.begun != 1 || len(x.took) != 1 {
		t.Errorf("%+v", x.took)
	}
}
