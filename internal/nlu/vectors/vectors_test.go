package vectors

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"
)

func english(t testing.TB) *Table {
	t.Helper()
	table, err := English()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func likeness(table *Table, a, b string) float64 {
	x, y := make([]float32, table.Dim()), make([]float32, table.Dim())
	table.Add(x, []byte(a))
	table.Add(y, []byte(b))
	var xy, xx, yy float64
	for i := range x {
		xy += float64(x[i] * y[i])
		xx += float64(x[i] * x[i])
		yy += float64(y[i] * y[i])
	}
	return xy / math.Sqrt(xx*yy)
}

func TestMeaning(t *testing.T) {
	table := english(t)
	for _, tt := range []struct{ word, near, far string }{
		{"rain", "snow", "invoice"},
		{"pizza", "sandwich", "train"},
		{"buy", "purchase", "sleep"},
		{"lamps", "lights", "money"}, // perhaps put together from parts
	} {
		if near, far := likeness(table, tt.word, tt.near), likeness(table, tt.word, tt.far); near < far+0.1 {
			t.Errorf("%s: %.2f like %s, %.2f like %s", tt.word, near, tt.near, far, tt.far)
		}
	}
	if c := table.Classes([]byte("monday")); c.Coarse == 0 || c != table.Classes([]byte("monday")) || table.Classes([]byte("mondayish")) != (Classes{}) {
		t.Errorf("classes of monday: %v", c)
	}
	if table.Weight([]byte("the")) >= table.Weight([]byte("umbrella")) {
		t.Error("a frequent word adds more than a rare one")
	}
}

// small is a table of two words with two numbers each.
func small() []byte {
	b := append([]byte(magic), 2, 0, 2, 0, 0, 0)
	b = append(b, "\x02ab\x04##cd"...)
	for range 2 {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(0.5))
		b = append(b, 3, 4, 0)
	}
	b = append(b, 1, 2, 3, 0xFF)
	return seal(b)
}

func seal(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.ChecksumIEEE(body))
}

func TestRead(t *testing.T) {
	table, err := Read(small())
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]float32, 2)
	table.Add(sum, []byte("abcd")) // the mean of both parts
	if sum[0] != 1 || sum[1] != 0.25 {
		t.Errorf("got %v, want [1 0.25]", sum)
	}
	table.Add(sum, []byte("abxx"))
	if sum[0] != 1 || sum[1] != 0.25 {
		t.Errorf("a word that can't be put together added something: %v", sum)
	}
	for i := range small() {
		bad := small()
		bad[i]++
		if _, err := Read(bad); err == nil {
			t.Errorf("byte %d changed: no error", i)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(small()[:len(small())-4])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, body []byte) {
		table, err := Read(seal(body))
		if err != nil {
			return
		}
		table.Add(make([]float32, table.Dim()), []byte("abcd"))
		table.Classes([]byte("ab"))
	})
}

// BenchmarkRead is what the first model costs.
func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		if _, err := Read(file); err != nil {
			b.Fatal(err)
		}
	}
}
