// Package balance decides which of several replicas of a model answers a
// request: the one that knows the beginning of its prompt, unless waiting for
// it would cost more than reading the prompt anew elsewhere. It keeps the line
// of those that wait, learns from every outcome how fast and how sound each
// replica is, and does nothing else: no network, no clock of its own (callers
// say what time it is), no goroutine. The same calls give the same answers.
package balance

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Replica is one of those that can answer.
type Replica struct {
	Name   string
	Slots  int     // answers at once; 0: not known, so learned from refusals and delays
	Tokens int     // of prompts and answers in flight at once; 0: no such limit
	Weight float64 // how much work it gets beside the others, all else equal; 0 = 1
	// Distance is a round trip to it, of one that is farther away than the others:
	// what using it costs in any case. 0: it is near.
	Distance time.Duration
}

// Options of New. The zero value works.
type Options struct {
	Line   int           // requests that may wait, in each lane; 0 = 1000
	Errors int           // failures in a row that put a replica out; 0 = 2
	Out    time.Duration // how long the first time, twice as long each further time; 0 = 500 ms
	OutMax time.Duration // 0 = 30 s
	Sums   int           // of prompts that are remembered for each replica; 0 = 32768 (2 MiB of short conversations, 16 MiB of long ones)
}

// Ask is what a request says of itself.
type Ask struct {
	// Key is the conversation's. Of a key that is being answered already, those
	// with fewer answers under way go first. 0: a conversation of its own.
	Key uint64
	// Prefix are the sums of a Chain over the prompt.
	Prefix []uint64
	// Tried are replicas that have failed this very request: only where nobody
	// else lives is one of them asked again.
	Tried []string
	// Tokens is about how many it takes, prompt and answer together.
	Tokens int
	// Within: who asks has no use for an answer that begins later. 0: any will do.
	Within time.Duration
	// Batch: nobody waits for this one. It gets what people leave over.
	Batch bool
}

// Why says how a request came to its replica.
type Why string

// The reasons. A new one is a new label of a metric.
const (
	Affinity Why = "affinity" // it knows the beginning of the prompt
	Fresh    Why = "fresh"    // nobody knows it better than others
	Spill    Why = "spill"    // who knows it is busy, slow or out
	Retry    Why = "retry"    // another one failed this request
	Probe    Why = "probe"    // it was out, and this request finds out whether it is back
	Hedge    Why = "hedge"    // another one was late to begin, and still may be the first
	Idle     Why = "idle"     // it is of the batch lane, and nobody needs the slot
)

// Verdict is what became of a request.
type Verdict int

// The verdicts.
const (
	Answered Verdict = iota // as it should be
	Failed                  // error, garbage, silence, a cut: the replica's fault
	Refused                 // it has too much to do (429)
	Dropped                 // says nothing of the replica: the caller left, or asked nonsense
)

func (v Verdict) String() string {
	return [...]string{"answered", "failed", "refused", "dropped"}[v]
}

// Outcome ends a request's stay at its replica.
type Outcome struct {
	Verdict Verdict
	After   time.Duration // Refused: when it may be asked again; 0 = soon
}

// Pool is a set of replicas and the line before them. Its methods may be
// called from many goroutines. Times that callers give should not go back; a
// step back does no harm.
type Pool struct {
	o Options

	mu       sync.Mutex // guards everything below and all Tickets' unexported fields
	replicas []*replica
	line     []*Ticket // in the order of arrival
	patient  []*Ticket // of the batch lane, in the order of arrival
	busy     map[uint64]int
	cost     slope          // seconds that an unknown byte of a prompt takes to read
	company  slope          // seconds that an answer takes longer for each that its replica has beside it
	service  average        // seconds of an answer, over all replicas
	people   tide           // slots that people have in use
	begins   average        // seconds to its first piece, without that for reading the prompt
	late     delays         // the same
	granted  int            // requests of people, lately
	hedged   int            // of these, how many went to a second replica
	suspects map[uint64]int // conversations whose requests have failed, and how often in a row
	counts   map[string]Counts
	scratch  prices
}

// New makes a pool without replicas.
func New(o Options) *Pool {
	if o.Line == 0 {
		o.Line = 1000
	}
	if o.Errors == 0 {
		o.Errors = 2
	}
	if o.Out == 0 {
		o.Out = 500 * time.Millisecond
	}
	if o.OutMax == 0 {
		o.OutMax = 30 * time.Second
	}
	if o.Sums == 0 {
		o.Sums = 32 << 10
	}
	return &Pool{o: o, cost: ofReading(), company: ofCompany(), busy: map[uint64]int{}, suspects: map[uint64]int{}, counts: map[string]Counts{}}
}

// Set says which replicas there are. What is known of those that stay is kept;
// what runs on those that go runs on.
func (p *Pool) Set(now time.Time, all []Replica) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make([]*replica, 0, len(all))
	for _, want := range all {
		if want.Weight <= 0 || math.IsInf(want.Weight, 0) || math.IsNaN(want.Weight) {
			want.Weight = 1
		}
		i := slices.IndexFunc(p.replicas, func(r *replica) bool { return r.Name == want.Name })
		var r *replica
		if i < 0 {
			r = &replica{seen: newMemory(p.o.Sums), learned: math.Inf(1)}
		} else {
			r = p.replicas[i]
		}
		r.Replica = want
		if p.counts[r.Name].Picks == nil {
			p.counts[r.Name] = Counts{Picks: map[Why]int{}}
		}
		next = append(next, r)
	}
	p.replicas = next
	for _, t := range slices.Concat(p.line, p.patient) {
		p.appraise(t)
	}
	p.dispatch(now)
}

