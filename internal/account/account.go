// Package account says what callers may spend and keeps the books of what they
// spent: requests, tokens and money, by minute, day and month, for everyone
// together, a tenant, a key or a user.
//
// What is left of a budget lies in one replicated value, its ledger. A node
// takes a part of it by compare-and-set, which only a side with a majority of
// the log can, and spends that part without asking anybody. So the parts never
// come to more than the limit, whatever dies or is cut off; a side that is cut
// off can spend what it holds and no more.
//
// What may live here: windows of time, ledgers, prices, the books and their
// journal. Who calls is the guard's affair, and what an answer took the
// engine's.
package account

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/pause"
)

// Values is where nodes keep what they share. Load says NotFound for a key that
// has no value; Create and Replace say Conflict when somebody else was first.
// What Timeout or Unavailable say of a write is not known.
type Values interface {
	Load(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) error
	Replace(ctx context.Context, key string, value []byte, revision uint64) error
	Remove(ctx context.Context, key string) error
	List(ctx context.Context, below string) ([]string, error)
}

// Observer hears what happens, for metrics. Every method is cheap.
type Observer interface {
	Admitted(outcome string)                     // admitted, limited, unavailable
	Drawn(outcome string, took time.Duration)    // of a budget: drawn, short, failed
	Spent(model string, u lm.Usage, money int64) // what an answer took
}

// Options of New. Values and Node are required.
type Options struct {
	Values Values
	Node   string // no two nodes have the same
	Nodes  int    // that may spend at once; 0 = 1
	Dir    string // of the journal, which outlives this process; "" = there is none

	Budgets []Budget
	Prices  Prices
	// Tenants says which tenant a user belongs to; who is not in it to none.
	Tenants map[string]string

	Observer Observer         // nil = nobody
	Logger   *slog.Logger     // nil = discard
	Wall     func() time.Time // nil = time.Now
}

const (
	drawTime = 3 * time.Second  // for a ledger to be read and written
	lookTime = time.Second      // for which what was read of a ledger is believed
	idleTime = 10 * time.Second // after which an unused part is given back
	sweeps   = 2 * time.Second
	lastTime = 3 * time.Second // to give everything back when the node stops

	// guess is how many tokens of an answer are reserved when nothing limits it.
	guess = 512
	// mostTokens is what is believed of an engine that says what a request took.
	mostTokens = 1 << 24
)

// Service admits requests and keeps the books. Its methods may be called from
// many goroutines.
type Service struct {
	o     Options
	lg    *slog.Logger
	clock *clock
	books *books

	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex // guards all below
	purses map[string]*purse
	warned map[string]time.Time // about clocks and prices
	priced map[string]Price     // by model, of those that were asked for lately
}

// New checks the options.
func New(o Options) (*Service, error) {
	if o.Values == nil || o.Node == "" || strings.ContainsAny(o.Node, "#. ") {
		return nil, errors.New("account: Values and Node are required, and a node's name is one word")
	}
	for _, b := range o.Budgets {
		if err := b.Check(); err != nil {
			return nil, err
		}
	}
	o.Nodes = max(o.Nodes, 1)
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	s := &Service{o: o, lg: o.Logger.With("part", "account"), purses: map[string]*purse{}, warned: map[string]time.Time{}, priced: map[string]Price{}}
	s.clock = newClock(o.Wall, func(off time.Duration) {
		s.lg.Warn("this machine's clock was moved; budgets follow it from now on", "by", off)
	})
	path := ""
	if o.Dir != "" {
		path = filepath.Join(o.Dir, journalName)
	}
	var err error
	s.books, err = openBooks(o.Values, s.lg, o.Node, path)
	return s, err
}

// Start keeps the ledgers and the books up to date until Stop.
func (s *Service) Start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.all.Go(func() {
		for pause.For(ctx, sweeps) == nil {
			s.sweep(ctx, idleTime)
		}
	})
	s.all.Go(func() { s.books.keep(ctx) })
}

// Stop gives back what was not spent and writes the books, as far as ctx allows.
func (s *Service) Stop(ctx context.Context) {
	if s.stop == nil {
		return
	}
	s.stop()
	s.all.Wait()
	ctx, cancel := context.WithTimeout(ctx, lastTime)
	defer cancel()
	s.sweep(ctx, -1)
	if err := s.books.flush(ctx); err != nil {
		s.lg.Warn("the books could not be written; the journal has the rest, for the next start", "err", err)
	}
	s.books.close()
}

// Who is a caller.
type Who struct {
	User   string
	Key    string // the name of the key that was shown; "" = none
	Tenant string // "" = none
}

const keyPrefix = "key-" // of users who came with a key, as package auth calls them

func (s *Service) who(user string) Who {
	w := Who{User: user, Tenant: s.o.Tenants[user]}
	if name, ok := strings.CutPrefix(user, keyPrefix); ok {
		w.Key = name
	}
	return w
}

// Ask is what is known of a request before it is answered.
type Ask struct {
	User   string
	Model  string
	Prompt int // tokens, estimated
	Most   int // tokens of its answer at most; 0 = it does not say
}

// Charge is a request that was admitted. Settle or Cancel ends it; what comes
// after the first of them is nothing.
type Charge struct {
	s     *Service
	who   Who
	model string
	price Price
	holds []hold
	over  sync.Once
}

// hold is what a charge has of a purse.
type hold struct {
	p      *purse
	cost   Amounts
	starts [spans]int64
}

