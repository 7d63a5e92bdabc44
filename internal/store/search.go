package store

import (
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits that keep one odd text or query from growing an index or a search
// without bound.
const (
	maxTerm    = 64 // code points of a term; the rest of a longer one is not looked at
	maxPhrases = 32 // words of a query; further ones are not looked at
	maxRun     = 64 // terms of one phrase; further ones are not looked at
	snippetLen = 160
)

// Term is one searchable piece of a text: a word, or one character of a
// writing system that sets no spaces between words.
type Term struct {
	Text       string // folded: equal for texts that count as the same
	Start, End int    // bytes of the original that it stands for
	Single     bool   // one character of a writing system without spaces
}

// Terms cuts a text into its terms. All drivers index these and nothing else,
// so that a search finds the same in each of them.
func Terms(text string) []Term {
	var out []Term
	var word strings.Builder
	var start, end, runes int
	flush := func() {
		if word.Len() > 0 {
			out = append(out, Term{Text: word.String(), Start: start, End: end})
		}
		word.Reset()
		runes = 0
	}
	each(text, func(r rune, from, to int) {
		switch {
		case !termRune(r):
			flush()
		case single(r):
			flush()
			if n := len(out); n > 0 && out[n-1].Single && out[n-1].Start == from && out[n-1].End == to {
				out[n-1].Text += string(r) // one character that folds to several
				return
			}
			out = append(out, Term{Text: string(r), Start: from, End: to, Single: true})
		default:
			if word.Len() == 0 {
				start = from
			}
			if runes++; runes <= maxTerm {
				word.WriteRune(r)
			}
			end = to
		}
	})
	flush()
	return out
}

// each calls f with the folded code points of text and the bytes that they
// come from: compatibility forms and case made equal, accents removed.
func each(text string, f func(r rune, from, to int)) {
	plain := func(i int) bool { // an ASCII character that nothing combines with
		return text[i] < utf8.RuneSelf && (i+1 == len(text) || text[i+1] < utf8.RuneSelf)
	}
	for i := 0; i < len(text); {
		if plain(i) {
			c := text[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			f(rune(c), i, i+1)
			i++
			continue
		}
		j := i + 1
		for j < len(text) && !plain(j) {
			j++
		}
		eachFolded(text[i:j], i, f)
		i = j
	}
}

// eachFolded is each for a piece of text that begins at base.
func eachFolded(text string, base int, f func(r rune, from, to int)) {
	var it norm.Iter
	it.InitString(norm.NFKD, text)
	var kept []byte
	for !it.Done() {
		from := it.Pos()
		segment := it.Next()
		to := it.Pos()
		kept = kept[:0]
		for len(segment) > 0 {
			r, n := utf8.DecodeRune(segment)
			switch {
			case r == utf8.RuneError && n == 1:
				kept = append(kept, ' ')
			case accent(r):
			default:
				kept = append(kept, segment[:n]...)
			}
			segment = segment[n:]
		}
		for _, r := range string(norm.NFC.Bytes(kept)) {
			for _, r := range fold(r) {
				f(r, base+from, base+to)
			}
		}
	}
}

// accent reports marks that are left out: those over and under Latin, Greek and
// Cyrillic letters and the vowel points of Hebrew and Arabic. Marks that make
// another letter, as in Devanagari, Thai or Japanese, stay.
func accent(r rune) bool {
	switch {
	case r < 0x300:
		return false
	case r <= 0x36F, r >= 0x591 && r <= 0x5C7, r >= 0x64B && r <= 0x65F, r == 0x670,
		r >= 0x1AB0 && r <= 0x1AFF, r >= 0x1DC0 && r <= 0x1DFF, r >= 0x20D0 && r <= 0x20FF, r >= 0xFE20 && r <= 0xFE2F:
		return unicode.Is(unicode.M, r)
	}
	return r == 0x640 || r >= 0xFE00 && r <= 0xFE0F // Arabic stretching, variation selectors
}

// fold makes the cases of a letter equal, and spells out the Latin letters that
// have no decomposition.
func fold(r rune) string {
	switch r {
	case 'ß', 'ẞ':
		return "ss"
	case 'æ', 'Æ':
		return "ae"
	case 'œ', 'Œ':
		return "oe"
	case 'ø', 'Ø':
		return "o"
	case 'đ', 'Đ', 'ð', 'Ð':
		return "d"
	case 'þ', 'Þ':
		return "th"
	case 'ł', 'Ł':
		return "l"
	case 'ħ', 'Ħ':
		return "h"
	}
	return string(unicode.ToLower(unicode.ToUpper(r)))
}

func termRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)
}

// single reports characters of writing systems that set no spaces between
// words, and of Korean, which glues particles to them.
func single(r rune) bool {
	return r >= 0xE00 && (r == 'ー' || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
		unicode.Bopomofo, unicode.Yi, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan))
}

