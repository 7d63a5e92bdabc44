package prebuilt

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// token is a word, a row of digits, or any other character by itself.
type token struct {
	start, end int    // code points
	text       string // in lower case
	kind       tokenKind
	glued      bool // no space before it
}

type tokenKind int

const (
	word tokenKind = iota
	digits
	other
)

// scan is a text while it is looked through. Numbers and ordinals are found
// once for all recognisers, so each looks ahead only a bounded way.
type scan struct {
	text   string
	toks   []token
	number []number // by the token that they begin with; next is 0 where none does
	order  []number // ordinals, likewise
	ref    time.Time
}

func newScan(text string, ref time.Time) *scan {
	s := &scan{text: text, ref: ref, toks: make([]token, 0, len(text)/4+1)}
	glued, at := false, 0 // at is the code point of byte i
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if unicode.IsSpace(r) {
			glued = false
			i, at = i+size, at+1
			continue
		}
		kind, more := other, func(rune) bool { return false }
		switch {
		case isDigit(r):
			kind, more = digits, isDigit
		case unicode.IsLetter(r):
			kind, more = word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsMark(r) }
		}
		end, n := i+size, 1
		for end < len(text) {
			if r, size = utf8.DecodeRuneInString(text[end:]); !more(r) {
				break
			}
			end, n = end+size, n+1
		}
		s.toks = append(s.toks, token{at, at + n, strings.ToLower(text[i:end]), kind, glued})
		i, at, glued = end, at+n, true
	}
	both := make([]number, 2*len(s.toks))
	s.number, s.order = both[:len(s.toks)], both[len(s.toks):]
	for i := range s.toks {
		s.number[i] = s.readNumber(i)
	}
	for i := range s.toks {
		s.order[i] = s.readOrdinal(i)
	}
	return s
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

// at returns the token's text, "" beyond the ends.
func (s *scan) at(i int) string {
	if i < 0 || i >= len(s.toks) {
		return ""
	}
	return s.toks[i].text
}

func (s *scan) is(i int, words ...string) bool {
	return i >= 0 && i < len(s.toks) && slices.Contains(words, s.toks[i].text)
}

// seq says whether the words stand at i, one after another, and where they end.
func (s *scan) seq(i int, words ...string) (next int, ok bool) {
	for k, w := range words {
		if s.at(i+k) != w {
			return i, false
		}
	}
	return i + len(words), true
}

func (s *scan) isDigits(i int) bool { return i >= 0 && i < len(s.toks) && s.toks[i].kind == digits }
func (s *scan) isWord(i int) bool   { return i >= 0 && i < len(s.toks) && s.toks[i].kind == word }
func (s *scan) glued(i int) bool    { return i >= 0 && i < len(s.toks) && s.toks[i].glued }

// entity is what stands in the tokens from i up to next.
func (s *scan) entity(i, next int, k Kind, v Value) Entity {
	return Entity{Start: s.toks[i].start, End: s.toks[next-1].end, Kind: k, Value: v}
}

// each calls read at every token that nothing found before covers. read
// returns where what it found begins and ends; next 0 is nothing.
func (s *scan) each(read func(i int) (e Entity, next int)) []Entity {
	var out []Entity
	for i := 0; i < len(s.toks); {
		e, next := read(i)
		if next <= i {
			i++
			continue
		}
		out = append(out, e)
		i = next
	}
	return out
}
