package edge

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world is three regions of the field, and a table of who is where.
func world(policies ...Policy) Config {
	return Config{
		Regions: []Region{
			{Name: "japaneast", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, At: &Point{36, 140}},
			{Name: "koreacentral", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, At: &Point{37, 127}},
			{Name: "southeastasia", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.3")}, At: &Point{1, 104}},
		},
		Policies: policies,
		Networks: []Network{
			{netip.MustParsePrefix("10.81.0.0/16"), "JP"},
			{netip.MustParsePrefix("10.82.0.0/16"), "KR"},
			{netip.MustParsePrefix("10.82.9.0/24"), "VN"}, // a part of it is elsewhere
			{netip.MustParsePrefix("10.49.0.0/16"), "DE"},
			{netip.MustParsePrefix("2001:db8:65::/48"), "SG"},
		},
	}
}

func regions(names ...string) []Target {
	var out []Target
	for _, n := range names {
		out = append(out, Target{Region: n})
	}
	return out
}

func mustNew(t testing.TB, cfg Config) *Edge {
	t.Helper()
	e, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// names writes a decision as "a b c", with the answers before a bar.
func names(e *Edge, d Decision) string {
	var out []string
	for i := range d.Len() {
		if i == int(d.Answers) {
			out = append(out, "|")
		}
		out = append(out, e.Regions()[d.At(i)].Name[:2])
	}
	return strings.Join(out, " ")
}

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var errDead = errors.New("connection refused")

// set makes exactly the named regions live, "ja ko so".
func set(e *Edge, live string) {
	for _, r := range e.Regions() {
		var problem error
		if !strings.Contains(live, r.Name[:2]) {
			problem = errDead
		}
		for range 3 {
			e.Observe(r.Name, Ready, problem, now)
		}
	}
}

// every is a policy of each kind, alone and nested.
func every() []Policy {
	all := regions("japaneast", "koreacentral", "southeastasia")
	near := Policy{Name: "near", Method: Performance, Targets: all}
	prio := Policy{Name: "prio", Method: Priority, Targets: []Target{
		{Region: "southeastasia"}, {Region: "japaneast", Priority: 20}, {Region: "koreacentral", Priority: 10},
	}}
	geo := Policy{Name: "geo", Method: Geographic, Targets: []Target{
		{Region: "koreacentral", Places: []string{"KR"}},
		{Region: "japaneast", Places: []string{"GEO-AS"}},
		{Region: "southeastasia", Places: []string{"WORLD"}},
	}}
	closed := Policy{Name: "closed", Method: Geographic, Targets: []Target{{Region: "koreacentral", Places: []string{"KR"}}}}
	backed := closed
	backed.Name, backed.Fallback = "backed", "near"
	subnets := []netip.Prefix{netip.MustParsePrefix("10.82.0.0/16")}
	sub := Policy{Name: "sub", Method: Subnet, Targets: []Target{
		{Region: "koreacentral", Subnets: subnets},
		{Region: "japaneast", Subnets: []netip.Prefix{netip.MustParsePrefix("10.82.128.0/17")}},
		{Region: "southeastasia"},
	}}
	subOnly := Policy{Name: "only", Method: Subnet, Targets: []Target{{Region: "koreacentral", Subnets: subnets}}}
	multi := Policy{Name: "multi", Method: MultiValue, Targets: all, Most: 2}
	pair := Policy{Name: "pair", Method: Weighted, Targets: regions("japaneast", "koreacentral"), MinLive: 2}
	nested := Policy{Name: "nested", Method: Priority, Targets: []Target{{Policy: "pair"}, {Region: "southeastasia"}}}
	pairBacked := pair
	pairBacked.Name, pairBacked.Fallback = "pairbacked", "tokyo"
	tokyo := Policy{Name: "tokyo", Method: Priority, Targets: regions("japaneast")}
	nestedBacked := Policy{Name: "nestedbacked", Method: Priority, Targets: []Target{{Policy: "pairbacked"}, {Region: "southeastasia"}}}
	nearNested := Policy{Name: "nearnested", Method: Performance, Targets: []Target{{Policy: "prio"}, {Region: "southeastasia"}}}
	inMulti := Policy{Name: "inmulti", Method: Geographic, Targets: []Target{{Policy: "multi", Places: []string{"WORLD"}}}}
	return []Policy{near, prio, geo, closed, backed, sub, subOnly, multi, pair, nested, tokyo, pairBacked, nestedBacked, nearNested, inMulti}
}

func TestDecide(t *testing.T) {
	const everyone = "ja ko so"
	for _, c := range []struct {
		policy string
		client string
		live   string
		want   string
		scope  uint8
	}{
		{"near", "10.81.5.0/24", everyone, "ja | ko so", 16},
		{"near", "10.82.5.0/24", everyone, "ko | ja so", 21}, // 10.82.9.0/24 is elsewhere: five bits more
		{"near", "10.82.9.0/24", everyone, "so | ko ja", 24},
		{"near", "10.82.0.0/16", everyone, "ko | ja so", 16}, // no finer than what was asked
		{"near", "10.81.5.0/24", "ko so", "ko | so", 16},
		{"near", "10.82.9.0/24", "ja", "ja", 24},
		{"near", "2001:db8:65:1::/56", everyone, "so | ko ja", 48},
		{"near", "::ffff:10.81.5.0/120", everyone, "ja | ko so", 16},

		{"prio", "", everyone, "ko | ja so", 0},
		{"prio", "10.81.5.0/24", "ja so", "ja | so", 0},
		{"prio", "", "so", "so", 0},

		{"geo", "10.82.1.0/24", everyone, "ko", 21},
		{"geo", "10.81.1.0/24", everyone, "ja", 16},
		{"geo", "10.49.1.0/24", everyone, "so", 16},
		{"geo", "", everyone, "so", 0},                     // nowhere is in the world
		{"geo", "10.82.1.0/24", "ja so", "ko (stale)", 21}, // no other region, whatever it costs
		{"closed", "10.81.1.0/24", everyone, "", 16},       // nobody's client
		{"backed", "10.81.1.0/24", everyone, "ja | ko so", 16},
		{"backed", "10.82.1.0/24", "ja so", "ja | so", 21},

		{"sub", "10.82.1.0/24", everyone, "ko", 17},
		{"sub", "10.82.200.0/24", everyone, "ja", 17},
		{"sub", "10.83.1.0/24", everyone, "so", 16},
		{"sub", "", everyone, "so", 0},
		{"only", "10.83.0.0/24", everyone, "", 16},

		{"nested", "", "ja so", "so", 0}, // one of the pair is too few
		{"nestedbacked", "", "ja so", "ja | so", 0},
		{"nestedbacked", "", "ko so", "so", 0},
		{"nearnested", "10.81.1.0/24", everyone, "ko | ja so", 16}, // near by its nearest, then its own order
		{"nearnested", "10.81.1.0/24", "ko so", "ko | so", 16},

		{"prio", "", "", "ko | ja so (stale)", 0},
		{"near", "10.81.5.0/24", "", "ja | ko so (stale)", 16},
	} {
		t.Run(fmt.Sprintf("%s/%s/%s", c.policy, c.client, c.live), func(t *testing.T) {
			e := mustNew(t, world(every()...))
			if c.live != "" { // else nothing was measured yet
				set(e, c.live)
			}
			q := Query{Policy: c.policy}
			if c.client != "" {
				q.Client = netip.MustParsePrefix(c.client)
			}
			for draw := range uint64(20) { // nothing here is left to chance
				q.Draw = draw
				d := e.Decide(q)
				got := names(e, d)
				if d.Stale {
					got += " (stale)"
				}
				if got != c.want || d.Scope != c.scope {
					t.Fatalf("draw %d: %q with scope %d, want %q with scope %d", draw, got, d.Scope, c.want, c.scope)
				}
			}
		})
	}
}

func TestMultiValue(t *testing.T) {
	e := mustNew(t, world(every()...))
	first := map[string]int{}
	for draw := range uint64(300) {
		for _, name := range []string{"multi", "inmulti"} {
			d := e.Decide(Query{Policy: name, Draw: draw})
			if d.Answers != 2 || d.Len() != 3 {
				t.Fatalf("%s: %d answers of %d regions, want 2 of 3", name, d.Answers, d.Len())
			}
			first[names(e, d)[:2]]++
		}
	}
	for _, r := range []string{"ja", "ko", "so"} {
		if first[r] < 120 {
			t.Errorf("%s came first %d of 600 times", r, first[r])
		}
	}
}

func TestUnknownPolicy(t *testing.T) {
	if d := mustNew(t, world(every()...)).Decide(Query{Policy: "no"}); d.Len() != 0 {
		t.Errorf("got %v", d)
	}
}

func TestWeights(t *testing.T) {
	p := Policy{Name: "w", Method: Weighted, Targets: []Target{
		{Region: "japaneast", Weight: 10}, {Region: "koreacentral", Weight: 30}, {Region: "southeastasia", Weight: 60},
	}}
	e := mustNew(t, world(p))
	const n = 30000
	got := map[string]float64{}
	before := make([]string, n)
	for draw := range uint64(n) {
		d := e.Decide(Query{Draw: draw})
		before[draw] = names(e, d)[:2]
		got[before[draw]]++
	}
	for name, share := range map[string]float64{"ja": .1, "ko": .3, "so": .6} {
		if math.Abs(got[name]/n-share) > .01 {
			t.Errorf("%s got %.3f of the clients, want %.2f", name, got[name]/n, share)
		}
	}
	set(e, "ja ko")
	clear(got)
	for draw := range uint64(n) {
		d := e.Decide(Query{Draw: draw})
		if to := names(e, d)[:2]; before[draw] != "so" && to != before[draw] {
			t.Fatalf("draw %d moved from %s to %s although its region lives", draw, before[draw], to)
		} else if before[draw] == "so" {
			got[to]++
		}
	}
	if share := got["ko"] / (got["ko"] + got["ja"]); math.Abs(share-.75) > .02 {
		t.Errorf("of the dead region's clients %.2f went to the heavier one, want 0.75", share)
	}
}

func TestLastGoodAnswer(t *testing.T) {
	e := mustNew(t, world(Policy{Name: "p", Method: Priority, Targets: regions("japaneast", "koreacentral", "southeastasia")}))
	step := func(live, want string, stale bool) {
		t.Helper()
		set(e, live)
		if d := e.Decide(Query{}); names(e, d) != want || d.Stale != stale {
			t.Errorf("with %q alive: %q, stale %v; want %q, %v", live, names(e, d), d.Stale, want, stale)
		}
	}
	if d := e.Decide(Query{}); names(e, d) != "ja | ko so" || !d.Stale {
		t.Errorf("before any measurement: %q, stale %v", names(e, d), d.Stale)
	}
	step("ja ko so", "ja | ko so", false)
	step("ko", "ko", false)
	step("", "ko", true) // not japaneast, which died long before
	step("so", "so", false)
}

func TestHysteresis(t *testing.T) {
	cfg := world(Policy{Name: "p", Method: Priority, Targets: regions("japaneast", "koreacentral")})
	cfg.Needs, cfg.Fall, cfg.Rise = []string{Ready, "log"}, 3, 2
	e := mustNew(t, cfg)
	at := now
	see := func(capability string, ok bool, want bool) {
		t.Helper()
		at = at.Add(time.Second)
		var problem error
		if !ok {
			problem = errDead
		}
		if got := e.Observe("japaneast", capability, problem, at); got != want {
			t.Fatalf("%s %v: live %v, want %v", capability, ok, got, want)
		}
	}
	see(Ready, true, false) // log is not known yet
	see("model", false, false)
	see("log", true, true)
	changed := e.Changed()
	up := at
	see("log", false, true)
	see("log", false, true)
	see("log", true, true) // in a row, or it does not count
	see("log", false, true)
	see("log", false, true)
	select {
	case <-changed:
		t.Fatal("nothing changed, but Changed says so")
	default:
	}
	if s := e.States()[0]; !s.Since.Equal(up) {
		t.Errorf("live since %v, want %v", s.Since, up)
	}
	see("log", false, false)
	<-changed
	down := at
	see(Ready, true, false)
	see("log", true, false)
	want := State{Region: "japaneast", Since: down, Parts: []Part{
		{Name: Ready, Known: true, Up: true, Since: now.Add(time.Second)},
		{Name: "log", Known: true, Since: down, Problem: "connection refused"},
	}}
	if d := cmp.Diff(want, e.States()[0]); d != "" {
		t.Error(d)
	}
	see("log", true, true)
	e.Drain("japaneast", true, at)
	if e.Live(0) {
		t.Error("a drained region lives")
	}
	e.Drain("japaneast", false, at)
	if !e.Live(0) {
		t.Error("a region that is back from draining is out")
	}
	if e.Observe("nowhere", Ready, nil, at) {
		t.Error("an unknown region lives")
	}
}

func TestLearned(t *testing.T) {
	cfg := world(Policy{Name: "p", Method: Performance, Targets: regions("japaneast", "koreacentral", "southeastasia")})
	cfg.Latency = []Distance{{netip.MustParsePrefix("10.81.0.0/16"), map[string]float64{"southeastasia": 4, "japaneast": 40}}}
	e := mustNew(t, cfg)
	ask := func(client string) (string, uint8) {
		d := e.Decide(Query{Client: netip.MustParsePrefix(client)})
		return names(e, d), d.Scope
	}
	if got, _ := ask("10.81.7.9/32"); got != "so | ko ja" {
		t.Errorf("by the configured table: %s", got)
	}
	for range 10 {
		e.Learn(netip.MustParseAddr("10.81.7.200"), "koreacentral", 2*time.Millisecond)
	}
	if got, scope := ask("10.81.7.9/32"); got != "ko | so ja" || scope != 24 {
		t.Errorf("by what was learned: %s, scope %d", got, scope)
	}
	if got, _ := ask("10.81.8.9/32"); got != "so | ko ja" {
		t.Errorf("another network: %s", got)
	}
	if got, scope := ask("10.81.0.0/16"); got != "so | ko ja" || scope != 16 {
		t.Errorf("the network around it: %s, scope %d", got, scope)
	}
	for range 20 {
		e.Learn(netip.MustParseAddr("::ffff:10.81.7.1"), "koreacentral", time.Second)
	}
	if got, _ := ask("10.81.7.9/32"); got != "so | ja ko" {
		t.Errorf("after it became slow: %s", got)
	}
	for i := range mostLearned + 10 {
		e.Learn(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), "japaneast", time.Millisecond)
		e.Learn(netip.AddrFrom4([4]byte{12 + byte(i>>16), byte(i >> 8), byte(i), 0}), "japaneast", time.Millisecond)
	}
	if n := len(e.learned.rows); n != mostLearned {
		t.Errorf("%d networks are remembered, want %d", n, mostLearned)
	}
}

func TestCheckFindsEverything(t *testing.T) {
	cfg := Config{
		Regions: []Region{{Name: "a"}, {Name: "a", At: &Point{Lat: 91}}, {Addresses: []netip.Addr{{}, netip.MustParseAddr("0.0.0.0")}}},
		Policies: []Policy{
			{Name: "x", Method: "nearest", Targets: []Target{{}, {Region: "a", Policy: "y"}, {Region: "b"}, {Policy: "z"}}},
			{Name: "y", Method: Weighted, Most: 1, MinLive: -1, Fallback: "no", Targets: []Target{{Region: "a", Weight: 1001}, {Region: "a", Priority: 1}}},
			{Name: "y", Method: Geographic, Targets: []Target{{Region: "a", Places: []string{"KR", "UK", "KR"}}, {Region: "a"}}},
			{Name: "s", Method: Subnet, Targets: []Target{{Region: "a"}, {Region: "a"}, {Region: "a", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8"), {}}}}},
			{Method: Priority},
			{Name: "l1", Method: Priority, Targets: []Target{{Policy: "l2"}}},
			{Name: "l2", Method: Priority, Targets: regions("a"), Fallback: "l1"},
		},
		Latency:  []Distance{{Subnet: netip.MustParsePrefix("10.0.0.0/8"), Milliseconds: map[string]float64{"c": 1, "a": math.NaN()}}},
		Networks: []Network{{Subnet: netip.MustParsePrefix("10.0.0.0/8"), Country: "kr"}},
		Needs:    []string{""},
		Fall:     -1, Rise: 101,
	}
	var ps Problems
	if _, err := New(cfg, nil); !errors.As(err, &ps) {
		t.Fatalf("got %v, want Problems", err)
	}
	got := map[string]bool{}
	for _, p := range ps {
		if got[p.Key] {
			t.Errorf("%s is there twice", p.Key)
		}
		got[p.Key] = true
	}
	want := map[string]bool{}
	for _, key := range []string{
		"regions[1].name", "regions[1].at", "regions[2].name", "regions[2].addresses[0]", "regions[2].addresses[1]",
		"policies[0].method", "policies[0].targets[0]", "policies[0].targets[1]", "policies[0].targets[2].region", "policies[0].targets[3].policy",
		"policies[1].most", "policies[1].min_live", "policies[1].fallback", "policies[1].targets[0].weight", "policies[1].targets[1].priority",
		"policies[2].name", "policies[2].targets[0].places[1]", "policies[2].targets[0].places[2]", "policies[2].targets[1].places",
		"policies[3].targets[1].subnets", "policies[3].targets[2].subnets[0]", "policies[3].targets[2].subnets[1]",
		"policies[4].name", "policies[4].targets", "policies[6].fallback",
		"latency[0].ms.c", "latency[0].ms.a", "networks[0].country", "needs[0]", "fall", "rise",
	} {
		want[key] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%v", d, ps)
	}
	if err := (Config{}).Check(); err == nil {
		t.Error("an empty configuration passes")
	}
	if err := world(Policy{Name: "p", Method: Priority, Targets: regions("japaneast")}).Check(); err != nil {
		t.Error(err)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	e := mustNew(t, world(Policy{Name: "p", Method: Performance, Targets: regions("japaneast", "koreacentral", "southeastasia")}))
	set(e, "ja ko so")
	q := Query{Client: netip.MustParsePrefix("10.82.5.0/24")}
	if n := testing.AllocsPerRun(100, func() { e.Decide(q) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzScope holds Decide to what Scope promises: everybody who shares the bits
// gets the same decision.
func FuzzScope(f *testing.F) {
	cfg := world(
		Policy{Name: "near", Method: Performance, Targets: regions("japaneast", "koreacentral", "southeastasia")},
		Policy{Name: "geo", Method: Geographic, Fallback: "near", Targets: []Target{{Region: "koreacentral", Places: []string{"KR"}}, {Region: "japaneast", Places: []string{"GEO-EU"}}}},
		Policy{Name: "sub", Method: Subnet, Targets: []Target{
			{Region: "koreacentral", Subnets: []netip.Prefix{netip.MustParsePrefix("10.82.128.0/17"), netip.MustParsePrefix("10.82.130.0/23")}},
			{Policy: "geo"},
		}},
	)
	cfg.Latency = []Distance{{netip.MustParsePrefix("10.82.64.0/18"), map[string]float64{"japaneast": 1}}}
	ranges, err := ReadRanges(strings.NewReader("10.0.0.0,10.3.255.255,KR\n10.4.0.0,10.4.0.255,JP\n10.4.1.0,10.200.0.7,DE\n"))
	if err != nil {
		f.Fatal(err)
	}
	e, err := New(cfg, ranges)
	if err != nil {
		f.Fatal(err)
	}
	e.Learn(netip.MustParseAddr("10.4.9.1"), "southeastasia", time.Millisecond)
	set(e, "ja ko so")
	f.Add(uint32(0x0a520505), uint32(0), uint8(24), uint64(1))
	f.Add(uint32(0x0a528205), uint32(0xffff), uint8(24), uint64(2))
	f.Add(uint32(0x0a040901), uint32(77), uint8(32), uint64(3))
	f.Add(uint32(0xc8000001), uint32(1<<30), uint8(20), uint64(4))
	f.Fuzz(func(t *testing.T, x, noise uint32, bits uint8, draw uint64) {
		bits %= 33
		mask := uint32(0xffffffff)
		network := func(x uint32) netip.Prefix {
			a := netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
			return netip.PrefixFrom(a, int(bits)).Masked()
		}
		for _, p := range []string{"near", "geo", "sub"} {
			d := e.Decide(Query{Policy: p, Client: network(x), Draw: draw})
			if d.Scope > bits {
				t.Fatalf("%s: scope %d of %d known bits", p, d.Scope, bits)
			}
			keep := mask << (32 - d.Scope) // 0 for scope 0
			other := x&keep | noise&^keep
			if o := e.Decide(Query{Policy: p, Client: network(other), Draw: draw}); o != d {
				t.Fatalf("%s: %v gets %q, %v gets %q, both with scope %d", p, network(x), names(e, d), network(other), names(e, o), d.Scope)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	e := mustNew(b, world(Policy{Name: "p", Method: Performance, Targets: regions("japaneast", "koreacentral", "southeastasia")}))
	set(e, "ja ko so")
	q := Query{Client: netip.MustParsePrefix("10.82.5.0/24")}
	b.ReportAllocs()
	for b.Loop() {
		e.Decide(q)
	}
}
