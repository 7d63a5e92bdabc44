package finder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// A real LUIS app and what comes back of it when it is exported and imported
// again teach the same: every answer is the same, to the last digit.
func TestRealAppComesBack(t *testing.T) {
	data := os.Getenv("PARLEY_NLU_DATA")
	if data == "" {
		t.Skip("set PARLEY_NLU_DATA to the folder with luis/hwu64_fold1.luis.json: it is not in the tree")
	}
	b, err := os.ReadFile(filepath.Join(data, "luis", "hwu64_fold1.luis.json"))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := corpus.ImportLUIS(b)
	if err != nil {
		t.Fatal(err)
	}
	exported, _, err := corpus.ExportLUIS(p)
	if err != nil {
		t.Fatal(err)
	}
	q, _, err := corpus.ImportLUIS(exported)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Said     nlu.Understanding
		Entities []Entity
	}
	answers := func(p *corpus.Project) (out []answer) {
		m, _, err := nlu.Train(t.Context(), Lessons(p), nlu.Options{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range p.Intents {
			for _, u := range in.Utterances[:min(20, len(in.Utterances))] {
				text := "please " + u.Text
				said := m.Predict(text)
				var marks []Mark
				for _, e := range said.Entities {
					marks = append(marks, Mark(e))
				}
				out = append(out, answer{said, f.Find(text, wednesday, marks)})
			}
		}
		return out
	}
	before := answers(p)
	if len(before) < 1000 {
		t.Fatalf("only %d texts", len(before))
	}
	if diff := cmp.Diff(before, answers(q)); diff != "" {
		t.Errorf("(-before +after):\n%.2000s", diff)
	}
}
