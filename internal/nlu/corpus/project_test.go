package corpus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestExamplesAreFlat(t *testing.T) {
	p := &Project{Entities: []Definition{
		{Name: "order", Children: []Definition{{Name: "item", Children: []Definition{{Name: "size"}}}}},
		{Name: "pair", Parts: []string{"n", "who"}},
		{Name: "n", Prebuilts: []string{"number"}},
		{Name: "who"},
	}}
	tests := []struct{ line, want string }{
		{"a [b](who) c [d](n)", "who:b n:d"},
		{"[[2](n) [men](who)](pair)", "n:2 who:men"},
		{"[a lot](pair)", "pair:a lot"},
		{"[[2](n) men](who)", "who:2 men"},
		{"[[big](size) cake](order/item)", "order/item/size:big"},
		{"[x [[big](size) cake](item) y](order)", "order/item/size:big"},
		{"[x [cake](item) y](order) [z](who)", "order/item:cake who:z"},
		{"[x y](order)", "order:x y"},
		{"[[[2](n) men](who)](pair)", "who:2 men"},
		{"[x [[2](n) men](who)](order)", "order:x 2 men"},
	}
	for _, tt := range tests {
		u, err := ParseLine(tt.line)
		if err != nil {
			t.Fatal(err)
		}
		p.resolve(u.Marks)
		p.Intents = []Intent{{Name: "i", Utterances: []Utterance{u}}}
		if err := p.Check(); err != nil {
			t.Fatalf("%s: %v", tt.line, err)
		}
		var got []string
		for _, e := range p.Examples()[0].Entities {
			got = append(got, e.Type+":"+string([]rune(u.Text)[e.Start:e.End]))
		}
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("%s: %s, want %s", tt.line, g, tt.want)
		}
	}
}

func TestFromExamples(t *testing.T) {
	in := []Example{
		{Text: "b", Intent: "z", Entities: []Entity{{0, 1, "e", "r"}}, Split: Train},
		{Text: "a", Intent: "y", Split: Dev},
		{Text: "c", Intent: "z", Split: Test},
		{Text: "d e", Intent: "z", Entities: []Entity{{2, 3, "f", ""}, {0, 1, "e", "q"}}},
	}
	p, lost, err := FromExamples("n", "en", in)
	if err != nil || len(lost) != 1 || !strings.Contains(lost[0].Why, "1 lines") {
		t.Fatalf("%v, %v", lost, err)
	}
	want := &Project{
		Name: "n", Culture: "en",
		Entities: []Definition{{Name: "e", Roles: []string{"r", "q"}}, {Name: "f"}},
		Intents: []Intent{
			{Name: "y", Utterances: []Utterance{{Text: "a"}}},
			{Name: "z", Utterances: []Utterance{
				{"b", []Entity{{0, 1, "e", "r"}}},
				{"d e", []Entity{{0, 1, "e", "q"}, {2, 3, "f", ""}}},
			}, Tests: []Utterance{{Text: "c"}}},
		},
	}
	same(t, "what became of the examples", want, p)
	_, _, err = FromExamples("n", "en", []Example{{Text: "a", Intent: "b"}, {Text: "", Intent: "b"}, {Text: "a", Intent: "b", Entities: []Entity{{0, 2, "e", ""}}}})
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 2 || ps[0].File != "examples[1]" || ps[1].File != "examples[2]" {
		t.Errorf("bad examples: %v", err)
	}
}

func TestHold(t *testing.T) {
	var in []Example
	for i := range 100 {
		in = append(in, Example{Text: fmt.Sprint("line ", i), Intent: []string{"a", "b"}[i%2]})
	}
	in = append(in, Example{Text: "alone", Intent: "c"}, Example{Text: "kept", Intent: "a", Split: Dev})
	count := func(es []Example) (n int) {
		for _, e := range es {
			if e.Split == Test {
				n++
			}
		}
		return n
	}
	out := Hold(in, 0.2, 1)
	if n := count(out); n != 20 {
		t.Errorf("%d of 100 lines were held", n)
	}
	if out[100].Split == Test || out[101].Split != Dev || count(in) != 0 {
		t.Error("the only line, a dev line or the input was touched")
	}
	if !cmp.Equal(out, Hold(in, 0.2, 1)) || cmp.Equal(out, Hold(in, 0.2, 2)) {
		t.Error("the lot is not the seed's alone")
	}
	if n := count(Hold(in, 1, 1)); n != 98 {
		t.Errorf("all but one of each intent: %d", n)
	}
}

