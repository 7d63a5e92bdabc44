// Package crew keeps as many replicas of an engine running as package scale
// decides: it measures, starts what is missing, lets go of what is too many when
// its last answer is over, and replaces what died. What a replica is, a process
// or a child of this node, is its launcher's affair.
package crew

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/roster"
	"github.com/parleyhq/parley/internal/scale"
)

// Replica is an engine that was started for a crew. Its methods may be called
// from several goroutines.
type Replica interface {
	// Ready waits until it takes requests and returns the engine to send them
	// to. An error means that it never will.
	Ready(ctx context.Context) (lm.Engine, error)
	// Gone is closed when it has ended, whoever ended it.
	Gone() <-chan struct{}
	// Why says why it ended by itself, in words for an operator.
	Why() string
	// Stop ends it and returns when nothing of it is left.
	Stop()
}

// Observer hears of what a crew does. It must be quick.
type Observer interface {
	// Started: a replica was started, and took that long until it was ready. An
	// error means that it did not get there.
	Started(engine string, took time.Duration, err error)
	// Died: a replica that had been ready ended by itself.
	Died(engine string)
}

// Options of New. Name and Limits.Max are needed.
type Options struct {
	Name   string
	Limits scale.Limits // Start is learned
	// Launch starts a replica and returns at once. Names are NAME-1 to NAME-Max,
	// used again when one is gone. Nil: somebody else starts and stops them, behind
	// one engine of that name, and the crew only says how many there shall be.
	Launch func(name string) (Replica, error)
	Tune   func(lm.Model) lm.Model // of every replica's models; nil = none
	// Patience is how long a replica may take to be ready; 0 = 10 min.
	Patience time.Duration
	// Silence is how long a ready replica may say that it is not well before it
	// is replaced; 0 = 1 min.
	Silence  time.Duration
	Observer Observer     // nil = none
	Log      *slog.Logger // nil = none
}

const (
	poll      = 250 * time.Millisecond // between two looks at how many requests there are
	linger    = time.Second            // a replica without requests gets before it ends: one may have found it and not come yet
	guess     = 10 * time.Second       // a start takes, until one was seen
	shortLife = 5 * time.Second        // a replica that dies younger has failed to start
	lastPause = time.Minute            // the longest after starts that failed
	hopeless  = 3                      // starts that failed in a row, after which nobody is made to wait
	probing   = 5 * time.Second        // between two questions after a replica's health
)

// Crew is the replicas of one engine.
type Crew struct {
	o     Options
	place *roster.Place
	group *roster.Group // nil: somebody else starts and stops replicas
	poke  chan struct{}
	busy  map[string]*atomic.Int64 // requests that each replica has, by name; never changed
	came  atomic.Int64             // requests that came since the last sample
	asked atomic.Bool              // since the last sample somebody asked while nobody could be started

	mu       sync.Mutex // guards everything below
	replicas []*replica
	history  []scale.Sample
	decision scale.Decision
	area     float64 // requests times seconds since the last sample
	looked   time.Time
	sampled  time.Time
	starts   time.Duration // how long one takes, as learned; 0: none was seen
	failed   int           // starts that failed in a row
	failure  string        // the last one's reason
	notUntil time.Time     // no start before that
	ending   bool
	tending  sync.WaitGroup

	cancel context.CancelFunc
	done   chan struct{}
}

// phase of a replica.
type phase string

const (
	starting phase = "starting"
	ready    phase = "ready"
	draining phase = "draining"
	stopping phase = "stopping"
)

type replica struct {
	name  string
	began time.Time
	stop  context.CancelFunc // tells its goroutine to end it

	// Guarded by the crew's mu:
	phase  phase
	engine lm.Engine
	place  *roster.Place
	quiet  time.Time // draining: since when it has had no request
}

// New takes the place for replicas that serve models. Start starts them.
func New(place *roster.Place, models []string, o Options) (*Crew, error) {
	if err := o.Limits.Check(); err != nil {
		return nil, fmt.Errorf("scale of engine %s: %w", o.Name, err)
	}
	if o.Name == "" || len(models) == 0 {
		return nil, errors.New("a crew needs a name and models")
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Minute
	}
	if o.Silence == 0 {
		o.Silence = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Crew{o: o, place: place, poke: make(chan struct{}, 1), busy: map[string]*atomic.Int64{}, done: make(chan struct{})}
	if o.Launch == nil {
		c.busy[o.Name] = &atomic.Int64{}
		place.Count()
		return c, nil
	}
	for i := range o.Limits.Max {
		c.busy[c.name(i)] = &atomic.Int64{}
	}
	c.group = place.Gather(models, c.woken)
	return c, nil
}

func (c *Crew) name(i int) string { return fmt.Sprintf("%s-%d", c.o.Name, i+1) }

// woken hears that somebody waits.
func (c *Crew) woken() {
	c.asked.Store(true)
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// Routed counts a request in; see fleet.Observer.
func (c *Crew) Routed(engine, _ string, _ balance.Why, _ time.Duration) {
	if n := c.busy[engine]; n != nil {
		n.Add(1)
		c.came.Add(1)
	}
}

// Left counts it out.
func (c *Crew) Left(engine, _ string, _ balance.Verdict, _, _ bool) {
	if n := c.busy[engine]; n != nil {
		n.Add(-1)
	}
}

// Start starts Min replicas and goes on by itself until Stop.
func (c *Crew) Start(ctx context.Context) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	now := time.Now()
	c.mu.Lock()
	c.looked, c.sampled = now, now
	c.decision = scale.Decision{Replicas: c.o.Limits.Min, Why: scale.Least}
	if c.group != nil {
		c.fill(run, now)
		c.tell(now)
	}
	c.mu.Unlock()
	go c.run(run)
}

// Stop ends all replicas and returns when nothing of them is left.
func (c *Crew) Stop() {
	if c.cancel == nil {
		return
	}
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	c.cancel()
	<-c.done
	c.tending.Wait()
}

func (c *Crew) run(ctx context.Context) {
	defer close(c.done)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.poke:
		}
		c.step(ctx, time.Now())
	}
}

