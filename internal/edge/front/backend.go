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
// the edge believes it looks again soon, so that hysteresis costs little time,
// and what has just been silent for ProbeTimeout is given half of it then.
func (f *Front) check(ctx context.Context, b *backend) {
	next := time.NewTimer(0)
	defer next.Stop()
	limit := f.opts.ProbeTimeout
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
		f.opts.Observer.Probed(b.name, err == nil, time.Since(began))
		live := f.opts.Edge.Observe(b.name, edge.Ready, err, time.Now())
		wait := f.opts.Interval
		limit = f.opts.ProbeTimeout
		if live && err != nil {
			limit /= 2
		}
		if live != (err == nil) {
			wait /= 10
		}
		next.Reset(wait)
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
