package balance

import (
	"math"
	"slices"
	"time"
)

// What it takes to leave the replica that knows the prompt. Tried against the
// other sensible values in the simulation that the tests run.
const (
	crowding = 0.05 // of an answer's time: what a replica with all slots but one in use costs more than an idle one
	overfull = 1.5  // times the fair share, and one: more than that a replica without known slots is not given
	pressed  = 1.25 // times the others' new text: more than that a replica gets no new conversation
)

// appraise looks up what each replica knows of the prompt.
func (p *Pool) appraise(t *Ticket) {
	t.missing = slices.Grow(t.missing[:0], len(p.replicas))[:len(p.replicas)]
	least, most := math.MaxInt, 0
	for i, r := range p.replicas {
		n := covered(len(t.ask.Prefix)) - covered(r.seen.knows(t.ask.Prefix))
		t.missing[i] = n
		least, most = min(least, n), max(most, n)
	}
	t.least, t.fresh = least, least == most
}

// prices is what the choice is made of, at one moment.
type prices struct {
	now     time.Time
	typical float64   // seconds of an answer
	read    float64   // seconds of a missing byte
	company float64   // seconds for each answer beside it
	shared  float64   // the same, where that has been seen
	busy    float64   // of an answer's seconds in flight, for each slot: what waiting here costs those behind
	base    []float64 // of each replica: an answer's seconds there, and how crowded it is
	room    []float64
	heads   []float64 // of each replica: how many wait for it first of all
	kept    []bool    // for a large request that has waited long enough
	pressed []bool
}

// price everything that does not depend on the request. The slices are the
// pool's own, used again each time.
func (p *Pool) price(now time.Time) *prices {
	x := &p.scratch
	n := len(p.replicas)
	*x = prices{
		now: now, typical: p.service.or(1), read: p.cost.of(), company: p.company.of(), shared: p.company.shown(),
		base: resize(x.base, n), room: resize(x.room, n), heads: resize(x.heads, n), kept: slices.Grow(x.kept[:0], n)[:n], pressed: slices.Grow(x.pressed[:0], n)[:n],
	}
	inflight, taken := 0, 0.0
	for _, r := range p.replicas {
		inflight += r.inflight
		taken += r.seen.taken
	}
	for i, r := range p.replicas {
		limit := r.limit()
		fair := overfull * float64(inflight+1) / float64(n)
		crowd := crowding * float64(r.inflight) / math.Min(limit, math.Max(fair, 1))
		if over := float64(r.inflight+1) - math.Ceil(fair); math.IsInf(limit, 1) && over > 0 {
			crowd += over / math.Max(fair, 1)
		}
		x.base[i] = r.serves(x) + crowd*x.typical + r.Distance.Seconds()
		x.room[i], x.heads[i], x.kept[i] = r.room(now), 0, false
		if math.IsInf(limit, 1) {
			x.room[i] = math.Min(x.room[i], math.Ceil(fair)+1-float64(r.inflight))
		}
		x.pressed[i] = r.seen.taken > pressed*taken/float64(n)
	}
	x.busy = 1 + float64(len(p.line))/math.Max(p.slots(), 1)
	return x
}

func resize(s []float64, n int) []float64 { return slices.Grow(s[:0], n)[:n] }

// of is what replica i costs t, in seconds; infinite where it may not go.
func (x *prices) of(t *Ticket, i int, r *replica, again bool) float64 {
	switch {
	case x.now.Before(r.until), !again && slices.Contains(t.ask.Tried, r.Name):
		return math.Inf(1)
	}
	c := x.base[i] + x.read*float64(t.missing[i])
	if !t.fresh {
		return c
	}
	// All the same to the prompt: the conversation's own order of replicas, so
	// that every node of a cluster begins with the same one; but a replica that
	// gets more new text than others would lose what it remembers of its own.
	if x.pressed[i] {
		c += x.typical / 2
	}
	if r.Distance > 0 {
		return c + x.typical*rank // behind all that are near, whatever its turn
	}
	return c + x.typical*rank*distance(t.ask.Key, r)
}

const rank = 0.1

// distance is where a replica stands in a key's own order: weighted rendezvous
// hashing, brought into 0 to 1.
func distance(key uint64, r *replica) float64 {
	h := Chain{h: key}
	h.WriteString(r.Name)
	u := float64(h.Key()>>11) / (1 << 53)
	return 1 - math.Pow(u, 1/r.Weight)
}

