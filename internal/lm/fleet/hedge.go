package fleet

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/balance"
)

// Hedge says when a request that is late to begin is asked of a second engine
// too. The zero value: never.
type Hedge struct {
	Percentile float64 // later than so many of a hundred
	Share      float64 // of the requests, at the most; 0 = 0.05
}

const usualHedges = 0.05

var errLost = errors.New("another engine began first")

// Hedges reports whether a request may be at two engines.
func (t *Turn) Hedges() bool { return t.chain.Hedge.Percentile > 0 && len(t.Members()) > 1 }

// second is a lease of another member for the request of l; nil: there is none to
// spare.
func (t *Turn) second(l *Lease) *Lease {
	share := t.chain.Hedge.Share
	if share == 0 {
		share = usualHedges
	}
	x := t.pool.Hedge(time.Now(), l.t, share)
	if x == nil {
		return nil
	}
	i := slices.IndexFunc(t.Members(), func(m Member) bool { return m.Engine.Name() == x.Replica })
	if i < 0 {
		t.pool.Leave(time.Now(), x)
		return nil
	}
	return t.lease(x, t.Members()[i], balance.Ask{})
}

// Hedged does what there is to do at a lease and, if that is late to begin and the
// turn's model may be hedged, at a second one too. Before it shows anything, do
// asks whether it may: the first who does goes on, the other one is cancelled.
// What it returns is the lease that is left to the caller, with what came of it.
func Hedged[T any](ctx context.Context, t *Turn, l *Lease, do func(ctx context.Context, l *Lease, may func() bool) (T, error)) (T, *Lease, error) {
	after := time.Duration(0)
	if t.Hedges() {
		after = t.pool.Late(l.t, t.chain.Hedge.Percentile)
	}
	if after == 0 {
		v, err := do(ctx, l, func() bool { return true })
		return v, l, err
	}
	r := race[T]{t: t, do: do, began: make(chan int, 1), ends: make(chan ending[T], 2)}
	return r.run(ctx, l, after)
}

// race is a request at two engines. One goroutine, run, holds all of it but owner.
type race[T any] struct {
	t      *Turn
	do     func(context.Context, *Lease, func() bool) (T, error)
	leases [2]*Lease
	cancel [2]context.CancelCauseFunc
	failed [2]*ending[T]
	owner  atomic.Int32 // 1 and 2: the first or the second has begun
	began  chan int
	ends   chan ending[T]
}

type ending[T any] struct {
	who int
	v   T
	err error
}

func (r *race[T]) start(ctx context.Context, who int, l *Lease) {
	ctx, r.cancel[who] = context.WithCancelCause(ctx)
	r.leases[who] = l
	go func() {
		v, err := r.do(ctx, l, func() bool {
			if r.owner.CompareAndSwap(0, int32(who)+1) { //nolint:gosec // 0 or 1
				r.t.at.Store(l)
				r.began <- who
			}
			return r.owner.Load() == int32(who)+1 //nolint:gosec // 0 or 1
		})
		r.ends <- ending[T]{who, v, err}
	}()
}

func (r *race[T]) run(ctx context.Context, l *Lease, after time.Duration) (T, *Lease, error) {
	defer func() {
		for _, cancel := range r.cancel {
			if cancel != nil {
				cancel(nil)
			}
		}
	}()
	late := time.NewTimer(after)
	defer late.Stop()
	r.start(ctx, 0, l)
	for {
		select {
		case <-late.C:
			if two := r.t.second(l); two != nil {
				r.start(ctx, 1, two)
			}
		case who := <-r.began:
			late.Stop()
			if other := r.cancel[1-who]; other != nil {
				other(errLost)
			}
		case e := <-r.ends:
			owner := int(r.owner.Load())
			if owner != 0 && owner != e.who+1 {
				e.err = errLost
			} else if owner != 0 || e.err == nil || r.alone(e.who) {
				return r.settle(ctx, e)
			}
			r.failed[e.who] = &e
		}
	}
}

// alone reports whether nobody but this one is, or was, at work.
func (r *race[T]) alone(who int) bool {
	return r.leases[1-who] == nil || r.failed[1-who] != nil
}

// settle ends the stay of whoever is not left to the caller: the loser, or of two
// that failed the second.
func (r *race[T]) settle(ctx context.Context, e ending[T]) (T, *Lease, error) {
	other := 1 - e.who
	if x := r.failed[other]; x != nil && e.who == 1 && e.err != nil && r.owner.Load() == 0 {
		r.leases[1].Done(ctx, e.err, false)
		r.t.at.Store(r.leases[0])
		return x.v, r.leases[0], x.err
	}
	r.t.at.Store(r.leases[e.who])
	switch loser := r.leases[other]; {
	case loser == nil:
	case r.failed[other] != nil:
		why := r.failed[other].err
		loser.Done(ctx, why, !errors.Is(why, errLost))
	default:
		r.cancel[other](errLost)
		go func() {
			<-r.ends
			loser.Done(ctx, errLost, false)
		}()
	}
	return e.v, r.leases[e.who], e.err
}
