// Package chat is what Parley is for: a turn. It takes what a user says into
// the log, runs the answer on an engine with a checkpoint in the log every few
// dozen milliseconds, and finishes the answer exactly once whatever dies in
// between. Readers follow a conversation here; nobody else applies entries.
package chat

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/understand"
)

// Log is what chat needs of the event log.
type Log interface {
	Region() string
	StreamOf(conversation string) string
	Streams(ctx context.Context) ([]string, error)
	Last(ctx context.Context, stream string) (uint64, error)
	LastOf(ctx context.Context, conversation string, class event.Class) (uint64, error)
	Append(ctx context.Context, a event.Append) (event.Receipt, error)
	AppendAsync(a event.Append) (sum uint64, wait func(context.Context) (event.Receipt, error), err error)
	Read(ctx context.Context, conversation string, after uint64, each func(event.Entry) error) error
	Follow(ctx context.Context, stream string, after uint64, each func([]event.Entry) error) error
	Leases(ctx context.Context, home string, limit int, each func(event.Lease)) error
	Forget(ctx context.Context, conversation string, keep uint64) error
}

// Engines finds the engine for a model.
type Engines interface {
	// Find returns the engine that serves model ("" = the default one) and
	// what is known of the model. NotFound if nobody serves it; Unavailable
	// while the engine is starting or down. A name may stand for several models:
	// a conversation gets the same one each time, while that lives.
	Find(ctx context.Context, model, conversation string) (lm.Engine, lm.Model, error)
}

// Bot says how answers are made.
type Bot struct {
	ID      string
	Name    string
	System  string // system prompt
	Model   string // "" = the default engine's first model
	Params  lm.Params
	Resume  lm.Policy // "" = the engine's own; Exact or Quick where the engine offers both
	History int       // most tokens of the window that the prompt may take; 0 = as many as fit

	Courier Courier       // to where the bot runs; nil = engines answer for it
	Limit   time.Duration // how long a message is the affair of a bot that runs elsewhere; 0 = 1 min
}

// Observer hears of turns, for metrics. Every method is cheap.
type Observer interface {
	FirstToken(engine, model string, after time.Duration)
	NextToken(engine, model string, gap time.Duration)
	TurnEnded(engine, model string, state event.State, took time.Duration, usage lm.Usage)
	Resumed(engine, model string, policy lm.Policy)
	Durable(took time.Duration) // of one checkpoint
}

// Options of a Service. Log, Engines and Bots are required.
type Options struct {
	// Understanding reads messages, and its scripts answer what they can. Nil:
	// engines answer everything.
	Understanding *understand.Service

	Log     Log
	Engines Engines
	Bots    []Bot // the first is the default
	// Worker names this node; the same after a restart, and no other node's.
	// "" = the log's region.
	Worker string
	// Orphans lists turns of a home that may not have ended. When this worker
	// begins to serve the home, those that it had itself, or nobody, are taken
	// up at once instead of when their lease runs out. Nil: none.
	Orphans func(ctx context.Context, home string) ([]Orphan, error)
	// Homes are the regions whose turns this worker takes from the start;
	// nil = the log's own. Serve changes them.
	Homes      []string
	Checkpoint time.Duration // between checkpoints of an answer; 0 = 40 ms
	Running    int           // most turns this node works on at once; 0 = 256
	Queue      int           // most turns this node holds or queues before it says Limited; 0 = 4096
	MaxText    int           // bytes of one message; 0 = 256 KiB
	MaxAnswer  int           // bytes of one answer; 0 = 1 MiB
	Stall      time.Duration // an engine that sends nothing for so long is given up; 0 = 90 s
	Patience   time.Duration // how long an answer waits for an engine to come back; 0 = 2 min
	Undo       time.Duration // how long what was put into the trash can be taken back; 0 = 30 s
	Outlet     Outlet        // for channels that have to be called; nil = there are none
	Files      Files         // nil = messages carry no files of ours
	FileLimits FileLimits
	// Meter says whether the owner of a conversation may have an answer that takes
	// about so many tokens of prompt, and at most so many of its own (0: it does
	// not say). Limited ends the turn with what it says; other errors are as an
	// engine's. Nil: everybody may.
	Meter    func(ctx context.Context, owner, model string, prompt, most int) (Charge, error)
	Observer Observer     // nil = nobody
	Logger   *slog.Logger // nil = discard
}

// Orphan is the place of a turn's request in the log.
type Orphan struct {
	Conversation string
	Seq          uint64
}

// Service runs conversations on one node. Start it before use.
type Service struct {
	opts Options
	lg   *slog.Logger
	bots map[string]Bot

	mu       sync.Mutex // guards all up to the next empty line
	lives    map[string]*Live
	hands    map[Orphan]bool               // requests that are being served
	serving  map[string]context.CancelFunc // homes whose turns are taken; it ends the taking
	adopting map[string]func(string) bool  // homes that Adopt is at work on, and whose turns it takes up next
	stopping bool
	trash    map[Orphan]time.Time // since when this worker knows of what was put there

	tails   map[string]chan struct{} // by stream: closed when it is followed; made by Start
	running chan struct{}            // a token for each turn at work
	held    atomic.Int64             // turns asked for and not ended, as far as this node knows
	cancel  context.CancelFunc       // of everything
	refuse  context.CancelFunc       // of taking new turns
	// begin runs work that lasts until ctx ends, and takes new turns until
	// taking does. Start makes it.
	begin func(work func(taking, ctx context.Context))
	work  sync.WaitGroup
	turns sync.WaitGroup // goroutines of leases
}

