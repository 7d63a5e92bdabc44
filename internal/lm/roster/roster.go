// Package roster knows the node's engines: which are ready, which are still
// starting and why, and who serves which model. Whoever needs an engine asks
// here and waits while it starts, instead of failing. Several that serve the
// same model answer as one, by package fleet.
package roster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
)

// Roster lists engines in order; the first is the default. Its methods may be
// called from many goroutines.
type Roster struct {
	fleets  fleet.Options
	aliases map[string]*alias
	named   []*alias        // in their order
	behind  map[string]bool // models that stand behind one

	mu      sync.Mutex // guards everything below
	places  []*Place
	teams   map[string]*fleet.Fleet // by model: those that had two engines once
	changed chan struct{}           // closed and replaced when a place changed
	closed  chan struct{}
	lined   atomic.Bool // single engines have a line before them, too
}

// Line has a line kept before every engine from now on, so that people's
// requests can be told from those of a batch. Without it an engine that serves
// its model alone is asked directly.
func (r *Roster) Line() { r.lined.Store(true) }

// Place is one engine's place, taken before the engine is ready.
type Place struct {
	r    *Roster
	name string

	// Guarded by r.mu:
	engine   lm.Engine
	final    bool   // failed for good
	problem  string // in words, "" if there is none
	models   []lm.Model
	listed   time.Time // when models were asked for
	asking   bool      // somebody asks for them now
	declared []string  // models that it serves whatever it lists
	weight   float64
	far      bool          // in another region
	trip     time.Duration // how long it took to ask it for its models, lately
	tune     func(lm.Model) lm.Model
	of       *Group // whose replica this is; nil: an engine of its own
	group    *Group // whose place this is; nil: an engine's
	counted  bool   // somebody counts its requests, so that it has a fleet though it is alone
}

// New returns an empty roster. fleets are the options of every fleet that
// comes to be.
func New(fleets fleet.Options) *Roster {
	return &Roster{fleets: fleets, aliases: map[string]*alias{}, behind: map[string]bool{}, teams: map[string]*fleet.Fleet{}, changed: make(chan struct{}), closed: make(chan struct{})}
}

const (
	fresh   = 15 * time.Second // how long a list of models is believed
	patient = 3 * time.Second  // for an engine to list its models
)

// Expect takes the next place for an engine that is not ready yet. declared
// names the models it serves; empty: those it lists.
func (r *Roster) Expect(name, why string, declared []string) *Place {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &Place{r: r, name: name, problem: why, declared: declared}
	r.places = append(r.places, p)
	return p
}

func (p *Place) change(f func()) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	f()
	close(p.r.changed)
	p.r.changed = make(chan struct{})
}

// Become gives the place another name and other declared models, once it is
// known what fills it.
func (p *Place) Become(name string, declared []string) {
	p.change(func() { p.name, p.declared = name, declared })
}

// Weigh says how much work the engine gets beside others with the same model.
func (p *Place) Weigh(w float64) { p.change(func() { p.weight = w }) }

// Far says that the engine is in another region: what lies between costs time.
func (p *Place) Far() { p.change(func() { p.far = true }) }

// distance is that time, to a round trip of 5 ms. The caller holds r.mu.
func (p *Place) distance() time.Duration {
	if !p.far {
		return 0
	}
	return max(p.trip.Round(5*time.Millisecond), 5*time.Millisecond)
}

// Count has the engine's requests go through a fleet though no other one serves
// its model, so that what runs and waits is known.
func (p *Place) Count() { p.change(func() { p.counted = true }) }

// Waiting is how many requests wait in line for what the place declares to
// serve.
func (p *Place) Waiting() (n int) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	for name, team := range p.r.teams {
		if p.servesLocked(name) {
			_, waiting := team.States()
			n += waiting
		}
	}
	return n
}

// Say tells why the engine is not ready yet.
func (p *Place) Say(why string) { p.change(func() { p.problem = why }) }

// Serve fills the place. tune, if not nil, adjusts what the engine says of its
// models (a declared policy, a limit); problem is shown though it serves.
func (p *Place) Serve(e lm.Engine, problem string, tune func(lm.Model) lm.Model) {
	p.change(func() { p.engine, p.problem, p.tune = e, problem, tune })
	go p.learn()
}

// learn asks for the models until they are known, so that they can be shown
// before somebody asks for an answer.
func (p *Place) learn() {
	for range 60 {
		if _, err := p.list(context.Background()); err == nil {
			return
		}
		select {
		case <-p.r.closed:
			return
		case <-time.After(time.Second):
		}
	}
}

