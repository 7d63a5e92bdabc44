package edge

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// policy is a Policy ready for deciding.
type policy struct {
	method   Method
	targets  []target // in the order of priority, for that method
	most     int
	minLive  int
	fallback int  // -1: none
	under    mask // the regions below, without the fallback's

	subnets trie        // subnet: index into targets
	rest    int         // subnet: who takes everybody else; -1: nobody
	places  map[int]int // geographic: a place's key to an index into targets
}

// target is a Target ready for deciding: region or policy, the other is -1.
type target struct {
	region, policy int
	weight         float64
	salt           uint64 // from the name, so that a draw means something else for each target
}

// client is a query on its way through the policies.
type client struct {
	addr  netip.Addr
	bits  int // of addr that are known
	known bool
	draw  uint64
	live  mask
	scope int // bits of addr that were looked at

	place     placed // once placeDone
	placeDone bool
	near      int // row of the latency table, or -1, once nearDone
	nearDone  bool
}

func (e *Edge) compile(cfg Config) {
	for _, d := range cfg.Latency {
		row := make([]float64, len(e.regions))
		for i, r := range e.regions {
			row[i] = math.Inf(1)
			if ms, ok := d.Milliseconds[r.Name]; ok {
				row[i] = ms
			}
		}
		e.nearby.put(d.Subnet, len(e.table))
		e.table = append(e.table, row)
	}
	for _, n := range cfg.Networks {
		code, _ := countryOf(n.Country)
		e.networks.put(n.Subnet, len(e.codes))
		e.codes = append(e.codes, code)
	}
	for _, p := range cfg.Policies {
		e.policies = append(e.policies, e.compilePolicy(p))
	}
	done := make([]bool, len(e.policies))
	for i := range e.policies {
		e.gather(i, done)
	}
}

func (e *Edge) compilePolicy(p Policy) policy {
	out := policy{method: p.Method, most: cmp.Or(p.Most, MaxRegions), minLive: cmp.Or(p.MinLive, 1), fallback: -1, rest: -1, places: map[int]int{}}
	if p.Fallback != "" {
		out.fallback = e.named[p.Fallback]
	}
	targets := slices.Clone(p.Targets)
	if p.Method == Priority {
		slices.SortStableFunc(targets, func(a, b Target) int {
			return cmp.Compare(cmp.Or(a.Priority, 1001), cmp.Or(b.Priority, 1001))
		})
	}
	for i, t := range targets {
		to := target{region: -1, policy: -1, weight: float64(cmp.Or(t.Weight, 1)), salt: hash(t.Region + "/" + t.Policy)}
		if t.Region != "" {
			to.region = e.byName[t.Region]
		} else {
			to.policy = e.named[t.Policy]
		}
		out.targets = append(out.targets, to)
		for _, place := range t.Places {
			out.places[placeKey(place)] = i
		}
		for _, n := range t.Subnets {
			out.subnets.put(n, i)
		}
		if p.Method == Subnet && len(t.Subnets) == 0 {
			out.rest = i
		}
	}
	return out
}

// gather finds the regions below a policy.
func (e *Edge) gather(i int, done []bool) mask {
	p := &e.policies[i]
	if done[i] {
		return p.under
	}
	done[i] = true
	for _, t := range p.targets {
		if t.region >= 0 {
			p.under |= 1 << t.region
		} else {
			p.under |= e.gather(t.policy, done)
		}
	}
	return p.under
}

// walk adds what policy i chooses for c to d; if that is nobody, what its
// fallback chooses.
func (e *Edge) walk(i int, c *client, d *Decision) {
	p := &e.policies[i]
	before := d.n
	switch p.method {
	case Priority:
		for t := range p.targets {
			e.take(&p.targets[t], c, d)
		}
	case Weighted, MultiValue:
		e.inOrder(p, c, d, func(t *target) float64 { return lot(c.draw, t) })
	case Performance:
		e.inOrder(p, c, d, func(t *target) float64 { return e.roundTrip(c, t) })
	case Subnet:
		t, bits := p.subnets.find(c.addr, c.bits)
		c.scope = max(c.scope, bits)
		if t < 0 {
			t = p.rest
		}
		if t >= 0 {
			e.take(&p.targets[t], c, d)
		}
	case Geographic:
		if t := e.byPlace(p, c); t >= 0 {
			e.take(&p.targets[t], c, d)
		}
	}
	if p.method == MultiValue && before == 0 {
		d.Answers = uint8(min(int(d.n), p.most))
	}
	if d.n == before && p.fallback >= 0 {
		e.walk(p.fallback, c, d)
	}
}

