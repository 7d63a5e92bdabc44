package cli

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/lm/pull"
	"github.com/parleyhq/parley/internal/progress"
)

func modelCommand() *command {
	return &command{
		name: "model", short: "the embedded engine's models and library on this machine",
		long: "They are fetched once into the cache, compared with the hashes that this program carries, and used offline afterwards. Nothing here touches conversations.",
		subs: []*command{
			{
				name: "pull", short: "fetch a model, and the library to run it", args: "[ID]",
				long: "Without ID it fetches the default model. A transfer that was cut goes on where it was.",
				examples: []example{
					{"parley model pull", "all that \"parley up\" needs, for a machine that goes offline"},
					{"parley model pull --model-source /mnt/parts", "from a directory instead of the network"},
				},
				setup: modelAction(func(ctx context.Context, t *terminal, m models) error { return m.pull(ctx, t) }),
			},
			{
				name: "list", short: "what can be had, and what is there",
				examples: []example{{"parley model list --json", "for a script"}},
				setup: modelAction(func(_ context.Context, t *terminal, m models) error {
					if m.id != "" {
						return usagef("list takes no argument")
					}
					return m.list(t)
				}),
			},
			{
				name: "verify", short: "read what is there and compare its hashes", args: "[ID]",
				long:  "Without ID it verifies everything that is there. What is damaged is fetched again at the next use.",
				setup: modelAction(func(ctx context.Context, t *terminal, m models) error { return m.verify(ctx, t) }),
			},
			{
				name: "remove", short: "delete a model or the library from the cache", args: "ID",
				setup: modelAction(func(ctx context.Context, t *terminal, m models) error {
					if m.id == "" {
						return usagef(`name what to remove; "parley model list" shows the ids`)
					}
					if err := m.cache.Remove(ctx, m.id); err != nil {
						return err
					}
					if m.json {
						return t.json(map[string]any{"removed": m.id})
					}
					t.printf("Removed %s.\n", m.id)
					return nil
				}),
			},
		},
	}
}

// models is what the model commands work on.
type models struct {
	cache *pull.Cache
	cfg   config.Config
	id    string
	json  bool
}

func modelAction(do func(context.Context, *terminal, models) error) func(*flag.FlagSet) action {
	return func(fs *flag.FlagSet) action {
		s, asJSON := bind(fs, "cache", "model_source", "offline"), fs.Bool("json", false, "write JSON")
		return func(ctx context.Context, t *terminal, args []string) error {
			if len(args) > 1 {
				return usagef("it takes one id")
			}
			c, err := s.load(t, false)
			if err != nil {
				return err
			}
			m := models{cfg: c, json: *asJSON}
			if len(args) == 1 {
				m.id = args[0]
			}
			if m.cache, err = openCache(t, c); err != nil {
				return err
			}
			return do(ctx, t, m)
		}
	}
}

// openCache opens the cache with its progress on the standard error.
func openCache(t *terminal, c config.Config) (*pull.Cache, error) {
	console := progress.New(consoleFor(t, t.err))
	return pull.New(pull.Options{
		Dir: c.Cache, Source: c.ModelSource, Offline: c.Offline, Log: slog.New(slog.DiscardHandler),
		Progress: func(p pull.Progress) { showTransfer(console, p) },
	})
}

func consoleFor(t *terminal, w io.Writer) progress.Options {
	if f, ok := w.(*os.File); ok {
		return progress.For(f, t.getenv)
	}
	return progress.Options{Out: w}
}

func showTransfer(console *progress.Console, p pull.Progress) {
	from := ""
	if p.Source != "" {
		from = " from " + p.Source
	}
	switch p.Stage {
	case pull.Fetching, pull.Unpacking, pull.Verifying:
		console.Bar(progress.Bar{Title: p.Title, Note: string(p.Stage) + from, Done: p.Done, Total: p.Total, Rate: p.Rate})
	case pull.Waiting:
		console.Line("Waiting: another process is fetching %s", p.Title)
	case pull.Failed:
		console.Clear()
		console.Line("%s%s: %s", p.Title, from, p.Text)
	case pull.Done:
		console.Clear()
	}
}