// Ticket is one request's stay in the pool: first in the line, then at a
// replica. Who entered must call Done or Leave exactly once.
type Ticket struct {
	// Set when Ready is closed.
	Replica string
	Why     Why
	Waited  time.Duration
	Begins  time.Duration // how long it should take to begin; 0: nothing is known yet

	ask     Ask
	ready   chan struct{}
	yield   chan struct{} // of the batch lane: closed when it shall make room
	yields  bool
	entered time.Time
	over    bool

	missing []int // bytes that each of the pool's replicas would have to read
	least   int   // of missing
	fresh   bool  // all of missing are the same

	// While it waits, as choose saw it last:
	best     int     // the replica that is worth most
	cheapest float64 // what it costs there
	ahead    float64 // how many wait for that one too and came before
	spill    time.Time

	// Once it is granted:
	at      *replica
	granted time.Time
	first   time.Time
	among   int  // that many in flight at the replica, with this one
	unknown int  // bytes that the replica has to read
	hedge   bool // a second one for the same request
	alone   bool // nothing waits inside the replica: its delay can be learned from
	probe   bool
}

// Ready is closed when the request may go to Replica.
func (t *Ticket) Ready() <-chan struct{} { return t.ready }

// Yield is closed when a request of the batch lane shall give its slot back,
// because somebody waits for one: it ends here, is Done, and enters again. Nil
// in the other lane.
func (t *Ticket) Yield() <-chan struct{} { return t.yield }

// Enter takes a request in. It may be ready at once. A full line is a fault.
func (p *Pool) Enter(now time.Time, ask Ask) (*Ticket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.replicas) == 0 {
		return nil, fault.New(fault.Unavailable, "there is no engine for this model now")
	}
	t := &Ticket{ask: ask, ready: make(chan struct{}), entered: now}
	lane := &p.line
	if ask.Batch {
		t.yield = make(chan struct{})
		lane = &p.patient
	}
	p.appraise(t)
	*lane = append(*lane, t)
	p.dispatch(now)
	if t.at != nil {
		return t, nil
	}
	if len(*lane) > p.o.Line {
		p.remove(t)
		return nil, fault.New(fault.Limited, "all engines of this model are busy and %d requests wait already: try again later", p.o.Line).After(p.forecast(now, len(*lane)).Back(0))
	}
	if f := p.forecast(now, len(p.line)); ask.Within > 0 && !ask.Batch && f.Soon > ask.Within {
		p.remove(t)
		return nil, fault.New(fault.Limited, "all engines of this model are busy: it would take %v at the least until this request begins, and it was to be %v at most",
			f.Soon.Round(time.Second), ask.Within.Round(time.Millisecond)).After(f.Back(ask.Within))
	}
	return t, nil
}

// Leave takes the request out, in the line or at its replica: it was given up.
func (p *Pool) Leave(now time.Time, t *Ticket) { p.Done(now, t, Outcome{Verdict: Dropped}) }

// First says that the replica's answer has begun.
func (p *Pool) First(now time.Time, t *Ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.at == nil || t.over || !t.first.IsZero() || t.ask.Batch { // in a batch the first piece is the whole answer
		return
	}
	t.first = now
	took := now.Sub(t.granted).Seconds()
	delay := math.Max(0, took-p.cost.of()*float64(t.unknown))
	p.begins.add(delay, 0.05)
	p.late.add(delay)
	if t.alone {
		p.cost.add(float64(t.unknown), took)
	}
}

// Done says what became of the request and makes room for another. It reports
// whether that has put the replica out.
func (p *Pool) Done(now time.Time, t *Ticket, o Outcome) (out bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.over {
		return false
	}
	t.over = true
	if t.at == nil {
		p.remove(t)
		return false
	}
	r := t.at
	p.people.now(now, p.inUse())
	r.leave(t)
	if t.probe {
		r.probes--
	}
	if n := p.busy[t.ask.Key]; n > 1 {
		p.busy[t.ask.Key] = n - 1
	} else {
		delete(p.busy, t.ask.Key)
	}
	c := p.counts[r.Name]
	switch o.Verdict {
	case Answered:
		delete(p.suspects, t.ask.Key)
		r.answered()
		if took := now.Sub(t.granted).Seconds(); !t.ask.Batch { // how long those of a batch take says nothing of people's
			p.service.add(took, 0.02)
			p.company.add(float64(t.among), took-p.cost.of()*float64(t.unknown))
			r.timed(now, took, t.among)
		}
	case Failed:
		r.seen.forget(t.ask.Prefix)
		c.Failures++
		if p.suspect(t.ask.Key) {
			break
		}
		if out = r.failed(now, &p.o); out {
			c.Ejections++
		}
	case Refused:
		r.refused(now, o.After, &p.o)
		c.Refusals++
	case Dropped:
	}
	p.counts[r.Name] = c
	p.dispatch(now)
	return out
}

// suspect notes a failure and reports whether it is the request's own: one that
// has failed everywhere must not put out one replica after the other.
func (p *Pool) suspect(key uint64) bool {
	if len(p.suspects) >= 1024 {
		clear(p.suspects)
	}
	p.suspects[key]++
	return key != 0 && p.suspects[key] > 3
}

func (p *Pool) remove(t *Ticket) {
	lane := &p.line
	if t.ask.Batch {
		lane = &p.patient
	}
	if i := slices.Index(*lane, t); i >= 0 {
		*lane = slices.Delete(*lane, i, i+1)
	}
}

// slots is how many answers there can be at once.
func (p *Pool) slots() float64 {
	n := 0.0
	for _, r := range p.replicas {
		n += r.limit()
	}
	return n
}
