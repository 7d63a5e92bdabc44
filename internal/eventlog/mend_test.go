package eventlog_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

// flip changes one bit of a random byte of a random file below a directory, as
// a disk does: without the file's time. The bigger the file, the likelier.
func flip(t *testing.T, rnd *rand.Rand, dir string, wanted func(path string) bool) string {
	t.Helper()
	type place struct {
		path string
		size int64
	}
	var files []place
	var all int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !wanted(path) {
			return err
		}
		st, err := d.Info()
		if err == nil && st.Size() > 0 {
			files, all = append(files, place{path, st.Size()}), all+st.Size()
		}
		return err
	})
	if err != nil || all == 0 {
		t.Fatalf("nothing to damage in %s: %v", dir, err)
	}
	at := rnd.Int64N(all)
	for _, f := range files {
		if at < f.size {
			flipAt(t, f.path, at, byte(1)<<rnd.IntN(8))
			return fmt.Sprintf("%s at %d of %d", f.path, at, f.size)
		}
		at -= f.size
	}
	panic("unreachable")
}

func flipAt(t *testing.T, path string, at int64, bits byte) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= bits
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// asKilled copies a running log's directory: what a kill would leave.
func asKilled(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, rel), b, 0o600); err != nil {
			return err
		}
		return os.Chtimes(filepath.Join(to, rel), st.ModTime(), st.ModTime())
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// TestOneNodeRots flips a byte somewhere below a log of one node, after a clean
// stop and after a kill: it is noticed, and everything acknowledged is there.
func TestOneNodeRots(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a campaign, not a secret
	for i := range 12 {
		killed := i%2 == 1
		dir := t.TempDir()
		l := open(t, eventlog.Options{Dir: dir})
		conv := event.NewConversation("local")
		want := make([]string, 0, 60)
		for n := range 60 {
			want = append(want, fmt.Sprintf("title %d", n))
			if _, err := l.Append(t.Context(), titled(conv, want[n], nil, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Create(t.Context(), "key", []byte("value")); err != nil {
			t.Fatal(err)
		}
		if killed {
			eventually(t, "small files are noted", 10*time.Second, func() bool {
				_, err := os.Stat(filepath.Join(dir, "twin", "files", "ledger"))
				return err == nil
			})
			dir = asKilled(t, dir)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		where := flip(t, rnd, dir, func(string) bool { return true })
		var out bytes.Buffer
		l = open(t, eventlog.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		if diff := cmp.Diff(want, titles(readAll(t, l, conv, 0))); diff != "" {
			t.Errorf("%s, killed %v (-want +got):\n%s\n%s", where, killed, diff, out.String())
		}
		if v, err := l.Get(t.Context(), "key"); err != nil || string(v) != "value" {
			t.Errorf("%s, killed %v: value %q, %v\n%s", where, killed, v, err, out.String())
		}
		// After a kill nobody can tell a bit in the last record of a second copy
		// from what a power cut leaves there; and a queue's state is not used.
		i := l.Integrity()
		noticed := i.Damaged > 0 && strings.Contains(out.String(), "damaged on the disk") || i.Ends > 0
		if !noticed && !(killed && strings.Contains(where, "o.dat")) || len(i.Lost) > 0 {
			t.Errorf("%s, killed %v: %+v\n%s", where, killed, l.Integrity(), out.String())
		}
		if r, err := l.Append(t.Context(), titled(conv, "on", nil, 0)); err != nil || r.Seq != 61 {
			t.Errorf("%s: the next entry: %+v, %v", where, r, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRotWhileItRuns: a scrub finds what rots under a running log, which starts
// again and has everything.
func TestRotWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir})
	conv := event.NewConversation("local")
	var want []string
	for n := range 40 {
		want = append(want, fmt.Sprint("title ", n))
		if _, err := l.Append(t.Context(), titled(conv, want[n], nil, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := l.Scrub(t.Context()); n != 0 || err != nil {
		t.Fatalf("a whole log: %d damaged, %v", n, err)
	}
	block := filepath.Join(dir, "jetstream", "$G", "streams", "CONV_local_0", "msgs", "1.blk")
	f, err := os.OpenFile(block, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{'?'}, 1000); err != nil { // in place: the log has the file open
		t.Fatal(err)
	}
	if n, err := l.Scrub(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d damaged, %v", n, err)
	}
	eventually(t, "the log is mended", 20*time.Second, func() bool { return l.Integrity().Restored > 0 && l.Health(t.Context()) == nil })
	if diff := cmp.Diff(want, titles(readAll(t, l, conv, 0))); diff != "" {
		t.Errorf("after the repair (-want +got):\n%s", diff)
	}
	if _, err := l.Append(t.Context(), titled(conv, "on", nil, 0)); err != nil {
		t.Error(err)
	}
}

// TestOneRegionRots flips a byte in what one region of three holds, after a
// clean stop and after a kill: the region says so and is filled by the others.
func TestOneRegionRots(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("three regions that are stopped, killed and damaged in turn take a minute: PARLEY_TEST_REAL=1 runs them")
	}
	t.Parallel() // most of it is waiting
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a campaign, not a secret
	w := newWorld(t)
	w.start(regions()...)
	w.home(korea)
	conv := event.NewConversation(korea)
	for i := range 80 {
		if _, err := w.logs[singapore].Append(t.Context(), delta(conv, i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		victim := regions()[i%3]
		clean := i%2 == 0
		dir := filepath.Join(w.dir, victim)
		if clean {
			w.stopAll()
		} else {
			killed := asKilled(t, dir) // while the others go on
			w.kill(victim)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(killed, dir); err != nil {
				t.Fatal(err)
			}
			w.cut(victim, up)
		}
		where := flip(t, rnd, dir, func(string) bool { return true })
		if clean {
			w.start(regions()...)
		} else {
			w.start(victim)
		}
		l := w.logs[victim]
		if i := l.Integrity(); i.Damaged == 0 && i.Ends == 0 { // the last record may look like one that was cut short
			t.Errorf("%s, clean stop %v: nothing was noticed", where, clean)
		}
		w.home(korea)
		eventually(t, "what was set aside is settled", 90*time.Second, func() bool {
			all, err := filepath.Glob(filepath.Join(dir, "damaged-*"))
			return err == nil && len(all) == 0
		})
		for r, l := range w.logs {
			if got := readAll(t, l, conv, 0); len(got) != 80+i {
				t.Errorf("%s, clean stop %v: %s has %d entries, want %d", where, clean, r, len(got), 80+i)
			}
			if lost := l.Integrity().Lost; len(lost) > 0 {
				t.Errorf("%s: lost %q", where, lost)
			}
		}
		if _, err := w.logs[singapore].Append(t.Context(), delta(conv, 80+i)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("while it runs", func(t *testing.T) { rotUnderALog(t, w, conv, 84) })
}

// rotUnderALog damages a block of a region whose log goes on.
func rotUnderALog(t *testing.T, w *world, conv string, entries int) {
	l := w.logs[singapore]
	before := l.Integrity().Damaged
	blocks, err := filepath.Glob(filepath.Join(w.dir, singapore, "jetstream", "$G", "streams", "CONV_"+korea+"_0", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no block of the stream: %v", err)
	}
	f, err := os.OpenFile(blocks[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{'?'}, 1000); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Scrub(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d damaged, %v", n, err)
	}
	eventually(t, "the region is filled by the others", 90*time.Second, func() bool {
		aside, err := filepath.Glob(filepath.Join(w.dir, singapore, "damaged-*"))
		return err == nil && len(aside) == 0 && l.Integrity().Damaged > before && l.Health(t.Context()) == nil
	})
	w.home(korea)
	if got := readAll(t, l, conv, 0); len(got) != entries {
		t.Errorf("%d entries, want %d", len(got), entries)
	}
	if _, err := l.Append(t.Context(), delta(conv, entries)); err != nil {
		t.Error(err)
	}
}

// TestRottenAndAlone: a node whose part of a cluster's log is damaged does not
// throw it away while the others aren't there.
func TestRottenAndAlone(t *testing.T) {
	w := newWorld(t)
	w.start(regions()...)
	w.home(korea)
	conv := event.NewConversation(korea)
	for i := range 10 {
		if _, err := w.logs[korea].Append(t.Context(), delta(conv, i)); err != nil {
			t.Fatal(err)
		}
	}
	w.stopAll()
	block := filepath.Join(w.dir, korea, "jetstream", "$G", "streams", "CONV_"+korea+"_0", "msgs", "1.blk")
	flipAt(t, block, 300, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := eventlog.Open(ctx, w.options(korea))
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "start them first") {
		t.Errorf("got %v, want a clear refusal", err)
	}
	if _, err := os.Stat(block); err != nil {
		t.Errorf("the damaged files were touched: %v", err)
	}
}
