// Package project copies the log into the store: every entry once, in order,
// whatever is killed in between, and says so when it can't. It also builds a
// store anew from the log and compares two stores.
package project

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
	"github.com/parleyhq/parley/internal/store"
)

// Log is what the projector reads.
type Log interface {
	// Streams lists the streams of the log.
	Streams(ctx context.Context) ([]string, error)
	// Last returns the stream's last sequence.
	Last(ctx context.Context, stream string) (uint64, error)
	// Follow calls each with batches of entries of a stream after the given
	// sequence, in order, the history first and then what comes, until ctx ends
	// (then it returns nil or ctx's error) or each returns an error (which it
	// returns). The batch is the caller's again when each returns.
	Follow(ctx context.Context, stream string, after uint64, each func([]event.Entry) error) error
}

// Ender is a Log that can tell where its entries really end. The last ones may
// have been erased with a deleted conversation: then Last is never delivered,
// and without an Ender a rebuild waits a while and gives up.
type Ender interface {
	// Nothing reports whether the stream holds no entry after the sequence.
	Nothing(ctx context.Context, stream string, after uint64) (bool, error)
}

// Options of a projector. Log and Store are required.
type Options struct {
	Log    Log
	Store  store.Store
	Logger *slog.Logger // nil = discard
	// Batch is how many entries one transaction takes at most; 0 = 256.
	Batch int
	// Every is how long entries that change nothing (pieces of an answer) may
	// wait before the position moves over them; 0 = 50 ms. Others don't wait.
	Every time.Duration
	// Rescan is how often the log is asked for new streams, and a quiet stream
	// whether its last entries were erased; 0 = 5 s.
	Rescan time.Duration
	// Retry is the first pause after a failure; it doubles up to 50 times
	// itself; 0 = 100 ms.
	Retry time.Duration
	// OnDamage, if set, is called for every damaged entry, from the goroutine
	// of its stream.
	OnDamage func(stream string, e event.Entry)
}

// State of the copying of one stream.
type State string

// The states. All but Following are trouble and are tried again by
// themselves.
const (
	Following State = "following" // everything is as it should be
	Full      State = "full"      // the store's disk is full
	Failing   State = "failing"   // log or store can't be used at the moment
	Ahead     State = "ahead"     // the store holds more than the log: entries were lost, or an older log was put back
	Foreign   State = "foreign"   // the log has another entry at the store's position: it is not the log that was copied
)

// Status is what is known of one stream.
type Status struct {
	Stream   string
	Position uint64 // applied up to here
	State    State
	Trouble  string // a sentence for whoever runs the node; "" while Following
	Damaged  int    // entries left out since the start because their checksum was wrong
	Ghosts   int    // entries left out since the start because their conversation is not in the store
}

// Projector copies the log into the store while Run runs.
type Projector struct {
	opts Options
	lg   *slog.Logger

	mu      sync.Mutex         // guards streams, moved
	streams map[string]*Status // never replaced, only added to
	trouble map[string]error   // stream -> why it does not move
	moved   chan struct{}      // closed and replaced when anything above changes
}

// New makes a projector; it does nothing before Run.
func New(opts Options) (*Projector, error) {
	if opts.Log == nil || opts.Store == nil {
		return nil, errors.New("projector: Log and Store are required")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&opts.Batch, 256)
	setDefault(&opts.Every, 50*time.Millisecond)
	setDefault(&opts.Rescan, 5*time.Second)
	setDefault(&opts.Retry, 100*time.Millisecond)
	return &Projector{
		opts: opts, lg: opts.Logger.With("part", "project"),
		streams: map[string]*Status{}, trouble: map[string]error{}, moved: make(chan struct{}),
	}, nil
}

func setDefault[T int | time.Duration](v *T, normal T) {
	if *v <= 0 {
		*v = normal
	}
}

// Run copies until ctx ends, then returns nil. It may be called once at a time.
func (p *Projector) Run(ctx context.Context) error {
	var streams sync.WaitGroup
	defer streams.Wait()
	running := map[string]bool{}
	for failures := 0; ; {
		names, err := p.opts.Log.Streams(ctx)
		wait := p.opts.Rescan
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if failures++; failures == 1 {
				p.lg.Error("streams of the log can't be listed; trying again", "err", err)
			}
			wait = p.backoff(failures)
		} else {
			failures = 0
		}
		for _, name := range names {
			if !running[name] {
				running[name] = true
				streams.Go(func() { p.stream(ctx, name) })
			}
		}
		if pause.For(ctx, wait) != nil {
			return nil
		}
	}
}

