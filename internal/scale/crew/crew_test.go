package crew_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/roster"
	"github.com/parleyhq/parley/internal/scale"
	"github.com/parleyhq/parley/internal/scale/crew"
)

// replica takes a time to start and then serves until it is stopped or dies.
type replica struct {
	*demo.Engine
	starts time.Duration
	fails  error
	sick   atomic.Bool
	gone   chan struct{}
	once   sync.Once
	cut    *atomic.Int64
}

func (r *replica) Ready(ctx context.Context) (lm.Engine, error) {
	select {
	case <-time.After(r.starts):
		return r, r.fails
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *replica) Health(context.Context) error {
	if r.sick.Load() {
		return fault.New(fault.Timeout, "it hangs")
	}
	return nil
}

func (r *replica) Gone() <-chan struct{} { return r.gone }
func (r *replica) Why() string           { return "killed" }
func (r *replica) die()                  { r.once.Do(func() { close(r.gone) }) }

func (r *replica) Stop() {
	r.cut.Add(int64(r.Calls().Running))
	r.die()
}

// stage is a crew over such replicas.
type stage struct {
	t      *testing.T
	crew   *crew.Crew
	roster *roster.Roster

	mu      sync.Mutex
	started []*replica
	fails   error
	cut     atomic.Int64 // requests that a stopped replica had
	crewed  atomic.Pointer[crew.Crew]
}

func (s *stage) Routed(e, m string, w balance.Why, d time.Duration) {
	s.crewed.Load().Routed(e, m, w, d)
}

func (s *stage) Left(e, m string, v balance.Verdict, retried, out bool) {
	s.crewed.Load().Left(e, m, v, retried, out)
}

func (s *stage) Shadowed(fleet.Listened) {}

func newStage(t *testing.T, l scale.Limits, word time.Duration) *stage {
	t.Helper()
	s := &stage{t: t}
	s.roster = roster.New(fleet.Options{Observer: s})
	c, err := crew.New(s.roster.Expect("e", "", nil), []string{"m"}, crew.Options{
		Name: "e", Limits: l,
		Launch: func(name string) (crew.Replica, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			r := &replica{
				Engine: demo.Canned(demo.CannedOptions{Name: name, Model: "m", Slots: 2, Words: 10, Delay: word}),
				starts: 4 * time.Second, fails: s.fails, gone: make(chan struct{}), cut: &s.cut,
			}
			s.started = append(s.started, r)
			return r, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.crew = c
	s.crewed.Store(c)
	c.Start(t.Context())
	return s
}

// all are those that were started.
func (s *stage) all() []*replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.started)
}

// end stops everything; no request may have been cut by a stop before.
func (s *stage) end() {
	s.t.Helper()
	if n := s.cut.Load(); n > 0 {
		s.t.Errorf("%d requests were cut by a replica's end", n)
	}
	s.crew.Stop()
	_ = s.roster.Close()
}

func (s *stage) ask() error {
	e, m, err := s.roster.Find(s.t.Context(), "m", "")
	if err != nil {
		return err
	}
	_, err = e.Generate(s.t.Context(), lm.Request{Model: m.ID, Messages: []lm.Message{{Role: lm.User, Text: "x"}}}, func(lm.Chunk) error { return nil })
	return err
}

// crowd asks again and again, n at once, for d.
func (s *stage) crowd(n int, d time.Duration) *sync.WaitGroup {
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for range n {
		all.Go(func() {
			for time.Now().Before(end) {
				if err := s.ask(); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	return &all
}

func TestFromNothingAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, scale.Limits{Max: 4, Target: 2, Hold: 20 * time.Second, Idle: 40 * time.Second}, 100*time.Millisecond)
		time.Sleep(time.Minute)
		if st := s.crew.State(); st.Ready+st.Starting > 0 {
			t.Errorf("%+v, and nobody has asked", st)
		}
		if why := s.roster.Default().Problem; why != "it sleeps, and starts with the next message in about 10 s" {
			t.Errorf("people read %q", why)
		}
		began := time.Now()
		if err := s.ask(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("the first answer took %v; 4 s to start and 1 s to say", took)
		}
		all := s.crowd(7, time.Minute)
		time.Sleep(30*time.Second + 30*time.Millisecond)
		if st := s.crew.State(); st.Ready != 4 || st.Requests != 7 {
			t.Errorf("seven ask at once: %+v", st)
		}
		all.Wait()
		all = s.crowd(3, time.Minute)
		time.Sleep(50 * time.Second)
		if st := s.crew.State(); st.Ready != 2 || st.Draining != 0 {
			t.Errorf("three ask at once: %+v", st)
		}
		all.Wait()
		time.Sleep(time.Minute)
		if st := s.crew.State(); st.Ready+st.Starting+st.Draining > 0 || st.Decision.Why != scale.Idle {
			t.Errorf("nobody asks: %+v", st)
		}
		s.end()
	})
}

func TestTheDeadAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, scale.Limits{Min: 2, Max: 2}, time.Millisecond)
		time.Sleep(20 * time.Second)
		s.all()[0].die()
		s.all()[1].sick.Store(true)
		time.Sleep(10 * time.Second)
		if st := s.crew.State(); st.Ready != 2 || len(s.all()) != 3 {
			t.Errorf("one died: %+v, %d started", st, len(s.all()))
		}
		time.Sleep(70 * time.Second)
		if st := s.crew.State(); st.Ready != 2 || len(s.all()) != 4 {
			t.Errorf("one hung: %+v, %d started", st, len(s.all()))
		}
		s.end()
	})
}

func TestStartsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, scale.Limits{Max: 3, Idle: time.Minute}, time.Millisecond)
		s.mu.Lock()
		s.fails = errors.New("no such model")
		s.mu.Unlock()
		err := s.ask() // is held until it is plain that nobody can start
		if !fault.Is(err, fault.Unavailable) || len(s.all()) != 3 {
			t.Errorf("%v after %d starts", err, len(s.all()))
		}
		began := time.Now()
		if err := s.ask(); !fault.Is(err, fault.Unavailable) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.Sleep(10 * time.Minute)
		if n := len(s.all()); n > 8 {
			t.Errorf("%d starts for nobody", n)
		}
		s.mu.Lock()
		s.fails = nil
		s.mu.Unlock()
		_ = s.ask()
		time.Sleep(time.Minute)
		if err := s.ask(); err != nil {
			t.Errorf("after it was mended: %v", err)
		}
		s.end()
	})
}

// A replica that is wanted again before its last answer is over stays.
func TestWhatIsToGoMayStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, scale.Limits{Max: 2, Target: 1, Hold: 5 * time.Second, Idle: 10 * time.Second}, 10*time.Second)
		all := s.crowd(2, time.Second) // two answers of 100 s
		time.Sleep(30 * time.Second)
		all.Wait()
		time.Sleep(30 * time.Second)
		if st := s.crew.State(); len(s.all()) != 2 || st.Ready+st.Draining > 0 {
			t.Errorf("%d started: %+v", len(s.all()), st)
		}
		s.end()
	})
}

// Of an engine that somebody else scales, the crew says how many there shall be.
func TestCountsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t}
		s.roster = roster.New(fleet.Options{Observer: s})
		p := s.roster.Expect("e", "", []string{"m"})
		c, err := crew.New(p, []string{"m"}, crew.Options{Name: "e", Limits: scale.Limits{Max: 5, Target: 2, Idle: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		s.crew = c
		s.crewed.Store(c)
		c.Start(t.Context())
		p.Serve(demo.Canned(demo.CannedOptions{Name: "e", Model: "m", Words: 10, Delay: 100 * time.Millisecond}), "", nil)
		synctest.Wait()
		all := s.crowd(7, 30*time.Second)
		time.Sleep(20*time.Second + 30*time.Millisecond) // between two words: nobody is between two answers
		if st := c.State(); !st.Elsewhere || st.Requests != 7 || st.Decision.Replicas < 4 {
			t.Errorf("seven ask at once: %+v", st)
		}
		all.Wait()
		time.Sleep(2 * time.Minute)
		if st := c.State(); st.Requests != 0 || st.Decision.Replicas != 0 {
			t.Errorf("nobody asks: %+v", st)
		}
		s.end()
	})
}

func TestOptions(t *testing.T) {
	r := roster.New(fleet.Options{})
	launch := func(string) (crew.Replica, error) { return nil, fmt.Errorf("no") }
	for _, o := range []crew.Options{
		{}, {Name: "e", Launch: launch}, {Limits: scale.Limits{Max: 1}, Launch: launch}, {Name: "e", Launch: launch, Limits: scale.Limits{Min: 3, Max: 2}},
	} {
		if _, err := crew.New(r.Expect("e", "", nil), []string{"m"}, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