// Fail leaves the place empty for good.
func (p *Place) Fail(why string) { p.change(func() { p.final, p.problem = true, why }) }

// Find returns the engine that serves model ("" = the first engine's first
// model) and what is known of the model. Of several engines that serve it, it
// returns their fleet, for one request; an engine's own name, or that with the
// model after a slash, means this engine alone. Of the models behind an alias a
// conversation gets the same one each time. Find waits for engines that are
// starting, until ctx ends.
func (r *Roster) Find(ctx context.Context, model, conversation string) (lm.Engine, lm.Model, error) {
	if model == "" && len(r.aliases) > 0 { // what is said of the default model holds for who names none
		if first, _, err := r.first(ctx); err == nil {
			model = first
		}
	}
	if a := r.aliases[model]; a != nil {
		e, m, err := r.as(ctx, a, conversation)
		return e, m, missing(a, err)
	}
	return r.plain(ctx, model, false)
}

// plain is Find for a model's own name. led has a fleet made for an engine that
// serves it alone.
func (r *Roster) plain(ctx context.Context, model string, led bool) (lm.Engine, lm.Model, error) {
	for {
		r.mu.Lock()
		more := r.changed
		r.mu.Unlock()
		e, m, wait, err := r.find(ctx, model, led)
		if e != nil {
			return e, m, nil
		}
		if len(wait) == 0 {
			return nil, lm.Model{}, err
		}
		if !r.await(ctx, more, wait) {
			return nil, lm.Model{}, err
		}
	}
}

// await waits until a place has changed; groups among those that are waited for
// hear of it. False: ctx has ended.
func (r *Roster) await(ctx context.Context, more <-chan struct{}, wait []*Place) bool {
	r.hold(wait, 1)
	defer r.hold(wait, -1)
	select {
	case <-more:
		return true
	case <-ctx.Done():
		return false
	}
}

// find looks once; wait are starting engines that may still serve the model.
func (r *Roster) find(ctx context.Context, model string, led bool) (_ lm.Engine, _ lm.Model, wait []*Place, _ error) {
	if model == "" {
		first, wait, err := r.first(ctx)
		if err != nil {
			return nil, lm.Model{}, wait, err
		}
		model = first
	}
	if e, m := r.known(model, led); e != nil {
		return e, m, nil, nil
	}
	var down, dead error
	for _, p := range r.all() {
		name, engine, final, problem := p.state()
		switch {
		case engine != nil:
			if _, err := p.list(ctx); err != nil {
				down = err
			}
		case final:
			dead = fault.New(fault.Unsupported, "the engine %s can't be used: %s", name, problem)
		case !p.mayServe(model):
		case p.broken():
			down = fault.New(fault.Unavailable, "the engine %s does not start: %s", name, problem).After(10 * time.Second)
		default:
			wait = append(wait, p)
			down = fault.New(fault.Unavailable, "the engine %s is not ready: %s", name, problem).After(2 * time.Second)
		}
	}
	if e, m := r.known(model, led); e != nil {
		return e, m, nil, nil
	}
	if down != nil {
		return nil, lm.Model{}, wait, down
	}
	if dead != nil { // for good, so that nobody waits for it
		return nil, lm.Model{}, nil, dead
	}
	return nil, lm.Model{}, nil, fault.New(fault.NotFound, "no engine serves the model %q", model)
}

// first is the model of those that name none.
func (r *Roster) first(ctx context.Context) (model string, wait []*Place, err error) {
	var dead error
	for _, p := range r.all() {
		name, engine, final, problem := p.state()
		switch {
		case p.gathers():
			return p.promised()[0].ID, nil, nil
		case engine != nil:
			models, err := p.list(ctx)
			if err != nil {
				return "", nil, err
			}
			return models[0].ID, nil, nil
		case final:
			dead = fault.New(fault.Unsupported, "the engine %s can't be used: %s", name, problem)
		default: // the default is the first that may serve
			return "", []*Place{p}, fault.New(fault.Unavailable, "the engine %s is not ready: %s", name, problem).After(2 * time.Second)
		}
	}
	if dead != nil {
		return "", nil, dead
	}
	return "", nil, fault.New(fault.Unavailable, "there is no engine that could answer")
}

func (r *Roster) all() []*Place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Place(nil), r.places...)
}

func (p *Place) state() (name string, engine lm.Engine, final bool, problem string) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	return p.name, p.engine, p.final, p.problem
}