// again reports whether those that failed t may be asked once more: nobody
// else lives.
func (p *Pool) again(now time.Time, t *Ticket) bool {
	if len(t.ask.Tried) == 0 {
		return true
	}
	return !slices.ContainsFunc(p.replicas, func(r *replica) bool {
		return !now.Before(r.until) && !slices.Contains(t.ask.Tried, r.Name)
	})
}

// dispatch gives free replicas to those that wait, as long as that is worth
// while: one that waits for the replica that knows its prompt goes elsewhere
// when it has waited for as long as that costs, or would have to. What they leave
// over is the batch lane's.
func (p *Pool) dispatch(now time.Time) {
	for len(p.line) > 0 {
		x := p.price(now)
		if !slices.ContainsFunc(x.room, func(n float64) bool { return n >= 1 }) {
			break
		}
		t, i := p.choose(x, p.line)
		if t == nil {
			break
		}
		p.grant(now, t, i)
	}
	for len(p.line) == 0 && len(p.patient) > 0 {
		x := p.price(now)
		if p.spare(x) < 1 {
			break
		}
		t, i := p.choose(x, p.patient)
		if t == nil {
			break
		}
		p.grant(now, t, i)
	}
	p.makeRoom(now)
}

// spare is how many slots there are for the batch lane: what is free beside what
// people had in use lately, as it goes up and down, and one for the next of them.
// Those who come all the same are made room for.
func (p *Pool) spare(x *prices) float64 {
	free := 0.0
	for i, r := range p.replicas {
		if math.IsInf(r.limit(), 1) {
			x.room[i] = math.Min(x.room[i], unknownBatch-float64(len(r.batch)))
		}
		free += math.Max(0, x.room[i])
	}
	mean := p.people.now(x.now, p.inUse())
	keep := math.Round(mean+math.Sqrt(mean)) - p.inUse()
	if p.slots() > 2 && !slices.ContainsFunc(p.replicas, func(r *replica) bool { return r.outs > 0 }) {
		keep = math.Max(keep, 1) // but one that comes back is given little enough
	}
	return free - math.Max(keep, 0)
}

const unknownBatch = 4 // of the batch lane at once, where nobody says how many slots there are

// inUse is how many slots people have now.
func (p *Pool) inUse() float64 {
	n := 0
	for _, r := range p.replicas {
		n += r.people()
	}
	return float64(n)
}

// makeRoom has as many of the batch lane give their slots back as people wait:
// where those would go first of all, and of those there the ones that have come
// least far.
func (p *Pool) makeRoom(now time.Time) {
	held, leaving := 0, 0
	for _, r := range p.replicas {
		for _, t := range r.batch {
			held++
			if t.yields {
				leaving++
			}
		}
	}
	if held == leaving || len(p.line) <= leaving {
		return
	}
	x := p.price(now)
	p.choose(x, p.line) // who would go where
	free := slices.ContainsFunc(x.room, func(n float64) bool { return n >= 1 })
	for _, t := range p.line[leaving:] {
		i := t.best
		if i >= 0 && len(p.replicas[i].batch) == 0 && !free {
			i = slices.IndexFunc(p.replicas, func(r *replica) bool { return len(r.batch) > 0 && !now.Before(r.until) })
		}
		if i < 0 {
			continue
		}
		for _, b := range slices.Backward(p.replicas[i].batch) {
			if !b.yields {
				b.yields = true
				close(b.yield)
				break
			}
		}
	}
}

// choose finds who of a lane goes where next.
func (p *Pool) choose(x *prices, lane []*Ticket) (*Ticket, int) {
	for _, t := range lane {
		again := p.again(x.now, t)
		t.best, t.cheapest = -1, math.Inf(1)
		for i, r := range p.replicas {
			if c := x.of(t, i, r, again); c < t.cheapest {
				t.best, t.cheapest = i, c
			}
		}
		t.ahead = 0
		if t.best >= 0 {
			t.ahead = x.heads[t.best]
			x.heads[t.best]++
		}
	}
	var who *Ticket
	where, least := -1, math.Inf(1)
	for _, t := range lane {
		if t.best < 0 {
			continue
		}
		again := p.again(x.now, t)
		age := x.now.Sub(t.entered).Seconds()
		t.spill = time.Time{}
		for i, r := range p.replicas {
			if x.room[i] < 1 || x.kept[i] {
				continue
			}
			if !r.fits(t) {
				x.kept[i] = i == t.best && age > x.typical // or small ones would go past it for ever
				continue
			}
			extra := x.of(t, i, r, again) - t.cheapest
			if math.IsInf(extra, 1) {
				continue
			}
			if i != t.best && age < extra && p.wait(x, t) < extra {
				at := t.entered.Add(time.Duration(extra * float64(time.Second)))
				if t.spill.IsZero() || at.Before(t.spill) {
					t.spill = at
				}
				continue
			}
			// Of a conversation that has answers under way already, a second
			// of waiting counts for less.
			if score := x.busy*extra - age/float64(1+p.busy[t.ask.Key]); score < least {
				who, where, least = t, i, score
			}
		}
	}
	return who, where
}

