package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/lm/pull"
	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/encoder"
	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/model"
	"github.com/parleyhq/parley/internal/progress"
)

func nluCommand() *command {
	return &command{
		name: "nlu", short: "teach a model to understand what people want, and try it",
		long: "A project is a folder of YAML or .lu files: intents with utterances, entities, and tests. A model is learned from it in seconds and is one small file. " +
			"Instead of a project every command takes lines of JSON, one example each:\n" +
			`  {"text":"a table for two","intent":"book","split":"train",` + "\n" +
			`   "entities":[{"start":12,"end":15,"type":"people"}]}` + "\n" +
			"Places count Unicode code points, the end is exclusive; the split is train, dev or test, and what is for testing is never learned.",
		examples: []example{
			{"parley nlu init my-bot", "begin a project"},
			{"parley nlu train my-bot", "learn a model from it"},
			{"parley nlu predict --model my-bot/model.nlu \"a table for two\"", "try it"},
		},
		subs: []*command{
			nluInitCommand(), nluImportCommand(), nluTrainCommand(), nluTestCommand(),
			nluWatchCommand(), nluPredictCommand(), nluEvalCommand(), nluCompareCommand(), nluLearnCommand(), nluExportCommand(),
			nluPublishCommand(), nluModelsCommand(), nluActivateCommand(), nluUnknownCommand(),
		},
	}
}

// lessons are the examples that a command works on, and where each stands.
type lessons struct {
	name     string          // of the folder or file
	project  *corpus.Project // nil for lines of JSON
	examples []corpus.Example
	places   []corpus.Place // of the examples
}

// readLessons reads a project's folder, or lines of JSON ("-" is the input).
func readLessons(t *terminal, path string) (*lessons, error) {
	if path == "-" {
		return readExamples(t.in, "input")
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read examples: %w", err)
	}
	if st.IsDir() {
		return readProject(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read examples: %w", err)
	}
	defer func() { _ = f.Close() }()
	return readExamples(f, path)
}

// problemsIn names a project's files as they are found from here.
func problemsIn(dir string, err error) error {
	var all corpus.Problems
	if !errors.As(err, &all) {
		return err
	}
	all = slices.Clone(all)
	for i := range all {
		all[i].File = filepath.Join(dir, filepath.FromSlash(all[i].File))
	}
	return all
}

func readProject(dir string) (*lessons, error) {
	p, places, err := corpus.ReadPlaces(dir)
	if err != nil {
		return nil, problemsIn(dir, err)
	}
	for i := range places {
		places[i].File = filepath.Join(dir, filepath.FromSlash(places[i].File))
	}
	return &lessons{name: dir, project: p, examples: finder.Lessons(p), places: places}, nil
}

// readTexts is readLessons for lines of JSON only, which need no label.
func readTexts(t *terminal, path string) (*lessons, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil, fmt.Errorf("%s is a folder: name a file of lines", path)
	}
	return readLessons(t, path)
}

// mostBad is how many wrong lines are listed.
const mostBad = 100

