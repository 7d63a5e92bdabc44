// Package nlu understands what people write: which of the intents it was
// taught a text belongs to, how sure that is, whether it belongs to none, and
// where in the text the entities are. What may live here: learning that from
// examples, doing it, keeping the result in a file, and measuring it. It is
// plain Go in the caller's process; it opens nothing and asks nobody.
package nlu

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/lanes"
)

// Model is what was learned. It is never changed and safe for use by many.
type Model struct {
	intents []string // sorted
	none    int      // the number of corpus.None among them, -1 without
	space   space
	linear  linear
	belief  belief
	tags    tagger
}

// Understanding is what a model makes of a text.
type Understanding struct {
	Intent   string   `json:"intent"`   // the best, or corpus.None
	Score    float64  `json:"score"`    // of Intent: how often it is right when it looks like this, 0..1
	Intents  []Ranked `json:"intents"`  // all, corpus.None among them, Intent first, then by score
	Entities []Entity `json:"entities"` // by place, apart from each other
}

// Ranked is an intent with its score.
type Ranked struct {
	Intent string  `json:"intent"`
	Score  float64 `json:"score"`
}

// Entity is a part of the text that was understood.
type Entity struct {
	Start int     `json:"start"` // Unicode code points
	End   int     `json:"end"`   // Unicode code points, exclusive
	Type  string  `json:"type"`
	Score float64 `json:"score"` // 0..1
}

// linear holds the intents' weights. Those of a feature are signed bytes with
// a common scale.
type linear struct {
	rows  []int8    // features × intents
	scale []float32 // by feature
	dense []float32 // dimensions × intents
	bias  []float32 // by intent
}

// keep takes over the weights.
func (m *Model) keep(r *regression) {
	p, c := r.p, r.c
	l := linear{rows: make([]int8, p.feats*c), scale: make([]float32, p.feats)}
	for f := range p.feats {
		row := r.row(f)[:c]
		var top float32
		for _, v := range row {
			top = max(top, v, -v)
		}
		if top == 0 {
			continue
		}
		l.scale[f] = top / 127
		for i, v := range row {
			l.rows[f*c+i] = int8(math.Round(float64(v / l.scale[f])))
		}
	}
	for d := range p.dim {
		l.dense = append(l.dense, r.row(p.feats + d)[:c]...)
	}
	l.bias = slices.Clone(r.row(p.feats + p.dim)[:c])
	m.linear = l
}

// score sets s.scores to the intents' scores for the point in s.
func (l *linear) score(s *scratch) {
	c := len(l.bias)
	s.scores = append(s.scores[:0], l.bias...)
	for k, f := range s.idx {
		by, row := s.val[k]*l.scale[f], l.rows[int(f)*c:][:c]
		out := s.scores[:c]
		for i, w := range row {
			out[i] += by * float32(w)
		}
	}
	for d, by := range s.dense {
		lanes.Add(s.scores, l.dense[d*c:(d+1)*c], by)
	}
}

// scratch is the memory of one understanding.
type scratch struct {
	tokens    []token
	norm      []byte
	text      []byte // all tokens, for the sentence encoder
	runes     []rune
	wordFeats []uint32
	charFeats []uint32
	count     []uint16 // by feature; all 0 between uses
	idx       []int32
	val       []float32
	heard     bool // some of the letters are known
	dense     []float32
	scores    []float32
	typo      []byte
	best      []byte
	tag       tagScratch
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Intents returns the names of the intents that the model knows.
func (m *Model) Intents() []string { return slices.Clone(m.intents) }

// Types returns the kinds of entity that the model knows.
func (m *Model) Types() []string { return slices.Clone(m.tags.types) }

// Head is as much of a text as is understood: its first 64 KiB, and of those
// the first 512 words and signs.
func Head(text string) string {
	if len(text) <= mostTokens {
		return text
	}
	text = head(text)
	s, _ := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.split(text, mostTokens)
	if len(s.tokens) < mostTokens {
		return text
	}
	n, end := 0, int(s.tokens[mostTokens-1].end)
	for at := range text {
		if n == end {
			return text[:at]
		}
		n++
	}
	return text
}

func head(text string) string {
	if len(text) <= mostText {
		return text
	}
	cut := mostText
	for cut > mostText-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut]
}

// Predict understands a text. Of one longer than 64 KiB or 512 words it
// understands the beginning.
func (m *Model) Predict(text string) Understanding {
	var u Understanding
	m.PredictInto(text, &u)
	return u
}

// PredictInto is Predict into memory that is there already: the slices of u
// are used again.
func (m *Model) PredictInto(text string, u *Understanding) {
	text = head(text)
	s, _ := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.split(text, mostTokens)
	m.space.correct(s)
	m.space.project(s)
	m.linear.score(s)
	m.rank(s, u)
	m.findEntities(s, u)
}

// rank turns the scores in s into u's intents.
func (m *Model) rank(s *scratch, u *Understanding) {
	b := &m.belief
	foreign := b.foreign(s.scores, m.none)
	if !s.heard {
		foreign = 1 // nothing of it was ever seen, but perhaps a comma
	}
	top, sum := math.Inf(-1), 0.0
	for i, v := range s.scores {
		if i != m.none {
			top = max(top, float64(v))
		}
	}
	for i, v := range s.scores {
		if i != m.none {
			sum += math.Exp((float64(v) - top) * b.sharp)
		}
	}
	u.Intents = u.Intents[:0]
	for i, v := range s.scores {
		if i != m.none {
			p := math.Exp((float64(v)-top)*b.sharp) / sum
			u.Intents = append(u.Intents, Ranked{m.intents[i], p * (1 - foreign)})
		}
	}
	u.Intents = append(u.Intents, Ranked{corpus.None, foreign})
	// The winner comes first even where the rest of the sum is shared out so
	// that None's part is the largest.
	winner := math.Inf(1)
	slices.SortFunc(u.Intents, func(x, y Ranked) int {
		a, b := x.Score, y.Score
		if x.Intent == corpus.None && foreign > 0.5 {
			a = winner
		}
		if y.Intent == corpus.None && foreign > 0.5 {
			b = winner
		}
		if c := cmp.Compare(b, a); c != 0 {
			return c
		}
		return cmp.Compare(x.Intent, y.Intent)
	})
	if u.Intents[0].Intent == corpus.None && foreign <= 0.5 {
		none := u.Intents[0]
		u.Intents[0], u.Intents[1] = u.Intents[1], none
	}
	u.Intent, u.Score = u.Intents[0].Intent, u.Intents[0].Score
}
