package atomicfile_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/parleyhq/parley/internal/atomicfile"
)

// cutShort writes something and fails.
type cutShort struct{}

var errCut = errors.New("cut short")

func (cutShort) WriteTo(w io.Writer) (int64, error) {
	n, _ := io.WriteString(w, "half of")
	return int64(n), errCut
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"first", "second, longer", ""} {
		if err := atomicfile.Write(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, text)
	}
	if i, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && i.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", i.Mode(), err)
	}
	wantAlone(t, dir)
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := atomicfile.Write(path, []byte("as it was"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteFrom(path, cutShort{}, 0o644); !errors.Is(err, errCut) {
		t.Errorf("error %v", err)
	}
	wantFile(t, path, "as it was")
	wantAlone(t, dir)
	if err := atomicfile.Write(filepath.Join(dir, "missing", "file"), nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

// killed writes something and ends there, as a process that is killed does.
type killed struct{}

func (killed) WriteTo(io.Writer) (int64, error) { runtime.Goexit(); return 0, nil }

func TestClear(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("here only the end of a process closes what it had open")
	}
	dir := t.TempDir()
	others := []string{"file", ".hidden", ".v1.2x", "file.12", ".12"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("stays"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = atomicfile.WriteFrom(filepath.Join(dir, "a.b"), killed{}, 0o600)
	}()
	<-done
	if all, err := os.ReadDir(dir); err != nil || len(all) != len(others)+1 {
		t.Fatalf("nothing was left behind: %v, %v", all, err)
	}
	if err := errors.Join(atomicfile.Clear(dir), atomicfile.Clear(filepath.Join(dir, "missing"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range others {
		wantFile(t, filepath.Join(dir, name), "stays")
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != len(others) {
		t.Errorf("left: %v, %v", all, err)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("the file holds %q (%v), want %q", b, err, want)
	}
}

func wantAlone(t *testing.T, dir string) {
	t.Helper()
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("files left over: %v, %v", all, err)
	}
}
