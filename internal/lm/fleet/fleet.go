// Package fleet makes one engine of several that serve the same model: package
// balance says which one answers, and here a request goes there, is taken to
// another one when nothing of its answer has been shown yet, and waits in line
// where a single engine would have refused it. An answer that was cut after its
// beginning is for the caller to continue: only it knows what it has shown.
package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Member is an engine and the model as it serves it.
type Member struct {
	Engine lm.Engine
	Model  lm.Model // Slots: 0 = learned
	Weight float64  // 0 = 1
	// Distance is a round trip to an engine of another region; 0: it is in this one.
	Distance time.Duration
}

// Observer hears of what a fleet does. It must be quick.
type Observer interface {
	// Routed: a request went to an engine, after it waited.
	Routed(engine, model string, why balance.Why, waited time.Duration)
	// Left: its stay there is over. retried says that another engine gets it,
	// out that the engine gets no more for a while.
	Left(engine, model string, verdict balance.Verdict, retried, out bool)
	// Shadowed: a request that another model had was asked here too.
	Shadowed(Listened)
}

// Options of New. The zero value works.
type Options struct {
	Wait     time.Duration // most that a request waits in line; 0 = 1 min
	Silence  time.Duration // least that an engine may take to begin, before another one is asked; 0 = 5 s
	Balance  balance.Options
	Observer Observer     // nil = none
	Log      *slog.Logger // nil = none
}

const (
	untold    = time.Minute      // Silence, until something is known of how long answers take to begin
	unhurried = 10 * time.Minute // Silence in the batch lane
	patient   = 8                // times the expected time that an engine may take to begin
	asking    = 2 * time.Second
	telling   = time.Second // between two words about a request's place in line
)

// Fleet is the engines of one model. Its methods may be called from many
// goroutines.
type Fleet struct {
	model string
	o     Options
	pool  *balance.Pool

	mu      sync.Mutex // held by Set
	members atomic.Pointer[[]Member]
}