func (m models) pull(ctx context.Context, t *terminal) error {
	began := time.Now()
	id := m.id
	if id != "" && !isModel(id) { // the library, or a mistake that Pull names
		st, err := m.cache.Pull(ctx, id)
		if err != nil {
			return err
		}
		if m.json {
			return t.json(itemOf(st))
		}
		t.printf("%s is at %s (%v).\n", st.Title, st.Path, since(began))
		return nil
	}
	p, err := m.cache.Ensure(ctx, id)
	if err != nil {
		return err
	}
	if m.json {
		return t.json(map[string]any{"model": p.ModelID, "path": p.Model, "library": p.LibraryDir, "libraryVersion": p.Version})
	}
	t.printf("Model %s is at %s\nllama.cpp %s is at %s (%v)\n", p.ModelID, p.Model, p.Version, p.LibraryDir, since(began))
	return nil
}

func isModel(id string) bool {
	for _, it := range pull.Catalogue() {
		if it.ID == id && it.Kind == pull.Model {
			return true
		}
	}
	return false
}

// item is a catalogue item as scripts see it.
type item struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Title   string `json:"title"`
	Licence string `json:"licence"`
	Bytes   int64  `json:"bytes"`
	Default bool   `json:"default,omitempty"`
	State   string `json:"state"`
	Detail  string `json:"detail,omitempty"`
	Path    string `json:"path,omitempty"`
	From    string `json:"from,omitempty"`
	Note    string `json:"note,omitempty"`
}

func itemOf(s pull.Status) item {
	it := item{
		ID: s.ID, Kind: string(s.Kind), Title: s.Title, Licence: s.Licence, Bytes: s.Size(), Default: s.Default,
		State: string(s.State), Detail: s.Detail, From: s.From, Note: s.Note,
	}
	if s.State == pull.Ready {
		it.Path = s.Path
	}
	return it
}

func (m models) list(t *terminal) error {
	all := []item{}
	for _, s := range m.cache.List() {
		all = append(all, itemOf(s))
	}
	if m.json {
		return t.json(map[string]any{"cache": m.cache.Dir(), "items": all})
	}
	for _, it := range all {
		mark := ""
		if it.Default {
			mark = ", the default"
		}
		size := "size not known"
		if it.Bytes > 0 {
			size = progress.Bytes(it.Bytes)
		}
		t.printf("%-24s %-8s %s (%s, %s, %s%s)\n", it.ID, it.State, it.Title, it.Kind, size, it.Licence, mark)
		for _, more := range []string{it.Detail, it.Note, it.Path} {
			if more != "" {
				t.printf("%-24s          %s\n", "", more)
			}
		}
	}
	return nil
}

func (m models) verify(ctx context.Context, t *terminal) error {
	var ids []string
	if m.id != "" {
		ids = []string{m.id}
	} else {
		for _, s := range m.cache.List() {
			if s.State != pull.Missing && s.State != pull.Partial {
				ids = append(ids, s.ID)
			}
		}
	}
	type result struct {
		ID      string `json:"id"`
		OK      bool   `json:"ok"`
		Problem string `json:"problem,omitempty"`
	}
	results, bad := []result{}, false
	for _, id := range ids {
		r := result{ID: id, OK: true}
		if err := m.cache.Verify(ctx, id); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.OK, r.Problem, bad = false, err.Error(), true
		}
		results = append(results, r)
	}
	if m.json {
		if err := t.json(map[string]any{"ok": !bad, "items": results}); err != nil {
			return err
		}
	} else {
		for _, r := range results {
			if r.OK {
				t.printf("%s is whole.\n", r.ID)
			} else {
				t.printf("%s: %s\n", r.ID, r.Problem)
			}
		}
		if len(results) == 0 {
			t.printf("Nothing is there: parley model pull\n")
		}
	}
	if bad {
		return errSilent
	}
	return nil
}
