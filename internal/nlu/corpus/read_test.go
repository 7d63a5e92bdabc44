package corpus

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func folder(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestReadEverything(t *testing.T) {
	got, err := ReadFS(folder(map[string]string{
		"b/two.yml":      "intents:\n  ask:\n    - 'later: no'\n    - off\n",
		".hidden/x.yaml": "nonsense: [",
		"notes.txt":      "no: [",
		"empty.yaml":     "# nothing yet\n",
		"z.lu":           "# ask\n- {@n=7}\n",
		"one.yaml": `name: no
version: 1.0
culture: de
entities:
  n: {prebuilt: [number, ordinal], roles: many}
  list:
    values: [yes, 12]
  tree: {children: {leaf: {of: n, uses: [words]}}}
  free: {any: true, explicit: ["a b"]}
phrases:
  words: [a, b]
  more: {words: c, synonyms: true, local: true, off: true}
intents:
  ask: |
    # a comment

    - yes
    - null
    - "quoted": {braces} # and all
    - [[1](leaf) of [2](/n:many)](tree)
  empty:
  none left: []
tests:
  ask: ["[3](n)"]
  None: |
    - what
`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := &Project{
		Name: "no", Version: "1.0", Culture: "de",
		Entities: []Definition{
			{Name: "n", Prebuilts: []string{"number", "ordinal"}, Roles: []string{"many"}},
			{Name: "list", Values: []Value{{Name: "yes"}, {Name: "12"}}},
			{Name: "tree", Children: []Definition{{Name: "leaf", Of: "n", Uses: []string{"words"}}}},
			{Name: "free", Any: true, Explicit: []string{"a b"}},
		},
		Phrases: []Phrases{{Name: "words", Words: []string{"a", "b"}}, {Name: "more", Words: []string{"c"}, Synonyms: true, Local: true, Off: true}},
		Intents: []Intent{
			{Name: "None", Tests: []Utterance{{Text: "what"}}},
			{
				Name: "ask",
				Utterances: []Utterance{
					{Text: "later: no"},
					{Text: "off"},
					{Text: "yes"},
					{Text: "null"},
					{Text: `"quoted": {braces} # and all`},
					{"1 of 2", []Entity{{0, 6, "tree", ""}, {0, 1, "tree/leaf", ""}, {5, 6, "n", "many"}}},
					{"7", []Entity{{0, 1, "n", ""}}},
				},
				Tests: []Utterance{{"3", []Entity{{0, 1, "n", ""}}}},
			},
			{Name: "empty"},
			{Name: "none left"},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	dir := filepath.Join(t.TempDir(), "deep", "copy")
	if err := Write(dir, got); err != nil {
		t.Fatal(err)
	}
	again, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the copy", got, again)
}

// Every problem is there at once, each with its file and line.
func TestReadProblems(t *testing.T) {
	_, err := ReadFS(folder(map[string]string{
		"a.yaml": `name: x
colour: red
culture: "1"
entities:
  town: {vlaues: [a]}
  n: {prebuilt: nubmer}
  re: {pattern: '('}
  blank: {pattern: 'a*'}
  ahead: {pattern: 'a(?=b)'}
  group: {parts: [towm]}
  kind: {any: maybe}
  texts: {explicit: [a]}
  "a/b":
  twice: {roles: [r, r]}
  town:
phrases:
  n: [x]
intents:
  ask: |
    - to [Bonn](towm)
    - to [Bonn](town:from)
    - to [Bonn
    -
    no dash
  tell: folded
  ask: []
tests:
  aks: |
    - hello
`,
		"b.yaml":    "name: y\nintents:\n  ask: {utterances: [a], uses: [nothing], patterns: ['{x}', 'a (']}\n  list: [{a: b}, [c]]\n  colon:\n    - later: no\n",
		"c.yaml":    "intents: {x: [&a y, *a]}\n",
		"d.yaml":    "a: [\n",
		"e.yaml":    "- 1\n",
		"f.yaml":    "a: 1\n---\nb: 2\n",
		"g.yaml":    "\xff",
		"h.lu":      "- lost\n# ask\n- {@town\nwhat\n@ regex\n",
		"i.yaml":    "intents:\n  ask:\n    <<: {utterances: []}\n",
		"sub/j.yml": "intents:\n  tell: |\n\n\n    - \u2028\n    - a\u0301 [x](town) [\n",
	}))
	var got Problems
	if !errors.As(err, &got) {
		t.Fatal(err)
	}
	want := []string{
		`a.yaml:2: there is no key "colour" here (known here: culture, description, entities, intents, name, phrases, tests, version)`,
		`a.yaml:3: culture "1" is no language`,
		`a.yaml:5: there is no key "vlaues" here (did you mean "values"?)`,
		`a.yaml:6: there is no prebuilt kind "nubmer" (one of number,`,
		`a.yaml:7: the pattern "(" can't be read`,
		`a.yaml:8: the pattern "a*" matches nothing at all`,
		`a.yaml:9: the pattern "a(?=b)" looks around`,
		`a.yaml:10: there is no entity "towm" (did you mean "town"?)`,
		`a.yaml:11: any: wanted true or false, found "maybe"`,
		`a.yaml:12: explicit texts belong to an entity with any: true`,
		`a.yaml:13: entities: "a/b": a name has none of`,
		`a.yaml:14: role "r" stands here twice`,
		`a.yaml:15: "town" stands here twice`,
		`a.yaml:17: "n" is defined at a.yaml:6 already`,
		`a.yaml:20: there is no entity "towm" (did you mean "town"?)`,
		`a.yaml:21: entity "town" has no role "from"`,
		`a.yaml:22: the mark that begins at "[Bonn" has no end`,
		`a.yaml:23: the line is empty`,
		`a.yaml:24: "no dash" does not begin with - (write "- " before it)`,
		`a.yaml:25: tell: wanted utterances, found "folded"`,
		`a.yaml:26: "ask" stands here twice`,
		`a.yaml:29: there is no intent "aks" to test (did you mean "ask"?)`,
		`b.yaml:1: name stands at a.yaml:1 already`,
		`b.yaml:3: uses: there is no entity or phrase list "nothing"`,
		`b.yaml:3: there is no entity "x"`,
		`b.yaml:3: ( has no end`,
		`b.yaml:4: list: wanted a text, found keys and values`,
		`b.yaml:4: list: wanted a text, found a list`,
		`b.yaml:6: colon: wanted a text, found keys and values (put quotes around`,
		`c.yaml:1: x: wanted a text, found a reference`,
		`d.yaml:2: YAML: `,
		`e.yaml:1: this file: wanted keys and values`,
		`f.yaml: YAML: there are several documents`,
		`g.yaml:1: this is not UTF-8 text`,
		`h.lu:1: "lost" belongs to no intent and no entity`,
		`h.lu:3: { has no "name="`,
		`h.lu:4: "what" is nothing that a .lu file can hold`,
		`h.lu:5: a name is missing`,
		`i.yaml:3: only plain words can be keys here`,
		`sub/j.yml:5: the line is empty`,
		`sub/j.yml:6: the mark that begins at "["`,
	}
	sameProblems(t, got, want)
	for i := 1; i < len(got); i++ {
		if got[i].File == got[i-1].File && got[i].Line < got[i-1].Line {
			t.Errorf("%s comes after %s", got[i], got[i-1])
		}
	}
}

// sameProblems checks that each of want begins one of got, and none is left.
func sameProblems(t *testing.T, got Problems, want []string) {
	t.Helper()
	left := got
	for _, w := range want {
		found := false
		for i, p := range left {
			if strings.HasPrefix(p.String(), w) {
				left = append(append(Problems{}, left[:i]...), left[i+1:]...)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("nobody says %s", w)
		}
	}
	for _, p := range left {
		t.Errorf("unexpected: %s", p)
	}
}

func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was read")
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "no .yaml") {
		t.Errorf("an empty folder: %v", err)
	}
	outside := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(outside, []byte("name: secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	if p, err := Read(dir); err == nil {
		t.Errorf("a link out of the folder was followed: %+v", p)
	}
	many := &draft{}
	for range 3 * mostProblems {
		many.sayf(place{"x", 1}, "", "wrong")
	}
	if n := len(many.problems); n != mostProblems+1 {
		t.Errorf("%d problems are kept", n)
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	p := &Project{Name: "x", Intents: []Intent{{Name: "a", Utterances: []Utterance{{Text: "b"}}}}}
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(full, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(full, p); err != nil {
		t.Errorf("an empty folder was refused: %v", err)
	}
	if err := Write(full, p); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a project was written over: %v", err)
	}
	bad := &Project{Intents: []Intent{{Name: "a", Utterances: []Utterance{{"b", []Entity{{0, 1, "unknown", ""}}}}}}}
	if err := Write(filepath.Join(dir, "bad"), bad); err == nil {
		t.Error("a project that can't be read was written")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left over: %v, %v", left, err)
	}
	two := &Project{Intents: []Intent{{Name: "A b"}, {Name: "a-b"}, {Name: "a.b"}, {Name: "日本"}, {Name: strings.Repeat("é", 90)}}}
	two.sort()
	if n := len(Files(two)); n != 6 {
		t.Errorf("5 intents made %d files", n)
	}
	if err := Write(filepath.Join(dir, "two"), two); err != nil {
		t.Error(err)
	}
}

// FuzzRead reads any two files as a project; one that is read is written and
// read as the same.
func FuzzRead(f *testing.F) {
	f.Add("name: x\nentities: {e: {children: {c: }}}\nintents:\n  a: |\n    - [[b](c)](e)\n", "# a\n- {@e={@c=x} y}\n@ list l =\n  - v :\n    - w\n")
	f.Add("tests: {None: [a]}\nphrases: {p: {words: [x], off: true}}\n", "$l:v=\n- w\n$PREBUILT:number\n# b\n- [x] {y}\n")
	f.Add("intents: {a: {uses: [a], patterns: [b], description: \"\\n\"}}\n", "@ ml x =\n- @ number y\n  - @ ml z\n> !# @app.name = q\n")
	f.Fuzz(func(t *testing.T, yaml, lu string) {
		p, err := ReadFS(folder(map[string]string{"a.yaml": yaml, "b.lu": lu}))
		if err != nil {
			if ps := Problems(nil); !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if err := p.Check(); err != nil {
			t.Fatalf("it was read but is wrong: %v", err)
		}
		again, err := ReadFS(folder(Files(p)))
		if err != nil {
			t.Fatalf("%v\nof %q", err, Files(p))
		}
		if diff := cmp.Diff(p, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-read +again):\n%s\nof %q", diff, Files(p))
		}
	})
}
