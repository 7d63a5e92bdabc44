package pull

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
)

// libraryName matches the files that the engine loads, not the tools' own
// libraries beside them: libllama.so.0, libggml-cpu-haswell.so,
// libggml-base.0.dylib.
var libraryName = regexp.MustCompile(`^lib(llama|ggml(-[a-z0-9_.-]+)?)(\.[0-9]+)*\.(so|dylib)(\.[0-9]+)*$`)

// unpackLibraries extracts llama.cpp's libraries from a .tar.gz whose hash was
// verified. Folders are dropped. A link beside its target becomes a second
// name of the same file, so that the loader finds what the others ask for; all
// other links are left out.
func (c *Cache) unpackLibraries(ctx context.Context, archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	var done int64
	links, err := openLibraries(ctx, f, func(name string) (io.WriteCloser, error) {
		w, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		return &countedFile{File: w, done: &done, report: c.report.done}, nil
	})
	if err != nil {
		return err
	}
	// A link may point to another one that is not made yet: as often as it
	// takes, but never more than there are links.
	for range len(links) {
		for name, target := range links {
			if err := alias(root, target, name); err == nil {
				delete(links, name)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("unpack: %w", err)
			}
		}
	}
	for name := range links {
		return fmt.Errorf("%w: %s leads nowhere", errArchive, name)
	}
	return nil
}

// alias makes name the same file as target, or a copy where the file system
// has no second names.
func alias(root *os.Root, target, name string) error {
	st, err := root.Stat(target)
	if err != nil {
		return err
	}
	if err := root.Link(target, name); err == nil {
		return nil
	}
	b, err := root.ReadFile(target)
	if err != nil {
		return err
	}
	return root.WriteFile(name, b, st.Mode().Perm())
}

// openLibraries gives each library of a .tar.gz to sink, and returns the links
// between them, name to target; both are plain names. There is at least one
// library, and each comes once.
func openLibraries(ctx context.Context, r io.Reader, sink func(name string) (io.WriteCloser, error)) (map[string]string, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArchive, err)
	}
	limited := &io.LimitedReader{R: z, N: maxUnpacked}
	t := tar.NewReader(limited)
	links, files := map[string]string{}, map[string]bool{}
	for n := 0; ; n++ {
		if n >= maxEntries || limited.N <= 0 {
			return nil, fmt.Errorf("%w: too much in it", errArchive)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errArchive, err)
		}
		name := path.Base(h.Name)
		if name != "LICENSE" && !libraryName.MatchString(name) {
			continue
		}
		if files[name] || links[name] != "" {
			return nil, fmt.Errorf("%w: %s is in it twice", errArchive, name)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			files[name] = true
			if err := copyMember(ctx, t, Member{Path: h.Name, File: name, Size: h.Size}, func(m Member) (io.WriteCloser, error) { return sink(m.File) }); err != nil {
				return nil, err
			}
		case tar.TypeSymlink:
			if libraryName.MatchString(h.Linkname) {
				links[name] = h.Linkname
			}
		}
	}
	if delete(files, "LICENSE"); len(files) == 0 {
		return nil, fmt.Errorf("%w: no library is in it", errArchive)
	}
	return links, nil
}
