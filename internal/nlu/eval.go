package nlu

import (
	"cmp"
	"maps"
	"slices"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// Report is how well a model does on examples it has not seen.
type Report struct {
	Lines int
	// Accuracy is the share of all lines whose intent is right, None among
	// them.
	Accuracy float64
	// Intents counts all intents but None: a line of None that gets an
	// intent is too much, a line with an intent that gets None is missing.
	Intents F1
	// InScope is the share of right lines among those with an intent,
	// NoneFound the share of those of None that were called so.
	InScope, NoneFound float64
	NoneLines          int
	// Exact counts entities with the right type, start and end, Overlap
	// those with the right type that share a code point with a marked one.
	Exact, Overlap F1
	// Macro is the mean over intents of the mean over their types of
	// entity of Exact's F1.
	Macro    float64
	Mistakes []Mistake // of intents, the surest first
	Confused []Confused
}

// F1 counts what was found.
type F1 struct{ Right, TooMuch, Missing int }

// Precision is the share of the found that is right.
func (f F1) Precision() float64 { return share(f.Right, f.Right+f.TooMuch) }

// Recall is the share of the right that was found.
func (f F1) Recall() float64 { return share(f.Right, f.Right+f.Missing) }

// F1 is the harmonic mean of both.
func (f F1) F1() float64 { return share(2*f.Right, 2*f.Right+f.TooMuch+f.Missing) }

func share(part, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// Mistake is a line whose intent was not understood.
type Mistake struct {
	Index int // into the examples
	Got   Ranked
}

// Confused is a pair of intents that were taken for each other.
type Confused struct {
	Want, Got string
	Lines     int
}

// Evaluate lets the model understand the examples' texts and compares. It
// doesn't look at their split.
func (m *Model) Evaluate(examples []corpus.Example) Report { return Evaluate(examples, m.PredictInto) }

// Evaluate compares what understand makes of the examples' texts with what
// they say. An entity with the score 0 was not learned but found by a definition:
// where an example marks nothing, that is no mistake.
func Evaluate(examples []corpus.Example, understand func(text string, u *Understanding)) Report {
	var (
		r       = Report{Lines: len(examples)}
		u       Understanding
		right   int
		inScope int
		none    int
		pairs   = map[Confused]int{}
		slots   = map[string]map[string]*F1{} // by intent and type
	)
	for i := range examples {
		e := &examples[i]
		understand(e.Text, &u)
		foreign := e.Intent == corpus.None
		if foreign {
			r.NoneLines++
		}
		switch {
		case u.Intent != e.Intent:
			r.Mistakes = append(r.Mistakes, Mistake{i, Ranked{u.Intent, u.Score}})
			pairs[Confused{Want: e.Intent, Got: u.Intent}]++
			if u.Intent != corpus.None {
				r.Intents.TooMuch++
			}
			if !foreign {
				r.Intents.Missing++
			}
		case foreign:
			right++
			none++
		default:
			right++
			inScope++
			r.Intents.Right++
		}
		r.entities(e, u.Entities, slots)
	}
	r.Accuracy = share(right, r.Lines)
	r.InScope = share(inScope, r.Lines-r.NoneLines)
	r.NoneFound = share(none, r.NoneLines)
	r.Macro = macro(slots)
	slices.SortStableFunc(r.Mistakes, func(a, b Mistake) int { return cmp.Compare(b.Got.Score, a.Got.Score) })
	for p, n := range pairs {
		p.Lines = n
		r.Confused = append(r.Confused, p)
	}
	slices.SortFunc(r.Confused, func(a, b Confused) int {
		if a.Lines != b.Lines {
			return b.Lines - a.Lines
		}
		if a.Want != b.Want {
			return cmp.Compare(a.Want, b.Want)
		}
		return cmp.Compare(a.Got, b.Got)
	})
	return r
}

// entities counts one line's.
func (r *Report) entities(e *corpus.Example, got []Entity, slots map[string]map[string]*F1) {
	exact, overlap := make([]bool, len(got)), make([]bool, len(got))
	slot := func(typ string) *F1 {
		if slots[e.Intent] == nil {
			slots[e.Intent] = map[string]*F1{}
		}
		if slots[e.Intent][typ] == nil {
			slots[e.Intent][typ] = new(F1)
		}
		return slots[e.Intent][typ]
	}
	for _, want := range e.Entities {
		same := func(used []bool, fits func(Entity) bool) bool {
			for i, g := range got {
				if !used[i] && g.Type == want.Type && fits(g) {
					used[i] = true
					return true
				}
			}
			return false
		}
		if same(exact, func(g Entity) bool { return g.Start == want.Start && g.End == want.End }) {
			r.Exact.Right++
			slot(want.Type).Right++
		} else {
			r.Exact.Missing++
			slot(want.Type).Missing++
		}
		if same(overlap, func(g Entity) bool { return g.Start < want.End && want.Start < g.End }) {
			r.Overlap.Right++
		} else {
			r.Overlap.Missing++
		}
	}
	for i, g := range got {
		if g.Score == 0 && !slices.ContainsFunc(e.Entities, func(want corpus.Entity) bool { return g.Start < want.End && want.Start < g.End }) {
			continue
		}
		if !exact[i] {
			r.Exact.TooMuch++
			slot(g.Type).TooMuch++
		}
		if !overlap[i] {
			r.Overlap.TooMuch++
		}
	}
}

// macro leaves out types that no line of the intent has: what is found of
// them already costs precision elsewhere.
func macro(slots map[string]map[string]*F1) float64 {
	sum, intents := 0.0, 0
	for _, intent := range slices.Sorted(maps.Keys(slots)) {
		types := slots[intent]
		mean, n := 0.0, 0
		for _, typ := range slices.Sorted(maps.Keys(types)) {
			f := types[typ]
			if f.Right+f.Missing > 0 {
				mean += f.F1()
				n++
			}
		}
		if n > 0 {
			sum += mean / float64(n)
			intents++
		}
	}
	if intents == 0 {
		return 0
	}
	return sum / float64(intents)
}
