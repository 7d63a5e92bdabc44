// Package luis has the requests and answers of two services that are gone, so
// that their clients only change their host: LUIS' prediction API, v3 and v2, and
// the :analyze-conversations of its successor CLU. What may live here: those
// shapes, and how an understanding is told in them. Who may ask, and who
// answers, is decided elsewhere.
package luis

import (
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/finder"
)

// MostQuery bounds a query, in characters, as LUIS did.
const MostQuery = 500

// Understanding is what was understood of a text, in words of neither API.
type Understanding struct {
	Text     string
	Intents  []Intent // the best first; never empty
	Entities []Entity
}

// Intent is a possible intent. Scores need not add up to 1.
type Intent struct {
	Name  string
	Score float64
}

// Entity is a part of the text that means something.
type Entity = finder.Entity

// unit is what positions in an answer count.
type unit int

const (
	utf16Units unit = iota
	codePoints
	graphemes
)

// ruler converts code points of a text into another unit, and back.
type ruler struct {
	at []int // for each code point and the end: its place in the unit
}

func newRuler(text string, u unit) ruler {
	r := ruler{at: make([]int, 0, len(text)+1)}
	sum, regional := 0, 0
	previous := rune(-1)
	for _, c := range text {
		if u == graphemes {
			if isRegional(c) {
				regional++
			} else {
				regional = 0
			}
			if previous >= 0 && joins(previous, c, regional) {
				sum--
			}
			previous = c
		}
		r.at = append(r.at, sum)
		if u == utf16Units {
			sum += utf16.RuneLen(c)
		} else {
			sum++
		}
	}
	r.at = append(r.at, sum)
	return r
}

func (r ruler) span(start, end int) (at, length int) {
	n := len(r.at) - 1
	start, end = min(max(start, 0), n), min(max(end, 0), n)
	return r.at[start], r.at[max(start, end)] - r.at[start]
}

// back returns false for a place off the text or within a character.
func (r ruler) back(at int) (int, bool) { return slices.BinarySearch(r.at, at) }

// part returns the text between two code points.
func part(text string, start, end int) string {
	from, to, n := len(text), len(text), 0
	for i := range text {
		if n == start {
			from = i
		}
		if n == end {
			to = i
			break
		}
		n++
	}
	return text[from:max(from, to)]
}

func length(text string) int { return utf8.RuneCountInString(text) }
