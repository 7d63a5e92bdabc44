package eventlog_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

// adopted takes what a node wrote while it was alone into a cluster: every
// entry with its place, time and bytes, with what was sent along, and with the
// holes that deleting left.
func adopted(t *testing.T) {
	alone := filepath.Join(t.TempDir(), "log")
	one, err := eventlog.Open(t.Context(), eventlog.Options{Dir: alone})
	if err != nil {
		t.Fatal(err)
	}
	conv, gone := event.NewConversation("local"), event.NewConversation("local")
	var keep uint64
	for i := range 300 {
		if _, err := one.Append(t.Context(), delta(conv, i)); err != nil {
			t.Fatal(err)
		}
		r, err := one.Append(t.Context(), delta(gone, i))
		if err != nil {
			t.Fatal(err)
		}
		keep = r.Seq
	}
	if err := one.Forget(t.Context(), gone, keep); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("what was sent along "), 100_000)
	if err := one.PutFile(t.Context(), conv, "0123456789abcdef", content); err != nil {
		t.Fatal(err)
	}
	if err := one.Create(t.Context(), "shared", []byte("value")); err != nil {
		t.Fatal(err)
	}
	want := readAll(t, one, conv, 0)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}

	g := newGrowing(t)
	three := []eventlog.Node{g.node("a", false), g.node("b", false), g.node("c", false)}
	g.start(three, "a", "b", "c")
	for range 2 { // the second time there is nothing left to do
		if err := g.log("a").Adopt(t.Context(), alone); err != nil {
			t.Fatal(err)
		}
	}
	g.roll(three, "b", "c")
	g.held("c", "local", "a", "b", "c")
	for _, name := range []string{"a", "b", "c"} {
		log := g.log(name)
		if diff := cmp.Diff(want, readAll(t, log, conv, 0)); diff != "" {
			t.Errorf("%s has other entries (-want +got):\n%s", name, diff)
		}
		if left := readAll(t, log, gone, 0); len(left) != 1 || left[0].Seq != keep {
			t.Errorf("%s has %d entries of a deleted conversation", name, len(left))
		}
		if got, err := log.File(t.Context(), conv, "0123456789abcdef"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: the file: %d bytes, %v", name, len(got), err)
		}
		if got, err := log.Get(t.Context(), "shared"); err != nil || string(got) != "value" {
			t.Errorf("%s: the value: %q, %v", name, got, err)
		}
		if !slices.Contains(log.Homes(), "local") {
			t.Errorf("%s serves %v", name, log.Homes())
		}
	}
	g.writes("b", conv, "it goes on")
	if err := g.log("a").Adopt(t.Context(), alone); !fault.Is(err, fault.Conflict) {
		t.Errorf("taking in what went on elsewhere: %v, want conflict", err)
	}
}
