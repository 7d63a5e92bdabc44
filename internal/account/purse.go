package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

var (
	// errClosed says that a purse was given back: there is, or will be, another one.
	errClosed = errors.New("the purse was given back")
	errInUse  = errors.New("somebody spends of it again")
)

const (
	ahead = 5 * time.Second // of spending as it is now, that a draw is meant for
	skew  = 30 * time.Second
)

// purse is this node's part of one budget.
type purse struct {
	s   *Service
	b   *Budget
	key string // of the ledger
	id  string // this purse's, of all that there ever were

	mu      sync.Mutex // guards all below
	parts   [spans]part
	running int // charges that are not over
	used    time.Time
	closed  bool
	drawing chan struct{} // closed when the draw that is under way is over; nil = none

	// What is known of the ledger. A draw whose answer was lost may have
	// happened or may still happen; what the ledger says this purse holds counts
	// only if it was written after tried.
	seen    uint64 // the latest revision that was read
	tried   uint64 // the revision that was last to be replaced
	wrote   bool   // tried counts
	looked  time.Time
	failed  time.Time // when the ledger could last not be asked
	why     error
	waiting Amounts // asked for by those who wait for a draw
	since   Amounts // spent since drew
	drew    time.Time
	rate    Amounts // spent in a second before that
}

// part is a window's.
type part struct {
	start       int64
	held, spent Amounts
	left        Amounts // what nobody held when it was looked
}

func newPurse(s *Service, b *Budget, subject string) *purse {
	sum := sha256.Sum256([]byte(b.Name + "\x00" + subject))
	return &purse{s: s, b: b, key: "account." + hex.EncodeToString(sum[:16]), id: s.o.Node + "#" + strings.ToLower(rand.Text()[:8]), drew: time.Now()}
}

// reserve takes a cost, drawing what is missing.
func (p *purse) reserve(ctx context.Context, cost Amounts) (starts [spans]int64, err error) {
	for {
		p.mu.Lock()
		now := p.s.clock.now()
		p.turn(now)
		switch {
		case p.closed:
			p.mu.Unlock()
			return starts, errClosed
		case p.covers(cost):
			starts = p.spend(cost)
			if p.drawing == nil && p.low() {
				p.draw(Amounts{}, true)
			}
			p.mu.Unlock()
			return starts, nil
		case p.drawing == nil && p.why != nil && time.Since(p.failed) < lookTime:
			err = p.why
			p.mu.Unlock()
			return starts, fault.Wrap(err, fault.Unavailable, "the budget %q can't be asked at the moment; try again", p.b.Name).After(lookTime)
		case p.drawing == nil && time.Since(p.looked) < lookTime:
			if short := p.short(cost); short != nil {
				p.mu.Unlock()
				return starts, p.b.fault(*short, now)
			}
		}
		var d <-chan struct{} = p.drawing
		if p.drawing == nil {
			d = p.draw(cost, false)
		}
		p.waiting = p.waiting.plus(cost)
		p.mu.Unlock()
		select {
		case <-d:
		case <-ctx.Done():
			err = ctx.Err()
		}
		p.mu.Lock()
		p.waiting = p.waiting.minus(cost)
		p.mu.Unlock()
		if err != nil {
			return starts, err
		}
	}
}

// turn begins the windows that have begun. mu is held.
func (p *purse) turn(now time.Time) {
	for s := range spans {
		if start := s.begin(now); p.b.Limits[s] != (Amounts{}) && start > p.parts[s].start {
			p.parts[s] = part{start: start}
			p.looked = time.Time{}
		}
	}
}

// missing is what a cost needs beyond what is held.
func (p *purse) missing(cost Amounts) (out [spans]Amounts) {
	for s := range spans {
		x := &p.parts[s]
		for m, most := range p.b.Limits[s] {
			if most > 0 {
				out[s][m] = max(0, x.spent[m]+cost[m]-x.held[m])
			}
		}
	}
	return out
}

func (p *purse) covers(cost Amounts) bool { return p.missing(cost) == [spans]Amounts{} }

