package account

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Query asks the books.
type Query struct {
	From, To time.Time // days, both included
	By       []string  // any of Dimensions; none: one row with the sum
	User     string    // of this user only; "" = of all
}

// Dimensions are what usage can be told apart by.
func Dimensions() []string { return []string{"day", "tenant", "key", "user", "model"} }

// Total is a line of an answer.
type Total struct {
	Row
	Key string // the name of the key; "" = none, or not asked for
}

const (
	mostDays = 400
	readers  = 16 // pages that are read at once
)

// Usage sums up what was spent. What other nodes booked in the last seconds may
// not be in it yet.
func (s *Service) Usage(ctx context.Context, q Query) ([]Total, error) {
	from, to := q.From.UTC().Format(time.DateOnly), q.To.UTC().Format(time.DateOnly)
	switch {
	case from > to:
		return nil, fault.New(fault.Invalid, "from (%s) is after to (%s)", from, to)
	case q.To.Sub(q.From) > mostDays*24*time.Hour:
		return nil, fault.New(fault.Invalid, "from %s to %s is more than %d days: ask for less at once", from, to, mostDays)
	}
	for i, d := range q.By {
		if !slices.Contains(Dimensions(), d) || slices.Contains(q.By[:i], d) {
			return nil, fault.New(fault.Invalid, "by takes each of these once, with commas: %s", strings.Join(Dimensions(), ", "))
		}
	}
	if err := s.books.flush(ctx); err != nil {
		s.lg.Debug("the newest of the books can't be written yet", "err", err)
	}
	keys, err := s.o.Values.List(ctx, bookKeys)
	if err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool {
		day, _, ok := bookOf(key)
		return !ok || day < from || day > to
	})
	sums := map[Total]Total{}
	err = s.pages(ctx, keys, func(p page) {
		for _, r := range p.Rows {
			if q.User == "" || r.User == q.User {
				t := told(r, q.By)
				sum := sums[t]
				sums[t] = Total{t.plus(sum.Row).plus(r), t.Key}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	out := make([]Total, 0, len(sums))
	for _, t := range sums {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Total) int {
		return cmp.Or(strings.Compare(a.Day, b.Day), strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Key, b.Key), strings.Compare(a.User, b.User), strings.Compare(a.Model, b.Model))
	})
	return out, nil
}

// pages reads pages side by side: in a cluster each of them is a way to the
// leader and back.
func (s *Service) pages(ctx context.Context, keys []string, each func(page)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // held while each runs
	var work sync.WaitGroup
	next := make(chan string)
	for range min(readers, len(keys)) {
		work.Go(func() {
			for key := range next {
				p, err := s.books.get(ctx, key)
				if err != nil {
					if !fault.Is(err, fault.NotFound) { // thrown away meanwhile
						cancel(err)
					}
					continue
				}
				mu.Lock()
				each(p)
				mu.Unlock()
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	work.Wait()
	return context.Cause(ctx)
}

// told is what of a row is asked for.
func told(r Row, by []string) (t Total) {
	for _, d := range by {
		switch d {
		case "day":
			t.Day = r.Day
		case "tenant":
			t.Tenant = r.Tenant
		case "key":
			if name, ok := strings.CutPrefix(r.User, keyPrefix); ok {
				t.Key = name
			}
		case "user":
			t.User = r.User
		case "model":
			t.Model = r.Model
		}
	}
	return t
}

// Plus adds what another line has spent.
func (t Total) Plus(o Total) Total { return Total{t.plus(o.Row), t.Key} }

// Cost is what an answer of a model costs at today's prices.
func (s *Service) Cost(model string, u lm.Usage) int64 { return s.price(model).Of(u) }
