package nlu

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/encoder"
	"github.com/parleyhq/parley/internal/nlu/vectors"
)

// Options say how to train. The zero value is good for every set.
type Options struct {
	// Seed is where chance begins. The same examples, in the same order,
	// with the same seed make the same model, byte for byte.
	Seed uint64
	// Workers is how many threads work; 0 = one for each core. It does not
	// change the model.
	Workers int
	// Plain leaves out the English word vectors, for other languages.
	Plain bool
	// Hints are lists of words and phrases that mean or do the same: what one of
	// them shows is learned for all.
	Hints [][]string
	// Encoder, if set, makes the accurate tier: what a sentence means is read
	// by it. Whoever reads the model needs the same one.
	Encoder *encoder.Encoder
	// Progress, if set, hears how far training is. It is called by several
	// goroutines, one at a time.
	Progress func(stage string, done, total int)
}

// The classifier's settings: one configuration for all sets, chosen on
// training and dev lines (docs/benchmarks/nlu.md).
const (
	trust = 20 // in the training lines, against small weights
	often = 4  // between two passes over all lines, over those that change
	// A small set costs nothing, so it is gone over until it rests.
	mostPasses, leastPasses, passLines = 10, 2, 30000

	foldCount = 5
	foldOften = 3
	foldLines = 3000 // held-out lines that are looked at, of each sort

	fewestIntents = 3 // of which one is left out

	rareFeature = 2 // a feature of fewer lines is left out of large sets
	largeSet    = 4000
)

// Train learns from examples whose split is not Test. Warnings name what
// looks wrong in them and was learned all the same.
func Train(ctx context.Context, examples []corpus.Example, opt Options) (m *Model, warnings []Problem, err error) {
	set, warnings, err := prepare(examples)
	if err != nil {
		return nil, nil, err
	}
	if err := checkHints(opt.Hints); err != nil {
		return nil, nil, err
	}
	t := &trainer{opt: opt, set: set, m: &Model{intents: set.intents, none: set.none}}
	if t.opt.Workers <= 0 {
		t.opt.Workers = runtime.GOMAXPROCS(0)
	}
	if t.opt.Progress == nil {
		t.opt.Progress = func(string, int, int) {}
	}
	if err := t.makeSpace(ctx); err != nil {
		return nil, nil, err
	}
	if err := t.learnIntents(ctx); err != nil {
		return nil, nil, err
	}
	t.calibrate()
	if err := t.learnTags(ctx); err != nil {
		return nil, nil, err
	}
	return t.m, warnings, nil
}

// trainer is what the steps of one training hand on.
type trainer struct {
	opt   Options
	set   *set
	m     *Model
	p     *points
	mu    sync.Mutex // guards stage and done
	stage string
	done  int

	in     *held // lines scored without themselves
	out    *held // lines scored without their whole intent
	foldOf []int // by line
}

// held are lines scored by machines that have not seen them.
type held struct {
	lines  []int32
	scores []float32 // len(lines) rows of one score for each intent; NaN = that machine does not exist
}

func (t *trainer) rand(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(t.opt.Seed, stream))
}

func (t *trainer) step(stage string, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stage != stage {
		t.stage, t.done = stage, 0
	}
	t.done++
	t.opt.Progress(stage, t.done, total)
}

func (t *trainer) makeSpace(ctx context.Context) error {
	sp := &t.m.space
	if !t.opt.Plain {
		table, err := vectors.English()
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		sp.words, sp.dim = table, table.Dim()
	}
	if t.opt.Encoder != nil {
		sp.sentences, sp.dim = t.opt.Encoder, t.opt.Encoder.Dim()
	}
	lines, n := t.set.lines, len(t.set.lines)
	texts := make([]string, n)
	for i, l := range lines {
		texts[i] = l.text
	}
	least := int32(1)
	if n >= largeSet {
		least = rareFeature
	}
	s := new(scratch)
	sp.hints = newHints(s, t.opt.Hints)
	sp.learn(s, texts, least)
	p := &points{n: n, feats: len(sp.idf), dim: sp.dim, start: make([]int32, 1, n+1)}
	if err := t.meanings(ctx, p); err != nil {
		return err
	}
	for i, l := range lines {
		s.split(l.text, mostTokens)
		sp.surface(s)
		p.idx = append(p.idx, s.idx...)
		p.val = append(p.val, s.val...)
		p.start = append(p.start, int32(len(p.idx)))
		dense := p.dense[i*p.dim : (i+1)*p.dim]
		p.square = append(p.square, 1+dot(dense, dense)+dot(s.val, s.val))
	}
	t.p = p
	return nil
}

