package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/learn"
)

// unknown are texts that a new project does not understand, as a node hands
// them out.
const unknown = `{"text":"play some jazz music","intent":"None","score":0.9,"version":"x","at":"2026-03-04T10:00:00Z"}
{"text":"play jazz music please","intent":"None","score":0.9}
{"text":"Play some  jazz music"}
{"text":"please open the garage door"}
{"text":"open the garage door now"}
{"text":"turn on the light in the kitchen"}
{"text":"write to anna@corp.example about order 1234567"}
`

func newBot(t *testing.T) (dir, texts string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "bot")
	ok(t, "", "nlu", "init", dir)
	texts = filepath.Join(t.TempDir(), "unknown.jsonl")
	if err := os.WriteFile(texts, []byte(unknown), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, texts
}

func intentsOf(t *testing.T, dir string) map[string]int {
	t.Helper()
	p, err := corpus.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, in := range p.Intents {
		out[in.Name] = len(in.Utterances)
	}
	return out
}

// What was not understood is grouped, labelled and added; afterwards it is
// understood.
func TestLearnWithAPerson(t *testing.T) {
	dir, texts := newBot(t)
	before := intentsOf(t, dir)
	var got struct {
		Groups []learn.Group `json:"groups"`
	}
	if err := json.Unmarshal([]byte(ok(t, "", "nlu", "learn", dir, "--jsonl", texts, "--json")), &got); err != nil {
		t.Fatal(err)
	}
	answers := ""
	for _, g := range got.Groups {
		text := g.Texts[0].Text
		switch {
		case strings.Contains(text, "jazz"):
			if g.Times != 3 || len(g.Texts) != 2 {
				t.Errorf("jazz: %+v, want two texts said three times", g)
			}
			answers += "play:music\nplay_music\ny\n" // the first is no name
		case strings.Contains(text, "garage"):
			answers += "None\n"
		case strings.Contains(text, "someone@example.com") && strings.Contains(text, "0000000"):
			answers += "s\n"
		default:
			t.Errorf("an unknown group %+v", g)
		}
	}
	var out, errs bytes.Buffer
	term := &terminal{in: strings.NewReader(answers), out: &out, err: &errs, inTTY: true}
	if status := run(t.Context(), term, []string{"nlu", "learn", dir, "--jsonl", texts}); status != 0 || !strings.Contains(out.String(), "4 lines were added") {
		t.Fatalf("status %d:\n%s%s", status, out.String(), errs.String())
	}
	after := intentsOf(t, dir)
	if after["play_music"] != 2 || after[corpus.None] != before[corpus.None]+2 || len(after) != len(before)+1 {
		t.Errorf("before %v, after %v", before, after)
	}
	ok(t, "", "nlu", "train", dir)
	if out := ok(t, "", "nlu", "predict", "--model", filepath.Join(dir, modelFile), "play jazz music"); !strings.HasPrefix(out, "play_music") {
		t.Errorf("after learning: %s", out)
	}
	// What is in the project now is not asked again.
	if err := json.Unmarshal([]byte(ok(t, "", "nlu", "learn", dir, "--jsonl", texts, "--json")), &got); err != nil || len(got.Groups) > 1 {
		t.Errorf("a second time: %+v, %v", got, err)
	}
}

