package balance

import "math/bits"

// covered is how many bytes of a prompt its first n sums are of: close together
// at the beginning, where a short message makes a difference, and 512 apart from
// 16 KiB on.
func covered(n int) int {
	switch {
	case n <= 64:
		return 64 * n
	case n <= 96:
		return 4<<10 + 128*(n-64)
	case n <= 128:
		return 8<<10 + 256*(n-96)
	}
	return 16<<10 + 512*(n-128)
}

// Chain turns a prompt into sums, each over all bytes before an end. Prompts
// with the same beginning have the same first sums. The zero value is ready.
type Chain struct {
	sums []uint64
	h    uint64
	part [8]byte
	n    int // bytes so far
}

const (
	mix1 = 0x9e3779b97f4a7c15
	mix2 = 0xd6e8feb86659fd93
)

// Write adds a piece of the prompt.
func (c *Chain) Write(b []byte) { write(c, b) }

// WriteString adds a piece of the prompt.
func (c *Chain) WriteString(s string) { write(c, s) }

// write reads eight bytes at a time. It need not withstand an adversary: who
// forges a sum gets a colder engine, nothing else.
func write[T string | []byte](c *Chain, b T) {
	for len(b) > 0 {
		if at := c.n % 8; at != 0 || len(b) < 8 {
			c.part[at] = b[0]
			b = b[1:]
			if c.n++; c.n%8 != 0 {
				continue
			}
			c.word(le(c.part[:]))
		} else {
			c.word(le(b))
			b = b[8:]
			c.n += 8
		}
		if c.n%64 == 0 && c.n == covered(len(c.sums)+1) {
			c.sums = append(c.sums, c.h)
		}
	}
}

func le[T string | []byte](b T) uint64 {
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

func (c *Chain) word(x uint64) {
	hi, lo := bits.Mul64(c.h^x^mix1, mix2)
	c.h = hi ^ lo ^ bits.RotateLeft64(c.h, 29)
}

// Sums are those so far.
func (c *Chain) Sums() []uint64 { return c.sums }

// Len is how many bytes there were so far.
func (c *Chain) Len() int { return c.n }

// Key is the sum over everything so far, for a prompt whose conversation has no
// name.
func (c *Chain) Key() uint64 {
	h := *c
	h.word(uint64(c.n)) //nolint:gosec // a length
	for _, b := range c.part[:c.n%8] {
		h.word(uint64(b))
	}
	return h.h
}
