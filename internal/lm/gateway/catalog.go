package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Engines is a catalog of a fixed list: the first engine's first model is the
// default, and of two models with one name the earlier engine's counts. What
// the engines serve is asked again once it is half a minute old, or when a
// name is unknown.
func Engines(list ...lm.Engine) Catalog { return &fixed{list: list} }

type fixed struct {
	list []lm.Engine
	now  atomic.Pointer[snapshot]
	mu   sync.Mutex // held while asking
}

// snapshot is what the engines served at a time. It is never changed.
type snapshot struct {
	at     time.Time
	all    []lm.Model
	byName map[string]place
	first  place
	err    error // of the engines that did not answer
}

type place struct {
	engine lm.Engine
	model  lm.Model
}

const (
	catalogAge   = 30 * time.Second
	catalogRetry = time.Second
	catalogAsk   = 5 * time.Second
)

// Find returns the engine of a model.
func (f *fixed) Find(ctx context.Context, name, _ string) (lm.Engine, lm.Model, error) {
	s := f.now.Load()
	if s == nil || time.Since(s.at) > catalogAge {
		s = f.ask(ctx, catalogAge)
	}
	p, ok := s.find(name)
	if !ok {
		s = f.ask(ctx, catalogRetry)
		p, ok = s.find(name)
	}
	switch {
	case ok:
		return p.engine, p.model, nil
	case s.err != nil:
		return nil, lm.Model{}, fault.Wrap(s.err, fault.Unavailable, "no engine that can be reached has this model: %s", fault.MessageOf(s.err))
	case name == "":
		return nil, lm.Model{}, fault.New(fault.Unavailable, "there is no model yet")
	}
	return nil, lm.Model{}, about("model", fault.New(fault.NotFound, "there is no model %q; GET /v1/models lists those there are", short(name)))
}

// Models lists all.
func (f *fixed) Models(ctx context.Context) ([]lm.Model, error) {
	s := f.now.Load()
	if s == nil || time.Since(s.at) > catalogAge {
		s = f.ask(ctx, catalogAge)
	}
	if len(s.all) == 0 && s.err != nil {
		return nil, s.err
	}
	return s.all, nil
}

func (s *snapshot) find(name string) (place, bool) {
	if name == "" {
		return s.first, s.first.engine != nil
	}
	p, ok := s.byName[name]
	return p, ok
}

// ask asks all engines unless the last answer is younger than age. What an
// engine that does not answer served before stays: it may be back by the time
// the request gets there.
func (f *fixed) ask(ctx context.Context, age time.Duration) *snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.now.Load()
	if old != nil && time.Since(old.at) < age {
		return old
	}
	// One caller's hang-up must not spoil the answer for the others.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), catalogAsk)
	defer stop()
	s := &snapshot{at: time.Now(), byName: map[string]place{}}
	for _, e := range f.list {
		models, err := e.Models(ctx)
		if err != nil {
			s.err = errors.Join(s.err, err)
			models = old.of(e)
		}
		for _, m := range models {
			if _, there := s.byName[m.ID]; there {
				continue
			}
			p := place{e, m}
			s.byName[m.ID] = p
			s.all = append(s.all, m)
			if s.first.engine == nil {
				s.first = p
			}
		}
	}
	f.now.Store(s)
	return s
}

func (s *snapshot) of(e lm.Engine) []lm.Model {
	if s == nil {
		return nil
	}
	var out []lm.Model
	for _, m := range s.all {
		if s.byName[m.ID].engine == e {
			out = append(out, m)
		}
	}
	return out
}

// short makes a client's word fit for a message.
func short(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if r := []rune(s); len(r) > 100 {
		return string(r[:100]) + "..."
	}
	return s
}
