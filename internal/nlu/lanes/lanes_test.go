package lanes

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestDot4(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 15, 16, 17, 32, 384, 1536, 2048} {
		w, x := make([]int8, n), make([]int16, 4*n)
		for i := range w {
			w[i] = int8(rng.IntN(255) - 127)
		}
		for i := range x {
			x[i] = int16(rng.IntN(2*8191+1) - 8191)
		}
		if n == 2048 { // as loud as it may become
			for i := range w {
				w[i] = 127
			}
			for i := range x {
				x[i] = 8191
			}
		}
		var got, want [4]int32
		for j := range want {
			for i := range w {
				want[j] += int32(w[i]) * int32(x[j*n+i])
			}
		}
		if Dot4(&got, w, x); got != want {
			t.Errorf("%d numbers: got %v, want %v", n, got, want)
		}
	}
}

func TestAdd(t *testing.T) {
	rng, by := rand.New(rand.NewPCG(1, 2)), float32(1.1)
	for n := range 140 {
		x, got, want := make([]float32, n), make([]float32, n+1), make([]float32, n)
		for i := range x {
			x[i], got[i] = rng.Float32(), rng.Float32()
			want[i] = got[i] + float32(by*x[i])
		}
		got[n] = 7 // behind the end
		Add(got[:n], x, by)
		for i, v := range want {
			if v != got[i] {
				t.Fatalf("%d numbers: number %d is %v, want %v", n, i, got[i], v)
			}
		}
		if got[n] != 7 {
			t.Fatalf("%d numbers: one more was touched", n)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	x, y := make([]float32, 150), make([]float32, 150)
	for b.Loop() {
		Add(y, x, 0.5)
	}
}

// Mix is Add for one row after another, to the last bit.
func TestMix(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for _, n := range []int{0, 1, 7, 8, 16, 24, 63, 64, 72, 128, 152, 208, 209} {
		for _, k := range []int{0, 1, 3, 40} {
			rows := make([]float32, 50*n)
			for i := range rows {
				rows[i] = rng.Float32() - 0.5
			}
			idx, by := make([]int32, k), make([]float32, k)
			for i := range idx {
				idx[i], by[i] = rng.Int32N(50), rng.Float32()
			}
			got, want := make([]float32, n+1), make([]float32, n+1)
			got[n], want[n] = 7, 7 // behind the end
			for i := range k {
				Add(want[:n], rows[int(idx[i])*n:][:n], by[i])
			}
			Mix(got[:n], rows, idx, by)
			if !slices.Equal(got, want) {
				t.Fatalf("%d rows of %d numbers: got %v, want %v", k, n, got, want)
			}
		}
	}
}
