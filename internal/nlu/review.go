package nlu

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// Advice is something about the examples that would make a better model.
type Advice struct {
	Kind    AdviceKind `json:"kind"`
	Text    string     `json:"text"`
	Indexes []int      `json:"examples,omitempty"` // some of the examples it is about
}

// AdviceKind sorts advice.
type AdviceKind string

// The kinds of advice.
const (
	Overlapping AdviceKind = "overlap" // intents that say the same
	Thin        AdviceKind = "thin"    // intents with hardly any examples
	Leaking     AdviceKind = "leak"    // test lines that are learned as well
	Uneven      AdviceKind = "uneven"  // one intent drowns the others
	Nothing     AdviceKind = "none"    // no examples of what belongs to nothing
)

const (
	thinIntent  = 5  // fewer examples than that
	unevenTimes = 20 // times as many examples as the middle intent
	mostAdvice  = 20 // of each kind
	mostIndexes = 5
)

// Review looks at examples and at the report of a model that learned some of
// them and was tried on others.
func Review(all []corpus.Example, r Report) []Advice {
	var out []Advice
	size := map[string]int{}
	for _, e := range all {
		if e.Split != corpus.Test {
			size[e.Intent]++
		}
	}
	out = append(out, overlaps(r)...)
	out = append(out, thin(size)...)
	out = append(out, leaks(all)...)
	if size[corpus.None] == 0 {
		out = append(out, Advice{Kind: Nothing, Text: fmt.Sprintf("there are no examples of %s: some of what people say that is none of the model's business makes it surer to leave such things alone", corpus.None)})
	}
	return out
}

// overlaps names pairs of intents that were taken for each other both ways, or
// very often one way.
func overlaps(r Report) []Advice {
	type pair struct{ a, b string }
	both := map[pair]int{}
	var order []pair
	for _, c := range r.Confused {
		if c.Want == corpus.None || c.Got == corpus.None {
			continue
		}
		p := pair{min(c.Want, c.Got), max(c.Want, c.Got)}
		if both[p] == 0 {
			order = append(order, p)
		}
		both[p] += c.Lines
	}
	slices.SortStableFunc(order, func(x, y pair) int { return cmp.Compare(both[y], both[x]) })
	var out []Advice
	for _, p := range order[:min(len(order), mostAdvice)] {
		if both[p] < 3 {
			break
		}
		out = append(out, Advice{Kind: Overlapping, Text: fmt.Sprintf(
			"%s and %s were taken for each other %d times: are they one intent, or do examples of one stand with the other?", p.a, p.b, both[p])})
	}
	return out
}

func thin(size map[string]int) []Advice {
	names := names(size)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(size[a], size[b]) })
	sizes := make([]int, 0, len(names))
	for _, n := range names {
		sizes = append(sizes, size[n])
	}
	var out []Advice
	for _, n := range names[:min(len(names), mostAdvice)] {
		if size[n] < thinIntent && n != corpus.None {
			out = append(out, Advice{Kind: Thin, Text: fmt.Sprintf("%s has %d examples: ten or more, said in different ways, teach it", n, size[n])})
		}
	}
	if len(sizes) > 2 {
		middle := sizes[len(sizes)/2]
		if most := sizes[len(sizes)-1]; most > unevenTimes*middle && middle > 0 {
			out = append(out, Advice{Kind: Uneven, Text: fmt.Sprintf("%s has %d examples, the middle intent %d: it may swallow the others", names[len(names)-1], most, middle)})
		}
	}
	return out
}

// leaks finds test lines that are, but for case, marks and order of words,
// among those that are learned: what they show is memory.
func leaks(all []corpus.Example) []Advice {
	s := new(scratch)
	key := func(text string) string {
		s.split(text, mostTokens)
		var words []string
		for i := range s.tokens {
			if s.tokens[i].kind != kindMark {
				words = append(words, string(s.word(i)))
			}
		}
		slices.Sort(words)
		return strings.Join(words, " ")
	}
	learned := map[string]int{}
	for i, e := range all {
		if e.Split != corpus.Test {
			learned[key(e.Text)] = i
		}
	}
	var at []int
	n := 0
	for i, e := range all {
		if e.Split != corpus.Test {
			continue
		}
		if from, ok := learned[key(e.Text)]; ok {
			if n++; len(at)+2 <= mostIndexes*2 {
				at = append(at, i, from)
			}
		}
	}
	if n == 0 {
		return nil
	}
	return []Advice{{Kind: Leaking, Indexes: at, Text: fmt.Sprintf("%d test lines are learned as well, word for word: they show memory, not understanding", n)}}
}

// CurvePoint is how well a model does that has learned a part of the examples.
type CurvePoint struct {
	Examples int     `json:"examples"`
	Accuracy float64 `json:"accuracy"`
	Overlap  float64 `json:"entityF1"` // by the overlap rule
}

// Curve has models learn growing shares of the examples and be tried: where it
// still rises, more examples help. try learns some and says how it did. The same
// seed makes the same shares.
func Curve(learn []corpus.Example, seed uint64, points int, try func([]corpus.Example) (Report, error)) ([]CurvePoint, error) {
	order := (&trainer{opt: Options{Seed: seed}}).rand(4).Perm(len(learn))
	var out []CurvePoint
	for i := range points {
		share := math.Pow(2, float64(i+1-points)) // each time twice as many
		// At least two of each intent, so that all points know the same ones.
		n := int(math.Round(share * float64(len(learn))))
		have, part := map[string]int{}, []corpus.Example(nil)
		for k, at := range order {
			if e := learn[at]; k < n || have[e.Intent] < 2 {
				have[e.Intent]++
				part = append(part, e)
			}
		}
		if len(out) > 0 && out[len(out)-1].Examples == len(part) {
			continue
		}
		r, err := try(part)
		if err != nil {
			return nil, err
		}
		out = append(out, CurvePoint{len(part), r.Accuracy, r.Overlap.F1()})
	}
	return out, nil
}
