package nlu

import (
	"slices"
	"testing"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

func kinds(all []Advice) []AdviceKind {
	var out []AdviceKind
	for _, a := range all {
		out = append(out, a.Kind)
	}
	return out
}

func TestReview(t *testing.T) {
	good := append(lessons(), mark(corpus.None, "how old is the moon"))
	if got := Review(good, Report{}); len(got) > 0 {
		t.Errorf("of good examples it says %v", got)
	}
	all := append(lessons(), mark("joke", "tell me a joke"))
	for range 6 * unevenTimes {
		all = append(all, mark("food", "a pizza"))
	}
	test := mark("lamp", "the LAMP in the kitchen: turn on!")
	test.Split = corpus.Test
	r := Report{Confused: []Confused{{"lamp", "food", 2}, {"food", "lamp", 1}, {"rain", "food", 2}, {corpus.None, "food", 9}}}
	want := []AdviceKind{Overlapping, Thin, Uneven, Leaking, Nothing}
	got := Review(append(all, test), r)
	if !slices.Equal(kinds(got), want) {
		t.Fatalf("got %v, want %v", kinds(got), want)
	}
	if leak := got[3]; !slices.Equal(leak.Indexes, []int{len(all), 0}) {
		t.Errorf("the leak is %v, want the test and the first lesson", leak.Indexes)
	}
}

func TestCurve(t *testing.T) {
	tests := []corpus.Example{mark("lamp", "turn the light on in the [garage](room)"), mark("rain", "will it snow in [Berlin](city)"), mark("food", "order a salad")}
	points, err := Curve(lessons(), 1, 4, func(part []corpus.Example) (Report, error) {
		return train(t, part, Options{Seed: 1}).Evaluate(tests), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	last := points[len(points)-1]
	if len(points) < 2 || last.Examples != len(lessons()) || last.Accuracy != 1 || points[0].Examples >= last.Examples {
		t.Errorf("got %v", points)
	}
}
