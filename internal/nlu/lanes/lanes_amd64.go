package lanes

import "golang.org/x/sys/cpu"

//go:noescape
func dot4AVX2(out *[4]int32, w *int8, x *int16, stride, n int)

//go:noescape
func dot4VNNI(out *[4]int32, w *int8, x *int16, stride, n int)

//go:noescape
func addAVX2(y, x *float32, by float32, n int)

//go:noescape
func mixAVX2(y, rows *float32, idx *int32, by *float32, k, n int)

func dot4(out *[4]int32, w []int8, x []int16) bool {
	if !cpu.X86.HasAVX2 {
		return false
	}
	if len(w)%32 == 0 && cpu.X86.HasAVX512VNNI && cpu.X86.HasAVX512BW {
		dot4VNNI(out, &w[0], &x[0], len(w), len(w))
		return true
	}
	dot4AVX2(out, &w[0], &x[0], len(w), len(w))
	return true
}

// add returns how many numbers it has done.
func add(y, x []float32, by float32) int {
	n := len(y) &^ 7
	if n == 0 || !cpu.X86.HasAVX2 {
		return 0
	}
	addAVX2(&y[0], &x[0], by, n)
	return n
}

func mix(y, rows []float32, idx []int32, by []float32) bool {
	if len(y) == 0 || len(y)%8 != 0 || !cpu.X86.HasAVX2 {
		return false
	}
	if len(idx) > 0 {
		mixAVX2(&y[0], &rows[0], &idx[0], &by[0], len(idx), len(y))
	}
	return true
}
