// Package encoder turns a sentence into a point by its meaning: a small BERT
// (sentence-transformers/all-MiniLM-L6-v2 and others of its build), computed in
// the caller's process. What may live here: reading such a model's files, and
// that computation. It fetches nothing.
package encoder

import (
	"math"
	"sync"

	"github.com/parleyhq/parley/internal/nlu/lanes"
)

// Encoder is a model that was read. It is never changed and safe for use by
// many.
type Encoder struct {
	dim    int
	sum    uint32
	pieces pieces
	words  table     // one row for each piece
	places []float32 // positions × dim, the type of the only sentence added
	norm   normal
	layers []layer
	pool   sync.Pool // of *scratch
}

// layer is one of the model's.
type layer struct {
	query, key, value, mix, wide, narrow linear
	afterMix, afterWide                  normal
}

// linear is a matrix of signed bytes with a scale for each row, and what is
// added behind it.
type linear struct {
	in, out int
	rows    []int8 // out × in
	scale   []float32
	bias    []float32
}

// table is rows of signed bytes with a scale for each.
type table struct {
	dim   int
	cells []int8
	scale []float32
}

// normal brings a vector to mean 0 and spread 1, then to its own measure.
type normal struct{ gain, bias []float32 }

const (
	headSize = 32 // numbers that one head of attention sees

	// earlyShare is how long the earlier layer's part of a point is, to the last
	// one's. It and the layer were chosen on dev lines (docs/benchmarks/nlu.md).
	earlyShare = 0.6

	most    = 128 // pieces of a sentence that are read
	epsilon = 1e-12

	// loudest is the highest an input becomes before a linear layer: as high
	// as a sum of widest products with a byte still fits 32 bits.
	loudest = 8191
	widest  = 2048
)

// Dim returns how many numbers a sentence becomes.
func (e *Encoder) Dim() int { return 2 * e.dim }

// Sum returns the checksum of the files: two encoders with the same are the
// same.
func (e *Encoder) Sum() uint32 { return e.sum }

// scratch is the memory of one sentence: n rows, padded to a multiple of four.
type scratch struct {
	ids           []int32
	x, y, z, a, b []float32
	wide          []float32
	quiet         []int16 // the input of a linear layer, scaled
	scale         []float32
	chance        []float32
}

func grow[T any](s *[]T, n int) {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
}

// Encode sets out, of Dim numbers, to the sentence's point, at length 1: where
// the last layer has it, and behind that where an earlier one has it, which keeps
// more of the words. text is in small letters without accents; what the model has no pieces for is
// unknown to it. A sentence of more than 126 pieces is read that far.
func (e *Encoder) Encode(out []float32, text []byte) {
	s, _ := e.pool.Get().(*scratch)
	if s == nil {
		s = new(scratch)
	}
	defer e.pool.Put(s)
	s.ids = e.pieces.split(s.ids[:0], text)
	n := len(s.ids)
	padded := (n + 3) / 4 * 4
	for _, p := range []*[]float32{&s.x, &s.y, &s.z, &s.a, &s.b} {
		grow(p, padded*e.dim)
	}
	for i, id := range s.ids {
		row := s.x[i*e.dim : (i+1)*e.dim]
		e.words.row(row, id)
		for k, v := range e.places[i*e.dim : (i+1)*e.dim] {
			row[k] += v
		}
		e.norm.apply(row)
	}
	early := max(len(e.layers)*2/3, 1)
	whole := 1 / math.Sqrt(1+earlyShare*earlyShare)
	for i := range e.layers {
		e.layers[i].apply(s, n, e.dim)
		if i+1 == early {
			s.mean(out[e.dim:2*e.dim], n, earlyShare*whole)
		}
	}
	s.mean(out[:e.dim], n, whole)
}

// mean sets out to the direction of the mean of the n rows in s.x, at a length.
func (s *scratch) mean(out []float32, n int, length float64) {
	clear(out)
	for i := range n {
		for k, v := range s.x[i*len(out) : (i+1)*len(out)] {
			out[k] += v
		}
	}
	var square float64
	for _, v := range out {
		square += float64(v) * float64(v)
	}
	by := float32(length / math.Sqrt(max(square, epsilon)))
	for k := range out {
		out[k] *= by
	}
}

