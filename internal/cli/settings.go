package cli

import (
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/config"
)

// settings are the flags that set the configuration, and the file.
type settings struct {
	file  string
	flags map[string]string
}

// flagValue records what was given; config checks it with everything else.
type flagValue struct {
	name   string
	into   map[string]string
	toggle bool
}

func (v flagValue) String() string { return v.into[v.name] }

func (v flagValue) Set(s string) error {
	v.into[v.name] = s
	return nil
}

func (v flagValue) IsBoolFlag() bool { return v.toggle }

// bind declares -c and the flags of the table; only limits them to some keys
// (nil: all).
func bind(fs *flag.FlagSet, only ...string) *settings {
	s := &settings{flags: map[string]string{}}
	fs.StringVar(&s.file, "c", "", "read settings from this `FILE` (PARLEY_CONFIG)")
	for _, r := range config.Settings() {
		if r.Flag == "" || len(only) > 0 && !slices.Contains(only, r.Key) {
			continue
		}
		word := map[string]string{
			config.KindPath: "PATH", config.KindSize: "SIZE", config.KindDuration: "TIME", config.KindNumber: "N", config.KindSecret: "KEY",
		}[r.Kind]
		switch {
		case r.Kind == config.KindSwitch:
		case r.Flag == "listen":
			word = "HOST:PORT"
		case r.Flag == "data" || r.Flag == "cache":
			word = "DIR"
		case r.Flag == "engine":
			word = "URL|embedded|demo"
		case word == "":
			word = "TEXT"
		}
		fs.Var(flagValue{r.Flag, s.flags, r.Kind == config.KindSwitch}, r.Flag, flagUsage(r, word))
	}
	return s
}

// flagUsage is a row's documentation as help shows it.
func flagUsage(r config.Row, word string) string {
	var notes []string
	if r.Bounds != "" && word != r.Bounds {
		notes = append(notes, r.Bounds)
	}
	if r.Default != "" && r.Kind != config.KindSwitch {
		notes = append(notes, "default "+r.Default)
	}
	if r.Kind == config.KindSecret {
		notes = append(notes, "env:NAME, file:PATH, or the key itself")
	}
	notes = append(notes, r.Env)
	return word + wordEnd + fmt.Sprintf("%s (%s)", strings.ReplaceAll(r.Doc, "`", "\""), strings.Join(notes, "; "))
}

// wordEnd separates the word for a flag's value from its usage, where the word
// does not stand in the sentence itself.
const wordEnd = "\x00"

// load reads file, variables and flags. needFile refuses to go without one.
func (s *settings) load(t *terminal, needFile bool) (config.Config, error) {
	path := s.file
	if path == "" {
		path = t.getenv("PARLEY_CONFIG")
	}
	if path == "" && needFile {
		return config.Config{}, usagef("name the file: -c parley.yaml (examples/parley.yaml shows every setting)")
	}
	c, err := config.Load(config.Input{Path: path, Environ: t.environ, Flags: s.flags})
	if err != nil {
		return c, err
	}
	for _, w := range c.Warnings {
		t.say("parley: %s", w)
	}
	return c, nil
}