// meanings sets p.dense.
func (t *trainer) meanings(ctx context.Context, p *points) error {
	p.dense = make([]float32, p.n*p.dim)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(t.opt.Workers, p.n) {
		wg.Go(func() {
			s := new(scratch)
			for i := int(next.Add(1)) - 1; i < p.n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				s.split(t.set.lines[i].text, mostTokens)
				t.m.space.meaning(s)
				copy(p.dense[i*p.dim:], s.dense)
				t.step("sentences", p.n)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return errors.Join(errors.New("train: stopped before the end"), err)
	}
	return nil
}

// plan deals the lines of every intent out to the folds and picks the lines
// that are scored there.
func (t *trainer) plan() {
	n, c := len(t.set.lines), len(t.set.intents)
	rng := t.rand(1)
	t.foldOf = make([]int, n)
	dealt := make([]int, c)
	order := rng.Perm(n)
	size := make([]int, c)
	for _, i := range order {
		intent := t.set.lines[i].intent
		size[intent]++
		t.foldOf[i] = (dealt[intent] + intent) % foldCount
		dealt[intent]++
	}
	t.in, t.out = new(held), new(held)
	for _, i := range order {
		intent := t.set.lines[i].intent
		if size[intent] > 1 && t.foldOf[i] != t.leftOut(intent) && len(t.in.lines) < foldLines {
			t.in.lines = append(t.in.lines, int32(i))
		}
		if t.leftOut(intent) >= 0 && len(t.out.lines) < foldLines {
			t.out.lines = append(t.out.lines, int32(i))
		}
	}
	for _, h := range []*held{t.in, t.out} {
		h.scores = make([]float32, len(h.lines)*c)
		for i := range h.scores {
			h.scores[i] = float32(math.NaN())
		}
	}
}

// leftOut returns the fold in which an intent does not exist, so that its
// lines show what a foreign line looks like; -1 where there is none, because
// the intents are too few or it stands for foreign lines itself.
func (t *trainer) leftOut(intent int) int {
	switch n := len(t.set.intents); {
	case n < fewestIntents || intent == t.set.none:
		return -1
	case n < 2*foldCount:
		return intent % foldCount
	}
	return (intent / foldCount) % foldCount
}

func (t *trainer) learnIntents(ctx context.Context) error {
	t.plan()
	passes := min(max(passLines/t.p.n, leastPasses), mostPasses)
	settle := (passes + 2) / 3
	total := passes*(1+often) + settle*(1+foldOften) + foldCount
	own := func(i int32) int { return t.set.lines[i].intent }
	r := newRegression(t.p, len(t.set.intents), own, t.rand(2))
	lines := t.p.all(func(int32) bool { return true })
	goOn := func() bool { t.step("intents", total); return ctx.Err() == nil }
	r.solve(lines, passes, often, goOn)
	var next atomic.Int32
	var wg sync.WaitGroup
	for range min(t.opt.Workers, foldCount) {
		wg.Go(func() {
			for fold := int(next.Add(1)) - 1; fold < foldCount && ctx.Err() == nil; fold = int(next.Add(1)) - 1 {
				t.tryFold(ctx, r, fold, settle)
				t.step("intents", total)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return errors.Join(errors.New("train: stopped before the end"), err)
	}
	// Scores grow a little with each pass: as many as the folds had make theirs
	// comparable with the model's.
	r.solve(lines, settle, foldOften, goOn)
	t.m.keep(r)
	if err := ctx.Err(); err != nil {
		return errors.Join(errors.New("train: stopped before the end"), err)
	}
	return nil
}

// tryFold takes a fold's lines and left out intents out of what was learned,
// lets the rest settle, and scores what was taken out.
func (t *trainer) tryFold(ctx context.Context, full *regression, fold, passes int) {
	gone := make([]bool, full.c)
	for i := range gone {
		gone[i] = t.leftOut(i) == fold
	}
	taken := func(i int32) bool { return t.foldOf[i] == fold || gone[full.own(i)] }
	r := full.without(taken, gone, t.rand(3+uint64(fold)))
	lines := t.p.all(func(i int32) bool { return !taken(i) })
	r.solve(lines, passes, foldOften, func() bool { return ctx.Err() == nil })
	score := func(h *held, k int, i int32) {
		r.scores(i)
		out := h.scores[k*r.c : (k+1)*r.c]
		for intent, v := range r.score[:r.c] {
			if !gone[intent] {
				out[intent] = v
			}
		}
	}
	for k, i := range t.in.lines {
		if t.foldOf[i] == fold {
			score(t.in, k, i)
		}
	}
	for k, i := range t.out.lines {
		if gone[full.own(i)] {
			score(t.out, k, i)
		}
	}
}
