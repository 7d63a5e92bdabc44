package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/llama"
	"github.com/parleyhq/parley/internal/lm/openai"
	"github.com/parleyhq/parley/internal/lm/pull"
	"github.com/parleyhq/parley/internal/lm/roster"
	"github.com/parleyhq/parley/internal/progress"
	"github.com/parleyhq/parley/internal/scale/crew"
	"github.com/parleyhq/parley/internal/telemetry"
)

// startEngines takes a place for every engine and gets them ready in the
// background: the node is up while a model is fetched or loaded.
func (a *App) startEngines(ctx context.Context) error {
	a.roster = roster.New(fleet.Options{Wait: a.cfg.Limits.Wait, Observer: routes{a.metrics, a.crewsOf}, Log: a.lg})
	a.roster.Alias(a.aliases()...)
	a.metrics.Scales(a.scales)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	a.onStop("engines", func(context.Context) error { cancel(); work.Wait(); a.stopCrews(); return a.roster.Close() })
	if a.cfg.Auto() {
		p := a.roster.Expect("engine", "looking for an engine on this machine", nil)
		work.Go(func() { a.auto(run, p) })
		return nil
	}
	for _, e := range a.cfg.Engines {
		p := a.roster.Expect(e.Name, "starting", declared(e))
		p.Weigh(float64(e.Weight))
		if e.Region != "" && e.Region != a.cfg.Region {
			p.Far()
		}
		if e.Slots > 0 || e.Tokens > 0 {
			p.Count() // so that there is a line before it, and places in that
		}
		work.Go(func() {
			if err := a.ready(run, p, e); err != nil {
				a.lg.Error("an engine can't be used", "engine", e.Name, "err", err)
				a.opts.Console.Line("Engine %s can't be used: %s", e.Name, fault.MessageOf(err))
				p.Fail(fault.MessageOf(err))
			}
		})
	}
	return nil
}

// aliases are the names for models that the configuration gives.
func (a *App) aliases() (out []roster.Alias) {
	share := func(v string) roster.Share {
		s, _ := config.ShareOf(v) // was read when the configuration was
		return roster.Share(s)
	}
	for _, m := range a.cfg.Models {
		x := roster.Alias{Name: m.Name, Fallback: m.Fallback, Wait: m.Wait, Shadow: share(m.Shadow), Hedge: fleet.Hedge{Percentile: float64(m.Hedge), Share: float64(m.Hedges) / 100}}
		for _, v := range m.Serve {
			x.Serve = append(x.Serve, share(v))
		}
		for _, c := range m.On {
			x.On = append(x.On, fleet.Cause(c))
		}
		if x.Shadow.Percent == 0 {
			x.Shadow.Percent = 100
		}
		out = append(out, x)
	}
	return out
}

// routes passes what fleets do on to the metrics, and to whoever scales them.
type routes struct {
	m     *telemetry.Metrics
	crews func() []*crew.Crew
}

func (r routes) Routed(engine, model string, why balance.Why, waited time.Duration) {
	r.m.Routed(engine, model, string(why), waited)
	for _, c := range r.crews() {
		c.Routed(engine, model, why, waited)
	}
}

func (r routes) Left(engine, model string, v balance.Verdict, retried, out bool) {
	r.m.Left(engine, model, v.String(), retried, out)
	for _, c := range r.crews() {
		c.Left(engine, model, v, retried, out)
	}
}

func (r routes) Shadowed(x fleet.Listened) {
	r.m.Listened(x.Engine, x.Model, x.Outcome, x.First, x.Took, x.Usage)
}

func declared(e config.Engine) []string {
	if e.Kind == config.OpenAI || e.Kind == config.Process {
		return e.Models
	}
	return nil
}

// ready makes one engine of the configuration.
func (a *App) ready(ctx context.Context, p *roster.Place, e config.Engine) error {
	switch e.Kind {
	case config.Demo:
		p.Serve(demo.New(demo.Options{Name: e.Name}), "demonstration: no language model was asked for", nil)
		a.opts.Console.Line("Engine: demonstration (no language model)")
		return nil
	case config.Echo:
		p.Serve(demo.Echo(e.Name), "echo: no language model was asked for", nil)
		a.opts.Console.Line("Engine: echo (no language model)")
		return nil
	case config.Embedded:
		return a.embedded(ctx, p, e)
	case config.Process:
		return a.processes(ctx, p, e)
	}
	return a.remote(ctx, p, e)
}

