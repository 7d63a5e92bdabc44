package nlu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// mark makes an example: [value](type) marks an entity.
func mark(intent, text string) corpus.Example {
	e := corpus.Example{Intent: intent}
	for {
		before, rest, ok := strings.Cut(text, "[")
		e.Text += before
		if !ok {
			return e
		}
		value, rest, _ := strings.Cut(rest, "](")
		typ, rest, _ := strings.Cut(rest, ")")
		start := utf8.RuneCountInString(e.Text)
		e.Text += value
		e.Entities = append(e.Entities, corpus.Entity{Start: start, End: start + utf8.RuneCountInString(value), Type: typ})
		text = rest
	}
}

func lessons() []corpus.Example {
	return []corpus.Example{
		mark("lamp", "turn on the lamp in the [kitchen](room)"),
		mark("lamp", "switch the light off in the [bedroom](room)"),
		mark("lamp", "make it brighter in the [hall](room)"),
		mark("lamp", "please dim the lights"),
		mark("lamp", "light up the [cellar](room)"),
		mark("lamp", "turn off every lamp in the [attic](room)"),
		mark("rain", "will it rain in [Paris](city) tomorrow"),
		mark("rain", "do I need an umbrella in [Rome](city)"),
		mark("rain", "what is the weather like in [Oslo](city)"),
		mark("rain", "is it going to snow"),
		mark("rain", "weather forecast for [Lima](city) please"),
		mark("rain", "how warm is it in [Cairo](city)"),
		mark("food", "order a pizza with mushrooms"),
		mark("food", "I would like two burgers and fries"),
		mark("food", "get me some noodles for dinner"),
		mark("food", "can you order sushi"),
		mark("food", "I am hungry, bring me a sandwich"),
		mark("food", "one large salad please"),
	}
}

