package eventlog

import (
	"testing"
	"time"
)

// The library's timers are set through names that an upgrade may change. What
// is read here is what the library has: its own values, or ours if another
// test of this binary has opened a cluster.
func TestTimersAreTheLibrarys(t *testing.T) {
	got, err := currentTimers()
	if err != nil {
		t.Fatal(err)
	}
	if ours := timersFor(150*time.Millisecond, 0, 1); got != libraryTimers() && got != ours {
		t.Errorf("the raft timers are %+v, want the library's %+v or ours %+v: has the library renamed or changed them?", got, libraryTimers(), ours)
	}
}

func TestTimersFollowTheRoundTrip(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		roundTrip time.Duration
		want      timers
	}{
		{0, timers{900 * ms, 1650 * ms, 150 * ms, 1650 * ms, 50 * ms, 150 * ms}},
		{75 * ms, timers{900 * ms, 1650 * ms, 150 * ms, 1650 * ms, 50 * ms, 150 * ms}},
		{150 * ms, timers{1450 * ms, 2200 * ms, 300 * ms, 3000 * ms, 50 * ms, 150 * ms}},
		{400 * ms, timers{3450 * ms, 5450 * ms, 800 * ms, 8000 * ms, 50 * ms, 150 * ms}},
	} {
		got := timersFor(c.roundTrip, 0, 1)
		if got != c.want {
			t.Errorf("round trip %s: %+v, want %+v", c.roundTrip, got, c.want)
		}
		lostTwice := got.heartbeat + 2*2*c.roundTrip + 2*c.roundTrip + 200*ms // RFC 8985 and 6298
		if got.minElection < lostTwice || got.lostQuorum < got.maxElection {
			t.Errorf("round trip %s: %+v calls elections that nobody needs", c.roundTrip, got)
		}
	}
}

// Regions stand one after the other, the witness first, and one that leaves or
// shares its process whenever it likes.
func TestTheRegionsStandInTurn(t *testing.T) {
	c := &Cluster{Alone: true, Nodes: []Node{
		{Name: "a1", Region: "a"},
		{Name: "a2", Region: "a"},
		{Name: "b1", Region: "b"},
		{Name: "w", Region: "w", Witness: true},
		{Name: "old", Region: "old", Leaves: true},
	}}
	got := map[string]timers{}
	for _, n := range c.Nodes {
		place, of := c.place(n.Name)
		got[n.Name] = timersFor(75*time.Millisecond, place, of)
	}
	whole := timersFor(75*time.Millisecond, 0, 1)
	for i, name := range []string{"w", "a1", "b1"} {
		x := got[name]
		if want := whole.minElection + time.Duration(i)*250*time.Millisecond; x.minElection != want || x.maxElection != want+250*time.Millisecond {
			t.Errorf("%s stands after %s to %s, want from %s on", name, x.minElection, x.maxElection, want)
		}
	}
	if got["a2"] != got["a1"] || got["old"] != whole {
		t.Errorf("a2: %+v, one that leaves: %+v", got["a2"], got["old"])
	}
	c.Alone = false
	if place, of := c.place("b1"); place != 0 || of != 1 {
		t.Errorf("nodes that share a process: place %d of %d", place, of)
	}
}

func TestTimersAreSetOnce(t *testing.T) {
	set := onlyOnce()
	calm := timersFor(0, 0, 1)
	if got, err := currentTimers(); err == nil && got == libraryTimers() {
		if err := set(calm); err != nil {
			t.Fatal(err)
		}
		if got, err := currentTimers(); err != nil || got != calm {
			t.Fatalf("set %+v, the library has %+v (%v)", calm, got, err)
		}
		if err := set(timersFor(time.Second, 0, 1)); err == nil {
			t.Error("a second log changed the timers of the first")
		}
		was := libraryTimers() // for the tests after this one
		minElectionTimeout, maxElectionTimeout, hbInterval = was.minElection, was.maxElection, was.heartbeat
		lostQuorumInterval, lostQuorumCheck = was.lostQuorum, was.lostQuorum
		minCampaignTimeout, maxCampaignTimeout = was.minCampaign, was.maxCampaign
		return
	}
	if err := set(calm); err == nil {
		t.Error("timers that are not the library's were taken for them: a renamed variable would go unnoticed")
	}
}

func TestHolders(t *testing.T) {
	c := &Cluster{Replicas: 3}
	for _, r := range []string{"a", "b", "c", "d", "e"} {
		c.Nodes = append(c.Nodes, Node{Region: r, Name: r + "1"}, Node{Region: r, Name: r + "2"})
	}
	for home, want := range map[string]string{"a": "abc", "d": "dea", "e": "eab"} {
		got := ""
		for _, r := range c.holders(home) {
			got += r
		}
		if got != want {
			t.Errorf("%s is held by %q, want %q", home, got, want)
		}
	}
}

// A copy that is always a moment behind lacks another entry at each look; one
// that gets no further lacks the same.
func TestACopyThatIsBehind(t *testing.T) {
	v := &clusterView{told: map[string]uint64{}, lacks: map[string]lack{}}
	now := time.Now()
	for i, c := range []struct {
		told, leaders, last uint64
		behind              int // since that look; -1 = it is not
	}{
		{0, 0, 0, -1},
		{10, 0, 10, -1},
		{20, 0, 15, 2},
		{30, 0, 25, 3},
		{40, 0, 25, 3},
		{50, 0, 29, 3},
		{50, 0, 45, 6},
		{50, 0, 50, -1},
		{50, 0, 60, -1},
		{60, 70, 60, 9},
		{60, 80, 60, 9},
		{60, 0, 60, 9},
		{60, 90, 75, 12},
		{90, 90, 90, -1}, // a hole: nothing is told
	} {
		v.tell("s", c.told)
		want := time.Time{}
		if c.behind >= 0 {
			want = now.Add(time.Duration(c.behind) * time.Second)
		}
		if got := v.behind("s", c.last, c.leaders, now.Add(time.Duration(i)*time.Second)); !got.Equal(want) {
			t.Errorf("look %d: behind since %v, want %v", i, got.Sub(now), want.Sub(now))
		}
	}
}
