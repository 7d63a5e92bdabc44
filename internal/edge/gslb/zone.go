package gslb

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/edge"
)

// Zone is a domain that this server answers for.
type Zone struct {
	Name string `yaml:"name"` // "chat.example.com"
	// Servers are the names of the zone's servers, this one and its siblings;
	// the first one goes into the SOA. Those within the zone need a Name with
	// Addresses.
	Servers []string `yaml:"servers"`
	Contact string   `yaml:"contact"` // mail address of whoever runs it; "" = hostmaster@ the zone
	// TTL is how long an answer that depends on living regions may be kept, 5 to
	// 30 s; 0 = 10 s.
	TTL   time.Duration `yaml:"ttl"`
	Names []Name        `yaml:"names"`
}

// Name is what is known of one name of a zone.
type Name struct {
	Name      string       `yaml:"name"`      // relative to the zone; "@" is the zone itself
	Policy    string       `yaml:"policy"`    // of the edge: answers with the addresses of living regions
	Addresses []netip.Addr `yaml:"addresses"` // or these, whoever lives
	TXT       []string     `yaml:"txt"`
}

const (
	defaultTTL = 10 * time.Second
	stableTTL  = 300 // seconds, of what doesn't depend on regions
)

// zone is a Zone ready for answering. Names are in wire form and lower case.
type zone struct {
	nodes   map[string]*node // by whole name; a nil node is there only because of those below it
	apex    *node
	servers [][]byte
	soa     []byte // the record's data
	ttl     uint32
}

type node struct {
	policy   string
	byPolicy bool
	v4, v6   [][]byte
	txt      [][]byte
}

// Check says all that is wrong with zones. hasPolicy knows the edge's policies.
func Check(zones []Zone, hasPolicy func(name string) bool) edge.Problems {
	_, ps := compile(zones, hasPolicy, 0)
	return ps
}

// compile checks the zones and makes them ready.
func compile(zones []Zone, hasPolicy func(string) bool, serial uint32) (map[string]*zone, edge.Problems) {
	var ps edge.Problems
	add := func(key, format string, args ...any) {
		ps = append(ps, edge.Problem{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	out := map[string]*zone{}
	if len(zones) == 0 {
		add("zones", "at least one zone is needed")
	}
	for i, z := range zones {
		key := fmt.Sprintf("zones[%d]", i)
		origin, err := wireName(z.Name)
		if err != nil || len(origin) == 1 {
			add(key+".name", "%q is no domain", z.Name)
			continue
		}
		if out[string(origin)] != nil {
			add(key+".name", "%q is there twice", z.Name)
		}
		ttl := z.TTL
		if ttl == 0 {
			ttl = defaultTTL
		}
		if ttl < 5*time.Second || ttl > 30*time.Second {
			add(key+".ttl", "must be between 5s and 30s, not %v: longer keeps clients at a dead region, shorter only costs", z.TTL)
		}
		c := &zone{nodes: map[string]*node{}, ttl: uint32(ttl / time.Second)}
		out[string(origin)] = c
		c.apex = &node{}
		c.nodes[string(origin)] = c.apex
		for j, n := range z.Names {
			c.name(fmt.Sprintf("%s.names[%d]", key, j), z.Name, string(origin), n, hasPolicy, add)
		}
		c.authority(key, z, string(origin), serial, add)
	}
	return out, ps
}

func (c *zone) name(key, zoneName, origin string, n Name, hasPolicy func(string) bool, add func(string, string, ...any)) {
	full := strings.TrimSuffix(zoneName, ".")
	if n.Name != "@" {
		full = n.Name + "." + full
	}
	wire, err := wireName(full)
	if err != nil || n.Name == "" {
		add(key+".name", "%q is no name: write it relative to the zone, or @ for the zone itself", n.Name)
		return
	}
	at := c.nodes[string(wire)]
	if n.Name != "@" {
		if at != nil {
			add(key+".name", "%q is there twice", n.Name)
		}
		at = &node{}
		c.nodes[string(wire)] = at
		for rest := string(wire[1+wire[0]:]); len(rest) > len(origin); rest = rest[1+rest[0]:] {
			if _, ok := c.nodes[rest]; !ok {
				c.nodes[rest] = nil // it has no records, but there is something below it
			}
		}
	}
	if n.Policy != "" {
		at.policy, at.byPolicy = n.Policy, true
		if !hasPolicy(n.Policy) {
			add(key+".policy", "no policy is called %q", n.Policy)
		}
		if len(n.Addresses) > 0 {
			add(key+".addresses", "are for a name without a policy")
		}
	}
	for i, a := range n.Addresses {
		switch {
		case a.Is4():
			at.v4 = append(at.v4, a.AsSlice())
		case a.Is6() && !a.Is4In6():
			at.v6 = append(at.v6, a.AsSlice())
		default:
			add(fmt.Sprintf("%s.addresses[%d]", key, i), "%v is no address", a)
		}
	}
	for i, text := range n.TXT {
		if len(text) > 1000 {
			add(fmt.Sprintf("%s.txt[%d]", key, i), "is longer than 1000 bytes")
		}
		var data []byte
		for first := true; first || len(text) > 0; first = false {
			k := min(len(text), 255)
			data = append(append(data, byte(k)), text[:k]...)
			text = text[k:]
		}
		at.txt = append(at.txt, data)
	}
}

// authority makes NS and SOA.
func (c *zone) authority(key string, z Zone, origin string, serial uint32, add func(string, string, ...any)) {
	if len(z.Servers) == 0 {
		add(key+".servers", "name at least one server, as the parent zone delegates to it")
		return
	}
	for i, s := range z.Servers {
		wire, err := wireName(s)
		if err != nil || len(wire) == 1 {
			add(fmt.Sprintf("%s.servers[%d]", key, i), "%q is no name", s)
			return
		}
		if n := c.nodes[string(wire)]; strings.HasSuffix(string(wire), origin) && (n == nil || len(n.v4)+len(n.v6) == 0) {
			add(fmt.Sprintf("%s.servers[%d]", key, i), "%q lies in the zone and needs a name with addresses", s)
		}
		c.servers = append(c.servers, wire)
	}
	contact := z.Contact
	if contact == "" {
		contact = "hostmaster@" + z.Name
	}
	user, host, ok := strings.Cut(contact, "@")
	wire, err := wireName(host)
	if !ok || err != nil || user == "" || len(user) > 63 || len(wire)+1+len(user) > longestName {
		add(key+".contact", "%q is no mail address", contact)
		return
	}
	c.soa = append(append([]byte{}, c.servers[0]...), byte(len(user)))
	c.soa = append(append(c.soa, user...), wire...)
	for _, n := range []uint32{serial, 3600, 600, 604800, c.ttl} { // refresh, retry, expire: for tools that look
		c.soa = binary.BigEndian.AppendUint32(c.soa, n)
	}
}

// wireName turns "a.example.com" or "a.example.com." into labels in lower case.
func wireName(s string) ([]byte, error) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	var out []byte
	if s != "" {
		for label := range strings.SplitSeq(s, ".") {
			if label == "" || len(label) > 63 {
				return nil, fmt.Errorf("%q is no label", label)
			}
			for i := range len(label) {
				if b := label[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '_' {
					return nil, fmt.Errorf("%q is no label", label)
				}
			}
			out = append(append(out, byte(len(label))), label...)
		}
	}
	if out = append(out, 0); len(out) > longestName {
		return nil, fmt.Errorf("%q is too long", s)
	}
	return out, nil
}
