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
	if ours := timersFor(150 * time.Millisecond); got != libraryTimers() && got != ours {
		t.Errorf("the raft timers are %+v, want the library's %+v or ours %+v: has the library renamed or changed them?", got, libraryTimers(), ours)
	}
}

func TestTimersFollowTheRoundTrip(t *testing.T) {
	for _, c := range []struct {
		roundTrip time.Duration
		want      timers
	}{
		{0, timers{800 * time.Millisecond, 1600 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second}},
		{75 * time.Millisecond, timers{800 * time.Millisecond, 1600 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second}},
		{150 * time.Millisecond, timers{1200 * time.Millisecond, 2400 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second}},
		{400 * time.Millisecond, timers{3200 * time.Millisecond, 6400 * time.Millisecond, 800 * time.Millisecond, 8 * time.Second}},
	} {
		got := timersFor(c.roundTrip)
		if got != c.want {
			t.Errorf("round trip %s: %+v, want %+v", c.roundTrip, got, c.want)
		}
		if got.heartbeat < 2*c.roundTrip || got.minElection < 4*got.heartbeat || got.lostQuorum < got.maxElection {
			t.Errorf("round trip %s: %+v calls elections that nobody needs", c.roundTrip, got)
		}
	}
}

func TestTimersAreSetOnce(t *testing.T) {
	set := onlyOnce()
	calm := timersFor(0)
	if got, err := currentTimers(); err == nil && got == libraryTimers() {
		if err := set(calm); err != nil {
			t.Fatal(err)
		}
		if got, err := currentTimers(); err != nil || got != calm {
			t.Fatalf("set %+v, the library has %+v (%v)", calm, got, err)
		}
		if err := set(timersFor(time.Second)); err == nil {
			t.Error("a second log changed the timers of the first")
		}
		was := libraryTimers() // for the tests after this one
		minElectionTimeout, maxElectionTimeout, hbInterval = was.minElection, was.maxElection, was.heartbeat
		lostQuorumInterval, lostQuorumCheck = was.lostQuorum, was.lostQuorum
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
