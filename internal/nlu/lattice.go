package nlu

import (
	"math"
	"slices"
)

// lattice is a text's tokens × the tags each may get, with what speaks for a
// tag (emit) and for one tag after another (follow), both as logarithms.
type lattice struct {
	n, c       int
	emit       []float64 // n × c
	follow     []float64 // c × c, the second after the first
	begin      []bool    // by tag: it may be the first
	fore, back []float64 // n × c, of sums; each token's fore adds up to 1
	norm       []float64 // n: what fore was divided by
	expFollow  []float64
	expEmit    []float64 // n × c, each token's highest is 1
	score      []float64
	from       []int32
	path       []int
	total      float64 // logarithm of the sum over all paths
}

var never = math.Inf(-1)

func (l *lattice) reset(n, c int) {
	l.n, l.c = n, c
	l.emit = slices.Grow(l.emit[:0], n*c)[:n*c]
	l.follow = slices.Grow(l.follow[:0], c*c)[:c*c]
	l.begin = slices.Grow(l.begin[:0], c)[:c]
}

// forbid rules out that an entity goes on that has not begun.
func (l *lattice) forbid(tags []int) {
	for b, to := range tags {
		l.begin[b] = !isInside(to)
		if !isInside(to) {
			continue
		}
		for a, from := range tags {
			if from == outside || typeOf(from) != typeOf(to) {
				l.follow[a*l.c+b] = never
			}
		}
	}
}

// best finds the best path (Viterbi).
func (l *lattice) best() {
	n, c := l.n, l.c
	l.score = slices.Grow(l.score[:0], n*c)[:n*c]
	l.from = slices.Grow(l.from[:0], n*c)[:n*c]
	l.path = slices.Grow(l.path[:0], n)[:n]
	for k := range c {
		l.score[k] = l.emit[k]
		if !l.begin[k] {
			l.score[k] = never
		}
	}
	for i := 1; i < n; i++ {
		before, now := l.score[(i-1)*c:i*c], l.score[i*c:(i+1)*c]
		for b := range c {
			top, at := never, 0
			for a, v := range before {
				if v += l.follow[a*c+b]; v > top {
					top, at = v, a
				}
			}
			now[b], l.from[i*c+b] = top+l.emit[i*c+b], int32(at)
		}
	}
	last := l.score[(n-1)*c:]
	at := 0
	for k, v := range last {
		if v > last[at] {
			at = k
		}
	}
	for i := n - 1; i >= 0; i-- {
		l.path[i] = at
		at = int(l.from[i*c+at])
	}
}

// sums adds up all paths, forward and backward.
func (l *lattice) sums() {
	n, c := l.n, l.c
	for _, p := range []*[]float64{&l.fore, &l.back, &l.expEmit} {
		*p = slices.Grow((*p)[:0], n*c)[:n*c]
	}
	l.expFollow = slices.Grow(l.expFollow[:0], c*c)[:c*c]
	l.norm = slices.Grow(l.norm[:0], n)[:n]
	for i, v := range l.follow {
		l.expFollow[i] = math.Exp(v)
	}
	l.total = 0
	for i := range n {
		row := l.emit[i*c : (i+1)*c]
		top := slices.Max(row)
		l.total += top
		for k, v := range row {
			l.expEmit[i*c+k] = math.Exp(v - top)
		}
	}
	for i := range n {
		now, sum := l.fore[i*c:(i+1)*c], 0.0
		for b := range c {
			v := 0.0
			if i == 0 {
				v = float64(btoi(l.begin[b]))
			} else {
				for a, f := range l.fore[(i-1)*c : i*c] {
					v += f * l.expFollow[a*c+b]
				}
			}
			now[b] = v * l.expEmit[i*c+b]
			sum += now[b]
		}
		if sum == 0 {
			sum = math.SmallestNonzeroFloat64
		}
		l.norm[i] = sum
		l.total += math.Log(sum)
		for b := range now {
			now[b] /= sum
		}
	}
	for k := range c {
		l.back[(n-1)*c+k] = 1
	}
	for i := n - 2; i >= 0; i-- {
		for a := range c {
			v := 0.0
			for b := range c {
				v += l.expFollow[a*c+b] * l.expEmit[(i+1)*c+b] * l.back[(i+1)*c+b]
			}
			l.back[i*c+a] = v / l.norm[i+1]
		}
	}
}

// chance is the probability that token i has tag k.
func (l *lattice) chance(i, k int) float64 { return l.fore[i*l.c+k] * l.back[i*l.c+k] }

// chanceOf is the probability that token i has tag a and the next has tag b.
func (l *lattice) chanceOf(i, a, b int) float64 {
	c := l.c
	return l.fore[i*c+a] * l.expFollow[a*c+b] * l.expEmit[(i+1)*c+b] * l.back[(i+1)*c+b] / l.norm[i+1]
}