// Phrase is one word of a query: terms that must follow one another.
type Phrase struct {
	Terms  []string
	Prefix bool // the last term may go on
}

// ParseQuery cuts a query into the words that a text must hold, in any order.
//
// Words are runs of letters and digits. Case, accents, width and ligatures
// make no difference ("strasse" finds "Straße", "cafe" finds "CAFÉ"). A word
// of the text must be equal, except that the query's last word may be only its
// beginning. Characters of Chinese, Japanese, Korean, Thai, Lao, Khmer,
// Burmese and Tibetan are words of their own, and a run of them finds the same
// run anywhere in a text (spaces and punctuation inside it don't count).
// Nothing in a query is an operator. Of very long words the first 64
// characters count, of very long queries the first 32 words.
func ParseQuery(query string) []Phrase {
	var out []Phrase
	terms := Terms(query)
	for i, t := range terms {
		n := len(out)
		if t.Single && i > 0 && terms[i-1].Single && terms[i-1].End == t.Start {
			if p := &out[n-1]; len(p.Terms) < maxRun {
				p.Terms = append(p.Terms, t.Text)
			}
			continue
		}
		if n == maxPhrases {
			return out
		}
		out = append(out, Phrase{Terms: []string{t.Text}, Prefix: !t.Single && i == len(terms)-1})
	}
	return out
}

// hit is a piece of a text that a phrase stands for.
type hit struct{ start, end, phrase int }

// find returns where the phrases stand in the text, in its order, without
// overlap.
func find(terms []Term, query []Phrase) []hit {
	var hits []hit
	for p, phrase := range query {
		for i := 0; i+len(phrase.Terms) <= len(terms); i++ {
			if at(terms[i:], phrase) {
				hits = append(hits, hit{terms[i].Start, terms[i+len(phrase.Terms)-1].End, p})
			}
		}
	}
	sort.Slice(hits, func(i, j int) bool {
		if hits[i].start != hits[j].start {
			return hits[i].start < hits[j].start
		}
		return hits[i].end > hits[j].end
	})
	kept := hits[:0]
	for _, h := range hits {
		if n := len(kept); n > 0 && h.start < kept[n-1].end {
			kept[n-1].end = max(kept[n-1].end, h.end)
			continue
		}
		kept = append(kept, h)
	}
	return kept
}

func at(terms []Term, p Phrase) bool {
	for i, want := range p.Terms {
		got := terms[i].Text
		if got != want && !(p.Prefix && i == len(p.Terms)-1 && strings.HasPrefix(got, want)) {
			return false
		}
	}
	return true
}

// Holds reports whether a text holds all words of a query: what Search
// promises, told without an index.
func Holds(text string, query []Phrase) bool {
	terms := Terms(text)
	for _, p := range query {
		found := false
		for i := 0; i+len(p.Terms) <= len(terms) && !found; i++ {
			found = at(terms[i:], p)
		}
		if !found {
			return false
		}
	}
	return len(query) > 0
}

// Snippet returns the piece of a text that shows most of the query's words, on
// one line, with every hit between HitStart and HitEnd.
func Snippet(text string, query []Phrase) string {
	text = strings.NewReplacer(HitStart, " ", HitEnd, " ").Replace(strings.ToValidUTF8(text, "\uFFFD"))
	hits := find(Terms(text), query)
	from, to := window(text, hits)
	var b strings.Builder
	if from > 0 {
		b.WriteString("…")
	}
	pos := from
	for _, h := range hits {
		if h.start < from || h.end > to {
			continue
		}
		b.WriteString(text[pos:h.start])
		b.WriteString(HitStart + text[h.start:h.end] + HitEnd)
		pos = h.end
	}
	b.WriteString(text[pos:to])
	if to < len(text) {
		b.WriteString("…")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, b.String())
}

// window chooses which bytes of text to show: those around the hits that cover
// the most phrases within snippetLen code points.
func window(text string, hits []hit) (from, to int) {
	if len(hits) == 0 {
		return 0, forward(text, 0, snippetLen)
	}
	best, bestPhrases := 0, 0
	for i := range hits {
		limit := forward(text, hits[i].start, snippetLen*3/4)
		var seen []int
		for _, h := range hits[i:] {
			if h.end > limit {
				break
			}
			if !slices.Contains(seen, h.phrase) {
				seen = append(seen, h.phrase)
			}
		}
		if len(seen) > bestPhrases {
			best, bestPhrases = i, len(seen)
		}
	}
	from = hits[best].start
	for n := 0; n < snippetLen/4 && from > 0; n++ {
		_, size := utf8.DecodeLastRuneInString(text[:from])
		from -= size
	}
	return from, max(forward(text, from, snippetLen), hits[best].end)
}

// forward returns the byte that is n code points after from.
func forward(text string, from, n int) int {
	for ; n > 0 && from < len(text); n-- {
		_, size := utf8.DecodeRuneInString(text[from:])
		from += size
	}
	return from
}
