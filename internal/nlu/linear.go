package nlu

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/parleyhq/parley/internal/nlu/lanes"
)

// points are training lines in the space: sparse features, a dense part and a
// constant 1 at the end.
type points struct {
	n, feats, dim int
	start         []int32 // of a line's features in idx and val; n+1
	idx           []int32
	val           []float32
	dense         []float32 // n*dim
	square        []float32 // a line's squared length, the constant included
}

func (p *points) line(i int32) ([]int32, []float32, []float32) {
	a, b := p.start[i], p.start[i+1]
	return p.idx[a:b], p.val[a:b], p.dense[int(i)*p.dim : (int(i)+1)*p.dim]
}

// width is how many weights an intent has.
func (p *points) width() int { return p.feats + p.dim + 1 }

func dot(a, b []float32) float32 {
	var sum float32
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// regression is a multinomial logistic regression with a ridge, solved in the
// dual, one line at a time: the weights are the sum of the training lines,
// each times its pull on each intent, and where nothing changes any more a pull
// is trust × (what should be − the probability that is). It keeps its place:
// lines can be taken out of it and the rest solved on.
type regression struct {
	p    *points
	c    int       // intents
	row8 int       // c, rounded up to eights: how long rows are; the rest is 0
	w    []float32 // width × row8
	pull []float32 // lines × row8
	deep []int32   // the rows of the dense part
	own  func(line int32) int
	gone []bool // intents that don't exist
	rng  *rand.Rand

	score, chance, change []float32 // of one line
}

func newRegression(p *points, c int, own func(int32) int, rng *rand.Rand) *regression {
	n := (c + 7) / 8 * 8
	r := &regression{
		p: p, c: c, row8: n, own: own, rng: rng, gone: make([]bool, c),
		w: make([]float32, p.width()*n), pull: make([]float32, p.n*n),
		score: make([]float32, n), chance: make([]float32, n), change: make([]float32, n),
	}
	for d := range p.dim {
		r.deep = append(r.deep, int32(p.feats+d))
	}
	return r
}

// without returns a copy that has never seen the lines and intents that are
// gone, but for what it took from them into the other lines' pulls.
func (r *regression) without(lines func(int32) bool, gone []bool, rng *rand.Rand) *regression {
	out := newRegression(r.p, r.c, r.own, rng)
	copy(out.w, r.w)
	copy(out.pull, r.pull)
	out.gone = gone
	for i := range int32(r.p.n) {
		if lines(i) {
			row := out.pulls(i)
			for k, v := range row {
				out.change[k], row[k] = -v, 0
			}
			out.add(i)
		}
	}
	return out
}

func (r *regression) pulls(i int32) []float32 { return r.pull[int(i)*r.row8 : (int(i)+1)*r.row8] }

func (r *regression) row(f int) []float32 { return r.w[f*r.row8 : (f+1)*r.row8] }

// scores sets r.score to the line's.
func (r *regression) scores(i int32) {
	idx, val, dense := r.p.line(i)
	copy(r.score, r.row(r.p.feats+r.p.dim))
	lanes.Mix(r.score, r.w, idx, val)
	lanes.Mix(r.score, r.w, r.deep, dense)
}

// add brings r.change of a line's pulls into the weights.
func (r *regression) add(i int32) {
	idx, val, dense := r.p.line(i)
	for k, f := range idx {
		lanes.Add(r.row(int(f)), r.change, val[k])
	}
	for d, v := range dense {
		lanes.Add(r.row(r.p.feats+d), r.change, v)
	}
	lanes.Add(r.row(r.p.feats+r.p.dim), r.change, 1)
}

// solve goes over the lines in passes, each of which looks at all of them once
// and then often at those that still change. goOn is asked after each.
func (r *regression) solve(lines []int32, passes, often int, goOn func() bool) {
	for range passes {
		near := lines
		for range 1 + often {
			near = near[:r.pass(near)]
			if !goOn() {
				return
			}
		}
	}
}

const (
	still = 0.02 // share of trust by which a pull changes that is left alone
	inner = 5    // steps towards a line's own optimum
	// How far a step may bring a score: how steep things are is only known
	// near by.
	furthest = 1.5
	faint    = 14 // so far below the best score a chance is 0
)

// pass brings each line to its optimum, given the others. Those that hardly
// change end up last; it returns how many the others are.
func (r *regression) pass(lines []int32) int {
	r.rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	n := len(lines)
	for at := 0; at < n; {
		i := lines[at]
		moved := r.visit(i)
		if moved > 0 {
			r.add(i)
		}
		if moved < still*trust {
			n--
			lines[at], lines[n] = lines[n], lines[at]
			continue
		}
		at++
	}
	return n
}

// visit sets the line's pulls to their optimum and r.change to how they
// changed; it returns the largest change, 0 if it is not worth a thing.
func (r *regression) visit(i int32) float32 {
	r.scores(i)
	pull, own, q := r.pulls(i), r.own(i), r.p.square[i]
	copy(r.change, pull)
	for range inner {
		// The score moves with the pull: a step of Newton's method for each
		// intent by itself, short enough for all of them together.
		r.chances()
		var most float32
		for k, p := range r.chance[:r.c] {
			want := -trust * p
			if k == own {
				want += trust
			}
			step := (want - pull[k]) / (1 + 2*trust*q*p*(1-p))
			step = min(max(step, -furthest/q), furthest/q)
			pull[k] += step
			r.score[k] += q * step
			most = max(most, step, -step)
		}
		if most < still*trust/4 {
			break
		}
	}
	var most float32
	for k, was := range r.change {
		d := pull[k] - was
		r.change[k] = d
		most = max(most, d, -d)
	}
	if most < still*trust/20 {
		for k, d := range r.change {
			pull[k] -= d
		}
		return 0
	}
	return most
}

// chances turns r.score into probabilities.
func (r *regression) chances() {
	top := float32(math.Inf(-1))
	for k, v := range r.score[:r.c] {
		if !r.gone[k] {
			top = max(top, v)
		}
	}
	var sum float32
	for k, v := range r.score[:r.c] {
		r.chance[k] = 0
		if v -= top; v > -faint && !r.gone[k] {
			r.chance[k] = float32(math.Exp(float64(v)))
			sum += r.chance[k]
		}
	}
	for k := range r.c {
		r.chance[k] /= sum
	}
}

// all returns the numbers of the lines that keep says.
func (p *points) all(keep func(int32) bool) []int32 {
	out := make([]int32, 0, p.n)
	for i := range int32(p.n) {
		if keep(i) {
			out = append(out, i)
		}
	}
	return slices.Clip(out)
}
