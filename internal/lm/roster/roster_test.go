package roster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/roster"
)

func canned(model string) *demo.Engine {
	return demo.Canned(demo.CannedOptions{Name: "e-" + model, Model: model})
}

func TestFindsByModel(t *testing.T) {
	r := roster.New()
	r.Expect("one", "", nil).Serve(canned("a"), "", nil)
	r.Expect("two", "", []string{"b", "alias"}).Serve(canned("b"), "", func(m lm.Model) lm.Model { m.Resume = lm.Fail; return m })
	for _, tc := range []struct{ ask, engine, model string }{
		{"", "e-a", "a"}, {"a", "e-a", "a"}, {"b", "e-b", "b"}, {"alias", "e-b", "alias"}, {"two/b", "e-b", "b"}, {"two", "e-b", "b"},
	} {
		e, m, err := r.Find(t.Context(), tc.ask)
		if err != nil || e.Name() != tc.engine || m.ID != tc.model {
			t.Errorf("%q: got %v %q %v", tc.ask, e, m.ID, err)
		}
	}
	if _, m, _ := r.Find(t.Context(), "b"); m.Resume != lm.Fail {
		t.Errorf("declared policy is lost: %q", m.Resume)
	}
	if _, _, err := r.Find(t.Context(), "c"); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown model: %v", err)
	}
	if models, _ := r.Models(t.Context()); len(models) != 3 {
		t.Errorf("models: %v", models)
	}
}

func TestWaitsForAStartingEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := roster.New()
		first := r.Expect("slow", "loading", nil)
		r.Expect("spare", "", nil).Serve(canned("spare"), "", nil)
		got := make(chan string, 1)
		go func() {
			_, m, err := r.Find(t.Context(), "")
			if err != nil {
				t.Error(err)
			}
			got <- m.ID
		}()
		time.Sleep(time.Minute)
		if len(got) > 0 {
			t.Fatal("did not wait for the default engine")
		}
		if s := r.Default(); s.Ready || s.Problem != "loading" {
			t.Errorf("status: %+v", s)
		}
		first.Serve(canned("slow"), "", nil)
		if m := <-got; m != "slow" {
			t.Errorf("got %q", m)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r2 := roster.New()
		r2.Expect("never", "fetching 3 %", nil)
		if _, _, err := r2.Find(ctx, ""); !fault.Is(err, fault.Unavailable) {
			t.Errorf("at the end of patience: %v", err)
		}
	})
}

func TestFailedEngineLeavesItsPlaceToTheNext(t *testing.T) {
	r := roster.New()
	r.Expect("broken", "", nil).Fail("no such file")
	r.Expect("spare", "", nil).Serve(canned("spare"), "", nil)
	if _, m, err := r.Find(t.Context(), ""); err != nil || m.ID != "spare" {
		t.Errorf("got %q %v", m.ID, err)
	}
	if s := r.Default(); s.Name != "spare" {
		t.Errorf("default is %+v", s)
	}
}

func TestNobodyWaitsForAnEngineThatFailed(t *testing.T) {
	r := roster.New()
	r.Expect("broken", "", nil).Fail("no such file")
	if _, _, err := r.Find(t.Context(), ""); !fault.Is(err, fault.Unsupported) {
		t.Errorf("got %v", err)
	}
}
