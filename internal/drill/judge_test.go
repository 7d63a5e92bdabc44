package drill

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/client"
)

// TestJudgeNotices plants each failure that a drill is there to find.
func TestJudgeNotices(t *testing.T) {
	done := func(id, text string) *client.Answer {
		return &client.Answer{State: client.Done, Text: text, Activity: &client.Activity{ID: id, Text: text}}
	}
	healthy := func() (*talk, map[string][]Held) {
		region := func() []Held {
			return []Held{{Order: []string{"m1", "a1", "m2"}, Texts: map[string]int{"one": 1, "probe": 1}, Answers: map[string]string{"a1": "An answer."}}}
		}
		return &talk{conv: "c", said: []Told{{ID: "m1", Text: "one", Answer: done("a1", "An answer.")}, {ID: "m2", Text: "probe"}}},
			map[string][]Held{"korea": region(), "singapore": region()}
	}
	for _, c := range []struct {
		name  string
		plant func(*talk, map[string][]Held)
		want  Tally
	}{
		{"all is well", func(*talk, map[string][]Held) {}, Tally{}},
		{"lost in one region", func(_ *talk, all map[string][]Held) { delete(all["singapore"][0].Texts, "probe") }, Tally{Lost: 1}},
		{"said twice", func(_ *talk, all map[string][]Held) { all["korea"][0].Texts["one"] = 2 }, Tally{Doubled: 1}},
		{"another order", func(_ *talk, all map[string][]Held) {
			all["singapore"][0].Order = []string{"m1", "m2", "a1"}
		}, Tally{Disordered: 1}},
		{"the log holds something else than was shown", func(_ *talk, all map[string][]Held) { all["korea"][0].Answers["a1"] = "An answer" }, Tally{Differing: 1}},
		{"the answer is not there", func(_ *talk, all map[string][]Held) { delete(all["korea"][0].Answers, "a1") }, Tally{Differing: 1}},
		{"cut off", func(t *talk, _ map[string][]Held) { t.said[0].Answer = &client.Answer{Text: "An"} }, Tally{Unfinished: 1}},
		{"failed", func(t *talk, _ map[string][]Held) { t.said[0].Answer.State = client.Failed }, Tally{Unfinished: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			talk, all := healthy()
			c.plant(talk, all)
			var got Report
			got.Count(talk.said, []Held{all["korea"][0], all["singapore"][0]})
			c.want.Acknowledged, c.want.Answers = 2, 1
			if d := cmp.Diff(c.want, got.Tally); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if good := c.name == "all is well"; got.Good() != good {
				t.Errorf("Good() = %v, want %v", got.Good(), good)
			}
		})
	}
}

func TestReport(t *testing.T) {
	s := time.Second
	r := Report{Users: 3, Through: "edge", Tally: Tally{Answers: 1}, Faults: []FaultReport{
		{N: 1, Kind: Kill, Token: []time.Duration{2 * s, 1 * s}, Acked: []time.Duration{3 * s}},
		{N: 2, Kind: Pause, Token: []time.Duration{9 * s}},
	}}
	if p95, n := r.Quantile(Kill, func(f FaultReport) []time.Duration { return f.Token }, 0.95); p95 != 2*s || n != 2 {
		t.Errorf("p95 of kills: %v of %d", p95, n)
	}
	text := r.Text()
	for _, want := range []string{"kill, 1 times", "longest   2.00 s", "pause, 1 times", "acknowledged and lost 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	r.Faults = append(r.Faults, FaultReport{N: 3, Kind: Rough, Elections: 2})
	if r.Good() || !strings.Contains(r.Text(), "false elections 2") {
		t.Errorf("two false elections are good:\n%s", r.Text())
	}
	if (Report{}).Good() {
		t.Error("a drill without a single answer is good")
	}
}

// TestHitsAreCounted follows one disturbed user and one probe.
func TestHitsAreCounted(t *testing.T) {
	d := &Drill{hitDone: make(chan struct{}, 1), faults: []FaultReport{{}}}
	user, probe, other := &talk{answering: "korea"}, &talk{prober: "korea"}, &talk{answering: "singapore"}
	d.talks = []*talk{user, probe, other}
	long := time.Now().Add(-2 * time.Second)
	d.strike("korea", long)
	if len(d.hits) != 2 || other.hit != nil {
		t.Fatalf("%d hit, want 2", len(d.hits))
	}
	if fresh := (&hit{began: time.Now()}); fresh.over() {
		t.Error("what was on its way at the time of the fault counts as its end")
	}
	d.healed(user.hit)
	d.healed(probe.hit)
	d.healed(user.hit) // again: not counted
	if f := d.faults[0]; len(f.Token) != 1 || len(f.Acked) != 1 || f.Token[0] < 2*time.Second || len(d.hits) != 0 {
		t.Errorf("%+v", f)
	}
}

func TestParseFaults(t *testing.T) {
	if got, err := ParseFaults("kill, isolate"); err != nil || !cmp.Equal(got, []Fault{Kill, Isolate}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseFaults("flood"); err == nil {
		t.Error("an unknown fault was taken")
	}
}

// The count is of the node that noticed most, since it was first seen alive.
func TestPolls(t *testing.T) {
	all := polls{}
	node := func(name string, alive bool, n uint64) client.Region {
		return client.Region{Nodes: []client.RegionNode{{Name: name, Alive: alive, Elections: n}}}
	}
	for i, look := range []struct {
		regions []client.Region
		want    uint64
	}{
		{[]client.Region{node("a", true, 7), node("b", false, 0)}, 0},
		{[]client.Region{node("a", true, 7), node("b", true, 5)}, 0},
		{[]client.Region{node("a", true, 8), node("b", true, 7)}, 2},
		{[]client.Region{node("a", true, 8), node("b", false, 7)}, 2},
		{[]client.Region{node("a", true, 8), node("b", true, 0)}, 1}, // b started again
		{[]client.Region{node("a", true, 8), node("b", true, 3)}, 3},
	} {
		if got := all.look(look.regions); got != look.want {
			t.Errorf("look %d: %d, want %d", i, got, look.want)
		}
	}
}
