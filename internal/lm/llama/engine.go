// Package llama is the embedded engine: llama.cpp's shared library, driven
// without a C compiler, in a child process that may crash, hang or be killed
// without the node. What may live here: the parent's side (Engine, which
// supervises the child) and the child's entry (Serve). The folders below hold
// the child's parts.
package llama

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/lib"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// Options of an Engine. Library and Model are needed; every other zero value
// is a sensible default.
type Options struct {
	Library string // folder that holds libllama and its compute backends
	Model   string // GGUF file
	ID      string // the model's name to callers; "": the file's name without .gguf
	Name    string // the engine's; "": Name

	Slots   int // answers computed at once; 0: 4
	Window  int // tokens of prompt and answer together, of every slot; 0: the model's own, at most 4096
	Threads int // most threads of the library; 0: one for each physical core. Where the system tells its load, fewer are used while others need the processor
	Queue   int // requests that may wait for a slot; 0: 64; more are Limited

	// Resume is what the engine declares and how it keeps its cache. Exact
	// (the default) uses only what was computed as a prompt's again; Quick
	// uses every cached token again. A request may name either policy for
	// itself in both cases.
	Resume lm.Policy

	// StallLimit is how long the child may have work and make no progress;
	// 0: 30 s. SilenceLimit is how long it may not answer at all; 0: 10 s.
	// LoadLimit is how long loading may make no progress; 0: 10 min. A child
	// over a limit is killed and started again.
	StallLimit, SilenceLimit, LoadLimit time.Duration

	// Command starts the child, followed by the arguments that Serve reads;
	// nil: this executable with "engine". Env is added to its environment.
	Command []string
	Env     []string

	// OnExit, if set, is told after a child ended, before the next starts.
	OnExit func(Exit)
	Logger *slog.Logger // nil: none
}

// Exit is the end of a child.
type Exit struct {
	Pid    int
	Err    error // why
	Served bool  // it had been ready
}

// Phase of the engine's child.
type Phase string

// The phases. Failed means that the last attempts did not get ready; it is
// tried again from time to time, and requests fail at once instead of waiting.
const (
	Stopped Phase = "stopped"
	Loading Phase = "loading"
	Ready   Phase = "ready"
	Failed  Phase = "failed"
)

// State is what is known of the engine's child.
type State struct {
	Phase    Phase
	Loaded   float32 // 0 to 1, while loading
	Pid      int     // 0: none
	Restarts int     // since Start
	Err      error   // the last end of a child, or nil
	Library  string  // version
	Active   int     // answers being computed, as of about a second ago
	Queued   int
	Steps    uint64 // decodes of this child so far, as of about a second ago
}

// Engine supervises a child and implements lm.Engine.
type Engine struct {
	o        Options
	log      *slog.Logger
	inflight atomic.Int64
	nextID   atomic.Uint64

	mu      sync.Mutex
	state   State         // guarded by mu
	cur     *child        // guarded by mu; the running child
	info    *wire.Ready   // guarded by mu; what the last ready child said
	changed chan struct{} // guarded by mu; closed and replaced when state or cur change
	cancel  func()        // guarded by mu; nil before Start
	closed  bool          // guarded by mu
	done    chan struct{} // closed when the supervisor has ended
}

var _ lm.Engine = (*Engine)(nil)

// Name of the engine in configuration, metrics and messages.
const Name = "embedded"

// New checks the options; Start starts the child.
func New(o Options) (*Engine, error) {
	if !lib.Supported && o.Command == nil {
		return nil, fault.Wrap(lib.ErrUnsupported, fault.Unsupported, "the embedded engine does not run on this system")
	}
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("embedded engine: "+format, args...))
		}
	}
	need(o.Library != "", "no library folder")
	need(o.Model != "", "no model file")
	need(o.Slots >= 0 && o.Slots <= 64, "%d slots; 1 to 64 are possible", o.Slots)
	need(o.Window >= 0 && o.Window <= 1<<20, "a window of %d tokens", o.Window)
	need(o.Threads >= 0 && o.Threads <= 512, "%d threads", o.Threads)
	need(o.Queue >= 0, "a queue of %d", o.Queue)
	need(o.Resume == "" || o.Resume == lm.Exact || o.Resume == lm.Quick, "resume policy %q; exact and quick are possible", o.Resume)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	setDefault(&o.Name, Name)
	setDefault(&o.Slots, 4)
	setDefault(&o.Queue, 64)
	setDefault(&o.Resume, lm.Exact)
	setDefault(&o.StallLimit, 30*time.Second)
	setDefault(&o.SilenceLimit, 10*time.Second)
	setDefault(&o.LoadLimit, 10*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Command == nil {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("embedded engine: find own executable: %w", err)
		}
		o.Command = []string{exe, "engine"}
	}
	return &Engine{
		o: o, log: o.Logger, state: State{Phase: Stopped},
		changed: make(chan struct{}), done: make(chan struct{}),
	}, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// args are the child's arguments, as Serve reads them.
