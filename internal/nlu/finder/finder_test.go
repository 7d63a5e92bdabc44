package finder

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

var wednesday = time.Date(2026, 3, 4, 10, 30, 0, 0, time.UTC)

const shop = `
name: shop
entities:
  n: {prebuilt: number}
  time: {prebuilt: datetime, roles: [from, to]}
  city:
    roles: [from, to]
    values:
      New York: [NYC, big apple, "new york, ny"]
      York: []
      Los Angeles: [L.A., la]
      Old Town: [la]
  bread: {values: {rye: [dark bread], spelt: [plant-based bread]}}
  code: {pattern: '(?i)\bkb\d{6}\b'}
  order:
    children:
      quantity: {of: n}
      item: {of: bread, children: {size: }}
  trip: {parts: [city, time]}
  who:
  title: {any: true, explicit: [to be or not to be]}
intents:
  fly:
    patterns:
      - "^fly [me] [from {city:from}] to {city:to}"
      - "(take|bring) {n} (people|of us) to {city:to} please^"
  read:
    patterns: ["read {title}", "is {title} by {who} any good^"]
`

func newFinder(t testing.TB, text string) *Finder {
	t.Helper()
	p, err := corpus.ReadFS(fstest.MapFS{"a.yaml": {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// told writes entities as "name:role=text/names (children)".
func told(text string, es []Entity) string {
	var out []string
	for _, e := range es {
		s := e.Name
		if e.Role != "" {
			s += ":" + e.Role
		}
		s += "=" + string([]rune(text)[e.Start:e.End])
		if len(e.Names) > 0 {
			s += "/" + strings.Join(e.Names, "+")
		}
		if e.Found != nil {
			s += "/" + string(e.Found.Kind)
		}
		if len(e.Children) > 0 {
			s += " (" + told(text, e.Children) + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// marks finds "type=words" in a text.
func marks(t testing.TB, text string, specs ...string) []Mark {
	t.Helper()
	var out []Mark
	for _, s := range specs {
		typ, words, _ := strings.Cut(s, "=")
		before, _, ok := strings.Cut(text, words)
		if !ok {
			t.Fatalf("%q is not in %q", words, text)
		}
		start := len([]rune(before))
		out = append(out, Mark{start, start + len([]rune(words)), typ, 0.8})
	}
	return out
}

func TestFind(t *testing.T) {
	f := newFinder(t, shop)
	for _, tt := range []struct {
		text  string
		marks []string
		want  string
	}{
		{"", nil, ""},
		{"nothing here", nil, ""},
		{"from NYC to New York", nil, "city=NYC/New York, city=New York/New York"},
		{"new york, NY and york", nil, "city=new york, NY/New York, city=york/York"},
		{"🍰 L.A. or LA", nil, "city=L.A./Los Angeles, city=LA/Los Angeles+Old Town"},
		{"newyork yorker", nil, ""},
		{"plant based bread, dark-bread", nil, "bread=plant based bread/spelt, bread=dark-bread/rye"},
		{"🍰 see KB123456 or kb1", nil, "code=KB123456"},
		{"from NYC to york", []string{"city:from=NYC", "city:to=york"}, "city:from=NYC/New York, city:to=york/York"},
		{"to the big apple", []string{"city:to=the big apple"}, "city:to=big apple/New York"}, // what the list finds is what it is
		{"to Boston", []string{"city:to=Boston"}, "city:to=Boston"},
		{"ask Ann", []string{"who=Ann", "gone=Ann"}, "who=Ann"},
		{"two dark bread", []string{"order/quantity=two", "order/item=dark bread"}, "order=two dark bread (order/quantity=two/number, order/item=dark bread/rye), n=two/number, bread=dark bread/rye"},
		{"a big loaf", []string{"order/item/size=big", "order/item=loaf"}, "order=big loaf (order/item/size=big, order/item=loaf)"},
		{
			"two rye and one spelt",
			[]string{"order/quantity=two", "order/item=rye", "order/quantity=one", "order/item=spelt"},
			"order=two rye (order/quantity=two/number, order/item=rye/rye), n=two/number, bread=rye/rye, order=one spelt (order/quantity=one/number, order/item=spelt/spelt), n=one/number, bread=spelt/spelt",
		},
		{"order: two rye", []string{"order=two rye", "order/item=rye"}, "order=two rye (order/item=rye/rye), n=two/number, bread=rye/rye"},
		{"NYC tomorrow", nil, "trip=NYC tomorrow (city=NYC/New York, time=tomorrow/datetime)"},
		{"NYC and then some time later on tomorrow", nil, "city=NYC/New York, time=tomorrow/datetime"},
		{"NYC or York", nil, "city=NYC/New York, city=York/York"},
		{"go to Boston tomorrow ok", []string{"trip=Boston tomorrow ok"}, "trip=Boston tomorrow ok (time=tomorrow/datetime)"},
		{"at 8", nil, "n=8/number, time=8/datetime"},
	} {
		got := told(tt.text, f.Find(tt.text, wednesday, marks(t, tt.text, tt.marks...)))
		if got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
	for _, m := range []Mark{{-1, 2, "who", 1}, {0, 9, "who", 1}, {1, 1, "who", 1}, {2, 1, "who", 1}} {
		if got := f.Find("abc", wednesday, []Mark{m}); len(got) > 0 {
			t.Errorf("%+v is %+v", m, got)
		}
	}
}

func TestFlat(t *testing.T) {
	f := newFinder(t, shop)
	for _, tt := range []struct {
		text  string
		marks []string
		want  string
	}{
		{"at 8", nil, "time=8/datetime"},
		{"at 8", []string{"n=8"}, "n=8/number"},
		{"NYC tomorrow at 8", nil, "city=NYC/New York, time=tomorrow at 8/datetime"},
		{"two dark bread", []string{"order/quantity=two", "order/item=dark bread"}, "order/quantity=two/number, order/item=dark bread/rye"},
	} {
		if got := told(tt.text, Flat(f.Find(tt.text, wednesday, marks(t, tt.text, tt.marks...)))); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

func TestMatch(t *testing.T) {
	f := newFinder(t, shop)
	for text, want := range map[string]string{
		"Fly to NYC":                              "fly city:to=NYC",
		"fly me, from york, to the moon":          "",
		"fly me from york to new york":            "fly city:from=york city:to=new york",
		"fly from york to NYC tomorrow":           "fly city:from=york city:to=NYC",
		"please fly to NYC":                       "",
		"now bring two of us to NYC please":       "fly n=two city:to=NYC",
		"take 3 people to york":                   "",
		"I want to read War and Peace":            "read title=War and Peace",
		"is to be or not to be by Shaw any good?": "",
		"read": "",
		"":     "",
	} {
		m, ok := f.Match(text, f.Find(text, wednesday, nil))
		got := m.Intent
		for _, k := range m.Marks {
			got += " " + k.Type + "=" + string([]rune(text)[k.Start:k.End])
		}
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	text := "is to be or not to be by Shaw any good?"
	m, ok := f.Match(text, f.Find(text, wednesday, marks(t, text, "who=Shaw")))
	if !ok || len(m.Marks) != 2 || m.Marks[0] != (Mark{3, 21, "title", 1}) {
		t.Errorf("%+v, %v", m, ok)
	}
	// What a template marks goes back into Find, which gives it its value.
	text = "fly me from york to new york"
	m, _ = f.Match(text, f.Find(text, wednesday, nil))
	if got := told(text, f.Find(text, wednesday, m.Marks)); got != "city:from=york/York, city:to=new york/New York" {
		t.Errorf("%s", got)
	}
}

func TestLessons(t *testing.T) {
	p, err := corpus.Read("../../../examples/nlu/cityguide")
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	text := "How do I get from the harbour to the castle?"
	m, ok := f.Match(text, f.Find(text, wednesday, nil))
	if got := told(text, Flat(f.Find(text, wednesday, m.Marks))); !ok || m.Intent != "directions" || got != "place:from=harbour/Harbour, place:to=the castle/Castle" {
		t.Errorf("%s: %s, %s", text, m.Intent, got)
	}
	n := 0
	for _, e := range Lessons(p) {
		var taught []Mark
		for _, m := range e.Entities {
			if m.Role != "" {
				t.Fatalf("%+v has a role of its own", m)
			}
			n++
			taught = append(taught, Mark{m.Start, m.End, m.Type, 1})
		}
		found := Flat(f.Find(e.Text, wednesday, taught))
		for _, m := range taught { // nothing that was marked is lost
			ok := false
			for _, e := range found {
				ok = ok || e.Start < m.End && m.Start < e.End && strings.HasPrefix(m.Type, e.Name)
			}
			if !ok {
				t.Errorf("%q: %+v is not in %s", e.Text, m, told(e.Text, found))
			}
		}
	}
	if n < 60 {
		t.Errorf("%d marks", n)
	}
}

func TestWith(t *testing.T) {
	f := newFinder(t, shop)
	g, err := f.With(map[string][]corpus.Value{"city": {{Name: "New York City", Synonyms: []string{"new york city"}}, {Name: "Oslo"}}})
	if err != nil {
		t.Fatal(err)
	}
	text := "from Oslo and york to New York City"
	if got := told(text, g.Find(text, wednesday, nil)); got != "city=Oslo/Oslo, city=york/York, city=New York City/New York City" {
		t.Errorf("%s", got)
	}
	if got := told(text, f.Find(text, wednesday, nil)); got != "city=york/York, city=New York/New York" {
		t.Errorf("the first finder changed: %s", got)
	}
	for _, name := range []string{"gone", "who"} {
		if _, err := f.With(map[string][]corpus.Value{name: {{Name: "x"}}}); err == nil {
			t.Errorf("%s is no list", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(&corpus.Project{Intents: []corpus.Intent{{Name: ""}}}); err == nil {
		t.Error("a broken project was taken")
	}
	long := corpus.Definition{Name: "l", Values: []corpus.Value{{Name: strings.Repeat("word ", mostWords+1)}}}
	if _, err := New(&corpus.Project{Entities: []corpus.Definition{long}}); err == nil || !strings.Contains(err.Error(), "at most 50") {
		t.Errorf("%v", err)
	}
}

// Neither long texts nor values and templates that begin alike take time that
// grows with the square.
func TestHostile(t *testing.T) {
	var b strings.Builder
	b.WriteString("entities:\n  x: {any: true}\n  l:\n    values:\n")
	for i := range 40 {
		fmt.Fprintf(&b, "      v%d: [%s]\n", i, strings.Repeat("a ", i+1)+"b")
	}
	b.WriteString("intents:\n  i:\n    patterns: ['[a] [a] [a] (a|a a) {x} a {x} a {x} b^', '{x} {x} {x} {x} c^']\n")
	f := newFinder(t, b.String())
	text := strings.Repeat("a ", 5000)
	done := make(chan bool)
	go func() {
		found := f.Find(text, wednesday, nil)
		_, ok := f.Match(text, found)
		done <- ok
	}()
	select {
	case ok := <-done:
		if ok {
			t.Error("it has neither b nor c")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it takes more than half a minute")
	}
}

func FuzzFind(f *testing.F) {
	f.Add(shop, "fly me from york to NYC tomorrow at 8, kb123456", 0, 5, "order/item")
	f.Add("entities: {a: {pattern: '.'}, b: {values: {x: [é, '🍰']}}, c: {any: true}}\nintents: {i: {patterns: ['[a|b {c}] (d) \\{']}}\n", "🍰é\xff a b", 1, 2, "c")
	f.Fuzz(func(t *testing.T, project, text string, start, end int, typ string) {
		p, err := corpus.ReadFS(fstest.MapFS{"a.yaml": {Data: []byte(project)}})
		if err != nil {
			return
		}
		fi, err := New(p)
		if err != nil {
			return
		}
		n := len([]rune(text))
		var check func(es []Entity, from, to int)
		check = func(es []Entity, from, to int) {
			for _, e := range es {
				if e.Start < from || e.End > to || e.Start >= e.End {
					t.Fatalf("%+v is off %q", e, text)
				}
				if _, ok := p.Definition(e.Name); !ok {
					t.Fatalf("nobody defined %+v", e)
				}
				check(e.Children, e.Start, e.End)
			}
		}
		found := fi.Find(text, wednesday, []Mark{{start, end, typ, 0.5}})
		check(found, 0, n)
		if again := fi.Find(text, wednesday, []Mark{{start, end, typ, 0.5}}); !cmp.Equal(found, again) {
			t.Fatalf("%+v, and then %+v", found, again)
		}
		last := 0
		for _, e := range Flat(found) {
			if e.Start < last {
				t.Fatalf("%+v overlaps", e)
			}
			last = e.End
		}
		m, ok := fi.Match(text, found)
		for _, k := range m.Marks {
			if !ok || k.Start < 0 || k.Start >= k.End || k.End > n {
				t.Fatalf("%+v of %q", m, text)
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	p, err := corpus.Read("../../../examples/nlu/cityguide")
	if err != nil {
		b.Fatal(err)
	}
	f, err := New(p)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f.Find("please book a table for two near the castle tomorrow at eight", wednesday, nil)
	}
}
