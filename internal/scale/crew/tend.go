package crew

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/scale"
)

// tend sees one replica through, from its start to its end. ctx ends when it is
// to go.
func (c *Crew) tend(ctx context.Context, r *replica) {
	defer r.stop()
	err := c.serve(ctx, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replicas = slices.DeleteFunc(c.replicas, func(x *replica) bool { return x == r })
	if r.phase == ready { // it died: those that are told to go were taken out before
		c.group.Remove(r.place)
	}
	now := time.Now()
	switch {
	case err == nil || ctx.Err() != nil || c.ending:
	case r.phase == starting || now.Sub(r.began)-c.starts < shortLife:
		c.failed++
		c.failure = fault.MessageOf(err)
		c.notUntil = now.Add(min(time.Second<<min(c.failed-1, 10), lastPause))
		c.o.Log.Error("a replica did not start", "replica", r.name, "failed", c.failed, "err", err)
	default:
		c.o.Log.Error("a replica has died and is replaced", "replica", r.name, "err", err)
	}
	select { // what is missing now is not to wait for the next look
	case c.poke <- struct{}{}:
	default:
	}
}

// serve starts a replica, has it serve, and ends it. An error is its own fault.
func (c *Crew) serve(ctx context.Context, r *replica) error {
	began := time.Now()
	run, err := c.o.Launch(r.name)
	if err != nil {
		c.observeStart(0, err)
		return err
	}
	defer run.Stop()
	limited, cancel := context.WithTimeout(ctx, c.o.Patience)
	engine, err := run.Ready(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fault.Wrap(err, fault.Timeout, "it was not ready after %v", c.o.Patience)
	}
	cancel()
	if ctx.Err() != nil {
		return nil // not needed any more
	}
	c.observeStart(time.Since(began), err)
	if err != nil {
		return err
	}
	if !c.admit(r, engine, time.Since(began)) {
		return nil
	}
	return c.watch(ctx, r, run, engine)
}

// admit lets requests come to a replica that is ready, unless it is to go.
func (c *Crew) admit(r *replica, engine lm.Engine, took time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.phase != starting || c.ending {
		return false
	}
	if c.starts == 0 {
		c.starts = took
	}
	c.starts += (took - c.starts) * 3 / 10
	c.failed, c.failure = 0, ""
	r.phase, r.engine = ready, engine
	r.place = c.group.Add(r.name, engine, c.o.Tune)
	c.o.Log.Info("a replica is ready", "replica", r.name, "took", took.Round(time.Millisecond))
	return true
}

// watch returns when the replica is to go, has ended, or has said for too long
// that it is not well.
func (c *Crew) watch(ctx context.Context, r *replica, run Replica, engine lm.Engine) error {
	tick := time.NewTicker(probing)
	defer tick.Stop()
	well := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-run.Gone():
			if c.o.Observer != nil {
				c.o.Observer.Died(c.o.Name)
			}
			return errors.New(run.Why())
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, probing)
		err := engine.Health(ask)
		cancel()
		switch silent := time.Since(well); {
		case err == nil:
			well = time.Now()
		case ctx.Err() == nil && silent > c.o.Silence:
			if c.o.Observer != nil {
				c.o.Observer.Died(c.o.Name)
			}
			return fault.Wrap(err, fault.Timeout, "it has not been well for %v: %s", silent.Round(time.Second), fault.MessageOf(err))
		}
	}
}

func (c *Crew) observeStart(took time.Duration, err error) {
	if c.o.Observer != nil {
		c.o.Observer.Started(c.o.Name, took, err)
	}
}

// State is what a crew does now.
type State struct {
	Name     string
	Limits   scale.Limits // complete; Start as learned
	Decision scale.Decision
	Requests int // running and waiting
	Starting int
	Ready    int
	Draining int    // among them those that end
	Problem  string // of the last start, "" if it went well
	// Elsewhere: somebody else starts and stops replicas, and Starting, Ready and
	// Draining are not known.
	Elsewhere bool
}

// State tells.
func (c *Crew) State() State {
	s := State{Name: c.o.Name, Limits: c.o.Limits.Complete(), Requests: int(c.inFlight()) + c.waiting(), Elsewhere: c.group == nil}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Limits.Start, s.Decision, s.Problem = c.start(), c.decision, c.failure
	for _, r := range c.replicas {
		switch r.phase {
		case starting:
			s.Starting++
		case ready:
			s.Ready++
		case draining, stopping:
			s.Draining++
		}
	}
	return s
}
