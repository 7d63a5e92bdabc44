package project_test

import (
	"fmt"
	"testing"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/project"
)

var _ project.Log = (*eventlog.Log)(nil)

// TestRealLog copies from the log that the product has, through a restart of
// the projector, with an erased conversation, and builds the same store again.
func TestRealLog(t *testing.T) {
	ctx := t.Context()
	l, err := eventlog.Open(ctx, eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	put := func(conv string, e event.Event) uint64 {
		t.Helper()
		r, err := l.Append(ctx, event.Append{Conversation: conv, Event: e})
		if err != nil {
			t.Fatal(err)
		}
		return r.Seq
	}
	s := openStore(t, t.TempDir())
	p, stop := run(t, project.Options{Log: l, Store: s})
	keep, drop := event.NewConversation("local"), event.NewConversation("local")
	var last uint64
	for i, conv := range []string{keep, drop} {
		put(conv, created("alice"))
		put(conv, said("a1", fmt.Sprint("question ", i), "t1"))
		put(conv, claimed("t1", 1))
		last = put(conv, ended("t1", 1, fmt.Sprint("answer ", i)))
	}
	name := l.StreamOf(keep)
	if err := p.WaitFor(ctx, name, last); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, s, "alice", drop); got != "question 1|answer 1" {
		t.Errorf("activities = %q", got)
	}
	stop()
	last = put(drop, event.Event{Kind: event.KindDeleted})
	if err := l.Forget(ctx, drop, last); err != nil {
		t.Fatal(err)
	}
	put(keep, said("a2", "more", "t2"))
	last = put(keep, titled("A title", false))
	p, stop = run(t, project.Options{Log: l, Store: s})
	if err := p.WaitFor(ctx, name, last); err != nil {
		t.Fatal(err)
	}
	lag, err := p.Lag(ctx)
	if lag[name] != 0 || err != nil {
		t.Errorf("lag = %v, %v", lag, err)
	}
	if err := p.Health(ctx); err != nil {
		t.Errorf("health: %v", err)
	}
	stop()
	again := openStore(t, t.TempDir())
	if got, err := project.Rebuild(ctx, l, again, nil); got.Seq != last || got.Damaged != 0 || err != nil {
		t.Errorf("rebuild = %+v, %v", got, err)
	}
	diff, err := project.Compare(ctx, s, again)
	if diff != nil || err != nil {
		t.Errorf("compare: %v, %v", diff, err)
	}
	if got := texts(t, again, "alice", keep); got != "question 0|answer 0|more" {
		t.Errorf("activities = %q", got)
	}
}
