package project_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/project"
	"github.com/parleyhq/parley/internal/store"
)

// run starts a projector and returns how to stop it.
func run(t *testing.T, opts project.Options) (*project.Projector, func()) {
	t.Helper()
	if opts.Retry == 0 {
		opts.Retry = time.Millisecond
	}
	if opts.Rescan == 0 {
		opts.Rescan = 10 * time.Millisecond
	}
	p, err := project.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return p, stop
}

func waitFor(t *testing.T, p *project.Projector, seq uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("position %d", seq), func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return p.WaitFor(ctx, stream, seq) == nil
	})
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
		time.Sleep(time.Millisecond) // between two looks at a condition
	}
}

func created(owner string) event.Event {
	return event.Event{Kind: event.KindCreated, Created: &event.Created{Owner: owner, Bot: "helper", Channel: "web", Title: "", Hidden: false}}
}

func said(id, text, turn string) event.Event {
	e := event.Event{Kind: event.KindSaid, Said: &event.Said{Activity: &activity.Activity{Type: "message", ID: id, Text: text}}}
	if turn != "" {
		e.Said.Turn = &event.Turn{ID: turn, ReplyTo: id}
	}
	return e
}

func claimed(turn string, attempt int) event.Event {
	return event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: turn, Attempt: attempt, Worker: "w"}}
}

func ended(turn string, attempt int, text string) event.Event {
	e := event.Event{Kind: event.KindEnded, Ended: &event.Ended{
		Turn: turn, Attempt: attempt, State: event.Ok, Finish: lm.FinishStop, Model: "m", Engine: "e", Usage: lm.Usage{Prompt: 3, Completion: 4},
	}}
	if text != "" {
		e.Ended.Activity = &activity.Activity{Type: "message", ID: event.AnswerOf(turn), Text: text}
	}
	return e
}

func titled(title string, auto bool) event.Event {
	return event.Event{Kind: event.KindTitled, Titled: &event.Titled{Title: title, Auto: auto}}
}

func texts(t *testing.T, s store.Store, owner, id string) string {
	t.Helper()
	acts, err := s.Activities(t.Context(), owner, id)
	if err != nil {
		t.Fatalf("activities of %s: %v", id, err)
	}
	var out []string
	for _, a := range acts {
		out = append(out, a.Text)
	}
	return strings.Join(out, "|")
}

