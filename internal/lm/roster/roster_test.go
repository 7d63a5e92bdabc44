package roster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/roster"
)

func canned(model string) *demo.Engine {
	return demo.Canned(demo.CannedOptions{Name: "e-" + model, Model: model})
}

func TestFindsByModel(t *testing.T) {
	r := roster.New(fleet.Options{})
	r.Expect("one", "", nil).Serve(canned("a"), "", nil)
	r.Expect("two", "", []string{"b", "alias"}).Serve(canned("b"), "", func(m lm.Model) lm.Model { m.Resume = lm.Fail; return m })
	for _, tc := range []struct{ ask, engine, model string }{
		{"", "e-a", "a"}, {"a", "e-a", "a"}, {"b", "e-b", "b"}, {"alias", "e-b", "alias"}, {"two/b", "e-b", "b"}, {"two", "e-b", "b"},
	} {
		e, m, err := r.Find(t.Context(), tc.ask, "")
		if err != nil || e.Name() != tc.engine || m.ID != tc.model {
			t.Errorf("%q: got %v %q %v", tc.ask, e, m.ID, err)
		}
	}
	if _, m, _ := r.Find(t.Context(), "b", ""); m.Resume != lm.Fail {
		t.Errorf("declared policy is lost: %q", m.Resume)
	}
	if _, _, err := r.Find(t.Context(), "c", ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown model: %v", err)
	}
	if models, _ := r.Models(t.Context()); len(models) != 3 {
		t.Errorf("models: %v", models)
	}
}

func TestWaitsForAStartingEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := roster.New(fleet.Options{})
		first := r.Expect("slow", "loading", nil)
		r.Expect("spare", "", nil).Serve(canned("spare"), "", nil)
		got := make(chan string, 1)
		go func() {
			_, m, err := r.Find(t.Context(), "", "")
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
		r2 := roster.New(fleet.Options{})
		r2.Expect("never", "fetching 3 %", nil)
		if _, _, err := r2.Find(ctx, "", ""); !fault.Is(err, fault.Unavailable) {
			t.Errorf("at the end of patience: %v", err)
		}
	})
}

func TestFailedEngineLeavesItsPlaceToTheNext(t *testing.T) {
	r := roster.New(fleet.Options{})
	r.Expect("broken", "", nil).Fail("no such file")
	r.Expect("spare", "", nil).Serve(canned("spare"), "", nil)
	if _, m, err := r.Find(t.Context(), "", ""); err != nil || m.ID != "spare" {
		t.Errorf("got %q %v", m.ID, err)
	}
	if s := r.Default(); s.Name != "spare" {
		t.Errorf("default is %+v", s)
	}
}

func TestNobodyWaitsForAnEngineThatFailed(t *testing.T) {
	r := roster.New(fleet.Options{})
	r.Expect("broken", "", nil).Fail("no such file")
	if _, _, err := r.Find(t.Context(), "", ""); !fault.Is(err, fault.Unsupported) {
		t.Errorf("got %v", err)
	}
}

func TestSeveralEnginesAnswerAsOne(t *testing.T) {
	r := roster.New(fleet.Options{})
	for _, name := range []string{"one", "two", "three"} {
		model := "m"
		if name == "three" {
			model = "other"
		}
		r.Expect(name, "", nil).Serve(demo.Canned(demo.CannedOptions{Name: name, Model: model, Slots: 2}), "", nil)
	}
	if models, err := r.Models(t.Context()); err != nil || len(models) != 2 {
		t.Errorf("models: %v %v", models, err)
	}
	for _, ask := range []string{"m", ""} {
		e, m, err := r.Find(t.Context(), ask, "")
		if _, ok := e.(*fleet.Turn); err != nil || !ok || m.ID != "m" || m.Slots != 4 {
			t.Errorf("%q: %T %+v %v", ask, e, m, err)
		}
	}
	for ask, want := range map[string]string{"two": "two", "two/m": "two", "other": "three"} {
		if e, _, err := r.Find(t.Context(), ask, ""); err != nil || e.Name() != want {
			t.Errorf("%q: %v %v", ask, e, err)
		}
	}
	seen := map[string]bool{}
	for i := range 20 {
		e, _, err := r.Find(t.Context(), "m", "")
		if err != nil {
			t.Fatal(err)
		}
		req := lm.Request{Session: string(rune('a' + i)), Messages: []lm.Message{{Role: lm.User, Text: "hello"}}}
		if _, err := e.Generate(t.Context(), req, func(lm.Chunk) error { return nil }); err != nil {
			t.Fatal(err)
		}
		seen[e.Name()] = true
	}
	if !seen["one"] || !seen["two"] || seen["three"] {
		t.Errorf("answered by %v", seen)
	}
	if err := r.Healthy(t.Context(), "two"); err != nil {
		t.Error(err)
	}
}

// hung lists its models once and then says nothing any more.
type hung struct {
	lm.Engine
	asked int
}

func (h *hung) Models(ctx context.Context) ([]lm.Model, error) {
	if h.asked++; h.asked == 1 {
		return h.Engine.Models(ctx)
	}
	<-ctx.Done()
	return nil, fault.New(fault.Timeout, "hung")
}

func TestAHungEngineHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := roster.New(fleet.Options{})
		r.Expect("one", "", nil).Serve(&hung{Engine: canned("m")}, "", nil)
		r.Expect("two", "", nil).Serve(canned("m"), "", nil)
		synctest.Wait()
		time.Sleep(time.Minute)
		for range 3 {
			began := time.Now()
			if _, _, err := r.Find(t.Context(), "m", ""); err != nil || time.Since(began) > 0 {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		_ = r.Close()
	})
}
