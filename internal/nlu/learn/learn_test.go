package learn

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/model"
)

func guide(t testing.TB, more ...corpus.Example) *model.Model {
	t.Helper()
	p, err := corpus.Read("../../../examples/nlu/cityguide")
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := model.Train(t.Context(), p, append(finder.Lessons(p), more...), nlu.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGroups(t *testing.T) {
	texts := []string{
		"can I rent a bike", "where can I rent a bicycle", "Can I  rent a bike", "bike rental please",
		"what time does the fortress open", "until what time is the fortress open",
		"I am hungry", " ",
	}
	groups, left, err := Groups(guide(t), texts, []string{"i am hungry"})
	if err != nil || left != 0 {
		t.Fatal(left, err)
	}
	first := groups[0]
	if first.Times < 3 || !strings.Contains(first.Texts[0].Text, "rent") {
		t.Errorf("first group %+v, want the bikes", first)
	}
	var all []string
	for _, g := range groups {
		for _, s := range g.Texts {
			all = append(all, s.Text)
			if s.Text == "can I rent a bike" && s.Times != 2 {
				t.Errorf("%q was said %d times, want 2", s.Text, s.Times)
			}
			if strings.Contains(s.Text, "fortress") && (len(g.Proposals) == 0 || g.Proposals[0].Intent != "opening_hours") {
				t.Errorf("%q: proposals %v, want opening_hours first", s.Text, g.Proposals)
			}
		}
	}
	if slices.Sort(all); len(all) != 5 {
		t.Errorf("got %q, want five different ones", all)
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"mail me at anna.smith@corp.example please": "mail me at someone@example.com please",
		"call +31 20 555 0123 after 8":              "call +00 00 000 0000 after 8",
		"see https://intra.corp.example/x?id=7":     "see https://example.com",
		"order 12345678, not 1,250 of them":         "order 00000000, not 1,250 of them",
		"a table for 12 at 19:30 on 5.3.2026":       "a table for 12 at 19:30 on 5.3.2026",
		"my key is sk_live4f9a8b7c6d5e4f3a2b1c0d9e": "my key is [redacted]",
		"":          "",
		"🙂 \xff ok": "🙂 \ufffd ok",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("a@b.example 123456 🙂\xff")
	f.Fuzz(func(t *testing.T, text string) {
		once := Redact(text)
		digits := 0
		for _, r := range once {
			switch {
			case '1' <= r && r <= '9':
				if digits++; digits >= longNumber {
					t.Fatalf("%q: %d digits in a row in %q", text, digits, once)
				}
			default:
				digits = 0
			}
		}
	})
}

func TestCompare(t *testing.T) {
	a := guide(t)
	b := guide(t,
		corpus.Example{Text: "can I rent a bike", Intent: "bikes"}, corpus.Example{Text: "where do they hire out bicycles", Intent: "bikes"},
		corpus.Example{Text: "bike rental near the harbour", Intent: "bikes"}, corpus.Example{Text: "I want to hire a bike for a day", Intent: "bikes"})
	texts := []corpus.Example{
		{Text: "where can I rent a bike", Intent: "bikes"},
		{Text: "how do I rent bikes", Intent: "directions"}, // wrongly labelled: what breaks comes first
		{Text: "thanks"},
		{Text: "thank you so much", Intent: "thanks"},
	}
	c := Compare(a, b, texts, time.Now())
	if c.Texts != 4 || c.Labelled != 3 || c.Mended != 1 || c.RightB-c.RightA != c.Mended-c.Broken || c.SameIntent != 4-len(c.Differences) {
		t.Errorf("%+v", c)
	}
	if len(c.Pairs) == 0 || c.Pairs[0].B != "bikes" {
		t.Errorf("pairs %v", c.Pairs)
	}
	if same := Compare(a, a, texts, time.Now()); same.SameIntent != 4 || same.SameEntities != 4 || len(same.Differences) != 0 {
		t.Errorf("a model differs from itself: %+v", same)
	}
}
