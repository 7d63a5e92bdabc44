package eventlog_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

// What was removed is not listed, and neither, once somebody has asked for it,
// is what somebody was about to remove who was killed then.
func TestRemoved(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir(), Region: "local"})
	ctx := t.Context()
	lists := func(want ...string) {
		t.Helper()
		got, err := l.List(ctx, "some")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("list: %q, %v; want %q", got, err, want)
		}
	}
	lists()
	for _, key := range []string{"some.a", "some.b", "some.c", "someone.else", "some"} {
		if err := l.Create(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	lists("some.a", "some.b", "some.c")
	if err := l.Remove(ctx, "some.a"); err != nil {
		t.Fatal(err)
	}
	lists("some.b", "some.c")
	if err := l.Mark(ctx, "some.b"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Get(ctx, "some.b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("get: %q, %v", got, err)
	}
	lists("some.c")
	if err := l.Mark(ctx, "some.c"); err != nil {
		t.Fatal(err)
	}
	if err := l.Create(ctx, "some.c", []byte("anew")); err != nil {
		t.Errorf("create what is marked as removed: %v", err)
	}
	if got, err := l.Get(ctx, "some.c"); err != nil || string(got) != "anew" {
		t.Errorf("get: %q, %v", got, err)
	}
	lists("some.c")
}

// Whatever replica is nearest, and however far it is behind: a list has what was
// written before it, and nothing that was removed before it.
func listed(t *testing.T, w *world) {
	w.well(regions()...)
	var want []string
	round := func(i int, by string) {
		t.Helper()
		key := fmt.Sprintf("listed.%d", i)
		if err := w.logs[by].Create(t.Context(), key, []byte("here")); err != nil {
			t.Fatal(err)
		}
		if want = append(want, key); i%3 == 2 {
			if err := w.logs[by].Remove(t.Context(), want[0]); err != nil {
				t.Fatal(err)
			}
			want = want[1:]
		}
	}
	look := func(in string) {
		t.Helper()
		begin := time.Now()
		got, err := w.logs[in].List(t.Context(), "listed")
		if err != nil {
			t.Fatalf("list in %s: %v", in, err)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s lists %q, want %q", in, got, want)
		}
		t.Logf("listed in %s in %s", in, time.Since(begin).Round(time.Millisecond))
	}
	for i := range 12 {
		by := regions()[i%3]
		round(i, by)
		for _, r := range regions() {
			look(r)
		}
	}
	eventually(t, "singapore leads the values", 20*time.Second, func() bool {
		return w.logs[korea].LeadValues(t.Context(), singapore)
	})
	w.cut(singapore, down) // it goes on leading, for all it knows
	eventually(t, "the others go on", 20*time.Second, func() bool {
		return w.logs[korea].Remove(t.Context(), "nothing") == nil
	})
	for i := range 12 {
		round(12+i, korea)
		look(korea)
	}
	if got, err := w.logs[singapore].List(t.Context(), "listed"); !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
		t.Errorf("a deposed leader lists %q, %v", got, err)
	}
	if _, err := w.logs[singapore].Get(t.Context(), want[len(want)-1]); !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
		t.Errorf("a deposed leader says of a value that it can't know: %v", err)
	}
	w.cut(singapore, up)
	for range 20 {
		look(korea)
		look(japan)
	}
	w.well(regions()...)
	look(singapore)
}
