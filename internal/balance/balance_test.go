package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

var start = time.Unix(1_700_000_000, 0)

func pool(t *testing.T, o Options, slots ...int) *Pool {
	t.Helper()
	p := New(o)
	var all []Replica
	for i, n := range slots {
		all = append(all, Replica{Name: string(rune('a' + i)), Slots: n})
	}
	p.Set(start, all)
	return p
}

func enter(t *testing.T, p *Pool, now time.Time, ask Ask) *Ticket {
	t.Helper()
	x, err := p.Enter(now, ask)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func there(x *Ticket) string {
	select {
	case <-x.Ready():
		return x.Replica
	default:
		return ""
	}
}

func prompt(blocks int, seed uint64) []uint64 {
	rnd := rand.New(rand.NewPCG(seed, 2))
	out := make([]uint64, blocks)
	for i := range out {
		out[i] = rnd.Uint64()
	}
	return out
}

func TestStaysWhereThePromptIsKnown(t *testing.T) {
	p := pool(t, Options{}, 4, 4, 4)
	now := start
	for c := range uint64(30) {
		text := prompt(20, c)
		home := ""
		for turn := range 5 {
			x := enter(t, p, now, Ask{Key: c, Prefix: text[:4*(turn+1)]})
			if home == "" {
				if home = there(x); x.Why != Fresh {
					t.Errorf("a new conversation went to %s: %s", home, x.Why)
				}
			} else if there(x) != home || x.Why != Affinity {
				t.Errorf("conversation %d, turn %d: %s (%s), began at %s", c, turn, x.Replica, x.Why, home)
			}
			now = now.Add(200 * time.Millisecond)
			p.First(now, x)
			p.Done(now.Add(time.Second), x, Outcome{})
		}
	}
}

func TestLeavesAFullHome(t *testing.T) {
	p := pool(t, Options{}, 1, 1)
	text := prompt(20, 1)
	first := enter(t, p, start, Ask{Key: 1, Prefix: text})
	second := enter(t, p, start, Ask{Key: 2, Prefix: text})
	if there(second) == there(first) || second.Why != Spill && second.Why != Fresh {
		// An answer takes a second, as far as is known, and reading the prompt 200 ms.
		t.Errorf("went to %q (%s) though %q is full", there(second), second.Why, there(first))
	}
	third := enter(t, p, start, Ask{Key: 3, Prefix: text})
	if there(third) != "" {
		t.Fatal("three fit where there are two slots")
	}
	p.Done(start.Add(time.Second), first, Outcome{})
	if there(third) != first.Replica || third.Waited != time.Second {
		t.Errorf("the one that waited is at %q after %v", there(third), third.Waited)
	}
}

// What reading anew costs is short beside an answer: waits for that long, then
// goes elsewhere by itself.
func TestWaitsAsLongAsItPays(t *testing.T) {
	p := pool(t, Options{}, 1, 1)
	now := start
	for i := range 200 { // answers of 100 ms, 50 ms for half a KiB
		n := 1 + i%8
		x := enter(t, p, now, Ask{Key: uint64(i), Prefix: prompt(8*n, uint64(i))})
		p.First(now.Add(time.Duration(n)*50*time.Millisecond), x)
		now = now.Add(time.Duration(n)*50*time.Millisecond + 100*time.Millisecond)
		p.Done(now, x, Outcome{})
	}
	if got := 512 * p.cost.of(); math.Abs(got-0.05) > 0.005 {
		t.Fatalf("half a KiB costs %v s, want 0.05", got)
	}
	text := prompt(104, 9999) // 10 KiB
	first := enter(t, p, now, Ask{Key: 5000, Prefix: text})
	home := there(first)
	second := enter(t, p, now, Ask{Key: 5001, Prefix: text})
	if there(second) != "" {
		t.Fatalf("went to %s at once, where the prompt takes a second to read", second.Replica)
	}
	at := p.Poke(now, second)
	if d := at.Sub(now); d < 900*time.Millisecond || d > 1300*time.Millisecond {
		t.Fatalf("wants to go elsewhere after %v", d)
	}
	p.Poke(at, second)
	if there(second) == "" || there(second) == home || second.Why != Spill {
		t.Errorf("after that time it is at %q (%s)", there(second), second.Why)
	}
}

// What reading costs has to be known also where all read equally much: who thinks
// that it costs nothing sends conversations about, and then it costs a lot.
func TestCostOfReading(t *testing.T) {
	s := ofReading()
	near := func(what string, want float64) {
		t.Helper()
		if got := s.of(); math.Abs(got-want) > 0.1*want+1e-5 {
			t.Errorf("%s: a byte takes %.6f s, want %.6f", what, got, want)
		}
	}
	near("nothing is known", 20e-6)
	for range 1000 {
		s.add(600, 1.2)
	}
	near("always 600 bytes in 1.2 s", 1.2/600)
	for i := range 1000 {
		s.add(float64(i%7)*1000, 0.5+float64(i%7))
	}
	near("a second for 1000 bytes, and half a second", 0.001)
	for range 2000 {
		s.add(600, 1.1)
	}
	near("always 600 bytes in 1.1 s", 1.1/600)
	for i := range 1000 {
		s.add(float64(i%7)*1000, 0.5)
	}
	near("half a second, whatever it is", 0)
}

func TestOutAndBack(t *testing.T) {
	p := pool(t, Options{}, 4, 4)
	now := start
	fail := func(name string) {
		t.Helper()
		for {
			x := enter(t, p, now, Ask{Tried: []string{other(name)}})
			if there(x) == name {
				p.Done(now, x, Outcome{Verdict: Failed})
				return
			}
			t.Fatalf("%s got what %s has tried already", there(x), name)
		}
	}
	fail("a")
	fail("a")
	states, _ := p.States(now)
	if states[0].Out != 500*time.Millisecond || states[0].Ejections != 1 || states[0].Trusted {
		t.Fatalf("after two failures: %+v", states[0])
	}
	for range 4 {
		if x := enter(t, p, now, Ask{}); there(x) != "b" {
			t.Fatalf("one that is out was given a request: %q", there(x))
		}
	}
	waits := enter(t, p, now, Ask{})
	if at := p.Poke(now, waits); there(waits) != "" || !at.Equal(now.Add(500*time.Millisecond)) {
		t.Fatalf("at %q, pokes at %v", there(waits), at.Sub(now))
	}
	now = now.Add(500 * time.Millisecond)
	p.Poke(now, waits)
	if there(waits) != "a" || waits.Why != Probe {
		t.Fatalf("no probe: %q (%s)", there(waits), waits.Why)
	}
	next := enter(t, p, now, Ask{})
	if there(next) != "" {
		t.Fatal("a second request went there before the probe had ended")
	}
	p.Done(now, waits, Outcome{}) // good: trust grows with every answer
	for trust := 1; trust <= 4; trust++ {
		var got []*Ticket
		if there(next) == "a" {
			got = append(got, next)
		}
		for range 8 {
			x := enter(t, p, now, Ask{})
			if there(x) == "a" {
				got = append(got, x)
			} else {
				p.Leave(now, x)
			}
		}
		if len(got) != trust {
			t.Fatalf("%d at once with trust %d", len(got), trust)
		}
		for i, x := range got {
			if i == 0 {
				p.Done(now, x, Outcome{})
			} else {
				p.Leave(now, x)
			}
		}
		next = &Ticket{ready: make(chan struct{})}
	}
	if states, _ := p.States(now); !states[0].Trusted {
		t.Errorf("not trusted after %+v", states[0])
	}
	fail("a")
	fail("a")
	now = now.Add(time.Second)
	x := enter(t, p, now, Ask{Tried: []string{"b"}})
	p.Done(now, x, Outcome{Verdict: Failed}) // the probe fails: twice as long
	if states, _ := p.States(now); states[0].Out != time.Second {
		t.Errorf("out for %v", states[0].Out)
	}
}

// A request that fails wherever it goes must not take all replicas with it.
func TestPoison(t *testing.T) {
	p := pool(t, Options{}, 4, 4, 4, 4)
	now := start
	for range 20 {
		x := enter(t, p, now, Ask{Key: 1})
		p.Done(now, x, Outcome{Verdict: Failed})
		now = now.Add(10 * time.Millisecond)
	}
	out := 0
	states, _ := p.States(now)
	for _, s := range states {
		if !s.Trusted {
			out++
		}
	}
	if out > 1 {
		t.Errorf("%d of 4 are out after one conversation's failures", out)
	}
}

func other(name string) string {
	if name == "a" {
		return "b"
	}
	return "a"
}

func TestAllOut(t *testing.T) {
	p := pool(t, Options{Errors: 1}, 1, 1)
	for range 2 {
		x := enter(t, p, start, Ask{})
		p.Done(start, x, Outcome{Verdict: Failed})
	}
	x := enter(t, p, start, Ask{Tried: []string{"a", "b"}})
	at := p.Poke(start, x)
	if there(x) != "" || at.IsZero() {
		t.Fatalf("at %q, pokes at %v", there(x), at)
	}
	p.Poke(at, x)
	if there(x) == "" {
		t.Error("nobody is asked again though time has passed: the request would wait for ever")
	}
}

func TestRefused(t *testing.T) {
	p := pool(t, Options{}, 0, 0)
	var busy []*Ticket
	for range 12 {
		busy = append(busy, enter(t, p, start, Ask{}))
	}
	i := slices.IndexFunc(busy, func(x *Ticket) bool { return there(x) == "a" })
	p.Done(start, busy[i], Outcome{Verdict: Refused, After: 2 * time.Second})
	states, _ := p.States(start)
	if states[0].Out != 2*time.Second || states[0].Slots < 1 || states[0].Slots > 5 || states[0].Ejections != 0 {
		t.Fatalf("after a 429: %+v", states[0])
	}
	slots := states[0].Slots
	now := start.Add(2 * time.Second)
	for _, x := range slices.Delete(busy, i, i+1) {
		p.Leave(now, x)
	}
	for range 100 {
		var round []*Ticket
		for range slots + 20 {
			round = append(round, enter(t, p, now, Ask{}))
		}
		now = now.Add(time.Second)
		for _, x := range round {
			if there(x) == "" {
				p.Leave(now, x)
			} else {
				p.Done(now, x, Outcome{})
			}
		}
	}
	if states, _ := p.States(now); states[0].Slots <= slots {
		t.Errorf("no more slots were learned: %d, before %d", states[0].Slots, slots)
	}
}

func TestLineIsBounded(t *testing.T) {
	p := pool(t, Options{Line: 2}, 1)
	for range 3 {
		enter(t, p, start, Ask{})
	}
	_, err := p.Enter(start, Ask{})
	if !fault.Is(err, fault.Limited) || fault.RetryAfterOf(err) < time.Second {
		t.Errorf("got %v", err)
	}
	if _, waiting := p.States(start); waiting != 2 {
		t.Errorf("%d wait", waiting)
	}
	if _, err := New(Options{}).Enter(start, Ask{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a pool of nobody: %v", err)
	}
}

// One who sends many at once does not keep the others waiting for all of them.
func TestFair(t *testing.T) {
	p := pool(t, Options{}, 4)
	now := start
	var greedy []*Ticket
	for range 40 {
		greedy = append(greedy, enter(t, p, now, Ask{Key: 1}))
		now = now.Add(time.Millisecond)
	}
	quiet := enter(t, p, now, Ask{Key: 2})
	served := 0
	for there(quiet) == "" {
		i := slices.IndexFunc(greedy, func(x *Ticket) bool { return there(x) != "" })
		now = now.Add(250 * time.Millisecond)
		p.Done(now, greedy[i], Outcome{})
		greedy = slices.Delete(greedy, i, i+1)
		served++
	}
	if served > 8 {
		t.Errorf("%d of the other conversation came first", served)
	}
}

// Whatever happens, in whatever order: no replica has more than it may, nobody
// is forgotten, and all counters come back to nothing.
func TestProperties(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		slots := []int{1 + rnd.IntN(4), rnd.IntN(4), 2}
		p := pool(t, Options{Line: 30, Sums: 64}, slots...)
		now := start
		var live []*Ticket
		for range 600 {
			now = now.Add(time.Duration(rnd.IntN(80)-5) * time.Millisecond) // clocks step back too
			switch n := rnd.IntN(10); {
			case n < 5:
				ask := Ask{Key: rnd.Uint64N(6), Prefix: prompt(rnd.IntN(12), rnd.Uint64N(8))}
				if rnd.IntN(4) == 0 {
					ask.Tried = []string{string(rune('a' + rnd.IntN(4)))}
				}
				if x, err := p.Enter(now, ask); err == nil {
					live = append(live, x)
				}
			case len(live) > 0:
				i := rnd.IntN(len(live))
				x := live[i]
				if p.Poke(now, x); there(x) != "" && rnd.IntN(2) == 0 {
					p.First(now, x)
					continue
				}
				live = slices.Delete(live, i, i+1)
				p.Done(now, x, Outcome{Verdict: Verdict(rnd.IntN(4)), After: time.Duration(rnd.IntN(300)) * time.Millisecond})
				p.Leave(now, x) // once more does nothing
			}
			if rnd.IntN(100) == 0 {
				p.Set(now, []Replica{{Name: "a", Slots: slots[0]}, {Name: "b", Slots: slots[1]}, {Name: "c", Slots: 2, Weight: math.NaN()}})
			}
			states, waiting := p.States(now)
			for i, s := range states {
				if slots[i] > 0 && s.InFlight > slots[i] || s.InFlight < 0 || slots[i] > 0 && s.Slots != slots[i] {
					t.Fatalf("seed %d: %+v", seed, s)
				}
			}
			if waiting > 30 {
				t.Fatalf("seed %d: %d wait", seed, waiting)
			}
		}
		// Everybody who is left is served in the end.
		for round := 0; len(live) > 0; round++ {
			if round > 10_000 {
				t.Fatalf("seed %d: %d wait for ever", seed, len(live))
			}
			now = now.Add(100 * time.Millisecond)
			live = slices.DeleteFunc(live, func(x *Ticket) bool {
				if p.Poke(now, x); there(x) == "" {
					return false
				}
				p.Done(now, x, Outcome{})
				return true
			})
		}
		for _, r := range p.replicas {
			if r.inflight != 0 || r.probes != 0 || math.Abs(r.started) > 1 {
				t.Errorf("seed %d: %s ends with %d in flight, %d probes, %v", seed, r.Name, r.inflight, r.probes, r.started)
			}
		}
		if len(p.busy) != 0 || len(p.line) != 0 {
			t.Errorf("seed %d: busy %v, line %d", seed, p.busy, len(p.line))
		}
	}
}

func TestWeights(t *testing.T) {
	p := New(Options{})
	p.Set(start, []Replica{{Name: "a", Slots: 1000, Weight: 3}, {Name: "b", Slots: 1000, Weight: 1}})
	n := map[string]int{}
	for key := range uint64(4000) {
		x := enter(t, p, start, Ask{Key: key})
		n[there(x)]++
		p.Leave(start, x)
	}
	if n["a"] < 2*n["b"] {
		t.Errorf("with weights 3 and 1: %v", n)
	}
}

func TestChain(t *testing.T) {
	text := make([]byte, 40_000)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range text {
		text[i] = byte(rnd.Uint32())
	}
	var whole Chain
	whole.Write(text)
	if n := len(whole.Sums()); covered(n) > len(text) || covered(n+1) <= len(text) {
		t.Fatalf("%d sums", n)
	}
	var pieces Chain
	for rest := text; len(rest) > 0; {
		n := min(rnd.IntN(700), len(rest))
		pieces.WriteString(string(rest[:n]))
		rest = rest[n:]
	}
	if !slices.Equal(whole.Sums(), pieces.Sums()) || whole.Key() != pieces.Key() {
		t.Error("the pieces in which a prompt comes make a difference")
	}
	for i := range whole.Sums() {
		if step := covered(i+1) - covered(i); step < 64 || step > 512 || step%8 != 0 || step > 64 && step > covered(i)/32 {
			t.Errorf("sum %d is of %d bytes more than the one before", i, step)
		}
	}
	const at = 20_000
	text[at]++
	var changed Chain
	changed.Write(text)
	for i, s := range changed.Sums() {
		if same := s == whole.Sums()[i]; same != (covered(i+1) <= at) {
			t.Errorf("sum %d, of %d bytes: same is %v", i, covered(i+1), same)
		}
	}
	seen := map[uint64]bool{}
	for i := range 10_000 {
		var c Chain
		c.WriteString(fmt.Sprint("conversation-", i))
		seen[c.Key()] = true
	}
	if len(seen) != 10_000 {
		t.Errorf("%d keys of 10000 names", len(seen))
	}
}

func TestMemory(t *testing.T) {
	m := newMemory(100)
	a, b := prompt(60, 1), prompt(60, 2)
	m.use(a)
	m.use(a)
	if n := m.knows(a); n != 60 || m.taken != float64(covered(60)) {
		t.Errorf("knows %d, took %v", n, m.taken)
	}
	m.use(b)
	if n := m.knows(b); n != 60 {
		t.Errorf("knows %d of the newest", n)
	}
	if n := m.knows(a); n != 40 || len(m.at) != 100 {
		t.Errorf("knows the first %d of the older, holds %d", n, len(m.at))
	}
	m.forget(b)
	if n := m.knows(b); n != 1 {
		t.Errorf("knows %d of what was forgotten", n)
	}
	m.use(prompt(300, 3))
	if len(m.at) != 100 || len(m.all) > 101 {
		t.Errorf("holds %d in %d", len(m.at), len(m.all))
	}
	m.clear()
	if m.use(a); m.knows(a) != 60 {
		t.Error("useless after clear")
	}
}

func BenchmarkPick(b *testing.B) {
	p := New(Options{})
	p.Set(start, []Replica{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}})
	texts := [][]uint64{}
	for i := range uint64(200) {
		texts = append(texts, prompt(124, i)) // 15 kB
	}
	now := start
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x, err := p.Enter(now, Ask{Key: uint64(i % 200), Prefix: texts[i%200]})
		if err != nil {
			b.Fatal(err)
		}
		p.First(now, x)
		now = now.Add(time.Millisecond)
		p.Done(now, x, Outcome{})
	}
}
