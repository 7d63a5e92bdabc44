package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/store"
)

func testSearch(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1), store.Change{Title: &store.Title{Conversation: "c1", Title: "The title"}})
	texts := map[string]string{
		"fox":    "The quick brown fox jumps over the lazy dog",
		"cafe":   "Ein CAFÉ in der Großen Straße, gegenüber",
		"greek":  "Καλημέρα κόσμε",
		"tokyo":  "私は東京都に住んでいます。",
		"seoul":  "오늘 서울에서 만나요",
		"thai":   "สวัสดีครับ",
		"phone":  "iPhone手机很贵",
		"emoji":  "👍 👎",
		"code":   `if x == "quoted" { return foo_bar(NEAR) } -- AND OR NOT`,
		"hidden": "quick quick quick",
	}
	w.apply(store.Change{Conversation: &store.Conversation{ID: "c2", Owner: alice, Hidden: true, Created: at(1), Updated: at(1)}})
	n := 1
	for id, text := range texts {
		conv := "c1"
		if id == "hidden" {
			conv = "c2"
		}
		n++
		w.apply(said(conv, id, text, n))
	}
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"fox", []string{"fox"}},
		{"FOX Quick", []string{"fox"}},
		{"qui", []string{"fox"}},
		{"qui fox", nil},
		{"fox qui", []string{"fox"}},
		{"cafe strasse", []string{"cafe"}},
		{"gegenuber", []string{"cafe"}},
		{"καλημερα", []string{"greek"}},
		{"ΚΌΣΜΕ", []string{"greek"}},
		{"東京", []string{"tokyo"}},
		{"京都", []string{"tokyo"}},
		{"住", []string{"tokyo"}},
		{"京東", nil},
		{"서울", []string{"seoul"}},
		{"ครับ", []string{"thai"}},
		{"手机", []string{"phone"}},
		{"iph 机", nil},
		{"iphone 机", []string{"phone"}},
		{"quoted AND near", []string{"code"}},
		{"foo_bar", []string{"code"}},
		{"fox OR cafe", nil}, // words, not operators
		{"the NOT dog", nil},
		{"👍", nil},
		{"", nil},
		{" \t\n", nil},
		{"--- *** \"\"", nil},
	} {
		if diff := cmp.Diff(append([]string{}, c.want...), found(t, s, alice, c.query)); diff != "" {
			t.Errorf("search %q: %s", c.query, diff)
		}
	}
	again := said("c1", "fox", "A slow red fox sleeps", n+1)
	w.apply(store.Change{Changed: again.Activity})
	for query, want := range map[string][]string{"quick": nil, "red": {"fox"}} {
		if diff := cmp.Diff(append([]string{}, want...), found(t, s, alice, query)); diff != "" {
			t.Errorf("search %q after a change: %s", query, diff)
		}
	}
	hits, err := s.Search(t.Context(), alice, "strasse cafe", "", 1)
	if err != nil || len(hits) != 1 {
		t.Fatalf("search = %v, %v", hits, err)
	}
	h := hits[0]
	want := store.Hit{
		Conversation: "c1", Title: "The title", Activity: "cafe", At: h.At,
		Snippet: "Ein " + store.HitStart + "CAFÉ" + store.HitEnd + " in der Großen " + store.HitStart + "Straße" + store.HitEnd + ", gegenüber",
	}
	if diff := cmp.Diff(want, h); diff != "" || h.At.IsZero() {
		t.Errorf("hit: %s", diff)
	}
	// Best first, and no more than asked for.
	w.apply(said("c1", "weak", "needle "+strings.Repeat("straw ", 300), 50), said("c1", "strong", "needle needle", 51))
	if got := found(t, s, alice, "needle"); !slices.Equal(got, []string{"strong", "weak"}) {
		t.Errorf("order = %v", got)
	}
	for i := range 30 {
		w.apply(said("c1", fmt.Sprintf("m%d", i), "many", 60+i))
	}
	for limit, want := range map[int]int{1: 1, 7: 7, 0: 20, 1000: 30} {
		if hits, err := s.Search(t.Context(), alice, "many", "", limit); len(hits) != want || err != nil {
			t.Errorf("limit %d: %d hits, %v", limit, len(hits), err)
		}
	}
}

func testSearchAnyQuery(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1), said("c1", "a1", "hello world", 1), conversation(bob, "c2", 1), said("c2", "b1", "hello secret", 1))
	queries := []string{
		`"`, `""`, `"hello`, `hello"`, `'`, `')--`, `hello*`, `*`, `^hello`, `hello + world`, `hello AND`, `AND`, `NOT hello`, `NEAR(hello world)`,
		`words:hello`, `owner:hello`, `{words}:hello`, `-hello`, `(`, `)`, `((hello)`, `hello:world`, `:`, `\`, `%`, `_`, `;`, "\x00", "hel\x00lo", "\xff\xfe", "\uE000",
		`" OR owner : "`, `x") OR ("hello`, strings.Repeat("hello ", 5000), strings.Repeat("東", 5000), strings.Repeat("(", 5000), strings.Repeat("a", 100_000),
		strings.Repeat("\u0301", 500), "hello" + strings.Repeat(" world", 200),
	}
	for _, q := range queries {
		hits, err := s.Search(t.Context(), alice, q, "", 10)
		if err != nil {
			t.Errorf("search %.40q: %v", q, err)
		}
		for _, h := range hits {
			if h.Conversation != "c1" {
				t.Errorf("search %.40q finds another owner's %s", q, h.Activity)
			}
		}
	}
	if got := found(t, s, alice, "hello"); len(got) != 1 {
		t.Errorf("after all those queries: %v", got)
	}
}

// testSearchAgreesWithHolds: the index finds what the words of the texts say,
// no more and no less.
func testSearchAgreesWithHolds(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1))
	rng := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"red", "Redo", "RED-DOG", "dóg", "dogs", "北京", "北", "京", "京北", "e\u0301t", "été", "naïve", "x1", "1", " ", ".", "\n", "ﬁ", "fi", "ก", "กา", "서울", "'", "\"", "o"}
	random := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(pieces[rng.IntN(len(pieces))])
			if rng.IntN(2) == 0 {
				b.WriteByte(' ')
			}
		}
		return b.String()
	}
	texts := map[string]string{}
	var changes []store.Change
	for i := range 150 {
		id := fmt.Sprintf("a%03d", i)
		texts[id] = random(1 + rng.IntN(8))
		changes = append(changes, said("c1", id, texts[id], i+2))
	}
	w.apply(changes...)
	for range 150 {
		q := random(1 + rng.IntN(2))
		want := []string{}
		for id, text := range texts {
			if store.Holds(text, store.ParseQuery(q)) {
				want = append(want, id)
			}
		}
		got := found(t, s, alice, q)
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("search %q: %s", q, diff)
		}
	}
}

func testSearchFollowsOwner(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1), said("c1", "a1", "something", 2))
	w.apply(conversation(bob, "c1", 1))
	w.apply(conversation(alice, "c2", 3), said("c2", "a2", "something else", 4), conversation(bob, "c2", 3)) // in one batch
	if got := found(t, s, alice, "something"); len(got) != 0 {
		t.Errorf("the old owner finds %v", got)
	}
	if got := found(t, s, bob, "something"); len(got) != 2 {
		t.Errorf("the new owner finds %v", got)
	}
}