// known looks in what the engines have listed, so that none of them, hung or
// dead, holds up a request for another one. What is not fresh any more is asked
// for beside.
func (r *Roster) known(model string, led bool) (lm.Engine, lm.Model) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.knownLocked(model, led)
}

// knownLocked is known for who holds r.mu.
func (r *Roster) knownLocked(model string, led bool) (lm.Engine, lm.Model) {
	var members [8]fleet.Member
	found := members[:0]
	led = led || r.behind[model] // all who want its slots are counted
	counted := led
	for _, p := range r.places {
		if p.engine == nil {
			continue
		}
		p.refresh()
		for _, m := range p.models {
			alone := m.ID != model && means(model, p.name, m.ID)
			if alone && !led {
				return p.engine, m
			}
			if alone || m.ID == model || p.of != nil && means(model, p.of.place.name, m.ID) {
				found = append(found, fleet.Member{Engine: p.engine, Model: m, Weight: p.weight, Distance: p.distance()})
				counted = counted || p.of != nil || p.counted
				break
			}
		}
	}
	team := r.teams[model]
	switch {
	case len(found) == 0:
		return nil, lm.Model{}
	case len(found) == 1 && team == nil && !counted && !r.lined.Load():
		return found[0].Engine, found[0].Model
	case team == nil:
		team = fleet.New(model, r.fleets)
		r.teams[model] = team
	}
	team.Set(found)
	return team.Turn(), team.Model()
}

// means reports whether model is an engine's own name, or that with a model of
// it after a slash.
func means(model, engine, id string) bool {
	rest, ok := strings.CutPrefix(model, engine)
	return ok && (rest == "" || rest[0] == '/' && rest[1:] == id)
}

// refresh asks for the models in the background once they are not fresh. The
// caller holds r.mu.
func (p *Place) refresh() {
	if p.asking || p.models == nil || time.Since(p.listed) < fresh {
		return
	}
	p.asking = true
	go func() {
		_, _ = p.list(context.Background()) // what it listed before stays
		p.r.mu.Lock()
		defer p.r.mu.Unlock()
		p.asking = false
	}()
}

// list returns the engine's models, from memory if they are fresh, or if the
// engine doesn't answer now.
func (p *Place) list(ctx context.Context) ([]lm.Model, error) {
	p.r.mu.Lock()
	name, engine, models, listed, tune, declared := p.name, p.engine, p.models, p.listed, p.tune, p.declared
	p.r.mu.Unlock()
	if models != nil && time.Since(listed) < fresh {
		return models, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	began := time.Now()
	found, err := engine.Models(ctx)
	if err == nil {
		p.travelled(time.Since(began))
	}
	switch {
	case err == nil && len(declared) > 0:
		found = onlyDeclared(found, declared)
	case err != nil && len(declared) > 0 && !errors.Is(err, context.Canceled) && models == nil:
		found = onlyDeclared(nil, declared) // a server that lists nothing
	case err != nil && models != nil:
		found = models
		tune = nil
	case err != nil:
		return nil, err
	}
	if len(found) == 0 {
		return nil, fault.New(fault.Unavailable, "the engine %s has no model", name)
	}
	if tune != nil {
		for i := range found {
			found[i] = tune(found[i])
		}
	}
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.models, p.listed = found, time.Now()
	if p.of != nil {
		p.of.place.models = found // what is known of them while none runs
	}
	return found, nil
}

// travelled takes how long it took to ask the engine something that costs it
// nothing: the least counts most, as the rest is not the way's.
func (p *Place) travelled(took time.Duration) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if p.trip == 0 || took < p.trip {
		p.trip = took
		return
	}
	p.trip += (took - p.trip) / 16
}

func onlyDeclared(found []lm.Model, declared []string) []lm.Model {
	out := make([]lm.Model, 0, len(declared))
	for _, id := range declared {
		m := lm.Model{ID: id, Resume: lm.Restart}
		if len(found) > 0 {
			m.Resume = found[0].Resume
		}
		for _, f := range found {
			if f.ID == id {
				m = f
			}
		}
		out = append(out, m)
	}
	return out
}

