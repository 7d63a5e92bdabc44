package balance

import (
	"container/heap"
	"container/list"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The simulation: engines with slots, a line of their own and a prefix cache,
// and people who have conversations with pauses. No clock runs; the same seed
// gives the same run.

type world struct {
	now    time.Time
	all    []*machine
	events events
	serial int
	rnd    *rand.Rand
}

type happening struct {
	at     time.Time
	serial int
	do     func()
}

type events []happening

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(happening)) }
func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, happening{w.now.Add(d), w.serial, do})
}

func (w *world) run() {
	for w.events.Len() > 0 {
		h := heap.Pop(&w.events).(happening)
		w.now = h.at
		h.do()
	}
}

// machine is a simulated engine.
type machine struct {
	w        *world
	name     string
	slots    int
	slow     float64
	first    time.Duration
	answer   time.Duration
	miss     time.Duration // for a unit of a prompt that is not in the cache
	cache    cache
	cores    *cores // it shares; nil: each answer has one of its own
	inflight int    // with those that wait
	running  int
	line     []func()
	units    int
	cached   int
}

// unit is how many bytes an engine reads as one.
const unit = 64

// cores are what engines of one thread each share: an engine has one at the
// most, and all that it has under way share that.
type cores struct {
	w       *world
	n       float64
	jobs    map[*machine][]*job
	since   time.Time
	version int
}

type job struct {
	left float64 // seconds of a core
	done func()
}

func (c *cores) rate(m *machine) float64 {
	return math.Min(1, c.n/float64(len(c.jobs))) / float64(len(c.jobs[m]))
}

// work has the machine do so much, beside what it does.
func (c *cores) work(m *machine, d time.Duration, done func()) {
	c.advance()
	c.jobs[m] = append(c.jobs[m], &job{d.Seconds(), done})
	c.plan()
}

func (c *cores) advance() {
	took := c.w.now.Sub(c.since).Seconds()
	for m, all := range c.jobs {
		for _, j := range all {
			j.left -= took * c.rate(m)
		}
	}
	c.since = c.w.now
}

// plan waits for the job that is the next to end.
func (c *cores) plan() {
	c.version++
	version, least := c.version, math.Inf(1)
	for m, all := range c.jobs {
		for _, j := range all {
			least = math.Min(least, j.left/c.rate(m))
		}
	}
	if math.IsInf(least, 1) {
		return
	}
	c.w.after(time.Duration(least*1e9)+1, func() {
		if c.version != version {
			return
		}
		c.advance()
		var ended []func()
		for i := range engines { // in an order that is the same each time
			m := c.w.all[i]
			left := c.jobs[m][:0]
			for _, j := range c.jobs[m] {
				if j.left <= 1e-9 {
					ended = append(ended, j.done)
				} else {
					left = append(left, j)
				}
			}
			if c.jobs[m] = left; len(left) == 0 {
				delete(c.jobs, m)
			}
		}
		c.plan()
		for _, f := range ended {
			f()
		}
	})
}

const engines = 4

type cache interface {
	use(prompt []uint64) (hit int)
}

// lastPrompts is a cache that keeps one prompt for each slot, as llama-server's.
type lastPrompts struct {
	limit int
	all   [][]uint64 // the newest last
}

func (l *lastPrompts) use(prompt []uint64) (hit int) {
	best := -1
	for i, have := range l.all {
		n := 0
		for n < min(len(have), len(prompt)) && have[n] == prompt[n] {
			n++
		}
		if n > hit && 2*n > len(have) {
			hit, best = n, i
		}
	}
	if best >= 0 {
		l.all = slices.Delete(l.all, best, best+1)
	} else if len(l.all) == l.limit {
		l.all = l.all[1:]
	}
	l.all = append(l.all, prompt)
	return hit
}

type lru struct {
	limit int
	at    map[uint64]*list.Element
	order *list.List
}

func (l *lru) use(sums []uint64) (hit int) {
	hitting := true
	for i, s := range sums {
		if e, ok := l.at[s]; ok {
			l.order.MoveToFront(e)
			if hitting {
				hit = i + 1
			}
			continue
		}
		hitting = false
		l.at[s] = l.order.PushFront(s)
		if l.order.Len() > l.limit {
			delete(l.at, l.order.Remove(l.order.Back()).(uint64))
		}
	}
	return hit
}

func (m *machine) ask(prompt []uint64, first, done func()) {
	m.inflight++
	begin := func() {
		m.running++
		hit := m.cache.use(prompt)
		m.units += len(prompt)
		m.cached += hit
		f := time.Duration(m.slow * float64(m.first+time.Duration(len(prompt)-hit)*m.miss))
		work := func(d time.Duration, then func()) { m.w.after(d, then) }
		if m.cores != nil {
			work = func(d time.Duration, then func()) { m.cores.work(m, d, then) }
		}
		work(f, func() {
			first()
			work(time.Duration(m.slow*float64(m.answer)), func() {
				m.running--
				m.inflight--
				if len(m.line) > 0 {
					next := m.line[0]
					m.line = m.line[1:]
					next()
				}
				done()
			})
		})
	}
	if m.running < m.slots {
		begin()
		return
	}
	m.line = append(m.line, begin)
}

