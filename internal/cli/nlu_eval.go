package cli

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/parleyhq/parley/internal/nlu"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/finder"
	"github.com/parleyhq/parley/internal/nlu/model"
)

// held is the share of the examples that is tested with where none are for
// testing.
const held = 0.2

func nluEvalCommand() *command {
	return &command{
		name: "eval", short: "measure how well a model does on examples it has not seen", args: "[DIR|FILE...]",
		long: "It learns from what is for training and tries the model on what is for testing; where nothing is, it holds a fifth back. " +
			"Of one project or file it shows which intents are taken for each other, the surest mistakes, and what would help; of several files a table. Nothing is written but what is asked for.",
		examples: []example{
			{"parley nlu eval my-bot", "a project"},
			{"parley nlu eval --curve curve.svg lines.jsonl", "and whether more examples would help"},
			{"parley nlu eval --model lines.nlu lines.jsonl", "a model that is there already"},
		},
		setup: func(fs *flag.FlagSet) action {
			var e evaluation
			e.bind(fs)
			fs.StringVar(&e.model, "model", "", "measure the model in this `FILE` instead of learning one")
			fs.StringVar(&e.curve, "curve", "", "draw the learning curve into this `FILE`, an SVG picture")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := e.check(); err != nil {
					return err
				}
				if len(args) == 0 {
					args = []string{"."}
				}
				if len(args) > 1 && (e.model != "" || e.curve != "") {
					return usagef("--model and --curve go with one project or file")
				}
				return e.run(ctx, t, args)
			}
		},
	}
}

// evaluation is what eval and test do.
type evaluation struct {
	learning
	model, curve string
	json         bool
}

func (e *evaluation) bind(fs *flag.FlagSet) {
	e.learning.bind(fs)
	fs.BoolVar(&e.json, "json", false, "write JSON")
}

// measured is how one source did.
type measured struct {
	Name       string           `json:"name"`
	Learned    int              `json:"learned"` // examples
	Lines      int              `json:"lines"`   // tested
	Accuracy   float64          `json:"accuracy"`
	IntentF1   float64          `json:"intentF1"` // micro, without None
	InScope    float64          `json:"inScope"`
	NoneLines  int              `json:"noneLines"`
	NoneFound  float64          `json:"noneFound"`
	Exact      float64          `json:"entityExactF1"`
	Overlap    float64          `json:"entityOverlapF1"`
	Macro      float64          `json:"entityMacroF1"`
	Seconds    float64          `json:"trainSeconds"`
	P50        float64          `json:"predictP50us"`
	P99        float64          `json:"predictP99us"`
	Confused   []nlu.Confused   `json:"confused"`
	Worst      []mistake        `json:"worst"`
	Advice     []nlu.Advice     `json:"advice"`
	Curve      []nlu.CurvePoint `json:"curve,omitempty"`
	entityMark bool             // some lines have marks
}

type mistake struct {
	Place string  `json:"place"`
	Text  string  `json:"text"`
	Want  string  `json:"want"`
	Got   string  `json:"got"`
	Score float64 `json:"score"`
}

// mostWorst is how many mistakes and confusions are shown.
const mostWorst = 15

