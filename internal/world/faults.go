package world

import (
	"os"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/eventlog/link"
	"github.com/parleyhq/parley/internal/fault"
)

// Kill ends a region's process on the spot (SIGKILL). It starts again after
// Options.Restart.
func (w *World) Kill(region string) error { return w.signal(region, (*os.Process).Kill) }

// Pause stops a region's process where it is, as a machine that hangs does,
// until Resume.
func (w *World) Pause(region string) error { return w.signal(region, pause) }

// Resume lets a paused region go on, as if nothing had been.
func (w *World) Resume(region string) error { return w.signal(region, resume) }

// Isolate takes a region off the other regions: what is on its way between them
// waits, and nobody is told. Users still reach it.
func (w *World) Isolate(region string) { w.change(region, func(s *link.State) { s.Hold = true }) }

// Slow makes the ways between a region and the others ten times as long.
func (w *World) Slow(region string) { w.stretch(region, 10) }

// Rough makes all ways twice as long and lets them lose one segment of a hundred.
func (w *World) Rough() {
	for pair, l := range w.links {
		l.Change(func(s *link.State) { s.RoundTrip, s.Loss = 2*Distance(pair.from, pair.to), 0.01 })
	}
}

// Smooth ends Rough.
func (w *World) Smooth() {
	for pair, l := range w.links {
		l.Change(func(s *link.State) { s.RoundTrip, s.Loss = Distance(pair.from, pair.to), 0 })
	}
}

// Heal ends Isolate and Slow.
func (w *World) Heal(region string) {
	w.change(region, func(s *link.State) { s.Hold = false })
	w.stretch(region, 1)
}

func (w *World) stretch(region string, times int) {
	for pair, l := range w.links {
		if pair.from == region || pair.to == region {
			l.Change(func(s *link.State) { s.RoundTrip = Distance(pair.from, pair.to) * time.Duration(times) })
		}
	}
}

func (w *World) change(region string, how func(*link.State)) {
	for pair, l := range w.links {
		if pair.from == region || pair.to == region {
			l.Change(how)
		}
	}
}

func (w *World) signal(region string, send func(*os.Process) error) error {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.Name == region })
	if i < 0 {
		return fault.New(fault.NotFound, "there is no region %q", region)
	}
	n := w.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return fault.New(fault.Unavailable, "region %s is down", region)
	}
	return send(n.process)
}

// Addresses are where the regions that serve users do so, by region.
func (w *World) Addresses() map[string]string {
	out := map[string]string{}
	for _, n := range w.nodes {
		if !n.Witness {
			out[n.Name] = n.url
		}
	}
	return out
}