func (e *Engine) args() []string {
	a := []string{
		"--library", e.o.Library, "--model", e.o.Model,
		"--slots", strconv.Itoa(e.o.Slots), "--window", strconv.Itoa(e.o.Window), "--threads", strconv.Itoa(e.o.Threads),
	}
	if e.o.Resume == lm.Quick {
		a = append(a, "--loose")
	}
	return a
}

// Start starts the child and returns at once; requests wait for it, and
// State tells how far it is. The engine runs until Close, whatever becomes of
// ctx.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.cancel != nil {
		return errors.New("embedded engine: started twice or closed")
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.cancel = cancel
	e.state.Phase = Loading
	go e.supervise(run)
	return nil
}

// Close ends the child and every answer. It returns when the child is gone.
func (e *Engine) Close() error {
	e.mu.Lock()
	started := e.cancel != nil
	e.closed = true
	if started {
		e.cancel()
	}
	e.mu.Unlock()
	if started {
		<-e.done
	}
	return nil
}

// Name is what the options say, or "embedded".
func (e *Engine) Name() string { return e.o.Name }

// State returns what is known now.
func (e *Engine) State() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stateLocked()
}

func (e *Engine) stateLocked() State {
	s := e.state
	if e.cur != nil {
		p := e.cur.pong.Load()
		s.Active, s.Queued, s.Steps = p.Active, p.Queued, p.Steps
	}
	return s
}

// Changed returns a channel that is closed when State's phase, progress or
// process change.
func (e *Engine) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// Pid is the child's process, or 0.
func (e *Engine) Pid() int { return e.State().Pid }

// Health says whether a request would be taken now.
func (e *Engine) Health(context.Context) error {
	s := e.State()
	switch s.Phase {
	case Ready:
		return nil
	case Failed:
		return failed(s.Err)
	case Loading:
		return fault.New(fault.Unavailable, "the embedded engine is loading its model (%.0f %%)", 100*s.Loaded)
	}
	return fault.New(fault.Unavailable, "the embedded engine is not running")
}

func failed(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the embedded engine does not start: %v", err)
}

// Models returns the one model, once it was loaded.
func (e *Engine) Models(ctx context.Context) ([]lm.Model, error) {
	e.mu.Lock()
	info := e.info
	e.mu.Unlock()
	if info == nil {
		if err := e.Health(ctx); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.Unavailable, "the embedded engine is loading its model")
	}
	return []lm.Model{{
		ID: e.modelID(info), Window: info.Window, Slots: info.Slots, Resume: e.o.Resume, Embedding: true,
	}}, nil
}

func (e *Engine) modelID(info *wire.Ready) string {
	if e.o.ID != "" {
		return e.o.ID
	}
	return info.Model
}

// ready waits for a child that takes requests.
func (e *Engine) ready(ctx context.Context, model string) (*child, *wire.Ready, error) {
	for {
		e.mu.Lock()
		cur, info, changed, state, closed := e.cur, e.info, e.changed, e.state, e.closed
		e.mu.Unlock()
		switch {
		case closed || state.Phase == Stopped:
			return nil, nil, fault.New(fault.Unavailable, "the embedded engine is not running")
		case state.Phase == Ready && cur != nil && !cur.isGone():
			if model != "" && model != e.modelID(info) {
				return nil, nil, fault.New(fault.NotFound, "there is no model %q here; there is %q", model, e.modelID(info))
			}
			return cur, info, nil
		case state.Phase == Failed:
			return nil, nil, failed(state.Err)
		}
		select {
		case <-ctx.Done():
			return nil, nil, canceled(ctx)
		case <-changed:
		}
	}
}

func canceled(ctx context.Context) error {
	return fault.Wrap(context.Cause(ctx), fault.Canceled, "the request was cancelled")
}

// enter counts a request in, or says that there are too many. A request that
// was counted calls leave.
func (e *Engine) enter() error {
	if n := e.inflight.Add(1); n > int64(e.o.Slots+e.o.Queue) {
		e.inflight.Add(-1)
		return fault.New(fault.Limited, "%d requests are running or waiting already", n-1).After(time.Second)
	}
	return nil
}

func (e *Engine) leave() { e.inflight.Add(-1) }
