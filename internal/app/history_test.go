package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestDamagedStore changes a byte of a text, and of the file's header, in a
// store: the node says so and makes the same store again from the log.
func TestDamagedStore(t *testing.T) {
	ctx := t.Context()
	l, err := eventlog.Open(ctx, eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conv := event.NewConversation("local")
	put := func(e event.Event) uint64 {
		t.Helper()
		r, err := l.Append(ctx, event.Append{Conversation: conv, Event: e})
		if err != nil {
			t.Fatal(err)
		}
		return r.Seq
	}
	put(event.Event{Kind: event.KindCreated, Created: &event.Created{Owner: "ann", Bot: "b", Channel: "web"}})
	var last uint64
	for i := range 50 {
		last = put(event.Event{Kind: event.KindSaid, Said: &event.Said{Activity: &activity.Activity{Type: "message", ID: fmt.Sprint("a", i), Text: fmt.Sprintf("marker %d", i)}}})
	}
	path := filepath.Join(t.TempDir(), "store.db")
	for _, c := range []struct {
		name string
		at   func([]byte) int // the byte that changes, below 0 none
	}{
		{"nothing", func([]byte) int { return -1 }},
		{"a text", func(b []byte) int { return bytes.Index(b, []byte("marker 7\"")) + 2 }},
		{"the format", func([]byte) int { return 18 }},
		{"the mark of the file", func([]byte) int { return 68 }},
		{"the schema's number", func([]byte) int { return 63 }},
	} {
		if b, err := os.ReadFile(path); err == nil && c.at(b) >= 0 {
			b[c.at(b)] ^= 8
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out lockedBuffer
		h, err := openHistory(ctx, path, l, slog.New(slog.NewTextHandler(&out, nil)))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		want := 0
		if c.name != "nothing" {
			want = 1
		}
		whole := func() bool {
			hits, err := h.Search(ctx, "ann", "marker", "", 200)
			return h.Rebuilt() == want && err == nil && len(hits) == 50
		}
		for late := time.Now().Add(20 * time.Second); !whole() && time.Now().Before(late); {
			<-time.After(20 * time.Millisecond)
		}
		if !whole() || (want == 1) != strings.Contains(out.String(), "made again from the log") {
			t.Errorf("%s: made again %d times\n%s", c.name, h.Rebuilt(), out.String())
		}
		if err := h.WaitFor(ctx, l.StreamOf(conv), last); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := h.Health(ctx); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := h.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