// step looks, decides once a second or when somebody waits for the first
// replica, and does what follows.
func (c *Crew) step(ctx context.Context, now time.Time) {
	load := float64(c.inFlight()) + float64(c.waiting())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.area += load * now.Sub(c.looked).Seconds()
	c.looked = now
	if now.Sub(c.sampled) >= time.Second || load > 0 && c.decision.Replicas == 0 {
		c.sample(now, load)
		limits := c.o.Limits
		limits.Start = c.start()
		was := c.decision
		c.decision = scale.Decide(c.history, limits)
		if was.Replicas != c.decision.Replicas {
			c.o.Log.Info("an engine is scaled", "engine", c.o.Name, "from", was.Replicas, "to", c.decision.Replicas, "why", c.decision.Why, "load", c.decision.Load, "expected", c.decision.Expected)
		}
	}
	if c.group == nil {
		return
	}
	c.fill(ctx, now)
	c.empty(now)
	c.tell(now)
}

func (c *Crew) waiting() int {
	if c.group == nil {
		return c.place.Waiting()
	}
	return c.group.Waiting()
}

func (c *Crew) inFlight() (n int64) {
	for _, b := range c.busy {
		n += max(0, b.Load())
	}
	return n
}

// sample adds what was measured since the last one. Who came and went between
// two looks was there all the same.
func (c *Crew) sample(now time.Time, load float64) {
	mean := load
	if d := now.Sub(c.sampled).Seconds(); d >= 0.1 {
		mean = c.area / d
	}
	if came := c.came.Swap(0); c.asked.Swap(false) || came > 0 {
		mean = math.Max(mean, 0.01)
	}
	c.history = append(c.history, scale.Sample{At: now, Load: mean, Replicas: c.decision.Replicas})
	c.area, c.sampled = 0, now
	cut := now.Add(-c.o.Limits.Keep() - 3*c.starts)
	if i := slices.IndexFunc(c.history, func(s scale.Sample) bool { return s.At.After(cut) }); i > 600 {
		c.history = append(c.history[:0], c.history[i:]...)
	}
}

// start is how long a replica takes to begin.
func (c *Crew) start() time.Duration {
	if c.starts == 0 {
		return guess
	}
	return c.starts
}

// fill starts what is missing; what was to go stays instead, where that still
// can be.
func (c *Crew) fill(ctx context.Context, now time.Time) {
	missing := c.decision.Replicas - c.living()
	for _, r := range c.replicas {
		if missing > 0 && r.phase == draining {
			r.phase = ready
			r.place = c.group.Add(r.name, r.engine, c.o.Tune)
			missing--
		}
	}
	for ; missing > 0 && !now.Before(c.notUntil); missing-- {
		name, ok := c.free()
		if !ok {
			return // the last one of that name has not ended yet
		}
		run, stop := context.WithCancel(ctx)
		r := &replica{name: name, began: now, stop: stop, phase: starting}
		c.replicas = append(c.replicas, r)
		c.tending.Go(func() { c.tend(run, r) })
	}
}

func (c *Crew) living() (n int) {
	for _, r := range c.replicas {
		if r.phase == starting || r.phase == ready {
			n++
		}
	}
	return n
}

func (c *Crew) free() (string, bool) {
	for i := range c.o.Limits.Max {
		name := c.name(i)
		if !slices.ContainsFunc(c.replicas, func(r *replica) bool { return r.name == name }) {
			return name, true
		}
	}
	return "", false
}

// empty lets go of what is too many: first what is only starting, then what has
// least to do. What has had nothing to do for a moment after that, ends.
func (c *Crew) empty(now time.Time) {
	for too := c.living() - c.decision.Replicas; too > 0; too-- {
		var least *replica
		for _, r := range c.replicas {
			switch {
			case r.phase == starting:
				least = r
			case r.phase == ready && (least == nil || least.phase == ready && c.busy[r.name].Load() < c.busy[least.name].Load()):
				least = r
			}
		}
		if least.phase == starting {
			least.phase = stopping
			least.stop()
			continue
		}
		least.phase, least.quiet = draining, now
		c.group.Remove(least.place)
	}
	for _, r := range c.replicas {
		switch {
		case r.phase != draining:
		case c.busy[r.name].Load() > 0:
			r.quiet = now
		case now.Sub(r.quiet) >= linger:
			r.phase = stopping
			r.stop()
		}
	}
}

// tell says why nobody is ready, for those that wait.
func (c *Crew) tell(now time.Time) {
	var first *replica
	for _, r := range c.replicas {
		switch {
		case r.phase == ready:
			return
		case r.phase == starting && (first == nil || r.began.Before(first.began)):
			first = r
		}
	}
	switch {
	case c.failed >= hopeless:
		c.group.Refuse(fmt.Sprintf("it has failed to start %d times: %s", c.failed, c.failure))
	case first == nil && c.decision.Replicas == 0:
		c.group.Say(fmt.Sprintf("it sleeps, and starts with the next message in about %s", about(c.start())))
	case first == nil:
		c.group.Say("its last start failed and is tried again: " + c.failure)
	case c.starts == 0:
		c.group.Say("it is starting")
	default:
		c.group.Say(fmt.Sprintf("it is starting, about %s", about(c.starts-now.Sub(first.began))))
	}
}

// about is a time as people say it.
func about(d time.Duration) string {
	if d > 2*time.Minute {
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f s", max(d.Seconds(), 1))
}
