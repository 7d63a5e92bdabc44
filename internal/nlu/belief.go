package nlu

import (
	"cmp"
	"math"
	"slices"
)

const (
	// How many of the lines that would be understood rightly may be called
	// None, so that foreign ones are: the fewer intents there are, the more of
	// what people say is none of them. And how many more where so many examples
	// of None show it. The real loss is smaller in large sets: a line that was
	// held out knows less of its kind than any later text.
	lossUnknown = 0.1 // divided by the number of intents
	lossLeast   = 0.0002
	lossMost    = 0.02
	lossKnown   = 0.025
	noneKnown   = 50 // examples that make half of it
)

// belief turns the intents' scores into probabilities. What it holds was
// chosen on lines that the machines had not seen.
type belief struct {
	sharp   float64    // factor of the scores before they are compared as exponents
	doubt   [4]float64 // weights of the signs that a text is foreign; see signs
	divided float64    // where foreign becomes None
}

// signs are what tells foreign texts: a constant, the best score, its lead
// over the second, and the score of None's own machine.
func signs(scores []float32, none int) (out [4]float64, best int) {
	best = -1
	one, two := float32(math.Inf(-1)), float32(math.Inf(-1))
	for i, v := range scores {
		switch {
		case i == none || v != v:
		case v > one:
			one, two, best = v, one, i
		case v > two:
			two = v
		}
	}
	out = [4]float64{1, float64(one), 0, 0}
	if two > float32(math.Inf(-1)) {
		out[2] = float64(one - two)
	}
	if none >= 0 && scores[none] == scores[none] {
		out[3] = float64(scores[none])
	}
	return out, best
}

func (b *belief) raw(x [4]float64) float64 {
	sum := 0.0
	for i, w := range b.doubt {
		sum += w * x[i]
	}
	return sum
}

// foreign is the probability that the text belongs to no intent; more than
// half is None.
func (b *belief) foreign(scores []float32, none int) float64 {
	x, _ := signs(scores, none)
	p := 1 / (1 + math.Exp(b.divided-b.raw(x)))
	if none >= 0 && x[3] > x[1] {
		p = 0.5 + p/2 // it looks more like the examples of None than like any intent
	}
	return p
}

// sample is a held-out line.
type sample struct {
	x       [4]float64
	foreign bool
	right   bool // the best intent is the line's own
	shown   bool // foreign by an example of None, not by leaving its intent out
}

// calibrate chooses the belief on the held-out lines.
func (t *trainer) calibrate() {
	b := &t.m.belief
	b.sharp = t.sharpness()
	var all []sample
	own := 0
	for k, i := range t.in.lines {
		row := t.row(t.in, k)
		x, best := signs(row, t.m.none)
		intent := t.set.lines[i].intent
		s := sample{x: x, foreign: intent == t.m.none, right: best == intent}
		if s.foreign {
			s.shown = true
		} else {
			own++
		}
		all = append(all, s)
	}
	for k := range t.out.lines {
		x, best := signs(t.row(t.out, k), t.m.none)
		if best >= 0 {
			all = append(all, sample{x: x, foreign: true})
		}
	}
	loss := lossLeast
	if len(all) == own { // too few intents to leave one out: nothing shows what is foreign
		b.doubt = [4]float64{0, -4, 0, 0}
	} else {
		b.doubt = regress(all)
		loss = min(max(lossUnknown/float64(len(t.set.intents)), lossLeast), lossMost)
	}
	known := 0.0
	for i := range t.set.lines {
		known += float64(btoi(t.set.lines[i].intent == t.m.none))
	}
	b.divided = b.divide(all, loss+lossKnown*known/(known+noneKnown))
}

func (t *trainer) row(h *held, k int) []float32 {
	c := len(t.set.intents)
	return h.scores[k*c : (k+1)*c]
}

