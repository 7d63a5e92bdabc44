package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// ok runs a command line that must succeed.
func ok(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	status, out, errs := typed(t, nil, stdin, args...)
	if status != 0 {
		t.Fatalf("%v: status %d: %s", args, status, errs)
	}
	return out
}

// A project from nothing to answers.
func TestProjectStory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `my "bot"`)
	ok(t, "", "nlu", "init", dir)
	if status, _, errs := typed(t, nil, "", "nlu", "init", dir); status != 1 || !strings.Contains(errs, "not empty") {
		t.Errorf("a second init: status %d: %s", status, errs)
	}
	if out := ok(t, "", "nlu", "train", dir); !strings.Contains(out, "4 intents") {
		t.Errorf("train: %s", out)
	}
	if out := ok(t, "", "nlu", "test", dir); !strings.Contains(out, "3 of 3 tests passed") {
		t.Errorf("test: %s", out)
	}
	model := filepath.Join(dir, modelFile)
	if out := ok(t, "", "nlu", "predict", "--model", model, "switch off the lights in the hall"); !strings.Contains(out, "switch_off") || !strings.Contains(out, `room = "hall"`) {
		t.Errorf("predict: %s", out)
	}
	var u understood
	if err := json.Unmarshal([]byte(ok(t, "", "nlu", "predict", "--json", "--model", model, "it is cold in the hall")), &u); err != nil || u.Intent != "warmer" || len(u.Intents) != 4 {
		t.Errorf("predict --json: %+v, %v", u, err)
	}

	tests := filepath.Join(dir, "more.yaml")
	if err := os.WriteFile(tests, []byte("tests:\n  warmer: |\n    - lights out in the [hall](room)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out, _ := typed(t, nil, "", "nlu", "test", dir); status != 1 || !strings.Contains(out, "understood as switch_off") || !strings.Contains(out, "3 of 4") {
		t.Errorf("a wrong test: status %d: %s", status, out)
	}
	if err := os.WriteFile(tests, []byte("intents:\n  warmer:\n    - warm the [hall](rom)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := typed(t, nil, "", "nlu", "train", dir); status != 1 || !strings.Contains(errs, "more.yaml:3") || !strings.Contains(errs, `did you mean "room"?`) {
		t.Errorf("a misspelt entity: status %d: %s", status, errs)
	}
}

// exampleLines are lines of JSON for two intents with names that no project
// may have.
func exampleLines(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	add := func(intent, text, value string, split corpus.Split) {
		e := corpus.Example{Text: text, Intent: intent, Split: split}
		if at := strings.Index(text, value); value != "" {
			e.Entities = []corpus.Entity{{Start: at, End: at + len(value), Type: "what/where"}}
		}
		if err := json.NewEncoder(&b).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	for i, city := range []string{"Rome", "Oslo", "Lima", "Cairo", "Paris", "Delhi"} {
		split := corpus.Train
		if i == 5 {
			split = corpus.Test
		}
		add("weather/find", "will it rain in "+city, city, split)
		add("weather/find", "how is the weather in "+city+" today", city, split)
		add("alarm:set", fmt.Sprintf("wake me at %d in the morning", i+5), "", split)
		add("alarm:set", fmt.Sprintf("set an alarm for %d o'clock", i+6), "", split)
	}
	return b.String()
}

func TestLinesInLinesOut(t *testing.T) {
	dir := t.TempDir()
	lines, model := filepath.Join(dir, "lines.jsonl"), filepath.Join(dir, "lines.nlu")
	if err := os.WriteFile(lines, []byte(exampleLines(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := ok(t, "", "nlu", "train", "--jsonl", lines, "--out", model); !strings.Contains(out, "2 intents and 1 kinds of entity, learned from 20 examples") {
		t.Errorf("train: %s", out)
	}
	want := `{"intent":"weather/find","entities":[{"start":18,"end":22,"type":"what/where"}]}
{"intent":"alarm:set","entities":[]}
{"intent":"None","entities":[]}
`
	got := ok(t, `{"text":"🙂 will it rain in Bern","id":1}`+"\n\n"+`{"text":"set an alarm for 9"}`+"\r\n"+`{"text":""}`, "nlu", "predict", "--model", model, "--jsonl")
	if diff := cmp.Diff(want, withoutScores(t, got)); diff != "" {
		t.Error(diff)
	}
	status, out, errs := typed(t, nil, "{\"text\":\"wake me\"}\nnonsense\n{\"txt\":1}\n{\"text\":\"wake me\"}\n", "nlu", "predict", "--model", model, "--jsonl")
	if rows := strings.Split(strings.TrimSpace(out), "\n"); status != 1 || len(rows) != 4 || !strings.Contains(rows[1], "line 2") || !strings.Contains(rows[2], "text") || rows[0] != rows[3] || !strings.Contains(errs, "input:3") {
		t.Errorf("wrong lines: status %d:\n%s%s", status, out, errs)
	}
}

func withoutScores(t *testing.T, lines string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(lines) {
		var row understood
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.Score < 0 || row.Score > 1 {
			t.Fatalf("%s: %v", line, err)
		}
		entities, err := json.Marshal(row.Entities)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "{\"intent\":%q,\"entities\":%s}\n", row.Intent, entities)
	}
	return b.String()
}

// A program that asks line by line gets each answer before it asks again.
func TestPredictStreams(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "m.nlu")
	ok(t, exampleLines(t), "nlu", "train", "--jsonl", "-", "--out", model)
	m, err := new(sentences).readModel(t.Context(), nil, model)
	if err != nil {
		t.Fatal(err)
	}
	in, ask := io.Pipe()
	answer, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := predictLines(t.Context(), &terminal{in: in, out: out, err: io.Discard}, m, time.Now())
		_ = out.CloseWithError(io.EOF)
		done <- err
	}()
	answers := json.NewDecoder(answer)
	for range 3 {
		if _, err := io.WriteString(ask, "{\"text\":\"wake me at 7\"}\n"); err != nil {
			t.Fatal(err)
		}
		var row understood
		if err := answers.Decode(&row); err != nil || row.Intent != "alarm:set" {
			t.Fatalf("%+v, %v", row, err)
		}
	}
	_ = ask.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What fails leaves the model that worked, and nothing beside it.
func TestFailedTrainingKeepsTheModel(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "m.nlu")
	ok(t, exampleLines(t), "nlu", "train", "--jsonl", "-", "--out", model)
	before, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ lines, want string }{
		"no JSON":        {"{\n", "input:1"},
		"two faults":     {"x\n" + exampleLines(t) + "y\n", "input:26"},
		"off the text":   {exampleLines(t) + `{"text":"ok","intent":"a","entities":[{"start":1,"end":9,"type":"t"}]}`, "input:25: the entity t at 1:9 lies off the text"},
		"empty text":     {`{"text":" ","intent":"a"}`, "input:1: the text is empty"},
		"no intent":      {`{"text":"hello"}`, "input:1: no intent"},
		"split":          {`{"text":"hello","intent":"a","split":"tset"}`, `input:1: the split "tset"`},
		"nothing":        {"", "nothing to learn"},
		"too long":       {`{"text":"` + strings.Repeat("x", corpus.MostLine) + `"}`, "longer than"},
		"only for tests": {`{"text":"hello","intent":"a","split":"test"}`, "nothing to learn"},
	} {
		status, _, errs := typed(t, nil, tt.lines, "nlu", "train", "--jsonl", "-", "--out", model)
		if status != 1 || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: status %d: %s, want %q", name, status, errs, tt.want)
		}
	}
	after, err := os.ReadFile(model)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the model was changed: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if status, _, errs := typed(t, nil, exampleLines(t), "nlu", "train", "--jsonl", "-", "--out", filepath.Join(dir, "no", "m.nlu")); status != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("no folder: status %d: %s", status, errs)
	}
}