// wait is how long t would wait for its best replica.
func (p *Pool) wait(x *prices, t *Ticket) float64 {
	if x.room[t.best] >= 1 {
		return 0
	}
	r := p.replicas[t.best]
	return (t.ahead + 1) * r.serves(x) / math.Max(1, math.Min(r.limit(), float64(r.inflight)))
}

// grant lets t go to a replica.
func (p *Pool) grant(now time.Time, t *Ticket, i int) {
	r := p.replicas[i]
	p.remove(t)
	t.at, t.granted = r, now
	t.Replica, t.Waited = r.Name, now.Sub(t.entered)
	t.probe = r.outs > 0 && r.trust == 0
	p.counted(t)
	switch {
	case t.hedge:
		t.Why = Hedge
	case t.ask.Batch && len(t.ask.Tried) == 0:
		t.Why = Idle
	case len(t.ask.Tried) > 0:
		t.Why = Retry
	case t.probe:
		t.Why = Probe
	case t.fresh:
		t.Why = Fresh
	case t.missing[i] == t.least:
		t.Why = Affinity
	default:
		t.Why = Spill
	}
	t.unknown, t.among = t.missing[i], r.inflight+1
	if p.begins.n > 0 && !t.ask.Batch {
		t.Begins = max(time.Duration(float64(time.Second)*(p.begins.mean+p.cost.of()*float64(t.unknown))), time.Millisecond)
	}
	t.alone = float64(r.inflight) < r.limit() && r.outs == 0
	if t.probe {
		r.probes++
	}
	p.people.now(now, p.inUse())
	r.enter(now, t)
	p.busy[t.ask.Key]++
	r.seen.use(t.ask.Prefix)
	for _, other := range p.replicas {
		other.seen.taken *= 1 - 1.0/256
	}
	c := p.counts[r.Name]
	c.Picks[t.Why]++
	p.counts[r.Name] = c
	close(t.ready)
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// Poke gives out what can be given out by now, and says when t has to poke
// again: at that time a replica that is out may come back, or it is worth
// while for t to go elsewhere, or people may need less. Zero: some outcome comes
// first.
func (p *Pool) Poke(now time.Time, t *Ticket) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.at != nil || t.over {
		return time.Time{}
	}
	p.dispatch(now)
	next := t.spill
	for _, r := range p.replicas {
		if r.until.After(now) && (next.IsZero() || r.until.Before(next)) {
			next = r.until
		}
	}
	if t.ask.Batch { // what is kept for people becomes less by the clock alone
		again := now.Add(5 * time.Second)
		if len(p.patient) > 0 && p.patient[0] == t {
			again = now.Add(time.Second)
		}
		if next.IsZero() || again.Before(next) {
			next = again
		}
	}
	return next
}

// Counts are what happened at a replica since the pool was made.
type Counts struct {
	Picks     map[Why]int
	Failures  int
	Refusals  int
	Ejections int
}

// State is a replica as the pool sees it now.
type State struct {
	Name     string
	InFlight int           // of both lanes
	Batch    int           // of these, the batch lane's
	Slots    int           // 0 = not known and not limited
	Out      time.Duration // until it may be asked again; 0: it may
	Trusted  bool          // false: out, or on its way back
	Counts
}

// States lists the replicas, and how many requests wait.
func (p *Pool) States(now time.Time) (all []State, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.replicas {
		s := State{Name: r.Name, InFlight: r.inflight, Batch: len(r.batch), Out: max(0, r.until.Sub(now)), Trusted: r.outs == 0, Counts: p.counts[r.Name]}
		if n := r.limit(); !math.IsInf(n, 1) {
			s.Slots = int(n)
		}
		s.Picks = make(map[Why]int, len(s.Picks))
		for why, n := range p.counts[r.Name].Picks {
			s.Picks[why] = n
		}
		all = append(all, s)
	}
	return all, len(p.line)
}
