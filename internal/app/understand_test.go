package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
)

// understanding loads a configuration with an entry for the example's model.
func understanding(t *testing.T, model, flows, bots string) config.Config {
	t.Helper()
	text := "engine: demo\nlisten: 127.0.0.1:0\ndata: " + t.TempDir() + "\nbots: " + bots +
		"\nunderstanding: [{name: city, model: " + model + ", flows: " + flows + "}]\n"
	c, err := config.Parse("parley.yaml", []byte(text), []string{"HOME=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func example(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs("../../examples/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// A node does not start with a model or a script that it can't use, and says
// where the mistake is.
func TestWrongUnderstandingStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	model, flows, bots := example(t, "nlu/cityguide"), example(t, "flows/cityguide.yaml"), "[{id: guide}, {id: bookings}]"
	for name, x := range map[string]struct{ model, flows, bots, want string }{
		"no such model":       {filepath.Join(dir, "nothing"), flows, bots, "nothing"},
		"no model":            {write("x.nlu", "hello"), flows, bots, "not a usable model file"},
		"a wrong project":     {filepath.Dir(write("bad/model.yaml", "intents:\n  a: |\n    - [x](nothing)\n")), flows, bots, "model.yaml:3"},
		"a wrong script":      {model, write("flows.yaml", "flows:\n  thanks: \"{nothing}\"\n"), bots, "flows.yaml:2"},
		"an unknown intent":   {model, write("more.yaml", "flows:\n  thank: hello\n"), bots, `no intent "thank"`},
		"a bot that is not":   {model, flows, "[{id: guide}]", `"bookings"`},
		"a binary of zeros":   {write("z.nlu", strings.Repeat("\x00", 1<<20)), flows, bots, "not a usable model file"},
		"a folder of nothing": {filepath.Dir(write("empty/readme.txt", "x")), flows, bots, "empty"},
	} {
		a, err := app.New(app.Options{Config: understanding(t, x.model, x.flows, x.bots), Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		err = a.Start(t.Context())
		if err == nil {
			stop(t, a)
		}
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "understanding city") {
			t.Errorf("%s: got %v, want %q", name, err, x.want)
		}
	}
	a := start(t, understanding(t, model, flows, bots))
	defer stop(t, a)
	var health struct{ Parts []struct{ Name string } }
	if get(t, a.URL()+"/healthz", &health); len(health.Parts) != 6 || health.Parts[5].Name != "understanding" {
		t.Errorf("health: %+v", health)
	}
}
