package nlu

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu/encoder"
)

// TestAccurate learns with a real sentence encoder: words that no lesson has
// are understood by what they mean, and the model asks for its encoder.
func TestAccurate(t *testing.T) {
	dir := os.Getenv("PARLEY_NLU_ENCODER")
	if dir == "" {
		t.Skip("PARLEY_NLU_ENCODER names no folder with all-MiniLM-L6-v2 (model.safetensors, vocab.txt)")
	}
	weights, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	words, err := os.ReadFile(filepath.Join(dir, "vocab.txt"))
	if err != nil {
		t.Fatal(err)
	}
	enc, err := encoder.Read(weights, words)
	if err != nil {
		t.Fatal(err)
	}
	m := train(t, lessons(), Options{Seed: 1, Encoder: enc})
	for text, want := range map[string]string{"I could eat a horse": "food", "shall we expect a thunderstorm": "rain", "brighten up my surroundings": "lamp"} {
		if u := m.Predict(text); u.Intent != want {
			t.Errorf("%q: got %s (%.2f), want %s", text, u.Intent, u.Score, want)
		}
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(bytes.NewReader(b.Bytes())); !errors.Is(err, ErrEncoder) {
		t.Errorf("without an encoder: got %v, want ErrEncoder", err)
	}
	again, err := ReadWith(bytes.NewReader(b.Bytes()), func(sum uint32) (*encoder.Encoder, error) { return enc, nil })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m.Predict("weather in Rome"), again.Predict("weather in Rome")); d != "" {
		t.Error(d)
	}
	other, err := encoder.Read(weights, append(words, "zxqvyzxqvy\n"...))
	if err == nil {
		t.Errorf("a vocabulary that does not fit was taken: %v", other.Sum())
	}
}
