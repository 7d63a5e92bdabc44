// Package vectors holds a small table of English words as points: words that
// mean much the same lie close to each other. What may live here: the table,
// how it is made (distill.py) and how it is read.
package vectors

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
)

// words.bin is distilled from sentence-transformers/all-MiniLM-L6-v2
// (Apache-2.0) by distill.py beside it.
//
//go:embed words.bin
var file []byte

// Table is a table of words and parts of words. It is safe for use by many.
type Table struct {
	dim     int
	slots   []int32 // open addressing by hash, row+1; 0 = empty
	words   []byte  // all words, one after another
	starts  []uint32
	scales  []float32
	classes []Classes
	cells   []byte // rows of dim signed bytes
	sum     uint32
}

// Classes are the numbers of a word's coarse and fine class of meaning, from
// 1 on. 0 is a word that the table does not have.
type Classes struct{ Coarse, Fine uint16 }

// English returns the table that is part of the program. It is unpacked by
// the first call, in a few milliseconds.
var English = sync.OnceValues(func() (*Table, error) { return Read(file) })

const magic = "PWV1"

// Read unpacks a table. The result keeps b.
func Read(b []byte) (*Table, error) {
	short := errors.New("read word vectors: the table is cut off")
	if len(b) < 14 {
		return nil, short
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if string(b[:4]) != magic {
		return nil, errors.New("read word vectors: this is no table of them")
	}
	if crc32.ChecksumIEEE(body) != sum {
		return nil, errors.New("read word vectors: the table is damaged")
	}
	dim, n := int(binary.LittleEndian.Uint16(b[4:])), int(binary.LittleEndian.Uint32(b[6:]))
	rest := body[10:]
	if dim == 0 || n > len(rest)/(1+7+dim) {
		return nil, short
	}
	t := &Table{dim: dim, sum: sum, starts: make([]uint32, 0, n+1), scales: make([]float32, n), classes: make([]Classes, n)}
	for range n {
		t.starts = append(t.starts, uint32(len(t.words)))
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return nil, short
		}
		t.words = append(t.words, rest[1:1+rest[0]]...)
		rest = rest[1+rest[0]:]
	}
	t.starts = append(t.starts, uint32(len(t.words)))
	if len(rest) != n*(7+dim) {
		return nil, fmt.Errorf("read word vectors: %d bytes for %d words of %d", len(rest), n, dim)
	}
	for i := range n {
		row := rest[7*i:]
		t.scales[i] = math.Float32frombits(binary.LittleEndian.Uint32(row))
		t.classes[i] = Classes{uint16(row[4]) + 1, binary.LittleEndian.Uint16(row[5:]) + 1}
	}
	t.cells = rest[7*n:]
	t.index(n)
	return t, nil
}

func (t *Table) index(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	t.slots = make([]int32, size)
	for i := range n {
		at := hash(t.row(int32(i)), false) & uint32(size-1)
		for t.slots[at] != 0 {
			at = (at + 1) & uint32(size-1)
		}
		t.slots[at] = int32(i) + 1
	}
}

// Dim returns how many numbers a word has.
func (t *Table) Dim() int { return t.dim }

// Sum returns the table's checksum: two tables with the same are the same.
func (t *Table) Sum() uint32 { return t.sum }

// Has says whether the table has the whole word.
func (t *Table) Has(word []byte) bool { return t.find(word, false) >= 0 }

// Weight says how much a whole word adds; 0 = the table does not have it. The
// more frequent a word is, the less it adds.
func (t *Table) Weight(word []byte) float32 {
	if i := t.find(word, false); i >= 0 {
		return t.scales[i]
	}
	return 0
}

// Classes returns the classes of a word that the table has as a whole.
func (t *Table) Classes(word []byte) Classes {
	if i := t.find(word, false); i >= 0 {
		return t.classes[i]
	}
	return Classes{}
}

// longest is the longest entry that is looked for.
const longest = 24

// Add adds a word's numbers to sum. A word that the table does not have is the
// mean of its parts, cut by the longest entry that fits; one that can't be cut
// so adds nothing.
func (t *Table) Add(sum []float32, word []byte) {
	if i := t.find(word, false); i >= 0 {
		t.add(sum, i, 1)
		return
	}
	var parts [12]int32
	n := 0
	for rest := word; len(rest) > 0; n++ {
		if n == len(parts) {
			return
		}
		end := min(len(rest), longest)
		i := int32(-1)
		for ; end > 0; end-- {
			if i = t.find(rest[:end], n > 0); i >= 0 {
				break
			}
		}
		if i < 0 {
			return
		}
		parts[n], rest = i, rest[end:]
	}
	for _, i := range parts[:n] {
		t.add(sum, i, 1/float32(n))
	}
}

func (t *Table) add(sum []float32, row int32, weight float32) {
	cells := t.cells[int(row)*t.dim:][:len(sum)]
	f := weight * t.scales[row]
	for i, c := range cells {
		sum[i] += f * float32(int8(c))
	}
}

func (t *Table) row(i int32) []byte { return t.words[t.starts[i]:t.starts[i+1]] }

// find returns a word's row, or -1. Entries that go on within a word are
// written with ## before them.
func (t *Table) find(word []byte, inside bool) int32 {
	mask := uint32(len(t.slots) - 1)
	for at := hash(word, inside) & mask; ; at = (at + 1) & mask {
		i := t.slots[at] - 1
		if i < 0 {
			return -1
		}
		got := t.row(i)
		if inside {
			if len(got) > 2 && got[0] == '#' && string(got[2:]) == string(word) {
				return i
			}
		} else if string(got) == string(word) {
			return i
		}
	}
}

func hash(word []byte, inside bool) uint32 {
	h := uint32(2166136261)
	if inside {
		h = (h ^ '#') * 16777619
		h = (h ^ '#') * 16777619
	}
	for _, c := range word {
		h = (h ^ uint32(c)) * 16777619
	}
	return h ^ h>>15
}