func TestLearnWithoutAPerson(t *testing.T) {
	dir, texts := newBot(t)
	before := intentsOf(t, dir)
	if out := ok(t, "", "nlu", "learn", dir, "--jsonl", texts, "--yes", "--least", "1.1"); !strings.Contains(out, "Nothing was added") {
		t.Errorf("nothing is that sure: %s", out)
	}
	var got struct {
		Added int      `json:"added"`
		Files []string `json:"files"`
	}
	if err := json.Unmarshal([]byte(ok(t, "", "nlu", "learn", dir, "--jsonl", texts, "--yes", "--least", "0", "--json")), &got); err != nil || got.Added < 4 || len(got.Files) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	sum := func(m map[string]int) (n int) {
		for _, k := range m {
			n += k
		}
		return n
	}
	if after := intentsOf(t, dir); sum(after) != sum(before)+got.Added || len(after) != len(before) {
		t.Errorf("before %v, after %v, %d added", before, after, got.Added)
	}
	labelled := filepath.Join(t.TempDir(), "labelled.jsonl")
	if err := os.WriteFile(labelled, []byte(`{"text":"more light in the hall","intent":"switch_on","entities":[{"start":18,"end":22,"type":"room"}]}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := ok(t, "", "nlu", "learn", dir, "--add", labelled); !strings.Contains(out, "1 lines were added") {
		t.Errorf("--add: %s", out)
	}
	if err := os.WriteFile(labelled, []byte(`{"text":"x","intent":"switch_on"}`+"\n"+`{"text":"x","intent":""}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	was := intentsOf(t, dir)
	if status, _, errs := typed(t, nil, "", "nlu", "learn", dir, "--add", labelled); status != 1 || !strings.Contains(errs, "labelled.jsonl:2") {
		t.Errorf("a line without an intent: status %d: %s", status, errs)
	}
	if now := intentsOf(t, dir); sum(now) != sum(was) {
		t.Errorf("half of it was added: %v, %v", was, now)
	}
}

func TestCompareModels(t *testing.T) {
	dir, texts := newBot(t)
	a, b := filepath.Join(t.TempDir(), "a.nlu"), filepath.Join(t.TempDir(), "b.nlu")
	ok(t, "", "nlu", "train", dir, "--out", a)
	labelled := filepath.Join(t.TempDir(), "labelled.jsonl")
	lines := `{"text":"play some jazz","intent":"play_music"}` + "\n" + `{"text":"put on a record","intent":"play_music"}` + "\n" + `{"text":"I want to hear music","intent":"play_music"}` + "\n"
	if err := os.WriteFile(labelled, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, "", "nlu", "learn", dir, "--add", labelled)
	ok(t, "", "nlu", "train", dir, "--out", b)
	tests := `{"text":"play me some music","intent":"play_music"}` + "\n" + `{"text":"lights out"}` + "\n"
	out := ok(t, tests, "nlu", "compare", a, b, "--jsonl", "-")
	for _, want := range []string{"The same intent for 1 of 2", "B mends 1 and breaks 0", "became play_music", `"play me some music"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	var got struct {
		A, B       string
		Comparison learn.Comparison
	}
	if err := json.Unmarshal([]byte(ok(t, "", "nlu", "compare", a, b, "--jsonl", texts, "--json")), &got); err != nil || got.A == got.B || got.Comparison.Texts != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if status, _, errs := typed(t, nil, "", "nlu", "compare", a, texts, "--jsonl", texts); status != 1 || !strings.Contains(errs, "not a usable model file") {
		t.Errorf("a model that is none: status %d: %s", status, errs)
	}
}

// Whatever a project or its texts are, the message says where and what to do,
// and nothing else happens.
func TestBadProjects(t *testing.T) {
	deep := strings.Repeat("[", 100) + "x"
	for name, tt := range map[string]struct{ text, want string }{
		"empty file":                  {"", "there are no examples"},
		"indented by tabs":            {"intents:\n\ta: |\n    - x\n", "m.yaml:2: YAML: a tab stands"},
		"empty utterance":             {"intents:\n  a: |\n    - x\n    -\n", "m.yaml:4"},
		"enormous utterance":          {"intents:\n  a: |\n    - x\n    - " + strings.Repeat("word ", 2000) + "\n", "m.yaml:4: the utterance has"},
		"binary":                      {"intents:\n  a: |\n    - \xff\xfe\x00\n", "m.yaml:3: this is not UTF-8"},
		"control characters":          {"intents:\n  a: |\n    - x\x01y\n", "m.yaml"},
		"a mark off the text":         {"entities: {e: }\nintents:\n  a: |\n    - [x](e\n", "m.yaml:4"},
		"an empty mark":               {"entities: {e: }\nintents:\n  a: |\n    - x [](e)\n", "m.yaml:4"},
		"marks without end":           {"entities: {e: }\nintents:\n  a: |\n    - " + deep + "\n", "m.yaml:4"},
		"unknown entity":              {"intents:\n  a: |\n    - [x](e)\n", `m.yaml:3: there is no entity "e"`},
		"one intent, None":            {"intents:\n  None: |\n    - x\n", "None is the only intent"},
		"a pattern that looks around": {"entities:\n  e:\n    pattern: 'a(?=b)'\nintents:\n  a: |\n    - x\n", "looks around"},
		"aliases":                     {"a: &a [x, x]\nb: &b [*a, *a]\nintents: *b\n", "m.yaml"},
		"unknown key":                 {"intent:\n  a: |\n    - x\n", "m.yaml:1"},
		"two intents' tests":          {"intents:\n  a: |\n    - x\ntests:\n  b: |\n    - y\n", `m.yaml:6: there is no intent "b"`},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "m.yaml"), []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"nlu", "train", dir}, {"nlu", "test", dir}, {"nlu", "eval", dir}, {"nlu", "learn", dir, "--jsonl", "-"}} {
			status, _, errs := typed(t, nil, `{"text":"x"}`, args...)
			if args[1] == "test" && status == 1 && strings.Contains(errs, "has no tests") || args[1] == "eval" && strings.Contains(errs, "too few examples") {
				continue // said before anything is learned
			}
			if status != 1 || !strings.Contains(errs, tt.want) || strings.Contains(errs, "panic") {
				t.Errorf("%s: %v: status %d: %s, want %q", name, args[1], status, errs, tt.want)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

// What is doubtful is learned, and told with file and line.
func TestDoubts(t *testing.T) {
	dir := t.TempDir()
	text := "intents:\n  a: |\n    - turn it on\n    - switch it on\n  b: |\n    - Turn  it on\n    - something else\n  c: |\n    - 🙂🙂\n"
	if err := os.WriteFile(filepath.Join(dir, "m.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, errs := typed(t, nil, "", "nlu", "train", dir)
	for _, want := range []string{`m.yaml:6: "Turn  it on" is b here and a elsewhere`, "m.yaml:3)", "m.yaml:9: the only line of c"} {
		if status != 0 || !strings.Contains(errs, want) {
			t.Errorf("status %d, no %q in: %s", status, want, errs)
		}
	}
}

// Texts that are no sentences are understood as nothing, by every command that
// takes texts.
func TestOddTexts(t *testing.T) {
	dir, _ := newBot(t)
	model := filepath.Join(dir, modelFile)
	ok(t, "", "nlu", "train", dir)
	odd := []string{"", " ", "🙂🙃😀", "\x00\x01", "雨が降りますか", "привет, как дела", strings.Repeat("turn on ", 5000)}
	var in bytes.Buffer
	for _, text := range odd {
		if err := json.NewEncoder(&in).Encode(map[string]string{"text": text}); err != nil {
			t.Fatal(err)
		}
	}
	rows := strings.Split(strings.TrimSpace(ok(t, in.String(), "nlu", "predict", "--model", model, "--jsonl")), "\n")
	if len(rows) != len(odd) {
		t.Fatalf("%d answers for %d texts", len(rows), len(odd))
	}
	for i, row := range rows[:len(rows)-1] {
		if !strings.HasPrefix(row, `{"intent":"None"`) {
			t.Errorf("%q: %s", odd[i], row)
		}
	}
	ok(t, in.String(), "nlu", "learn", dir, "--jsonl", "-", "--json")
	ok(t, in.String(), "nlu", "compare", model, model, "--jsonl", "-")
}

// A model's file that was damaged or made to harm is refused by every command
// that reads one.
func TestHostileModel(t *testing.T) {
	dir, texts := newBot(t)
	model := filepath.Join(dir, modelFile)
	ok(t, "", "nlu", "train", dir)
	good, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"cut off": good[:len(good)-9], "longer": append(bytes.Clone(good), "PDEF"...), "changed": bytes.Replace(good, []byte("switch_on"), []byte("switch_no"), 1),
		"a length of petabytes": append([]byte("PNLU\x03\x00\xff\xff\xff\xff\xff\xff\xff\x7f"), good[14:]...), "empty": nil,
	} {
		if err := os.WriteFile(model, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"nlu", "predict", "--model", model, "x"},
			{"nlu", "test", "--model", model, dir},
			{"nlu", "eval", "--model", model, dir},
			{"nlu", "compare", model, model, "--jsonl", texts},
			{"nlu", "learn", dir, "--model", model, "--jsonl", texts},
		} {
			if status, _, errs := typed(t, nil, "", args...); status != 1 || !strings.Contains(errs, model) || !strings.Contains(errs, "not a usable model file") {
				t.Errorf("%s: %s: status %d: %s", name, args[1], status, errs)
			}
		}
	}
}
