package eventlog_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

func TestRecords(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir, MemoryOnly: true})
	space, set := event.NewConversation("batch"), "0123456789abcdef"
	const n = 1200 // more than are read at once
	big := strings.Repeat("x", 20_000)
	var all sync.WaitGroup
	for writer := range 3 { // who write the same ones
		all.Go(func() {
			for i := range n {
				if err := l.PutRecord(t.Context(), space, set, fmt.Sprint(i), fmt.Appendf(nil, "%d by %d %s", i, writer, big)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := l.PutRecord(t.Context(), space, set+"0", "7", []byte("another set's")); err != nil {
		t.Fatal(err)
	}
	read := func() map[string]string {
		got := map[string]string{}
		err := l.Records(t.Context(), space, set, func(name string, content []byte) error {
			if _, twice := got[name]; twice {
				t.Errorf("%s is there twice", name)
			}
			got[name] = string(content)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return got
	}
	before := read()
	if len(before) != n || !strings.HasPrefix(before["77"], "77 by ") {
		t.Errorf("%d records, want %d; 77 is %.20q", len(before), n, before["77"])
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, eventlog.Options{Dir: dir, MemoryOnly: true})
	for name, content := range read() {
		if before[name] != content {
			t.Errorf("%s was %.20q and is %.20q", name, before[name], content)
		}
	}
	if err := l.DropRecords(t.Context(), space, set, []string{"3", "4", "5000"}); err != nil {
		t.Fatal(err)
	}
	if got := read(); len(got) != n-2 || got["3"] != "" || got["5"] == "" {
		t.Errorf("%d records after two were erased", len(got))
	}
	for _, bad := range []string{"", "a", "1.2", "*", strings.Repeat("1", 17)} {
		if err := l.PutRecord(t.Context(), space, set, bad, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("the name %q: %v", bad, err)
		}
	}
	if err := l.PutRecord(t.Context(), space, set, "1", make([]byte, eventlog.MostRecord+1)); !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}

// Records that were acknowledged are read on every node, as the first one wrote
// them.
func TestRecordsInACluster(t *testing.T) {
	w := newWorld(t)
	w.start(regions()...)
	space, set := event.NewConversation("batch"), "0123456789abcdef"
	var all sync.WaitGroup
	for i, l := range w.logs {
		all.Go(func() {
			for k := range 20 {
				if err := l.PutRecord(t.Context(), space, set, fmt.Sprint(k), fmt.Append(nil, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	var seen []string
	for _, l := range w.logs {
		var got []string
		err := l.Records(context.WithoutCancel(t.Context()), space, set, func(name string, content []byte) error {
			got = append(got, name+"="+string(content))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if seen == nil {
			seen = got
		}
		if len(got) != 20 || !slices.Equal(seen, got) {
			t.Errorf("%d records, in the order %v; another node has %v", len(got), got, seen)
		}
	}
}