func (a *App) remote(ctx context.Context, p *roster.Place, e config.Engine) error {
	o := openai.Options{Name: e.Name, BaseURL: e.URL, Dialect: openai.Dialect(e.Dialect), Resume: e.Resume, Stall: e.Timeout, Log: a.lg}
	if !e.Key.Empty() {
		o.Key = e.Key.Reveal
	}
	if len(e.Models) > 0 {
		o.Model = e.Models[0]
	}
	if e.Dialect == "" || e.Dialect == "auto" {
		found, err := openai.Detect(ctx, withoutDialect(o))
		if err != nil {
			// It may come up later; the plainest dialect works with most.
			a.lg.Warn("an engine does not answer yet", "engine", e.Name, "err", err)
			found = openai.Generic
		}
		o.Dialect = found
	}
	engine, err := openai.New(o)
	if err != nil {
		return err
	}
	if e.Scaled() {
		if err := a.scaled(ctx, p, e, e.Models, nil, nil); err != nil {
			return err
		}
	}
	p.Serve(engine, "", tune(e))
	a.opts.Console.Line("Engine: %s at %s (%s)", e.Name, e.URL, o.Dialect)
	return nil
}

func withoutDialect(o openai.Options) openai.Options {
	o.Dialect, o.Resume = "", ""
	return o
}

// tune applies what the configuration declares to what the engine says.
func tune(e config.Engine) func(lm.Model) lm.Model {
	return func(m lm.Model) lm.Model {
		if e.Resume != "" {
			m.Resume = e.Resume
		}
		if e.Slots > 0 {
			m.Slots = e.Slots
		}
		m.Tokens = e.Tokens
		if e.Context > 0 {
			m.Window = e.Context
		}
		m.Vision = m.Vision || e.Vision
		return m
	}
}

// embedded has the library and the model on the machine and starts the child.
func (a *App) embedded(ctx context.Context, p *roster.Place, e config.Engine) error {
	model := ""
	if len(e.Models) > 0 {
		model = e.Models[0]
	}
	cache, err := pull.New(pull.Options{
		Dir: a.cfg.Cache, Source: a.cfg.ModelSource, Offline: a.cfg.Offline, Log: a.lg,
		Progress: func(x pull.Progress) { a.fetching(p, x) },
	})
	if err != nil {
		return err
	}
	paths, there, err := cache.Present(model)
	if err == nil && !there {
		p.Say("fetching the model, once")
		paths, err = cache.Ensure(ctx, model)
	}
	if err != nil {
		return err
	}
	start := func(name string) (*llama.Engine, error) {
		engine, err := llama.New(llama.Options{
			Name: name, Library: paths.LibraryDir, Model: paths.Model, ID: paths.ModelID, Slots: e.Slots,
			Window: e.Context, Threads: e.Threads, Resume: e.Resume, Logger: a.lg,
			OnExit: func(x llama.Exit) {
				if ctx.Err() == nil {
					a.lg.Warn("the embedded engine's process ended and is started again", "pid", x.Pid, "err", x.Err)
				}
			},
		})
		if err != nil {
			return nil, err
		}
		return engine, engine.Start(ctx)
	}
	advise := func(m lm.Model) lm.Model { m.Advice, m.Tokens = paths.Advice, e.Tokens; return m }
	if e.Scaled() {
		return a.scaled(ctx, p, e, []string{paths.ModelID}, advise, func(name string) (crew.Replica, error) {
			engine, err := start(name)
			return &embeddedReplica{engine, make(chan struct{})}, err
		})
	}
	engine, err := start(llama.Name)
	if err != nil {
		return err
	}
	err = loaded(ctx, engine, func(part float32) { p.Say(fmt.Sprintf("loading the model, %.0f %%", 100*part)) })
	switch {
	case err == nil:
		a.opts.Console.Line("Engine: embedded llama.cpp, model %s", paths.ModelID)
	case ctx.Err() == nil:
		a.opts.Console.Line("Engine: %s", fault.MessageOf(err))
	}
	p.Serve(engine, "", advise) // in any case: it says why it does not start, and may yet do so
	return nil
}

