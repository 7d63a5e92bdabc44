package encoder

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nrain\n##y\n##ing\ntoday\nin\n?\n'\ns\n"

// tiny returns the weights of a model with one layer of one head, by chance.
func tiny() []byte {
	rng := rand.New(rand.NewPCG(1, 1))
	const dim, wide, words = headSize, 48, 12
	head, data := map[string]any{"__metadata__": map[string]string{"format": "pt"}}, []byte(nil)
	put := func(name string, shape ...int) {
		n, from := 1, len(data)
		for _, k := range shape {
			n *= k
		}
		for range n {
			v := float32(rng.NormFloat64() * 0.3)
			if strings.HasSuffix(name, "Norm.weight") {
				v++
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		head[name] = tensor{Type: "F32", Shape: shape, Places: [2]int{from, len(data)}}
	}
	put("embeddings.word_embeddings.weight", words, dim)
	put("embeddings.position_embeddings.weight", most, dim)
	put("embeddings.token_type_embeddings.weight", 2, dim)
	for _, l := range []struct {
		name    string
		out, in int
	}{
		{"attention.self.query", dim, dim},
		{"attention.self.key", dim, dim},
		{"attention.self.value", dim, dim},
		{"attention.output.dense", dim, dim},
		{"intermediate.dense", wide, dim},
		{"output.dense", dim, wide},
	} {
		put("encoder.layer.0."+l.name+".weight", l.out, l.in)
		put("encoder.layer.0."+l.name+".bias", l.out)
	}
	for _, n := range []string{"embeddings.LayerNorm", "encoder.layer.0.attention.output.LayerNorm", "encoder.layer.0.output.LayerNorm"} {
		put(n+".weight", dim)
		put(n+".bias", dim)
	}
	return file(head, data)
}

func file(head map[string]any, data []byte) []byte {
	h, err := json.Marshal(head)
	if err != nil {
		panic(err)
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(h))), h...), data...)
}

// reference computes the sentence of the ids as the paper says it, in 64 bits
// and without bytes for weights.
func reference(t *testing.T, weights []byte, ids []int32) []float64 {
	t.Helper()
	all, err := readTensors(weights)
	if err != nil {
		t.Fatal(err)
	}
	const dim = headSize
	get := func(name string) []float64 {
		one := all.head[name]
		var out []float64
		for at := one.Places[0]; at < one.Places[1]; at += 4 {
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(all.data[at:]))))
		}
		return out
	}
	linear := func(name string, x []float64) []float64 {
		w, out := get("encoder.layer.0."+name+".weight"), get("encoder.layer.0."+name+".bias")
		for r := range out {
			for k, v := range x {
				out[r] += w[r*len(x)+k] * v
			}
		}
		return out
	}
	norm := func(name string, x, y []float64) []float64 {
		gain, out := get(name+".weight"), get(name+".bias")
		var mean, square float64
		for k := range x {
			x[k] += y[k]
			mean += x[k] / dim
		}
		for _, v := range x {
			square += (v - mean) * (v - mean) / dim
		}
		for k, v := range x {
			out[k] += gain[k] * (v - mean) / math.Sqrt(square+1e-12)
		}
		return out
	}
	var x, q, k, v [][]float64
	words, places, kind := get("embeddings.word_embeddings.weight"), get("embeddings.position_embeddings.weight"), get("embeddings.token_type_embeddings.weight")
	for i, id := range ids {
		row := make([]float64, dim)
		for j := range row {
			row[j] = words[int(id)*dim+j] + places[i*dim+j]
		}
		x = append(x, norm("embeddings.LayerNorm", row, kind))
		q, k, v = append(q, linear("attention.self.query", x[i])), append(k, linear("attention.self.key", x[i])), append(v, linear("attention.self.value", x[i]))
	}
	out := make([]float64, dim)
	for i := range ids {
		var total float64
		mixed := make([]float64, dim)
		for j := range ids {
			var like float64
			for d := range q[i] {
				like += q[i][d] * k[j][d] / math.Sqrt(dim)
			}
			total += math.Exp(like)
			for d := range mixed {
				mixed[d] += math.Exp(like) * v[j][d]
			}
		}
		for d := range mixed {
			mixed[d] /= total
		}
		y := norm("encoder.layer.0.attention.output.LayerNorm", x[i], linear("attention.output.dense", mixed))
		wide := linear("intermediate.dense", y)
		for d, u := range wide {
			wide[d] = u / 2 * (1 + math.Erf(u/math.Sqrt2))
		}
		for d, u := range norm("encoder.layer.0.output.LayerNorm", y, linear("output.dense", wide)) {
			out[d] += u
		}
	}
	var square float64
	for _, u := range out {
		square += u * u
	}
	for d := range out {
		out[d] /= math.Sqrt(square)
	}
	return out
}

