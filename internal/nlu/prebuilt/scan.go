package prebuilt

import (
	"slices"
	"strings"
	"time"
	"unicode"
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
	s := &scan{text: text, ref: ref}
	runes := []rune(text)
	glued := false
	for i := 0; i < len(runes); {
		r := runes[i]
		if unicode.IsSpace(r) {
			glued = false
			i++
			continue
		}
		end, kind := i+1, other
		switch {
		case isDigit(r):
			for kind = digits; end < len(runes) && isDigit(runes[end]); end++ {
			}
		case unicode.IsLetter(r):
			for kind = word; end < len(runes) && (unicode.IsLetter(runes[end]) || unicode.IsMark(runes[end])); end++ {
			}
		}
		s.toks = append(s.toks, token{i, end, strings.ToLower(string(runes[i:end])), kind, glued})
		i, glued = end, true
	}
	s.number = make([]number, len(s.toks))
	s.order = make([]number, len(s.toks))
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