// TestStory follows one conversation through its life.
func TestStory(t *testing.T) {
	l, s := newLog(), openStore(t, t.TempDir())
	p, _ := run(t, project.Options{Log: l, Store: s})
	ctx := t.Context()
	at := func(seq uint64) time.Time { return entry("", seq, event.Event{}).Time }
	turn := func() store.TurnRow {
		t.Helper()
		row, err := s.Turn(ctx, "c1", "t1")
		if err != nil {
			t.Fatal(err)
		}
		return row
	}
	waitFor(t, p, l.put("c1", created("alice")))
	got, err := s.Conversation(ctx, "alice", "c1")
	if diff := cmp.Diff(store.Conversation{ID: "c1", Owner: "alice", Bot: "helper", Channel: "web", Created: at(1), Updated: at(1)}, got); diff != "" || err != nil {
		t.Errorf("created: %v %s", err, diff)
	}
	waitFor(t, p, l.put("c1", said("a1", "hello", "t1")))
	want := store.TurnRow{Conversation: "c1", ID: "t1", Seq: 2, ReplyTo: "a1", State: event.Queued, Updated: at(2)}
	if diff := cmp.Diff(want, turn()); diff != "" {
		t.Errorf("queued: %s", diff)
	}
	waitFor(t, p, l.put("c1", claimed("t1", 1)))
	want.State, want.Attempt, want.Claim, want.Updated = event.Running, 1, 3, at(3)
	if diff := cmp.Diff(want, turn()); diff != "" {
		t.Errorf("running: %s", diff)
	}
	l.put("c1", event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t1", Attempt: 1, Text: "hi"}})
	waitFor(t, p, l.put("c1", event.Event{Kind: event.KindStop, Stop: &event.Stop{Turn: "t1"}}))
	waitFor(t, p, l.put("c1", titled("Greeting", true)))
	waitFor(t, p, l.put("c1", ended("t1", 1, "hi there")))
	want.State, want.Finish, want.Model, want.Engine, want.Updated = event.Ok, lm.FinishStop, "m", "e", at(7)
	want.Usage = lm.Usage{Prompt: 3, Completion: 4}
	if diff := cmp.Diff(want, turn()); diff != "" {
		t.Errorf("ended: %s", diff)
	}
	got, err = s.Conversation(ctx, "alice", "c1")
	if err != nil || got.Title != "Greeting" || !got.Updated.Equal(at(7)) || texts(t, s, "alice", "c1") != "hello|hi there" {
		t.Errorf("after the answer: %+v, %v, %s", got, err, texts(t, s, "alice", "c1"))
	}
	lag, err := p.Lag(ctx)
	if diff := cmp.Diff(map[string]uint64{stream: 0}, lag); diff != "" || err != nil {
		t.Errorf("lag: %v %s", err, diff)
	}
	waitFor(t, p, l.put("c1", event.Event{Kind: event.KindDeleted}))
	if _, err := s.Conversation(ctx, "alice", "c1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("after delete: %v", err)
	}
	if err := p.Health(ctx); err != nil {
		t.Errorf("health: %v", err)
	}
}

// TestFencing: what counts of claims and ends that come in odd orders.
func TestFencing(t *testing.T) {
	failed := event.Event{Kind: event.KindEnded, Ended: &event.Ended{Turn: "t1", Attempt: 1, State: event.Failed, Code: fault.Timeout, Error: "slow"}}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   string // activities
		state  event.State
		try    int
	}{
		{"normal", []event.Event{claimed("t1", 1), ended("t1", 1, "x")}, "q|x", event.Ok, 1},
		{"without an answer", []event.Event{claimed("t1", 1), failed}, "q", event.Failed, 1},
		{"never claimed", []event.Event{ended("t1", 1, "x")}, "q", event.Queued, 0},
		{"attempt 0", []event.Event{ended("t1", 0, "x")}, "q", event.Queued, 0},
		{"an older attempt", []event.Event{claimed("t1", 1), claimed("t1", 2), ended("t1", 1, "x")}, "q", event.Running, 2},
		{"an older attempt, then the right one", []event.Event{claimed("t1", 1), claimed("t1", 2), ended("t1", 1, "x"), ended("t1", 2, "y")}, "q|y", event.Ok, 2},
		{"a later attempt than claimed", []event.Event{claimed("t1", 1), ended("t1", 2, "x")}, "q", event.Running, 1},
		{"twice", []event.Event{claimed("t1", 1), ended("t1", 1, "x"), ended("t1", 1, "y")}, "q|x", event.Ok, 1},
		{"claimed after the end", []event.Event{claimed("t1", 1), ended("t1", 1, "x"), claimed("t1", 2), ended("t1", 2, "y")}, "q|x", event.Ok, 1},
		{"claims going down", []event.Event{claimed("t1", 2), claimed("t1", 1), ended("t1", 2, "x")}, "q|x", event.Ok, 2},
		{"another turn claimed since", []event.Event{said("a2", "p", "t2"), claimed("t1", 1), claimed("t2", 1), ended("t1", 1, "x")}, "q|p", event.Running, 1},
		{"claimed again since", []event.Event{said("a2", "p", "t2"), claimed("t1", 1), claimed("t2", 1), claimed("t1", 2), ended("t1", 2, "x")}, "q|p|x", event.Ok, 2},
		{"asked twice", []event.Event{claimed("t1", 1), said("a1", "q again", "t1"), ended("t1", 1, "x")}, "q|x", event.Ok, 1},
		{"an end that is none", []event.Event{claimed("t1", 1), {Kind: event.KindEnded, Ended: &event.Ended{Turn: "t1", Attempt: 1, State: event.Running}}}, "q", event.Running, 1},
		{"an unknown turn", []event.Event{claimed("t9", 1), ended("t9", 1, "x"), claimed("t1", 1), ended("t1", 1, "y")}, "q|y", event.Ok, 1},
	} {
		for _, batch := range []int{1, 100} {
			l, s := newLog(), openStore(t, t.TempDir())
			l.put("c1", created("alice"))
			last := l.put("c1", said("a1", "q", "t1"))
			for _, e := range c.events {
				last = l.put("c1", e)
			}
			l.batch = func() int { return batch }
			p, stop := run(t, project.Options{Log: l, Store: s, Batch: batch})
			waitFor(t, p, last)
			stop()
			row, err := s.Turn(t.Context(), "c1", "t1")
			if got := texts(t, s, "alice", "c1"); got != c.want || row.State != c.state || row.Attempt != c.try || err != nil {
				t.Errorf("%s (batch %d): %q, %s, attempt %d, %v; want %q, %s, %d", c.name, batch, got, row.State, row.Attempt, err, c.want, c.state, c.try)
			}
		}
	}
}