func TestReadLines(t *testing.T) {
	long := `{"text":"` + strings.Repeat("a", MostLine) + `","intent":"x"}`
	in := "\ufeff" + `{"text":"a 🍰 b","intent":"x","entities":[{"start":2,"end":3,"type":"cake","role":"r"}],"split":"dev"}

{"text":"b","intent":"x"}` + "\r\n" + `{"text":"c"}
{"text":"d","intent":"x","colour":1}
{"text":"e","intent":"x","entities":[{"start":0,"end":5,"type":"t"}]}
nothing
` + long + `
{"text":"f","intent":"x"} {}
{"text":"g","intent":"x","split":"later"}
{"text":"last","intent":"None"}`
	var good, bad []string
	for n, l := range ReadLines(strings.NewReader(in), "in") {
		if l.Err != nil {
			bad = append(bad, l.Err.Error())
			continue
		}
		good = append(good, fmt.Sprint(n, l.Example.Text, l.Example.Split))
	}
	if want := []string{"1a 🍰 bdev", "3b", "11last"}; !cmp.Equal(good, want) {
		t.Errorf("good lines %q, want %q", good, want)
	}
	for i, want := range []string{"in:4: intent", "in:5: this is no example", "in:6: the mark", "in:7: this is no example", "in:8: the line is longer", "in:9: there is something behind", `in:10: split "later"`} {
		if i >= len(bad) || !strings.HasPrefix(bad[i], want) {
			t.Errorf("bad lines %q; want %d to begin with %q", bad, i, want)
		}
	}
	if _, err := ReadAll(strings.NewReader(in), "in"); err == nil || strings.Count(err.Error(), "\n") != 6 {
		t.Errorf("all problems at once: %v", err)
	}
	broken := errors.New("cable cut")
	if _, err := ReadAll(iotest.ErrReader(broken), "in"); !errors.Is(err, broken) {
		t.Errorf("the reader's own error: %v", err)
	}
	var out bytes.Buffer
	if err := WriteLines(&out, []Example{{Text: "<a> & b", Intent: "x"}}); err != nil || out.String() != "{\"text\":\"<a> & b\",\"intent\":\"x\"}\n" {
		t.Errorf("written: %q, %v", out.String(), err)
	}
}

func TestParsePattern(t *testing.T) {
	found, err := ParsePattern(`^(a|b {x:from}) [c {@y}] \{z\} d^`)
	if want := []Entity{{Type: "x", Role: "from"}, {Type: "y"}}; err != nil || !cmp.Equal(found, want) {
		t.Errorf("%v, %v", found, err)
	}
	for _, s := range []string{"", "a {", "a {}", "(a", "a)", "(a]", "a | b", "[[[[a]]]]", strings.Repeat("a", 5*MostText)} {
		if _, err := ParsePattern(s); err == nil {
			t.Errorf("%s was taken", clip(s))
		}
	}
}

func TestLUISTests(t *testing.T) {
	p := &Project{
		Entities: []Definition{{Name: "when", Prebuilts: []string{"datetime"}}},
		Intents:  []Intent{{Name: "a", Utterances: []Utterance{{Text: "x"}}, Tests: []Utterance{{"🍰 today", []Entity{{2, 7, "when", ""}}}}}},
	}
	b, err := ExportLUISTests(p)
	if err != nil {
		t.Fatal(err)
	}
	var got []luisSaid
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if want := []luisSaid{{Text: "🍰 today", Intent: "a", Entities: []luisLabel{{Entity: "datetimeV2", StartPos: 3, EndPos: 7}}}}; !cmp.Equal(got, want) {
		t.Errorf("%s", b)
	}
}

func TestForeignJSON(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "LUIS app:1: unexpected end"},
		{"{\n\"intents\": 3}", "LUIS app:2: cannot unmarshal"},
		{"{}", "this is no export"},
		{"[]", "cannot unmarshal"},
		{"\x00\xff", "invalid character"},
	} {
		if _, _, err := ImportLUIS([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.in, err, tt.want)
		}
	}
	if _, _, err := ImportCLU([]byte(`{"metadata":{"projectKind":"Orchestration"}}`)); err == nil || !strings.Contains(err.Error(), "Orchestration") {
		t.Errorf("another kind of project: %v", err)
	}
	if _, _, err := ImportRasa([]byte("nlu:\n- intent: a\n  examples: |\n    - [b](c\n"), "x"); err == nil || !strings.Contains(err.Error(), "Rasa:4: the label of \"b\" has no )") {
		t.Errorf("a broken label: %v", err)
	}
	if _, _, err := ImportRasa([]byte("nlu: 3\n"), "x"); err == nil {
		t.Error("no list")
	}
}
