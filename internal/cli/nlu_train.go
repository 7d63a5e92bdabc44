package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/dialog"
	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/model"
	"github.com/parleyhq/parley/internal/progress"
)

// modelFile is where a project's model goes if nobody says otherwise.
const modelFile = "model.nlu"

func nluTrainCommand() *command {
	return &command{
		name: "train", short: "learn a model from a project or from lines of JSON", args: "[DIR]",
		long: "DIR is the project's folder, the current one if it is left out; its model is model.nlu in it. " +
			"The model is written beside the old one and takes its place when it is whole: whatever goes wrong, a model that worked stays.",
		examples: []example{
			{"parley nlu train my-bot", "my-bot/model.nlu, and a word about what looks wrong in it"},
			{"parley nlu train --jsonl lines.jsonl --out lines.nlu", "from lines of JSON; those for testing are left out"},
		},
		setup: func(fs *flag.FlagSet) action {
			jsonl := fs.String("jsonl", "", "learn from a `FILE` of examples, one JSON object to a line, instead of a project; - is the input")
			out := fs.String("out", "", "write the model to this `FILE`")
			asJSON := fs.Bool("json", false, "write JSON")
			var g learning
			g.bind(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := g.check(); err != nil {
					return err
				}
				from, err := source(args, *jsonl)
				if err != nil {
					return err
				}
				path := *out
				switch {
				case path == "" && *jsonl != "":
					return usagef("name the model's file: --out MODEL")
				case path == "":
					path = filepath.Join(from, modelFile)
				}
				return g.trainTo(ctx, t, from, path, *asJSON)
			}
		},
	}
}

// mostDoubts is how many of the things that look wrong are told.
const mostDoubts = 10

// source is what a command reads: a project's folder or lines of JSON.
func source(args []string, jsonl string) (string, error) {
	switch {
	case len(args) > 1:
		return "", usagef("it takes one folder")
	case len(args) == 1 && jsonl != "":
		return "", usagef("a project's folder and --jsonl exclude each other")
	case jsonl != "":
		return jsonl, nil
	case len(args) == 1:
		return args[0], nil
	}
	return ".", nil
}

func (g *learning) trainTo(ctx context.Context, t *terminal, from, path string, asJSON bool) error {
	l, err := readLessons(t, from)
	if err != nil {
		return err
	}
	began := time.Now()
	m, warnings, err := g.train(ctx, t, l, asJSON)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFrom(path, m, 0o644); err != nil {
		return err
	}
	file, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	size := file.Size()
	learned := 0
	for _, e := range l.examples {
		if e.Split != corpus.Test {
			learned++
		}
	}
	if asJSON {
		return t.json(map[string]any{
			"model": path, "bytes": size, "seconds": time.Since(began).Seconds(), "examples": learned,
			"intents": len(m.Intents()), "entities": len(m.Types()), "version": m.Version(), "warnings": l.doubts(warnings),
		})
	}
	for _, p := range l.doubts(warnings[:min(len(warnings), mostDoubts)]) {
		t.say("%s", calm(p.String()))
	}
	if n := len(warnings) - mostDoubts; n > 0 {
		t.say("and %d more like these", n)
	}
	t.printf("%s: %d intents and %d kinds of entity, learned from %d examples in %v (%s).\n",
		path, len(m.Intents()), len(m.Types()), learned, since(began), progress.Bytes(size))
	return nil
}

// doubts are what looks wrong in the lessons, with its places.
func (l *lessons) doubts(ps []nlu.Problem) []corpus.Problem {
	out := []corpus.Problem{}
	for _, p := range ps {
		out = append(out, l.problem(p))
	}
	return out
}

func nluPredictCommand() *command {
	return &command{
		name: "predict", short: "understand texts with a model", args: "[TEXT...]",
		long: "With --jsonl it reads lines {\"text\": ...} from the input and writes a line for each as soon as it is read, in the same order: intent, score, and entities with their place in code points. " +
			"A line that can't be read gets {\"error\": ...} in its place and makes the exit status 1.",
		examples: []example{
			{"parley nlu predict --model my-bot/model.nlu \"a table for two\"", "one text"},
			{"parley nlu predict --model my-bot/model.nlu --jsonl < texts.jsonl", "many, for a script"},
		},
		setup: func(fs *flag.FlagSet) action {
			path := fs.String("model", modelFile, "the model's `FILE`")
			jsonl := fs.Bool("jsonl", false, "lines of JSON in, lines of JSON out")
			asJSON := fs.Bool("json", false, "write JSON, with all intents")
			now := fs.String("now", "", "the `TIME` that tomorrow and the like count from, 2026-03-05T14:00:00Z; this moment if left out")
			var enc sentences
			enc.bind(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if !*jsonl && len(args) == 0 {
					return usagef("give a text, or --jsonl for texts from the input")
				}
				if *jsonl && (len(args) > 0 || *asJSON) {
					return usagef("--jsonl reads the input and writes lines: it takes neither texts nor --json")
				}
				at := time.Now()
				if *now != "" {
					var err error
					if at, err = time.Parse(time.RFC3339, *now); err != nil {
						return usagef("--now is a time such as 2026-03-05T14:00:00Z, not %q", *now)
					}
				}
				m, err := enc.readModel(ctx, t, *path)
				if err != nil {
					return err
				}
				if *jsonl {
					return predictLines(ctx, t, m, at)
				}
				for _, text := range args {
					if err := predictText(t, m, text, at, *asJSON); err != nil {
						return err
					}
				}
				return nil
			}
		},
	}
}

