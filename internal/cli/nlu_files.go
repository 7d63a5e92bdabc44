package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/parleyhq/parley/internal/nlu/corpus"
)

// starter is the project that init writes: small, and with something of
// everything.
const starter = `# What this bot understands. Below "intent: |" each line is an utterance;
# [text](entity) marks a part of it. Ten or more, said in different ways, teach
# an intent. parley nlu train learns from it, parley nlu test tries the tests.
name: %s
culture: en

entities:
  room: # no finder: learned from the marks

intents:
  switch_on: |
    - turn on the light in the [kitchen](room)
    - switch the lamp on in the [bedroom](room)
    - lights on please
    - it is too dark in the [hall](room)
    - light up the [living room](room)
    - can you turn the lights on

  switch_off: |
    - turn off the light in the [kitchen](room)
    - switch the lamp off in the [bathroom](room)
    - lights out
    - I am leaving, put out all the lights
    - make it dark in the [hall](room)
    - kill the lights in the [living room](room)

  warmer: |
    - it is cold in the [bedroom](room)
    - make it warmer in here
    - turn up the heating in the [bathroom](room)
    - I am freezing
    - a little more heat please
    - set the heating higher in the [office](room)

  # What is none of this bot's business.
  None: |
    - tell me a joke
    - what is the capital of Peru
    - order two pizzas

tests:
  switch_on: |
    - turn on the lamp in the [bathroom](room)
  switch_off: |
    - turn the lights off in the [hall](room)
  warmer: |
    - make it warmer in the [kitchen](room)
`

func nluInitCommand() *command {
	return &command{
		name: "init", short: "begin a project", args: "DIR",
		long:     "It writes one small file, model.yaml, that can be trained and tested at once, into a new or empty folder.",
		examples: []example{{"parley nlu init my-bot", "then edit my-bot/model.yaml"}},
		setup: func(*flag.FlagSet) action {
			return func(_ context.Context, t *terminal, args []string) error {
				if len(args) != 1 {
					return usagef("name the folder")
				}
				dir := args[0]
				if there, err := os.ReadDir(dir); err == nil && len(there) > 0 {
					return fmt.Errorf("%s is not empty: name a new folder", dir)
				} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("begin a project: %w", err)
				}
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return fmt.Errorf("begin a project: %w", err)
				}
				name, err := json.Marshal(filepath.Base(filepath.Clean(dir))) // a JSON text is a YAML text
				if err != nil {
					return fmt.Errorf("begin a project: %w", err)
				}
				file := filepath.Join(dir, "model.yaml")
				if err := os.WriteFile(file, fmt.Appendf(nil, starter, name), 0o644); err != nil {
					return fmt.Errorf("begin a project: %w", err)
				}
				t.printf("%s is written. Next: parley nlu train %s\n", file, dir)
				return nil
			}
		},
	}
}

func nluImportCommand() *command {
	return &command{
		name: "import", short: "make a project from LUIS, CLU, Rasa, .lu or lines of JSON", args: "FILE DIR",
		long: "DIR is a new or empty folder. What kind of file it is shows its content; --format says it where it doesn't. " +
			"What can't be carried over is listed, never dropped in silence.",
		examples: []example{
			{"parley nlu import app.luis.json my-bot", "a LUIS app, schema 2.x to 7.x"},
			{"parley nlu import nlu.yml my-bot", "Rasa's training data"},
		},
		setup: func(fs *flag.FlagSet) action {
			format := fs.String("format", "", "what the file is, a `NAME`: luis, clu, lu, rasa or jsonl")
			asJSON := fs.Bool("json", false, "write JSON")
			return func(_ context.Context, t *terminal, args []string) error {
				if len(args) != 2 {
					return usagef("name the file and the new folder")
				}
				p, lost, err := importFile(args[0], *format)
				if err != nil {
					return err
				}
				if err := corpus.Write(args[1], p); err != nil {
					return err
				}
				utterances := 0
				for _, in := range p.Intents {
					utterances += len(in.Utterances)
				}
				if *asJSON {
					return t.json(map[string]any{"project": args[1], "intents": len(p.Intents), "entities": len(p.Entities), "utterances": utterances, "lost": orEmpty(lost)})
				}
				tellLost(t, lost)
				t.printf("%s: %d intents, %d entities, %d utterances. Next: parley nlu train %s\n", args[1], len(p.Intents), len(p.Entities), utterances, args[1])
				return nil
			}
		},
	}
}