// router sends a prompt of a conversation to one of the machines.
type router func(key uint64, prompt []uint64, first, done func())

type load struct {
	conversations, turns, users int
	think                       time.Duration
	shared                      bool // prompts have something in common
	slowed                      float64
	full                        bool // more conversations are open than the caches hold
	crowded                     bool // short messages to engines with one thread each, on two cores
}

type figures struct {
	perSecond, ttft, p99, cached float64
	turns                        int
}

func (f figures) String() string {
	return fmt.Sprintf("%5.1f turns/s, TTFT mean %4.0f ms p99 %5.0f ms, cached %.2f", f.perSecond, f.ttft*1000, f.p99*1000, f.cached)
}

// What a turn adds to the prompt, in units.
const (
	textOfTurn  = 32
	shortOfTurn = 6
)

func play(l load, seed uint64, make func(w *world, all []*machine) router) figures {
	w := &world{now: time.Unix(1_700_000_000, 0), rnd: rand.New(rand.NewPCG(seed, 1))}
	begin := w.now
	shares := &cores{w: w, n: 2, jobs: map[*machine][]*job{}, since: begin}
	for i := range engines {
		m := &machine{
			w: w, name: fmt.Sprint("engine-", i), slots: 4, slow: 1, first: 20 * time.Millisecond, answer: 75 * time.Millisecond,
			miss: 25 * time.Millisecond / 8, cache: &lru{limit: 1600, at: map[uint64]*list.Element{}, order: list.New()},
		}
		if l.crowded {
			m.cores, m.answer, m.miss, m.cache = shares, 400*time.Millisecond, 80*time.Millisecond, &lastPrompts{limit: m.slots}
		}
		w.all = append(w.all, m)
	}
	all := w.all
	if l.slowed > 0 {
		all[0].slow = l.slowed
	}
	text := textOfTurn
	if l.crowded {
		text = shortOfTurn
	}
	route := make(w, all)
	next, turns := 0, 0
	var delays []float64
	var user func()
	user = func() {
		if next == l.conversations {
			return
		}
		next++
		id := uint64(next) + seed*1_000_003
		prompt := []uint64{1, 2, 3, 4}
		if !l.shared {
			prompt = nil
		}
		left := l.turns
		var turn func()
		turn = func() {
			if left == 0 {
				user()
				return
			}
			left--
			if !l.shared {
				prompt = nil
			}
			for range text {
				prompt = append(prompt, w.rnd.Uint64())
			}
			asked := w.now
			route(id, slices.Clone(prompt), func() { delays = append(delays, w.now.Sub(asked).Seconds()) }, func() {
				turns++
				w.after(time.Duration((0.5+w.rnd.Float64())*float64(l.think)), turn)
			})
		}
		turn()
	}
	for i := range l.users {
		w.after(time.Duration(i)*7*time.Millisecond, user)
	}
	w.run()
	f := figures{turns: turns, perSecond: float64(turns) / w.now.Sub(begin).Seconds()}
	slices.Sort(delays)
	for _, d := range delays {
		f.ttft += d / float64(len(delays))
	}
	f.p99 = delays[len(delays)*99/100]
	units, cached := 0, 0
	for _, m := range all {
		units, cached = units+m.units, cached+m.cached
	}
	f.cached = float64(cached) / float64(units)
	return f
}

func roundRobin(_ *world, all []*machine) router {
	n := 0
	return func(_ uint64, prompt []uint64, first, done func()) {
		n++
		all[n%len(all)].ask(prompt, first, done)
	}
}

func leastConnections(w *world, all []*machine) router {
	return func(_ uint64, prompt []uint64, first, done func()) {
		from := w.rnd.IntN(len(all))
		best := all[from]
		for i := range all {
			if m := all[(from+i)%len(all)]; m.inflight < best.inflight {
				best = m
			}
		}
		best.ask(prompt, first, done)
	}
}

func boundedHash(bound float64) func(*world, []*machine) router {
	return func(_ *world, all []*machine) router {
		return func(key uint64, prompt []uint64, first, done func()) {
			total := 1
			for _, m := range all {
				total += m.inflight
			}
			room := math.Ceil(bound * float64(total) / float64(len(all)))
			order := slices.Clone(all)
			slices.SortFunc(order, func(a, b *machine) int {
				x, y := distance(key, &replica{Replica: Replica{Name: a.name, Weight: 1}}), distance(key, &replica{Replica: Replica{Name: b.name, Weight: 1}})
				if x < y {
					return -1
				}
				return 1
			})
			for _, m := range order {
				if float64(m.inflight+1) <= room {
					m.ask(prompt, first, done)
					return
				}
			}
			order[0].ask(prompt, first, done)
		}
	}
}