// fetching shows a transfer on the console and on the page.
func (a *App) fetching(p *roster.Place, x pull.Progress) {
	switch x.Stage {
	case pull.Fetching, pull.Unpacking, pull.Verifying:
		a.opts.Console.Bar(progress.Bar{Title: x.Title, Note: string(x.Stage) + from(x.Source), Done: x.Done, Total: x.Total, Rate: x.Rate})
		why := string(x.Stage) + " " + x.Title
		if x.Total > 0 {
			why += fmt.Sprintf(", %d %%", 100*x.Done/x.Total)
		}
		p.Say(why)
	case pull.Waiting:
		a.opts.Console.Line("Waiting: another process is fetching %s", x.Title)
	case pull.Failed:
		a.opts.Console.Line("%s%s: %s", x.Title, from(x.Source), x.Text)
	case pull.Done:
		a.opts.Console.Clear()
		a.opts.Console.Line("Fetched %s%s", x.Title, from(x.Source))
	}
}

func from(source string) string {
	if source == "" {
		return ""
	}
	return " from " + source
}

// auto looks for an engine: one that runs, one that the environment names, the
// embedded one, and in the end the demonstration, which says what it is.
func (a *App) auto(ctx context.Context, p *roster.Place) {
	for _, c := range a.candidates() {
		if a.try(ctx, p, c) {
			return
		}
	}
	e := config.Engine{Name: llama.Name, Kind: config.Embedded}
	if a.cfg.Model != "" {
		e.Models = []string{a.cfg.Model}
	}
	p.Become(e.Name, nil)
	err := a.embedded(ctx, p, e)
	if err == nil || ctx.Err() != nil {
		return
	}
	why := fault.MessageOf(err)
	a.lg.Warn("no language model can be had", "err", err)
	a.opts.Console.Line("No language model can be had: %s", why)
	a.opts.Console.Line("Answers come from a demonstration engine, which says so.")
	p.Become("demo", nil)
	p.Serve(demo.New(demo.Options{Why: firstLine(why)}), "no language model can be had: "+why, nil)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// candidate is an engine that may be running.
type candidate struct {
	name, url, key string
	only           openai.Dialect // "" = any
}

func (a *App) candidates() []candidate {
	env := map[string]string{}
	for _, kv := range a.opts.Environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	ollama := env["OLLAMA_HOST"]
	switch {
	case ollama == "" || strings.HasPrefix(ollama, "0.0.0.0"):
		ollama = "127.0.0.1:11434"
	case !strings.Contains(strings.TrimPrefix(strings.TrimPrefix(ollama, "http://"), "https://"), ":"):
		ollama += ":11434"
	}
	if !strings.Contains(ollama, "://") {
		ollama = "http://" + ollama
	}
	out := []candidate{
		{name: "ollama", url: ollama, only: openai.Ollama},
		{name: "llama-server", url: "http://127.0.0.1:8080", only: openai.LlamaServer},
	}
	base := env["OPENAI_BASE_URL"]
	if base == "" {
		base = env["OPENAI_API_BASE"]
	}
	switch {
	case base != "":
		out = append(out, candidate{name: "openai", url: base, key: env["OPENAI_API_KEY"]})
	case env["OPENAI_API_KEY"] != "":
		a.opts.Console.Line("OPENAI_API_KEY is set, but nothing is sent out unasked: set OPENAI_BASE_URL too to use that service")
	}
	return out
}

// try serves with a candidate if it runs and has a model.
func (a *App) try(ctx context.Context, p *roster.Place, c candidate) bool {
	limit := 700 * time.Millisecond
	if c.only == "" { // named on purpose: may be far away
		limit = 5 * time.Second
	}
	look, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o := openai.Options{Name: c.name, BaseURL: c.url, Log: a.lg, Dial: limit}
	if c.key != "" {
		o.Key = func() string { return c.key }
	}
	dialect, err := openai.Detect(look, o)
	if err != nil || (c.only != "" && dialect != c.only) {
		if c.only == "" {
			a.opts.Console.Line("%s (from OPENAI_BASE_URL) does not answer: %s", c.url, fault.MessageOf(err))
		}
		return false
	}
	o.Dialect, o.Dial, o.Model = dialect, 0, a.cfg.Model
	engine, err := openai.New(o)
	if err != nil {
		return false
	}
	models, err := engine.Models(look)
	serves := func(m lm.Model) bool { return a.cfg.Model == "" || m.ID == a.cfg.Model }
	if err != nil || !slices.ContainsFunc(models, serves) {
		_ = engine.Close()
		return false
	}
	var wanted []string
	if a.cfg.Model != "" {
		wanted = []string{a.cfg.Model}
	}
	p.Become(c.name, wanted)
	p.Serve(engine, "", nil)
	a.opts.Console.Line("Engine: found %s at %s with %d models", c.name, c.url, len(models))
	return true
}
