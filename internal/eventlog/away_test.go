package eventlog_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

// refuses waits until a node says that it stores nothing, and checks that it
// keeps to it, and that what it has can be read.
func (g *growing) refuses(name, conv, words string, want int) {
	g.t.Helper()
	log := g.log(name)
	eventually(g.t, name+" says what is wrong", 20*time.Second, func() bool {
		err := log.Health(g.t.Context())
		return fault.Is(err, fault.Unavailable) && strings.Contains(fault.MessageOf(err), words)
	})
	if _, err := log.Append(g.t.Context(), titled(conv, "lonely", nil, 0)); !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
		g.t.Errorf("an append without a majority: %v, want unavailable", err)
	}
	if got := titles(readAll(g.t, log, conv, 0)); len(got) != want {
		g.t.Errorf("%s reads %q, want %d entries", name, got, want)
	}
}

func (g *growing) writes(name, conv, title string) {
	g.t.Helper()
	eventually(g.t, name+" stores again", 30*time.Second, func() bool {
		_, err := g.log(name).Append(g.t.Context(), titled(conv, title, nil, 0))
		return err == nil
	})
}

// majorityGone stops two of three regions, brings one back, and the other
// one when it has missed so much that nobody has it in the form of single steps
// any more, as after a week.
func majorityGone(t *testing.T) {
	g := newGrowing(t)
	three := []eventlog.Node{g.node("a", false), g.node("b", false), g.node("c", false)}
	g.start(three, "a", "b", "c")
	conv := event.NewConversation("a")
	g.writes("a", conv, "before")
	g.whole("c")
	g.close("c")
	g.close("b")
	g.refuses("a", conv, "the log of region a stores nothing since", 1)
	g.start(three, "b")
	g.writes("b", conv, "with two")

	// The steps of a stream are put together after 8 MiB or two minutes.
	const entries, size = 160, 128 << 10
	long := strings.Repeat("a week of talk ", size/15)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range entries / 8 {
				if _, err := g.log("a").Append(t.Context(), titled(conv, long, nil, 0)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	all.Wait()
	want := readAll(t, g.log("a"), conv, 0)
	g.start(three, "c")
	g.held("a", "a", "a", "b", "c")
	g.close("a")
	g.close("b") // what c says now is its own
	got := readAll(t, g.log("c"), conv, 0)
	if len(got) != len(want) {
		t.Fatalf("c has %d entries of %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Seq != want[i].Seq || got[i].Sum != want[i].Sum || got[i].Damaged {
			t.Fatalf("c has another entry at %d", want[i].Seq)
		}
	}
}
