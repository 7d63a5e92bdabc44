package cli

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/progress"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// A backup is a gzipped tar file: log/... and store.db, and at its end
// manifest.json with the hash of every file. A file without a manifest was cut
// off.
const manifestName = "manifest.json"

// manifest ends a backup.
type manifest struct {
	Format  int               `json:"format"` // 1
	Version string            `json:"version"`
	Region  string            `json:"region"`
	Time    time.Time         `json:"time"`
	Log     bool              `json:"log"`   // the log is in it
	Files   map[string]string `json:"files"` // path to hexadecimal SHA-256
}

func (d data) backup(ctx context.Context, t *terminal) (err error) {
	if d.file == "" {
		return usagef("name the file to write")
	}
	release, err := d.claim()
	running := fault.Is(err, fault.Conflict)
	if err != nil && !running {
		return err
	}
	if !running {
		defer release()
	}
	// Into a name of its own first, so that a half backup never looks like one.
	part := d.file + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.Conflict, "%s is there: another backup is being written, or one broke off; remove it then", part)
	}
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	if _, err := os.Lstat(d.file); !errors.Is(err, fs.ErrNotExist) {
		_ = f.Close()
		return fault.New(fault.Conflict, "%s is there already: choose another name", d.file)
	}
	m, size, err := d.write(ctx, f, !running)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, d.file); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if d.json {
		return t.json(map[string]any{"file": d.file, "bytes": size, "log": m.Log, "files": len(m.Files)})
	}
	t.printf("Backup of %d files in %s (%s).\n", len(m.Files), d.file, progress.Bytes(size))
	if running {
		t.printf("The node is running, so it holds the store only, not the log. Stop the node for a whole backup.\n")
	}
	return nil
}

// write puts the store, and the log if the node is stopped, into f.
func (d data) write(ctx context.Context, f *os.File, withLog bool) (m manifest, size int64, err error) {
	m = manifest{Format: 1, Version: version(), Region: d.cfg.Region, Time: time.Now().UTC().Truncate(time.Second), Log: withLog, Files: map[string]string{}}
	dir, err := os.MkdirTemp(filepath.Dir(f.Name()), ".parley-backup-")
	if err != nil {
		return m, 0, fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	z := gzip.NewWriter(f)
	tw := tar.NewWriter(z)
	if withLog {
		if err := addTree(ctx, tw, m, d.cfg.Data, logDir); err != nil {
			return m, 0, err
		}
	}
	if _, err := os.Stat(d.path(storeFile)); err == nil {
		st, err := sqlite.Open(ctx, sqlite.Options{Path: d.path(storeFile)})
		if err != nil {
			return m, 0, err
		}
		err = st.Backup(ctx, filepath.Join(dir, storeFile))
		if err = errors.Join(err, st.Close()); err != nil {
			return m, 0, err
		}
		if err := addFile(tw, m, dir, storeFile); err != nil {
			return m, 0, err
		}
	}
	if len(m.Files) == 0 {
		return m, 0, fault.New(fault.NotFound, "there is nothing to back up in %s", d.cfg.Data)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, 0, fmt.Errorf("encode manifest: %w", err)
	}
	err = tw.WriteHeader(&tar.Header{Name: manifestName, Mode: 0o600, Size: int64(len(b)), ModTime: m.Time, Typeflag: tar.TypeReg})
	if err == nil {
		_, err = tw.Write(b)
	}
	if err = errors.Join(err, tw.Close(), z.Close(), f.Sync()); err != nil {
		return m, 0, fmt.Errorf("write backup: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return m, 0, fmt.Errorf("write backup: %w", err)
	}
	return m, st.Size(), nil
}

func addTree(ctx context.Context, tw *tar.Writer, m manifest, base, dir string) error {
	return filepath.WalkDir(filepath.Join(base, dir), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e.IsDir() && e.Name() == eventlog.TwinDir { // a second copy of the rest
			return fs.SkipDir
		}
		if !e.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(base, p)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		return addFile(tw, m, base, rel)
	})
}

func addFile(tw *tar.Writer, m manifest, base, rel string) error {
	f, err := os.Open(filepath.Join(base, rel))
	if err != nil {
		return fmt.Errorf("read data: %w", err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read data: %w", err)
	}
	name := filepath.ToSlash(rel)
	err = tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: st.Size(), ModTime: st.ModTime(), Typeflag: tar.TypeReg})
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(tw, h), f, st.Size()); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	m.Files[name] = hex.EncodeToString(h.Sum(nil))
	return nil
}

