package balance

// memory is what a replica is thought to have in its prefix cache: the sums of
// prompts that were sent there, the least recently used given up first. A
// prompt's first sum is always used last, so what is remembered of a prompt
// is a beginning of it.
type memory struct {
	limit int
	at    map[uint64]int32
	all   []node // all[0] is the ring's root: next is the newest, prev the oldest
	free  int32
	taken float64 // bytes that came in, the recent ones counting most
}

type node struct {
	sum        uint64
	prev, next int32
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, at: map[uint64]int32{}, all: make([]node, 1)}
}

// knows returns how many of the first sums are there.
func (m *memory) knows(sums []uint64) int {
	lo, hi := 0, len(sums)
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if _, ok := m.at[sums[mid-1]]; ok {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// use remembers a prompt.
func (m *memory) use(sums []uint64) {
	if len(sums) > m.limit {
		sums = sums[:m.limit]
	}
	for i := len(sums) - 1; i >= 0; i-- {
		n, ok := m.at[sums[i]]
		if ok {
			m.unlink(n)
		} else {
			n = m.place(sums[i])
			m.taken += float64(covered(i+1) - covered(i))
		}
		m.link(n)
	}
}

// place makes a node, of the oldest one if there may be no more.
func (m *memory) place(sum uint64) int32 {
	var n int32
	switch {
	case m.free != 0:
		n = m.free
		m.free = m.all[n].next
	case len(m.at) >= m.limit:
		n = m.all[0].prev
		m.unlink(n)
		delete(m.at, m.all[n].sum)
	default:
		m.all = append(m.all, node{})
		n = int32(len(m.all) - 1) //nolint:gosec // limit is small
	}
	m.all[n].sum = sum
	m.at[sum] = n
	return n
}

// forget drops all but the first sum of a prompt: what others share with it
// is learned anew soon enough.
func (m *memory) forget(sums []uint64) {
	for i := len(sums) - 1; i > 0; i-- {
		if n, ok := m.at[sums[i]]; ok {
			m.unlink(n)
			delete(m.at, sums[i])
			m.all[n].next, m.free = m.free, n
		}
	}
}

// clear forgets everything: the replica was away, and came back empty.
func (m *memory) clear() {
	clear(m.at)
	m.all, m.free, m.taken = m.all[:1], 0, 0
	m.all[0] = node{}
}

func (m *memory) link(n int32) {
	first := m.all[0].next
	m.all[n].prev, m.all[n].next = 0, first
	m.all[first].prev, m.all[0].next = n, n
}

func (m *memory) unlink(n int32) {
	x := m.all[n]
	m.all[x.prev].next, m.all[x.next].prev = x.next, x.prev
}
