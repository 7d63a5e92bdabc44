package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/edge"
)

var (
	errStopping   = errors.New("the edge is stopping")
	errRegionDown = errors.New("the region is no longer in service")
)

// backend is a region as the front reaches it.
type backend struct {
	name, scheme, host string

	flights flights       // what is better elsewhere once the region is down
	wake    chan struct{} // a check is wanted now

	failures atomic.Int32 // in a row, of requests, not of checks
	restEnd  atomic.Int64 // unix nanoseconds until which others are preferred
}

// A region that answers checks but breaks requests gets a rest.
const (
	failuresToRest = 5
	rest           = 2 * time.Second
)

// broke notes that a request was broken by the region: it is checked at once.
func (b *backend) broke() {
	if b.failures.Add(1) >= failuresToRest {
		b.restEnd.Store(time.Now().Add(rest).UnixNano())
		b.failures.Store(0)
	}
	select {
	case b.wake <- struct{}{}:
	default: // it is on its way
	}
}

func (b *backend) works() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
}

func (b *backend) resting() bool {
	end := b.restEnd.Load()
	return end != 0 && time.Now().UnixNano() < end
}

// check measures a region until ctx ends. While what it sees differs from what
// the edge believes it looks again soon, so that hysteresis costs little time.
func (f *Front) check(ctx context.Context, b *backend) {
	next := time.NewTimer(0)
	defer next.Stop()
	p := patience{most: f.opts.ProbeTimeout}
	limit := p.most
	for {
		select {
		case <-next.C:
		case <-b.wake:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		err := f.probe(ctx, b, limit)
		if ctx.Err() != nil {
			return
		}
		took := time.Since(began)
		f.opts.Observer.Probed(b.name, err == nil, took)
		live := f.opts.Edge.Observe(b.name, edge.Ready, err, time.Now())
		if err == nil {
			p.answered(took)
		}
		wait := f.opts.Interval
		if live != (err == nil) {
			wait /= 10
		}
		limit = p.limit(live, err == nil)
		next.Reset(wait)
	}
}

// patience is how long a region may be silent when it is asked. It follows what
// its answers took lately, as TCP's does (RFC 6298): three round trips, for a
// connection may have to be made, and what they vary by.
type patience struct {
	most       time.Duration
	usual, off time.Duration // of an answer: smoothed, and its deviation; 0 = none came yet
}

const resend = 250 * time.Millisecond // TCP's least time-out for what was lost, and some more

func (p *patience) answered(took time.Duration) {
	if p.usual == 0 {
		p.usual, p.off = took, took/2
		return
	}
	p.off += ((took - p.usual).Abs() - p.off) / 4
	p.usual += (took - p.usual) / 8
}

// limit is for the next question. Who is out may have become slow, and has all
// the time there is; who was just silent, twice the usual, and half of all at
// most.
func (p *patience) limit(live, answered bool) time.Duration {
	enough := p.most
	if p.usual > 0 {
		enough = min(p.most, 3*p.usual+4*p.off+resend)
	}
	switch {
	case !live:
		return p.most
	case !answered:
		return min(2*enough, p.most/2)
	default:
		return enough
	}
}

func (f *Front) probe(ctx context.Context, b *backend, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.scheme+"://"+b.host+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := f.via.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 4<<10); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz says %d", resp.StatusCode)
	}
	return nil
}

// watch ends what is under way in a region when it is taken out, so that it
// goes on elsewhere. If nobody lives, all stay where they are.
func (f *Front) watch(ctx context.Context) {
	e := f.opts.Edge
	for {
		changed := e.Changed()
		anybody := false
		for i := range f.backends {
			anybody = anybody || e.Live(i)
		}
		for i, b := range f.backends {
			if anybody && !e.Live(i) {
				b.flights.end(errRegionDown)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// flights is a set of things that can be ended together. The zero value is
// empty.
type flights struct {
	mu   sync.Mutex // guards all below
	set  map[*context.CancelCauseFunc]struct{}
	over error // not nil: whatever joins is ended at once
}

// join adds what cancel ends, until leave is called.
func (s *flights) join(cancel context.CancelCauseFunc) (leave func()) {
	key := &cancel
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		cancel(s.over)
	}
	if s.set == nil {
		s.set = map[*context.CancelCauseFunc]struct{}{}
	}
	s.set[key] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.set, key)
	}
}

func (s *flights) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cancel := range s.set {
		(*cancel)(cause)
	}
}

// close ends all that is there and all that will come.
func (s *flights) close(cause error) {
	s.end(cause)
	s.mu.Lock()
	s.over = cause
	s.mu.Unlock()
	s.end(cause) // what came in between
}
