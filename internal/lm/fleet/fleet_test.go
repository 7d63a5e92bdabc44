package fleet_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/lmtest"
)

// engine is one whose answers the test decides.
type engine struct {
	lm.Engine
	name  string
	asked atomic.Int64
	does  atomic.Pointer[func(ctx context.Context, emit func(lm.Chunk) error) error]
}

func (e *engine) Name() string { return e.name }

func (e *engine) Generate(ctx context.Context, req lm.Request, emit func(lm.Chunk) error) (lm.Result, error) {
	e.asked.Add(1)
	if do := e.does.Load(); do != nil {
		return lm.Result{}, (*do)(ctx, emit)
	}
	return lm.Result{Finish: lm.FinishStop}, emit(lm.Chunk{Text: "from " + e.name})
}

func (e *engine) Health(context.Context) error { return nil }

func (e *engine) now(do func(ctx context.Context, emit func(lm.Chunk) error) error) {
	if do == nil {
		e.does.Store(nil)
		return
	}
	e.does.Store(&do)
}

func fails(code fault.Code) func(context.Context, func(lm.Chunk) error) error {
	return func(context.Context, func(lm.Chunk) error) error { return fault.New(code, "as the test wants it") }
}

func hangs(ctx context.Context, _ func(lm.Chunk) error) error {
	<-ctx.Done()
	return ctx.Err()
}

func team(n, slots int, o fleet.Options) (*fleet.Fleet, []*engine) {
	f := fleet.New("m", o)
	var all []*engine
	var members []fleet.Member
	for i := range n {
		e := &engine{name: fmt.Sprint("e", i)}
		all = append(all, e)
		members = append(members, fleet.Member{Engine: e, Model: lm.Model{ID: "m", Slots: slots, Resume: lm.Prefill}})
	}
	f.Set(members)
	return f, all
}

func say(session string) lm.Request {
	return lm.Request{Session: session, Messages: []lm.Message{{Role: lm.User, Text: "hello"}}}
}

func answer(ctx context.Context, t *fleet.Turn, session string) (string, error) {
	text := ""
	_, err := t.Generate(ctx, say(session), func(c lm.Chunk) error { text += c.Text; return nil })
	return text, err
}

// owner closes the members, as a roster does.
type owner struct {
	*fleet.Turn
	members []fleet.Member
}

func (o owner) Close() error {
	for _, m := range o.members {
		_ = m.Engine.Close()
	}
	return nil
}

// A fleet of two is an engine like any other.
func TestContract(t *testing.T) {
	all := []lm.Policy{lm.Exact, lm.Quick, lm.Prefill}
	lmtest.Run(t, lmtest.Options{
		Open: func(t *testing.T) lm.Engine {
			f := fleet.New("m", fleet.Options{})
			var members []fleet.Member
			for _, name := range []string{"a", "b"} {
				e := demo.Canned(demo.CannedOptions{Name: name, Model: "m", Words: 4000, Delay: 100 * time.Microsecond, Slots: 3})
				models, err := e.Models(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				members = append(members, fleet.Member{Engine: e, Model: models[0]})
			}
			f.Set(members)
			return owner{f.Turn(), members}
		},
		Tokens: true, Deterministic: true, BatchEqual: true, Usage: true, Embeddings: true,
		Count: true, RawPrompt: true, Resume: all, Equal: all, TooLong: demo.Words(5000),
	})
}

func TestAnotherOneAnswers(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(context.Context, func(lm.Chunk) error) error
	}{
		{"down", fails(fault.Unavailable)},
		{"busy", fails(fault.Limited)},
		{"broken", fails(fault.Internal)},
		{"silent", hangs},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, all := team(4, 2, fleet.Options{})
				for _, e := range all[:3] {
					e.now(tc.do)
				}
				for i := range 60 {
					text, err := answer(t.Context(), f.Turn(), fmt.Sprint(i))
					if err != nil || text != "from e3" {
						t.Fatalf("conversation %d: %q %v", i, text, err)
					}
				}
				// They are left alone while they are out.
				for _, e := range all[:3] {
					if n := e.asked.Load(); n > 40 {
						t.Errorf("%s was asked %d times", e.name, n)
					}
				}
			})
		})
	}
}

func TestNothingIsSaidTwice(t *testing.T) {
	f, all := team(2, 2, fleet.Options{})
	for _, e := range all {
		e.now(func(_ context.Context, emit func(lm.Chunk) error) error {
			_ = emit(lm.Chunk{Text: "half an ans"})
			return fault.New(fault.Unavailable, "cut")
		})
	}
	turn := f.Turn()
	text, err := answer(t.Context(), turn, "s")
	if !fault.Is(err, fault.Unavailable) || text != "half an ans" {
		t.Errorf("an answer that had begun was begun again: %q %v", text, err)
	}
	if n := all[0].asked.Load() + all[1].asked.Load(); n != 1 {
		t.Errorf("%d engines were asked", n)
	}
	if l := turn.Route(); l == nil || l.Engine.Name() != turn.Name() || l.Why != balance.Fresh {
		t.Errorf("route: %+v, name %s", l, turn.Name())
	}
}

