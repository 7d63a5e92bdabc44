package dialog

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/finder"
)

// The example is played with what its model's definitions find by themselves,
// without anything learned but the intents.
func TestEntities(t *testing.T) {
	p, err := corpus.Read("../../examples/nlu/cityguide")
	if err != nil {
		t.Fatal(err)
	}
	f, err := finder.New(p)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 10, 30, 0, 0, time.UTC)
	entities := func(text string, marks ...finder.Mark) []Found { return Entities(text, f.Find(text, now, marks)) }

	text := "🍰 a table for two tomorrow at 8 pm near the stone bridge, under 20 euros"
	want := []Found{
		{Entity{"people", ""}, Value{Said: "two", Value: "2"}},
		{Entity{"time", ""}, Value{Said: "tomorrow at 8 pm", Value: "2026-03-05 20:00:00"}},
		{Entity{"place", ""}, Value{Said: "stone bridge", Name: "Old Bridge"}},
		{Entity{"price", ""}, Value{Said: "20 euros", Value: "20 Euro"}},
	}
	if diff := cmp.Diff(want, entities(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text = "the castle on friday evening"
	want = []Found{
		{Entity{"place", "to"}, Value{Said: "the castle", Name: "Castle"}},
		{Entity{"time", ""}, Value{Said: "friday evening", Value: "2026-03-06 16:00:00/2026-03-06 20:00:00"}},
	}
	if diff := cmp.Diff(want, entities(text, finder.Mark{Start: 4, End: 10, Type: "place:to", Score: 0.9})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	sc, err := Read(example)
	if err != nil {
		t.Fatal(err)
	}
	if _, replies, _ := Step(sc, State{}, Input{Text: text, Intent: "book_table", Score: 0.9, Entities: entities("two, tomorrow at 8")}); len(replies) != 1 || replies[0] != "Would you like to sit inside or outside?" {
		t.Errorf("all at once: %q", replies)
	}
	var s State
	for _, x := range []struct {
		text, intent, want string
	}{
		{"a table for four please", "book_table", "At what time?"},
		{"on friday at noon", corpus.None, "Would you like to sit inside or outside?"},
		{"is the fortress still open today?", "opening_hours", "The Castle is open from nine to six, on Fridays until ten."},
		{"outside", corpus.None, "Under which name?"},
		{"Kim", corpus.None, "A table for four, friday at noon, outside, for Kim. Is that right?"},
		{"make it five", corpus.None, "A table for five, friday at noon, outside, for Kim. Is that right?"},
	} {
		var replies []string
		s, replies, _ = Step(sc, s, Input{Text: x.text, Intent: x.intent, Score: 0.9, Entities: entities(x.text)})
		if len(replies) == 0 || replies[0] != x.want {
			t.Fatalf("%q: %q, want %q", x.text, replies, x.want)
		}
	}
	_, _, a := Step(sc, s, Input{Text: "yes", Intent: corpus.None})
	if got := a.Slots["time"].Value; a.Hand != (Hand{Bot, "bookings"}) || got != "2026-03-06 12:00:00" || a.Slots["people"].Value != "5" {
		t.Errorf("%+v", a)
	}
}
