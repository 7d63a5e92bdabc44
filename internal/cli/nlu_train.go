package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
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

// placedProblem is a doubt with its place.
type placedProblem struct {
	Place string `json:"place"`
	Text  string `json:"text"`
}

func (l *lessons) doubts(ps []nlu.Problem) []placedProblem {
	out := []placedProblem{}
	for _, p := range ps {
		out = append(out, placedProblem{l.place(p.Index), p.Text})
	}
	return out
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
			"intents": len(m.Intents()), "entities": len(m.Types()), "warnings": l.doubts(warnings),
		})
	}
	const most = 10
	for _, w := range l.doubts(warnings[:min(len(warnings), most)]) {
		t.say("%s: %s", w.Place, w.Text)
	}
	if n := len(warnings) - most; n > 0 {
		t.say("and %d more like these", n)
	}
	t.printf("%s: %d intents and %d kinds of entity, learned from %d examples in %v (%s).\n",
		path, len(m.Intents()), len(m.Types()), learned, since(began), progress.Bytes(size))
	return nil
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
			var enc sentences
			enc.bind(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if !*jsonl && len(args) == 0 {
					return usagef("give a text, or --jsonl for texts from the input")
				}
				if *jsonl && (len(args) > 0 || *asJSON) {
					return usagef("--jsonl reads the input and writes lines: it takes neither texts nor --json")
				}
				m, err := enc.readModel(ctx, t, *path)
				if err != nil {
					return err
				}
				if *jsonl {
					return predictLines(ctx, t, m)
				}
				for _, text := range args {
					if err := predictText(t, m, text, *asJSON); err != nil {
						return err
					}
				}
				return nil
			}
		},
	}
}

// understood is a line of predict --jsonl.
type understood struct {
	Intent   string  `json:"intent"`
	Score    float64 `json:"score"`
	Entities []found `json:"entities"`
}

type found struct {
	Start int    `json:"start"` // code points
	End   int    `json:"end"`   // code points, exclusive
	Type  string `json:"type"`
}

func predictLines(ctx context.Context, t *terminal, m *nlu.Model) error {
	out := bufio.NewWriter(t.out)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	var (
		u   nlu.Understanding
		row = understood{Entities: []found{}}
		bad bool
	)
	in := &flushing{r: t.in, before: out.Flush}
	err := eachLine(in, func(n int, line []byte, tooLong bool) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var ask struct {
			Text *string `json:"text"`
		}
		why := ""
		switch err := json.Unmarshal(line, &ask); {
		case tooLong:
			why = fmt.Sprintf("the line is longer than %d bytes", corpus.MostLine)
		case err != nil:
			why = err.Error()
		case ask.Text == nil:
			why = `it has no "text"`
		}
		if why != "" {
			bad = true
			t.say("parley: input:%d: %s", n, why)
			return enc.Encode(map[string]string{"error": fmt.Sprintf("line %d: %s", n, why)})
		}
		m.PredictInto(*ask.Text, &u)
		row.Intent, row.Score, row.Entities = u.Intent, u.Score, row.Entities[:0]
		for _, e := range u.Entities {
			row.Entities = append(row.Entities, found{e.Start, e.End, e.Type})
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

func predictText(t *terminal, m *nlu.Model, text string, asJSON bool) error {
	u := m.Predict(text)
	if asJSON {
		return t.json(u)
	}
	t.printf("%s  %.2f", u.Intent, u.Score)
	for _, r := range u.Intents[1:min(len(u.Intents), 3)] {
		if r.Score >= 0.01 {
			t.printf("  (%s %.2f)", r.Intent, r.Score)
		}
	}
	t.printf("\n")
	runes := []rune(text)
	for _, e := range u.Entities {
		value := ""
		if e.End <= len(runes) {
			value = short(string(runes[e.Start:e.End]))
		}
		t.printf("  %s = %q  %.2f  at %d to %d\n", e.Type, value, e.Score, e.Start, e.End)
	}
	return nil
}
