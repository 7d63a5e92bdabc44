package gslb

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"
)

const limitSlots = 1 << 16

// limiter bounds what is sent to a network over UDP, where a sender's address
// proves nothing: without it a server helps to flood whoever is written there.
// It keeps one moment for each slot, when the slot will be at rest again (GCRA),
// so it needs no lock and no more memory under attack. Two networks may meet in
// a slot; which ones do is different in each process.
type limiter struct {
	cost  int64 // nanoseconds of rest that an answer takes
	burst int64 // nanoseconds that may be ahead
	seed  uint64
	slots []atomic.Int64
}

// newLimiter allows so many answers a second and network; nil = any number.
func newLimiter(perSecond int, seed uint64) *limiter {
	if perSecond < 0 {
		return nil
	}
	return &limiter{cost: int64(time.Second) / int64(perSecond), burst: int64(time.Second), seed: seed, slots: make([]atomic.Int64, limitSlots)}
}

// allow takes an answer to a into account, unless there were too many.
func (l *limiter) allow(a netip.Addr, now int64) bool {
	if l == nil {
		return true
	}
	raw := a.Unmap().As16() // 24 bits of IPv4, 56 of IPv6
	x := binary.BigEndian.Uint64(raw[:8]) &^ 0xff
	if a.Unmap().Is4() {
		x = binary.BigEndian.Uint64(raw[8:]) &^ 0xff
	}
	x = (x ^ l.seed) * 0x9e3779b97f4a7c15
	x = (x ^ x>>32) * 0xbf58476d1ce4e5b9
	slot := &l.slots[x>>48]
	for {
		old := slot.Load()
		next := max(old, now) + l.cost
		if next-now > l.burst {
			return false
		}
		if slot.CompareAndSwap(old, next) {
			return true
		}
	}
}