// take adds a target, if it lives.
func (e *Edge) take(t *target, c *client, d *Decision) {
	if t.region >= 0 {
		if c.live.has(t.region) {
			d.add(t.region)
		}
		return
	}
	p := &e.policies[t.policy]
	switch {
	case (p.under & c.live).count() >= p.minLive:
		e.walk(t.policy, c, d)
	case p.fallback >= 0:
		e.walk(p.fallback, c, d)
	}
}

// inOrder adds the targets by rising score; equal ones as the draw has it.
func (e *Edge) inOrder(p *policy, c *client, d *Decision, score func(*target) float64) {
	type scored struct {
		score  float64
		tie    uint64
		target *target
	}
	var all [MaxRegions]scored
	n := 0
	for i := range p.targets {
		t := &p.targets[i]
		s := scored{score(t), mix(c.draw ^ t.salt), t}
		at := n
		for at > 0 && (all[at-1].score > s.score || all[at-1].score == s.score && all[at-1].tie > s.tie) {
			all[at] = all[at-1]
			at--
		}
		all[at] = s
		n++
	}
	for _, s := range all[:n] {
		e.take(s.target, c, d)
	}
}

// lot is an exponential variable whose rate is the target's weight, from the
// draw: sorting by it is drawing without putting back, by weight. Taking a
// target away moves nobody who was not on it.
func lot(draw uint64, t *target) float64 {
	u := (float64(mix(draw^t.salt)>>11) + 0.5) / (1 << 53)
	return -math.Log(u) / t.weight
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hash is FNV-1a: the same in every process, so that all edges agree.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// byPlace finds the target of the client's country, then of its continent,
// then of the world; -1 if there is none.
func (e *Edge) byPlace(p *policy, c *client) int {
	e.locate(c)
	for _, key := range [...]int{c.place.country.key(), continentKey(c.place.continent), worldKey} {
		if t, ok := p.places[key]; ok {
			return t
		}
	}
	return -1
}

// locate finds out where the client is, once.
func (e *Edge) locate(c *client) {
	if c.placeDone {
		return
	}
	c.placeDone = true
	if !c.known {
		return
	}
	i, bits := e.networks.find(c.addr, c.bits)
	c.scope = max(c.scope, bits)
	if i >= 0 {
		c.place = e.codes[i].placed()
		return
	}
	place, bits := e.places.Find(c.addr)
	c.scope = max(c.scope, bits)
	c.place = place.placed()
}

// roundTrip is the time in milliseconds from the client to a target, +Inf if
// nothing is known: what was learned, else what is configured, else what the
// distance tells. A policy is as near as its nearest living region.
func (e *Edge) roundTrip(c *client, t *target) float64 {
	if t.region >= 0 {
		return e.distance(c, t.region)
	}
	best := math.Inf(1)
	for i := range e.regions {
		if (e.policies[t.policy].under & c.live).has(i) {
			best = min(best, e.distance(c, i))
		}
	}
	return best
}

func (e *Edge) distance(c *client, region int) float64 {
	if !c.known {
		return math.Inf(1)
	}
	ms, bits, ok := e.learned.find(c.addr, c.bits, region)
	c.scope = max(c.scope, bits)
	if ok {
		return ms
	}
	if !c.nearDone {
		c.nearDone = true
		c.near, bits = e.nearby.find(c.addr, c.bits)
		c.scope = max(c.scope, bits)
	}
	if c.near >= 0 && !math.IsInf(e.table[c.near][region], 1) {
		return e.table[c.near][region]
	}
	if e.regions[region].At == nil {
		return math.Inf(1)
	}
	e.locate(c)
	if !c.place.somewhere {
		return math.Inf(1)
	}
	return lastMile + between(c.place.at, *e.regions[region].At)/kmPerMs
}

// kmPerMs is how far a round trip of one millisecond reaches between cities:
// Tokyo-Seoul 1,150 km in 30 ms, Tokyo-Singapore 5,300 km in 70 ms. Light in a
// straight fibre would do 100.
const kmPerMs = 65

// lastMile is what a client's own access adds to a distance, in milliseconds, so
// that a guess does not beat a measurement by leaving it out.
const lastMile = 5

// between is the great-circle distance in kilometres.
func between(a, b Point) float64 {
	const rad = math.Pi / 180
	sLat, sLon := math.Sin((a.Lat-b.Lat)*rad/2), math.Sin((a.Lon-b.Lon)*rad/2)
	h := sLat*sLat + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*sLon*sLon
	return 2 * 6371 * math.Asin(math.Sqrt(min(1, h)))
}

// DrawOf is a Draw for somebody who shall get the same decision every time.
func DrawOf(who string) uint64 { return mix(hash(who)) }