// TestErasedEnd: nobody waits for entries that were erased before they came.
func TestErasedEnd(t *testing.T) {
	l, s := newLog(), openStore(t, t.TempDir())
	l.put("c1", created("alice"))
	l.last = 7
	p, stop := run(t, project.Options{Log: endedLog{l}, Store: s})
	waitFor(t, p, 7)
	stop()
	// What stood there is not known, so whatever comes next is believed.
	l.entries = append(l.entries, entry("c1", 8, said("a1", "x", "")))
	l.last = 8
	p, stop = run(t, project.Options{Log: endedLog{l}, Store: s})
	waitFor(t, p, 8)
	stop()
	if got := texts(t, s, "alice", "c1"); got != "x" {
		t.Errorf("activities = %q", got)
	}
}

// TestBegunAnew: in the batch that deletes a conversation, what the store says
// of its turns no longer holds.
func TestBegunAnew(t *testing.T) {
	l, s := newLog(), openStore(t, t.TempDir())
	l.put("c1", created("alice"))
	l.put("c1", said("a1", "old", "t1"))
	p, stop := run(t, project.Options{Log: l, Store: s})
	waitFor(t, p, l.put("c1", claimed("t1", 1)))
	stop()
	l.put("c1", event.Event{Kind: event.KindDeleted})
	l.put("c1", created("bob"))
	l.put("c1", said("a2", "new", "t1"))
	l.put("c1", ended("t1", 1, "an end of the old turn"))
	last := l.put("c1", ended("t1", 0, "an end without a claim"))
	p, stop = run(t, project.Options{Log: l, Store: s})
	waitFor(t, p, last)
	stop()
	row, err := s.Turn(t.Context(), "c1", "t1")
	if got := texts(t, s, "bob", "c1"); got != "new" || row.State != event.Queued || row.Claim != 0 || err != nil {
		t.Errorf("begun anew: %q, %+v, %v", got, row, err)
	}
}

