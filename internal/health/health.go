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
// more than one. It waits for the vital parts; one of the others that hangs
// holds up nobody: until its time is over it is reported as it was.
type Board struct {
	limit   time.Duration
	others  time.Duration // how long parts that are not vital are waited for
	maxAge  time.Duration
	watched []*watched

	mu       sync.Mutex // guards all below, and what is watched
	at       time.Time  // of the last report
	report   Report
	draining bool
}

// watched is a check and what came of it.
type watched struct {
	Check
	part Part
	over chan struct{} // closed when the measurement under way is over; nil = none is
}

// New makes a board. limit bounds each probe; 0 = 1 s.
func New(limit time.Duration, checks ...Check) *Board {
	if limit == 0 {
		limit = time.Second
	}
	b := &Board{limit: limit, others: limit / 10, maxAge: 250 * time.Millisecond}
	for _, c := range checks {
		b.watched = append(b.watched, &watched{Check: c})
	}
	return b
}

// Drain makes the node not ready, as one that is going away, or ends that.
func (b *Board) Drain(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = away
	b.at = time.Time{}
}

// Report measures, or returns a measurement that is fresh enough.
func (b *Board) Report(ctx context.Context) Report {
	b.mu.Lock()
	if time.Since(b.at) < b.maxAge {
		defer b.mu.Unlock()
		return b.report
	}
	var must, may []<-chan struct{}
	for _, w := range b.watched {
		if w.over == nil {
			w.over = make(chan struct{})
			go b.measure(context.WithoutCancel(ctx), w)
		}
		if w.Vital || w.part.Since.IsZero() {
			must = append(must, w.over)
		} else {
			may = append(may, w.over)
		}
	}
	b.mu.Unlock()

	enough := time.NewTimer(b.others)
	defer enough.Stop()
	for _, over := range may {
		select {
		case <-over:
			continue
		case <-enough.C:
		}
		break
	}
	for _, over := range must {
		<-over
	}
	return b.sum()
}

// sum makes the report of what was measured.
func (b *Board) sum() Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := Report{Status: "ok", Ready: !b.draining, At: time.Now().UTC()}
	for _, w := range b.watched {
		r.Parts = append(r.Parts, w.part)
		if w.part.OK {
			continue
		}
		if r.Status == "ok" {
			r.Status = "degraded"
		}
		if w.Vital {
			r.Status, r.Ready = "down", false
		}
	}
	if b.draining {
		r.Status = "draining"
	}
	b.report, b.at = r, time.Now()
	return r
}

func (b *Board) measure(ctx context.Context, w *watched) {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- w.Probe(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fault.New(fault.Timeout, "no answer within %v", b.limit)
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	since := w.part.Since
	if since.IsZero() || w.part.OK != (err == nil) {
		since = now.UTC()
	}
	w.part = Part{
		Name: w.Name, Vital: w.Vital, OK: err == nil, Since: since, Problem: fault.MessageOf(err),
		Latency: float64(now.Sub(began).Microseconds()) / 1000,
	}
	close(w.over)
	w.over = nil
}
