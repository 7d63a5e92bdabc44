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

// Mix adds to y the rows that idx names, each times its by, one after another:
// what Add does for each of them, to the last bit, without putting y away in
// between. rows holds rows of len(y), and every number of idx is one of them.
func Mix(y, rows []float32, idx []int32, by []float32) {
	by = by[:len(idx)]
	if mix(y, rows, idx, by) {
		return
	}
	for k, i := range idx {
		Add(y, rows[int(i)*len(y):(int(i)+1)*len(y)], by[k])
	}
}
