// Package edge decides which living region a client is sent to: from the
// regions and what is measured of them, from policies in Azure Traffic
// Manager's words, and from where the client is. It sends nothing itself; gslb
// answers DNS with its decisions and front forwards HTTP.
package edge

import (
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Edge decides. Its methods may be called from any goroutine; Decide takes no
// lock that a measurement holds, and allocates nothing.
type Edge struct {
	regions  []Region
	byName   map[string]int
	policies []policy
	named    map[string]int
	needs    []string
	fall     int
	rise     int
	nearby   trie          // configured latency: index into table
	table    [][]float64   // milliseconds by region, +Inf where nothing is said
	networks trie          // configured place: index into codes
	codes    []countryCode // countries of Config.Networks
	places   Places
	learned  learned

	live atomic.Pointer[liveness]

	mu      sync.Mutex // guards states and changed, and orders writes of live
	states  []state
	changed chan struct{}
}

// liveness is which regions may be handed out. It is replaced as a whole.
type liveness struct {
	now  mask // regions that live
	last mask // the last now that was not empty; before that, every region
}

// mask is a set of regions by index.
type mask uint32

func (m mask) has(i int) bool { return m&(1<<i) != 0 }
func (m mask) count() int     { return bits.OnesCount32(uint32(m)) }

// MaxRegions is how many regions an edge can know.
const MaxRegions = 32

// New checks the configuration and returns an edge that has measured nothing
// yet. The error is a Problems with all that is wrong. places may be nil: then
// only Config.Networks says where clients are.
func New(cfg Config, places Places) (*Edge, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if places == nil {
		places = nowhere{}
	}
	e := &Edge{
		regions: cfg.Regions, byName: map[string]int{}, named: map[string]int{},
		needs: cfg.Needs, fall: cfg.Fall, rise: cfg.Rise, places: places,
		states: make([]state, len(cfg.Regions)), changed: make(chan struct{}),
	}
	if len(e.needs) == 0 {
		e.needs = []string{Ready}
	}
	if e.fall == 0 {
		e.fall = 2
	}
	if e.rise == 0 {
		e.rise = 2
	}
	for i, r := range cfg.Regions {
		e.byName[r.Name] = i
		e.states[i].parts = make([]part, len(e.needs))
	}
	for i, p := range cfg.Policies {
		e.named[p.Name] = i
	}
	e.compile(cfg)
	e.live.Store(&liveness{last: e.all()})
	return e, nil
}

func (e *Edge) all() mask { return mask(1)<<len(e.regions) - 1 }

// Regions lists the regions as configured. The slice must not be changed.
func (e *Edge) Regions() []Region { return e.regions }

// Query is what is known of a client.
type Query struct {
	// Policy names the policy to follow; "" is the first one.
	Policy string
	// Client is the address, or the network, to send to a region. The zero
	// value is somebody of whom nothing is known.
	Client netip.Prefix
	// Draw decides what policies leave to chance. The same number gives the
	// same decision: a random one spreads clients by weight, a hash of the
	// client keeps it where it is as long as that region lives.
	Draw uint64
}

// Decision is an order of regions. It can be compared and used as a map key.
type Decision struct {
	// Stale says that no region is known to live and that this is the answer of
	// the moment before.
	Stale bool
	// Scope is how many leading bits of the client's address the decision
	// depends on: everybody who shares them gets the same one for the same Draw.
	Scope uint8
	// Answers is how many of the regions an answer should name; the rest are
	// for whoever finds these dead. At most the number of regions.
	Answers uint8

	n  uint8
	at [MaxRegions]uint8
}

// Len is the number of regions.
func (d *Decision) Len() int { return int(d.n) }

// At returns the index in Regions of the i-th choice.
func (d *Decision) At(i int) int { return int(d.at[i]) }

// Has reports whether the decision names a region.
func (d *Decision) Has(region int) bool {
	for _, r := range d.at[:d.n] {
		if int(r) == region {
			return true
		}
	}
	return false
}

func (d *Decision) add(region int) {
	if !d.Has(region) {
		d.at[d.n] = uint8(region)
		d.n++
	}
}

// Decide says which regions the client should try, best first. Nothing is in
// it only if no policy has a place for such a client, or the policy's name is
// unknown.
func (e *Edge) Decide(q Query) Decision {
	p := 0
	if q.Policy != "" {
		var ok bool
		if p, ok = e.named[q.Policy]; !ok {
			return Decision{}
		}
	}
	l := e.live.Load()
	if l.now != 0 {
		if d := e.decide(p, q, l.now); d.n > 0 {
			return d
		}
	}
	// Nobody lives whom this client may be sent to. A dead answer is worse than
	// a living one, but no answer is worse than both: our measurement may be
	// what is broken.
	d := e.decide(p, q, l.last)
	if d.n == 0 {
		d = e.decide(p, q, e.all())
	}
	d.Stale = d.n > 0
	return d
}

// decide is Decide for a given set of living regions.
func (e *Edge) decide(p int, q Query, live mask) Decision {
	d := Decision{Answers: 1}
	c := client{draw: q.Draw, live: live}
	if q.Client.IsValid() {
		c.addr, c.bits = q.Client.Addr(), q.Client.Bits()
		if a := c.addr.Unmap(); a != c.addr {
			c.addr, c.bits = a, max(0, c.bits-96)
		}
		c.known = c.bits > 0
	}
	e.walk(p, &c, &d)
	d.Scope = uint8(min(c.scope, c.bits))
	d.Answers = min(d.Answers, d.n)
	return d
}

// Live reports whether a region is known to live.
func (e *Edge) Live(region int) bool { return e.live.Load().now.has(region) }

// Changed returns a channel that is closed when the set of living regions
// changes.
func (e *Edge) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// Learn takes a measured round trip between a client and a region into
// account: later decisions for the client's network (/24, or /48 of IPv6) know
// it better than any table.
func (e *Edge) Learn(client netip.Addr, region string, rtt time.Duration) {
	if i, ok := e.byName[region]; ok && client.IsValid() && rtt > 0 {
		e.learned.add(client.Unmap(), i, len(e.regions), float64(rtt)/float64(time.Millisecond))
	}
}

// HasPolicy reports whether a policy of this name is configured.
func (e *Edge) HasPolicy(name string) bool {
	_, ok := e.named[name]
	return ok
}