// short is why a cost is out of reach, by what was last read of the ledger.
func (p *purse) short(cost Amounts) *shortage {
	var out *shortage
	need := p.missing(cost)
	for s := range spans {
		for m, most := range p.b.Limits[s] {
			if most == 0 || need[s][m] <= p.parts[s].left[m] {
				continue
			}
			x := shortage{s, Measure(m), p.parts[s].start, cost[m] > most, cost[m]}
			if out == nil || x.never && !out.never || x.never == out.never && s > out.span {
				out = &x
			}
		}
	}
	return out
}

func (p *purse) spend(cost Amounts) (starts [spans]int64) {
	for s := range p.parts {
		p.parts[s].spent = p.parts[s].spent.plus(cost)
		starts[s] = p.parts[s].start
	}
	p.since = p.since.plus(cost)
	p.running++
	p.used = time.Now()
	return starts
}

// settle puts what a request took in the place of what was reserved. A window
// that is over is past changing.
func (p *purse) settle(h hold, actual Amounts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.parts {
		if x := &p.parts[s]; x.start == h.starts[s] {
			x.spent = x.spent.plus(actual).minus(h.cost)
		}
	}
	p.since = p.since.plus(actual).minus(h.cost)
	p.running--
	p.used = time.Now()
}

// low reports whether what is held is gone within a second.
func (p *purse) low() bool {
	if time.Since(p.drew) < ahead/10 || p.why != nil && time.Since(p.failed) < lookTime {
		return false
	}
	for s := range spans {
		x := &p.parts[s]
		for m, most := range p.b.Limits[s] {
			if most > 0 && p.rate[m] > 1 && x.left[m] > 0 && x.held[m]-x.spent[m] < p.rate[m] {
				return true
			}
		}
	}
	return false
}

// room is what is left of the tightest limit of a measure; nil: there is none.
func (p *purse) room(m Measure, now time.Time) (out *Room) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range spans {
		x := &p.parts[s]
		if most := p.b.Limits[s][m]; most > 0 {
			out = tighter(out, &Room{most, max(0, x.left[m]+x.held[m]-x.spent[m]), max(0, s.end(x.start).Sub(now))})
		}
	}
	return out
}

// draw begins to get a cost from the ledger, in the background: whoever waits
// for it may leave. mu is held.
func (p *purse) draw(cost Amounts, early bool) <-chan struct{} {
	d := make(chan struct{})
	p.drawing = d
	now := time.Now()
	passed := max(now.Sub(p.drew), time.Second).Seconds()
	for m := range p.rate {
		p.rate[m] = int64(float64(max(0, p.since[m])) / passed)
	}
	p.since, p.drew = Amounts{}, now
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), drawTime)
		defer cancel()
		outcome, err := p.fetch(ctx, cost, early)
		p.s.o.Observer.Drawn(outcome, time.Since(now))
		p.mu.Lock()
		if p.why = err; err != nil {
			p.failed = time.Now()
		}
		p.drawing = nil
		p.mu.Unlock()
		close(d)
	}()
	return d
}

// fetch draws until it is written, or nothing is to be had.
func (p *purse) fetch(ctx context.Context, cost Amounts, early bool) (outcome string, err error) {
	for {
		l, rev, err := p.load(ctx)
		if err != nil {
			return "failed", err
		}
		p.mu.Lock()
		now := p.s.clock.now()
		if rev < p.seen { // of a leader that is none any more
			p.mu.Unlock()
			if err := pause.For(ctx, 20*time.Millisecond); err != nil {
				return "failed", err
			}
			continue
		}
		p.doubt(l, now)
		l.turn(p.b, now)
		for s := range spans {
			l.open(p.b, s, p.parts[s].start) // the clock may be behind what it was
		}
		p.adopt(l, rev)
		need, like := p.missing(cost), p.waiting
		for m := range like {
			like[m] += p.rate[m] * int64(ahead/time.Second)
		}
		if need == ([spans]Amounts{}) && !early {
			p.mu.Unlock()
			return "drawn", nil
		}
		l.fold(p.s.o.Node, p.id)
		if _, ok := l.draw(p.b, p.id, need, like, p.s.o.Nodes); !ok {
			p.mu.Unlock()
			return "short", nil
		}
		p.tried, p.wrote = rev, true
		p.mu.Unlock()
		err = p.write(ctx, l, rev, now)
		if err == nil {
			p.mu.Lock()
			p.take(l)
			p.mu.Unlock()
			return "drawn", nil
		}
		if !fault.Is(err, fault.Conflict) {
			return "failed", err
		}
		if err := pause.For(ctx, time.Duration(mathrand.IntN(10))*time.Millisecond); err != nil {
			return "failed", err
		}
	}
}

