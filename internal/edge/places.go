package edge

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// Places says in which country an address is.
type Places interface {
	// Find returns the country's two letters, "" if it isn't known, and how
	// many leading bits of the address decide it: whoever shares them gets the
	// same answer.
	Find(netip.Addr) (Country, int)
}

// Country is two letters of ISO 3166-1, or "".
type Country string

func (c Country) placed() placed {
	code, ok := countryOf(string(c))
	if !ok {
		return placed{}
	}
	return code.placed()
}

type nowhere struct{}

func (nowhere) Find(netip.Addr) (Country, int) { return "", 0 }

// Ranges are Places from a table of address ranges.
type Ranges struct {
	v4, v6 []span
}

// span is a range of addresses of one country. Of IPv6 only the first half
// counts: nothing smaller than a /64 is assigned to anybody.
type span struct {
	from, to uint64 // both belong to it
	country  [2]byte
}

const (
	longestLine = 256
	mostSpans   = 8 << 20
)

// ReadRanges reads lines of "first,last,country", both addresses inclusive, as
// several free tables have them; quotes around a field are taken off, empty
// lines and those that begin with # skipped, further fields ignored. Ranges may
// come in any order and from several readers. Where two overlap, as in real
// tables they do, the one that begins later counts, then the shorter one: it is
// the more particular one.
func ReadRanges(sources ...io.Reader) (*Ranges, error) {
	r := &Ranges{}
	for n, src := range sources {
		lines := bufio.NewScanner(src)
		lines.Buffer(make([]byte, longestLine), longestLine)
		i := 0
		for lines.Scan() {
			i++
			text := strings.TrimSpace(lines.Text())
			if text == "" || text[0] == '#' {
				continue
			}
			if err := r.add(text); err != nil {
				return nil, fmt.Errorf("read place data, source %d, line %d: %w", n+1, i, err)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read place data, source %d, after line %d: %w", n+1, i, err)
		}
	}
	r.v4, r.v6 = flat(r.v4), flat(r.v6)
	return r, nil
}

// Len is the number of ranges.
func (r *Ranges) Len() int { return len(r.v4) + len(r.v6) }

func (r *Ranges) add(line string) error {
	first, rest, _ := strings.Cut(line, ",")
	last, rest, ok := strings.Cut(rest, ",")
	code, _, _ := strings.Cut(rest, ",")
	if !ok {
		return fmt.Errorf("%q is not first,last,country", line)
	}
	from, err := netip.ParseAddr(unquote(first))
	if err != nil {
		return err
	}
	to, err := netip.ParseAddr(unquote(last))
	if err != nil {
		return err
	}
	if from.Is4() != to.Is4() || to.Less(from) || from.Zone() != "" || to.Zone() != "" {
		return fmt.Errorf("%v to %v is no range", from, to)
	}
	code = unquote(code)
	if len(code) != 2 {
		return fmt.Errorf("%q is not two letters", code)
	}
	s := span{high(from), high(to), [2]byte{code[0], code[1]}}
	if r.Len() >= mostSpans {
		return fmt.Errorf("more than %d ranges", mostSpans)
	}
	if from.Is4() {
		r.v4 = append(r.v4, s)
	} else {
		r.v6 = append(r.v6, s)
	}
	return nil
}

func unquote(s string) string { return strings.Trim(strings.TrimSpace(s), `"`) }

// high is the address as a number; of IPv6 the first half.
func high(a netip.Addr) uint64 {
	var x uint64
	raw := a.As16()
	part := raw[:8]
	if a.Is4() {
		part = raw[12:]
	}
	for _, b := range part {
		x = x<<8 | uint64(b)
	}
	return x
}

// flat puts spans in order, joins neighbours of one country and resolves
// overlaps.
func flat(in []span) []span {
	slices.SortStableFunc(in, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to))
	})
	var out, open []span // open: those that have begun, the innermost last
	var at uint64        // everything before it is settled
	settle := func(to uint64, country [2]byte) {
		if n := len(out); n > 0 && out[n-1].country == country && out[n-1].to+1 == at {
			out[n-1].to = to
		} else {
			out = append(out, span{at, to, country})
		}
		at = to + 1 // 0 behind the last address; nothing is left to settle then
	}
	closeBefore := func(from uint64, last bool) {
		for n := len(open); n > 0 && (last || open[n-1].to < from); n = len(open) {
			if s := open[n-1]; s.to >= at && (at > 0 || len(out) == 0) {
				settle(s.to, s.country)
			}
			open = open[:n-1]
		}
	}
	for _, s := range in {
		closeBefore(s.from, false)
		if n := len(open); n > 0 && at < s.from {
			settle(s.from-1, open[n-1].country)
		}
		open = append(open, s)
		at = s.from
	}
	closeBefore(0, true)
	return slices.Clip(out)
}

// Find implements Places.
func (r *Ranges) Find(a netip.Addr) (Country, int) {
	spans, width := r.v6, 64
	if a = a.Unmap(); a.Is4() {
		spans, width = r.v4, 32
	}
	if len(spans) == 0 {
		return "", 0
	}
	x := high(a)
	i, found := slices.BinarySearchFunc(spans, x, func(s span, x uint64) int { return cmp.Compare(s.from, x) })
	if !found {
		i--
	}
	// The gap or range around x.
	var code Country
	from, to := uint64(0), uint64(1)<<(width-1)*2-1
	if i >= 0 && x <= spans[i].to {
		from, to, code = spans[i].from, spans[i].to, Country(spans[i].country[:])
	} else {
		if i >= 0 {
			from = spans[i].to + 1
		}
		if i+1 < len(spans) {
			to = spans[i+1].from - 1
		}
	}
	return code, block(x, from, to, width)
}

// block is the length of the largest subnet around x that lies within from..to.
func block(x, from, to uint64, width int) int {
	n := width
	for n > 0 {
		size := uint64(1) << (width - n) // of the next shorter one: twice that, minus one
		size += size - 1
		if first := x &^ size; first < from || first|size > to {
			break
		}
		n--
	}
	return n
}
