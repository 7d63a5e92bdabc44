package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/progress"
	"github.com/parleyhq/parley/internal/project"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// Where a node keeps things below its data directory.
const (
	logDir    = "log"
	storeFile = "store.db"
)

func storeCommand() *command {
	return &command{
		name: "store", short: "check, rebuild, back up and restore what was said",
		long: "A node writes everything into its log first and copies it into the store, a database for lists and search. " +
			"The log is the truth: the store can be thrown away and built again.",
		subs: []*command{
			{
				name: "check", short: "verify the store, and compare it with the log",
				long: "The store can be checked at any time: its structure, every row's checksum, and that no row is missing. The comparison reads the log's files, puts right what is damaged in them, " +
					"and copies the whole log into a second store, for which the node has to be stopped; while it runs, that part is left out, and said to be.",
				setup: dataAction(func(ctx context.Context, t *terminal, d data) error { return d.check(ctx, t) }),
			},
			{
				name: "rebuild", short: "build the store again from the log",
				long:     "The node has to be stopped. The store that was there stays beside the new one as store.db.old.",
				examples: []example{{"parley store rebuild", "after \"parley doctor\" or the log said that the store is damaged"}},
				setup:    dataAction(func(ctx context.Context, t *terminal, d data) error { return d.rebuild(ctx, t) }),
			},
			{
				name: "backup", short: "write log and store into one file", args: "FILE",
				long: "Of a stopped node the file holds everything. Of a running one it holds the store only, as it is at one moment: lists, search and texts, " +
					"but not the log that conversations go on from. The file is as secret as the data.",
				examples: []example{{"parley store backup parley-backup.tar.gz", "stop the node before, or see above"}},
				setup:    dataAction(func(ctx context.Context, t *terminal, d data) error { return d.backup(ctx, t) }),
			},
			{
				name: "restore", short: "put a backup in the place of the data", args: "FILE",
				long: "The node has to be stopped. The whole file is verified before anything is touched, and what was there stays beside it with .before-restore and the time in its name. " +
					"Of a backup of the store only, log and store differ until the node has caught up.",
				setup: dataAction(func(ctx context.Context, t *terminal, d data) error { return d.restore(ctx, t) }),
			},
		},
	}
}

// data is what the store commands work on.
type data struct {
	cfg  config.Config
	file string
	json bool
}

func dataAction(do func(context.Context, *terminal, data) error) func(*flag.FlagSet) action {
	return func(fs *flag.FlagSet) action {
		s, asJSON := bind(fs, "data", "region"), fs.Bool("json", false, "write JSON")
		return func(ctx context.Context, t *terminal, args []string) error {
			if len(args) > 1 {
				return usagef("it takes one file")
			}
			c, err := s.load(t, false)
			if err != nil {
				return err
			}
			d := data{cfg: c, json: *asJSON}
			if len(args) == 1 {
				d.file = args[0]
			}
			return do(ctx, t, d)
		}
	}
}

func (d data) path(name string) string { return filepath.Join(d.cfg.Data, name) }

