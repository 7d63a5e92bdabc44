package project_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/project"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// The killed process is this test binary itself, in the part of a projector.
const (
	envDir    = "PARLEY_PROJECT_TEST_DIR"    // where log and store are
	envFinish = "PARLEY_PROJECT_TEST_FINISH" // end when everything is copied
)

func TestKilledProjector(t *testing.T) {
	dir := os.Getenv(envDir)
	if dir == "" {
		t.Skip("only in the process that TestKill starts")
	}
	ctx := context.Background()
	l := newLog(readLog(t, dir)...)
	s, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	p, err := project.New(project.Options{Log: l, Store: s, Batch: 3, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		if err := p.WaitFor(ctx, stream, l.entries[len(l.entries)-1].Seq); err != nil {
			t.Error(err)
		}
		fmt.Println("copied")
		if os.Getenv(envFinish) != "" {
			cancel()
		}
	}()
	if err := errors.Join(p.Run(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func readLog(t *testing.T, dir string) (out []event.Entry) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := json.NewDecoder(f); d.More(); {
		var e event.Entry
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func writeLog(t *testing.T, dir string, entries []event.Entry) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestKill kills a projector with kill -9 twenty times at random moments. What
// the last one leaves is what a rebuild makes.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	entries := history(rng, 20*80)
	var inMiddle, moved int
	at := uint64(0)
	// How long a round's work takes depends on the machine: the range of the
	// random moment follows what the kills hit.
	within := 12 * time.Millisecond
	for i := range 20 {
		// The log grows while the projector is dead, so that every round has work.
		upTo := (i + 1) * 80
		writeLog(t, dir, entries[:upTo])
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProjector$", "-test.v")
		cmd.Env = append(os.Environ(), envDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "ready" {
			continue
		}
		time.Sleep(time.Duration(rng.Int64N(int64(within)))) // the random moment
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		copied := false
		for lines.Scan() {
			copied = copied || lines.Text() == "copied"
		}
		if copied {
			within = within * 2 / 3
		} else {
			inMiddle++
		}
		_ = cmd.Wait()
		s := openStore(t, dir)
		pos, err := s.Position(t.Context(), stream)
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		if pos.Seq > at {
			moved++
		} else {
			within = within * 3 / 2
		}
		at = pos.Seq
	}
	if inMiddle < 5 || moved < 5 {
		t.Errorf("of 20 kills only %d came in the middle of the work and %d after some of it", inMiddle, moved)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProjector$")
	cmd.Env = append(os.Environ(), envDir+"="+dir, envFinish+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the last projector: %v\n%s", err, out)
	}
	whole := openStore(t, t.TempDir())
	if _, err := project.Rebuild(t.Context(), newLog(readLog(t, dir)...), whole, nil); err != nil {
		t.Fatal(err)
	}
	left := openStore(t, dir)
	if err := left.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if diff, err := project.Compare(t.Context(), whole, left); diff != nil || err != nil {
		t.Errorf("after 20 kills (%d in the middle): %v, %v", inMiddle, diff, err)
	}
	t.Logf("of 20 kills %d came in the middle of the work, %d after some of it", inMiddle, moved)
}
