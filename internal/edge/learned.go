package edge

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Bits of a client's address that share what is learned.
const (
	learnBits4 = 24
	learnBits6 = 48
)

// mostLearned networks are remembered; then the oldest is forgotten.
const mostLearned = 1 << 16

// learned remembers measured round trips by network.
type learned struct {
	any atomic.Bool // whether there is anything: spares the lock

	mu    sync.RWMutex // guards all below
	rows  map[netip.Prefix][]float64
	order []netip.Prefix // of rows, as a ring
	next  int            // where the ring goes on
}

func learnKey(a netip.Addr) netip.Prefix {
	bits := learnBits6
	if a.Is4() {
		bits = learnBits4
	}
	p, _ := a.Prefix(bits) // the length fits the family
	return p
}

func (l *learned) add(a netip.Addr, region, regions int, ms float64) {
	key := learnKey(a.WithZone(""))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rows == nil {
		l.rows = map[netip.Prefix][]float64{}
	}
	row := l.rows[key]
	if row == nil {
		row = make([]float64, regions)
		l.rows[key] = row
		if len(l.order) < mostLearned {
			l.order = append(l.order, key)
		} else {
			delete(l.rows, l.order[l.next])
			l.order[l.next] = key
			l.next = (l.next + 1) % mostLearned
		}
		l.any.Store(true)
	}
	// One slow packet moves the figure by a quarter of what it was off.
	if row[region] == 0 {
		row[region] = ms
	} else {
		row[region] += (ms - row[region]) / 4
	}
}

// find returns a learned round trip, and the bits that decide whether there is
// one.
func (l *learned) find(a netip.Addr, bits, region int) (ms float64, looked int, ok bool) {
	if !l.any.Load() {
		return 0, 0, false
	}
	key := learnKey(a)
	if bits < key.Bits() {
		return 0, bits, false // a larger network: its parts may differ
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	row := l.rows[key]
	if row == nil || row[region] == 0 {
		return 0, key.Bits(), false
	}
	return row[region], key.Bits(), true
}
