package channel

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// shelf keeps values in memory. Who is in away does not reach it.
type shelf struct {
	mu   sync.Mutex // guards all below
	n    uint64
	at   map[string]uint64
	what map[string][]byte
}

type reach struct {
	*shelf
	away atomic.Bool
}

func (r *reach) Load(_ context.Context, key string) ([]byte, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.away.Load():
		return nil, 0, fault.New(fault.Unavailable, "cut off")
	case r.at[key] == 0:
		return nil, 0, fault.New(fault.NotFound, "no value")
	}
	return r.what[key], r.at[key], nil
}

func (r *reach) Create(ctx context.Context, key string, value []byte) error {
	return r.Replace(ctx, key, value, 0)
}

func (r *reach) Replace(_ context.Context, key string, value []byte, revision uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.away.Load():
		return fault.New(fault.Unavailable, "cut off")
	case r.at[key] != revision:
		return fault.New(fault.Conflict, "somebody else")
	}
	r.n++
	r.at[key], r.what[key] = r.n, value
	return nil
}

func (r *reach) Remove(context.Context, string) error           { return nil }
func (r *reach) List(context.Context, string) ([]string, error) { return nil, nil }

// One of several does it at a time: the next one when that is stopped, soon
// after it dies, and when it is cut off, which it notices itself.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{at: map[string]uint64{}, what: map[string][]byte{}}
		var (
			mu     sync.Mutex // guards all below
			on     = map[string]bool{}
			order  []string
			silent = map[string]bool{}
		)
		who := func() string {
			mu.Lock()
			defer mu.Unlock()
			names := []string{}
			for n := range on {
				names = append(names, n)
			}
			slices.Sort(names)
			return strings.Join(names, " ")
		}
		var all sync.WaitGroup
		begin := func(name string) (*reach, context.CancelFunc) {
			r := &reach{shelf: s}
			d := &Desk{opts: Options{Name: "test", Values: r, Region: name, Node: name, Dead: func(node string) bool {
				mu.Lock()
				defer mu.Unlock()
				return silent[node]
			}}}
			ctx, stop := context.WithCancel(t.Context())
			all.Go(func() {
				_ = d.Alone(ctx, "x", func(ctx context.Context) {
					mu.Lock()
					on[name], order = true, append(order, name)
					mu.Unlock()
					<-ctx.Done()
					mu.Lock()
					delete(on, name)
					mu.Unlock()
				})
			})
			synctest.Wait()
			return r, stop
		}
		after := func(d time.Duration, want string) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			if got := who(); got != want {
				t.Fatalf("at it: %q, want %q (so far %q)", got, want, order)
			}
		}
		a, stopA := begin("a")
		b, stopB := begin("b")
		after(0, "a")
		after(time.Minute, "a")
		stopA()
		after(aloneEvery, "b")
		if region, err := (&Desk{opts: Options{Name: "test", Values: a}}).AloneAt(t.Context(), "x"); region != "b" || err != nil {
			t.Errorf("at it is %q: %v", region, err)
		}
		_, stopC := begin("c")
		b.away.Store(true) // it is cut off
		after(2*aloneLife, "c")
		b.away.Store(false)
		after(time.Minute, "c")
		stopC()
		after(aloneEvery, "b")
		_, stopD := begin("d")
		after(0, "b")
		mu.Lock()
		silent["b"] = true // only in d's eyes: it gives its signs of life, and they count
		mu.Unlock()
		after(time.Minute, "b")
		b.away.Store(true) // dead: neither its word nor its signs come
		after(aloneEvery+aloneDead, "b d")
		stopB()
		after(time.Second, "d")
		stopD()
		all.Wait()
		if want := []string{"a", "b", "c", "b", "d"}; !slices.Equal(order, want) {
			t.Errorf("one after the other: %q, want %q", order, want)
		}
	})
}