func (e *evaluation) run(ctx context.Context, t *terminal, sources []string) error {
	var all []measured
	for _, s := range sources {
		r, err := e.one(ctx, t, s)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	switch {
	case e.json && len(all) == 1:
		return t.json(all[0])
	case e.json:
		return t.json(all)
	case len(all) == 1:
		all[0].tell(t)
		return nil
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "|set\tlines\tintent F1\tin scope\tNone found\tentities exact\toverlap\ttrain\tp50\tp99\t")
	fmt.Fprintln(w, "|--\t--\t--\t--\t--\t--\t--\t--\t--\t--\t")
	for _, r := range all {
		fmt.Fprintf(w, "|%s\t%d\t%.3f\t%.3f\t%s\t%s\t%s\t%.2f s\t%.0f us\t%.0f us\t\n", r.Name, r.Lines, r.IntentF1, r.InScope,
			cell(r.NoneFound, r.NoneLines > 0), cell(r.Exact, r.entityMark), cell(r.Overlap, r.entityMark), r.Seconds, r.P50, r.P99)
	}
	return w.Flush()
}

func cell(v float64, there bool) string {
	if !there {
		return "-"
	}
	return fmt.Sprintf("%.3f", v)
}

func (e *evaluation) one(ctx context.Context, t *terminal, from string) (measured, error) {
	l, err := readLessons(t, from)
	if err != nil {
		return measured{}, err
	}
	if e.model == "" && !l.has(corpus.Test) {
		l.examples = corpus.Hold(l.examples, held, e.seed)
	}
	var tests []corpus.Example
	var at []int
	for i, x := range l.examples {
		// A model that is there is tried on everything, if nothing is for
		// testing.
		if x.Split == corpus.Test || e.model != "" && !l.has(corpus.Test) {
			tests, at = append(tests, x), append(at, i)
		}
	}
	if len(tests) == 0 {
		return measured{}, fmt.Errorf("%s: there are too few examples to hold any back", l.name)
	}
	r := measured{Name: l.name, Learned: len(l.examples) - len(tests), Lines: len(tests)}
	began := time.Now()
	var m *model.Model
	if e.model != "" {
		m, err = e.readModel(ctx, t, e.model)
		r.Learned = 0
	} else {
		m, _, err = e.train(ctx, t, l, e.json)
		r.Seconds = time.Since(began).Seconds()
	}
	if err != nil {
		return measured{}, err
	}
	r.fill(m, l, tests, at)
	if e.curve == "" {
		return r, nil
	}
	return r, e.draw(ctx, t, &r, l, tests)
}

func (e *evaluation) draw(ctx context.Context, t *terminal, r *measured, l *lessons, tests []corpus.Example) error {
	var learn []corpus.Example
	for _, x := range l.examples {
		if x.Split != corpus.Test {
			learn = append(learn, x)
		}
	}
	const points = 6
	opt, err := e.options(ctx, t)
	if err != nil {
		return err
	}
	r.Curve, err = nlu.Curve(learn, opt.Seed, points, func(part []corpus.Example) (nlu.Report, error) {
		m, _, err := model.Train(ctx, l.project, part, opt)
		if err != nil {
			return nlu.Report{}, err
		}
		return m.Evaluate(tests, time.Now()), nil
	})
	if err != nil {
		return fmt.Errorf("draw the curve: %w", err)
	}
	if err := os.WriteFile(e.curve, []byte(curveSVG(r.Curve, r.entityMark)), 0o644); err != nil {
		return fmt.Errorf("write the curve: %w", err)
	}
	return nil
}

// fill tries the model on tests; at says which examples they are.
func (r *measured) fill(m *model.Model, l *lessons, tests []corpus.Example, at []int) {
	rep := m.Evaluate(tests, time.Now())
	r.Accuracy, r.IntentF1, r.InScope = rep.Accuracy, rep.Intents.F1(), rep.InScope
	r.NoneLines, r.NoneFound = rep.NoneLines, rep.NoneFound
	r.Exact, r.Overlap, r.Macro = rep.Exact.F1(), rep.Overlap.F1(), rep.Macro
	r.entityMark = rep.Exact.Right+rep.Exact.Missing > 0
	r.P50, r.P99 = speed(m, tests)
	r.Confused = rep.Confused[:min(len(rep.Confused), mostWorst)]
	r.Worst = []mistake{}
	for _, x := range rep.Mistakes[:min(len(rep.Mistakes), mostWorst)] {
		e := tests[x.Index]
		r.Worst = append(r.Worst, mistake{l.place(at[x.Index]), e.Text, e.Intent, x.Got.Intent, x.Got.Score})
	}
	r.Advice = nlu.Review(l.examples, rep)
}

// speed returns the median and the 99th percentile of single understandings,
// in microseconds.
func speed(m *model.Model, tests []corpus.Example) (p50, p99 float64) {
	took := make([]time.Duration, 0, len(tests))
	for i := range tests {
		began := time.Now()
		m.Understand(tests[i].Text, began)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	at := func(share float64) float64 { return float64(took[int(share*float64(len(took)-1))].Nanoseconds()) / 1e3 }
	return at(0.5), at(0.99)
}

func (r *measured) tell(t *terminal) {
	t.printf("%s: learned from %d examples in %.2f s, tried on %d.\n\n", r.Name, r.Learned, r.Seconds, r.Lines)
	t.printf("  intents   %.3f right, micro-F1 without None %.3f\n", r.Accuracy, r.IntentF1)
	if r.NoneLines > 0 {
		t.printf("  None      %.3f of %d found; %.3f of the others right\n", r.NoneFound, r.NoneLines, r.InScope)
	}
	if r.entityMark {
		t.printf("  entities  F1 %.3f exact, %.3f by the overlap rule\n", r.Exact, r.Overlap)
	}
	t.printf("  speed     %.0f us in the median, %.0f us at 99 %%\n", r.P50, r.P99)
	if len(r.Confused) > 0 {
		t.printf("\nTaken for each other:\n")
	}
	for _, c := range r.Confused {
		t.printf("  %3d  %s taken for %s\n", c.Lines, calm(c.Want), calm(c.Got))
	}
	if len(r.Worst) > 0 {
		t.printf("\nThe surest mistakes:\n")
	}
	for _, w := range r.Worst {
		t.printf("  %.2f  %q is %s, not %s\n", w.Score, short(w.Text), calm(w.Want), calm(w.Got))
	}
	if len(r.Advice) > 0 {
		t.printf("\nWhat would help:\n")
	}
	for _, a := range r.Advice {
		t.printf("  %s\n", calm(a.Text))
	}
}

func nluTestCommand() *command {
	return &command{
		name: "test", short: "check that a project's tests are understood as they say", args: "[DIR]",
		long: "It learns from the folder's utterances and tries each of its tests: the intent must be the one it stands under, and every entity that is marked must be found where it is. " +
			"The exit status is 1 if one is not.",
		examples: []example{{"parley nlu test my-bot", "before a change is merged"}},
		setup: func(fs *flag.FlagSet) action {
			var e evaluation
			e.bind(fs)
			fs.StringVar(&e.model, "model", "", "test the model in this `FILE` instead of learning one")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := e.check(); err != nil {
					return err
				}
				dir, err := source(args, "")
				if err != nil {
					return err
				}
				return e.test(ctx, t, dir)
			}
		},
	}
}

// misreading is a test that was not understood.
type misreading struct {
	Place  string `json:"place"`
	Text   string `json:"text"`
	Intent string `json:"intent"`
	Why    string `json:"why"`
}

func (e *evaluation) test(ctx context.Context, t *terminal, dir string) error {
	l, err := readLessons(t, dir)
	if err != nil {
		return err
	}
	if !l.has(corpus.Test) {
		return fmt.Errorf("%s has no tests: write some under tests: in one of its files", l.name)
	}
	var m *model.Model
	if e.model != "" {
		m, err = e.readModel(ctx, t, e.model)
	} else {
		m, _, err = e.train(ctx, t, l, e.json)
	}
	if err != nil {
		return err
	}
	bad, n := l.misreadings(m)
	if e.json {
		if err := t.json(map[string]any{"tests": n, "failed": bad}); err != nil {
			return err
		}
	} else {
		tellMisreadings(t, bad)
		t.printf("%d of %d tests passed.\n", n-len(bad), n)
	}
	if len(bad) > 0 {
		return errSilent
	}
	return nil
}

// misreadings tries the lessons' tests, of which there are n.
func (l *lessons) misreadings(m *model.Model) (bad []misreading, n int) {
	bad = []misreading{}
	for i, x := range l.examples {
		if x.Split != corpus.Test {
			continue
		}
		n++
		if why := misread(m.Understand(x.Text, time.Now()), x); why != "" {
			bad = append(bad, misreading{l.place(i), x.Text, x.Intent, why})
		}
	}
	return bad, n
}

func tellMisreadings(t *terminal, bad []misreading) {
	for _, f := range bad {
		t.printf("%s: %s: %q: %s\n", f.Place, calm(f.Intent), short(f.Text), calm(f.Why))
	}
}

// misread says what an understanding lacks of what an example says, "" if
// nothing. Of an entity that its definition finds, the definition knows best
// where it begins and ends.
func misread(u model.Understanding, e corpus.Example) string {
	if u.Intent != e.Intent {
		return fmt.Sprintf("understood as %s (%.2f)", u.Intent, u.Score)
	}
	text := []rune(e.Text)
	said := func(start, end int) string { return string(text[start:end]) }
	flat := finder.Flat(u.Entities)
	for _, want := range e.Entities {
		value := said(want.Start, want.End)
		i := slices.IndexFunc(flat, func(g finder.Entity) bool { return g.Start < want.End && want.Start < g.End })
		if i < 0 {
			return fmt.Sprintf("%q is not found as %s", value, want.Type)
		}
		g := flat[i]
		learned := len(g.Names) == 0 && g.Found == nil && g.Kind != finder.Regex
		switch typ := finder.Join(g.Name, g.Role); {
		case typ != want.Type:
			return fmt.Sprintf("%q is found as %s, not %s", said(g.Start, g.End), typ, want.Type)
		case learned && (g.Start != want.Start || g.End != want.End):
			return fmt.Sprintf("as %s %q is found, not %q", want.Type, said(g.Start, g.End), value)
		}
	}
	return ""
}
