package edge

import "net/netip"

// trie finds the longest of a few subnets that holds an address, and how many
// bits of the address decided that. The zero value is empty.
type trie struct {
	nodes []node // the roots of IPv4 and IPv6, then all others
}

type node struct {
	next  [2]int32 // 0: none
	value int32    // index + 1; 0: none
}

func root(a netip.Addr) int32 {
	if a.Is4() {
		return 0
	}
	return 1
}

func (t *trie) put(p netip.Prefix, value int) {
	if t.nodes == nil {
		t.nodes = make([]node, 2)
	}
	at := root(p.Addr())
	raw, first := bitsOf(p.Addr())
	for i := range p.Bits() {
		b := bit(raw, first+i)
		if t.nodes[at].next[b] == 0 {
			t.nodes = append(t.nodes, node{})
			t.nodes[at].next[b] = int32(len(t.nodes) - 1)
		}
		at = t.nodes[at].next[b]
	}
	t.nodes[at].value = int32(value + 1)
}

// find returns the value of the longest subnet that holds all addresses that
// begin with the first n bits of a, or -1, and how many bits it had to look at:
// whoever shares them gets the same.
func (t *trie) find(a netip.Addr, n int) (value, looked int) {
	if t.nodes == nil || n == 0 {
		return -1, 0
	}
	at := root(a)
	best := t.nodes[at].value
	raw, first := bitsOf(a)
	for i := range n {
		if t.nodes[at].next == [2]int32{} {
			break
		}
		looked = i + 1
		if at = t.nodes[at].next[bit(raw, first+i)]; at == 0 {
			break
		}
		if v := t.nodes[at].value; v != 0 {
			best = v
		}
	}
	return int(best) - 1, looked
}

// bitsOf returns the address' bits and where its family begins in them.
func bitsOf(a netip.Addr) (raw [16]byte, first int) {
	if a.Is4() {
		return a.As16(), 96
	}
	return a.As16(), 0
}

func bit(raw [16]byte, i int) byte { return raw[i/8] >> (7 - i%8) & 1 }
