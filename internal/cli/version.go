package cli

import (
	"context"
	"flag"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/lm/pull"
	"github.com/parleyhq/parley/internal/secret"
)

// stamp is what whoever packages the program says it is: -ldflags "-X
// github.com/parleyhq/parley/internal/cli.stamp=1.2.3".
var stamp = ""

// version is the stamp, the module's version, or the commit it was built from.
func version() string {
	if stamp != "" {
		return stamp
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	if rev := buildSetting(info, "vcs.revision"); rev != "" {
		return "devel-" + rev[:min(12, len(rev))]
	}
	return "devel"
}

func buildSetting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// part is something that the program carries or fetches.
type part struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	What    string `json:"what"`
}

type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Parts    []part `json:"parts"`
}

func versionCommand() *command {
	return &command{
		name: "version", short: "what this program is and what is in it",
		examples: []example{{"parley version --json", "for a script or a bug report"}},
		setup: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "write JSON")
			return func(_ context.Context, t *terminal, args []string) error {
				if err := none(args); err != nil {
					return err
				}
				v := describe()
				if *asJSON {
					return t.json(v)
				}
				t.printf("parley %s (%s, %s)\n", v.Version, v.Go, v.Platform)
				for _, p := range v.Parts {
					t.printf("  %-14s %-22s %s\n", p.Name, p.Version, p.What)
				}
				return nil
			}
		},
	}
}

func describe() versionInfo {
	v := versionInfo{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Commit, v.Time, v.Modified = buildSetting(info, "vcs.revision"), buildSetting(info, "vcs.time"), buildSetting(info, "vcs.modified") == "true"
		for _, want := range []part{
			{Name: "nats-server", What: "log", Version: "github.com/nats-io/nats-server/v2"},
			{Name: "sqlite", What: "store", Version: "modernc.org/sqlite"},
			{Name: "purego", What: "calls llama.cpp", Version: "github.com/ebitengine/purego"},
		} {
			i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == want.Version })
			if i >= 0 {
				v.Parts = append(v.Parts, part{want.Name, info.Deps[i].Version, want.What})
			}
		}
	}
	for _, it := range pull.Catalogue() {
		switch {
		case it.Kind == pull.Library && it.Platform == v.Platform:
			v.Parts = append(v.Parts, part{"llama.cpp", it.Version, "embedded engine, fetched at the first use"})
		case it.Default:
			v.Parts = append(v.Parts, part{"model", it.ID, it.Title + ", " + it.Licence})
		}
	}
	return v
}

func keyCommand() *command {
	return &command{
		name: "key", short: "make an API key and the form in which a node keeps it",
		long: "The key is for whoever shall use the node; the hash goes into the node's file, which then holds no secret. " +
			"With KEY (env:NAME, file:PATH or - for standard input) it makes only the hash of that key.",
		args: "[KEY]",
		examples: []example{
			{"parley key", "a new key and its hash"},
			{"parley key env:PARLEY_SECRET", "the hash of a key that you have"},
		},
		setup: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "write JSON")
			return func(_ context.Context, t *terminal, args []string) error { return makeKey(t, args, *asJSON) }
		},
	}
}

func makeKey(t *terminal, args []string, asJSON bool) error {
	var out struct {
		Key  string      `json:"key,omitempty"`
		Hash secret.Hash `json:"hash"`
	}
	switch {
	case len(args) > 1:
		return usagef("it takes one key")
	case len(args) == 1:
		ref := args[0]
		if ref == "-" {
			line, err := readLine(t.in)
			if err != nil {
				return err
			}
			ref = line
		}
		k, err := secret.Read(ref, t.lookup)
		if err != nil {
			return err
		}
		if len(k.Reveal()) < 16 {
			return usagef("a key has at least 16 characters")
		}
		out.Hash = secret.HashOf(k)
	default:
		k := secret.NewKey()
		out.Key, out.Hash = k.Reveal(), secret.HashOf(k)
	}
	if asJSON {
		return t.json(out)
	}
	if out.Key != "" {
		t.printf("Key, shown only now: %s\n", out.Key)
	}
	t.printf("Hash, for the file:\n  keys:\n    - name: somebody\n      key: %s\n", out.Hash)
	return nil
}
