// Package batch answers files of requests that nobody waits for: it takes them
// in, says line by line what is wrong with one, has each line answered once with
// what people leave over of the engines, and gives out what came of it as files.
//
// A line's result is a record of the log under the line's number, and of two
// that are written the first one stays. So it does not matter how often a line
// is asked, or by whom: who holds a batch only keeps others from doing the same
// work, and no death of a worker, node or region leaves a line out or gives it
// twice.
package batch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// Log keeps everything, on all nodes. Replace and Create fail with Conflict where
// somebody else was first. PutRecord is nothing where there is a record of that
// name. What Timeout or Unavailable say of a write is not known.
type Log interface {
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) error
	Replace(ctx context.Context, key string, value []byte, revision uint64) error
	Remove(ctx context.Context, key string) error
	List(ctx context.Context, below string) ([]string, error)

	PutFile(ctx context.Context, space, id string, content []byte) error
	FilePieces(ctx context.Context, space, id string, each func([]byte) error) error
	DropFile(ctx context.Context, space, id string) error

	PutRecord(ctx context.Context, space, set, name string, content []byte) error
	Records(ctx context.Context, space, set string, each func(name string, content []byte) error) error
	DropRecords(ctx context.Context, space, set string, names []string) error
}

// Answer is what came of one line.
type Answer struct {
	Status int           // of HTTP
	After  time.Duration // when to ask again, if the answer said so
	Body   []byte        // JSON
	Asked  bool          // an engine has had the request
}

// Options of New. Log, Answer and Node are required.
type Options struct {
	Log Log
	// Answer answers an owner's request to an endpoint such as
	// /v1/chat/completions with what the engines have to spare. It may be called
	// from many goroutines.
	Answer func(ctx context.Context, owner, endpoint string, body []byte) Answer
	Node   string // who holds batches here; no two nodes have the same

	Bytes    int64         // of an input file; 0 = 64 MiB
	Lines    int           // of an input file; 0 = 50,000
	Files    int           // of one owner; 0 = 1000
	Open     int           // batches of one owner that are not over; 0 = 100
	Parallel int           // lines that this node has under way at once; 0 = 64
	Lease    time.Duration // after which the batches of a holder that gives no sign are taken over; 0 = 6 s
	Again    time.Duration // before a line that got no answer is asked again, longer each time; 0 = 1 s
	Logger   *slog.Logger  // nil = discard
}

const (
	mostRuns      = 16 // batches that a node works on at once
	mostRunsOwner = 4  // of one owner
	mostDelayed   = 256
	calm          = 5         // ticks between two looks where there is no batch
	upload        = time.Hour // after which one that is not whole is thrown away
)

// Service takes in batches and works on them. Its methods may be called from
// many goroutines.
type Service struct {
	o      Options
	lg     *slog.Logger
	gate   *gate
	wake   chan struct{} // holds one: there may be something to do
	litter chan struct{} // holds one: there is something to erase

	stop context.CancelFunc
	all  sync.WaitGroup

	mu   sync.Mutex // guards runs
	runs map[string]*run
	seen map[string]sighting // only look's
}

// sighting is a batch that somebody else holds, as it was when it was seen first
// at that revision.
type sighting struct {
	revision uint64
	at       time.Time
}

// New checks the options.
func New(o Options) (*Service, error) {
	if o.Log == nil || o.Answer == nil || o.Node == "" {
		return nil, errors.New("batch: Log, Answer and Node are required")
	}
	o.Bytes = cmp.Or(o.Bytes, 64<<20)
	o.Lines = cmp.Or(o.Lines, 50_000)
	o.Files = cmp.Or(o.Files, 1000)
	o.Open = cmp.Or(o.Open, 100)
	o.Parallel = cmp.Or(o.Parallel, 64)
	o.Lease = cmp.Or(o.Lease, 6*time.Second)
	o.Again = cmp.Or(o.Again, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		o: o, lg: o.Logger.With("part", "batch"), gate: newGate(o.Parallel), wake: make(chan struct{}, 1), litter: make(chan struct{}, 1),
		runs: map[string]*run{}, seen: map[string]sighting{},
	}, nil
}

// Limits are the most bytes and lines of an input file.
func (s *Service) Limits() (size int64, lines int) { return s.o.Bytes, s.o.Lines }

