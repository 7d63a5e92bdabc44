package edge

import (
	"fmt"
	"net/netip"
	"strings"
)

// Method is how a policy chooses among its targets.
type Method string

// The methods, by the names that Azure Traffic Manager gives them.
const (
	// Performance takes the target with the shortest round trip to the client.
	Performance Method = "performance"
	// Priority takes the living target with the lowest Priority.
	Priority Method = "priority"
	// Weighted spreads clients over living targets by Weight.
	Weighted Method = "weighted"
	// Geographic takes the target that the client's country is assigned to, and
	// no other; then Fallback.
	Geographic Method = "geographic"
	// Subnet takes the target that the client's address is assigned to, and no
	// other; then Fallback. A target without Subnets takes everybody else.
	Subnet Method = "subnet"
	// MultiValue answers with several living regions at once, in any order.
	MultiValue Method = "multivalue"
)

// Config is an edge as people write it down.
type Config struct {
	Regions []Region `yaml:"regions"`
	// Policies answer by name; the first one answers where no name is asked for.
	Policies []Policy `yaml:"policies"`
	// Latency holds known round trips; the longest matching subnet counts.
	Latency []Distance `yaml:"latency"`
	// Networks says in which country addresses are, before any other data.
	Networks []Network `yaml:"networks"`
	// Needs lists the capabilities without which a region gets no clients;
	// empty = Ready alone.
	Needs []string `yaml:"needs"`
	// Fall is how many bad measurements in a row take a capability away, Rise
	// how many good ones bring it back; 0 = 2. The first measurement counts at
	// once.
	Fall int `yaml:"fall"`
	Rise int `yaml:"rise"`
}

// Region is where clients can be sent.
type Region struct {
	Name      string       `yaml:"name"`
	Addresses []netip.Addr `yaml:"addresses"` // public ones, for DNS
	URL       string       `yaml:"url"`       // where front reaches it, e.g. https://kr.example.com
	At        *Point       `yaml:"at"`        // for distances that nobody measured; nil = not known
}

// Point is a place on earth, in degrees.
type Point struct {
	Lat float64 `yaml:"lat"` // north is positive
	Lon float64 `yaml:"lon"` // east is positive
}

// Policy chooses among targets, which are regions or other policies.
type Policy struct {
	Name    string   `yaml:"name"`
	Method  Method   `yaml:"method"`
	Targets []Target `yaml:"targets"`
	// Most bounds the regions of a multivalue answer; 0 = all.
	Most int `yaml:"most"`
	// MinLive is how many of its regions must live for this policy to be taken
	// as a target of another one; 0 = 1.
	MinLive int `yaml:"min_live"`
	// Fallback names the policy that answers when no target of this one lives.
	Fallback string `yaml:"fallback"`
}

// Target is a region or a nested policy, and why it would be chosen.
type Target struct {
	Region   string         `yaml:"region"`   // either this
	Policy   string         `yaml:"policy"`   // or this
	Weight   int            `yaml:"weight"`   // weighted: 1 to 1000; 0 = 1
	Priority int            `yaml:"priority"` // priority: 1 to 1000, low comes first; 0 = after those that have one, as listed
	Places   []string       `yaml:"places"`   // geographic: "KR" (ISO 3166-1), "GEO-AS" (a continent), "WORLD"
	Subnets  []netip.Prefix `yaml:"subnets"`  // subnet
}

// Distance is the round trip between a network and regions.
type Distance struct {
	Subnet       netip.Prefix       `yaml:"subnet"`
	Milliseconds map[string]float64 `yaml:"ms"` // by region
}

// Network is a network's country.
type Network struct {
	Subnet  netip.Prefix `yaml:"subnet"`
	Country string       `yaml:"country"` // ISO 3166-1, two letters
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Key  string // "policies[1].targets[0].weight"
	Text string
}

// Problems is everything that is wrong, at least one thing.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Key + ": " + p.Text
	}
	return "the edge's configuration is wrong:\n  " + strings.Join(lines, "\n  ")
}