// New checks the options.
func New(opts Options) (*Service, error) {
	if opts.Log == nil || opts.Engines == nil || len(opts.Bots) == 0 {
		return nil, errors.New("chat: Log, Engines and Bots are required")
	}
	if opts.Worker == "" {
		opts.Worker = opts.Log.Region()
	}
	if opts.Homes == nil {
		opts.Homes = []string{opts.Log.Region()}
	}
	if opts.Checkpoint == 0 {
		opts.Checkpoint = 40 * time.Millisecond
	}
	if opts.Running == 0 {
		opts.Running = 256
	}
	if opts.Queue == 0 {
		opts.Queue = 4096
	}
	if opts.MaxText == 0 {
		opts.MaxText = 256 << 10
	}
	if opts.MaxAnswer == 0 {
		opts.MaxAnswer = 1 << 20
	}
	if opts.Stall == 0 {
		opts.Stall = 90 * time.Second
	}
	if opts.Patience == 0 {
		opts.Patience = 2 * time.Minute
	}
	if opts.Undo == 0 {
		opts.Undo = 30 * time.Second
	}
	if opts.FileLimits.Size == 0 {
		opts.FileLimits.Size = 10 << 20
	}
	if opts.FileLimits.Count == 0 {
		opts.FileLimits.Count = 10
	}
	if opts.Observer == nil {
		opts.Observer = nobody{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		opts: opts, lg: opts.Logger.With("part", "chat"), bots: map[string]Bot{}, lives: map[string]*Live{}, hands: map[Orphan]bool{},
		serving: map[string]context.CancelFunc{}, adopting: map[string]func(string) bool{}, trash: map[Orphan]time.Time{}, tails: map[string]chan struct{}{}, running: make(chan struct{}, opts.Running),
	}
	for _, b := range opts.Bots {
		if _, twice := s.bots[b.ID]; twice || b.ID == "" {
			return nil, errors.New("chat: every bot needs an id of its own")
		}
		s.bots[b.ID] = b
	}
	return s, nil
}

// Bots returns the bots, the default one first.
func (s *Service) Bots() []Bot { return s.opts.Bots }

// Load says how many turns this node holds and how many conversations it has
// in memory.
func (s *Service) Load() (turns, live int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.held.Load()), len(s.lives)
}

// Start follows the log and takes turns until Stop.
func (s *Service) Start(ctx context.Context) error {
	streams, err := s.opts.Log.Streams(ctx)
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	taking, refuse := context.WithCancel(run)
	s.cancel, s.refuse = cancel, refuse
	s.begin = func(work func(taking, ctx context.Context)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.stopping {
			s.work.Go(func() { work(taking, run) })
		}
	}
	for _, stream := range streams {
		s.tails[stream] = make(chan struct{})
	}
	for _, stream := range streams {
		s.work.Go(func() { s.follow(run, stream) })
	}
	s.work.Go(func() { s.sweep(run) })
	if s.opts.Files != nil {
		s.work.Go(func() { s.sweepFiles(run) })
	}
	s.Serve(s.opts.Homes)
	return nil
}

// Serve says whose turns this worker takes from now on. What it has in hand of
// other homes it finishes.
func (s *Service) Serve(homes []string) {
	s.mu.Lock()
	var fresh []string
	for _, home := range homes {
		if s.serving[home] == nil {
			s.serving[home] = func() {} // until it has begun
			fresh = append(fresh, home)
		}
	}
	for home, leave := range s.serving {
		if !slices.Contains(homes, home) {
			leave()
			delete(s.serving, home)
		}
	}
	s.mu.Unlock()
	for _, home := range fresh {
		s.begin(func(taking, ctx context.Context) {
			taking, leave := context.WithCancel(taking)
			defer leave()
			s.mu.Lock()
			_, still := s.serving[home]
			if still {
				s.serving[home] = leave
			}
			s.mu.Unlock()
			if still {
				s.takeLeases(taking, ctx, home)
			}
		})
		s.Adopt(home, func(string) bool { return false })
	}
}

// Stop takes no new turns and lets those at work go on until ctx ends. What is
// not over then is left at its last checkpoint and given back to the queue, so
// that another worker, or this one after a restart, finishes it.
func (s *Service) Stop(ctx context.Context) {
	if s.cancel == nil {
		return
	}
	s.mu.Lock() // no turn starts after this
	s.stopping = true
	s.mu.Unlock()
	s.refuse()
	idle := make(chan struct{})
	go func() { s.turns.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	s.cancel()
	s.turns.Wait()
	s.work.Wait()
}

type nobody struct{}

func (nobody) FirstToken(string, string, time.Duration)                       {}
func (nobody) NextToken(string, string, time.Duration)                        {}
func (nobody) TurnEnded(string, string, event.State, time.Duration, lm.Usage) {}
func (nobody) Resumed(string, string, lm.Policy)                              {}
func (nobody) Durable(time.Duration)                                          {}
