package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama"
	"github.com/parleyhq/parley/internal/lm/openai"
	"github.com/parleyhq/parley/internal/lm/roster"
	"github.com/parleyhq/parley/internal/pause"
	"github.com/parleyhq/parley/internal/scale/crew"
	"github.com/parleyhq/parley/internal/scale/process"
	"github.com/parleyhq/parley/internal/telemetry"
)

// crewsOf are the engines that are scaled.
func (a *App) crewsOf() []*crew.Crew {
	if all := a.crews.Load(); all != nil {
		return *all
	}
	return nil
}

// scaled has replicas of an engine come and go in its place.
func (a *App) scaled(ctx context.Context, p *roster.Place, e config.Engine, models []string, tune func(lm.Model) lm.Model, launch func(name string) (crew.Replica, error)) error {
	c, err := crew.New(p, models, crew.Options{
		Name: e.Name, Limits: e.Limits(), Launch: launch, Tune: tune, Patience: e.Scale.Patience, Observer: a.metrics, Log: a.lg,
	})
	if err != nil {
		return err
	}
	a.crewing.Lock()
	defer a.crewing.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx) // the node stops already
	}
	all := append([]*crew.Crew{c}, a.crewsOf()...)
	a.crews.Store(&all)
	c.Start(ctx)
	if launch != nil {
		a.opts.Console.Line("Engine: %s, %d to %d replicas", e.Name, e.Scale.Min, e.Scale.Max)
	}
	return nil
}

// scaling is what the API says of them.
func (a *App) scaling() []api.ScaledEngine {
	out := []api.ScaledEngine{}
	for _, c := range a.crewsOf() {
		s := c.State()
		x := api.ScaledEngine{
			Name: s.Name, Requests: s.Requests, Expected: s.Decision.Expected, Target: s.Limits.Target, Min: s.Limits.Min, Max: s.Limits.Max,
			Wanted: s.Decision.Replicas, Why: string(s.Decision.Why), Problem: s.Problem,
		}
		if !s.Elsewhere {
			x.Replicas = &api.Replicas{Starting: s.Starting, Ready: s.Ready, Draining: s.Draining}
		}
		out = append(out, x)
	}
	return out
}

// scales tells the metrics of them.
func (a *App) scales() (out []telemetry.Scaled) {
	for _, c := range a.crewsOf() {
		s := c.State()
		out = append(out, telemetry.Scaled{
			Engine: s.Name, Requests: float64(s.Requests), Expected: s.Decision.Expected, Target: s.Limits.Target,
			Wanted: s.Decision.Replicas, Starting: s.Starting, Ready: s.Ready, Draining: s.Draining,
		})
	}
	return out
}

// stopCrews ends all replicas.
func (a *App) stopCrews() {
	a.crewing.Lock()
	defer a.crewing.Unlock()
	for _, c := range a.crewsOf() {
		c.Stop()
	}
}

// processes scales servers that this node starts.
func (a *App) processes(ctx context.Context, p *roster.Place, e config.Engine) error {
	return a.scaled(ctx, p, e, e.Models, tune(e), func(name string) (crew.Replica, error) {
		child, err := process.Start(process.Options{Command: e.Command, Log: a.lg.With("replica", name)})
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "%v", err)
		}
		o := openai.Options{
			Name: name, BaseURL: fmt.Sprintf("http://127.0.0.1:%d", child.Port()), Dialect: openai.Dialect(e.Dialect),
			Resume: e.Resume, Stall: e.Timeout, Model: e.Models[0], Log: a.lg,
		}
		return &server{child, o}, nil
	})
}

// server is a process that speaks the OpenAI API, as a replica.
type server struct {
	*process.Process
	o openai.Options
}

// Ready asks until the server answers as one that has loaded its model.
func (s *server) Ready(ctx context.Context) (lm.Engine, error) {
	why := error(fault.New(fault.Unavailable, "it has not answered yet"))
	for ctx.Err() == nil {
		select {
		case <-s.Gone():
			return nil, fault.New(fault.Unavailable, "%s", s.Why())
		default:
		}
		engine, err := s.look(ctx)
		if err == nil {
			return engine, nil
		}
		why = err
		_ = pause.For(ctx, 100*time.Millisecond)
	}
	return nil, why
}

func (s *server) look(ctx context.Context) (lm.Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	o := s.o
	if o.Dialect == "" || o.Dialect == "auto" {
		var err error
		if o.Dialect, err = openai.Detect(ctx, withoutDialect(o)); err != nil {
			return nil, err
		}
	}
	engine, err := openai.New(o)
	if err != nil {
		return nil, err
	}
	if err := engine.Health(ctx); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return engine, nil
}

// embeddedReplica is a child of the embedded engine. It is supervised already,
// so that it does not end by itself.
type embeddedReplica struct {
	*llama.Engine
	gone chan struct{}
}

// Ready waits until the model is loaded.
func (r *embeddedReplica) Ready(ctx context.Context) (lm.Engine, error) {
	if err := loaded(ctx, r.Engine, func(float32) {}); err != nil {
		return nil, err
	}
	return r.Engine, nil
}

// loaded waits until the engine has loaded its model, or can't.
func loaded(ctx context.Context, e *llama.Engine, say func(part float32)) error {
	for {
		changed := e.Changed()
		switch s := e.State(); s.Phase {
		case llama.Ready:
			return nil
		case llama.Failed:
			return e.Health(ctx)
		case llama.Loading:
			say(s.Loaded)
		case llama.Stopped:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *embeddedReplica) Gone() <-chan struct{} { return r.gone }
func (r *embeddedReplica) Why() string           { return "the embedded engine was closed" }

// Stop ends the child.
func (r *embeddedReplica) Stop() {
	_ = r.Close()
	close(r.gone)
}