func ours(slots int) func(*world, []*machine) router {
	return func(w *world, all []*machine) router {
		p := New(Options{})

		by := map[string]*machine{}
		var replicas []Replica
		for _, m := range all {
			by[m.name] = m
			replicas = append(replicas, Replica{Name: m.name, Slots: slots})
		}
		p.Set(w.now, replicas)
		waiting := map[*Ticket]func(){}
		var order []*Ticket
		serve := func() {
			for i := 0; i < len(order); {
				t := order[i]
				select {
				case <-t.Ready():
					order = slices.Delete(order, i, i+1)
					f := waiting[t]
					delete(waiting, t)
					f()
				default:
					i++
				}
			}
		}
		return func(key uint64, prompt []uint64, first, done func()) {
			var c Chain
			for _, u := range prompt {
				for range unit / 8 {
					c.Write(binary.LittleEndian.AppendUint64(nil, u))
				}
			}
			t, err := p.Enter(w.now, Ask{Key: key, Prefix: c.Sums()})
			if err != nil {
				panic(err)
			}
			waiting[t] = func() {
				by[t.Replica].ask(prompt, func() { p.First(w.now, t); first() }, func() {
					p.Done(w.now, t, Outcome{})
					serve()
					done()
				})
			}
			order = append(order, t)
			serve()
			var poke func()
			poke = func() {
				if waiting[t] == nil {
					return
				}
				next := p.Poke(w.now, t)
				serve()
				if waiting[t] != nil && !next.IsZero() {
					w.after(max(next.Sub(w.now), time.Millisecond), poke)
				}
			}
			poke()
		}
	}
}

// mean plays the load with several seeds.
func mean(l load, make func(*world, []*machine) router) (sum figures) {
	const n = 2
	for seed := range uint64(n) {
		f := play(l, seed, make)
		sum.turns += f.turns
		sum.perSecond += f.perSecond / n
		sum.ttft += f.ttft / n
		sum.p99 += f.p99 / n
		sum.cached += f.cached / n
	}
	return sum
}

// TestSimulation holds the pool against the simple rules, on the same loads.
func TestSimulation(t *testing.T) {
	for _, x := range []struct {
		name string
		load
	}{
		{"moderate", load{conversations: 200, turns: 6, users: 24, think: 500 * time.Millisecond, shared: true}},
		{"saturated", load{conversations: 200, turns: 6, users: 40, think: 200 * time.Millisecond, shared: true}},
		{"more than the caches hold", load{conversations: 200, turns: 6, users: 48, think: 300 * time.Millisecond, shared: true, full: true}},
		{"one is ten times slower", load{conversations: 200, turns: 6, users: 24, think: 500 * time.Millisecond, shared: true, slowed: 10}},
		{"short messages, engines that share cores", load{conversations: 300, turns: 6, users: 8, think: 500 * time.Millisecond, shared: true, crowded: true}},
		{"nothing in common", load{conversations: 200, turns: 6, users: 64, think: 200 * time.Millisecond}},
		{"nothing in common, moderate", load{conversations: 200, turns: 6, users: 24, think: 500 * time.Millisecond}},
	} {
		t.Run(x.name, func(t *testing.T) {
			rr, least, bounded := mean(x.load, roundRobin), mean(x.load, leastConnections), mean(x.load, boundedHash(2))
			known, learned := mean(x.load, ours(4)), mean(x.load, ours(0))
			t.Logf("round robin    %v", rr)
			t.Logf("least          %v", least)
			t.Logf("bounded 2.0    %v", bounded)
			t.Logf("pool           %v", known)
			t.Logf("pool, no slots %v", learned)
			for _, f := range []figures{known, learned} {
				if f.turns != rr.turns {
					t.Errorf("%d turns of %d were answered", f.turns, rr.turns)
				}
				if !x.shared {
					// Never worse than least connections; 2 % is the seeds' own noise.
					if f.perSecond < 0.98*least.perSecond || f.ttft > 1.02*least.ttft {
						t.Errorf("worse than least connections: %v", f)
					}
					continue
				}
				if f.perSecond < rr.perSecond || f.perSecond < least.perSecond || f.ttft > least.ttft || f.ttft > 1.02*bounded.ttft || f.perSecond < 0.98*bounded.perSecond {
					t.Errorf("worse than a simple rule: %v", f)
				}
			}
			if x.shared && (known.perSecond <= bounded.perSecond || known.ttft >= bounded.ttft || x.slowed == 0 && !x.full && known.cached < bounded.cached) {
				t.Errorf("not better than a bounded hash: %v", known)
			}
			if again, once := play(x.load, 0, ours(4)), play(x.load, 0, ours(4)); again != once {
				t.Errorf("the same seeds gave %v and %v", once, again)
			}
		})
	}
}
