// Package text turns the bytes of an answer's tokens into text that may be
// shown: whole code points only, and never any part of a stop string. What may
// live here: that filter.
package text

import (
	"strings"
	"unicode/utf8"
)

// Filter holds back what can't be shown yet. The same bytes give the same
// text however they are divided into Push calls. The zero value has no stop
// strings. It belongs to one goroutine.
type Filter struct {
	stops []string
	tail  []byte // bytes that may be the beginning of a code point
	held  string // text that may be the beginning of a stop string
	ended bool
}

// NewFilter returns a filter that ends the text before the first of stops.
// Empty ones, and those that are not UTF-8, are ignored: no text has them.
func NewFilter(stops []string) *Filter {
	f := &Filter{}
	for _, s := range stops {
		if s != "" && utf8.ValidString(s) {
			f.stops = append(f.stops, s)
		}
	}
	return f
}

// Push adds bytes and returns what can be shown now. stopped means that a
// stop string is complete: the text ended before it. Bytes that can't be
// UTF-8 come out as U+FFFD.
func (f *Filter) Push(b []byte) (shown string, stopped bool) {
	if f.ended {
		return "", true
	}
	text := f.decode(b)
	if len(f.stops) == 0 {
		return text, false
	}
	text = f.held + text
	f.held = ""
	if at := f.find(text); at >= 0 {
		f.ended = true
		return text[:at], true
	}
	keep := 0
	for _, s := range f.stops {
		keep = max(keep, overlap(text, s))
	}
	f.held = text[len(text)-keep:]
	return text[:len(text)-keep], false
}

// Flush ends the text and returns what was held back as the possible start of
// a stop string. Half a code point is dropped.
func (f *Filter) Flush() string {
	if f.ended {
		return ""
	}
	f.ended = true
	out := f.held
	f.held, f.tail = "", nil
	return out
}

// decode appends b to the unfinished bytes and takes off all that is decided.
func (f *Filter) decode(b []byte) string {
	if len(f.tail) == 0 && utf8.Valid(b) {
		return string(b)
	}
	f.tail = append(f.tail, b...)
	var out strings.Builder
	rest := f.tail
	for len(rest) > 0 {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 && !utf8.FullRune(rest) {
			break
		}
		out.WriteRune(r)
		rest = rest[n:]
	}
	f.tail = append(f.tail[:0], rest...)
	return out.String()
}

// find returns where the first stop string begins, or -1.
func (f *Filter) find(text string) int {
	first := -1
	for _, s := range f.stops {
		if at := strings.Index(text, s); at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	return first
}

// overlap is the length of the longest end of text that begins stop.
func overlap(text, stop string) int {
	for n := min(len(text), len(stop)-1); n > 0; n-- {
		if text[len(text)-n] == stop[0] && strings.HasPrefix(stop, text[len(text)-n:]) {
			return n
		}
	}
	return 0
}
