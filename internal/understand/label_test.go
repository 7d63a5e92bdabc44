package understand

import (
	"fmt"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

func TestLabels(t *testing.T) {
	guide, _ := both(t)
	n := twoNodes(t, opened(t, guide))
	s, ctx := n.s[0], t.Context()
	if err := s.Label(ctx, []Labelling{{ID: "a", Intent: "thanks"}, {ID: "b", Intent: "None"}}, "ann"); err != nil {
		t.Fatal(err)
	}
	if err := s.Label(ctx, []Labelling{{ID: "a", Intent: "book_table"}, {ID: "b"}}, "bob"); err != nil {
		t.Fatal(err)
	}
	got, err := n.s[1].Labels(ctx)
	if err != nil || len(got) != 1 || got["a"].Intent != "book_table" || got["a"].By != "bob" || got["a"].At.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	for name, l := range map[string]Labelling{"no id": {Intent: "x"}, "no name": {ID: "c", Intent: "a:b"}, "binary": {ID: "\xff", Intent: "x"}} {
		if err := s.Label(ctx, []Labelling{{ID: "c", Intent: "thanks"}, l}, "ann"); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, _ := s.Labels(ctx); len(got) != 1 {
		t.Errorf("of a refused request something stayed: %v", got)
	}
	// What a project has gives way; what none has does not.
	fill := func(taken bool) error {
		var all []Labelling
		for i := range mostLabels {
			all = append(all, Labelling{ID: fmt.Sprint(taken, i), Intent: "thanks", Taken: taken})
		}
		return s.Label(ctx, all, "ann")
	}
	if err := fill(true); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Labels(ctx); len(got) != mostLabels || got["a"].Intent != "book_table" {
		t.Errorf("%d labels, a is %+v", len(got), got["a"])
	}
	if err := fill(false); !fault.Is(err, fault.Limited) {
		t.Errorf("%v", err)
	}
}

func TestGroups(t *testing.T) {
	guide, _ := both(t)
	s := twoNodes(t, opened(t, guide)).s[0]
	groups, intents, err := s.Groups("city", []string{
		"purple monkey dishwasher", "how much is a day ticket to the castle", "Purple  monkey dishwasher", "zzxq wvvk", "\xff\xfe", "",
	})
	if err != nil || len(intents) == 0 {
		t.Fatal(intents, err)
	}
	var at [][]int
	for _, g := range groups {
		var one []int
		for _, x := range g.Texts {
			one = append(one, x.At...)
		}
		at = append(at, one)
	}
	if len(at) == 0 || fmt.Sprint(at[0]) != "[0 2]" {
		t.Errorf("%v", at)
	}
	for _, g := range at {
		for _, i := range g {
			if i == 1 || i == 5 {
				t.Errorf("text %d is understood, or empty, and in %v", i, at)
			}
		}
	}
	if _, _, err := s.Groups("nobody", nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	if _, _, err := s.Groups("city", make([]string, MostGrouped+1)); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}
