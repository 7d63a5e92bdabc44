package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Kinds of Source.
const (
	FromDefault = "default"
	FromFile    = "file"
	FromEnv     = "env"
	FromFlag    = "flag"
)

// Source is where a value came from.
type Source struct {
	Kind         string // FromDefault, ...
	Name         string // file, variable or flag
	Line, Column int    // of a file, from 1
}

func (s Source) String() string {
	switch {
	case s.Kind == FromFile && s.Line > 0:
		return fmt.Sprintf("%s:%d:%d", s.Name, s.Line, s.Column)
	case s.Kind == FromDefault || s.Kind == "":
		return "default"
	}
	return s.Name
}

// Problem is one thing that is wrong with the settings.
type Problem struct {
	Place Source
	Key   string // "limits.queue", "bots[1].top_p"; "" if it is about the whole file
	Text  string
	Hint  string // what to write instead, or ""
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Place.String() + ": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// MarshalJSON writes the problem for scripts.
func (p Problem) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Place string `json:"place"`
		Line  int    `json:"line,omitempty"`
		Col   int    `json:"column,omitempty"`
		Key   string `json:"key,omitempty"`
		Text  string `json:"text"`
		Hint  string `json:"hint,omitempty"`
	}{p.Place.String(), p.Place.Line, p.Place.Column, p.Key, p.Text, p.Hint})
}

// Problems is everything that is wrong, at least one.
type Problems []Problem

func (ps Problems) Error() string {
	if len(ps) == 1 {
		return "the configuration has a problem:\n  " + ps[0].String()
	}
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = "  " + p.String()
	}
	return fmt.Sprintf("the configuration has %d problems:\n%s", len(ps), strings.Join(lines, "\n"))
}

// sorted puts a file's problems in the order of its lines, then the rest.
func (ps Problems) sorted() Problems {
	rank := map[string]int{FromFile: 0, FromEnv: 1, FromFlag: 2, FromDefault: 3}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(rank[a.Place.Kind]-rank[b.Place.Kind], a.Place.Line-b.Place.Line, a.Place.Column-b.Place.Column)
	})
	return ps
}

// Nearest returns the candidate that word is a misspelling of, or "".
func Nearest(word string, candidates []string) string {
	best, dist := "", len(word)/3+1
	candidates = slices.Sorted(slices.Values(candidates)) // so that a tie does not depend on their order
	for _, c := range candidates {
		if c == "" {
			continue
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c), dist); d <= dist && (best == "" || d < dist) {
			best, dist = c, d
		}
		if strings.EqualFold(word, c) || strings.ReplaceAll(strings.ToLower(word), "-", "_") == c {
			return c
		}
	}
	return best
}

// distance counts the insertions, deletions, changes and swaps of neighbours
// between two words; past limit it may return any larger number.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 100 {
		return limit + 1
	}
	prev2, prev, cur := []int(nil), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, make([]int, len(b)+1)
	}
	return prev[len(b)]
}
