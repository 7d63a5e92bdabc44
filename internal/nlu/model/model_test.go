package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/finder"
)

var wednesday = time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)

func guide(t testing.TB) *corpus.Project {
	t.Helper()
	p, err := corpus.Read("../../../examples/nlu/cityguide")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func train(t testing.TB, p *corpus.Project, examples []corpus.Example) *Model {
	t.Helper()
	m, _, err := Train(t.Context(), p, examples, nlu.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The example's tests are understood with all that its definitions say.
func TestGuide(t *testing.T) {
	p := guide(t)
	m := train(t, p, finder.Lessons(p))
	for _, e := range finder.Lessons(p) {
		if e.Split != corpus.Test {
			continue
		}
		u := m.Understand(e.Text, wednesday)
		if u.Intent != e.Intent {
			t.Errorf("%q: got %s (%.2f), want %s", e.Text, u.Intent, u.Score, e.Intent)
		}
		flat := u.Flat()
		for _, want := range e.Entities {
			got := ""
			for _, g := range flat.Entities {
				if g.Start < want.End && want.Start < g.End {
					got = g.Type
				}
			}
			if got != want.Type {
				t.Errorf("%q: %q is %q, want %s", e.Text, string([]rune(e.Text)[want.Start:want.End]), got, want.Type)
			}
		}
	}
}

// A template that fits decides, and its marks say what stands where.
func TestTemplateDecides(t *testing.T) {
	p := guide(t)
	m := train(t, p, finder.Lessons(p))
	u := m.Understand("which ferry goes to the docks", wednesday)
	sum := 0.0
	for _, r := range u.Intents {
		sum += r.Score
	}
	if u.Intent != "directions" || u.Score < sure || u.Intents[0].Intent != u.Intent || sum < 0.999 || sum > 1.001 {
		t.Errorf("got %s %.3f, all %.3f: %v", u.Intent, u.Score, sum, u.Intents)
	}
	if got := u.Flat().Entities; len(got) != 1 || got[0].Type != "place:to" || got[0].Start != 20 && got[0].Start != 24 {
		t.Errorf("got %v, want a place to go to", got)
	}
	if v := u.Entities[0].Names; len(v) != 1 || v[0] != "Harbour" {
		t.Errorf("the docks are %v, want Harbour", v)
	}
}

func TestWith(t *testing.T) {
	p := guide(t)
	m := train(t, p, finder.Lessons(p))
	more, err := m.With(map[string][]corpus.Value{"place": {{Name: "Zoo", Synonyms: []string{"animal park"}}}})
	if err != nil {
		t.Fatal(err)
	}
	text := "is the animal park open today"
	names := func(m *Model) (out []string) {
		for _, e := range m.Understand(text, wednesday).Entities {
			out = append(out, e.Names...)
		}
		return out
	}
	if before, after := names(m), names(more); len(before) != 0 || len(after) != 1 || after[0] != "Zoo" {
		t.Errorf("before %v, after %v: want Zoo after", before, after)
	}
	if _, err := m.With(map[string][]corpus.Value{"plaza": {{Name: "Zoo"}}}); err == nil {
		t.Error("a list that there is not: want an error")
	}
}

func written(t testing.TB, m *Model) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFile(t *testing.T) {
	p := guide(t)
	for name, m := range map[string]*Model{
		"project":    train(t, p, finder.Lessons(p)),
		"bare lines": train(t, nil, finder.Lessons(p)),
	} {
		b := written(t, m)
		again, err := Read(bytes.NewReader(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		if again.Version() != m.Version() || len(m.Version()) != 16 {
			t.Errorf("%s: version %q became %q", name, m.Version(), again.Version())
		}
		for _, e := range finder.Lessons(p) {
			if d := cmp.Diff(m.Understand(e.Text, wednesday), again.Understand(e.Text, wednesday)); d != "" {
				t.Errorf("%s: %q is understood otherwise after reading: %s", name, e.Text, d)
			}
		}
		for _, bad := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 'x'), b[:len(b)/2], nil} {
			if _, err := Read(bytes.NewReader(bad), nil); !errors.Is(err, nlu.ErrFile) {
				t.Errorf("%s: %d bytes of %d: got %v, want ErrFile", name, len(bad), len(b), err)
			}
		}
		for i := len(b) - 600; i < len(b); i += 7 {
			bad := bytes.Clone(b)
			bad[i] ^= 0x20
			if _, err := Read(bytes.NewReader(bad), nil); !errors.Is(err, nlu.ErrFile) {
				t.Fatalf("%s: byte %d changed: got %v, want ErrFile", name, i, err)
			}
		}
	}
}

// Nothing of what people said is in a model's definitions: a model may go
// where its training lines must not.
func TestNoUtterancesInside(t *testing.T) {
	p := guide(t)
	if b := written(t, train(t, p, finder.Lessons(p))); bytes.Contains(b, []byte("I am hungry")) || !bytes.Contains(b, []byte("Maritime Museum")) {
		t.Error("want the definitions in the file and none of the utterances")
	}
}

func TestSameProjectSameVersion(t *testing.T) {
	p, q := guide(t), guide(t)
	q.Entities[0].Roles = append(q.Entities[0].Roles, "guests")
	a, b, c := train(t, p, finder.Lessons(p)), train(t, guide(t), finder.Lessons(p)), train(t, q, finder.Lessons(q))
	if a.Version() != b.Version() || a.Version() == c.Version() {
		t.Errorf("versions %s, %s of the same and %s of another", a.Version(), b.Version(), c.Version())
	}
}

// An intent that has templates only is known, and a project in another
// language does without English words.
func TestTemplatesOnly(t *testing.T) {
	p, err := corpus.ReadFS(fstest.MapFS{"model.yaml": {Data: []byte(`culture: de-de
entities:
  was:
    any: true
intents:
  licht: |
    - mach das Licht an
    - Licht bitte
    - kannst du das Licht anmachen
  musik: |
    - spiel Musik
    - ich will etwas hören
    - mach das Radio an
  suche:
    patterns: ["^suche [nach] {was}"]
`)}})
	if err != nil {
		t.Fatal(err)
	}
	m := train(t, p, finder.Lessons(p))
	if got := m.Intents(); strings.Join(got, " ") != "licht musik suche" {
		t.Errorf("intents %v", got)
	}
	u := m.Understand("Suche nach einem alten Haus", wednesday)
	want := []nlu.Entity{{Start: 11, End: 27, Type: "was", Score: 1}}
	if d := cmp.Diff(want, u.Flat().Entities); u.Intent != "suche" || u.Score < sure || d != "" {
		t.Errorf("got %s %.2f: %s", u.Intent, u.Score, d)
	}
	if u := m.Understand("das Licht anmachen bitte", wednesday); u.Intent != "licht" {
		t.Errorf("got %s (%.2f), want licht", u.Intent, u.Score)
	}
}

func TestOddTexts(t *testing.T) {
	p := guide(t)
	m := train(t, p, finder.Lessons(p))
	for _, text := range []string{"", " ", "🙂🙃", "\xff\x00\xfe", "雨が降りますか", strings.Repeat("the castle at 8 ", 20000)} {
		u, n := m.Understand(text, wednesday), len([]rune(text))
		for _, e := range u.Entities {
			if e.Start < 0 || e.Start >= e.End || e.End > n {
				t.Errorf("%.20q: %+v lies off the text", text, e)
			}
		}
		if len(text) < 100 && u.Intent != corpus.None {
			t.Errorf("%q: got %s (%.2f), want None", text, u.Intent, u.Score)
		}
	}
}

// FuzzDefinitions reads hostile definitions whose head is right: whatever is
// read must also be usable.
func FuzzDefinitions(f *testing.F) {
	p := guide(f)
	m := train(f, p, finder.Lessons(p))
	var learned bytes.Buffer
	if _, err := m.learned.WriteTo(&learned); err != nil {
		f.Fatal(err)
	}
	f.Add(written(f, m)[learned.Len()+defHead:])
	f.Add([]byte(`{"Entities":[{"Name":"a","Patterns":["x+"]},{"Name":"b","Parts":["a"]}],"Intents":[{"Name":"i","Patterns":["{a} [b|c]"]}]}`))
	f.Add([]byte(`{"Entities":[{"Name":"a","Children":[{"Name":"b","Of":"a"}],"Any":true,"Explicit":["x"]}]} {}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		head := []byte(defMagic)
		head = binary.LittleEndian.AppendUint16(head, defVersion)
		head = binary.LittleEndian.AppendUint64(head, uint64(len(body)))
		head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		m, err := Read(bytes.NewReader(append(append(bytes.Clone(learned.Bytes()), head...), body...)), nil)
		if err != nil {
			if !errors.Is(err, nlu.ErrFile) {
				t.Fatalf("got %v, want ErrFile", err)
			}
			return
		}
		for _, text := range []string{"", "how do I get from the castle to the docks tomorrow at 8", "🙂 x x"} {
			u := m.Understand(text, wednesday)
			for _, e := range u.Entities {
				if e.Start < 0 || e.Start >= e.End || e.End > len([]rune(text)) {
					t.Fatalf("%q: %+v lies off the text", text, e)
				}
			}
		}
	})
}