// understood is what predict tells of a text.
type understood struct {
	Intent   string       `json:"intent"`
	Score    float64      `json:"score"`
	Entities []found      `json:"entities"`
	Intents  []nlu.Ranked `json:"intents,omitempty"`
	Version  string       `json:"version,omitempty"`
}

type found struct {
	Start int     `json:"start"` // code points
	End   int     `json:"end"`   // code points, exclusive
	Type  string  `json:"type"`
	Role  string  `json:"role,omitempty"`
	Value string  `json:"value,omitempty"` // what programs get, where a definition says it
	Score float64 `json:"score,omitempty"` // what the learned part gives it
}

// understand asks the model and tells the entities that don't overlap.
func understand(m *model.Model, text string, at time.Time) understood {
	u := m.Understand(text, at)
	out := understood{Intent: u.Intent, Score: u.Score, Entities: []found{}, Intents: u.Intents, Version: m.Version()}
	values := dialog.Entities(text, u.Entities)
	for i, e := range finder.Flat(u.Entities) {
		out.Entities = append(out.Entities, found{e.Start, e.End, e.Name, e.Role, cmp.Or(values[i].Name, values[i].Value.Value), e.Score})
	}
	slices.SortStableFunc(out.Entities, func(a, b found) int { return a.Start - b.Start })
	return out
}

func predictLines(ctx context.Context, t *terminal, m *model.Model, at time.Time) error {
	out := bufio.NewWriter(t.out)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	bad := false
	in := &flushing{r: t.in, before: out.Flush}
	err := eachLine(in, func(n int, line []byte, tooLong bool) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := lineText(line, tooLong)
		if err != nil {
			bad = true
			t.say("parley: input:%d: %s", n, err)
			return enc.Encode(map[string]string{"error": fmt.Sprintf("line %d: %s", n, err)})
		}
		row := understand(m, text, at)
		row.Intents, row.Version = nil, ""
		for i := range row.Entities {
			row.Entities[i].Score = 0
		}
		return enc.Encode(row)
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("understand the input: %w", err)
	}
	if bad {
		return errSilent
	}
	return nil
}

// lineText reads {"text": ...}, whatever else the line has.
func lineText(line []byte, tooLong bool) (string, error) {
	var ask struct {
		Text *string `json:"text"`
	}
	if tooLong {
		return "", fmt.Errorf("the line is longer than %d bytes", corpus.MostLine)
	}
	if err := json.Unmarshal(line, &ask); err != nil {
		return "", corpus.JSONError(err)
	}
	if ask.Text == nil {
		return "", errors.New(`it has no "text"`)
	}
	return *ask.Text, nil
}

// flushing calls before ahead of each read that may wait, so that whoever
// writes line by line gets each answer at once.
type flushing struct {
	r      io.Reader
	before func() error
}

func (f *flushing) Read(p []byte) (int, error) {
	if err := f.before(); err != nil {
		return 0, err
	}
	return f.r.Read(p)
}

func predictText(t *terminal, m *model.Model, text string, at time.Time, asJSON bool) error {
	u := understand(m, text, at)
	if asJSON {
		return t.json(u)
	}
	t.printf("%s  %.2f", calm(u.Intent), u.Score)
	for _, r := range u.Intents[1:min(len(u.Intents), 3)] {
		if r.Score >= 0.01 {
			t.printf("  (%s %.2f)", calm(r.Intent), r.Score)
		}
	}
	t.printf("\n")
	runes := []rune(text)
	for _, e := range u.Entities {
		t.printf("  %s = %q", calm(finder.Join(e.Type, e.Role)), short(string(runes[e.Start:e.End])))
		if e.Value != "" {
			t.printf(" is %s", calm(e.Value))
		}
		if e.Score > 0 {
			t.printf("  %.2f", e.Score)
		}
		t.printf("  at %d to %d\n", e.Start, e.End)
	}
	return nil
}