// Start works on what there is, until Stop.
func (s *Service) Start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.all.Go(func() {
		for ctx.Err() == nil {
			// Who takes a batch in works on it: the others only have to look often
			// while there is one that they may have to take over.
			next := s.o.Lease / 3
			if open, err := s.look(ctx); err != nil && ctx.Err() == nil {
				s.lg.Debug("looking for batches", "err", err)
			} else if open == 0 {
				next *= calm
			}
			rest(ctx, next, s.wake)
		}
	})
	s.all.Go(func() { // beside the other: to erase takes its time
		var swept time.Time
		for ctx.Err() == nil {
			if err := s.empty(ctx); err != nil && ctx.Err() == nil {
				s.lg.Warn("what was deleted of batches can't be erased yet", "err", err)
			}
			if time.Since(swept) > upload {
				if err := s.sweep(ctx); err == nil {
					swept = time.Now()
				}
			}
			rest(ctx, calm*s.o.Lease/3, s.litter)
		}
	})
}

// rest waits for d, or until somebody calls.
func rest(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// Stop gives the batches back as they are: others go on with them at once, or
// this node when it starts again.
func (s *Service) Stop(context.Context) {
	if s.stop == nil {
		return
	}
	s.stop()
	s.all.Wait()
}

// Running is how many batches this node works on.
func (s *Service) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs)
}

// nudge has the service look now.
func (s *Service) nudge() { call(s.wake) }

func call(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// look takes what nobody holds: new batches, those that this node held in a
// former life, and those of a holder that gives no sign. How long it gave none
// is measured here, so that clocks may differ. The oldest comes first. It tells
// how many are not over.
func (s *Service) look(ctx context.Context) (open int, err error) {
	keys, err := s.o.Log.List(ctx, openKeys)
	if err != nil {
		return 0, err
	}
	var free []loose
	for _, key := range keys {
		if !s.roomFor(key) {
			continue
		}
		var f loose
		if f, err = s.loose(ctx, key); err != nil {
			break // those found so far can do with an owner
		}
		if f.key != "" {
			free = append(free, f)
		}
	}
	slices.SortStableFunc(free, func(a, b loose) int { return cmp.Compare(a.job.Created, b.job.Created) })
	for _, f := range free {
		if s.roomFor(f.key) {
			s.take(ctx, f)
		}
	}
	for key := range s.seen {
		if !slices.Contains(keys, key) {
			delete(s.seen, key)
		}
	}
	return len(keys), err
}

// loose is a batch that nobody holds, or one whose holder gives no sign.
type loose struct {
	key      string
	job      job
	revision uint64
}

// loose looks at a batch that is not over; one without a key is held, or over.
func (s *Service) loose(ctx context.Context, key string) (loose, error) {
	j, rev, err := load[job](ctx, s.o.Log, key)
	if fault.Is(err, fault.NotFound) {
		return loose{}, nil
	}
	if err != nil {
		return loose{}, err
	}
	if j.Holder != "" && j.Holder != s.o.Node {
		if was := s.seen[key]; was.revision != rev {
			s.seen[key] = sighting{rev, time.Now()}
			return loose{}, nil
		} else if time.Since(was.at) < s.o.Lease {
			return loose{}, nil
		}
	}
	return loose{key, j, rev}, nil
}

// roomFor reports whether this node may begin to work on a batch.
func (s *Service) roomFor(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	theirs := 0
	for other := range s.runs {
		if ownerOf(other) == ownerOf(key) {
			theirs++
		}
	}
	return s.runs[key] == nil && len(s.runs) < mostRuns && theirs < mostRunsOwner
}

// take begins to work on a batch if it can be claimed.
func (s *Service) take(ctx context.Context, f loose) {
	if was := f.job.Holder; was != "" && was != s.o.Node {
		s.lg.Info("a batch is taken over", "batch", f.job.ID, "from", was)
	}
	key, j := f.key, f.job
	j.Holder, j.Epoch = s.o.Node, j.Epoch+1
	r := &run{s: s, key: key, job: j, poke: make(chan struct{}, 1), done: map[int]bool{}}
	if err := r.claim(ctx, f.revision); err != nil {
		return // somebody else was first, or nobody knows: then it is found in our name
	}
	delete(s.seen, key)
	s.mu.Lock()
	s.runs[key] = r
	s.mu.Unlock()
	s.all.Go(func() {
		err := r.work(ctx)
		if err != nil && ctx.Err() == nil {
			s.lg.Warn("a batch could not be worked on; it is tried again", "batch", j.ID, "err", err)
			_ = pause.For(ctx, s.o.Lease/3)
		}
		r.release()
		s.mu.Lock()
		delete(s.runs, key)
		s.mu.Unlock()
		if ctx.Err() == nil {
			s.nudge() // there is room for another one
		}
	})
}
