// Package roster knows the node's engines: which are ready, which are still
// starting and why, and who serves which model. Whoever needs an engine asks
// here and waits while it starts, instead of failing.
package roster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Roster lists engines in order; the first is the default. Its methods may be
// called from many goroutines.
type Roster struct {
	mu      sync.Mutex // guards everything below
	places  []*Place
	changed chan struct{} // closed and replaced when a place changed
	closed  chan struct{}
}

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
	declared []string  // models that it serves whatever it lists
	tune     func(lm.Model) lm.Model
}

// New returns an empty roster.
func New() *Roster { return &Roster{changed: make(chan struct{}), closed: make(chan struct{})} }

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
// model) and what is known of the model. It waits for engines that are
// starting, until ctx ends.
func (r *Roster) Find(ctx context.Context, model string) (lm.Engine, lm.Model, error) {
	for {
		r.mu.Lock()
		more := r.changed
		places := append([]*Place(nil), r.places...)
		r.mu.Unlock()
		p, m, wait, err := r.find(ctx, places, model)
		if p != nil {
			return p, m, nil
		}
		if !wait {
			return nil, lm.Model{}, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, lm.Model{}, err
		}
	}
}

// find looks once; wait says that a starting engine may still serve the model.
func (r *Roster) find(ctx context.Context, places []*Place, model string) (lm.Engine, lm.Model, bool, error) {
	wait := false
	var down, dead error
	for _, p := range places {
		r.mu.Lock()
		name, engine, final, problem := p.name, p.engine, p.final, p.problem
		r.mu.Unlock()
		if engine == nil {
			if final {
				dead = fault.New(fault.Unsupported, "the engine %s can't be used: %s", name, problem)
			} else {
				wait = true
				down = fault.New(fault.Unavailable, "the engine %s is not ready: %s", name, problem).After(2 * time.Second)
				if model == "" {
					break // the default is the first that may serve
				}
			}
			continue
		}
		models, err := p.list(ctx)
		if err != nil {
			down = err
			if model == "" {
				return nil, lm.Model{}, false, err
			}
			continue
		}
		for _, m := range models {
			if model == "" || m.ID == model || model == name+"/"+m.ID || model == name {
				return engine, m, false, nil
			}
		}
	}
	if down != nil {
		return nil, lm.Model{}, wait, down
	}
	if dead != nil { // for good, so that nobody waits for it
		return nil, lm.Model{}, false, dead
	}
	if model == "" {
		return nil, lm.Model{}, false, fault.New(fault.Unavailable, "there is no engine that could answer")
	}
	return nil, lm.Model{}, false, fault.New(fault.NotFound, "no engine serves the model %q", model)
}

// list returns the engine's models, from memory if they are fresh, or if the
// engine doesn't answer now.
func (p *Place) list(ctx context.Context) ([]lm.Model, error) {
	p.r.mu.Lock()
	name, engine, models, listed, tune, declared := p.name, p.engine, p.models, p.listed, p.tune, p.declared
	p.r.mu.Unlock()
	if time.Since(listed) < fresh {
		return models, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	found, err := engine.Models(ctx)
	switch {
	case err == nil && len(declared) > 0:
		found = onlyDeclared(found, declared)
	case err != nil && len(declared) > 0 && !errors.Is(err, context.Canceled) && models == nil:
		found = onlyDeclared(nil, declared) // a server that lists nothing
	case err != nil && models != nil:
		return models, nil
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
	return found, nil
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

// Models lists what the engines that are ready serve.
func (r *Roster) Models(ctx context.Context) ([]lm.Model, error) {
	r.mu.Lock()
	places := append([]*Place(nil), r.places...)
	r.mu.Unlock()
	var out []lm.Model
	for _, p := range places {
		r.mu.Lock()
		engine := p.engine
		r.mu.Unlock()
		if engine == nil {
			continue
		}
		if models, err := p.list(ctx); err == nil {
			out = append(out, models...)
		}
	}
	return out, nil
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
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.places {
		for _, m := range p.models {
			if model == "" || m.ID == model || model == p.name+"/"+m.ID || model == p.name {
				return m.Vision
			}
		}
	}
	return false
}

// Health is nil if the first engine can take a request; a problem that it
// serves in spite of is not an error.
func (r *Roster) Health(ctx context.Context) error {
	r.mu.Lock()
	var engine lm.Engine
	why := []string{}
	for _, p := range r.places {
		if p.engine != nil {
			engine = p.engine
			break
		}
		why = append(why, p.name+": "+p.problem)
	}
	r.mu.Unlock()
	if engine == nil {
		return fault.New(fault.Unavailable, "no engine is ready (%s)", strings.Join(why, "; "))
	}
	return engine.Health(ctx)
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