// Models lists what the engines that are ready serve, each model once.
func (r *Roster) Models(ctx context.Context) ([]lm.Model, error) {
	var out []lm.Model
	for _, p := range r.all() {
		_, engine, _, _ := p.state()
		var models []lm.Model
		var err error
		switch {
		case p.gathers():
			models = p.promised()
		case engine == nil:
			continue
		default:
			if models, err = p.list(ctx); err != nil {
				continue
			}
		}
		for _, m := range models {
			if !slices.ContainsFunc(out, func(x lm.Model) bool { return x.ID == m.ID }) {
				out = append(out, m)
			}
		}
	}
	return append(out, r.listed(out)...), nil
}

// Status is the state of an engine in words.
type Status struct {
	Name    string
	Model   string // its first, "" if not known yet
	Ready   bool
	Demo    bool
	Problem string
}

// Default returns the state of the first engine, without asking it.
func (r *Roster) Default() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.places {
		if p.final && len(r.places) > 1 {
			continue
		}
		s := Status{Name: p.name, Ready: p.engine != nil, Problem: p.problem}
		if p.group != nil && p.group.replicas > 0 {
			s.Ready, s.Problem = true, ""
		}
		if len(p.models) > 0 {
			s.Model, s.Demo = p.models[0].ID, p.models[0].Demo
		}
		return s
	}
	return Status{Problem: "there is no engine"}
}

// Sees reports whether a model ("" = the default one) is known to read
// pictures, without asking its engine.
func (r *Roster) Sees(model string) bool {
	if a := r.aliases[model]; a != nil {
		return !slices.ContainsFunc(a.Serve, func(s Share) bool { return !r.sees(s.Model) })
	}
	return r.sees(model)
}

func (r *Roster) sees(model string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if model == "" && len(r.places) > 0 && len(r.places[0].models) > 0 {
		model = r.places[0].models[0].ID
	}
	sees := false
	for _, p := range r.places {
		for _, m := range p.models {
			if model == "" || m.ID == model || model == p.name+"/"+m.ID || model == p.name {
				if !m.Vision || model != m.ID {
					return m.Vision
				}
				sees = true // as far as this engine goes: another one may serve it too
			}
		}
	}
	return sees
}

// Health is nil if the first engine can take a request, or another one with the
// same model; a problem that it serves in spite of is not an error.
func (r *Roster) Health(ctx context.Context) error {
	r.mu.Lock()
	var engine lm.Engine
	why := []string{}
	asleep := false
	for _, p := range r.places {
		if p.engine == nil {
			asleep = asleep || p.group != nil && !p.group.refused
			why = append(why, p.name+": "+p.problem)
			continue
		}
		engine = p.engine
		if len(p.models) > 0 {
			if team := r.teams[p.models[0].ID]; team != nil {
				engine = team.Turn()
			}
		}
		break
	}
	r.mu.Unlock()
	if engine == nil && asleep {
		return nil // it takes requests, and holds them until it has started
	}
	if engine == nil {
		return fault.New(fault.Unavailable, "no engine is ready (%s)", strings.Join(why, "; "))
	}
	return engine.Health(ctx)
}

// Healthy is nil if the engine with this name can take a request now.
func (r *Roster) Healthy(ctx context.Context, name string) error {
	for _, p := range r.all() {
		have, engine, _, problem := p.state()
		switch {
		case have != name:
		case p.gathers() && !p.broken():
			return nil
		case engine == nil:
			return fault.New(fault.Unavailable, "%s", problem)
		default:
			if why := r.out(name); why != nil {
				return why
			}
			return engine.Health(ctx)
		}
	}
	return fault.New(fault.NotFound, "there is no engine %q", name)
}

// out says that an engine gets no requests now, whatever it says of itself.
func (r *Roster) out(name string) error {
	r.mu.Lock()
	teams := slices.Collect(maps.Values(r.teams))
	r.mu.Unlock()
	for _, t := range teams {
		states, _ := t.States()
		for _, s := range states {
			if s.Name == name && !s.Trusted && s.Out > 0 {
				return fault.New(fault.Unavailable, "it failed requests for the model %s and is left out for %v", t.Name(), s.Out.Round(100*time.Millisecond))
			}
		}
	}
	return nil
}

// Fleets calls f for every model that several engines serve.
func (r *Roster) Fleets(f func(*fleet.Fleet)) {
	r.mu.Lock()
	teams := slices.Collect(maps.Values(r.teams))
	r.mu.Unlock()
	for _, t := range teams {
		f(t)
	}
}

// Close closes all engines.
func (r *Roster) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.closed)
	var errs []error
	for _, p := range r.places {
		if p.engine != nil {
			errs = append(errs, p.engine.Close())
		}
	}
	return errors.Join(errs...)
}
