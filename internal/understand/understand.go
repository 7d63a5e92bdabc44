package understand

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/fault"
)

// App is something that understands, for some bots.
type App struct {
	Name string
	IDs  []string // other names under which programs ask for it
	Bots []string // whose conversations it reads; empty: of all that no other app names
	// Collect: messages that were not understood may be collected.
	Collect bool
	// Model is the configuration's, which is live until another is published;
	// nil: nothing is understood until then.
	Model *Model
}

// Observer hears of understandings, for metrics. Every method is cheap.
type Observer interface {
	Understood(app, version string, took time.Duration)
	// Shadowed hears in what a model that only listens would have understood
	// otherwise: "intent", "entities" or "" for nothing.
	Shadowed(app, version, differs string)
}

// Values is where all nodes keep what they share.
type Values interface {
	// Load returns a value and its revision, or NotFound.
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Create writes a value unless there is one: then Conflict.
	Create(ctx context.Context, key string, value []byte) error
	// Replace writes a value if the one there has this revision, else Conflict.
	Replace(ctx context.Context, key string, value []byte, revision uint64) error
	Remove(ctx context.Context, key string) error
}

// Options of a Service. Apps are required.
type Options struct {
	Apps     []App
	Bots     []string      // that scripts may hand conversations to
	Values   Values        // nil: nothing can be published
	Dir      string        // where published packages are kept on this machine; needed with Values
	Encoder  Encoder       // nil: no models of the accurate tier
	Every    time.Duration // between two looks at what is published; 0 = 2 s
	Observer Observer      // nil = nobody
	Logger   *slog.Logger  // nil = discard
}

// Service understands what is said on one node. A nil one understands nothing.
// Start follows what is published.
type Service struct {
	opts Options
	lg   *slog.Logger
	apps []*app

	looking sync.Mutex // one look at what is published at a time; guards all below
	applied uint64     // revision of the plan that the lineups come from
	whole   bool       // all of it could be applied
	retry   time.Time  // when to try again what could not

	stop context.CancelFunc
	done sync.WaitGroup
}

// app is an App at work.
type app struct {
	App
	lineup  atomic.Pointer[lineup]
	problem atomic.Pointer[string] // why what is published is not what is at work; nil: it is
}

// lineup is which models of an app are at work. It is replaced as a whole.
type lineup struct {
	live    *Model // nil: none yet
	next    *Model // understands for percent of the conversations; nil = none
	percent int
	shadow  *Model // reads what live reads, and only the difference is counted; nil = none
}

// of returns the model that reads a conversation: the same one as long as the
// lineup does not change, on every node.
func (l *lineup) of(conversation string) *Model {
	if l.next == nil {
		return l.live
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(conversation)) // never fails
	if int(h.Sum32()%100) < l.percent {
		return l.next
	}
	return l.live
}