func (d data) restore(ctx context.Context, t *terminal) (err error) {
	if d.file == "" {
		return usagef("name the backup")
	}
	if err := os.MkdirAll(d.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	release, err := d.claim()
	if err != nil {
		return err
	}
	defer release()
	f, err := os.Open(d.file)
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	defer func() { _ = f.Close() }()
	// Beside what is there, on the same disk, so that the last step is a rename.
	fresh, err := os.MkdirTemp(d.cfg.Data, "restore-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	m, err := unpack(ctx, f, fresh)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "%s is not a whole backup; nothing was changed", d.file)
	}
	if m.Log && m.Region != d.cfg.Region {
		return fault.New(fault.Invalid, "the backup is of region %q, these settings are of %q: restore with --region %s; nothing was changed", m.Region, d.cfg.Region, m.Region)
	}
	aside := d.aside(time.Now())
	if err := d.swap(fresh, aside, m); err != nil {
		return err
	}
	if d.json {
		return t.json(map[string]any{"file": d.file, "time": m.Time, "log": m.Log, "files": len(m.Files), "aside": aside})
	}
	t.printf("Restored %d files as of %s. What was there before ends in %s.\n", len(m.Files), m.Time.Local().Format(time.DateTime), aside)
	if !m.Log {
		t.printf("The backup holds the store only: conversations go on from the log that is here.\n")
	}
	return nil
}

// aside returns an ending for the names of what a restore replaces, so that
// nothing of that name is there.
func (d data) aside(now time.Time) string {
	stamp := ".before-restore-" + now.UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		end := stamp
		if n > 1 {
			end = fmt.Sprintf("%s-%d", stamp, n)
		}
		_, logErr := os.Lstat(d.path(logDir + end))
		_, storeErr := os.Lstat(d.path(storeFile + end))
		if logErr != nil && storeErr != nil {
			return end
		}
	}
}

// swap puts the unpacked files in the place of those that are there.
func (d data) swap(fresh, aside string, m manifest) error {
	move := func(from, to string) error {
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put the backup in place: %w", err)
		}
		return nil
	}
	if m.Log {
		if err := move(d.path(logDir), d.path(logDir+aside)); err != nil {
			return err
		}
		if err := move(filepath.Join(fresh, logDir), d.path(logDir)); err != nil {
			return err
		}
	}
	for _, s := range storeParts {
		if err := move(d.path(storeFile+s), d.path(storeFile+aside+s)); err != nil {
			return err
		}
	}
	return move(filepath.Join(fresh, storeFile), d.path(storeFile))
}

// Bounds of a backup that is read.
const (
	maxManifest = 64 << 20
	maxFiles    = 1_000_000
)

// unpack writes a backup's files below dir and verifies them against its
// manifest.
func unpack(ctx context.Context, r io.Reader, dir string) (m manifest, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return m, fmt.Errorf("open directory: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	z, err := gzip.NewReader(r)
	if err != nil {
		return m, fmt.Errorf("read backup: %w", err)
	}
	sums := map[string]string{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return m, errors.New("it has no manifest: it was cut off")
		}
		if err != nil {
			return m, fmt.Errorf("read backup: %w", err)
		}
		if ctx.Err() != nil {
			return m, ctx.Err()
		}
		if h.Name == manifestName {
			if err := json.NewDecoder(io.LimitReader(tr, maxManifest)).Decode(&m); err != nil {
				return m, fmt.Errorf("read manifest: %w", err)
			}
			if _, err := tr.Next(); !errors.Is(err, io.EOF) {
				return m, errors.New("there is something behind its manifest, or it was cut off")
			}
			if _, err := io.Copy(io.Discard, z); err != nil { // up to the checksum of the whole
				return m, fmt.Errorf("read backup: %w", err)
			}
			break
		}
		if len(sums) >= maxFiles {
			return m, errors.New("it has too many files")
		}
		if sums[h.Name] != "" || h.Typeflag != tar.TypeReg || !backedUp(h.Name) {
			return m, fmt.Errorf("there is a %q in it that no backup has", h.Name)
		}
		if sums[h.Name], err = unpackFile(root, h.Name, tr); err != nil {
			return m, err
		}
	}
	if m.Format != 1 {
		return m, fmt.Errorf("it is of format %d, which this version does not know", m.Format)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if sums[name] != m.Files[name] {
			return m, fmt.Errorf("%s is missing or damaged", name)
		}
	}
	if len(sums) != len(m.Files) {
		return m, errors.New("it has files that its manifest does not know")
	}
	return m, nil
}

// backedUp reports whether a backup may hold a file of this name.
func backedUp(name string) bool {
	if name == storeFile {
		return true
	}
	return path.Clean(name) == name && filepath.IsLocal(filepath.FromSlash(name)) && strings.HasPrefix(name, logDir+"/") && !strings.Contains(name, "\\")
}

func unpackFile(root *os.Root, name string, r io.Reader) (sum string, err error) {
	local := filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(local), 0o700); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	f, err := root.OpenFile(local, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, h), r); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
