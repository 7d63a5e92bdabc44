// Package atomicfile writes files that are there whole, or as they were: a
// power cut in the middle leaves no half of one.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Write puts b in the place of a file.
func Write(path string, b []byte, perm fs.FileMode) error {
	return WriteFrom(path, bytes.NewReader(b), perm)
}

// WriteFrom puts what from writes in the place of a file. The file that was
// there stays if from fails.
func WriteFrom(path string, from io.WriterTo, perm fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	_, err = from.WriteTo(f)
	err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write file: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// unfinished reports whether a file of such a name is one that is being written,
// or that a write has left behind which was killed.
func unfinished(name string) bool {
	i := strings.LastIndexByte(name, '.')
	if i < 2 || name[0] != '.' {
		return false
	}
	_, err := strconv.ParseUint(name[i+1:], 10, 32) // as os.CreateTemp names it
	return err == nil
}

// Clear removes what writes have left in a folder that were killed. Nobody may be
// writing there.
func Clear(dir string) error {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range all {
		if e.Type().IsRegular() && unfinished(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("remove what was not written to its end: %w", err)
	}
	return nil
}
