package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/nlu/corpus"
	"github.com/parleyhq/parley/internal/nlu/model"
	serving "github.com/parleyhq/parley/internal/understand" // understand is a function here
)

// glance is how often watch looks at a folder. A change is taken up when it has
// been still for that long: an editor that writes several files is done then.
const glance = 300 * time.Millisecond

func nluWatchCommand() *command {
	return &command{
		name: "watch", short: "learn again and test whenever a project changes", args: "[DIR]",
		long: "It learns and tests as train and test do, at once and after every change of the folder's files, until it is stopped, and writes a line each time. " +
			"Files that are wrong leave the last model where it is and are told with file and line; a model whose tests fail is written all the same, so that it can be tried. " +
			"With --publish each model that passes all its tests goes live on all nodes at once.",
		examples: []example{
			{"parley nlu watch my-bot", "beside the editor"},
			{"parley nlu watch my-bot --publish --app helpdesk --flows flows.yaml", "and on the nodes that are being tried"},
		},
		setup: func(fs *flag.FlagSet) action {
			var w watch
			w.bind(fs)
			fs.StringVar(&w.out, "out", "", "write the model to this `FILE` instead of model.nlu in the folder")
			fs.BoolVar(&w.json, "json", false, "write a line of JSON each time")
			fs.BoolVar(&w.publish, "publish", false, "make each model live whose tests pass")
			w.to = &publishing{conn: bindConnection(fs)}
			fs.StringVar(&w.to.app, "app", "", "`NAME` of the app to publish to; not needed where the nodes have one")
			fs.StringVar(&w.to.flows, "flows", "", "the script's `FILE`, published with the model")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := w.check(); err != nil {
					return err
				}
				dir, err := source(args, "")
				if err != nil {
					return err
				}
				if st, err := os.Stat(dir); err != nil || !st.IsDir() {
					return fmt.Errorf("watch %s: it is no folder", dir)
				}
				w.dir = dir
				if w.out == "" {
					w.out = filepath.Join(dir, modelFile)
				}
				return w.run(ctx, t)
			}
		},
	}
}

// watch keeps a model up with its project.
type watch struct {
	learning
	dir, out string
	json     bool
	publish  bool
	to       *publishing // where to
	kept     time.Time   // when the model at out was written; zero: not by this watch
}

// round is what came of one change.
type round struct {
	At       string           `json:"at"`
	Learned  int              `json:"learned"` // examples; 0: nothing
	Intents  int              `json:"intents"`
	Seconds  float64          `json:"seconds"`
	Version  string           `json:"version,omitempty"`
	Tests    int              `json:"tests"`
	Failed   []misreading     `json:"failed"`
	Problems []corpus.Problem `json:"problems"` // why nothing was learned
	Warnings []corpus.Problem `json:"warnings"`
	Live     string           `json:"live,omitempty"`    // version that was published
	NotLive  string           `json:"notLive,omitempty"` // why publishing failed
}

