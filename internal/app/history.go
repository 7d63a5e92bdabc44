package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/project"
	"github.com/parleyhq/parley/internal/store"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// history is the store and the projector that fills it. When the store's file
// turns out to be damaged, it is thrown away and filled again from the log
// while the node serves: conversations come from the log, and lists and search
// say what is going on.
type history struct {
	path string
	log  *eventlog.Log
	lg   *slog.Logger

	damage  chan error // holds one: what somebody met
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.RWMutex // guards all below
	store     *sqlite.Store
	projector *project.Projector
	halt      func()            // ends the projector
	until     map[string]uint64 // what a store that is being filled again lacks: up to here, by stream; nil = nothing
	rebuilt   int               // how often it was made again
}

const (
	checkStoreAfter = 2 * time.Second // of the start
	checkStoreEvery = 24 * time.Hour
	lookAtCopying   = 500 * time.Millisecond
	tryAgain        = 5 * time.Second // after the disk had no room for another store
	farBehind       = 10_000          // entries; a busy node copies twice as many in a second
)

func openHistory(ctx context.Context, path string, log *eventlog.Log, lg *slog.Logger) (*history, error) {
	h := &history{path: path, log: log, lg: lg, damage: make(chan error, 1)}
	err := h.begin(ctx)
	if errors.Is(err, sqlite.ErrDamaged) {
		err = h.again(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	h.running.Go(func() { h.watch(run) })
	return h, nil
}

// begin opens the store and copies into it. mu is held, or nobody else is there
// yet.
func (h *history) begin(ctx context.Context) error {
	st, err := sqlite.Open(ctx, sqlite.Options{Path: h.path, Logger: h.lg, OnDamage: h.met})
	if err != nil {
		return err
	}
	p, err := project.New(project.Options{Log: h.log, Store: st, Logger: h.lg})
	if err != nil {
		return errors.Join(err, st.Close())
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var copying sync.WaitGroup
	copying.Go(func() { _ = p.Run(run) }) // Health says what is wrong
	h.store, h.projector = st, p
	h.halt = func() { cancel(); copying.Wait() }
	return nil
}

// met notes that somebody met damage.
func (h *history) met(cause error) {
	select {
	case h.damage <- cause:
	default:
	}
}

// again throws the store away and begins an empty one.
func (h *history) again(ctx context.Context, cause error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lg.Error("the store's file is damaged: history is made again from the log, and can't be listed or searched until then", "cause", cause)
	if h.store != nil {
		h.halt()
		if err := h.store.Close(); err != nil {
			h.lg.Debug("the damaged store did not close well", "err", err)
		}
	}
	if err := sqlite.Remove(h.path); err != nil {
		return err
	}
	select { // who else met the same
	case other := <-h.damage:
		h.lg.Debug("the store that is gone was damaged here too", "cause", other)
	default:
	}
	h.until = map[string]uint64{} // refined by watch, which can wait for the log
	h.rebuilt++
	return h.begin(ctx)
}

// watch reads the whole store after the start and then daily, and makes it
// again when somebody met damage.
func (h *history) watch(ctx context.Context) {
	check := time.NewTimer(checkStoreAfter)
	defer check.Stop()
	look := time.NewTicker(lookAtCopying)
	defer look.Stop()
	for {
		var cause error
		select {
		case <-ctx.Done():
			return
		case cause = <-h.damage:
		case <-check.C:
			check.Reset(checkStoreEvery)
			st, _ := h.now()
			if err := st.Check(ctx); err != nil && ctx.Err() == nil {
				h.lg.Warn("the store was read and is not whole", "err", err) // OnDamage has told
			}
		case <-look.C:
			cause = h.outrun()
			h.filled(ctx)
		}
		if cause == nil {
			continue
		}
		if err := h.again(ctx, cause); err != nil && ctx.Err() == nil {
			h.lg.Error("the store can't be made again yet", "err", err)
			time.AfterFunc(tryAgain, func() { h.met(cause) })
		}
	}
}

// outrun says why a store that has more than the log, or something else, has to
// give way: the log's files were damaged at the last start, and what could not
// be put back was never acknowledged, or is lost. Otherwise somebody put another
// log here, and that is for people to decide.
func (h *history) outrun() error {
	if h.log.Integrity().Damaged == 0 {
		return nil
	}
	_, p := h.now()
	for _, s := range p.Status() {
		if s.State == project.Ahead || s.State == project.Foreign {
			return fmt.Errorf("after a repair the log is the truth: %s", s.Trouble)
		}
	}
	return nil
}

// filled ends the state of being filled again.
func (h *history) filled(ctx context.Context) {
	h.mu.RLock()
	until, p := h.until, h.projector
	h.mu.RUnlock()
	if until == nil {
		return
	}
	if len(until) == 0 {
		streams, err := h.log.Streams(ctx)
		if err != nil {
			return
		}
		until = map[string]uint64{}
		for _, s := range streams {
			if until[s], err = h.log.Last(ctx, s); err != nil {
				return
			}
		}
		h.mu.Lock()
		h.until = until
		h.mu.Unlock()
	}
	at := map[string]uint64{}
	for _, s := range p.Status() {
		at[s.Stream] = s.Position
	}
	for s, last := range until {
		if at[s] < last {
			return
		}
	}
	h.mu.Lock()
	h.until = nil
	h.mu.Unlock()
	h.lg.Info("history was made again from the log")
}

func (h *history) now() (*sqlite.Store, *project.Projector) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.store, h.projector
}

// whole returns the store, or says that it is being filled.
func (h *history) whole() (*sqlite.Store, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.until == nil {
		return h.store, nil
	}
	var done, all uint64
	for _, s := range h.projector.Status() {
		done, all = done+min(s.Position, h.until[s.Stream]), all+h.until[s.Stream]
	}
	return nil, fault.New(fault.Unavailable, "history is being rebuilt from the log (%d %%); open conversations go on as ever", 100*done/max(all, 1)).After(time.Second)
}

// Conversations lists what an owner has.
func (h *history) Conversations(ctx context.Context, owner string, filter store.Filter, cursor string, limit int) ([]store.Conversation, string, error) {
	st, err := h.whole()
	if err != nil {
		return nil, "", err
	}
	return st.Conversations(ctx, owner, filter, cursor, limit)
}

// Search finds what was said.
func (h *history) Search(ctx context.Context, owner, query, tag string, limit int) ([]store.Hit, error) {
	st, err := h.whole()
	if err != nil {
		return nil, err
	}
	return st.Search(ctx, owner, query, tag, limit)
}

// Tags lists what an owner has tagged conversations with.
func (h *history) Tags(ctx context.Context, owner string) ([]store.Tag, error) {
	st, err := h.whole()
	if err != nil {
		return nil, err
	}
	return st.Tags(ctx, owner)
}

// OpenTurns lists turns that have not ended; the caller waits for the log's end
// before.
func (h *history) OpenTurns(ctx context.Context) ([]store.TurnRow, error) {
	st, _ := h.now()
	return st.OpenTurns(ctx)
}

// WaitFor returns when the store has reached the sequence, be it the one of now
// or one that takes its place.
func (h *history) WaitFor(ctx context.Context, stream string, seq uint64) error {
	for {
		_, p := h.now()
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := p.WaitFor(try, stream, seq)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// Rebuilt is how often the store was made again.
func (h *history) Rebuilt() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.rebuilt
}

// Health says how the store is.
func (h *history) Health(ctx context.Context) error {
	st, err := h.whole()
	if err != nil {
		return err
	}
	return st.Health(ctx)
}

// Copying says how the projector is.
func (h *history) Copying(ctx context.Context) error {
	_, p := h.now()
	if err := p.Health(ctx); err != nil {
		return err
	}
	behind, err := h.Lag(ctx)
	if err == nil && behind > farBehind {
		err = fault.New(fault.Unavailable, "history is %d entries behind the log: lists and search lack what was said last; conversations do not need it", behind)
	}
	return err
}

// Lag is how many entries the store is behind the log.
func (h *history) Lag(ctx context.Context) (uint64, error) {
	_, p := h.now()
	all, err := p.Lag(ctx)
	var sum uint64
	for _, n := range all {
		sum += n
	}
	return sum, err
}

// Close ends copying and closes the store.
func (h *history) Close() error {
	h.cancel()
	h.running.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.halt()
	return h.store.Close()
}