// readExamples reads lines of JSON. Unlike a project's, names in them may be
// anything.
func readExamples(r io.Reader, name string) (*lessons, error) {
	l := &lessons{name: name}
	var bad corpus.Problems
	err := eachLine(r, func(n int, line []byte, tooLong bool) error {
		var e corpus.Example
		why := ""
		switch {
		case tooLong:
			why = fmt.Sprintf("the line is longer than %d bytes", corpus.MostLine)
		default:
			if err := json.Unmarshal(line, &e); err != nil {
				why = "this is no example: " + corpus.JSONError(err).Error()
			} else if e.Split != "" && e.Split != corpus.Train && e.Split != corpus.Dev && e.Split != corpus.Test {
				why = fmt.Sprintf("the split %q is none of train, dev, test", e.Split)
			}
		}
		if why != "" {
			bad = append(bad, corpus.Problem{File: name, Line: n, Text: why})
			if len(bad) == mostBad {
				return errEnough
			}
			return nil
		}
		l.examples, l.places = append(l.examples, e), append(l.places, corpus.Place{File: name, Line: n})
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(bad) > 0 {
		return nil, bad
	}
	finder.Joined(l.examples)
	return l, nil
}

var errEnough = errors.New("enough")

// eachLine calls do with each line that is not blank and its number. Of a line
// that is too long it hands on nothing but that.
func eachLine(r io.Reader, do func(n int, line []byte, tooLong bool) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	for n, tooLong := 1, false; ; {
		part, err := in.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(part) > corpus.MostLine; !tooLong {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if text := bytes.TrimSpace(line); len(text) > 0 || tooLong {
			if err := do(n, text, tooLong); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line, tooLong = line[:0], false
		n++
	}
}

// place says where an example stands.
func (l *lessons) place(i int) string {
	return fmt.Sprintf("%s:%d", l.places[i].File, l.places[i].Line)
}

// problem puts the places into what the training says of an example.
func (l *lessons) problem(p nlu.Problem) corpus.Problem {
	out := corpus.Problem{File: l.places[p.Index].File, Line: l.places[p.Index].Line, Text: p.Text}
	if p.Other >= 0 {
		out.Text += " (" + l.place(p.Other) + ")"
	}
	return out
}

// placed does so for the error of a training.
func (l *lessons) placed(err error) error {
	var bad nlu.BadExamples
	if !errors.As(err, &bad) {
		return err
	}
	var out corpus.Problems
	for _, p := range bad[:min(len(bad), mostBad)] {
		out = append(out, l.problem(p))
	}
	if n := len(bad) - mostBad; n > 0 {
		out = append(out, corpus.Problem{File: l.name, Text: fmt.Sprintf("and %d more", n)})
	}
	return out
}

func (l *lessons) has(s corpus.Split) bool {
	for _, e := range l.examples {
		if e.Split == s {
			return true
		}
	}
	return false
}

// short keeps foreign text on one line.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return calm(s)
}

// learning is how a command trains.
type learning struct {
	seed uint64
	tier string
	sentences
}

func (g *learning) bind(fs *flag.FlagSet) {
	fs.Uint64Var(&g.seed, "seed", 1, "`NUMBER` where chance begins: the same examples and seed make the same model")
	fs.StringVar(&g.tier, "tier", "fast", "`TIER` of the model: fast, or accurate, which reads whole sentences with an encoder of 90 MB and takes milliseconds for each")
	g.sentences.bind(fs)
}

// check says what is wrong with the flags, before anything is read.
func (g *learning) check() error {
	if g.tier != "fast" && g.tier != "accurate" {
		return usagef("--tier is fast or accurate, not %q", g.tier)
	}
	return nil
}

// sentences finds the sentence encoder of the accurate tier.
type sentences struct {
	dir      string
	settings *settings
}

func (s *sentences) bind(fs *flag.FlagSet) {
	fs.StringVar(&s.dir, "encoder", "", "read the accurate tier's encoder from this `FOLDER` (model.safetensors, vocab.txt) instead of fetching it once into the cache")
	s.settings = bind(fs, "cache", "model_source", "offline")
}

// open has the encoder on this machine and reads it.
func (s *sentences) open(ctx context.Context, t *terminal) (*encoder.Encoder, error) {
	dir := s.dir
	if dir == "" {
		c, err := s.settings.load(t, false)
		if err != nil {
			return nil, err
		}
		cache, err := openCache(t, c)
		if err != nil {
			return nil, err
		}
		st, err := cache.Pull(ctx, pull.SentenceEncoder)
		if err != nil {
			return nil, err
		}
		dir = st.Path
	}
	var parts [2][]byte
	for i, name := range []string{"model.safetensors", "vocab.txt"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read the sentence encoder: %w", err)
		}
		parts[i] = b
	}
	return encoder.Read(parts[0], parts[1])
}

// options are those for learning.
func (g *learning) options(ctx context.Context, t *terminal) (opt nlu.Options, err error) {
	opt.Seed = g.seed
	if g.tier == "accurate" {
		opt.Encoder, err = g.open(ctx, t)
	}
	return opt, err
}

// train learns from the lessons and tells the person how far it is.
func (g *learning) train(ctx context.Context, t *terminal, l *lessons, quiet bool) (*model.Model, []nlu.Problem, error) {
	opt, err := g.options(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	if !quiet {
		opt.Progress = learnLines(progress.New(consoleFor(t, t.err)))
	}
	m, warnings, err := model.Train(ctx, l.project, l.examples, opt)
	if err != nil {
		return nil, nil, l.placed(err)
	}
	return m, warnings, nil
}

// learnLines tells a person how far it is, if it takes long enough to wonder.
func learnLines(console *progress.Console) func(string, int, int) {
	const pause = time.Second
	told := time.Now()
	return func(stage string, done, total int) {
		if time.Since(told) >= pause {
			told = time.Now()
			console.Line("Learning %s: %d of %d", stage, done, total)
		}
	}
}

// readModel reads a model's file, and the encoder if it needs one.
func (s *sentences) readModel(ctx context.Context, t *terminal, path string) (*model.Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	defer func() { _ = f.Close() }()
	m, err := model.Read(f, func(uint32) (*encoder.Encoder, error) { return s.open(ctx, t) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}