// TestGhostsAndDamage: entries that can't be trusted or belong to nobody are
// left out, counted and reported once; the rest goes on.
func TestGhostsAndDamage(t *testing.T) {
	l, s := newLog(), openStore(t, t.TempDir())
	l.put("lost", created("alice"))
	l.entries[0].Damaged, l.entries[0].Event = true, event.Event{}
	l.put("lost", said("a1", "nobody's", "t1"))
	l.put("c1", created("alice"))
	l.put("c1", said("a1", "damaged", ""))
	l.entries[3].Damaged = true // its event looks right and must not be used
	l.put("lost", claimed("t1", 1))
	l.put("lost", ended("t1", 1, "nobody's answer"))
	last := l.put("c1", said("a2", "fine", ""))
	var reported []uint64
	var out bytes.Buffer
	p, stop := run(t, project.Options{
		Log: l, Store: s, OnDamage: func(name string, e event.Entry) { reported = append(reported, e.Seq) },
		Logger: slog.New(slog.NewTextHandler(&out, nil)),
	})
	waitFor(t, p, last)
	eventually(t, "reports", func() bool { return p.Status()[0].Damaged == 2 })
	want := []project.Status{{Stream: stream, Position: last, State: project.Following, Damaged: 2, Ghosts: 3}}
	if diff := cmp.Diff(want, p.Status()); diff != "" {
		t.Errorf("status: %s", diff)
	}
	if err := p.Health(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "2 entries") {
		t.Errorf("health: %v", err)
	}
	stop()
	if diff := cmp.Diff([]uint64{1, 4}, reported); diff != "" || strings.Count(out.String(), "damaged entry") != 2 {
		t.Errorf("reported: %s\n%s", diff, out.String())
	}
	if got := texts(t, s, "alice", "c1"); got != "fine" {
		t.Errorf("activities = %q", got)
	}
	if known, err := s.Known(t.Context(), "lost"); known || err != nil {
		t.Errorf("a conversation without a beginning has a row: %v", err)
	}
	if open, err := s.OpenTurns(t.Context()); len(open) != 0 || err != nil {
		t.Errorf("a ghost's turn: %v, %v", open, err)
	}
}

