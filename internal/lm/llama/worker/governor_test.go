package worker

import (
	"testing"
	"time"
)

func TestGovernor(t *testing.T) {
	for name, tt := range map[string]struct {
		cores, most int
		others      float64
		want        int
	}{
		"alone":                     {2, 2, 0, 2},
		"a little company":          {2, 2, 0.3, 2},
		"half a core gone":          {2, 2, 0.5, 1},
		"everything gone":           {2, 2, 2, 1},
		"one of eight":              {8, 8, 1, 7},
		"threads of cores to spare": {16, 8, 3, 8},
		"one only":                  {4, 1, 4, 1},
	} {
		now, l := time.Unix(0, 0), Load{Cores: tt.cores, All: time.Hour, Own: time.Minute}
		g := newGovernor(tt.most, func() (Load, bool) { return l, true })
		got := 0
		for range 20 {
			now = now.Add(governEvery)
			l.Own += governEvery
			l.All += governEvery + time.Duration(tt.others*float64(governEvery))
			got, _ = g.threads(now)
		}
		if got != tt.want {
			t.Errorf("%s: %d threads, want %d", name, got, tt.want)
		}
		l.All += time.Hour // ignored: too soon
		if n, changed := g.threads(now.Add(time.Millisecond)); n != tt.want || changed {
			t.Errorf("%s: %d threads at once", name, n)
		}
	}
	for name, tt := range map[string]struct{ runnable, want int }{
		"nobody": {1, 4}, "one more": {2, 4}, "two more": {3, 3}, "many": {20, 1}, "not known": {0, 4},
	} {
		// After a pause, what counts is who waits just now.
		g := newGovernor(4, func() (Load, bool) { return Load{Cores: 4, All: time.Hour, Runnable: tt.runnable}, true })
		if n, _ := g.threads(time.Unix(1000, 0)); n != tt.want {
			t.Errorf("%s: %d threads at first, want %d", name, n, tt.want)
		}
	}
	g := newGovernor(3, func() (Load, bool) { return Load{}, false })
	if n, changed := g.threads(time.Now()); n != 3 || changed {
		t.Errorf("unknown load: %d", n)
	}
}

func TestSystemLoad(t *testing.T) {
	a, ok := systemLoad()
	if !ok {
		t.Skip("this system does not tell its load")
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		b, _ := systemLoad()
		if b.Cores < 1 {
			t.Fatalf("%+v", b)
		}
		if b.Own > a.Own && b.All > a.All {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("busy for ten seconds and no load: %+v, %+v", a, b)
		}
	}
}
