package learn

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/model"
)

// Comparison is how two models differ on the same texts.
type Comparison struct {
	Texts        int          `json:"texts"`
	SameIntent   int          `json:"sameIntent"`
	SameEntities int          `json:"sameEntities"`
	NoneA        int          `json:"noneA"` // called None by the first
	NoneB        int          `json:"noneB"`
	Labelled     int          `json:"labelled"` // texts that say what they are
	RightA       int          `json:"rightA"`   // of those
	RightB       int          `json:"rightB"`
	Mended       int          `json:"mended"` // wrong by the first, right by the second
	Broken       int          `json:"broken"` // the other way round
	Pairs        []Pair       `json:"pairs"`  // intents that changed, the most frequent first
	Differences  []Difference `json:"differences"`
}

// Pair is how often the first model said A where the second says B.
type Pair struct {
	A     string `json:"a"`
	B     string `json:"b"`
	Texts int    `json:"texts"`
}

// Difference is a text that the two understand otherwise.
type Difference struct {
	Text string            `json:"text"`
	Want string            `json:"want,omitempty"` // its label, if there is one
	A    nlu.Understanding `json:"a"`
	B    nlu.Understanding `json:"b"`
}

// broken says whether the second model lost what the first had.
func (d Difference) broken() bool {
	return d.Want != "" && d.A.Intent == d.Want && d.B.Intent != d.Want
}

// weight is how much a difference matters: by how sure both are of it.
func (d Difference) weight() float64 {
	if d.A.Intent == d.B.Intent {
		return math.Abs(d.A.Score-d.B.Score) / 10 // only entities differ
	}
	return min(d.A.Score, d.B.Score)
}

// Compare lets two models understand the same texts; an example's intent, if
// it has one, is what is right. The differences come in the order in which they
// should be looked at: what the second broke, then what both are surest of.
func Compare(a, b *model.Model, examples []corpus.Example, reference time.Time) Comparison {
	c := Comparison{Pairs: []Pair{}, Differences: []Difference{}}
	pairs := map[Pair]int{}
	for _, e := range examples {
		x, y := a.Understand(e.Text, reference).Flat(), b.Understand(e.Text, reference).Flat()
		c.Texts++
		c.NoneA += count(x.Intent == corpus.None)
		c.NoneB += count(y.Intent == corpus.None)
		if e.Intent != "" {
			c.Labelled++
			c.RightA += count(x.Intent == e.Intent)
			c.RightB += count(y.Intent == e.Intent)
			c.Mended += count(x.Intent != e.Intent && y.Intent == e.Intent)
			c.Broken += count(x.Intent == e.Intent && y.Intent != e.Intent)
		}
		sameIntent := x.Intent == y.Intent
		sameEntities := slices.EqualFunc(x.Entities, y.Entities, func(p, q nlu.Entity) bool {
			return p.Start == q.Start && p.End == q.End && p.Type == q.Type
		})
		c.SameIntent += count(sameIntent)
		c.SameEntities += count(sameEntities)
		if !sameIntent {
			pairs[Pair{A: x.Intent, B: y.Intent}]++
		}
		if !sameIntent || !sameEntities {
			x.Intents, y.Intents = nil, nil
			c.Differences = append(c.Differences, Difference{e.Text, e.Intent, x, y})
		}
	}
	for p, n := range pairs {
		p.Texts = n
		c.Pairs = append(c.Pairs, p)
	}
	slices.SortFunc(c.Pairs, func(p, q Pair) int {
		return cmp.Or(q.Texts-p.Texts, strings.Compare(p.A, q.A), strings.Compare(p.B, q.B))
	})
	slices.SortStableFunc(c.Differences, func(p, q Difference) int {
		return cmp.Or(count(q.broken())-count(p.broken()), cmp.Compare(q.weight(), p.weight()))
	})
	return c
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