func TestEval(t *testing.T) {
	dir := t.TempDir()
	lines, curve := filepath.Join(dir, "lines.jsonl"), filepath.Join(dir, "curve.svg")
	if err := os.WriteFile(lines, []byte(exampleLines(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	var got measured
	if err := json.Unmarshal([]byte(ok(t, "", "nlu", "eval", "--json", "--curve", curve, lines)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Learned != 20 || got.Lines != 4 || got.Accuracy != 1 || got.Exact != 1 || len(got.Curve) < 2 || got.Curve[len(got.Curve)-1].Examples != 20 {
		t.Errorf("%+v", got)
	}
	svg, err := os.ReadFile(curve)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the curve is no XML: %v", err)
		}
	}
	// The same words for learning and testing are no test.
	leak := exampleLines(t) + `{"text":"Will it RAIN in Rome?","intent":"alarm:set","split":"test"}` + "\n"
	if err := os.WriteFile(lines, []byte(leak), 0o600); err != nil {
		t.Fatal(err)
	}
	out := ok(t, "", "nlu", "eval", lines)
	for _, want := range []string{"tried on 5", "alarm:set taken for weather/find", `"Will it RAIN in Rome?" is alarm:set`, "1 test lines are learned as well", "no examples of None"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if out := ok(t, "", "nlu", "eval", lines, lines); strings.Count(out, "lines.jsonl") != 2 {
		t.Errorf("two files make no table:\n%s", out)
	}
}

func TestImportAndExport(t *testing.T) {
	dir := t.TempDir()
	project, app := filepath.Join(dir, "bot"), filepath.Join(dir, "app.json")
	ok(t, "", "nlu", "init", project)
	ok(t, "", "nlu", "export", project, "--out", app)
	again := filepath.Join(dir, "again")
	if out := ok(t, "", "nlu", "import", app, again); !strings.Contains(out, "4 intents, 1 entities") {
		t.Errorf("import: %s", out)
	}
	if diff := cmp.Diff(ok(t, "", "nlu", "export", project), ok(t, "", "nlu", "export", again)); diff != "" {
		t.Errorf("the app changed on its way: %s", diff)
	}
	lines := filepath.Join(dir, "lines.jsonl")
	if err := os.WriteFile(lines, []byte(ok(t, "", "nlu", "export", project, "--format", "jsonl")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := ok(t, "", "nlu", "import", lines, filepath.Join(dir, "third")); !strings.Contains(out, "4 intents") {
		t.Errorf("import of lines: %s", out)
	}
	if status, _, errs := typed(t, nil, "", "nlu", "import", lines, project); status != 1 || !strings.Contains(errs, "not empty") {
		t.Errorf("over a project: status %d: %s", status, errs)
	}
	for name, text := range map[string]string{"x.json": `{"a":1}`, "y.txt": "hello", "z.json": `{"luis_schema_version":"7.0.0","intents":7}`} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, _, errs := typed(t, nil, "", "nlu", "import", file, filepath.Join(dir, "none")); status == 0 || errs == "" {
			t.Errorf("%s: status %d: %s", name, status, errs)
		}
	}
}

func TestNLUCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"nlu train a b":                          "it takes one folder",
		"nlu train --jsonl x":                    "--out MODEL",
		"nlu train --jsonl x --out y dir":        "exclude each other",
		"nlu train --tier best":                  "fast or accurate",
		"nlu predict":                            "give a text",
		"nlu predict --jsonl x":                  "neither texts",
		"nlu eval --model m a b":                 "one project or file",
		"nlu import x":                           "name the file and the new folder",
		"nlu init":                               "name the folder",
		"nlu tarin":                              `did you mean "parley nlu train"?`,
		"nlu import cli.go /dev/null --format x": "--format is",
	} {
		if status, _, errs := typed(t, nil, "", strings.Fields(line)...); status != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d: %s", line, status, errs)
		}
	}
	if status, _, errs := typed(t, nil, "", "nlu", "predict", "--model", "cli.go", "hello"); status != 1 || !strings.Contains(errs, "cli.go: ") || !strings.Contains(errs, "not a usable model file") {
		t.Errorf("a model that is none: status %d: %s", status, errs)
	}
}
