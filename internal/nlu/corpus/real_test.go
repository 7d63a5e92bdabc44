package corpus

import (
	gocmp "cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/nlu/prebuilt"
)

// same compares projects; a list that is missing is one that is empty.
func same(t *testing.T, what string, want, got *Project) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		if len(diff) > 3000 {
			diff = diff[:3000]
		}
		t.Errorf("%s is another project (-want +got):\n%s", what, diff)
	}
}

// ordered is a copy with its entities in the order of their names, and with
// what LUIS writes where nothing was given: its files keep no order over all
// kinds of entity.
func ordered(p *Project) *Project {
	q := *p
	q.Version, q.Culture = gocmp.Or(q.Version, "0.1"), gocmp.Or(q.Culture, "en-us")
	q.Entities = slices.SortedFunc(slices.Values(p.Entities), func(a, b Definition) int { return strings.Compare(a.Name, b.Name) })
	return &q
}

// throughFolder writes p and reads it again: it must be the same.
func throughFolder(t *testing.T, p *Project) *Project {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := Write(dir, p); err != nil {
		t.Fatal(err)
	}
	read, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what was written and read", p, read)
	return read
}

// roundTrip writes p, reads it, exports it to LUIS and imports that.
func roundTrip(t *testing.T, p *Project) []Lost {
	t.Helper()
	b, lost, err := ExportLUIS(throughFolder(t, p))
	if err != nil {
		t.Fatal(err)
	}
	again, lost2, err := ImportLUIS(b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what was exported to LUIS and imported", ordered(p), ordered(again))
	return slices.Concat(lost, lost2)
}

func TestRealApp(t *testing.T) {
	data := os.Getenv("PARLEY_NLU_DATA")
	if data == "" {
		t.Skip("set PARLEY_NLU_DATA to the folder with luis/hwu64_fold1.luis.json and hwu64.jsonl: they are not in the tree")
	}
	b, err := os.ReadFile(filepath.Join(data, "luis", "hwu64_fold1.luis.json"))
	if err != nil {
		t.Fatal(err)
	}
	p, lost, err := ImportLUIS(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(lost) > 0 {
		t.Errorf("the real app loses %d things, first %v", len(lost), lost[0])
	}
	n, marks := 0, 0
	for _, in := range p.Intents {
		n += len(in.Utterances)
		for _, u := range in.Utterances {
			marks += len(u.Marks)
		}
	}
	if n != 9960 || marks != 8253 || len(p.Intents) != 64 || len(p.Entities) != 11 {
		t.Errorf("imported %d utterances, %d marks, %d intents, %d entities; want 9960, 8253, 64, 11", n, marks, len(p.Intents), len(p.Entities))
	}
	if lost := roundTrip(t, p); len(lost) > 0 {
		t.Errorf("the way round loses %v", lost)
	}
	lu, lost, err := ExportLU(p)
	if err != nil {
		t.Fatal(err)
	}
	again, lost2, err := ImportLU(fstest.MapFS{"app.lu": {Data: lu}}, "app.lu")
	if err != nil || len(lost)+len(lost2) > 0 {
		t.Errorf("the way through .lu: %v, %v, %v", lost, lost2, err)
	} else {
		same(t, "what went through .lu", ordered(p), ordered(again))
	}
	f, err := os.Open(filepath.Join(data, "hwu64.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := ReadAll(f, "hwu64.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	q, lost, err := FromExamples("hwu64", "en", lines)
	if err != nil || len(lost) != 1 {
		t.Fatalf("FromExamples: %v, %v", lost, err)
	}
	roundTrip(t, withoutTests(q))
	if got := len(q.Examples()); got != len(lines) {
		t.Errorf("%d examples came back of %d", got, len(lines))
	}
}

// withoutTests is a copy that LUIS has a place for.
func withoutTests(p *Project) *Project {
	q := *p
	q.Version, q.Culture = "1", "en"
	q.Intents = slices.Clone(p.Intents)
	for i := range q.Intents {
		q.Intents[i].Tests = nil
	}
	return &q
}

func TestExampleProject(t *testing.T) {
	p, err := Read(filepath.Join("..", "..", "..", "examples", "nlu", "cityguide"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "City guide" || len(p.Intents) != 7 || len(p.Entities) != 8 || len(p.Phrases) != 2 {
		t.Errorf("read %q with %d intents, %d entities, %d phrase lists", p.Name, len(p.Intents), len(p.Entities), len(p.Phrases))
	}
	var train, test int
	for _, e := range p.Examples() {
		if err := e.Check(); err != nil {
			t.Errorf("%q: %v", e.Text, err)
		}
		if e.Split == Test {
			test++
		} else {
			train++
		}
	}
	if train < 60 || test != 12 {
		t.Errorf("%d lines to learn from and %d tests", train, test)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if err := Write(dir, p); err != nil {
		t.Fatal(err)
	}
	again, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the copy of the example", p, again)
}

// The documentation shows what can be read.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "nlu.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		_, rest, ok := strings.Cut(string(b), "```"+language+"\n")
		text, _, whole := strings.Cut(rest, "```")
		if !ok || !whole {
			t.Fatalf("docs/nlu.md has no block of %s", language)
		}
		return text
	}
	p, err := ReadFS(folder(map[string]string{"model.yaml": block("yaml")}))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Intents) != 3 || len(p.Entities) != 4 {
		t.Errorf("%d intents and %d entities", len(p.Intents), len(p.Entities))
	}
	if es, err := ReadAll(strings.NewReader(block("json")), "docs/nlu.md"); err != nil || len(es) != 1 {
		t.Errorf("%v, %v", es, err)
	}
	for _, key := range []string{"values", "pattern", "prebuilt", "parts", "children", "any", "explicit", "roles", "uses"} {
		if !strings.Contains(string(b), "`"+key+"`") {
			t.Errorf("docs/nlu.md says nothing of %s, a key of an entity", key)
		}
	}
	for _, k := range prebuilt.Kinds() {
		if !strings.Contains(string(b), "`"+string(k)+"`") {
			t.Errorf("docs/nlu.md says nothing of the prebuilt kind %s", k)
		}
	}
}