func TestEncode(t *testing.T) {
	weights := tiny()
	e, err := Read(weights, []byte(vocabulary))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "rain", "rainy today", "is it raining in here?", strings.Repeat("today ", 300)} {
		got := make([]float32, e.Dim())
		e.Encode(got, []byte(text))
		want := reference(t, weights, e.pieces.split(nil, []byte(text)))
		like, square := 0.0, 0.0
		for i, v := range want {
			last, early := float64(got[i]), float64(got[len(want)+i])
			like += last * v * math.Sqrt(1+earlyShare*earlyShare)
			square += last*last + early*early
			if math.Abs(early-earlyShare*last) > 1e-6 { // of one layer the earlier is the last
				t.Errorf("%.20q: %d: %f and %f", text, i, last, early)
			}
		}
		if like < 0.9995 || math.Abs(square-1) > 1e-5 {
			t.Errorf("%.20q: cosine %.5f with the reference, length %f", text, like, math.Sqrt(square))
		}
	}
}

func TestPieces(t *testing.T) {
	p, err := readPieces([]byte(vocabulary))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{
		"":                        {2, 3},
		"rain today":              {2, 4, 7, 3},
		"rainy\nraining?":         {2, 4, 5, 4, 6, 9, 3},
		"today's":                 {2, 7, 10, 11, 3},
		"rainx \xff 雨":            {2, 1, 1, 1, 3},
		strings.Repeat("in", 300): {2, 1, 3},
	} {
		if got := p.split(nil, []byte(text)); !slices.Equal(got, want) {
			t.Errorf("%.20q: got %v, want %v", text, got, want)
		}
	}
	if got := p.split(nil, []byte(strings.Repeat("rainy ", 1000))); len(got) != most || got[most-1] != p.end {
		t.Errorf("a long text becomes %d pieces that end with %d", len(got), got[len(got)-1])
	}
	for _, bad := range []string{"", "a\na\n", "[CLS]\n[SEP]\n"} {
		if _, err := readPieces([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(tiny(), []byte(vocabulary))
	f.Add(file(map[string]any{"a": 1}, nil), []byte("[CLS]"))
	f.Fuzz(func(t *testing.T, weights, words []byte) {
		e, err := Read(weights, words)
		if err != nil {
			return
		}
		out := make([]float32, e.Dim())
		e.Encode(out, []byte("rainy today?"))
	})
}

// minilm reads all-MiniLM-L6-v2.
func minilm(t testing.TB) *Encoder {
	t.Helper()
	dir := os.Getenv("PARLEY_NLU_ENCODER")
	if dir == "" {
		t.Skip("PARLEY_NLU_ENCODER names no folder with all-MiniLM-L6-v2 (model.safetensors, vocab.txt)")
	}
	var parts [2][]byte
	for i, name := range []string{"model.safetensors", "vocab.txt"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = b
	}
	e, err := Read(parts[0], parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestReal compares with what sentence-transformers makes of the sentences.
func TestReal(t *testing.T) {
	e := minilm(t)
	other, got := make([]float32, e.Dim()), make([]float32, e.Dim())
	e.Encode(other, []byte("is it going to be wet in the french capital"))
	for text, want := range map[string]float64{
		"will it rain in paris tomorrow?":        0.7137,
		"what's my account balance":              0.0022,
		"turn the unfathomably zxqvy lights off": -0.0215,
		"a":                                      0.0595,
	} {
		e.Encode(got, []byte(text))
		like := 0.0
		for i, v := range got[:e.dim] {
			like += float64(v) * float64(other[i]) * (1 + earlyShare*earlyShare)
		}
		if math.Abs(like-want) > 0.01 {
			t.Errorf("%s: %s", text, fmt.Sprintf("likeness %.4f, want %.4f", like, want))
		}
	}
}

func BenchmarkReal(b *testing.B) {
	e := minilm(b)
	out := make([]float32, e.Dim())
	for b.Loop() {
		e.Encode(out, []byte("will it rain in paris tomorrow or is it dry?"))
	}
}
