package main

import (
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"
)

// TestPlantedBugs is a short campaign: people whose conversations are sound find
// nothing wrong, and those in whose conversations a bug was planted do, for each
// of the bugs, while the same faults happen to all. Whether a fault strikes in
// the very moment that a bug needs is chance, so there are up to three rounds;
// the first is nearly always enough.
func TestPlantedBugs(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("a world of three nodes takes most of a minute: PARLEY_TEST_REAL=1 runs it")
	}
	lg := slog.New(slog.DiscardHandler)
	if os.Getenv("PARLEY_TEST_LOG") != "" {
		lg = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	missing := allFlaws()
	for round := uint64(1); round <= 3 && len(missing) > 0 && !t.Failed(); round++ {
		c := campaign{
			seed: round, faults: 12, every: 1800 * time.Millisecond, regions: 3, kinds: []kind{stall, lone, fall, crash, unheard, hang, sever},
			dir: t.TempDir(), lg: lg, told: func(m misfortune) { t.Log(m) },
			groups: []group{{flaw: sound, talkers: 2, noters: 2}},
		}
		for _, f := range missing {
			g := group{flaw: f, noters: 3}
			if f == noFence || f == wrongOffset {
				g = group{flaw: f, talkers: 3}
			}
			c.groups = append(c.groups, g)
		}
		began := time.Now()
		all, err := c.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: %d faults in %v", c.seed, c.faults, time.Since(began).Round(time.Second))
		for _, g := range c.groups {
			v := all[g.flaw]
			if v == nil {
				t.Fatalf("%q: nobody talked", g.flaw)
			}
			t.Logf("%q: %v", g.flaw, v)
			for i, f := range v.Findings {
				if g.flaw == sound {
					t.Errorf("%v", f)
				} else if i < 3 {
					t.Logf("  %v", f)
				}
			}
		}
		if v := all[sound]; v.Acknowledged < 5 || v.Answers < 1 || v.Events < 20 || v.Reads < 1 {
			t.Errorf("too little happened to say anything: %v", v)
		}
		missing = slices.DeleteFunc(missing, func(f flaw) bool {
			return slices.ContainsFunc(all[f].Findings, func(x finding) bool { return x.rule == expects(f) })
		})
	}
	if len(missing) > 0 && !t.Failed() {
		t.Errorf("the judge did not find what was planted: %q", missing)
	}
}

// expects names the promise that a planted bug breaks; others may break too.
func expects(f flaw) rule {
	switch f {
	case earlyAck, noDedupe:
		return kept
	case noFence:
		return fenced
	case wrongOffset:
		return faithful
	case staleRead:
		return fresh
	}
	return ""
}
