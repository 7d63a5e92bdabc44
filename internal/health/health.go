// Package health measures the node's parts one by one, so that one failing
// part is named and does not take the others down with it.
package health

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Check is a part that can be measured.
type Check struct {
	Name string
	// Vital parts decide over readiness: without them the node can't serve.
	Vital bool
	// Probe is nil if the part works. It is cut off after the board's limit.
	Probe func(context.Context) error
}

// Part is the state of a part.
type Part struct {
	Name    string    `json:"name"`
	OK      bool      `json:"ok"`
	Vital   bool      `json:"vital"`
	Since   time.Time `json:"since"` // of this state
	Latency float64   `json:"latency_ms"`
	Problem string    `json:"problem,omitempty"`
}

// Report is the state of the node.
type Report struct {
	Status string    `json:"status"` // ok, degraded (something is down, we serve), down
	Ready  bool      `json:"ready"`
	At     time.Time `json:"at"`
	Parts  []Part    `json:"parts"`
}

// Board measures checks on demand, all at once, and remembers since when each
// is in its state. An answer is at most maxAge old, so that many askers cost no
// more than one.
type Board struct {
	checks []Check
	limit  time.Duration
	maxAge time.Duration

	mu       sync.Mutex // guards all below; held while measuring
	report   Report
	draining bool
}

// New makes a board. limit bounds each probe; 0 = 1 s.
func New(limit time.Duration, checks ...Check) *Board {
	if limit == 0 {
		limit = time.Second
	}
	return &Board{checks: checks, limit: limit, maxAge: 250 * time.Millisecond}
}

// Drain makes the node not ready, as one that is going away, or ends that.
func (b *Board) Drain(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = away
	b.report.At = time.Time{}
}

// Report measures, or returns a measurement that is fresh enough.
func (b *Board) Report(ctx context.Context) Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.report.At) < b.maxAge {
		return b.report
	}
	before := b.report.Parts
	parts := make([]Part, len(b.checks))
	var wg sync.WaitGroup
	for i, c := range b.checks {
		wg.Go(func() { parts[i] = measure(context.WithoutCancel(ctx), c, b.limit) })
	}
	wg.Wait()
	r := Report{Status: "ok", Ready: !b.draining, At: time.Now().UTC(), Parts: parts}
	for i := range parts {
		parts[i].Since = r.At
		if before != nil && before[i].OK == parts[i].OK {
			parts[i].Since = before[i].Since
		}
		if !parts[i].OK {
			if r.Status == "ok" {
				r.Status = "degraded"
			}
			if parts[i].Vital {
				r.Status, r.Ready = "down", false
			}
		}
	}
	if b.draining {
		r.Status = "draining"
	}
	b.report = r
	return r
}

func measure(ctx context.Context, c Check, limit time.Duration) Part {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- c.Probe(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fault.New(fault.Timeout, "no answer within %v", limit)
	}
	return Part{
		Name: c.Name, Vital: c.Vital, OK: err == nil, Problem: fault.MessageOf(err),
		Latency: float64(time.Since(began).Microseconds()) / 1000,
	}
}
