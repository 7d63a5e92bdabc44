package batch

import (
	"context"
	"slices"
	"sync"
)

// gate lets so many lines be under way at once. The next one is of the owner
// with the fewest, and of that owner's batches the one with the fewest.
type gate struct {
	mu      sync.Mutex // guards all below
	free    int
	owners  map[string]int
	batches map[string]int
	waiting []*waiter
}

type waiter struct {
	owner, batch string
	in           chan struct{}
}

func newGate(n int) *gate {
	return &gate{free: n, owners: map[string]int{}, batches: map[string]int{}}
}

// enter waits for a place.
func (g *gate) enter(ctx context.Context, owner, batch string) error {
	w := &waiter{owner, batch, make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.admit()
	g.mu.Unlock()
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.waiting, w)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 { // it came in at this very moment
		g.leave(owner, batch)
	}
	return ctx.Err()
}

// leave gives a place back.
func (g *gate) leave(owner, batch string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free++
	less(g.owners, owner)
	less(g.batches, batch)
	g.admit()
}

func less(in map[string]int, name string) {
	if in[name]--; in[name] <= 0 {
		delete(in, name)
	}
}

// admit gives out the free places. The caller holds g.mu.
func (g *gate) admit() {
	for g.free > 0 && len(g.waiting) > 0 {
		next := 0
		for i, w := range g.waiting {
			n := g.waiting[next]
			if a, b := g.owners[w.owner], g.owners[n.owner]; a < b || a == b && g.batches[w.batch] < g.batches[n.batch] {
				next = i
			}
		}
		w := g.waiting[next]
		g.waiting = slices.Delete(g.waiting, next, next+1)
		g.free--
		g.owners[w.owner]++
		g.batches[w.batch]++
		close(w.in)
	}
}
