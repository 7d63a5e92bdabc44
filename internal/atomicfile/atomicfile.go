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
