package balance

import (
	"math"
	"slices"
	"time"
)

// replica is what is known of one.
type replica struct {
	Replica
	seen     *memory
	inflight int
	tokens   int       // of those in flight
	batch    []*Ticket // of those in flight, the batch lane's, in the order in which they were granted
	started  float64   // sum of the seconds at which the others were granted

	service average // seconds of an answer
	load    average // answers in flight when they began, each with itself
	sampled time.Time

	learned float64 // slots, where nobody says: more with answers, fewer with refusals

	errors int       // in a row
	outs   int       // times in a row that it was put out
	until  time.Time // out until then
	trust  int       // 0: as any; else how many it may have while it is coming back
	probes int       // requests under way that find out whether it is back
}

// limit is how many answers it may have in flight, health aside.
func (r *replica) limit() float64 {
	if r.Slots > 0 {
		return float64(r.Slots)
	}
	return math.Max(1, math.Floor(r.learned))
}

// room is how many more it may get now.
func (r *replica) room(now time.Time) float64 {
	if now.Before(r.until) {
		return 0
	}
	n := r.limit()
	if r.outs > 0 && r.trust == 0 { // out no longer: one may try
		return 1 - float64(r.probes)
	}
	if r.trust > 0 {
		n = math.Min(n, float64(r.trust))
	}
	return n - float64(r.inflight)
}

// fits reports whether a request's tokens have room beside those in flight. One
// that is larger than all the room goes alone.
func (r *replica) fits(t *Ticket) bool {
	return r.Tokens == 0 || r.inflight == 0 || r.tokens+t.ask.Tokens <= r.Tokens
}

const (
	believed  = 30 * time.Second // after which what was measured of a replica has lost most of its weight
	trustEnds = 16               // answers in flight from which on one that came back is trusted again
)

// serves is how long an answer of it takes: as measured, or longer if those in
// flight say so. What was measured long ago fades towards typical: a replica
// that was slow gets a new chance.
func (r *replica) serves(x *prices) float64 {
	s := math.Max(r.took(x.now, x.typical), r.age(x.now))
	if r.load.n > 0 {
		each := x.company // those beside it may wait inside, or share what computes
		if r.Slots > 0 {
			each = x.shared // none waits
		}
		s = math.Max(0, s+each*(float64(r.inflight+1)-r.load.mean))
	}
	return s / r.Weight
}

// took is how long answers of it took lately.
func (r *replica) took(now time.Time, typical float64) float64 {
	if r.service.n == 0 {
		return typical
	}
	return typical + (r.service.mean-typical)*math.Exp(-float64(now.Sub(r.sampled))/float64(believed))
}

// age is how long people's answers in flight have been under way, on average.
func (r *replica) age(now time.Time) float64 {
	n := r.people()
	if n == 0 {
		return 0
	}
	return seconds(now) - r.started/float64(n)
}

// enter and leave keep the books of those in flight.
func (r *replica) enter(now time.Time, t *Ticket) {
	r.inflight++
	r.tokens += t.ask.Tokens
	if t.ask.Batch {
		r.batch = append(r.batch, t)
		return
	}
	r.started += seconds(now)
}

func (r *replica) leave(t *Ticket) {
	r.inflight--
	r.tokens -= t.ask.Tokens
	if i := slices.Index(r.batch, t); i >= 0 {
		r.batch = slices.Delete(r.batch, i, i+1)
		return
	}
	r.started -= seconds(t.granted)
}

// people is how many of those in flight somebody waits for.
func (r *replica) people() int { return r.inflight - len(r.batch) }

// timed takes how long an answer took.
func (r *replica) timed(now time.Time, took float64, among int) {
	r.service.add(took, 0.1)
	r.load.add(float64(among), 0.1)
	r.sampled = now
}

// answered takes a good answer: the errors are forgotten, and trust grows.
func (r *replica) answered() {
	r.errors = 0
	if float64(r.inflight+1) >= r.limit() { // all were in use, and it took that
		r.learned += 1 / r.learned
	}
	switch {
	case r.outs > 0 && r.trust == 0:
		r.trust = 1
	case r.trust > 0:
		r.trust++
		if float64(r.trust) > math.Min(r.limit(), trustEnds) {
			r.trust, r.outs = 0, 0
		}
	}
}

// failed reports whether that puts the replica out.
func (r *replica) failed(now time.Time, o *Options) bool {
	r.errors++
	back := r.outs > 0
	if now.Before(r.until) || r.errors < o.Errors && !back {
		return false
	}
	r.until = now.Add(min(o.Out<<min(r.outs, 16), o.OutMax))
	r.outs++
	r.trust, r.errors = 0, 0
	r.seen.clear()
	return true
}

// refused takes a 429: no failure, but it is left alone for as long as it says.
func (r *replica) refused(now time.Time, after time.Duration, o *Options) {
	if after <= 0 {
		after = 50 * time.Millisecond
	}
	if t := now.Add(min(after, o.OutMax)); t.After(r.until) {
		r.until = t
	}
	r.learned = math.Max(1, 0.7*math.Min(r.learned, float64(r.inflight+1)))
}
