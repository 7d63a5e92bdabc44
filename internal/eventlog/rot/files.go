package rot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/parleyhq/parley/internal/atomicfile"
)

// replace puts a file in the place of another, whole or not at all, and
// overwrites what the other held: it may have been what somebody deleted.
func replace(path string, b []byte) error {
	old, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Write(path, b, 0o600)
	}
	if err != nil {
		return err
	}
	if atomicfile.Write(path, b, 0o600) != nil { // some systems can't replace an open file
		_ = old.Close()
		return atomicfile.Write(path, b, 0o600)
	}
	return errors.Join(zero(old), old.Close())
}

// zero overwrites a file.
func zero(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	nothing := make([]byte, 64<<10)
	for at := int64(0); at < st.Size(); at += int64(len(nothing)) {
		if _, err := f.WriteAt(nothing[:min(int64(len(nothing)), st.Size()-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// shred overwrites and removes a file.
func shred(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := errors.Join(zero(f), f.Close()); err != nil {
		return err
	}
	return os.Remove(path)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Find lists what a directory holds by how its names begin and end. (Glob would
// take brackets in the directory's own name for a pattern.)
func Find(dir, begin, end string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range all {
		if strings.HasPrefix(e.Name(), begin) && strings.HasSuffix(e.Name(), end) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

// Remove removes a file so that it stays removed after a power cut, where the
// system can do that.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = errors.Join(dir.Sync(), dir.Close())
	}
	return nil
}

// flush writes a file out to the disk.
func flush(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
