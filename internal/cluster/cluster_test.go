package cluster_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/cluster"
)

func world() []cluster.Node {
	return []cluster.Node{
		{Name: "jp", Region: "japaneast", Role: cluster.Witness},
		{Name: "kr", Region: "koreacentral", Role: cluster.Full},
		{Name: "sg1", Region: "southeastasia", Role: cluster.Full},
		{Name: "sg2", Region: "southeastasia", Role: cluster.Full},
	}
}

// story tells a view who beats when; times are from the start.
type story struct {
	t *testing.T
	v *cluster.View
	t0,
	now time.Time
	with map[string]func(*cluster.Beat)
}

func begin(t *testing.T, self string) *story {
	t.Helper()
	v, err := cluster.New(cluster.Options{Self: self, Nodes: world()})
	if err != nil {
		t.Fatal(err)
	}
	t0 := time.Unix(1000, 0)
	return &story{t: t, v: v, t0: t0, now: t0, with: map[string]func(*cluster.Beat){}}
}

// beat lets nodes beat for a while.
func (s *story) beat(d time.Duration, names ...string) {
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(cluster.Every) {
		for _, n := range world() {
			if !slices.Contains(names, n.Name) {
				continue
			}
			b := cluster.Beat{Node: n.Name, Region: n.Region, Role: n.Role, Ready: true, Answers: n.Role == cluster.Full}
			if f := s.with[n.Name]; f != nil {
				f(&b)
			}
			s.v.Hear(b, s.now)
		}
	}
}

func (s *story) homes(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.v.Homes(s.now)); diff != "" {
		s.t.Errorf("at %v %s works on (-want +got):\n%s", s.now.Sub(s.t0), s.v.Self().Name, diff)
	}
}

func TestRegionDiesAndReturns(t *testing.T) {
	s := begin(t, "sg1")
	s.beat(3*time.Second, "jp", "kr", "sg1", "sg2")
	s.homes("southeastasia")
	s.beat(600*time.Millisecond, "jp", "sg1", "sg2")
	s.homes("southeastasia") // one late beat is no death
	s.beat(800*time.Millisecond, "jp", "sg1", "sg2")
	s.homes("koreacentral", "southeastasia")
	if !s.v.Dead("kr", s.now) || s.v.Dead("sg2", s.now) || s.v.Dead("nobody", s.now) {
		t.Error("kr is dead, sg2 is not, and nobody is not of this world")
	}
	s.beat(time.Second, "jp", "kr", "sg1", "sg2")
	s.homes("koreacentral", "southeastasia") // it has to stay for a while first
	s.beat(2*time.Second, "jp", "kr", "sg1", "sg2")
	s.homes("southeastasia")
}

func TestOneNodeOfTwoDies(t *testing.T) {
	s := begin(t, "kr")
	s.beat(3*time.Second, "jp", "kr", "sg1", "sg2")
	s.beat(3*time.Second, "jp", "kr", "sg2")
	s.homes("koreacentral") // the other node serves on
}

func TestEngineIsDown(t *testing.T) {
	s := begin(t, "kr")
	s.with["sg1"] = func(b *cluster.Beat) { b.Answers = false }
	s.with["sg2"] = s.with["sg1"]
	s.beat(3*time.Second, "jp", "kr", "sg1", "sg2")
	s.homes("koreacentral", "southeastasia")
	s.with["kr"] = s.with["sg1"] // now nobody has one
	s.beat(time.Second, "jp", "kr", "sg1", "sg2")
	s.homes("koreacentral")
}

func TestMinorityActsForNobody(t *testing.T) {
	s := begin(t, "kr")
	s.beat(3*time.Second, "jp", "kr", "sg1", "sg2")
	s.beat(3*time.Second, "kr")
	s.homes("koreacentral")
	if s.v.Majority(s.now) {
		t.Error("one of four is a majority")
	}
}

func TestWitnessServesNobody(t *testing.T) {
	s := begin(t, "jp")
	s.beat(3*time.Second, "jp")
	s.homes()
}

func TestStartOfTheWorld(t *testing.T) {
	s := begin(t, "kr")
	s.beat(400*time.Millisecond, "jp", "kr", "sg1", "sg2")
	s.homes("koreacentral") // nobody waits for anybody to settle
}

func TestLeaving(t *testing.T) {
	s := begin(t, "sg1")
	s.beat(3*time.Second, "jp", "kr", "sg1", "sg2")
	s.with["kr"] = func(b *cluster.Beat) { b.Leaving = true }
	s.beat(cluster.Every, "jp", "kr", "sg1", "sg2")
	s.homes("koreacentral", "southeastasia") // at once
}

func TestNearestStepsIn(t *testing.T) {
	far := func(a, b string) time.Duration {
		if a == "c" || b == "c" {
			return 10 * time.Millisecond
		}
		return 90 * time.Millisecond
	}
	nodes := []cluster.Node{{Name: "a", Region: "a"}, {Name: "b", Region: "b"}, {Name: "c", Region: "c"}}
	for self, want := range map[string][]string{"b": {"b"}, "c": {"a", "c"}} {
		v, err := cluster.New(cluster.Options{Self: self, Nodes: nodes, Distance: far})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1000, 0)
		for _, n := range []string{"b", "c"} {
			v.Hear(cluster.Beat{Node: n, Region: n, Ready: true, Answers: true}, now)
		}
		if diff := cmp.Diff(want, v.Homes(now)); diff != "" {
			t.Errorf("%s works on (-want +got):\n%s", self, diff)
		}
	}
}

func TestBadNodes(t *testing.T) {
	for name, o := range map[string]cluster.Options{
		"twice":     {Self: "a", Nodes: []cluster.Node{{Name: "a", Region: "x"}, {Name: "a", Region: "y"}}},
		"no region": {Self: "a", Nodes: []cluster.Node{{Name: "a"}}},
		"not in it": {Self: "z", Nodes: []cluster.Node{{Name: "a", Region: "x"}}},
	} {
		if _, err := cluster.New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
