package corpus

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseLine(t *testing.T) {
	tests := []struct {
		line string
		want Utterance
	}{
		{"good morning", Utterance{Text: "good morning"}},
		{"  blanks around  ", Utterance{Text: "blanks around"}},
		{"a table for [two](people)", Utterance{"a table for two", []Entity{{12, 15, "people", ""}}}},
		{"[Oslo](city:from) to [Rome](city:to)!", Utterance{"Oslo to Rome!", []Entity{{0, 4, "city", "from"}, {8, 12, "city", "to"}}}},
		{"[[two](n) [big](size) ones](order)", Utterance{"two big ones", []Entity{{0, 12, "order", ""}, {0, 3, "n", ""}, {4, 7, "size", ""}}}},
		{"[[x](inner)](outer)", Utterance{"x", []Entity{{0, 1, "outer", ""}, {0, 1, "inner", ""}}}},
		{"[café](place) 🍰 [für](w)", Utterance{"café 🍰 für", []Entity{{0, 4, "place", ""}, {7, 10, "w", ""}}}},
		{"👩‍👩‍👧 and [e\u0301](x)", Utterance{"👩‍👩‍👧 and e\u0301", []Entity{{10, 12, "x", ""}}}},
		{`an \[aside\] and a \\ and (that) { } * # "`, Utterance{Text: `an [aside] and a \ and (that) { } * # "`}},
		{`two\nlines\tand \u{1F600}\u{20}`, Utterance{Text: "two\nlines\tand 😀 "}},
		{"[a](order/size)[b](/n)", Utterance{"ab", []Entity{{0, 1, "order/size", ""}, {1, 2, "/n", ""}}}},
		{"[a](two words:to the left)", Utterance{"a", []Entity{{0, 1, "two words", "to the left"}}}},
	}
	for _, tt := range tests {
		got, err := ParseLine(tt.line)
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.line, diff)
		}
		again, err := ParseLine(got.Line())
		if err != nil || !cmp.Equal(got, again, cmpopts.EquateEmpty()) {
			t.Errorf("%s: written as %s, read as %+v, %v", tt.line, got.Line(), again, err)
		}
	}
}

func TestParseLineErrors(t *testing.T) {
	tests := []struct{ line, want string }{
		{"", "empty"},
		{`\u{20}`, "empty"},
		{"[two", "has no end"},
		{"[two] people", "entity is missing"},
		{"[two](people", "entity is missing"},
		{"two](people)", "not opened"},
		{"a [](people)", "marks nothing"},
		{"[a]()", "name is missing"},
		{"[a](b:)", "name is missing"},
		{"[a](b:c:d)", "none of"},
		{"[a]( b)", "blanks around"},
		{`a \q`, `\q means nothing`},
		{`a \`, "means nothing"},
		{`\u{}`, "is no character"},
		{`\u{D800}`, "is no character"},
		{`\u{110000}`, "is no character"},
		{`\u{41`, "is no character"},
		{"a\x00b", "control character"},
		{"a\xffb", "UTF-8"},
		{strings.Repeat("[", 9) + "a", "deep"},
		{strings.Repeat("a", MostText+1), "at most 4096"},
		{strings.Repeat("[a](b)", mostMarks+1), "at most 200"},
		{"[a](" + strings.Repeat("n", 101) + ")", "at most 100"},
	}
	for _, tt := range tests {
		u, err := ParseLine(tt.line)
		if err == nil {
			t.Errorf("%s: read as %+v", clip(tt.line), u)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want it to say %q", clip(tt.line), err, tt.want)
		}
	}
}

func TestUtteranceCheck(t *testing.T) {
	tests := []struct {
		marks []Entity
		want  string
	}{
		{[]Entity{{0, 9, "a", ""}}, "off the text"},
		{[]Entity{{-1, 2, "a", ""}}, "off the text"},
		{[]Entity{{2, 2, "a", ""}}, "marks nothing"},
		{[]Entity{{0, 3, "a", ""}, {2, 5, "b", ""}}, "cross"},
		{[]Entity{{2, 5, "a", ""}, {0, 1, "b", ""}}, "order"},
		{[]Entity{{0, 2, "a", ""}, {0, 5, "b", ""}}, "order"},
		{[]Entity{{0, 5, "a", ""}, {0, 2, "b", ""}, {2, 5, "c", ""}}, ""},
	}
	for _, tt := range tests {
		err := Utterance{"abcde", tt.marks}.check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%v: %v; want %q", tt.marks, err, tt.want)
		}
	}
	kept, dropped := keepApart("abcde", []Entity{{2, 5, "b", ""}, {0, 3, "a", ""}, {0, 9, "c", ""}, {3, 4, "d", ""}})
	if want := []Entity{{0, 3, "a", ""}, {3, 4, "d", ""}}; !cmp.Equal(kept, want) || len(dropped) != 2 {
		t.Errorf("kept %v, dropped %v", kept, dropped)
	}
}

// What can be read is written so that the same is read again, and what can be
// said with any text and marks can be written.
func FuzzParseLine(f *testing.F) {
	for _, s := range []string{"a [b](c:d) e", "[[a](b) c](d)", `\[ \\ \u{1F600}`, "é 🍰 [ß](x/y)", "[", "](", `\u{`, " "} {
		f.Add(s, 0, 1)
	}
	f.Fuzz(func(t *testing.T, line string, from, to int) {
		if u, err := ParseLine(line); err == nil {
			again, err := ParseLine(u.Line())
			if err != nil || !cmp.Equal(u, again, cmpopts.EquateEmpty()) {
				t.Fatalf("%q is %+v, written %q, read %+v, %v", line, u, u.Line(), again, err)
			}
		}
		u := Utterance{line, []Entity{{from, to, "x", "y"}}}
		if u.check() != nil {
			return
		}
		again, err := ParseLine(u.Line())
		if err != nil || again.Text != u.Text || !slices.Equal(again.Marks, u.Marks) {
			t.Fatalf("%+v is written %q, read %+v, %v", u, u.Line(), again, err)
		}
	})
}