func (ps *Problems) add(key, format string, args ...any) {
	*ps = append(*ps, Problem{key, fmt.Sprintf(format, args...)})
}

// Check returns all that is wrong as a Problems, or nil.
func (c Config) Check() error {
	var ps Problems
	regions := c.checkRegions(&ps)
	c.checkPolicies(&ps, regions)
	seen := map[netip.Prefix]bool{}
	for i, d := range c.Latency {
		key := fmt.Sprintf("latency[%d]", i)
		checkSubnet(&ps, key+".subnet", d.Subnet, seen)
		for name, ms := range d.Milliseconds {
			switch {
			case !regions[name]:
				ps.add(key+".ms."+name, "no region has this name")
			case !(ms > 0 && ms <= 10_000): // not NaN either
				ps.add(key+".ms."+name, "a round trip is between 0 and 10000 ms, not %v", ms)
			}
		}
	}
	seen = map[netip.Prefix]bool{}
	for i, n := range c.Networks {
		key := fmt.Sprintf("networks[%d]", i)
		checkSubnet(&ps, key+".subnet", n.Subnet, seen)
		if _, ok := countryOf(n.Country); !ok {
			ps.add(key+".country", "%q is no country's two letters (ISO 3166-1)", n.Country)
		}
	}
	for i, need := range c.Needs {
		if need == "" {
			ps.add(fmt.Sprintf("needs[%d]", i), "a capability needs a name")
		}
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"fall", c.Fall}, {"rise", c.Rise}} {
		if n.value < 0 || n.value > 100 {
			ps.add(n.key, "must be between 1 and 100, or 0 for the default, not %d", n.value)
		}
	}
	if len(ps) == 0 {
		return nil
	}
	return ps
}

func (c Config) checkRegions(ps *Problems) map[string]bool {
	names := map[string]bool{}
	if len(c.Regions) == 0 {
		ps.add("regions", "at least one region is needed")
	}
	if len(c.Regions) > MaxRegions {
		ps.add("regions", "at most %d regions, not %d", MaxRegions, len(c.Regions))
	}
	for i, r := range c.Regions {
		key := fmt.Sprintf("regions[%d]", i)
		switch {
		case r.Name == "":
			ps.add(key+".name", "a region needs a name")
		case names[r.Name]:
			ps.add(key+".name", "two regions are called %q", r.Name)
		}
		names[r.Name] = true
		for j, a := range r.Addresses {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
				ps.add(fmt.Sprintf("%s.addresses[%d]", key, j), "%v is no address that clients can go to", a)
			}
		}
		if p := r.At; p != nil && !(p.Lat >= -90 && p.Lat <= 90 && p.Lon >= -180 && p.Lon <= 180) {
			ps.add(key+".at", "lat is between -90 and 90, lon between -180 and 180, not %v, %v", p.Lat, p.Lon)
		}
	}
	return names
}

func (c Config) checkPolicies(ps *Problems, regions map[string]bool) {
	names := map[string]int{}
	if len(c.Policies) == 0 {
		ps.add("policies", "at least one policy is needed")
	}
	for i, p := range c.Policies {
		key := fmt.Sprintf("policies[%d]", i)
		if _, twice := names[p.Name]; p.Name == "" {
			ps.add(key+".name", "a policy needs a name")
		} else if twice {
			ps.add(key+".name", "two policies are called %q", p.Name)
		}
		names[p.Name] = i
	}
	for i, p := range c.Policies {
		key := fmt.Sprintf("policies[%d]", i)
		switch p.Method {
		case Performance, Priority, Weighted, Geographic, Subnet, MultiValue:
		default:
			ps.add(key+".method", "%q is no method: performance, priority, weighted, geographic, subnet or multivalue", p.Method)
		}
		if len(p.Targets) == 0 {
			ps.add(key+".targets", "at least one target is needed")
		}
		if len(p.Targets) > MaxRegions {
			ps.add(key+".targets", "at most %d targets, not %d", MaxRegions, len(p.Targets))
		}
		if p.Most < 0 || p.Most > 0 && p.Method != MultiValue {
			ps.add(key+".most", "is a positive number, and for multivalue only")
		}
		if p.MinLive < 0 || p.MinLive > MaxRegions {
			ps.add(key+".min_live", "must be between 0 and %d", MaxRegions)
		}
		if _, ok := names[p.Fallback]; p.Fallback != "" && !ok {
			ps.add(key+".fallback", "no policy is called %q", p.Fallback)
		}
		checkTargets(ps, key, p, regions, names)
	}
	c.checkCycles(ps, names)
}

