package yamlfile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read reads b with keys of every kind and returns what was found and said.
func read(b string) (found []string, said Problems) {
	root, line, err := Parse([]byte(b))
	if err != nil {
		return nil, Problems{{File: "f", Line: line, Text: err.Error()}}
	}
	if root == nil {
		return nil, nil
	}
	r := Reader{Say: func(line int, hint, text string) { said = append(said, Problem{"f", line, text, hint}) }}
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	r.Mapping(root, "", map[string]func(*Node){
		"text":  func(n *Node) { s, ok := r.Text(n, "text"); add("%q %v", s, ok) },
		"texts": func(n *Node) { add("%q", r.Texts(n, "texts")) },
		"flag":  func(n *Node) { add("%v", r.Flag(n, "flag")) },
		"block": func(n *Node) {
			if IsBlock(n) {
				r.Block(n, func(line int, text string) { add("%d %s", line, text) })
			}
		},
		"pairs": func(n *Node) { r.Pairs(n, "pairs", func(k, v *Node) { add("%s: %s", k.Value, Found(v)) }) },
	})
	return found, said
}

func TestReader(t *testing.T) {
	for _, tt := range []struct {
		file        string
		found, said []string
	}{
		{"", nil, nil},
		{"# only people\n", nil, nil},
		{"text: no\n", []string{`"no" true`}, nil},
		{"text: 1.0\ntexts: [a, 12, null]\n", []string{`"1.0" true`, `["a" "12" "null"]`}, nil},
		{"texts: a\nflag: true\npairs:\n  a: 1\n  b: [x]\n  c:\n", []string{`["a"]`, "true", `a: "1"`, "b: a list", "c: nothing"}, nil},
		{"block: |\n  # people\n\n  - one: two\n  - 'three'\n", []string{"4 one: two", "5 'three'"}, nil},
		{"block: |\n  -\n  x\n", nil, []string{"f:2: the line is empty (remove the line)", `f:3: "x" does not begin with - (write "- " before it)`}},
		{"textt: a\nother: b\n", nil, []string{`f:1: there is no key "textt" here (did you mean "text"?)`, `f:2: there is no key "other" here (known here: block, flag, pairs, text, texts)`}},
		{"text: {a: b}\nflag: yes\ntexts: [[a]]\n", []string{`"" false`, "false", "[]"}, []string{
			`f:1: text: wanted a text, found keys and values (put quotes around a text with ": " in it)`, `f:2: flag: wanted true or false, found "yes"`,
			"f:3: texts: wanted a text, found a list (put quotes around a text that begins with [)",
		}},
		{"text: a\ntext: b\n", []string{`"a" true`}, []string{`f:2: "text" stands here twice (keep one)`}},
		{"text: &x a\npairs: {y: *x}\n", nil, []string{"f:1: references (&name, *name) are not used here (write it out)", "f:2: references (&name, *name) are not used here (write it out)"}},
		{"- a\n", nil, []string{"f:1: this file: wanted keys and values (key: value), found a list"}},
		{"a: 1\n---\nb: 2\n", nil, []string{"f: YAML: there are several documents in it (---)"}},
		{"text: a\npairs: {\n", nil, []string{"f:3: YAML: while parsing a flow node: did not find"}},
		{"a: b: c\n", nil, []string{"f:1: YAML: mapping values are not allowed"}},
		{"a: 1\nb: 'x\n", nil, []string{"f:3: YAML: while scanning a quoted scalar: found unexpected end"}},
	} {
		found, said := read(tt.file)
		if diff := cmp.Diff(tt.found, found); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.file, diff)
		}
		if len(said) != len(tt.said) {
			t.Errorf("%q: said %v, want %q", tt.file, said, tt.said)
			continue
		}
		for i, want := range tt.said {
			if !strings.HasPrefix(said[i].String(), want) {
				t.Errorf("%q: said %s, want %s", tt.file, said[i], want)
			}
		}
	}
}

func TestNear(t *testing.T) {
	for word, want := range map[string]string{"tonw": `did you mean "town"?`, "Town": `did you mean "town"?`, "city": "", "": "", "peple": `did you mean "people"?`} {
		if got := Near(word, []string{"people", "town"}); got != want {
			t.Errorf("%q: %s", word, got)
		}
	}
}

func TestProblemsInOrder(t *testing.T) {
	err := Problems{{File: "b", Line: 1, Text: "x"}, {File: "a", Line: 9, Text: "y", Hint: "z"}, {File: "a", Line: 2, Text: "w"}}.Err()
	if err == nil || err.Error() != "a:2: w\na:9: y (z)\nb:1: x" {
		t.Errorf("%v", err)
	}
	if Problems(nil).Err() != nil {
		t.Error("no problem is one")
	}
	if s := Clip(strings.Repeat("é", 100)); len([]rune(s)) != 60 {
		t.Errorf("clipped to %q", s)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"text: a\ntexts: [a]\nflag: true\n", "block: |\n  - a\npairs: {a: *b}\n", "a: [\n", "? [a]\n: b\n", "<<: {a: b}\n", "!!binary a: b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, said := read(s)
		for _, p := range said {
			if p.Text == "" || p.Line < 0 || p.Line > strings.Count(s, "\n")+strings.Count(s, "\r")+strings.Count(s, "\u0085")+strings.Count(s, "\u2028")+strings.Count(s, "\u2029")+2 {
				t.Fatalf("%+v of %q", p, s)
			}
		}
	})
}
