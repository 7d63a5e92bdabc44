// Package sample picks an answer's next token from the model's scores. What
// may live here: the sampling parameters' meaning, and nothing of the library.
//
// Every draw is a function of seed and draw number alone, so that a cut answer
// goes on with the very draw that it would have had, without replaying the
// others. The scores are read where they lie: nothing of the vocabulary's size
// is copied unless a grammar refuses the first choice.
package sample

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// The engine's own defaults, where a request says nothing.
const (
	DefaultTemperature = 0.8
	DefaultTopK        = 40
	DefaultTopP        = 0.95
	DefaultMinP        = 0.05
)

// RepeatWindow is how many of the answer's last tokens the repeat penalty
// looks at; presence and frequency look at the whole answer.
const RepeatWindow = 64

// Candidate is a token with its score.
type Candidate struct {
	ID    int32
	Logit float32
	P     float32 // not used here; keeps the library's layout
}

// Grammar restricts the choice.
type Grammar interface {
	// Allows says whether the token may come next.
	Allows(token int32) bool
	// Filter sets refused candidates to minus infinity.
	Filter([]Candidate)
}

// Sampler holds one answer's parameters and penalties. It belongs to one
// goroutine.
type Sampler struct {
	temp, topP, minP            float64
	topK                        int
	repeat, presence, frequency float64
	seed                        uint64
	counts                      map[int32]int // tokens of the answer
	recent                      []int32       // the last RepeatWindow of them, as a ring
	n                           int           // tokens accepted
	top                         []Candidate   // reused
	all                         []Candidate   // reused
}

// New checks the parameters. seed is used where they have none.
func New(p lm.Params, seed uint64) (*Sampler, error) {
	s := &Sampler{
		temp: DefaultTemperature, topP: DefaultTopP, topK: DefaultTopK, minP: DefaultMinP,
		repeat: 1, seed: seed, counts: map[int32]int{},
	}
	check := func(dst *float64, name string, v *float64, lo, hi float64) error {
		if v == nil {
			return nil
		}
		if math.IsNaN(*v) || *v < lo || *v > hi {
			return fault.New(fault.Invalid, "%s is %v; it must be between %v and %v", name, *v, lo, hi)
		}
		*dst = *v
		return nil
	}
	err := errors.Join(
		check(&s.temp, "temperature", p.Temperature, 0, 100),
		check(&s.topP, "top_p", p.TopP, 0, 1),
		check(&s.minP, "min_p", p.MinP, 0, 1),
		check(&s.repeat, "repeat_penalty", p.RepeatPenalty, 0.01, 100),
		check(&s.presence, "presence_penalty", p.PresencePenalty, -100, 100),
		check(&s.frequency, "frequency_penalty", p.FrequencyPenalty, -100, 100),
	)
	if err != nil {
		return nil, err
	}
	if p.TopK != nil {
		if *p.TopK < 0 {
			return nil, fault.New(fault.Invalid, "top_k is %d; it must be 0 (off) or more", *p.TopK)
		}
		s.topK = *p.TopK
	}
	if p.Seed != nil {
		s.seed = uint64(*p.Seed)
	}
	return s, nil
}

// Accept takes a token into the answer.
func (s *Sampler) Accept(token int32) {
	if s.repeat == 1 && s.presence == 0 && s.frequency == 0 {
		return
	}
	s.counts[token]++
	if len(s.recent) < RepeatWindow {
		s.recent = append(s.recent, token)
	} else {
		s.recent[s.n%RepeatWindow] = token
	}
	s.n++
}

// Pick chooses the next token. draw is the number of the draw in the answer:
// the same draw of the same seed on the same scores is the same token. The
// scores are changed by penalties. grammar may be nil. It fails if the grammar
// leaves nothing to choose.
func (s *Sampler) Pick(logits []float32, draw int, grammar Grammar) (int32, error) {
	s.penalize(logits)
	token := s.choose(logits, uint64(2*draw))
	if grammar == nil || grammar.Allows(token) {
		return token, nil
	}
	// Refused: choose again, by a draw of its own, among what is allowed.
	s.all = s.all[:0]
	for id, l := range logits {
		s.all = append(s.all, Candidate{ID: int32(id), Logit: l})
	}
	grammar.Filter(s.all)
	some := false
	for i, c := range s.all {
		logits[i] = c.Logit
		some = some || !math.IsInf(float64(c.Logit), -1)
	}
	if !some {
		return 0, errors.New("the grammar allows no token here")
	}
	return s.choose(logits, uint64(2*draw+1)), nil
}

