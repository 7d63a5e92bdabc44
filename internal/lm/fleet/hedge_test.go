package fleet_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
)

// dice are thrown by several engines.
type dice struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (d *dice) roll() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.Float64()
}

// tail is an engine most of whose answers begin soon, and some late.
func tail(rnd *dice, slow float64, cut *atomic.Int64) func(context.Context, func(lm.Chunk) error) error {
	return func(ctx context.Context, emit func(lm.Chunk) error) error {
		first := 50*time.Millisecond + time.Duration(rnd.roll()*float64(20*time.Millisecond))
		if rnd.roll() < slow {
			first = 3 * time.Second
		}
		for i, pause := range []time.Duration{first, 100 * time.Millisecond} {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				cut.Add(1)
				return fault.Wrap(ctx.Err(), fault.Canceled, "cut")
			}
			if err := emit(lm.Chunk{Text: string(rune('a' + i))}); err != nil {
				return err
			}
		}
		return nil
	}
}

// With a hedge the late ones begin soon, no answer is mixed, and no more requests
// are asked twice than is said.
func TestHedge(t *testing.T) {
	p99 := map[bool]time.Duration{}
	for _, hedged := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var cut atomic.Int64
			f, all := team(3, 8, fleet.Options{})
			rnd := &dice{rnd: rand.New(rand.NewPCG(1, 1))}
			for _, e := range all {
				e.now(tail(rnd, 0.03, &cut))
			}
			const n = 2000
			var took []time.Duration
			twice := 0
			for range n {
				turn := f.Turn()
				if hedged {
					turn.Follow(fleet.Chain{Hedge: fleet.Hedge{Percentile: 95}})
				}
				began, first, text := time.Now(), time.Duration(0), ""
				_, err := turn.Generate(t.Context(), say(""), func(c lm.Chunk) error {
					if text += c.Text; first == 0 {
						first = time.Since(began)
					}
					return nil
				})
				if err != nil || text != "ab" {
					t.Fatalf("%q %v", text, err)
				}
				if turn.Route().Why == balance.Hedge {
					twice++
				}
				took = append(took, first)
				time.Sleep(time.Second)
			}
			synctest.Wait()
			asked := int64(0)
			for _, e := range all {
				asked += e.asked.Load()
			}
			states, _ := f.States()
			for _, s := range states {
				if s.InFlight != 0 || s.Ejections != 0 {
					t.Errorf("%s at the end: %+v", s.Name, s)
				}
			}
			slices.Sort(took)
			p99[hedged] = took[n*99/100]
			t.Logf("hedged %v: p50 %v, p99 %v, %d asked twice, %d of these won by the second, %d cancelled", hedged, took[n/2], took[n*99/100], asked-n, twice, cut.Load())
			if extra := asked - n; hedged && (extra == 0 || extra > n/20) || !hedged && extra != 0 {
				t.Errorf("%d of %d were asked twice", extra, n)
			}
			if asked-n != cut.Load() {
				t.Errorf("%d were asked twice and %d cancelled", asked-n, cut.Load())
			}
		})
	}
	if p99[true] > p99[false]/5 {
		t.Errorf("p99 is %v with and %v without", p99[true], p99[false])
	}
}

// Both fail: the request goes on as it would have, and both are blamed.
func TestHedgeOfWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, all := team(2, 8, fleet.Options{})
		ask := func(ctx context.Context) (string, error) {
			turn := f.Turn()
			turn.Follow(fleet.Chain{Hedge: fleet.Hedge{Percentile: 90, Share: 0.5}})
			text := ""
			_, err := turn.Generate(ctx, say(""), func(c lm.Chunk) error { text += c.Text; return nil })
			return text, err
		}
		for range 100 {
			if _, err := ask(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		slowly := func(code fault.Code) func(context.Context, func(lm.Chunk) error) error {
			return func(ctx context.Context, _ func(lm.Chunk) error) error {
				select {
				case <-time.After(time.Second):
					return fault.New(code, "as the test wants it")
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		for _, e := range all {
			e.now(slowly(fault.Invalid))
		}
		if _, err := ask(t.Context()); !fault.Is(err, fault.Invalid) {
			t.Errorf("a bad request: %v", err)
		}
		for _, e := range all {
			e.now(hangs)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := ask(ctx); err == nil {
			t.Error("two that hang have answered")
		}
		all[0].now(nil)
		all[1].now(nil)
		synctest.Wait()
		if text, err := ask(t.Context()); err != nil || text == "" {
			t.Errorf("afterwards: %q %v", text, err)
		}
		synctest.Wait()
		states, _ := f.States()
		for _, s := range states {
			if s.InFlight != 0 {
				t.Errorf("%s has %d in flight", s.Name, s.InFlight)
			}
		}
	})
}
