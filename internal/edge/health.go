package edge

import (
	"slices"
	"time"
)

// Ready is the capability that decides unless Config.Needs says otherwise: the
// region answers, and says that it is ready to serve.
const Ready = "ready"

// state is what is measured of one region.
type state struct {
	drained bool
	since   time.Time // of living or not
	parts   []part    // as Edge.needs
}

// part is the state of one capability.
type part struct {
	known, up bool
	against   int       // measurements in a row that say the opposite
	since     time.Time // of up
	problem   string    // of the last bad measurement
}

// State of a region, for people.
type State struct {
	Region  string    `json:"region"`
	Live    bool      `json:"live"`
	Since   time.Time `json:"since"` // of Live; zero before the first measurement
	Drained bool      `json:"drained,omitempty"`
	Parts   []Part    `json:"parts"`
}

// Part is the state of one of a region's capabilities.
type Part struct {
	Name    string    `json:"name"`
	Known   bool      `json:"known"` // measured at all
	Up      bool      `json:"up"`
	Since   time.Time `json:"since"`
	Problem string    `json:"problem,omitempty"` // the last one, while down
}

// Observe takes a measurement into account: problem is nil if the region has
// the capability. The first one counts at once; after that Fall bad ones in a
// row, or Rise good ones, change the state. Regions and capabilities that
// nobody asked for are ignored. It reports whether the region is live now.
func (e *Edge) Observe(region, capability string, problem error, at time.Time) bool {
	i, ok := e.byName[region]
	need := slices.Index(e.needs, capability)
	if !ok || need < 0 {
		return ok && e.Live(i)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &e.states[i].parts[need]
	up := problem == nil
	switch limit := e.limit(up); {
	case p.known && p.up == up:
		p.against = 0
	case !p.known, p.against+1 >= limit:
		*p = part{known: true, up: up, since: at}
	default:
		p.against++
	}
	if problem != nil {
		p.problem = problem.Error()
	}
	e.settle(i, at)
	return e.Live(i)
}

// limit is how many measurements in a row change a state to up.
func (e *Edge) limit(up bool) int {
	if up {
		return e.rise
	}
	return e.fall
}

// Drain takes a region out, or back in, whatever is measured. Unknown names are
// ignored.
func (e *Edge) Drain(region string, out bool, at time.Time) {
	i, ok := e.byName[region]
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.states[i].drained = out
	e.settle(i, at)
}

// settle brings the set of living regions up to date. e.mu is held.
func (e *Edge) settle(i int, at time.Time) {
	s := &e.states[i]
	live := !s.drained && !slices.ContainsFunc(s.parts, func(p part) bool { return !p.known || !p.up })
	l := *e.live.Load()
	if s.since.IsZero() {
		s.since = at
	}
	if l.now.has(i) == live {
		return
	}
	s.since = at
	l.now ^= 1 << i
	if l.now != 0 {
		l.last = l.now
	}
	e.live.Store(&l)
	close(e.changed)
	e.changed = make(chan struct{})
}

// States says how all regions are.
func (e *Edge) States() []State {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]State, len(e.states))
	for i, s := range e.states {
		out[i] = State{Region: e.regions[i].Name, Live: e.Live(i), Since: s.since, Drained: s.drained}
		for j, p := range s.parts {
			part := Part{Name: e.needs[j], Known: p.known, Up: p.up, Since: p.since}
			if !p.up {
				part.Problem = p.problem
			}
			out[i].Parts = append(out[i].Parts, part)
		}
	}
	return out
}
