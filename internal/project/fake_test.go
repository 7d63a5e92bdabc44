package project_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/store"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

const stream = "CONV_local_0"

// fakeLog is a log in memory.
type fakeLog struct {
	mu      sync.Mutex // guards all
	entries []event.Entry
	changed chan struct{}
	last    uint64                    // if not 0, what Last says
	batch   func() int                // entries of the next batch; nil = 256
	fail    func(method string) error // asked before each call and each batch; nil = never
}

func newLog(entries ...event.Entry) *fakeLog {
	return &fakeLog{entries: entries, changed: make(chan struct{})}
}

// put appends an event as the log would store it.
func (l *fakeLog) put(conversation string, e event.Event) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := uint64(1)
	if n := len(l.entries); n > 0 {
		seq = l.entries[n-1].Seq + 1
	}
	l.entries = append(l.entries, entry(conversation, seq, e))
	close(l.changed)
	l.changed = make(chan struct{})
	return seq
}

func entry(conversation string, seq uint64, e event.Event) event.Entry {
	b, err := event.Encode(e)
	if err != nil {
		panic(err)
	}
	h := fnv.New64a()
	h.Write(binary.BigEndian.AppendUint64([]byte(conversation), seq))
	h.Write(b)
	return event.Entry{Conversation: conversation, Seq: seq, Time: time.Unix(1_800_000_000+int64(seq), 123).UTC(), Event: e, Sum: h.Sum64()}
}

func (l *fakeLog) trouble(method string) error {
	if l.fail == nil {
		return nil
	}
	return l.fail(method)
}

func (l *fakeLog) Streams(context.Context) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []string{stream}, l.trouble("streams")
}

func (l *fakeLog) Last(_ context.Context, name string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.trouble("last"); err != nil {
		return 0, err
	}
	if name != stream {
		return 0, fault.New(fault.NotFound, "no stream %s", name)
	}
	if l.last != 0 || len(l.entries) == 0 {
		return l.last, nil
	}
	return l.entries[len(l.entries)-1].Seq, nil
}

func (l *fakeLog) Follow(ctx context.Context, _ string, after uint64, each func([]event.Entry) error) error {
	buffer := make([]event.Entry, 0, 256)
	for {
		l.mu.Lock()
		size, changed := 256, l.changed
		if l.batch != nil {
			size = l.batch()
		}
		buffer = buffer[:0]
		for _, e := range l.entries {
			if e.Seq > after && len(buffer) < size {
				buffer = append(buffer, e)
			}
		}
		err := l.trouble("follow")
		l.mu.Unlock()
		if err != nil {
			return err
		}
		if len(buffer) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			continue
		}
		after = buffer[len(buffer)-1].Seq
		if err := each(buffer); err != nil {
			return err
		}
		clear(buffer) // the log uses the memory again
	}
}

// endedLog is a log that knows where its entries end.
type endedLog struct{ *fakeLog }

func (l endedLog) Nothing(_ context.Context, _ string, after uint64) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries) == 0 || l.entries[len(l.entries)-1].Seq <= after, nil
}

// faultyStore fails when told to, before or after the real thing.
type faultyStore struct {
	store.Store
	before, after func() error
}

func (s *faultyStore) Apply(ctx context.Context, stream string, upTo store.Position, changes []store.Change) error {
	if err := s.before(); err != nil {
		return err
	}
	if err := s.Store.Apply(ctx, stream, upTo, changes); err != nil {
		return err
	}
	return s.after()
}

func openStore(t testing.TB, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// history makes a random history: mostly sensible, with everything that can go
// wrong in between: late ends, second claims, ghosts, damage, repeats.
func history(rng *rand.Rand, n int) []event.Entry {
	var out []event.Entry
	seq := uint64(0)
	for i := range n {
		seq += 1 + uint64(rng.IntN(3))
		conv := fmt.Sprintf("local-%d", rng.IntN(4))
		turn := fmt.Sprintf("t%d", rng.IntN(4))
		attempt := 1 + rng.IntN(2)
		message := func(id string) *activity.Activity {
			return &activity.Activity{Type: "message", ID: id, Text: fmt.Sprintf("text %d of %s", i, conv)}
		}
		var e event.Event
		switch rng.IntN(14) {
		case 0, 1:
			e = event.Event{Kind: event.KindCreated, Created: &event.Created{Owner: fmt.Sprintf("u%d", rng.IntN(2)), Bot: "b", Channel: "web", Hidden: rng.IntN(9) == 0}}
		case 2, 3, 4:
			e = event.Event{Kind: event.KindSaid, Said: &event.Said{Activity: message(fmt.Sprintf("a%d", rng.IntN(20))), Turn: &event.Turn{ID: turn, ReplyTo: "a"}}}
		case 5:
			e = event.Event{Kind: event.KindSaid, Said: &event.Said{Turn: &event.Turn{ID: turn, ReplyTo: "r"}}}
		case 6, 7:
			e = event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: turn, Attempt: attempt, Worker: "w", Region: "local"}}
		case 8, 9:
			e = event.Event{Kind: event.KindEnded, Ended: &event.Ended{
				Turn: turn, Attempt: attempt, State: event.Ok, Activity: message("b" + turn), Finish: lm.FinishStop, Usage: lm.Usage{Prompt: i},
			}}
		case 10:
			e = event.Event{Kind: event.KindTitled, Titled: &event.Titled{Title: fmt.Sprint("title ", i), Auto: rng.IntN(2) == 0}}
		case 11:
			if rng.IntN(3) == 0 {
				e = event.Event{Kind: event.KindDeleted}
				break
			}
			e = event.Event{Kind: event.KindStop, Stop: &event.Stop{Turn: turn}}
		default:
			e = event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: turn, Attempt: attempt, Text: "piece"}}
		}
		en := entry(conv, seq, e)
		if rng.IntN(30) == 0 {
			en.Damaged, en.Event = true, event.Event{}
		}
		out = append(out, en)
	}
	return out
}
