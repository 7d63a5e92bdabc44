package rot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/minio/highwayhash"

	"github.com/parleyhq/parley/internal/pause"
)

// How a directory is checked.
type How struct {
	// Rate is how many bytes a second are read; 0 = as fast as it goes.
	Rate int64
	// Stopped: the log does not run. What it makes anew by itself (index.db) is
	// removed if it is damaged. While it runs, what looks damaged is looked at
	// again: it may have been being written.
	Stopped bool
	// Killed: the log was not stopped, so the ends of the newest blocks, and
	// what is derived, may not have been written out.
	Killed bool
	// Known leaves out the blocks: a Twin has compared them.
	Known bool
}

// Check verifies every file below a directory of the log that carries a
// checksum.
func Check(ctx context.Context, root string, how How) (Found, error) {
	var f Found
	began := time.Now()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // the log has removed it
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !d.Type().IsRegular(), how.Known && strings.HasSuffix(path, ".blk"):
			return nil
		}
		one, err := checkFile(path, how)
		f.Bytes += one.Bytes
		if len(one.Places) > 0 && !how.Stopped && pause.For(ctx, time.Second) == nil {
			one, err = checkFile(path, how)
		}
		if err != nil {
			return err
		}
		f.Places, f.Ends = append(f.Places, one.Places...), append(f.Ends, one.Ends...)
		if how.Rate > 0 {
			_ = pause.For(ctx, time.Until(began.Add(time.Duration(float64(f.Bytes)/float64(how.Rate)*float64(time.Second)))))
		}
		if len(one.Places)+len(one.Ends) > 0 && how.Stopped && Derived(path) {
			return remove(path)
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("check the log's files: %w", err)
	}
	return f, nil
}

// Derived reports whether the log makes a file again when it is not there.
func Derived(place string) bool { return strings.HasSuffix(place, "index.db") }

// checkFile verifies a file of the log. A file without a checksum is none of
// ours: the ledger knows those.
func checkFile(path string, how How) (f Found, err error) {
	dir, name := filepath.Split(filepath.Clean(path))
	dir = filepath.Clean(dir)
	owner := filepath.Base(filepath.Dir(dir)) // of what lies in msgs or snapshots
	index, isBlock := strings.CutSuffix(name, ".blk")
	n, nerr := strconv.Atoi(index)
	var b []byte
	whole := true
	switch {
	case isBlock && nerr == nil && filepath.Base(dir) == "msgs":
		if b, err = readBlock(path); err != nil {
			return f, err
		}
		raft := strings.Contains(filepath.ToSlash(path), "/_js_/")
		f.places(path, scan(hasher(owner, n), b, !raft).Damage, how.end(blockFile(dir, n+1)))
	case name == "index.db" && filepath.Base(dir) == "msgs", strings.HasPrefix(name, "snap.") && filepath.Base(dir) == "snapshots":
		b, whole, err = sealed(path, owner)
	case name == "meta.inf":
		key := filepath.Base(dir)
		if filepath.Base(filepath.Dir(dir)) == "obs" { // a consumer of a stream
			key = filepath.Base(filepath.Dir(filepath.Dir(dir))) + "/" + key
		}
		b, whole, err = meta(path, key)
	}
	f.Bytes = int64(len(b))
	switch {
	case err != nil || whole:
	case how.Killed && Derived(path):
		f.Ends = append(f.Ends, path)
	default:
		f.Places = append(f.Places, path)
	}
	return f, err
}

// end is what a block's may look like; next is the block that would follow it.
func (how How) end(next string) end {
	switch {
	case !how.Stopped:
		return growing
	case !how.Killed:
		return stopped
	}
	if _, err := os.Lstat(next); errors.Is(err, fs.ErrNotExist) {
		return killed
	}
	return stopped
}

// sealed verifies a file that ends with the hash of what comes before.
func sealed(path, key string) (b []byte, whole bool, err error) {
	b, err = readBlock(path)
	if err != nil || len(b) == 0 {
		return nil, true, err
	}
	return b, len(b) >= sumSize && bytes.Equal(keyed(key, b[:len(b)-sumSize]), b[len(b)-sumSize:]), nil
}

// meta verifies a description by the hash in the file beside it.
func meta(path, key string) (b []byte, whole bool, err error) {
	b, err = readBlock(path)
	if err != nil || len(b) == 0 {
		return nil, true, err
	}
	sum, err := os.ReadFile(strings.TrimSuffix(path, ".inf") + ".sum")
	if errors.Is(err, fs.ErrNotExist) {
		return b, true, nil // it is written after the first
	}
	return b, hex.EncodeToString(keyed(key, b)) == string(sum), err
}

func keyed(key string, b []byte) []byte {
	k := sha256.Sum256([]byte(key))
	h, err := highwayhash.NewDigest64(k[:])
	if err != nil {
		panic(err) // the key has the size it must have
	}
	_, _ = h.Write(b)
	return h.Sum(nil)
}
