package app

import (
	"slices"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/eventlog"
)

func TestLeasesOfAnOldLeader(t *testing.T) {
	led, now := leaders{}, time.Unix(1000, 0)
	for _, step := range []struct {
		after  time.Duration
		leader string
		want   []string
	}{
		{0, "", nil},
		{time.Second, "kr", nil}, // the first one that this node knows: nothing is lost
		{time.Minute, "kr", nil},
		{time.Second, "", nil},
		{time.Second, "sg", nil},
		{leaseLost / 2, "sg", nil},
		{leaseLost, "sg", []string{"koreacentral"}},
		{leaseLost, "sg", nil},
		{time.Second, "kr", nil},
		{2 * leaseLost, "kr", []string{"koreacentral"}},
	} {
		now = now.Add(step.after)
		s := eventlog.State{Streams: []eventlog.StreamState{{Home: "koreacentral", Leader: step.leader}}}
		if got := led.settled(s, now); !slices.Equal(got, step.want) {
			t.Errorf("at %v, led by %q: %v, want %v", now.Sub(time.Unix(1000, 0)), step.leader, got, step.want)
		}
	}
}
