package corpus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// onDisk is all files under dir with what is in them.
func onDisk(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newProject(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text := "entities:\n  room:\n  order:\n    children:\n      size:\nintents:\n  lamp: |\n    - light in the [hall](room)\n  a b: |\n    - x\n  a-b: |\n    - y\n"
	if err := os.WriteFile(filepath.Join(dir, "model.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAdd(t *testing.T) {
	dir := newProject(t)
	first := []Example{
		{Text: "lights in the cellar: [on] \\ now", Intent: "lamp", Entities: []Entity{{Start: 14, End: 20, Type: "room"}}},
		{Text: "one", Intent: "a b"},
		{Text: "two", Intent: "a-b"},
		{Text: "tell me a joke", Intent: None},
		{Text: "the lamp please", Intent: "lamp", Split: Test},
	}
	files, err := Add(dir, first)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"learned/lamp.yaml", "learned/a-b.yaml", "learned/a-b-2.yaml", "learned/None.yaml", "learned/lamp-tests.yaml"}, files); d != "" {
		t.Error(d)
	}
	if _, err := Add(dir, []Example{{Text: "a big lamp", Intent: "lamp", Entities: []Entity{{Start: 2, End: 10, Type: "order"}, {Start: 2, End: 5, Type: "order/size"}}}, {Text: "three", Intent: "a-b"}}); err != nil {
		t.Fatal(err)
	}
	want := "intents:\n  lamp: |\n    - lights in the [cellar](room): \\[on\\] \\\\ now\n    - a [[big](size) lamp](order)\n"
	if d := cmp.Diff(want, onDisk(t, dir)["learned/lamp.yaml"]); d != "" {
		t.Error(d)
	}
	p, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, in := range p.Intents {
		lines[in.Name] = len(in.Utterances)*10 + len(in.Tests)
	}
	if d := cmp.Diff(map[string]int{"lamp": 31, "a b": 20, "a-b": 30, None: 10}, lines); d != "" {
		t.Error(d)
	}
}

// Whatever is wrong, the folder stays as it was.
func TestAddNothing(t *testing.T) {
	good := Example{Text: "more light", Intent: "lamp"}
	for name, tt := range map[string]struct {
		bad  Example
		have string // in learned/lamp.yaml
		want string
	}{
		"empty":        {bad: Example{Text: " ", Intent: "lamp"}, want: "example 2"},
		"no intent":    {bad: Example{Text: "x"}, want: "name is missing"},
		"entity":       {bad: Example{Text: "hall", Intent: "lamp", Entities: []Entity{{End: 4, Type: "rom"}}}, want: `no entity "rom"`},
		"off the text": {bad: Example{Text: "hall", Intent: "lamp", Entities: []Entity{{End: 5, Type: "room"}}}, want: "off the text"},
		"by hand":      {bad: good, have: "intents:\n  lamp: |\n    - x\n  other: |\n    - y\n", want: "changed by hand"},
		"broken":       {bad: good, have: "intents:\n  lamp: |\n    - [x](\n", want: "learned/lamp.yaml:3"},
	} {
		dir := newProject(t)
		if tt.have != "" {
			if err := os.Mkdir(filepath.Join(dir, addedDir), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, addedDir, "lamp.yaml"), []byte(tt.have), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := onDisk(t, dir)
		if _, err := Add(dir, []Example{good, tt.bad}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if d := cmp.Diff(before, onDisk(t, dir)); d != "" {
			t.Errorf("%s: the folder changed: %s", name, d)
		}
	}
}

// Places name the line of each example.
func TestReadPlaces(t *testing.T) {
	dir := newProject(t)
	if _, err := Add(dir, []Example{{Text: "one", Intent: "a b"}, {Text: "lamp", Intent: "lamp", Split: Test}}); err != nil {
		t.Fatal(err)
	}
	p, places, err := ReadPlaces(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Place{}
	for i, e := range p.Examples() {
		got[e.Text] = places[i]
	}
	want := map[string]Place{
		"x": {"model.yaml", 10}, "one": {"learned/a-b.yaml", 3}, "y": {"model.yaml", 12},
		"light in the hall": {"model.yaml", 8}, "lamp": {"learned/lamp-tests.yaml", 3},
	}
	if d := cmp.Diff(want, got); d != "" || len(places) != len(want) {
		t.Errorf("%d places: %s", len(places), d)
	}
}
