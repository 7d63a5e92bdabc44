package nlu

import (
	"unicode"
	"unicode/utf8"
)

// kind is what a token is made of.
type kind uint8

const (
	kindWord   kind = iota // letters, perhaps with digits
	kindNumber             // digits only
	kindMark               // one sign
)

// token is a piece of a text that the labeller marks as a whole.
type token struct {
	start, end int32 // code points of the text
	from, to   int32 // bytes of scratch.norm: the folded form
	kind       kind
	upper      shape
}

// shape is how a token is capitalised.
type shape uint8

const (
	shapeLower shape = iota
	shapeTitle
	shapeUpper
	shapeMixed
)

// folded holds the plain letters of U+00C0 to U+017F, so that words match
// whether people type the accents or not. A blank is a letter that stays.
const folded = "AAAAAAACEEEEIIIIDNOOOOO OUUUUY  aaaaaaaceeeeiiiidnooooo ouuuuy y" +
	"AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi  JjKk LlLlLlLlLlNnNnNnnNnOoOoOo  RrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs"

// fold brings a code point to the form in which words are compared, or to -1
// where it counts for nothing (accents that stand alone, joiners).
func fold(r rune) rune {
	switch {
	case 'A' <= r && r <= 'Z':
		return r + 'a' - 'A'
	case r < 0x80:
		return r
	case r >= 0xC0 && int(r-0xC0) < len(folded) && folded[r-0xC0] != ' ':
		return unicode.ToLower(rune(folded[r-0xC0]))
	case r >= 0x300 && r <= 0x36F, r == 0x200C, r == 0x200D, r == 0xFE0F:
		return -1
	case r == 0x2019 || r == 0x2018:
		return '\''
	}
	return unicode.ToLower(r)
}

// alone says whether a script writes without blanks, so that each letter is a
// token of its own.
func alone(r rune) bool {
	return r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' || r >= 0x80 && unicode.IsDigit(r) }

func isLetter(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r >= 0x80 && (unicode.IsLetter(r) || unicode.IsMark(r) || r == 0x200C || r == 0x200D)
}

func isSpace(r rune) bool { return r == ' ' || r < ' ' || r >= 0x80 && unicode.IsSpace(r) }

// split cuts text into tokens, at most most of them. Bytes that are no UTF-8
// are signs.
func (s *scratch) split(text string, most int) {
	s.tokens, s.norm = s.tokens[:0], s.norm[:0]
	var (
		at   int32 // code point
		open bool  // the last token may grow
	)
	for _, r := range text {
		place := at
		at++
		switch {
		case isSpace(r):
			open = false
			continue
		case isLetter(r) || isDigit(r):
			if open && !alone(r) {
				s.grow(r, at)
				continue
			}
			if n := len(s.tokens); n > 0 && clitic(s, n-1, place, r) {
				// "'s" is one token: the name before it is another.
				s.tokens[n-1].kind = kindWord
				s.grow(r, at)
				open = true
				continue
			}
			if len(s.tokens) == most {
				return
			}
			k := kindWord
			if isDigit(r) {
				k = kindNumber
			}
			s.begin(k, r, place)
			open = !alone(r)
		case fold(r) < 0 && len(s.tokens) > 0:
			s.tokens[len(s.tokens)-1].end = at
		default:
			if len(s.tokens) == most {
				return
			}
			s.begin(kindMark, r, place)
			open = false
		}
	}
}

func clitic(s *scratch, i int, place int32, r rune) bool {
	t := s.tokens[i]
	return i > 0 && t.kind == kindMark && t.end == place && s.norm[t.from] == '\'' &&
		s.tokens[i-1].end == t.start && s.tokens[i-1].kind == kindWord && isLetter(r)
}

func (s *scratch) begin(k kind, r rune, at int32) {
	n := int32(len(s.norm))
	t := token{start: at, end: at + 1, from: n, to: n, kind: k}
	if unicode.IsUpper(r) {
		t.upper = shapeTitle
	}
	if f := fold(r); f >= 0 {
		s.norm = utf8.AppendRune(s.norm, f)
	}
	t.to = int32(len(s.norm))
	s.tokens = append(s.tokens, t)
}

func (s *scratch) grow(r rune, end int32) {
	t := &s.tokens[len(s.tokens)-1]
	second := t.end-t.start == 1
	t.end = end
	if isLetter(r) {
		t.kind = kindWord
	}
	if unicode.IsUpper(r) {
		switch {
		case second && t.upper == shapeTitle:
			t.upper = shapeUpper
		case t.upper != shapeUpper:
			t.upper = shapeMixed
		}
	} else if t.upper == shapeUpper && isLetter(r) {
		t.upper = shapeMixed
	}
	if f := fold(r); f >= 0 {
		s.norm = utf8.AppendRune(s.norm, f)
	}
	t.to = int32(len(s.norm))
}

// word returns a token's folded form; it is valid until the next split.
func (s *scratch) word(i int) []byte {
	t := &s.tokens[i]
	return s.norm[t.from:t.to]
}
