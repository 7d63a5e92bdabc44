package eventlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

func open(t *testing.T, opts eventlog.Options) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func titled(conversation, title string, expect *uint64, prev uint64) event.Append {
	return event.Append{
		Conversation: conversation, Prev: prev, Expect: expect,
		Event: event.Event{Kind: event.KindTitled, Titled: &event.Titled{Title: title}},
	}
}

// readAll asks again for as long as the log says "try again": a replica that
// was cut off is behind for a moment.
func readAll(t *testing.T, l *eventlog.Log, conversation string, after uint64) []event.Entry {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var got []event.Entry
		err := l.Read(t.Context(), conversation, after, func(e event.Entry) error { got = append(got, e); return nil })
		if err == nil {
			return got
		}
		if !fault.Is(err, fault.Unavailable) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func titles(entries []event.Entry) []string {
	var out []string
	for _, e := range entries {
		if e.Event.Titled != nil {
			out = append(out, e.Event.Titled.Title)
		}
	}
	return out
}

func TestAppendReadReopen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir, MemoryOnly: true})
	a, b := event.NewConversation("local"), event.NewConversation("local")
	var prev uint64
	want := make([]string, 0, 1200)
	for i := range 1200 { // more than one read batch
		conv := a
		if i%3 == 0 {
			conv = b
		}
		title := strings.Repeat("x", i%7) + "t"
		if conv == a {
			want = append(want, title)
		}
		r, err := l.Append(t.Context(), titled(conv, title, nil, prev))
		if err != nil {
			t.Fatal(err)
		}
		prev = r.Sum
	}
	if diff := cmp.Diff(want, titles(readAll(t, l, a, 0))); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	all := readAll(t, l, a, 0)
	if got := readAll(t, l, a, all[399].Seq); len(got) != len(all)-400 || got[0].Seq != all[400].Seq {
		t.Errorf("read after %d: %d entries, want %d", all[399].Seq, len(got), len(all)-400)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, eventlog.Options{Dir: dir, MemoryOnly: true})
	if diff := cmp.Diff(all, readAll(t, l, a, 0)); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
	if got := readAll(t, l, event.NewConversation("local"), 0); len(got) != 0 {
		t.Errorf("an unknown conversation has %d entries", len(got))
	}
}

func TestGuards(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir()})
	conv := event.NewConversation("local")
	zero := uint64(0)
	first, err := l.Append(t.Context(), titled(conv, "one", &zero, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), titled(conv, "rival", &zero, 0)); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second first entry: got %v, want conflict", err)
	}
	if _, err := l.Append(t.Context(), titled(conv, "two", &first.Seq, first.Sum)); err != nil {
		t.Errorf("expected sequence holds: %v", err)
	}
	claim := func(n int, expect uint64) (event.Receipt, error) {
		return l.Append(t.Context(), event.Append{
			Conversation: conv, Expect: &expect,
			Event: event.Event{Kind: event.KindClaimed, Claimed: &event.Claimed{Turn: "t", Attempt: n}},
		})
	}
	c1, err := claim(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended := func(c event.Receipt) error {
		_, err := l.Append(t.Context(), event.Append{
			Conversation: conv, Expect: &c.Seq, ExpectClass: event.Claim,
			Event: event.Event{Kind: event.KindEnded, Ended: &event.Ended{Turn: "t", State: event.Ok}},
		})
		return err
	}
	c2, err := claim(2, c1.Seq)
	if err != nil {
		t.Fatal(err)
	}
	if err := ended(c1); !fault.Is(err, fault.Conflict) {
		t.Errorf("end of a claim that was overtaken: got %v, want conflict", err)
	}
	if err := ended(c2); err != nil {
		t.Errorf("end of the newest claim: %v", err)
	}
	if _, err := l.Append(t.Context(), titled("not an id", "x", nil, 0)); !fault.Is(err, fault.NotFound) {
		t.Errorf("a foreign id: got %v, want not_found", err)
	}
}

func TestAsyncKeepsOrderAndFollowSeesAll(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	conv := event.NewConversation("local")
	const n = 2000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan int, n)
	go func() {
		_ = l.Follow(ctx, l.StreamOf(conv), 0, func(batch []event.Entry) error {
			for _, e := range batch {
				got <- e.Event.Delta.Offset
			}
			return nil
		})
	}()
	waits := make([]func(context.Context) (event.Receipt, error), 0, n)
	for i := range n {
		_, wait, err := l.AppendAsync(event.Append{Conversation: conv, Event: event.Event{Kind: event.KindDelta, Delta: &event.Delta{Turn: "t", Offset: i}}})
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		if _, err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		select {
		case offset := <-got:
			if offset != i {
				t.Fatalf("entry %d has offset %d", i, offset)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("only %d of %d entries arrived", i, n)
		}
	}
}