// penalize lowers the scores of what was said already.
func (s *Sampler) penalize(logits []float32) {
	if s.n == 0 {
		return
	}
	for t, n := range s.counts {
		logits[t] -= float32(s.presence + float64(n)*s.frequency)
	}
	if s.repeat == 1 {
		return
	}
	done := make(map[int32]bool, len(s.recent))
	for _, t := range s.recent {
		if done[t] {
			continue
		}
		done[t] = true
		if logits[t] > 0 {
			logits[t] /= float32(s.repeat)
		} else {
			logits[t] *= float32(s.repeat)
		}
	}
}

func (s *Sampler) choose(logits []float32, draw uint64) int32 {
	if s.temp == 0 || s.topK == 1 {
		return argmax(logits)
	}
	top := s.best(logits)
	top = cutTopP(top, s.topP)
	if s.minP > 0 {
		least := top[0].Logit + float32(math.Log(s.minP))
		n := 1
		for n < len(top) && top[n].Logit >= least {
			n++
		}
		top = top[:n]
	}
	sum := 0.0
	for _, c := range top {
		sum += math.Exp(float64(c.Logit-top[0].Logit) / s.temp)
	}
	at := uniform(s.seed, draw) * sum
	for _, c := range top {
		at -= math.Exp(float64(c.Logit-top[0].Logit) / s.temp)
		if at < 0 {
			return c.ID
		}
	}
	return top[len(top)-1].ID
}

// best returns the topK best candidates, best first. Without topK it leaves
// out those that no draw can reach in practice (all of them together under
// one in 10^4).
func (s *Sampler) best(logits []float32) []Candidate {
	top := s.top[:0]
	if s.topK > 0 && s.topK < len(logits) {
		// A heap with the worst of the best at the root.
		for id, l := range logits {
			if len(top) < s.topK {
				top = append(top, Candidate{ID: int32(id), Logit: l})
				if len(top) == s.topK {
					for i := len(top)/2 - 1; i >= 0; i-- {
						sink(top, i)
					}
				}
			} else if l > top[0].Logit {
				top[0] = Candidate{ID: int32(id), Logit: l}
				sink(top, 0)
			}
		}
	} else {
		least := logits[argmax(logits)] - float32(20*max(1, s.temp))
		for id, l := range logits {
			if l >= least {
				top = append(top, Candidate{ID: int32(id), Logit: l})
			}
		}
	}
	slices.SortFunc(top, func(a, b Candidate) int {
		if c := cmp.Compare(b.Logit, a.Logit); c != 0 {
			return c
		}
		return cmp.Compare(a.ID, b.ID)
	})
	s.top = top
	return top
}

func sink(h []Candidate, i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].Logit < h[child].Logit {
			child++
		}
		if h[i].Logit <= h[child].Logit {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// cutTopP keeps the best candidates that together hold p of the probability.
func cutTopP(top []Candidate, p float64) []Candidate {
	if p >= 1 {
		return top
	}
	sum := 0.0
	for _, c := range top {
		sum += math.Exp(float64(c.Logit - top[0].Logit))
	}
	left := p * sum
	for i, c := range top {
		left -= math.Exp(float64(c.Logit - top[0].Logit))
		if left <= 0 {
			return top[:i+1]
		}
	}
	return top
}

func argmax(logits []float32) int32 {
	best, at := logits[0], 0
	for i, l := range logits {
		if l > best {
			best, at = l, i
		}
	}
	return int32(at)
}

// uniform is the draw'th random number in [0,1) of seed.
func uniform(seed, draw uint64) float64 {
	var p rand.PCG
	p.Seed(seed, draw)
	p.Uint64()
	return float64(p.Uint64()>>11) / (1 << 53)
}