// TestPositionMovesOverNothing: pieces of answers change nothing, but the
// position passes them.
func TestPositionMovesOverNothing(t *testing.T) {
	l, s := newLog(), openStore(t, t.TempDir())
	p, _ := run(t, project.Options{Log: l, Store: s, Batch: 10, Every: time.Millisecond})
	var last uint64
	for range 25 {
		last = l.put("c1", event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t", Text: "x"}})
	}
	waitFor(t, p, last)
	pos, err := s.Position(t.Context(), stream)
	if pos != (store.Position{Seq: last, Sum: l.entries[last-1].Sum}) || err != nil {
		t.Errorf("position = %v, %v", pos, err)
	}
}

func TestFullDisk(t *testing.T) {
	l, s := newLog(), openStore(t, t.TempDir())
	var mu sync.Mutex
	full := true
	var out bytes.Buffer
	f := &faultyStore{Store: s, after: func() error { return nil }, before: func() error {
		mu.Lock()
		defer mu.Unlock()
		if full {
			return fault.New(fault.StorageFull, "no room")
		}
		return nil
	}}
	p, stop := run(t, project.Options{Log: l, Store: f, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	l.put("c1", created("alice"))
	last := l.put("c1", said("a1", "x", ""))
	eventually(t, "trouble", func() bool { return fault.Is(p.Health(t.Context()), fault.StorageFull) })
	if err := p.WaitFor(t.Context(), stream, last); !fault.Is(err, fault.StorageFull) {
		t.Errorf("WaitFor on a full disk = %v, want the reason at once", err)
	}
	if st := p.Status(); len(st) != 1 || st[0].State != project.Full {
		t.Errorf("status = %+v", st)
	}
	mu.Lock()
	full = false
	mu.Unlock()
	waitFor(t, p, last)
	if err := p.Health(t.Context()); err != nil {
		t.Errorf("health after room was made: %v", err)
	}
	stop()
	if got := out.String(); strings.Count(got, "not being written") != 1 || strings.Count(got, "written again") != 1 {
		t.Errorf("said more or less than once:\n%s", got)
	}
	if got := texts(t, s, "alice", "c1"); got != "x" {
		t.Errorf("activities = %q", got)
	}
}

// TestOtherLog: a log that is not the one that was copied is refused, loudly,
// and nothing is written from it.
func TestOtherLog(t *testing.T) {
	for _, c := range []struct {
		name  string
		log   func(old []event.Entry) []event.Entry
		state project.State
	}{
		{"cut", func(old []event.Entry) []event.Entry { return old[:2] }, project.Ahead},
		{"empty", func([]event.Entry) []event.Entry { return nil }, project.Ahead},
		{"cut and written again", func(old []event.Entry) []event.Entry {
			return append(append([]event.Entry{}, old[:2]...), entry("c1", 3, said("a8", "other", "")), entry("c1", 4, said("a9", "other too", "")))
		}, project.Foreign},
	} {
		l, s := newLog(), openStore(t, t.TempDir())
		l.put("c1", created("alice"))
		l.put("c1", said("a1", "one", ""))
		last := l.put("c1", said("a2", "two", ""))
		p, stop := run(t, project.Options{Log: l, Store: s})
		waitFor(t, p, last)
		stop()
		var out bytes.Buffer
		other := newLog(c.log(l.entries)...)
		p, stop = run(t, project.Options{Log: other, Store: s, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		eventually(t, c.name, func() bool { st := p.Status(); return len(st) == 1 && st[0].State == c.state })
		if err := p.WaitFor(t.Context(), stream, 100); !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.MessageOf(err), "rebuild") {
			t.Errorf("%s: WaitFor = %v", c.name, err)
		}
		if err := p.Health(t.Context()); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: health = %v", c.name, err)
		}
		stop()
		if got := texts(t, s, "alice", "c1"); got != "one|two" || strings.Count(out.String(), "not being written") != 1 {
			t.Errorf("%s: activities = %q\n%s", c.name, got, out.String())
		}
		// The right log is taken up again.
		p, stop = run(t, project.Options{Log: l, Store: s})
		waitFor(t, p, l.put("c1", said("a3", "three", "")))
		stop()
		if got := texts(t, s, "alice", "c1"); got != "one|two|three" {
			t.Errorf("%s: with the right log again: %q", c.name, got)
		}
	}
}

// TestErasedPosition: the entry at the position may have been erased since;
// that is no other log.
func TestErasedPosition(t *testing.T) {
	l, s := newLog(), openStore(t, t.TempDir())
	l.put("c1", created("alice"))
	p, stop := run(t, project.Options{Log: l, Store: s})
	waitFor(t, p, l.put("c2", created("alice")))
	stop()
	l.put("c2", event.Event{Kind: event.KindDeleted})
	last := l.put("c1", said("a1", "x", ""))
	l.entries = append(l.entries[:1:1], l.entries[2:]...)
	p, stop = run(t, project.Options{Log: l, Store: s})
	waitFor(t, p, last)
	stop()
	if got := texts(t, s, "alice", "c1"); got != "x" {
		t.Errorf("activities = %q", got)
	}
}

// TestHistories: random histories, copied with crashes between and in the
// middle of batches, are what a rebuild makes of them in one go.
func TestHistories(t *testing.T) {
	for seed := range uint64(5) {
		histories(t, seed, 120)
	}
}

func FuzzHistories(f *testing.F) {
	f.Add(uint64(99), 40)
	f.Fuzz(func(t *testing.T, seed uint64, n int) {
		histories(t, seed, min(max(n, 1), 200))
	})
}

func histories(t *testing.T, seed uint64, n int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	entries := history(rng, n)
	last := entries[len(entries)-1].Seq
	whole := openStore(t, t.TempDir())
	if _, err := project.Rebuild(t.Context(), newLog(entries...), whole, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var mu sync.Mutex // guards rng from here on
	roll := func(n int) bool { mu.Lock(); defer mu.Unlock(); return rng.IntN(n) == 0 }
	crash := errors.New("power cut")
	for attempt := 0; ; attempt++ {
		s := openStore(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		die := func() error { // the process is gone: nothing it does later counts
			if attempt < 200 && roll(6) {
				cancel()
				return crash
			}
			return nil
		}
		fs := &faultyStore{Store: s, before: die, after: die}
		l := newLog(entries...)
		l.batch = func() int { mu.Lock(); defer mu.Unlock(); return 1 + rng.IntN(12) }
		l.fail = func(string) error {
			if roll(15) {
				return fault.New(fault.Unavailable, "log hiccup")
			}
			return nil
		}
		p, err := project.New(project.Options{Log: l, Store: fs, Batch: 1 + attempt%7, Every: time.Millisecond, Retry: 100 * time.Microsecond, Rescan: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = p.Run(ctx) })
		for ctx.Err() == nil && !errors.Is(p.WaitFor(ctx, stream, last), context.Canceled) {
			if st := p.Status(); len(st) == 1 && st[0].Position == last {
				break
			}
		}
		done := ctx.Err() == nil
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if done {
			break
		}
	}
	parts := openStore(t, dir)
	diff, err := project.Compare(t.Context(), whole, parts)
	if diff != nil || err != nil {
		t.Fatalf("seed %d: crashes made a difference: %v, %v", seed, diff, err)
	}
}

func TestRebuild(t *testing.T) {
	ctx := t.Context()
	entries := history(rand.New(rand.NewPCG(5, 5)), 1500)
	a := openStore(t, t.TempDir())
	var steps []project.Progress
	got, err := project.Rebuild(ctx, newLog(entries...), a, func(p project.Progress) { steps = append(steps, p) })
	last := entries[len(entries)-1].Seq
	if err != nil || got.Seq != last || got.Last != last || got.Entries != 1500 || got.Damaged == 0 || len(steps) < 2 || steps[len(steps)-1] != got {
		t.Errorf("rebuild = %+v, %v, %d steps", got, err, len(steps))
	}
	if _, err := project.Rebuild(ctx, newLog(entries...), a, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("rebuild into a store that is not empty: %v", err)
	}
	b := openStore(t, t.TempDir())
	if _, err := project.Rebuild(ctx, newLog(entries[:1400]...), b, nil); err != nil {
		t.Fatal(err)
	}
	diff, err := project.Compare(ctx, a, b)
	if diff == nil || err != nil || diff.A == diff.B || diff.Line == 0 {
		t.Errorf("compare = %v, %v", diff, err)
	}
	empty := openStore(t, t.TempDir())
	for _, pair := range [][2]store.Store{{a, empty}, {empty, a}} {
		if diff, err := project.Compare(ctx, pair[0], pair[1]); diff == nil || diff.Line != 1 || err != nil {
			t.Errorf("compare with an empty store = %v, %v", diff, err)
		}
	}
	for _, s := range []store.Store{a, empty} {
		if diff, err := project.Compare(ctx, s, s); diff != nil || err != nil {
			t.Errorf("compare with itself = %v, %v", diff, err)
		}
	}
	if _, err := project.Rebuild(ctx, newLog(), empty, nil); err != nil {
		t.Errorf("rebuild from an empty log: %v", err)
	}
	// Up to what Last said, whatever came since; and past what was erased.
	short, shorter := openStore(t, t.TempDir()), openStore(t, t.TempDir())
	growing := newLog(entries...)
	growing.last = entries[700].Seq
	erased := newLog(entries[:701]...)
	erased.last = entries[700].Seq + 5
	if got, err := project.Rebuild(ctx, growing, short, nil); got.Entries != 701 || got.Missing != 0 || err != nil {
		t.Errorf("rebuild of a growing log = %+v, %v", got, err)
	}
	if got, err := project.Rebuild(ctx, endedLog{erased}, shorter, nil); got.Missing != 5 || got.Seq != erased.last || err != nil {
		t.Errorf("rebuild of a log without its last entries = %+v, %v", got, err)
	}
	if diff, err := project.Compare(ctx, short, shorter); diff != nil || err != nil {
		t.Errorf("compare = %v, %v", diff, err)
	}
	broken := newLog(entries...)
	n := 0
	broken.fail = func(method string) error {
		if n++; n > 4 {
			return fault.New(fault.Unavailable, "log gone")
		}
		return nil
	}
	if _, err := project.Rebuild(ctx, broken, empty, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("rebuild from a log that fails: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := project.Compare(cancelled, a, b); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled compare: %v", err)
	}
}