func TestLeaseComesBackAfterCrash(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir(), Lease: 300 * time.Millisecond})
	conv := event.NewConversation("local")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leases := make(chan event.Lease, 10)
	go func() { _ = l.Leases(ctx, "local", 100, func(x event.Lease) { leases <- x }) }()
	r, err := l.Append(t.Context(), titled(conv, "work", nil, 0))
	if err != nil {
		t.Fatal(err)
	}
	next := func() event.Lease {
		t.Helper()
		select {
		case x := <-leases:
			return x
		case <-time.After(10 * time.Second):
			t.Fatal("no lease")
			return event.Lease{}
		}
	}
	first := next()
	if first.Entry.Seq != r.Seq {
		t.Fatalf("lease of entry %d, want %d", first.Entry.Seq, r.Seq)
	}
	second := next() // nobody extended the first
	if second.Entry.Seq != r.Seq {
		t.Fatalf("second lease of entry %d, want %d", second.Entry.Seq, r.Seq)
	}
	if err := second.Release(10 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := next().Ack(); err != nil {
		t.Fatal(err)
	}
	select {
	case x := <-leases:
		t.Errorf("entry %d came again after the acknowledgement", x.Entry.Seq)
	case <-time.After(800 * time.Millisecond):
	}
}

func TestForgetErasesBytes(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir})
	conv, other := event.NewConversation("local"), event.NewConversation("local")
	const secret = "the-marker-nobody-may-find"
	for range 20 {
		if _, err := l.Append(t.Context(), titled(conv, secret, nil, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Append(t.Context(), titled(other, "kept", nil, 0)); err != nil {
		t.Fatal(err)
	}
	if !onDisk(t, dir, secret) {
		t.Fatal("the marker is not on the disk before: this test proves nothing")
	}
	r, err := l.Append(t.Context(), event.Append{Conversation: conv, Event: event.Event{Kind: event.KindDeleted}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Forget(t.Context(), conv, r.Seq); err != nil {
		t.Fatal(err)
	}
	if none, err := l.Nothing(t.Context(), l.StreamOf(conv), r.Seq); err != nil || !none {
		t.Errorf("nothing after the last entry: %v %v", none, err)
	}
	if none, err := l.Nothing(t.Context(), l.StreamOf(conv), 1); err != nil || none {
		t.Errorf("nothing after the erased entries: %v %v", none, err)
	}
	if got := readAll(t, l, conv, 0); len(got) != 1 || got[0].Event.Kind != event.KindDeleted {
		t.Errorf("left of the conversation: %v", got)
	}
	if diff := cmp.Diff([]string{"kept"}, titles(readAll(t, l, other, 0))); diff != "" {
		t.Errorf("the other conversation (-want +got):\n%s", diff)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if onDisk(t, dir, secret) {
		t.Error("the deleted text is still on the disk")
	}
}

func onDisk(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(text)) {
			found = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDamageIsNoticed(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir})
	conv := event.NewConversation("local")
	for _, s := range []string{"first", "flip-me", "third"} {
		if _, err := l.Append(t.Context(), titled(conv, s, nil, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "CONV_local_0", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no block files: %v %v", blocks, err)
	}
	b, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte("flip-me"))
	if i < 0 {
		t.Fatal("the text is not in the block")
	}
	b[i] ^= 1
	if err := os.WriteFile(blocks[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, eventlog.Options{Dir: dir})
	if diff := cmp.Diff([]string{"first", "flip-me", "third"}, titles(readAll(t, l, conv, 0))); diff != "" {
		t.Errorf("put back from the second copy (-want +got):\n%s", diff)
	}
	if i := l.Integrity(); i.Damaged != 1 || i.Restored != 1 {
		t.Errorf("noticed: %+v", i)
	}
}

// TestLostStreamComesBack: the second copy alone is enough, without the
// stream's description too.
func TestLostStreamComesBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir})
	conv := event.NewConversation("local")
	for _, s := range []string{"one", "two"} {
		if _, err := l.Append(t.Context(), titled(conv, s, nil, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	l = open(t, eventlog.Options{Dir: dir})
	if diff := cmp.Diff([]string{"one", "two"}, titles(readAll(t, l, conv, 0))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r, err := l.Append(t.Context(), titled(conv, "three", nil, 0)); err != nil || r.Seq != 3 {
		t.Errorf("the next entry: %+v, %v", r, err)
	}
}

func TestLostStreamIsNotMadeAnew(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir})
	if _, err := l.Append(t.Context(), titled(event.NewConversation("local"), "x", nil, 0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"jetstream", eventlog.TwinDir} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := eventlog.Open(t.Context(), eventlog.Options{Dir: dir})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "was here before and is gone") {
		t.Errorf("got %v, want a clear refusal", err)
	}
}

func TestReserveRefusesWritesOnly(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir(), Reserve: 1 << 60})
	_, err := l.Append(t.Context(), titled(event.NewConversation("local"), "x", nil, 0))
	if !fault.Is(err, fault.StorageFull) {
		t.Errorf("append: got %v, want storage_full", err)
	}
	if err := l.Health(t.Context()); !fault.Is(err, fault.StorageFull) {
		t.Errorf("health: got %v, want storage_full", err)
	}
	if _, err := l.Last(t.Context(), "CONV_local_0"); err != nil {
		t.Errorf("reading: %v", err)
	}
}

func TestValues(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir()})
	if _, err := l.Get(t.Context(), "k"); !fault.Is(err, fault.NotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if err := l.Create(t.Context(), "k", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := l.Create(t.Context(), "k", []byte("two")); !fault.Is(err, fault.Conflict) {
		t.Errorf("second create: %v", err)
	}
	got, err := l.Get(t.Context(), "k")
	if err != nil || string(got) != "one" {
		t.Errorf("get: %q %v", got, err)
	}
	if _, err := l.Get(t.Context(), "other"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("get of another key: %v", err)
	}
	replaced(t, l, l)
}

// replaced writes a value by one node that another one read, and removes it.
func replaced(t *testing.T, l, other *eventlog.Log) {
	t.Helper()
	ctx := t.Context()
	if err := l.Create(ctx, "shared", []byte("one")); err != nil {
		t.Fatal(err)
	}
	_, first, err := other.Load(ctx, "shared")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Replace(ctx, "shared", []byte("two"), first); err != nil {
		t.Fatal(err)
	}
	if err := l.Replace(ctx, "shared", []byte("three"), first); !fault.Is(err, fault.Conflict) {
		t.Errorf("replacing an old revision: %v", err)
	}
	if got, second, err := l.Load(ctx, "shared"); err != nil || string(got) != "two" || second <= first {
		t.Errorf("load: %q at %d after %d, %v", got, second, first, err)
	}
	for range 2 {
		if err := l.Remove(ctx, "shared"); err != nil {
			t.Errorf("remove: %v", err)
		}
		if got, _, err := other.Load(ctx, "shared"); !fault.Is(err, fault.NotFound) {
			t.Errorf("load of what was removed: %q %v", got, err)
		}
	}
	if err := other.Create(ctx, "shared", []byte("anew")); err != nil {
		t.Errorf("create anew: %v", err)
	}
	if got, err := l.Get(ctx, "shared"); err != nil || string(got) != "anew" {
		t.Errorf("get: %q %v", got, err)
	}
}

// contended writes values by both nodes at once: one of them is first, and the
// other one reads what that one wrote as soon as it is refused.
func contended(t *testing.T, nodes ...*eventlog.Log) {
	t.Helper()
	for i := range 30 {
		key := fmt.Sprintf("contended.%d", i)
		var (
			wg    sync.WaitGroup
			wrote atomic.Int32
			got   = make([]string, len(nodes))
		)
		for n, l := range nodes {
			wg.Go(func() {
				err := l.Create(t.Context(), key, fmt.Append(nil, n))
				if err == nil {
					wrote.Add(1)
				} else if !fault.Is(err, fault.Conflict) {
					t.Errorf("create: %v", err)
				}
				value, err := l.Get(t.Context(), key)
				if err != nil {
					t.Errorf("%s, to node %d which was first or refused: %v", key, n, err)
				}
				got[n] = string(value)
			})
		}
		wg.Wait()
		if n := wrote.Load(); n != 1 || got[0] != got[1] {
			t.Errorf("%s: %d were the first; the values are %q", key, n, got)
		}
	}
}
