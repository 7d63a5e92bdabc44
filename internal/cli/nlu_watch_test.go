package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// watching runs watch on a folder; next returns the next line that it writes.
func watching(t *testing.T, w *watch) (next func() string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := w.run(ctx, &terminal{out: out, err: io.Discard})
		_ = out.Close()
		done <- err
	}()
	lines := bufio.NewReader(r)
	next = func() string {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		return line
	}
	return next, func() error {
		cancel()
		_, _ = io.Copy(io.Discard, r)
		return <-done
	}
}

// Every change is learned and tested, and files that are wrong leave the model
// as it was.
func TestWatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bot")
	ok(t, "", "nlu", "init", dir)
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	model := filepath.Join(dir, modelFile)
	synctest.Test(t, func(t *testing.T) {
		next, stop := watching(t, &watch{learning: learning{seed: 1, tier: "fast"}, dir: dir, out: model})
		if line := next(); !strings.Contains(line, "4 intents from 21 examples") || !strings.Contains(line, "all 3 tests passed") {
			t.Errorf("first: %s", line)
		}
		before, err := os.ReadFile(model)
		if err != nil {
			t.Fatal(err)
		}
		put("more.yaml", "intents:\n  warmer: |\n    - heat the [hall](rom)\n")
		if line := next(); !strings.Contains(line, "nothing learned, the model of ") {
			t.Errorf("wrong file: %s", line)
		}
		if line := next(); !strings.Contains(line, `more.yaml:3: there is no entity "rom"`) {
			t.Errorf("wrong file: %s", line)
		}
		if after, err := os.ReadFile(model); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the model was changed: %v", err)
		}
		put("more.yaml", "tests:\n  warmer: |\n    - lights out in the [hall](room)\n")
		if line := next(); !strings.Contains(line, "1 of 4 tests failed") {
			t.Errorf("a test that fails: %s", line)
		}
		if line := next(); !strings.Contains(line, "more.yaml:3: warmer") || !strings.Contains(line, "understood as switch_off") {
			t.Errorf("a test that fails: %s", line)
		}
		put("more.yaml", "intents:\n  cooler: |\n    - open a window\n")
		if line := next(); !strings.Contains(line, "5 intents from 22 examples") {
			t.Errorf("a new intent: %s", line)
		}
		if line := next(); !strings.Contains(line, "more.yaml:3: the only line of cooler") {
			t.Errorf("a new intent: %s", line)
		}
		if after, err := os.ReadFile(model); err != nil || bytes.Equal(before, after) {
			t.Errorf("the model is still the first: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// For a script it is one line of JSON each time, and a folder that is wrong
// from the start is watched all the same.
func TestWatchJSON(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		next, stop := watching(t, &watch{learning: learning{seed: 1, tier: "fast"}, dir: dir, out: filepath.Join(dir, modelFile), json: true})
		var r round
		if err := json.Unmarshal([]byte(next()), &r); err != nil || r.Learned != 0 || len(r.Problems) != 1 {
			t.Errorf("empty: %+v, %v", r, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "m.yaml"), []byte("intents:\n  a: |\n    - one\n  b: |\n    - two\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(next()), &r); err != nil || r.Learned != 2 || len(r.Version) != 16 || len(r.Warnings) != 2 {
			t.Errorf("good: %+v, %v", r, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