// run learns until the context ends.
func (w *watch) run(ctx context.Context, t *terminal) error {
	ticks := time.NewTicker(glance)
	defer ticks.Stop()
	learned, before := uint64(0), uint64(0)
	for {
		now := w.look()
		if now != learned && (now == before || learned == 0) {
			r := w.learn(ctx, t)
			if ctx.Err() != nil {
				return nil
			}
			if err := w.tell(t, r); err != nil {
				return err
			}
			learned = now
		}
		before = now
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// look sums up the names, sizes and times of the project's files.
func (w *watch) look() uint64 {
	sum := fnv.New64a()
	folder := os.DirFS(w.dir)
	names, err := corpus.ProjectFiles(folder)
	if err != nil {
		fmt.Fprintf(sum, "%v", err)
	}
	put := func(name string, st fs.FileInfo, err error) {
		if err != nil {
			fmt.Fprintf(sum, "%s\x00%v\x00", name, err)
			return
		}
		fmt.Fprintf(sum, "%s\x00%d\x00%d\x00", name, st.Size(), st.ModTime().UnixNano())
	}
	for _, name := range names {
		st, err := fs.Stat(folder, name)
		put(name, st, err)
	}
	if w.publish && w.to.flows != "" {
		st, err := os.Stat(w.to.flows)
		put(w.to.flows, st, err)
	}
	return max(sum.Sum64(), 1) // 0 is nothing yet
}

// learn goes from the folder to the model's file, or leaves that as it is.
func (w *watch) learn(ctx context.Context, t *terminal) round {
	began := time.Now()
	r := round{At: began.Format(time.TimeOnly), Failed: []misreading{}, Problems: []corpus.Problem{}, Warnings: []corpus.Problem{}}
	l, m, err := w.model(ctx, t, &r)
	if err == nil {
		err = atomicfile.WriteFrom(w.out, m, 0o644)
	}
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		var ps corpus.Problems
		if !errors.As(err, &ps) {
			ps = corpus.Problems{{File: w.dir, Text: err.Error()}}
		}
		r.Problems = ps
		return r
	}
	w.kept = began
	for _, e := range l.examples {
		if e.Split != corpus.Test {
			r.Learned++
		}
	}
	r.Intents, r.Version = len(m.Intents()), m.Version()
	r.Failed, r.Tests = l.misreadings(m)
	if w.publish && len(r.Failed) == 0 {
		if r.Live, err = w.goLive(ctx, t); err != nil {
			r.NotLive = err.Error()
		}
	}
	return r
}

// goLive publishes the model that was written.
func (w *watch) goLive(ctx context.Context, t *terminal) (version string, err error) {
	cl, _, err := w.to.conn.open(ctx, t)
	if err != nil {
		return "", err
	}
	app, err := oneApp(ctx, cl, w.to.app)
	if err != nil {
		return "", err
	}
	pack, _, err := serving.Make(ctx, serving.Source{Path: w.out, Flows: w.to.flows})
	if err != nil {
		return "", err
	}
	m, err := cl.Publish(ctx, app, pack)
	if err != nil {
		return "", err
	}
	_, err = cl.Activate(ctx, app, client.Activation{Version: m.Version, Role: "live"})
	return m.Version, err
}

func (w *watch) model(ctx context.Context, t *terminal, r *round) (*lessons, *model.Model, error) {
	l, err := readProject(w.dir)
	if err != nil {
		return nil, nil, err
	}
	m, warnings, err := w.train(ctx, t, l, true)
	if err == nil {
		r.Warnings = l.doubts(warnings)
	}
	return l, m, err
}

func (w *watch) tell(t *terminal, r round) error {
	if w.json {
		return json.NewEncoder(t.out).Encode(r)
	}
	if len(r.Problems) > 0 {
		stays := "there is no model yet"
		if !w.kept.IsZero() {
			stays = "the model of " + w.kept.Format(time.TimeOnly) + " stays"
		}
		t.printf("%s  nothing learned, %s:\n", r.At, stays)
		tellSome(t, r.Problems)
		return nil
	}
	t.printf("%s  %d intents from %d examples in %.2f s", r.At, r.Intents, r.Learned, r.Seconds)
	switch {
	case r.Tests == 0:
		t.printf("; there are no tests.\n")
	case len(r.Failed) == 0:
		t.printf("; all %d tests passed.\n", r.Tests)
	default:
		t.printf("; %d of %d tests failed:\n", len(r.Failed), r.Tests)
	}
	for _, f := range r.Failed[:min(len(r.Failed), mostDoubts)] {
		t.printf("  %s: %s: %q: %s\n", f.Place, calm(f.Intent), short(f.Text), calm(f.Why))
	}
	tellSome(t, r.Warnings)
	switch {
	case r.NotLive != "":
		t.printf("  not published: %s\n", calm(r.NotLive))
	case r.Live != "":
		t.printf("  version %s is live.\n", r.Live)
	}
	return nil
}

func tellSome(t *terminal, ps []corpus.Problem) {
	for _, p := range ps[:min(len(ps), mostDoubts)] {
		t.printf("  %s\n", calm(p.String()))
	}
	if n := len(ps) - mostDoubts; n > 0 {
		t.printf("  and %d more\n", n)
	}
}
