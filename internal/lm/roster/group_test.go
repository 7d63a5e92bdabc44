package roster_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/roster"
)

func replica(name string) *demo.Engine {
	return demo.Canned(demo.CannedOptions{Name: name, Model: "m", Slots: 1, Delay: time.Millisecond, Words: 1000})
}

func TestAGroupHoldsRequestsWhileNobodyRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := roster.New(fleet.Options{})
		var woken atomic.Int64
		g := r.Expect("g", "starting", nil).Gather([]string{"m"}, func() { woken.Add(1) })
		g.Say("it sleeps")
		if s := r.Default(); s.Ready || s.Model != "m" || s.Problem != "it sleeps" {
			t.Errorf("status: %+v", s)
		}
		if err := r.Health(t.Context()); err != nil {
			t.Errorf("a group that sleeps is well: %v", err)
		}
		if models, _ := r.Models(t.Context()); len(models) != 1 || models[0].ID != "m" {
			t.Errorf("models: %v", models)
		}
		if _, _, err := r.Find(t.Context(), "another", ""); !fault.Is(err, fault.NotFound) || woken.Load() != 0 {
			t.Errorf("a model that nobody serves: %v, woken %d times", err, woken.Load())
		}
		got := make(chan lm.Engine, 3)
		for _, ask := range []string{"", "m", "g/m"} {
			go func() {
				e, _, err := r.Find(t.Context(), ask, "")
				if err != nil {
					t.Error(err)
				}
				got <- e
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.Waiting() != 3 || woken.Load() == 0 || len(got) != 0 {
			t.Errorf("%d wait, woken %d times, %d through", g.Waiting(), woken.Load(), len(got))
		}
		one := g.Add("g-1", replica("g-1"), nil)
		for range 3 {
			if e := <-got; e == nil {
				t.Error("no engine")
			} else if _, ok := e.(*fleet.Turn); !ok {
				t.Errorf("one replica is not answered for by a fleet: %T", e)
			}
		}
		synctest.Wait()
		if s := r.Default(); !s.Ready || s.Problem != "" || g.Waiting() != 0 {
			t.Errorf("status: %+v, %d wait", s, g.Waiting())
		}
		if e, _, err := r.Find(t.Context(), "g-1", ""); err != nil || e.Name() != "g-1" {
			t.Errorf("by its own name: %v %v", e, err)
		}

		// One that was found in the moment before it went still answers.
		late, _, err := r.Find(t.Context(), "m", "")
		if err != nil {
			t.Fatal(err)
		}
		g.Remove(one)
		if _, err := late.Generate(t.Context(), lm.Request{Messages: []lm.Message{{Role: lm.User, Text: "x"}}}, func(lm.Chunk) error { return nil }); err != nil {
			t.Errorf("found before it went: %v", err)
		}
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := r.Find(limited, "m", ""); !fault.Is(err, fault.Unavailable) {
			t.Errorf("after it went: %v", err)
		}
		_ = r.Close()
	})
}

// Those that wait in line hear of a new replica, though nobody comes after them.
func TestALineHearsOfANewReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := roster.New(fleet.Options{})
		g := r.Expect("g", "", nil).Gather([]string{"m"}, func() {})
		g.Add("g-1", replica("g-1"), nil)
		synctest.Wait()
		seen := make(chan string, 4)
		for range 4 {
			go func() {
				e, _, err := r.Find(t.Context(), "m", "")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := e.Generate(t.Context(), lm.Request{Messages: []lm.Message{{Role: lm.User, Text: "x"}}}, func(lm.Chunk) error { return nil }); err != nil {
					t.Error(err)
				}
				seen <- e.Name()
			}()
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if n := g.Waiting(); n != 3 {
			t.Errorf("%d wait for one slot", n)
		}
		g.Add("g-2", replica("g-2"), nil)
		synctest.Wait()
		if n := g.Waiting(); n != 2 {
			t.Errorf("%d wait for two slots", n)
		}
		by := map[string]int{}
		for range 4 {
			by[<-seen]++
		}
		if by["g-1"] == 0 || by["g-2"] == 0 {
			t.Errorf("answered by %v", by)
		}
		_ = r.Close()
	})
}

func TestAGroupThatCannotStartMakesNobodyWait(t *testing.T) {
	r := roster.New(fleet.Options{})
	woken := 0
	g := r.Expect("g", "", nil).Gather([]string{"m"}, func() { woken++ })
	g.Refuse("no such file")
	if _, _, err := r.Find(t.Context(), "m", ""); !fault.Is(err, fault.Unavailable) || woken == 0 {
		t.Errorf("%v, woken %d times", err, woken)
	}
	if err := r.Health(t.Context()); err == nil {
		t.Error("it is well")
	}
	if err := r.Healthy(t.Context(), "g"); err == nil {
		t.Error("it is well")
	}
	g.Add("g-1", replica("g-1"), nil)
	if _, _, err := r.Find(t.Context(), "m", ""); err != nil {
		t.Error(err)
	}
	if err := r.Healthy(t.Context(), "g"); err != nil {
		t.Error(err)
	}
	_ = r.Close()
}