func train(t testing.TB, examples []corpus.Example, opt Options) *Model {
	t.Helper()
	m, _, err := Train(context.Background(), examples, opt)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLearns asks for sentences that are not among the lessons: nothing but
// learning gets them right.
func TestLearns(t *testing.T) {
	m := train(t, lessons(), Options{Seed: 1})
	for _, tt := range []struct{ text, intent, entity string }{
		{"turn the light on in the garage", "lamp", "garage"},
		{"switch off the lamp", "lamp", ""},
		{"will it snow in Berlin", "rain", "Berlin"},
		{"weather in Madrid tomorrow", "rain", "Madrid"},
		{"order a salad", "food", ""},
		{"bring me a pizza", "food", ""},
		{"swicth of the ligth", "lamp", ""}, // misspelt
	} {
		u := m.Predict(tt.text)
		if u.Intent != tt.intent {
			t.Errorf("%q: got %s (%.2f), want %s", tt.text, u.Intent, u.Score, tt.intent)
		}
		got := ""
		if len(u.Entities) > 0 {
			got = string([]rune(tt.text)[u.Entities[0].Start:u.Entities[0].End])
		}
		if got != tt.entity {
			t.Errorf("%q: entity %q, want %q", tt.text, got, tt.entity)
		}
	}
}

// TestTeaching proves that the labels decide, not the program: with the
// intents' names exchanged the answers are exchanged.
func TestTeaching(t *testing.T) {
	other := lessons()
	for i := range other {
		other[i].Intent = map[string]string{"lamp": "food", "food": "rain", "rain": "lamp"}[other[i].Intent]
	}
	if got := train(t, other, Options{}).Predict("turn the light on in the garage").Intent; got != "food" {
		t.Errorf("got %s, want food, as it was taught", got)
	}
}

func TestSameSeedSameModel(t *testing.T) {
	file := func(workers int) []byte {
		var b bytes.Buffer
		if _, err := train(t, lessons(), Options{Seed: 7, Workers: workers}).WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(file(1), file(4)) {
		t.Error("the same seed made two models")
	}
}

func TestFile(t *testing.T) {
	for _, opt := range []Options{{Seed: 1}, {Seed: 1, Plain: true}} {
		m := train(t, lessons(), opt)
		var b bytes.Buffer
		if _, err := m.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		got, err := Read(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lessons() {
			if d := cmp.Diff(m.Predict(e.Text), got.Predict(e.Text)); d != "" {
				t.Errorf("%q is understood otherwise after reading: %s", e.Text, d)
			}
		}
		for i := range b.Len() {
			bad := bytes.Clone(b.Bytes())
			bad[i] ^= 0x40
			if i%97 == 0 || i < headSize {
				if _, err := Read(bytes.NewReader(bad)); !errors.Is(err, ErrFile) {
					t.Fatalf("byte %d changed: got %v, want ErrFile", i, err)
				}
			}
		}
		if _, err := Read(bytes.NewReader(b.Bytes()[:b.Len()-1])); !errors.Is(err, ErrFile) {
			t.Errorf("cut off: got %v, want ErrFile", err)
		}
	}
}

func TestBadExamples(t *testing.T) {
	long := strings.Repeat("x", mostText+1)
	tests := []struct {
		name string
		bad  corpus.Example
		want string
	}{
		{"empty", corpus.Example{Text: " \n", Intent: "a"}, "empty"},
		{"huge", corpus.Example{Text: long, Intent: "a"}, "bytes"},
		{"binary", corpus.Example{Text: "\xff\xfe", Intent: "a"}, "UTF-8"},
		{"no intent", corpus.Example{Text: "x"}, "no intent"},
		{"off the text", corpus.Example{Text: "👍🏽 ok", Intent: "a", Entities: []corpus.Entity{{Start: 3, End: 6, Type: "t"}}}, "off the text of 5"},
		{"backwards", corpus.Example{Text: "ok", Intent: "a", Entities: []corpus.Entity{{Start: 1, End: 1, Type: "t"}}}, "off the text"},
		{"overlap", corpus.Example{Text: "abc", Intent: "a", Entities: []corpus.Entity{{Start: 1, End: 3, Type: "t"}, {Start: 0, End: 2, Type: "t"}}}, "overlap"},
	}
	for _, tt := range tests {
		_, _, err := Train(context.Background(), append(lessons(), tt.bad), Options{})
		var bad BadExamples
		if !errors.As(err, &bad) || len(bad) != 1 || bad[0].Index != len(lessons()) || !strings.Contains(bad[0].Text, tt.want) {
			t.Errorf("%s: got %v, want %q about example %d", tt.name, err, tt.want, len(lessons()))
		}
	}
	if _, _, err := Train(context.Background(), nil, Options{}); err == nil {
		t.Error("no examples: want an error")
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Train(stopped, lessons(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: got %v", err)
	}
}

func TestWarnings(t *testing.T) {
	all := append(lessons(), mark("food", "Please  dim the lights"), mark("alone", "tell me a joke"))
	_, warnings, err := Train(context.Background(), all, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 2 || warnings[0].Index != len(lessons()) || warnings[1].Index != len(lessons())+1 {
		t.Errorf("got %v, want the contradiction and the lonely line", warnings)
	}
}

// TestOddTexts checks that nothing which is no sentence gets an intent, and
// that whatever comes back lies on the text.
func TestOddTexts(t *testing.T) {
	m := train(t, lessons(), Options{Seed: 1})
	for _, text := range []string{"", " ", "🙂🙃", "\xff\x00\xfe", "雨が降りますか", "؟؟؟"} {
		if u := m.Predict(text); u.Intent != corpus.None {
			t.Errorf("%q: got %s (%.2f), want None", text, u.Intent, u.Score)
		}
	}
	sound(t, m, strings.Repeat("turn on the lamp in the kitchen ", 10000))
	sound(t, m, "👩‍👩‍👧 will it rain in Zu\u0308rich 🙂")
	sound(t, m, strings.Repeat("e\u0301", 100000))
}

// TestHead checks that no more than so many words are kept, and whole ones.
func TestHead(t *testing.T) {
	for text, want := range map[string]int{
		"":                          0,
		strings.Repeat("é ", 511):   511 * 3,
		strings.Repeat("é ", 900):   512*3 - 1,
		strings.Repeat("x", 1<<17):  mostText,
		strings.Repeat("\xff", 900): 512,
	} {
		if got := Head(text); len(got) != want || !strings.HasPrefix(text, got) {
			t.Errorf("%.10q: %d of %d bytes are kept, want %d", text, len(got), len(text), want)
		}
	}
}

// TestSpans checks places behind letters of several code points.
func TestSpans(t *testing.T) {
	m := train(t, lessons(), Options{Seed: 1})
	text := "👩‍👩‍👧 e\u0301h, turn on the lamp in the kitchen"
	u := m.Predict(text)
	if len(u.Entities) != 1 || string([]rune(text)[u.Entities[0].Start:u.Entities[0].End]) != "kitchen" {
		t.Errorf("got %v, want kitchen", u.Entities)
	}
}

// sound checks what holds for every understanding.
func sound(t *testing.T, m *Model, text string) {
	t.Helper()
	u := m.Predict(text)
	n, last, sum := utf8.RuneCountInString(text), 0, 0.0
	for _, e := range u.Entities {
		if e.Start < last || e.End <= e.Start || e.End > n || !(e.Score >= 0 && e.Score <= 1.000001) {
			t.Fatalf("entity %+v in a text of %d code points after %d", e, n, last)
		}
		last = e.End
	}
	for _, r := range u.Intents {
		sum += r.Score
	}
	if u.Intent != u.Intents[0].Intent || sum < 0.999 || sum > 1.001 {
		t.Fatalf("intent %s, scores add up to %v: %v", u.Intent, sum, u.Intents)
	}
}

func FuzzPredict(f *testing.F) {
	m := train(f, lessons(), Options{Seed: 1})
	for _, e := range lessons() {
		f.Add(e.Text)
	}
	f.Add("\xff🙂 e\u0301'S '' ' a'b'")
	f.Fuzz(func(t *testing.T, text string) { sound(t, m, text) })
}

// FuzzRead reads hostile bodies whose head is right: whatever is read must
// also be usable.
func FuzzRead(f *testing.F) {
	for _, opt := range []Options{{}, {Plain: true}} {
		m := train(f, lessons()[:8], opt)
		f.Add(m.encode(nil))
	}
	f.Add([]byte("\x01\x01a"))
	f.Fuzz(func(t *testing.T, body []byte) {
		file := []byte(fileMagic)
		file = binary.LittleEndian.AppendUint16(file, fileVersion)
		file = binary.LittleEndian.AppendUint64(file, uint64(len(body)))
		file = binary.LittleEndian.AppendUint32(file, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		m, err := Read(bytes.NewReader(append(file, body...)))
		if err != nil {
			return
		}
		_ = m.Predict("turn on the lamp in the kitchen of Paris")
		_ = m.Predict("")
	})
}

// TestAllocations keeps the hot path free of garbage.
func TestAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector makes sync.Pool forget things: run it without -race")
	}
	m := train(t, lessons(), Options{Seed: 1})
	var u Understanding
	m.PredictInto("turn on the lamp in the kitchen", &u)
	if n := testing.AllocsPerRun(200, func() { m.PredictInto("turn on the lamp in the kitchen", &u) }); n > 2 {
		t.Errorf("%v allocations for one understanding, at most 2", n)
	}
}

func TestEvaluate(t *testing.T) {
	m := train(t, lessons(), Options{Seed: 1})
	wrong := mark("food", "turn on the lamp in the [kitchen](city)")
	r := m.Evaluate([]corpus.Example{mark("lamp", "turn on the lamp in the [kitchen](room)"), wrong, {Text: "🙂", Intent: corpus.None}})
	want := F1{Right: 1, TooMuch: 1, Missing: 1}
	if r.Intents != want || r.Exact != want || r.Overlap != want || r.NoneFound != 1 || r.InScope != 0.5 || len(r.Mistakes) != 1 || r.Mistakes[0].Index != 1 {
		t.Errorf("got %+v", r)
	}
}