func (p *purse) load(ctx context.Context) (ledger, uint64, error) {
	b, rev, err := p.s.o.Values.Load(ctx, p.key)
	if fault.Is(err, fault.NotFound) {
		return ledger{}, 0, nil
	}
	if err != nil {
		return ledger{}, 0, err
	}
	l, err := readLedger(b)
	return l, rev, err
}

func (p *purse) write(ctx context.Context, l ledger, rev uint64, now time.Time) error {
	l.By, l.At = p.s.o.Node, now.Unix()
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if rev == 0 {
		return p.s.o.Values.Create(ctx, p.key, b)
	}
	return p.s.o.Values.Replace(ctx, p.key, b, rev)
}

// adopt takes over what the ledger says of its windows, and of this purse if
// that can be believed. mu is held.
func (p *purse) adopt(l ledger, rev uint64) {
	sure := !p.wrote || rev > p.tried
	left := l.left(p.b)
	for s := range p.parts {
		x, w := &p.parts[s], l.Windows[s]
		if w.Start > x.start {
			*x = part{start: w.Start}
		}
		if sure {
			x.held = w.Held[p.id]
		}
		x.left = left[s]
	}
	p.seen, p.looked = rev, time.Now()
}

// take takes over what was written. mu is held.
func (p *purse) take(l ledger) {
	left := l.left(p.b)
	for s := range p.parts {
		if x, w := &p.parts[s], l.Windows[s]; x.start == w.Start {
			x.held, x.left = w.Held[p.id], left[s]
		}
	}
	p.looked = time.Now()
}

// doubt says so when the ledger was written by a clock that is ahead of this
// one, or its windows are: until they begin here nothing fresh is to be had.
func (p *purse) doubt(l ledger, now time.Time) {
	if by := time.Unix(l.At, 0).Sub(now); by > skew && p.s.due("clock", time.Minute) {
		p.s.lg.Warn("the clocks of two nodes differ, or this one's was put back: budgets go by the one that is ahead", "node", l.By, "ahead", by)
	}
}

// idle reports whether nothing has used the purse for a while.
func (p *purse) idle(so time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return so < 0 || p.running == 0 && p.drawing == nil && time.Since(p.used) > so
}

// giveBack writes what was spent in the place of what is held, and closes the
// purse. One that somebody spends of is given back only at last, when the node
// stops: what charges that are not over have reserved then counts as spent.
func (p *purse) giveBack(ctx context.Context, last bool) error {
	d := make(chan struct{})
	for p.mu.Lock(); p.drawing != nil; p.mu.Lock() {
		busy := p.drawing
		p.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.drawing = d // nobody else draws meanwhile
	p.mu.Unlock()
	err := p.repay(ctx, last)
	p.mu.Lock()
	p.closed = err == nil
	p.drawing = nil
	p.mu.Unlock()
	close(d)
	return err
}

func (p *purse) repay(ctx context.Context, last bool) error {
	ctx, cancel := context.WithTimeout(ctx, drawTime)
	defer cancel()
	for {
		l, rev, err := p.load(ctx)
		if err != nil {
			return err
		}
		p.mu.Lock()
		if rev < p.seen {
			p.mu.Unlock()
			if err := pause.For(ctx, 20*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if p.running > 0 && !last { // since it was found idle
			p.mu.Unlock()
			return errInUse
		}
		p.seen = rev
		same := true
		for s := range p.parts {
			x, w := &p.parts[s], l.Windows[s]
			if x.start != w.Start || p.b.Limits[s] == (Amounts{}) {
				continue
			}
			was := w.Held[p.id]
			back := x.spent.minus(was)
			for m, most := range p.b.Limits[s] {
				if most == 0 {
					back[m] = 0
				}
			}
			l.hold(Span(s), p.id, back)
			same = same && back == Amounts{}
			for m := range x.held { // whether or not it can be written
				x.held[m] = min(x.held[m], x.spent[m])
			}
		}
		p.tried, p.wrote = rev, true
		p.mu.Unlock()
		if same {
			return nil
		}
		if err = p.write(ctx, l, rev, p.s.clock.now()); !fault.Is(err, fault.Conflict) {
			return err
		}
	}
}
