package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/fault"
)

// manifest lies beside an item's files and says that they were verified, and
// how they looked then.
type manifest struct {
	ID      string         `json:"id"`
	Version string         `json:"version,omitempty"`
	Source  string         `json:"source"`
	Archive string         `json:"archive,omitempty"` // its hash, if that vouches for Files
	Fetched time.Time      `json:"fetched"`
	Files   []manifestFile `json:"files"`
}

type manifestFile struct {
	File
	Modified time.Time `json:"modified"`
}

// files are the ones that must be there: the catalogue's, or the ones that
// came out of an archive of the catalogue.
func (m manifest) files(it Item) []File {
	if _, ok := it.opened(m.Archive); !ok {
		return it.Files
	}
	var files []File
	for _, f := range m.Files {
		files = append(files, f.File)
	}
	return files
}

const manifestName = "manifest.json"

// State of an item on this machine.
type State string

// The states.
const (
	Ready   State = "ready"   // there, and as it was when it was verified
	Missing State = "missing" // not there
	Partial State = "partial" // a download began; Pull goes on with it
	Damaged State = "damaged" // there, but not as it was; Pull fetches it again
)

// Status is an item and what is there of it.
type Status struct {
	Item
	State   State
	Detail  string    // what is damaged
	Path    string    // model file, or the library's directory
	From    string    // source in words, if Ready
	Fetched time.Time // if Ready
}

// List returns the models of the catalogue and this platform's library.
func (c *Cache) List() []Status {
	var all []Status
	for _, it := range c.opt.Catalogue {
		if it.Kind == Model || it.Platform == c.opt.Platform {
			all = append(all, c.status(it))
		}
	}
	return all
}

func (c *Cache) status(it Item) Status {
	s := Status{Item: it, State: Ready, Path: c.dir(it)}
	if it.Kind == Model {
		s.Path = filepath.Join(s.Path, it.Files[0].Name)
	}
	_, err := c.check(it)
	switch {
	case err == nil:
		if m, err := readManifest(c.dir(it)); err == nil {
			s.From, s.Fetched = m.Source, m.Fetched
		}
	case !errors.Is(err, fs.ErrNotExist) || exists(c.dir(it)):
		s.State, s.Detail = Damaged, err.Error()
	case c.hasPartial(it):
		s.State = Partial
	default:
		s.State = Missing
	}
	return s
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// check compares an item's files with its manifest, and the manifest with the
// catalogue. A file whose time changed is read and hashed, no other is.
//
// touched says that a file had another time and yet the right bytes.
func (c *Cache) check(it Item) (touched bool, err error) {
	dir := c.dir(it)
	m, err := readManifest(dir)
	if err != nil {
		return false, err
	}
	seen := make(map[string]manifestFile, len(m.Files))
	for _, f := range m.Files {
		seen[f.Name] = f
	}
	for _, f := range m.files(it) {
		was, ok := seen[f.Name]
		if !ok || was.SHA256 != f.SHA256 || was.Size != f.Size {
			return false, fmt.Errorf("%s is not the version of the catalogue", f.Name)
		}
		st, err := os.Lstat(filepath.Join(dir, f.Name))
		switch {
		case err != nil:
			return false, fmt.Errorf("look at %s: %w", f.Name, err)
		case !st.Mode().IsRegular() || st.Size() != f.Size:
			return false, fmt.Errorf("%s has %d bytes, not %d", f.Name, st.Size(), f.Size)
		case st.ModTime().Equal(was.Modified):
			continue
		}
		if err := verifyFile(context.Background(), filepath.Join(dir, f.Name), f.Size, f.SHA256); err != nil {
			return false, err
		}
		touched = true
	}
	return touched, nil
}

// Verify reads all of an item's files and compares the hashes. A damaged item
// is marked, so that the next Ensure or Pull fetches it again. id is as in
// Pull. Faults: NotFound if it is not there, Unavailable if it is damaged.
func (c *Cache) Verify(ctx context.Context, id string) error {
	it, err := c.find(id)
	if err != nil {
		return err
	}
	dir := c.dir(it)
	if !exists(dir) {
		return fault.New(fault.NotFound, "%s is not on this machine: parley model pull %s", it.Title, it.ID)
	}
	m, err := readManifest(dir)
	if err != nil {
		m = manifest{ID: it.ID, Version: it.Version, Source: "found whole in the cache"}
	}
	for _, f := range m.files(it) {
		err := verifyFile(ctx, filepath.Join(dir, f.Name), f.Size, f.SHA256)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if rm := os.Remove(filepath.Join(dir, manifestName)); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
		return fault.Wrap(err, fault.Unavailable, "%s is damaged (%s): parley model pull %s fetches it again", it.Title, f.Name, it.ID)
	}
	if m.Files == nil {
		for _, f := range it.Files {
			m.Files = append(m.Files, manifestFile{File: f})
		}
		return c.writeManifest(it, dir, m)
	}
	return nil
}

// Remove deletes an item and what was downloaded of it. Removing what is not
// there is no error.
func (c *Cache) Remove(ctx context.Context, id string) error {
	it, err := c.find(id)
	if err != nil {
		return err
	}
	unlock, err := c.lock(ctx, it)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(c.dir(it)); err != nil {
		return fmt.Errorf("remove %s: %w", it.ID, err)
	}
	for _, sum := range sums(it) {
		for _, name := range []string{sum + ".part", sum + ".json"} {
			if err := os.Remove(filepath.Join(c.partialDir(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove %s: %w", it.ID, err)
			}
		}
	}
	return nil
}

// sums are the hashes under which the item's downloads lie about.
func sums(it Item) []string {
	var all []string
	for _, f := range it.Files {
		all = append(all, f.SHA256)
	}
	for _, s := range it.Sources {
		for _, p := range s.Parts {
			all = append(all, p.SHA256)
		}
	}
	return all
}

func (c *Cache) hasPartial(it Item) bool {
	for _, sum := range sums(it) {
		if exists(filepath.Join(c.partialDir(), sum+".part")) {
			return true
		}
	}
	return false
}

func (c *Cache) partialDir() string { return filepath.Join(c.opt.Dir, "partial") }

func readManifest(dir string) (manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

// writeManifest records how the verified files in dir look now.
func (c *Cache) writeManifest(it Item, dir string, m manifest) error {
	for i, f := range m.Files {
		st, err := os.Stat(filepath.Join(dir, f.Name))
		if err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
		m.Files[i].Modified = st.ModTime()
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write manifest of %s: %w", it.ID, err)
	}
	return atomicfile.Write(filepath.Join(dir, manifestName), b, 0o600)
}

var errWrongHash = errors.New("the bytes are not the ones that were pinned")

// verifyFile compares a file with its size and hash.
func verifyFile(ctx context.Context, path string, size int64, sum string) error {
	got, n, err := hashFile(ctx, path)
	if err != nil {
		return err
	}
	if n != size || got != sum {
		return fmt.Errorf("%s: %w (sha256 %.12s of %d bytes, want %.12s of %d)", filepath.Base(path), errWrongHash, got, n, sum, size)
	}
	return nil
}

func hashFile(ctx context.Context, path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, fmt.Errorf("verify file: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := copyCtx(ctx, h, f)
	if err != nil {
		return "", 0, fmt.Errorf("verify file: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// copyCtx is io.Copy that stops when ctx ends.
func copyCtx(ctx context.Context, dst io.Writer, src io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		r, err := src.Read(buf)
		if r > 0 {
			w, werr := dst.Write(buf[:r])
			n += int64(w)
			if werr != nil {
				return n, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
