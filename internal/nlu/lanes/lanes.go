// Package lanes does arithmetic on rows of numbers, many at once where the
// machine can. What may live here: the few loops that learning and
// understanding spend their time in, each with a plain form for every machine.
package lanes

// Wide is what the length of Dot4's rows is a multiple of.
const Wide = 16

// Dot4 sets out to the products of the row w with the four rows of len(w) in
// x, one after another. The sums must fit 32 bits.
func Dot4(out *[4]int32, w []int8, x []int16) {
	x = x[:4*len(w)]
	if len(w)%Wide == 0 && len(w) > 0 && dot4(out, w, x) {
		return
	}
	for j := range out {
		row, sum := x[j*len(w):(j+1)*len(w)], int32(0)
		for i, v := range w {
			sum += int32(v) * int32(row[i])
		}
		out[j] = sum
	}
}

// Add adds by times x to y, number by number. x is as long as y. Product and
// sum are rounded one after the other, so that every machine gets the same.
func Add(y, x []float32, by float32) {
	x = x[:len(y)]
	n := add(y, x, by)
	y, x = y[n:], x[n:]
	for i, v := range x {
		y[i] += float32(by * v)
	}
}
