package sample

import (
	"math"
	"slices"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

func ptr[T any](v T) *T { return &v }

func sampler(t *testing.T, p lm.Params) *Sampler {
	t.Helper()
	s, err := New(p, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shares draws n times and returns how often each token came.
func shares(t *testing.T, p lm.Params, logits []float32, n int) []float64 {
	t.Helper()
	s, out := sampler(t, p), make([]float64, len(logits))
	for i := range n {
		tok, err := s.Pick(slices.Clone(logits), i, nil)
		if err != nil {
			t.Fatal(err)
		}
		out[tok] += 1 / float64(n)
	}
	return out
}

func TestShares(t *testing.T) {
	logits := []float32{float32(math.Log(0.1)), float32(math.Log(0.6)), float32(math.Log(0.25)), float32(math.Log(0.05))}
	off := lm.Params{Temperature: ptr(1.0), TopK: ptr(0), TopP: ptr(1.0), MinP: ptr(0.0)}
	with := func(change func(*lm.Params)) lm.Params { p := off; change(&p); return p }
	for name, tt := range map[string]struct {
		p    lm.Params
		want []float64
	}{
		"as the model says": {off, []float64{0.1, 0.6, 0.25, 0.05}},
		"greedy":            {with(func(p *lm.Params) { p.Temperature = ptr(0.0) }), []float64{0, 1, 0, 0}},
		"top_k 1":           {with(func(p *lm.Params) { p.TopK = ptr(1) }), []float64{0, 1, 0, 0}},
		"top_k 2":           {with(func(p *lm.Params) { p.TopK = ptr(2) }), []float64{0, 0.6 / 0.85, 0.25 / 0.85, 0}},
		"top_p":             {with(func(p *lm.Params) { p.TopP = ptr(0.8) }), []float64{0, 0.6 / 0.85, 0.25 / 0.85, 0}},
		"top_p 0":           {with(func(p *lm.Params) { p.TopP = ptr(0.0) }), []float64{0, 1, 0, 0}},
		"min_p":             {with(func(p *lm.Params) { p.MinP = ptr(0.4) }), []float64{0, 0.6 / 0.85, 0.25 / 0.85, 0}},
		"temperature 0.5":   {with(func(p *lm.Params) { p.Temperature = ptr(0.5) }), []float64{0.01 / 0.435, 0.36 / 0.435, 0.0625 / 0.435, 0.0025 / 0.435}},
	} {
		got := shares(t, tt.p, logits, 20000)
		for i := range got {
			if math.Abs(got[i]-tt.want[i]) > 0.015 {
				t.Errorf("%s: token %d came with %.3f, want %.3f", name, i, got[i], tt.want[i])
			}
		}
	}
}

func TestDrawsDependOnSeedAndNumberOnly(t *testing.T) {
	logits := make([]float32, 1000)
	p := lm.Params{Temperature: ptr(1.0), Seed: ptr(int64(42))}
	a := sampler(t, p)
	var want []int32
	for i := range 50 {
		tok, _ := a.Pick(slices.Clone(logits), i, nil)
		want = append(want, tok)
	}
	b := sampler(t, p) // a later process: other seed of its own, the same in the request
	b2, err := New(p, 99)
	if err != nil {
		t.Fatal(err)
	}
	for i := 49; i >= 0; i-- {
		x, _ := b.Pick(slices.Clone(logits), i, nil)
		y, _ := b2.Pick(slices.Clone(logits), i, nil)
		if x != want[i] || y != want[i] {
			t.Fatalf("draw %d: %d and %d, want %d", i, x, y, want[i])
		}
	}
	p.Seed = ptr(int64(43))
	c, same := sampler(t, p), 0
	for i := range 50 {
		if x, _ := c.Pick(slices.Clone(logits), i, nil); x == want[i] {
			same++
		}
	}
	if same > 10 {
		t.Errorf("another seed gave %d of 50 equal draws", same)
	}
}

func TestPenalties(t *testing.T) {
	pick := func(p lm.Params, logits []float32, said ...int32) int32 {
		p.Temperature = ptr(0.0)
		s := sampler(t, p)
		for _, tok := range said {
			s.Accept(tok)
		}
		tok, err := s.Pick(logits, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	if got := pick(lm.Params{RepeatPenalty: ptr(2.0)}, []float32{3, 2}, 0); got != 1 {
		t.Errorf("repeat, positive score: %d", got)
	}
	if got := pick(lm.Params{RepeatPenalty: ptr(2.0)}, []float32{-3, -4}, 0); got != 1 {
		t.Errorf("repeat, negative score: %d", got)
	}
	long := make([]int32, RepeatWindow+1)
	for i := range long[1:] {
		long[i+1] = 2
	}
	if got := pick(lm.Params{RepeatPenalty: ptr(2.0)}, []float32{3, 2, 0}, long...); got != 0 {
		t.Errorf("repeat looks back further than its window: %d", got)
	}
	if got := pick(lm.Params{PresencePenalty: ptr(1.5)}, []float32{3, 2}, 0); got != 1 {
		t.Errorf("presence: %d", got)
	}
	if got := pick(lm.Params{FrequencyPenalty: ptr(0.6)}, []float32{3, 2}, 0); got != 0 {
		t.Errorf("frequency once: %d", got)
	}
	if got := pick(lm.Params{FrequencyPenalty: ptr(0.6)}, []float32{3, 2}, 0, 0); got != 1 {
		t.Errorf("frequency twice: %d", got)
	}
}

type only map[int32]bool

func (o only) Allows(t int32) bool { return o[t] }

func (o only) Filter(cs []Candidate) {
	for i := range cs {
		if !o[cs[i].ID] {
			cs[i].Logit = float32(math.Inf(-1))
		}
	}
}

func TestGrammarRefuses(t *testing.T) {
	s := sampler(t, lm.Params{Temperature: ptr(0.0)})
	if got, err := s.Pick([]float32{3, 2, 1}, 0, only{1: true, 2: true}); err != nil || got != 1 {
		t.Errorf("greedy: %d, %v", got, err)
	}
	if _, err := s.Pick([]float32{3, 2, 1}, 0, only{}); err == nil {
		t.Error("nothing allowed, and a token all the same")
	}
	s = sampler(t, lm.Params{Temperature: ptr(1.0), MinP: ptr(0.0)})
	for i := range 100 {
		if got, err := s.Pick([]float32{9, 1, 1}, i, only{1: true, 2: true}); err != nil || got == 0 {
			t.Fatalf("draw %d: %d, %v", i, got, err)
		}
	}
}

func TestBadParameters(t *testing.T) {
	for name, p := range map[string]lm.Params{
		"temperature":    {Temperature: ptr(-1.0)},
		"not a number":   {TopP: ptr(math.NaN())},
		"top_p":          {TopP: ptr(1.1)},
		"top_k":          {TopK: ptr(-1)},
		"min_p":          {MinP: ptr(2.0)},
		"repeat_penalty": {RepeatPenalty: ptr(0.0)},
	} {
		if _, err := New(p, 0); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	logits := make([]float32, 49152)
	for i := range logits {
		logits[i] = float32(uniform(1, uint64(i)) * 20)
	}
	for name, p := range map[string]lm.Params{"greedy": {Temperature: ptr(0.0)}, "default": {}, "no_top_k": {TopK: ptr(0)}} {
		b.Run(name, func(b *testing.B) {
			s, _ := New(p, 1)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				_, _ = s.Pick(logits, i, nil)
				i++
			}
		})
	}
}