func TestTheCallersMistakeIsNobodysFault(t *testing.T) {
	f, all := team(2, 2, fleet.Options{})
	for _, e := range all {
		e.now(fails(fault.TooLarge))
	}
	for range 20 {
		if _, err := answer(t.Context(), f.Turn(), "s"); !fault.Is(err, fault.TooLarge) {
			t.Fatal(err)
		}
	}
	if n := all[0].asked.Load() + all[1].asked.Load(); n != 20 {
		t.Errorf("20 bad requests were asked %d times", n)
	}
	if states, _ := f.States(); !states[0].Trusted || !states[1].Trusted {
		t.Errorf("%+v", states)
	}
}

func TestWaitsInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, all := team(2, 1, fleet.Options{Wait: 30 * time.Second})
		for _, e := range all {
			e.now(func(ctx context.Context, emit func(lm.Chunk) error) error {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return ctx.Err()
				}
				return emit(lm.Chunk{Text: "x"})
			})
		}
		began := time.Now()
		errs := make(chan error, 10)
		for i := range 10 {
			go func() {
				_, err := answer(t.Context(), f.Turn(), fmt.Sprint(i))
				errs <- err
			}()
		}
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if d := time.Since(began); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("ten answers of a second at two slots took %v", d)
		}
		// Who hangs up while waiting leaves the line.
		for _, e := range all {
			e.now(hangs)
		}
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 3 {
			go func() { _, err := answer(ctx, f.Turn(), fmt.Sprint(i)); errs <- err }()
		}
		synctest.Wait()
		if _, waiting := f.States(); waiting != 1 {
			t.Errorf("%d wait", waiting)
		}
		cancel()
		for range 3 {
			if err := <-errs; err == nil {
				t.Error("no error after hanging up")
			}
		}
		if states, waiting := f.States(); waiting != 0 || states[0].InFlight+states[1].InFlight != 0 {
			t.Errorf("left behind: %+v, %d wait", states, waiting)
		}
	})
}

func TestTheLineHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, all := team(2, 1, fleet.Options{Wait: 5 * time.Second, Balance: balance.Options{Errors: 1, Out: time.Hour, OutMax: time.Hour}})
		for _, e := range all {
			e.now(fails(fault.Unavailable))
		}
		_, err := answer(t.Context(), f.Turn(), "a")
		if !fault.Is(err, fault.Unavailable) {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = answer(t.Context(), f.Turn(), "b")
		if d := time.Since(began); !fault.Is(err, fault.Unavailable) || fault.RetryAfterOf(err) == 0 || d != 5*time.Second {
			t.Errorf("after %v: %v", d, err)
		}
	})
}

func TestModelOfAll(t *testing.T) {
	f := fleet.New("m", fleet.Options{})
	set := func(models ...lm.Model) lm.Model {
		var members []fleet.Member
		for i, m := range models {
			members = append(members, fleet.Member{Engine: &engine{name: fmt.Sprint(i)}, Model: m})
		}
		f.Set(members)
		return f.Model()
	}
	for _, tc := range []struct{ a, b, want lm.Policy }{
		{lm.Prefill, lm.Prefill, lm.Prefill},
		{lm.Exact, lm.Quick, lm.Quick},
		{lm.Quick, lm.Prefill, lm.Restart},
		{lm.Prefill, lm.Restart, lm.Restart},
		{lm.Fail, lm.Prefill, lm.Fail},
	} {
		if got := set(lm.Model{Resume: tc.a}, lm.Model{Resume: tc.b}).Resume; got != tc.want {
			t.Errorf("%s and %s: %s", tc.a, tc.b, got)
		}
	}
	m := set(lm.Model{Window: 8192, Slots: 4}, lm.Model{Window: 4096, Slots: 2}, lm.Model{Slots: 1})
	if m.Window != 4096 || m.Slots != 7 {
		t.Errorf("%+v", m)
	}
	if m := set(lm.Model{Slots: 4}, lm.Model{}); m.Slots != 0 {
		t.Errorf("slots of one are not known: %+v", m)
	}
}

// A batch's answer makes room for a person, whose answer comes at once, and is
// begun again when that is over; nobody takes it for the engine's failure.
func TestBatchMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, all := team(1, 1, fleet.Options{})
		all[0].now(func(ctx context.Context, emit func(lm.Chunk) error) error {
			select {
			case <-time.After(10 * time.Second):
				return emit(lm.Chunk{Text: "done"})
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		began := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			req := say("")
			req.Batch = true
			turn := f.Turn()
			if _, err := turn.Generate(t.Context(), req, func(lm.Chunk) error { return nil }); err != nil || turn.Route().Why != balance.Idle {
				t.Errorf("the batch's answer: %v, %+v", err, turn.Route())
			}
			ended <- time.Since(began)
		}()
		time.Sleep(5 * time.Second)
		if _, err := answer(t.Context(), f.Turn(), "someone"); err != nil || time.Since(began) != 15*time.Second {
			t.Errorf("somebody who came after 5 s had an answer of 10 s after %v (%v)", time.Since(began), err)
		}
		if d := <-ended; d < 25*time.Second || d > time.Minute {
			t.Errorf("the batch's answer was there after %v", d)
		}
		if s, _ := f.States(); !s[0].Trusted || s[0].Failures+s[0].Refusals > 0 {
			t.Errorf("%+v", s)
		}
	})
}