// claim takes the data directory for this process. Conflict means that a node
// runs on it.
func (d data) claim() (release func(), err error) {
	if _, err := os.Stat(d.cfg.Data); err != nil {
		return nil, fault.Wrap(err, fault.NotFound, "there is no data in %s: name its directory with --data", d.cfg.Data)
	}
	unlock, err := app.LockDir(d.cfg.Data)
	if errors.Is(err, app.ErrLocked) {
		return nil, fault.New(fault.Conflict, "a node%s is running on %s: stop it first", d.pid(), d.cfg.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", d.cfg.Data, err)
	}
	return func() { _ = unlock() }, nil
}

// pid is " (process N)" of the node on this data, if it says.
func (d data) pid() string {
	b, err := os.ReadFile(d.path("parley.pid"))
	if err != nil || len(b) == 0 || len(b) > 20 {
		return ""
	}
	return " (process " + string(b[:len(b)-1]) + ")"
}

// openLog opens the log without a node around it.
func (d data) openLog(ctx context.Context) (*eventlog.Log, error) {
	if _, err := os.Stat(d.path(logDir)); err != nil {
		return nil, fault.Wrap(err, fault.NotFound, "there is no log in %s", d.cfg.Data)
	}
	return eventlog.Open(ctx, eventlog.Options{Dir: d.path(logDir), Region: d.cfg.Region, Reserve: d.cfg.Limits.Reserve})
}

func (d data) check(ctx context.Context, t *terminal) error {
	if d.file != "" {
		return usagef("check takes no argument")
	}
	if _, err := os.Stat(d.path(storeFile)); err != nil {
		return fault.Wrap(err, fault.NotFound, "there is no store in %s: parley store rebuild makes it from the log", d.cfg.Data)
	}
	out := struct {
		OK       bool   `json:"ok"`
		Problem  string `json:"problem,omitempty"`
		Compared bool   `json:"compared"`
		Skipped  string `json:"skipped,omitempty"`
		Entries  int    `json:"entries,omitempty"`
		Damaged  int    `json:"damaged,omitempty"`
		// Of the log's files, which are read whole when it is opened.
		Places   int      `json:"damaged_places,omitempty"`
		Restored int      `json:"restored,omitempty"`
		Lost     []string `json:"lost,omitempty"`
	}{OK: true}
	release, err := d.claim()
	if fault.Is(err, fault.Conflict) {
		out.Skipped = err.Error()
	} else if err != nil {
		return err
	}
	if release != nil {
		defer release()
	}
	st, err := sqlite.Open(ctx, sqlite.Options{Path: d.path(storeFile)})
	if err == nil {
		defer func() { _ = st.Close() }()
		err = st.Check(ctx)
	}
	if err == nil && release != nil {
		var p project.Progress
		var files eventlog.Integrity
		p, files, err = d.compare(ctx, t, st)
		out.Places, out.Restored, out.Lost = files.Damaged, files.Restored, files.Lost
		out.Compared, out.Entries, out.Damaged = err == nil, p.Entries, p.Damaged
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		out.OK, out.Problem = false, err.Error()
	}
	if d.json {
		if err := t.json(out); err != nil {
			return err
		}
	} else {
		switch {
		case !out.OK:
			t.printf("The store is not good: %s\n", out.Problem)
			t.printf("parley store rebuild makes it again from the log.\n")
		case !out.Compared:
			t.printf("The store is whole. It was not compared with the log: %s.\n", out.Skipped)
		default:
			t.printf("The store is whole, and holds what the log holds (%d entries, %d of them damaged).\n", out.Entries, out.Damaged)
		}
	}
	if out.Places > 0 && !d.json {
		t.printf("%d places in the log's files were damaged; %d records and files were put back.\n", out.Places, out.Restored)
		for _, what := range out.Lost {
			t.printf("Could not be put back: %s.\n", what)
		}
	}
	if !out.OK || len(out.Lost) > 0 {
		return errSilent
	}
	return nil
}

// compare builds a second store from the log beside the first and compares the
// two. The first is brought up to the log's end before: a node that was killed
// may have left it behind.
func (d data) compare(ctx context.Context, t *terminal, st *sqlite.Store) (p project.Progress, files eventlog.Integrity, err error) {
	log, err := d.openLog(ctx)
	if err != nil {
		return p, files, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	files = log.Integrity()
	if err := catchUp(ctx, log, st); err != nil {
		return p, files, err
	}
	dir, err := os.MkdirTemp(d.cfg.Data, "compare-")
	if err != nil {
		return p, files, fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	second, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(dir, storeFile)})
	if err != nil {
		return p, files, err
	}
	defer func() { err = errors.Join(err, second.Close()) }()
	console := progress.New(consoleFor(t, t.err))
	if p, err = project.Rebuild(ctx, log, second, rebuildBar(console)); err != nil {
		return p, files, err
	}
	diff, err := project.Compare(ctx, st, second)
	if err == nil && diff != nil {
		// The lines hold what people said: only the place is told.
		err = fmt.Errorf("it differs from the log at line %d of its dump", diff.Line)
	}
	return p, files, err
}

// catchUp projects what the store has not copied yet.
func catchUp(ctx context.Context, log *eventlog.Log, st *sqlite.Store) error {
	p, err := project.New(project.Options{Log: log, Store: st})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(run) }) // WaitFor says what went wrong
	defer running.Wait()
	defer cancel()
	streams, err := log.Streams(ctx)
	if err != nil {
		return fmt.Errorf("list streams: %w", err)
	}
	for _, s := range streams {
		last, err := log.Last(ctx, s)
		if err != nil {
			return fmt.Errorf("read end of %s: %w", s, err)
		}
		wait, stop := context.WithTimeout(ctx, time.Minute)
		err = p.WaitFor(wait, s, last)
		stop()
		if err != nil {
			return fmt.Errorf("bring the store up to the log: %w", err)
		}
	}
	return nil
}

// rebuildBar tells a person how far it is, if it takes long enough to wonder.
func rebuildBar(console *progress.Console) func(project.Progress) {
	const pause = 2 * time.Second
	told := time.Now()
	return func(p project.Progress) {
		if time.Since(told) >= pause && p.Last > 0 {
			told = time.Now()
			console.Line("Reading the log: %d %%, %d entries so far", 100*p.Seq/p.Last, p.Entries)
		}
	}
}

func (d data) rebuild(ctx context.Context, t *terminal) (err error) {
	if d.file != "" {
		return usagef("rebuild takes no argument")
	}
	began := time.Now()
	release, err := d.claim()
	if err != nil {
		return err
	}
	defer release()
	log, err := d.openLog(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	fresh := d.path(storeFile + ".new")
	if err := sqlite.Remove(fresh); err != nil {
		return err
	}
	p, err := d.fill(ctx, t, log, fresh)
	if err != nil {
		return errors.Join(err, sqlite.Remove(fresh))
	}
	old := d.path(storeFile + ".old")
	if err := sqlite.Remove(old); err != nil {
		return err
	}
	if err := moveStore(d.path(storeFile), old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := moveStore(fresh, d.path(storeFile)); err != nil {
		return err
	}
	if d.json {
		return t.json(map[string]any{"entries": p.Entries, "damaged": p.Damaged, "ghosts": p.Ghosts, "seconds": time.Since(began).Seconds()})
	}
	t.printf("The store was built from %d entries of the log in %v.\n", p.Entries, since(began))
	if p.Damaged > 0 {
		t.printf("%d entries are damaged and were left out.\n", p.Damaged)
	}
	return nil
}

// fill makes a store at path out of the log.
func (d data) fill(ctx context.Context, t *terminal, log *eventlog.Log, path string) (p project.Progress, err error) {
	st, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	console := progress.New(consoleFor(t, t.err))
	if p, err = project.Rebuild(ctx, log, st, rebuildBar(console)); err != nil {
		return p, err
	}
	return p, st.Check(ctx)
}

// A database may have two files beside it that belong to it.
var storeParts = [...]string{"", "-wal", "-shm"}

func moveStore(from, to string) error {
	for i, s := range storeParts {
		if err := os.Rename(from+s, to+s); err != nil && (i == 0 || !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("move store: %w", err)
		}
	}
	return nil
}
