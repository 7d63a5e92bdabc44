package cli

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/progress"
	"github.com/parleyhq/parley/internal/world"
)

// upWorld runs several regions on this machine.
func upWorld(ctx context.Context, t *terminal, s *settings, c config.Config, list string, quiet bool) error {
	regions, err := world.Parse(list)
	if err != nil {
		return err
	}
	opts := progress.Options{Out: t.out}
	if f, ok := t.out.(*os.File); ok {
		opts = progress.For(f, t.getenv)
	}
	console := progress.New(opts)
	told, err := s.carried(t)
	if err != nil {
		return err
	}
	w, err := regionsHere(t, s, world.Options{Regions: regions, Dir: c.Data, Listen: c.Listen, Console: console, Logger: logger(t.err, c.Log, "warn"), Settings: told})
	if err != nil {
		return err
	}
	console.Line("Parley %s, a world of %d regions in %s; the distances between them are simulated", version(), len(regions), filepath.Join(c.Data, "regions"))
	if err := w.Start(ctx); err != nil {
		return err
	}
	console.Line("Page: %s (the edge: it leads to a region that lives)", w.URL())
	console.Line("Ctrl-C stops it. Kill a region by the pid in regions/NAME/parley.pid: it starts again after a few seconds.")
	if !quiet && t.outTTY && t.getenv("CI") == "" {
		if err := t.open(w.URL()); err != nil {
			console.Line("Open the page yourself: no browser could be started (%v)", err)
		}
	}
	<-ctx.Done()
	console.Line("Stopping; answers go on at the next start.")
	w.Stop()
	return nil
}

// regionsHere makes a world of processes of this program.
func regionsHere(t *terminal, s *settings, opts world.Options) (*world.World, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	opts.Command, opts.Environ = append([]string{program, "serve"}, regionFlags(s)...), regionEnviron(t.environ)
	return world.New(opts)
}

// carried is what of the file every region gets too; the world itself says where
// each lives and who may come in.
func (s *settings) carried(t *terminal) (string, error) {
	path := cmp.Or(s.file, t.getenv("PARLEY_CONFIG"))
	if path == "" {
		return "", nil
	}
	return config.Carry(path, "listen", "data", "region", "node", "nodes", "cluster", "origins", "tls")
}

// regionFlags are the settings that every region gets; where it lives is its
// own.
func regionFlags(s *settings) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.flags)) {
		if !slices.Contains([]string{"listen", "data", "region", "node"}, name) {
			out = append(out, "--"+name+"="+s.flags[name])
		}
	}
	return out
}

func regionEnviron(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"PARLEY_LISTEN", "PARLEY_DATA", "PARLEY_REGION", "PARLEY_NODE", "PARLEY_CONFIG"}, name)
	})
}
