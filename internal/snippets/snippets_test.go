package snippets

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

func book(t *testing.T) *Book {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), Region: "local", Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return New(l)
}

func TestSnippets(t *testing.T) {
	b, ctx := book(t), t.Context()
	put := func(name, text string, want fault.Code) {
		t.Helper()
		if _, err := b.Put(ctx, "ann", Snippet{name, text}); fault.CodeOf(err) != want {
			t.Errorf("Put(%q, %.20q): %v, want %q", name, text, err, want)
		}
	}
	put("mail", "one", "")
	put("Mail", "two", "")
	put("Übung_1-a", "Gehen wir.", "")
	put("two words", "x", fault.Invalid)
	put("", "x", fault.Invalid)
	put("a/b", "x", fault.Invalid)
	put("\xff", "x", fault.Invalid)
	put(strings.Repeat("n", LongestName+1), "x", fault.Invalid)
	put("mail", " \n", fault.Invalid)
	put("mail", strings.Repeat("ü", LongestText+1), fault.TooLarge)
	if err := b.Drop(ctx, "ann", "nothing"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Drop of nothing: %v", err)
	}
	got, err := b.Of(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Snippet{{"mail", "two"}, {"übung_1-a", "Gehen wir."}}, got); d != "" {
		t.Errorf("snippets (-want +got):\n%s", d)
	}
	if got, err := b.Of(ctx, "bob"); err != nil || len(got) != 0 {
		t.Errorf("somebody else's: %v, %v", got, err)
	}
	if err := b.Drop(ctx, "ann", "MAIL"); err != nil {
		t.Error(err)
	}
	long := strings.Repeat("x", LongestText)
	for i := range largest / LongestText {
		if i == largest/LongestText-1 { // with their names they are a little larger than their texts
			put(fmt.Sprintf("n%d", i), long, fault.TooLarge)
		} else {
			put(fmt.Sprintf("n%d", i), long, "")
		}
	}
}

func TestNoRoomForMore(t *testing.T) {
	b := book(t)
	for i := range Most {
		if _, err := b.Put(t.Context(), "ann", Snippet{fmt.Sprintf("n%d", i), "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Put(t.Context(), "ann", Snippet{"more", "x"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("one more: %v", err)
	}
	if all, err := b.Put(t.Context(), "ann", Snippet{"n7", "y"}); err != nil || len(all) != Most {
		t.Errorf("one changed: %d, %v", len(all), err)
	}
}

// Two devices that write at once lose nothing of each other.
func TestTwoDevices(t *testing.T) {
	b := book(t)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if _, err := b.Put(t.Context(), "ann", Snippet{fmt.Sprintf("n%d", i), "x"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := b.Of(t.Context(), "ann"); err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"mail", "Grüße", "a b", "../x", "\xff\xfe", "İ", strings.Repeat("x", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := tidyName(s)
		if err != nil {
			return
		}
		if again, err := tidyName(name); err != nil || again != name {
			t.Errorf("%q became %q, and that %q: %v", s, name, again, err)
		}
		if strings.ContainsAny(name, "/. \n*>") || utf8.RuneCountInString(name) > LongestName {
			t.Errorf("%q was taken as %q", s, name)
		}
	})
}
