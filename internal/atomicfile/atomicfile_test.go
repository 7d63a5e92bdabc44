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