// New checks the options.
func New(opts Options) (*Service, error) {
	if opts.Values != nil && opts.Dir == "" {
		return nil, errors.New("understand: Values need a Dir")
	}
	if opts.Every == 0 {
		opts.Every = 2 * time.Second
	}
	if opts.Observer == nil {
		opts.Observer = nobody{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{opts: opts, lg: opts.Logger.With("part", "understanding")}
	for _, a := range opts.Apps {
		if a.Name == "" {
			return nil, errors.New("understand: every app needs a name")
		}
		if a.Model != nil {
			if err := s.fits(a.Model); err != nil {
				return nil, fmt.Errorf("understanding %s: %w", a.Name, err)
			}
		}
		one := &app{App: a}
		one.lineup.Store(&lineup{live: a.Model})
		s.apps = append(s.apps, one)
	}
	return s, nil
}

// fits says what a model's script has that this node has not.
func (s *Service) fits(m *Model) error {
	for _, b := range m.bots() {
		if !slices.Contains(s.opts.Bots, b) {
			return fmt.Errorf("its script hands conversations to the bot %q, which is not under bots in the configuration", b)
		}
	}
	return nil
}

// For returns the model that reads a conversation of a bot; nil: none does.
func (s *Service) For(bot, conversation string) *Model {
	a := s.appFor(bot)
	if a == nil {
		return nil
	}
	return a.lineup.Load().of(conversation)
}

func (s *Service) appFor(bot string) *app {
	if s == nil {
		return nil
	}
	var rest *app
	for _, a := range s.apps {
		if slices.Contains(a.Bots, bot) {
			return a
		}
		if rest == nil && len(a.Bots) == 0 {
			rest = a
		}
	}
	return rest
}

// Collects reports whether messages to a bot that were not understood may be
// collected.
func (s *Service) Collects(bot string) bool {
	a := s.appFor(bot)
	return a != nil && a.Collect
}

// Collecting reports whether any app collects.
func (s *Service) Collecting() bool {
	return s != nil && slices.ContainsFunc(s.apps, func(a *app) bool { return a.Collect })
}

// Understand reads what somebody said in a conversation of a bot; nil: nobody
// understands anything there. Dates count from reference.
func (s *Service) Understand(ctx context.Context, bot, conversation, text string, reference time.Time) *activity.Understanding {
	a := s.appFor(bot)
	if a == nil {
		return nil
	}
	l := a.lineup.Load()
	m := l.of(conversation)
	if m == nil {
		return nil
	}
	u := s.read(m, text, reference)
	if l.shadow != nil && ctx.Err() == nil {
		s.opts.Observer.Shadowed(a.Name, l.shadow.Version, differ(u, l.shadow.record(text, l.shadow.reads.Understand(text, reference))))
	}
	return u
}

func (s *Service) read(m *Model, text string, reference time.Time) *activity.Understanding {
	began := time.Now()
	u := m.record(text, m.reads.Understand(text, reference))
	s.opts.Observer.Understood(m.App, m.Version, time.Since(began))
	return u
}

// Slot is one of two places that LUIS had for versions of an app.
type Slot string

// The slots.
const (
	Production Slot = "production" // what is live
	Staging    Slot = "staging"    // what is on its way to be
)

// ForProgram returns the model that answers a program which asks for an app by
// its name or id: the version, if it names one that is at work, else the slot's.
func (s *Service) ForProgram(id string, slot Slot, version string) (*Model, error) {
	a := s.byID(id)
	if a == nil {
		return nil, fault.New(fault.NotFound, "there is no app %q here", clip(id))
	}
	l := a.lineup.Load()
	if version != "" {
		for _, m := range []*Model{l.live, l.next, l.shadow, a.Model} {
			if m != nil && m.Version == version {
				return m, nil
			}
		}
		return nil, fault.New(fault.NotFound, "version %q of %s is not at work", clip(version), a.Name)
	}
	switch strings.ToLower(string(slot)) {
	case string(Production):
		if l.live != nil {
			return l.live, nil
		}
	case string(Staging):
		if m := cmp.Or(l.next, l.shadow); m != nil {
			return m, nil
		}
	}
	return nil, fault.New(fault.NotFound, "nothing is published in the slot %q of %s", clip(string(slot)), a.Name)
}

func (s *Service) byID(id string) *app {
	if s == nil {
		return nil
	}
	for _, a := range s.apps {
		if strings.EqualFold(a.Name, id) || slices.ContainsFunc(a.IDs, func(o string) bool { return strings.EqualFold(o, id) }) {
			return a
		}
	}
	return nil
}

// Asked notes that a program was answered.
func (s *Service) Asked(m *Model, took time.Duration) {
	s.opts.Observer.Understood(m.App, m.Version, took)
}

// Health is nil if what is published is what is at work here.
func (s *Service) Health(context.Context) error {
	for _, a := range s.apps {
		if p := a.problem.Load(); p != nil {
			return fault.New(fault.Unavailable, "%s: %s", a.Name, *p)
		}
	}
	return nil
}

type nobody struct{}

func (nobody) Understood(string, string, time.Duration) {}
func (nobody) Shadowed(string, string, string)          {}
