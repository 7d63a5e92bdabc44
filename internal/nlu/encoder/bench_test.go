package encoder

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkEncode reads a sentence of 13 pieces with the real encoder.
func BenchmarkEncode(b *testing.B) {
	dir := os.Getenv("PARLEY_NLU_ENCODER")
	if dir == "" {
		b.Skip("PARLEY_NLU_ENCODER names no folder with all-MiniLM-L6-v2 (model.safetensors, vocab.txt)")
	}
	var parts [2][]byte
	for i, name := range []string{"model.safetensors", "vocab.txt"} {
		var err error
		if parts[i], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			b.Fatal(err)
		}
	}
	e, err := Read(parts[0], parts[1])
	if err != nil {
		b.Fatal(err)
	}
	out := make([]float32, e.Dim())
	b.ReportAllocs()
	for b.Loop() {
		e.Encode(out, []byte("can you book me a table for two at seven"))
	}
}