func checkTargets(ps *Problems, policy string, p Policy, regions map[string]bool, policies map[string]int) {
	places := map[string]bool{}
	subnets := map[netip.Prefix]bool{}
	rest := 0
	for j, t := range p.Targets {
		key := fmt.Sprintf("%s.targets[%d]", policy, j)
		_, known := policies[t.Policy]
		switch {
		case (t.Region == "") == (t.Policy == ""):
			ps.add(key, "name either a region or a policy")
		case t.Region != "" && !regions[t.Region]:
			ps.add(key+".region", "no region is called %q", t.Region)
		case t.Policy != "" && !known:
			ps.add(key+".policy", "no policy is called %q", t.Policy)
		}
		if t.Weight < 0 || t.Weight > 1000 || t.Weight > 0 && p.Method != Weighted {
			ps.add(key+".weight", "is between 1 and 1000, and for weighted only")
		}
		if t.Priority < 0 || t.Priority > 1000 || t.Priority > 0 && p.Method != Priority {
			ps.add(key+".priority", "is between 1 and 1000, and for priority only")
		}
		if (len(t.Places) > 0) != (p.Method == Geographic) {
			ps.add(key+".places", "are for geographic, which needs them for every target")
		}
		for k, place := range t.Places {
			at := fmt.Sprintf("%s.places[%d]", key, k)
			if !validPlace(place) {
				ps.add(at, "%q is neither a country (\"KR\"), nor a continent (\"GEO-AS\"), nor \"WORLD\"", place)
			} else if places[place] {
				ps.add(at, "%q is assigned twice", place)
			}
			places[place] = true
		}
		if len(t.Subnets) > 0 && p.Method != Subnet {
			ps.add(key+".subnets", "are for subnet only")
		}
		if len(t.Subnets) == 0 && p.Method == Subnet {
			if rest++; rest > 1 {
				ps.add(key+".subnets", "only one target can take everybody else")
			}
		}
		for k, n := range t.Subnets {
			checkSubnet(ps, fmt.Sprintf("%s.subnets[%d]", key, k), n, subnets)
		}
	}
}

func checkSubnet(ps *Problems, key string, n netip.Prefix, seen map[netip.Prefix]bool) {
	switch {
	case !n.IsValid() || n.Addr().Is4In6():
		ps.add(key, "must be a subnet such as 203.0.113.0/24 or 2001:db8::/32")
	case n != n.Masked():
		ps.add(key, "%v has bits set behind its length: write %v", n, n.Masked())
	case seen[n]:
		ps.add(key, "%v is there twice", n)
	}
	seen[n] = true
}

// checkCycles finds policies that lead back to themselves, by targets or
// fallbacks: a decision would never end.
func (c Config) checkCycles(ps *Problems, names map[string]int) {
	const (
		untouched = iota
		underway
		done
	)
	mark := make([]int, len(c.Policies))
	var visit func(i int)
	visit = func(i int) {
		mark[i] = underway
		p := c.Policies[i]
		follow := func(key, name string) {
			next, ok := names[name]
			switch {
			case name == "" || !ok:
			case mark[next] == underway:
				ps.add(fmt.Sprintf("policies[%d].%s", i, key), "leads back to policy %q, which led here", name)
			case mark[next] == untouched:
				visit(next)
			}
		}
		for j, t := range p.Targets {
			follow(fmt.Sprintf("targets[%d].policy", j), t.Policy)
		}
		follow("fallback", p.Fallback)
		mark[i] = done
	}
	for i := range c.Policies {
		if mark[i] == untouched {
			visit(i)
		}
	}
}