// Begin reserves what a request may take of every budget that it is under. A
// budget that has not got that much left is Limited, one that never has Invalid; a
// ledger that can't be asked, where this node holds too little of it,
// is Unavailable. Of the charge that comes with an error only Standing is of use.
func (s *Service) Begin(ctx context.Context, ask Ask) (*Charge, error) {
	c := &Charge{s: s, who: s.who(ask.User), model: ask.Model, price: s.price(ask.Model)}
	prompt, most := bound(ask.Prompt), bound(ask.Most)
	for i := range s.o.Budgets {
		b := &s.o.Budgets[i]
		subject, ok := b.subject(c.who)
		if !ok {
			continue
		}
		h, err := s.reserve(ctx, b, subject, b.reserves(c.price, prompt, most))
		if err != nil {
			c.end(Amounts{})
			outcome := "limited"
			if !fault.Is(err, fault.Limited) && !fault.Is(err, fault.Invalid) {
				outcome = "unavailable"
			}
			s.o.Observer.Admitted(outcome)
			c.over.Do(func() {})
			c.holds = append(c.holds, h)
			return c, err
		}
		c.holds = append(c.holds, h)
	}
	s.o.Observer.Admitted("admitted")
	return c, nil
}

// bound is what is believed of a number of tokens.
func bound(n int) int64 { return int64(min(max(n, 0), mostTokens)) }

// reserve takes a cost from a budget's purse.
func (s *Service) reserve(ctx context.Context, b *Budget, subject string, cost Amounts) (hold, error) {
	for {
		p := s.purse(b, subject)
		starts, err := p.reserve(ctx, cost)
		if errors.Is(err, errClosed) {
			continue // it was given back at this moment
		}
		return hold{p, cost, starts}, err
	}
}

func (s *Service) purse(b *Budget, subject string) *purse {
	key := b.Name + "\x00" + subject
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.purses[key]
	if p == nil {
		p = newPurse(s, b, subject)
		s.purses[key] = p
	}
	return p
}

// Settle ends a charge with what the answer took.
func (c *Charge) Settle(u lm.Usage) {
	c.over.Do(func() {
		u.Prompt, u.Completion = int(bound(u.Prompt)), int(bound(u.Completion))
		u.Cached = min(int(bound(u.Cached)), u.Prompt)
		money := c.price.Of(u)
		c.end(Amounts{1, int64(u.Prompt) + int64(u.Completion), money})
		c.s.books.add(c.s.clock.now(), c.who, c.model, u, money)
		c.s.o.Observer.Spent(c.model, u, money)
	})
}

// Cancel ends a charge of a request that got no answer: it costs nothing.
func (c *Charge) Cancel() { c.over.Do(func() { c.end(Amounts{}) }) }

func (c *Charge) end(actual Amounts) {
	for _, h := range c.holds {
		h.p.settle(h, actual)
	}
}

// Room is what is left of the tightest limit of a measure.
type Room struct {
	Limit, Left int64
	Reset       time.Duration // until its window begins again
}

// Standing is what a caller has left, as far as this node knows: what others
// hold counts as spent. Nil: nothing limits it.
type Standing struct{ Requests, Tokens *Room }

// Standing says what is left after this request.
func (c *Charge) Standing() Standing {
	var out Standing
	now := c.s.clock.now()
	for _, h := range c.holds {
		out.Requests = tighter(out.Requests, h.p.room(Requests, now))
		out.Tokens = tighter(out.Tokens, h.p.room(Tokens, now))
	}
	return out
}

func tighter(a, b *Room) *Room {
	if a == nil || b != nil && b.Left < a.Left {
		return b
	}
	return a
}

// sweep gives back what has not been used for a while.
func (s *Service) sweep(ctx context.Context, idle time.Duration) {
	s.mu.Lock()
	all := make(map[string]*purse, len(s.purses))
	for key, p := range s.purses {
		all[key] = p
	}
	s.mu.Unlock()
	var work sync.WaitGroup
	places := make(chan struct{}, 16) // asked at once: a stop has not much time
	for key, p := range all {
		if ctx.Err() != nil {
			break
		}
		if !p.idle(idle) {
			continue
		}
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			if err := p.giveBack(ctx, idle < 0); err != nil {
				s.lg.Debug("a part of a budget could not be given back", "budget", p.b.Name, "err", err)
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.purses[key] == p {
				delete(s.purses, key)
			}
		})
	}
	work.Wait()
}

const mostPriced = 1000

// price finds a model's price, and says once when there is none.
func (s *Service) price(model string) Price {
	s.mu.Lock()
	p, ok := s.priced[model]
	s.mu.Unlock()
	if ok {
		return p
	}
	p, ok = s.o.Prices.Of(model)
	s.mu.Lock()
	if len(s.priced) >= mostPriced {
		clear(s.priced)
	}
	s.priced[model] = p
	s.mu.Unlock()
	if !ok && len(s.o.Prices) > 0 && s.due("price "+model, 24*time.Hour) {
		s.lg.Warn("a model has no price: what it answers costs nothing", "model", model)
	}
	return p
}

const mostWarned = 1000

// due reports whether it is time to say something about a matter again.
func (s *Service) due(about string, every time.Duration) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ok := s.warned[about]
	if ok && now.Sub(last) <= every || !ok && len(s.warned) >= mostWarned {
		return false
	}
	s.warned[about] = now
	return true
}

type nobody struct{}

func (nobody) Admitted(string)               {}
func (nobody) Drawn(string, time.Duration)   {}
func (nobody) Spent(string, lm.Usage, int64) {}