// apply brings the n rows in s.x through the layer.
func (l *layer) apply(s *scratch, n, dim int) {
	s.quantise(s.x, n, dim)
	l.query.apply(s.y, s, n)
	l.key.apply(s.z, s, n)
	l.value.apply(s.a, s, n)
	s.attend(n, dim)
	s.quantise(s.b, n, dim)
	l.mix.apply(s.y, s, n)
	s.settle(&l.afterMix, n, dim)
	s.quantise(s.x, n, dim)
	w := l.wide.out
	grow(&s.wide, (n+3)/4*4*w)
	l.wide.apply(s.wide, s, n)
	gelu(s.wide[:n*w])
	s.quantise(s.wide, n, w)
	l.narrow.apply(s.y, s, n)
	s.settle(&l.afterWide, n, dim)
}

// settle adds the rows in s.y to those in s.x and brings them to a measure.
func (s *scratch) settle(to *normal, n, dim int) {
	for i := range n {
		row := s.x[i*dim : (i+1)*dim]
		for k, v := range s.y[i*dim : (i+1)*dim] {
			row[k] += v
		}
		to.apply(row)
	}
}

// attend mixes the values in s.a into s.b, as the queries in s.y like the keys
// in s.z.
func (s *scratch) attend(n, dim int) {
	grow(&s.chance, n)
	by := float32(1 / math.Sqrt(headSize))
	clear(s.b)
	for head := 0; head < dim; head += headSize {
		for i := range n {
			query := s.y[i*dim+head:][:headSize]
			top := float32(math.Inf(-1))
			for j := range n {
				key, sum := s.z[j*dim+head:][:headSize], float32(0)
				for k, v := range query {
					sum += v * key[k]
				}
				s.chance[j] = sum * by
				top = max(top, s.chance[j])
			}
			total := float32(0)
			for j, v := range s.chance {
				s.chance[j] = float32(math.Exp(float64(v - top)))
				total += s.chance[j]
			}
			mixed := s.b[i*dim+head:][:headSize]
			for j, v := range s.chance {
				part := v / total
				for k, u := range s.a[j*dim+head:][:headSize] {
					mixed[k] += part * u
				}
			}
		}
	}
}

// quantise scales n rows of width numbers each to whole numbers.
func (s *scratch) quantise(x []float32, n, width int) {
	padded := (n + 3) / 4 * 4
	grow(&s.quiet, padded*width)
	grow(&s.scale, padded)
	for i := range padded {
		row, out := x[i*width:(i+1)*width], s.quiet[i*width:(i+1)*width]
		var top float32
		for _, v := range row {
			top = max(top, v, -v)
		}
		if top == 0 || i >= n {
			clear(out)
			s.scale[i] = 0
			continue
		}
		by := loudest / top
		s.scale[i] = top / loudest
		for k, v := range row {
			out[k] = int16(int32(v*by+(loudest+1.5)) - (loudest + 1)) // rounded: what is cut off is positive
		}
	}
}

// apply sets out to the n rows in s.quiet through the layer.
func (l *linear) apply(out []float32, s *scratch, n int) {
	var sums [4]int32
	for r := range l.out {
		row, scale, bias := l.rows[r*l.in:(r+1)*l.in], l.scale[r], l.bias[r]
		for i := 0; i < n; i += 4 {
			lanes.Dot4(&sums, row, s.quiet[i*l.in:(i+4)*l.in])
			for j, sum := range sums {
				out[(i+j)*l.out+r] = float32(sum)*scale*s.scale[i+j] + bias
			}
		}
	}
}

func (t *table) row(out []float32, id int32) {
	scale := t.scale[id]
	for k, v := range t.cells[int(id)*t.dim:][:t.dim] {
		out[k] = scale * float32(v)
	}
}

func (m *normal) apply(x []float32) {
	var sum, square float32
	for _, v := range x {
		sum += v
	}
	mean := sum / float32(len(x))
	for _, v := range x {
		square += (v - mean) * (v - mean)
	}
	by := float32(1 / math.Sqrt(float64(square/float32(len(x)))+epsilon))
	for k, v := range x {
		x[k] = (v-mean)*by*m.gain[k] + m.bias[k]
	}
}

// gelu bends each number: x/2 * (1 + erf(x/√2)), with erf by the approximation
// 7.1.26 of Abramowitz and Stegun, right to 1.5e-7.
func gelu(x []float32) {
	for i, v := range x {
		z := v * (1 / math.Sqrt2)
		a := max(z, -z)
		if a > 4 { // 1 - erf(4) is 2e-8
			if v < 0 {
				x[i] = 0
			}
			continue
		}
		t := 1 / (1 + 0.3275911*a)
		p := ((((1.061405429*t-1.453152027)*t+1.421413741)*t-0.284496736)*t + 0.254829592) * t
		erf := 1 - p*float32(math.Exp(float64(-a*a)))
		if z < 0 {
			erf = -erf
		}
		x[i] = v / 2 * (1 + erf)
	}
}