func orEmpty(lost []corpus.Lost) []corpus.Lost {
	if lost == nil {
		return []corpus.Lost{}
	}
	return lost
}

// tellLost lists what a conversion left behind.
func tellLost(t *terminal, lost []corpus.Lost) {
	if len(lost) > 0 {
		t.say("Not carried over:")
	}
	for _, l := range lost {
		t.say("  %s", calm(l.String()))
	}
}

// mostImport bounds a file that is imported, in bytes.
const mostImport = 256 << 20

func importFile(path, format string) (*corpus.Project, []corpus.Lost, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	if st.IsDir() || st.Size() > mostImport {
		return nil, nil, fmt.Errorf("import: %s is a folder or larger than %d MiB", path, mostImport>>20)
	}
	if format == "" && strings.EqualFold(filepath.Ext(path), ".lu") {
		format = "lu"
	}
	if format == "lu" {
		return corpus.ImportLU(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	if format == "" {
		format = guess(path, b)
	}
	name := filepath.Base(path)
	switch format {
	case "luis":
		return corpus.ImportLUIS(b)
	case "clu":
		return corpus.ImportCLU(b)
	case "rasa":
		return corpus.ImportRasa(b, name)
	case "jsonl":
		all, err := corpus.ReadAll(strings.NewReader(string(b)), name)
		if err != nil {
			return nil, nil, err
		}
		return corpus.FromExamples(strings.TrimSuffix(name, filepath.Ext(name)), "en", all)
	case "":
		return nil, nil, fmt.Errorf("import: what %s is can't be told from its content: say --format luis, clu, lu, rasa or jsonl", path)
	}
	return nil, nil, usagef("--format is luis, clu, lu, rasa or jsonl, not %q", format)
}

// guess tells what a file is, "" if it can't.
func guess(path string, b []byte) string {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yml", ".yaml":
		return "rasa"
	case ".jsonl":
		return "jsonl"
	}
	var head map[string]json.RawMessage
	if json.Unmarshal(b, &head) != nil {
		return ""
	}
	for key, format := range map[string]string{"luis_schema_version": "luis", "projectFileVersion": "clu"} {
		if _, ok := head[key]; ok {
			return format
		}
	}
	return ""
}

func nluExportCommand() *command {
	return &command{
		name: "export", short: "write a project as LUIS JSON, .lu or lines of JSON", args: "[DIR]",
		long: "It goes to the output unless --out names a file. What the other form has no place for is listed.",
		examples: []example{
			{"parley nlu export my-bot --out app.json", "for tools that read LUIS apps"},
			{"parley nlu export my-bot --format jsonl", "one example to a line"},
		},
		setup: func(fs *flag.FlagSet) action {
			format := fs.String("format", "luis", "what to write, a `NAME`: luis, lu, jsonl, or luis-tests for LUIS' batch tests")
			out := fs.String("out", "", "write to this `FILE`")
			return func(_ context.Context, t *terminal, args []string) error {
				dir, err := source(args, "")
				if err != nil {
					return err
				}
				p, err := corpus.Read(dir)
				if err != nil {
					return err
				}
				b, lost, err := exported(p, *format)
				if err != nil {
					return err
				}
				tellLost(t, lost)
				if *out == "" {
					t.printf("%s", b)
					return nil
				}
				if err := os.WriteFile(*out, b, 0o644); err != nil {
					return fmt.Errorf("export: %w", err)
				}
				t.say("%s is written.", *out)
				return nil
			}
		},
	}
}

func exported(p *corpus.Project, format string) ([]byte, []corpus.Lost, error) {
	switch format {
	case "luis":
		return corpus.ExportLUIS(p)
	case "lu":
		return corpus.ExportLU(p)
	case "luis-tests":
		b, err := corpus.ExportLUISTests(p)
		return b, nil, err
	case "jsonl":
		var b strings.Builder
		if err := corpus.WriteLines(&b, p.Examples()); err != nil {
			return nil, nil, fmt.Errorf("export: %w", err)
		}
		return []byte(b.String()), nil, nil
	}
	return nil, nil, usagef("--format is luis, lu, jsonl or luis-tests, not %q", format)
}