// sharpness is the factor that makes the held-out lines' own intents most
// likely, found by golden section.
func (t *trainer) sharpness() float64 {
	loss := func(logSharp float64) float64 {
		sharp, sum := math.Exp(logSharp), 0.0
		for k, i := range t.in.lines {
			intent := t.set.lines[i].intent
			row := t.row(t.in, k)
			if intent == t.m.none {
				continue
			}
			total, own := 0.0, float64(row[intent])
			for j, v := range row {
				if j != t.m.none && v == v {
					total += math.Exp((float64(v) - own) * sharp)
				}
			}
			sum += math.Log(total)
		}
		return sum
	}
	const ratio = 0.6180339887498949
	lo, hi := math.Log(0.5), math.Log(50)
	for range 25 {
		a, b := hi-ratio*(hi-lo), lo+ratio*(hi-lo)
		if loss(a) < loss(b) {
			hi = b
		} else {
			lo = a
		}
	}
	return math.Exp((lo + hi) / 2)
}

// regress fits the weights of the signs by logistic regression (Newton's
// method, a little ridge). The two sorts of foreign lines together weigh as
// much as the others.
func regress(all []sample) [4]float64 {
	var n [3]float64
	sort := func(s *sample) int {
		switch {
		case s.shown:
			return 2
		case s.foreign:
			return 1
		}
		return 0
	}
	for i := range all {
		n[sort(&all[i])]++
	}
	weight := [3]float64{1 / n[0], 0.5 / n[1], 0.5 / n[2]}
	if n[1] == 0 || n[2] == 0 {
		weight[1], weight[2] = 1/n[1], 1/n[2]
	}
	const ridge = 1e-3
	var w [4]float64
	for range 25 {
		var grad [4]float64
		var hess [4][4]float64
		for i := range w {
			grad[i], hess[i][i] = ridge*w[i], ridge
		}
		for i := range all {
			s := &all[i]
			z := 0.0
			for j, v := range s.x {
				z += w[j] * v
			}
			p, y, by := 1/(1+math.Exp(-z)), 0.0, weight[sort(s)]
			if s.foreign {
				y = 1
			}
			for j, v := range s.x {
				grad[j] += by * (p - y) * v
				for k, u := range s.x {
					hess[j][k] += by * p * (1 - p) * v * u
				}
			}
		}
		step := solve4(hess, grad)
		for j := range w {
			w[j] -= step[j]
		}
	}
	return w
}

// solve4 solves a positive definite system by elimination.
func solve4(a [4][4]float64, b [4]float64) [4]float64 {
	for i := range 4 {
		for j := i + 1; j < 4; j++ {
			f := a[j][i] / a[i][i]
			for k := i; k < 4; k++ {
				a[j][k] -= f * a[i][k]
			}
			b[j] -= f * b[i]
		}
	}
	var x [4]float64
	for i := 3; i >= 0; i-- {
		x[i] = b[i]
		for k := i + 1; k < 4; k++ {
			x[i] -= a[i][k] * x[k]
		}
		x[i] /= a[i][i]
	}
	return x
}

// divide finds where foreign becomes None: as low as the loss of right lines
// allows, or lower where the examples of None show that it pays.
func (b *belief) divide(all []sample, loss float64) float64 {
	var right []float64
	type point struct {
		at   float64
		gain int
	}
	var points []point
	for i := range all {
		s := &all[i]
		at := b.raw(s.x)
		switch {
		case s.right:
			right = append(right, at)
			points = append(points, point{at, -1})
		case s.shown:
			points = append(points, point{at, 1})
		}
	}
	if len(right) == 0 {
		return 0
	}
	slices.Sort(right)
	keep := min(int(math.Ceil(float64(len(right))*(1-loss))), len(right))
	limit := right[keep-1] + 1e-6
	if few := 3 / loss; float64(len(right)) < few {
		// Too few to see the end of their range: assume a normal one.
		limit = max(limit, tail(right, loss))
	}
	// Going down from the highest: how much is won by calling all above None.
	slices.SortFunc(points, func(x, y point) int { return cmp.Compare(y.at, x.at) })
	won, best := 0, 0
	for _, p := range points {
		if won += p.gain; won > best {
			best = won
			limit = min(limit, p.at-1e-6)
		}
	}
	return limit
}

// tail is what a share of normally distributed values like these exceeds.
func tail(values []float64, share float64) float64 {
	sum, square := 0.0, 0.0
	for _, v := range values {
		sum += v
		square += v * v
	}
	mean := sum / float64(len(values))
	spread := math.Sqrt(max(square/float64(len(values))-mean*mean, 0))
	return mean + math.Sqrt2*math.Erfinv(1-2*share)*spread
}
