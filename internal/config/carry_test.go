package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/config"
)

func TestCarry(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	environ := []string{"HOME=" + dir}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("key.txt", "0123456789abcdef0123\n")
	write("parley.yaml", `listen: 127.0.0.1:0
data: here
keys: [{name: a, key: "file:key.txt", operator: true}]
engines:
  - {name: m, kind: embedded, models: [small.gguf]} # one of ours
bots: [{id: guide, system: "model: none"}, {id: bookings}]
understanding:
  - {name: city, model: nlu/city, flows: ./flows.yaml, bots: [guide]}
limits: {queue: 7}
tls: {cert: a.pem, key: /b.pem}
`)
	text, err := config.Carry(file, "listen", "data", "tls")
	if err != nil || strings.Contains(text, "listen") || strings.Contains(text, "tls") {
		t.Fatalf("%v\n%s", err, text)
	}
	got, err := config.Parse("there.yaml", []byte(text), environ)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want, err := config.Load(config.Input{Path: file, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]any{
		"keys": {got.Keys, want.Keys}, "bots": {got.Bots, want.Bots}, "understanding": {got.Understanding, want.Understanding},
		"models": {got.Engines[0].Models, want.Engines[0].Models}, "limits": {got.Limits, want.Limits},
	} {
		if d := cmp.Diff(pair[1], pair[0]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if text, err = config.Carry(file, "listen", "data", "tls", "limits", "bots", "engines", "keys", "understanding"); err != nil || text != "" {
		t.Errorf("%q, %v", text, err)
	}
}