// New makes a fleet without members.
func New(model string, o Options) *Fleet {
	if o.Wait == 0 {
		o.Wait = time.Minute
	}
	if o.Silence == 0 {
		o.Silence = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{model: model, o: o, pool: balance.New(o.Balance)}
	f.members.Store(&[]Member{})
	return f
}

// Set says who the members are; it costs little when nothing has changed. Their
// names must differ.
func (f *Fleet) Set(members []Member) {
	same := func(a, b Member) bool {
		return a.Engine == b.Engine && a.Model.Slots == b.Model.Slots && a.Model.Tokens == b.Model.Tokens && a.Weight == b.Weight && a.Distance == b.Distance && a.Model.Resume == b.Model.Resume && a.Model.Window == b.Model.Window && a.Model.Vision == b.Model.Vision
	}
	if slices.EqualFunc(*f.members.Load(), members, same) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	members = slices.Clone(members)
	var replicas []balance.Replica
	for _, m := range members {
		replicas = append(replicas, balance.Replica{Name: m.Engine.Name(), Slots: m.Model.Slots, Tokens: m.Model.Tokens, Weight: m.Weight, Distance: m.Distance})
	}
	f.members.Store(&members)
	f.pool.Set(time.Now(), replicas)
}

// Model is what every member can do: the smallest window, and of the ways to
// continue an answer only one that all of them declare.
func (f *Fleet) Model() lm.Model {
	var out lm.Model
	for i, m := range *f.members.Load() {
		if i == 0 {
			out = m.Model
			continue
		}
		if out.Window == 0 || m.Model.Window > 0 && m.Model.Window < out.Window {
			out.Window = m.Model.Window
		}
		if m.Model.Slots == 0 || out.Slots == 0 {
			out.Slots = 0
		} else {
			out.Slots += m.Model.Slots
		}
		out.Resume = common(out.Resume, m.Model.Resume)
		out.Embedding = out.Embedding && m.Model.Embedding
		out.Vision = out.Vision && m.Model.Vision
		out.Demo = out.Demo || m.Model.Demo
	}
	return out
}

// common is a way to continue that two engines have. Token ids of one mean
// nothing to another kind, and a text may not be continued by one that can't.
func common(a, b lm.Policy) lm.Policy {
	byID := func(p lm.Policy) bool { return p == lm.Exact || p == lm.Quick }
	switch {
	case a == b:
		return a
	case a == lm.Fail || b == lm.Fail:
		return lm.Fail
	case byID(a) && byID(b):
		return lm.Quick
	}
	return lm.Restart
}

// Members are the engines as they are now.
func (f *Fleet) Members() []Member { return *f.members.Load() }

// States tells how the members are.
func (f *Fleet) States() (all []balance.State, waiting int) { return f.pool.States(time.Now()) }

// Name is the model's.
func (f *Fleet) Name() string { return f.model }

// Turn is an engine for one request: it says afterwards where that went.
func (f *Fleet) Turn() *Turn { return &Turn{Fleet: f} }

// Lease is a request's stay at a member. Done must be called, once.
type Lease struct {
	Member
	Why    balance.Why
	Waited time.Duration
	// Silence is how long the engine may take to begin.
	Silence time.Duration

	f    *Fleet
	t    *balance.Ticket
	kept chan struct{} // closed by Keep
}

// Keep says that the slot is not to be given back any more, whoever waits: the
// caller has shown what it can't take back. It may be called once.
func (l *Lease) Keep() { close(l.kept) }

// patience is how a request waits in line.
type patience struct {
	most time.Duration
	stay bool // longer, too, as long as any engine is well
	told func(lm.Place)
}

// take waits for a member that may answer.
func (f *Fleet) take(ctx context.Context, ask balance.Ask, p patience) (*Lease, error) {
	t, err := f.pool.Enter(time.Now(), ask)
	if err != nil {
		return nil, err
	}
	if err := f.wait(ctx, t, p); err != nil {
		f.pool.Leave(time.Now(), t)
		return nil, err
	}
	i := slices.IndexFunc(*f.members.Load(), func(m Member) bool { return m.Engine.Name() == t.Replica })
	if i < 0 { // it went in this very moment
		f.pool.Leave(time.Now(), t)
		return f.take(ctx, ask, p)
	}
	return f.lease(t, (*f.members.Load())[i], ask), nil
}

// lease is what a granted ticket gives.
func (f *Fleet) lease(t *balance.Ticket, m Member, ask balance.Ask) *Lease {
	l := &Lease{Member: m, Why: t.Why, Waited: t.Waited, Silence: untold, f: f, t: t, kept: make(chan struct{})}
	switch {
	case ask.Batch:
		l.Silence = unhurried // it may be a whole answer that comes at once
	case t.Begins > 0:
		// Longer with every engine that was too slow: they may all be slow today.
		l.Silence = max(f.o.Silence, patient*t.Begins) << min(len(ask.Tried), 6)
		if t.Why == balance.Probe {
			l.Silence /= 2 // it is more likely than others to say nothing
		}
	}
	if len(*f.members.Load()) == 1 {
		l.Silence = max(l.Silence, untold) // there is nobody else to ask
	}
	if f.o.Observer != nil {
		f.o.Observer.Routed(t.Replica, f.model, t.Why, t.Waited)
	}
	return l
}

func (f *Fleet) wait(ctx context.Context, t *balance.Ticket, p patience) error {
	select {
	case <-t.Ready():
		return nil
	default:
	}
	limit := time.NewTimer(p.most)
	defer limit.Stop()
	tell := make(<-chan time.Time) // never
	if p.told != nil {
		tick := time.NewTicker(telling)
		defer tick.Stop()
		tell = tick.C
		p.told(f.place(t))
		defer p.told(lm.Place{})
	}
	for {
		var poke <-chan time.Time
		if next := f.pool.Poke(time.Now(), t); !next.IsZero() {
			poke = time.After(max(time.Until(next), time.Millisecond))
		}
		select {
		case <-t.Ready():
			return nil
		case <-poke:
		case <-tell:
			p.told(f.place(t))
		case <-limit.C:
			o := f.pool.Outlook(time.Now())
			if p.stay && !o.Down {
				limit.Reset(p.most)
				continue
			}
			return f.waited(p.most, o)
		case <-ctx.Done():
			return fault.Wrap(context.Cause(ctx), fault.CodeOf(ctx.Err()), "the request was given up while it waited for an engine")
		}
	}
}

// place is where a request stands in the line.
func (f *Fleet) place(t *balance.Ticket) lm.Place {
	x := f.pool.Forecast(time.Now(), t)
	return lm.Place{Number: x.Place, Soon: x.Soon, Late: x.Late}
}

// waited is the error of who has waited for so long.
func (f *Fleet) waited(d time.Duration, o balance.Outlook) error {
	code, back := fault.Limited, o.Back(0)
	if o.Down {
		code = fault.Unavailable
	}
	return fault.New(code, "no engine of the model %q was free or well for %v", f.model, d.Round(time.Millisecond)).After(back)
}

// First says that the answer has begun.
func (l *Lease) First() { l.f.pool.First(time.Now(), l.t) }

// Done says how it went, and whether another engine gets the request now.
func (l *Lease) Done(ctx context.Context, err error, retried bool) {
	o := balance.Outcome{Verdict: verdict(ctx, err), After: fault.RetryAfterOf(err)}
	out := l.f.pool.Done(time.Now(), l.t, o)
	if l.f.o.Observer != nil {
		l.f.o.Observer.Left(l.t.Replica, l.f.model, o.Verdict, retried, out)
	}
	if o.Verdict == balance.Failed {
		l.f.o.Log.Warn("an engine failed a request", "engine", l.t.Replica, "model", l.f.model, "why", l.Why, "retried", retried, "out", out, "err", err)
	}
}

// verdict says whose fault an error is.
func verdict(ctx context.Context, err error) balance.Verdict {
	if err == nil {
		return balance.Answered
	}
	if ctx.Err() != nil || errors.Is(err, errYield) || errors.Is(err, errLost) {
		return balance.Dropped
	}
	switch fault.CodeOf(err) {
	case fault.Limited:
		return balance.Refused
	case fault.Unavailable, fault.Timeout, fault.Internal:
		return balance.Failed
	}
	return balance.Dropped
}

// Again reports whether a request, of which nothing was shown, is to be taken to
// an engine once more, and notes in ask whom it has tried.
func (f *Fleet) Again(ctx context.Context, ask *balance.Ask, l *Lease, err error) bool {
	if errors.Is(err, errYield) {
		return ctx.Err() == nil
	}
	ask.Tried = append(ask.Tried, l.Engine.Name())
	v := verdict(ctx, err)
	if v != balance.Failed && v != balance.Refused {
		return false
	}
	all := len(*f.members.Load())
	met := different(ask.Tried)
	return len(ask.Tried) <= all || met < all && len(ask.Tried)-met <= mostRepeats
}

// A request comes to an engine that has failed it once more when the others are
// out. It gives them time then: one of them may be well already.
const (
	mostRepeats  = 5
	repeatFirst  = 250 * time.Millisecond
	repeatLonger = time.Second
)

func different(names []string) int {
	return len(slices.Compact(slices.Sorted(slices.Values(names))))
}

// respite is how long a request rests before it is taken to an engine.
func respite(tried []string) time.Duration {
	if len(tried) < 2 {
		return 0
	}
	n := len(tried) - different(tried)
	if n == 0 {
		return 0
	}
	return min(repeatFirst<<min(n-1, 8), repeatLonger)
}

var (
	errSilent = errors.New("the engine did not begin in time")
	errYield  = errors.New("somebody waits for the slot")
)

// Silent ends ctx when the engine takes too long to begin, or when the slot is
// needed for somebody; begun says that the former does not count any more.
func (l *Lease) Silent(ctx context.Context) (_ context.Context, begun func() bool, end context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(l.Silence, func() { cancel(errSilent) })
	if yield := l.t.Yield(); yield != nil {
		go func() {
			select {
			case <-yield:
				cancel(errYield)
			case <-l.kept:
			case <-ctx.Done():
			}
		}()
	}
	return ctx, t.Stop, func() { t.Stop(); cancel(nil) }
}

// Blame turns the error of a request that Silent ended into one about the
// engine; others stay.
func (l *Lease) Blame(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errYield) {
		return fault.Wrap(errYield, fault.Unavailable, "the engine %q is needed for people now; try again later", l.Engine.Name()).After(5 * time.Second)
	}
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return fault.Wrap(err, fault.Timeout, "the engine %q did not begin to answer within %v", l.Engine.Name(), l.Silence)
	}
	return err
}
