package roster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/roster"
)

func TestSharesOfConversations(t *testing.T) {
	pick := func(percent float64) map[string]string {
		r := roster.New(fleet.Options{})
		for _, m := range []string{"main", "next"} {
			r.Expect(m, "", nil).Serve(canned(m), "", nil)
		}
		r.Alias(roster.Alias{Name: "smart", Serve: []roster.Share{{Model: "main"}, {Model: "next", Percent: percent}}})
		got := map[string]string{}
		for i := range 2000 {
			c := fmt.Sprint("local-", i)
			for range 2 {
				_, m, err := r.Find(t.Context(), "smart", c)
				if err != nil {
					t.Fatal(err)
				}
				if got[c] != "" && got[c] != m.ID {
					t.Fatalf("%s changed from %s to %s", c, got[c], m.ID)
				}
				got[c] = m.ID
			}
		}
		return got
	}
	count := func(got map[string]string) (n int) {
		for _, m := range got {
			if m == "next" {
				n++
			}
		}
		return n
	}
	five, twenty := pick(5), pick(20)
	if n := count(five); n < 60 || n > 145 {
		t.Errorf("5 %% of 2000 conversations are %d", n)
	}
	if n := count(twenty); n < 330 || n > 470 {
		t.Errorf("20 %% of 2000 conversations are %d", n)
	}
	for c, m := range five {
		if m == "next" && twenty[c] != "next" {
			t.Fatalf("%s went back when the share grew", c)
		}
	}
}

// moody is an engine that the test breaks.
type moody struct {
	*demo.Engine
	mu  sync.Mutex
	err error
}

func (m *moody) be(err error) { m.mu.Lock(); defer m.mu.Unlock(); m.err = err }

func (m *moody) Generate(ctx context.Context, req lm.Request, emit func(lm.Chunk) error) (lm.Result, error) {
	m.mu.Lock()
	err := m.err
	m.mu.Unlock()
	if err != nil {
		return lm.Result{}, err
	}
	return m.Engine.Generate(ctx, req, emit)
}

func ask(t *testing.T, e lm.Engine, session string) error {
	t.Helper()
	_, err := e.Generate(t.Context(), lm.Request{Session: session, Messages: []lm.Message{{Role: lm.User, Text: "x"}}}, func(lm.Chunk) error { return nil })
	return err
}

func TestFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := &moody{Engine: demo.Canned(demo.CannedOptions{Name: "e-main", Model: "main", Slots: 1, Delay: time.Second, Words: 10})}
		r := roster.New(fleet.Options{})
		r.Expect("main", "", nil).Serve(main, "", nil)
		r.Expect("spare", "", nil).Serve(canned("spare"), "", nil)
		r.Alias(
			roster.Alias{Name: "smart", Serve: []roster.Share{{Model: "main"}}, Fallback: []string{"spare"}},
			roster.Alias{Name: "picky", Serve: []roster.Share{{Model: "main"}}, Fallback: []string{"spare"}, On: []fleet.Cause{fleet.Refused}},
		)
		find := func(name string) *fleet.Turn {
			t.Helper()
			e, _, err := r.Find(t.Context(), name, "c")
			if err != nil {
				t.Fatal(err)
			}
			return e.(*fleet.Turn)
		}
		heal := func() {
			main.be(nil)
			time.Sleep(2 * time.Minute)
			for range 20 { // until it is trusted again
				_ = ask(t, find("main"), "")
			}
		}
		for _, x := range []struct {
			name  string
			fails error
			by    string
			why   fleet.Cause
			err   fault.Code
		}{
			{"smart", nil, "e-main", "", ""},
			{"smart", fault.New(fault.Unavailable, "gone"), "e-spare", fleet.Down, ""},
			{"smart", fault.New(fault.TooLarge, "too long"), "e-main", "", fault.TooLarge},
			{"smart", fault.New(fault.Limited, "busy").After(time.Second), "e-spare", fleet.Full, ""},
			{"picky", fault.New(fault.TooLarge, "too long"), "e-spare", fleet.Refused, ""},
			{"picky", fault.New(fault.Unavailable, "gone"), "e-main", "", fault.Unavailable},
			{"main", fault.New(fault.Unavailable, "gone"), "e-main", "", fault.Unavailable},
		} {
			heal()
			main.be(x.fails)
			turn := find(x.name)
			err := ask(t, turn, "")
			if _, why := turn.Asked(); fault.CodeOf(err) != x.err || turn.Name() != x.by || why != x.why {
				t.Errorf("%s, %v: answered by %s instead because %q, %v", x.name, x.fails, turn.Name(), why, err)
			}
		}

		// A conversation's turn is made for one model: it asks again.
		heal()
		main.be(fault.New(fault.Unavailable, "gone"))
		if err := ask(t, find("smart"), "c"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("a conversation's turn went on with another model: %v", err)
		}
		_ = ask(t, find("smart"), "c")
		e, m, err := r.Find(t.Context(), "smart", "c")
		if err != nil || m.ID != "spare" || !m.Varies {
			t.Fatalf("asked again: %+v %v", m, err)
		}
		if err := ask(t, e, "c"); err != nil {
			t.Error(err)
		}

		// A full one is not waited for longer than is said.
		heal()
		go func() { _ = ask(t, find("main"), "") }()
		synctest.Wait()
		began := time.Now()
		turn := find("smart")
		if err := ask(t, turn, ""); err != nil || turn.Name() != "e-spare" || time.Since(began) > 6*time.Second {
			t.Errorf("full: %s after %v, %v", turn.Name(), time.Since(began), err)
		}
		_ = r.Close()
		synctest.Wait()
	})
}

func TestAnAliasWithoutEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := roster.New(fleet.Options{})
		main := r.Expect("main", "loading", []string{"main"})
		r.Expect("spare", "", nil).Serve(canned("spare"), "", nil)
		r.Alias(roster.Alias{Name: "smart", Serve: []roster.Share{{Model: "main"}}, Fallback: []string{"spare"}},
			roster.Alias{Name: "none", Serve: []roster.Share{{Model: "nobody"}}})
		if _, m, err := r.Find(t.Context(), "smart", "c"); err != nil || m.ID != "spare" {
			t.Errorf("while it starts: %q %v", m.ID, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := r.Find(ctx, "none", "c"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("nobody serves it: %v", err)
		}
		main.Serve(canned("main"), "", nil)
		synctest.Wait()
		if _, m, err := r.Find(t.Context(), "smart", "c"); err != nil || m.ID != "main" {
			t.Errorf("once it is ready: %q %v", m.ID, err)
		}
		models, err := r.Models(t.Context())
		if err != nil || len(models) != 4 || models[2].ID != "smart" {
			t.Errorf("models: %+v %v", models, err)
		}
		_ = r.Close()
	})
}

// ears remembers what shadows heard.
type ears struct {
	mu  sync.Mutex
	all []fleet.Listened
}

func (*ears) Routed(string, string, balance.Why, time.Duration) {}
func (*ears) Left(string, string, balance.Verdict, bool, bool)  {}
func (e *ears) Shadowed(x fleet.Listened)                       { e.mu.Lock(); defer e.mu.Unlock(); e.all = append(e.all, x) }

func (e *ears) take() []fleet.Listened {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.all
	e.all = nil
	return x
}

func TestShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := &ears{}
		next := &moody{Engine: demo.Canned(demo.CannedOptions{Name: "e-next", Model: "next", Slots: 1, Delay: time.Second, Words: 10})}
		r := roster.New(fleet.Options{Observer: heard})
		r.Expect("main", "", nil).Serve(canned("main"), "", nil)
		r.Expect("next", "", nil).Serve(next, "", nil)
		r.Alias(roster.Alias{Name: "smart", Serve: []roster.Share{{Model: "main"}}, Shadow: roster.Share{Model: "next", Percent: 25}})
		say := func(n int) {
			for range n {
				e, _, err := r.Find(t.Context(), "smart", "c")
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := ask(t, e, "c"); err != nil || e.Name() != "e-main" || time.Since(began) > 0 {
					t.Errorf("%s after %v: %v", e.Name(), time.Since(began), err)
				}
				synctest.Wait()
			}
		}
		say(16)
		if got := heard.take(); len(got) != 3 || got[0].Outcome != "skipped" { // the first of four has the slot
			t.Errorf("while the slot is in use: %+v", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := heard.take(); len(got) != 1 || got[0].Outcome != "answered" || got[0].First == 0 || got[0].Took < 9*time.Second || got[0].Usage.Completion == 0 || got[0].Engine != "e-next" {
			t.Errorf("at last: %+v", got)
		}
		next.be(fault.New(fault.Unavailable, "gone"))
		say(4)
		if got := heard.take(); len(got) != 1 || got[0].Outcome != "failed" {
			t.Errorf("broken: %+v", got)
		}
		next.be(nil)
		time.Sleep(time.Minute)
		say(4)
		e, _, err := r.Find(t.Context(), "next", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := ask(t, e, "p"); err != nil {
			t.Errorf("somebody who wants the shadow's slot: %v", err)
		}
		synctest.Wait()
		if got := heard.take(); len(got) != 1 || got[0].Outcome != "cut" {
			t.Errorf("somebody needed the slot: %+v", got)
		}
		_ = r.Close()
	})
}
