package worker

import "time"

// Load is the time that processors have spent at work since some fixed
// moment.
type Load struct {
	Cores int
	All   time.Duration // of every process, and what a hypervisor took
	Own   time.Duration // of this process
	// Runnable is how many threads want a processor at this moment, the
	// asking one included.
	Runnable int
}

// governor chooses how many threads compute. The library's threads wait for
// each other some hundred times a token, spinning: with one thread too many
// for what other processes leave over, all of them wait for the scheduler, and
// an answer comes thirty times slower than on one thread less (measured: 1
// token a second on two threads, 30 on one, with two cores and a load of 18).
// It belongs to the loop.
type governor struct {
	most int
	now  int
	load func() (Load, bool)
	last Load
	at   time.Time
}

const (
	governEvery = 200 * time.Millisecond
	// tolerated is how much of a core others may use before a thread gives
	// way: at about a third, two threads that wait for each other are as slow
	// as one that has its core to itself.
	tolerated = 0.35
)

func newGovernor(most int, load func() (Load, bool)) *governor {
	return &governor{most: most, now: most, load: load}
}

// threads returns the number to use from now on, and whether it changed.
func (g *governor) threads(now time.Time) (int, bool) {
	if g.load == nil || g.most <= 1 || now.Sub(g.at) < governEvery {
		return g.now, false
	}
	l, ok := g.load()
	took := now.Sub(g.at)
	before := g.last
	g.at, g.last = now, l
	if !ok {
		g.load = nil
		return g.now, false
	}
	var free float64
	if took > 5*governEvery {
		// What was long ago says little, and a wrong first choice can cost
		// seconds: count who waits just now. Half of them are gone soon.
		free = float64(l.Cores - max(0, l.Runnable-1)/2)
	} else {
		free = float64(l.Cores) - max(0, float64((l.All-before.All)-(l.Own-before.Own))/float64(took)) + tolerated
	}
	n := min(g.most, max(1, int(free)))
	changed := n != g.now
	g.now = n
	return n, changed
}
