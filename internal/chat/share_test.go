package chat_test

import (
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm/demo"
)

// A link shows the branch that was chosen as it was, or all that comes, and
// nothing from the moment on at which it is taken back, by which way ever.
func TestShare(t *testing.T) {
	log := openLog(t, t.TempDir())
	s := start(t, log, demo.Canned(demo.CannedOptions{Words: 3}), nil)
	conv := newConversation(t, s)
	ask := func(text, edits string) string {
		t.Helper()
		m := message(conv, text, "")
		m.Edits = edits
		acc, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		answer(t, s, conv, acc.Turn)
		return acc.ID
	}
	share := func(live bool, upto string) (link string) {
		t.Helper()
		if _, err := s.Share(t.Context(), "ann", conv, live, upto); err != nil {
			t.Fatal(err)
		}
		view(t, s, conv, func(st *conversation.State) { link = st.Set.Share.Link })
		return link
	}
	shows := func(link, want string) {
		t.Helper()
		l, err := s.Shared(t.Context(), link)
		if err != nil {
			if want != "" || !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %v, want %q", link, err, want)
			}
			return
		}
		defer l.Close()
		var said []string
		l.View(func(st *conversation.State) {
			for _, a := range st.Shared() {
				if !a.FromBot() {
					said = append(said, a.Text)
				}
			}
		})
		if got := strings.Join(said, ","); got != want || want == "" {
			t.Errorf("%s shows %q, want %q", link, got, want)
		}
	}
	if _, err := s.Share(t.Context(), "ann", conv, false, ""); !fault.Is(err, fault.Conflict) {
		t.Errorf("an empty conversation: %v, want conflict", err)
	}
	one := ask("one", "")
	two := ask("two", "")
	link := share(false, "")
	ask("three", "")
	shows(link, "one,two")
	if again := share(false, ""); again != link {
		t.Errorf("the link was %s and is %s", link, again)
	}
	shows(link, "one,two,three")
	ask("second", two)
	shows(link, "one,two,three")
	share(true, "")
	shows(link, "one,second")
	share(false, one)
	shows(link, "one")
	for _, bad := range []string{
		"", "x", conv, conv + ".", link[:len(link)-1] + "!", link + "x", strings.ToUpper(link), conv + "." + event.NewShareKey(),
		"nowhere" + link[strings.Index(link, "-"):], event.NewConversation("local") + "." + event.NewShareKey(),
	} {
		shows(bad, "")
	}
	if _, err := s.Share(t.Context(), "bob", conv, true, ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("somebody else's: %v, want not found", err)
	}
	for _, trashed := range []bool{true, false} {
		if _, err := s.Set(t.Context(), "ann", conv, event.Set{Trashed: &trashed}); err != nil {
			t.Fatal(err)
		}
		shows(link, map[bool]string{true: "", false: "one"}[trashed])
	}
	if err := s.Unshare(t.Context(), "ann", conv); err != nil {
		t.Fatal(err)
	}
	shows(link, "")
	other := share(false, "")
	if other == link {
		t.Error("what was taken back is the same again")
	}
	shows(link, "")
	shows(other, "one,second")
	if _, err := s.Delete(t.Context(), "ann", conv); err != nil {
		t.Fatal(err)
	}
	shows(other, "")
	if _, err := s.Set(t.Context(), "ann", newConversation(t, s), event.Set{Share: &event.Share{Key: event.NewShareKey()}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a link as a setting: %v, want invalid", err)
	}
}

func TestTags(t *testing.T) {
	s := start(t, openLog(t, t.TempDir()), demo.Canned(demo.CannedOptions{}), nil)
	conv := newConversation(t, s)
	for _, c := range []struct {
		tags []string
		want string // "" = refused
	}{
		{[]string{" a\ttrip ", "Work", "work"}, "a trip|Work"},
		{[]string{"ö日本"}, "ö日本"},
		{[]string{""}, ""},
		{[]string{"a\x00b"}, ""},
		{[]string{strings.Repeat("x", 41)}, ""},
		{strings.Split("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u", ","), ""},
	} {
		_, err := s.Set(t.Context(), "ann", conv, event.Set{Tags: &c.tags})
		if c.want == "" {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: %v, want invalid", c.tags, err)
			}
			continue
		}
		view(t, s, conv, func(st *conversation.State) {
			if got := strings.Join(st.Set.Tags, "|"); got != c.want || err != nil {
				t.Errorf("%q became %q, %v; want %q", c.tags, got, err, c.want)
			}
		})
	}
}