// stream copies one stream until ctx ends, again and again after failures.
func (p *Projector) stream(ctx context.Context, name string) {
	for failures := 0; ctx.Err() == nil; {
		before := p.position(name)
		err := p.follow(ctx, name)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = fault.New(fault.Unavailable, "the log stopped telling what is new")
		}
		if p.position(name) != before {
			failures = 0
		}
		failures++
		p.fail(name, err)
		_ = pause.For(ctx, p.backoff(failures))
	}
}

func (p *Projector) backoff(failures int) time.Duration {
	return min(p.opts.Retry<<min(failures-1, 10), 50*p.opts.Retry)
}

func (p *Projector) position(stream string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.streams[stream]; s != nil {
		return s.Position
	}
	return 0
}

// change lets f alter a stream's status and wakes who waits.
func (p *Projector) change(stream string, f func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.streams[stream]
	if s == nil {
		s = &Status{Stream: stream, State: Following}
		p.streams[stream] = s
	}
	f(s)
	close(p.moved)
	p.moved = make(chan struct{})
}

// fail notes trouble; it is logged when it begins, not each time it is met.
func (p *Projector) fail(stream string, err error) {
	state := Failing
	var st *stateError
	switch {
	case errors.As(err, &st):
		state = st.state
	case fault.Is(err, fault.StorageFull):
		state = Full
	}
	p.change(stream, func(s *Status) {
		if s.State != state {
			p.lg.Error("history is not being written", "stream", stream, "state", string(state), "position", s.Position, "err", err)
		}
		s.State, s.Trouble = state, sentence(err)
		p.trouble[stream] = err
	})
}

func sentence(err error) string {
	if code := fault.CodeOf(err); code == fault.Internal {
		return err.Error()
	}
	return fault.MessageOf(err)
}

// recovered notes that a stream moves (again).
func (p *Projector) recovered(stream string, position uint64, ghosts int) {
	p.change(stream, func(s *Status) {
		if s.State != Following {
			p.lg.Info("history is being written again", "stream", stream, "position", position)
		}
		s.State, s.Trouble, s.Position = Following, "", position
		s.Ghosts += ghosts
		delete(p.trouble, stream)
	})
	if ghosts > 0 {
		p.lg.Debug("entries without a conversation left out", "stream", stream, "entries", ghosts)
	}
}

// stateError is trouble of a kind of its own.
type stateError struct {
	state State
	error
}

func (e *stateError) Unwrap() error { return e.error }

// Status returns what is known of the streams met so far, by name.
func (p *Projector) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Status
	for _, name := range slices.Sorted(maps.Keys(p.streams)) {
		out = append(out, *p.streams[name])
	}
	return out
}

// Health is nil if every stream is being followed and nothing damaged was met
// since the start.
func (p *Projector) Health(context.Context) error {
	var damaged int
	for _, s := range p.Status() {
		if s.State != Following {
			code := fault.Unavailable
			if s.State == Full {
				code = fault.StorageFull
			}
			return fault.New(code, "history of %s is not being written (%s): %s", s.Stream, s.State, s.Trouble)
		}
		damaged += s.Damaged
	}
	if damaged > 0 {
		return fault.New(fault.Unavailable, "%d entries of the log are damaged and were left out of the history; the node's log names them", damaged)
	}
	return nil
}

// Lag returns for every stream of the log how many sequences the store is
// behind.
func (p *Projector) Lag(ctx context.Context) (map[string]uint64, error) {
	names, err := p.opts.Log.Streams(ctx)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	out := make(map[string]uint64, len(names))
	for _, name := range names {
		at, err := p.opts.Store.Position(ctx, name) // before Last, so that it is never past it
		if err != nil {
			return nil, fmt.Errorf("read position: %w", err)
		}
		last, err := p.opts.Log.Last(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read end of %s: %w", name, err)
		}
		out[name] = last - min(at.Seq, last)
	}
	return out, nil
}

// WaitFor returns nil when the store has reached the sequence. It returns at
// once with the reason if the stream is in trouble, and with ctx's error when
// ctx ends.
func (p *Projector) WaitFor(ctx context.Context, stream string, seq uint64) error {
	for {
		p.mu.Lock()
		s, trouble, moved := p.streams[stream], p.trouble[stream], p.moved
		reached := s != nil && s.Position >= seq
		p.mu.Unlock()
		switch {
		case reached:
			return nil
		case trouble != nil:
			return trouble
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}
