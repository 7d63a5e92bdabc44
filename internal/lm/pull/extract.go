package pull

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Bounds of an archive, far above those of the real ones.
const (
	maxEntries  = 10_000
	maxUnpacked = 4 << 30
)

var (
	errArchive   = errors.New("the archive is not as expected")
	errNoArchive = errors.New("it is neither a .tgz nor a .zip")
)

// extract reads the wanted members of a .tgz or .zip, each exactly once, and
// gives their bytes to sink. Names inside the archive are only ever compared
// with those of members, so they can't lead anywhere; links, directories and
// entries of another size than pinned are refused. Every member must be there.
//
// sink is called for one member at a time, in the archive's order; its writer
// is closed before the next call.
func extract(ctx context.Context, r io.ReaderAt, size int64, members []Member, sink func(Member) (io.WriteCloser, error)) error {
	wanted := make(map[string]Member, len(members))
	for _, m := range members {
		wanted[m.Path] = m
	}
	head := make([]byte, 4)
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read archive: %w", err)
	}
	var err error
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		err = extractTGZ(ctx, io.NewSectionReader(r, 0, size), wanted, sink)
	case bytes.HasPrefix(head, []byte("PK")):
		err = extractZip(ctx, r, size, wanted, sink)
	default:
		return errNoArchive
	}
	if err != nil {
		return err
	}
	for _, m := range members { // not the map: the same one is named each time
		if _, left := wanted[m.Path]; left {
			return fmt.Errorf("%w: %s is not in it", errArchive, m.Path)
		}
	}
	return nil
}

func extractTGZ(ctx context.Context, r io.Reader, wanted map[string]Member, sink func(Member) (io.WriteCloser, error)) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errArchive, err)
	}
	limited := &io.LimitedReader{R: z, N: maxUnpacked}
	t := tar.NewReader(limited)
	seen := make(map[string]bool)
	for n := 0; len(wanted) > 0; n++ {
		if n >= maxEntries || limited.N <= 0 {
			return fmt.Errorf("%w: too much in it", errArchive)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errArchive, err)
		}
		m, ok := wanted[h.Name]
		if !ok {
			if seen[h.Name] {
				return fmt.Errorf("%w: %s is in it twice", errArchive, h.Name)
			}
			continue
		}
		if h.Typeflag != tar.TypeReg || h.Size != m.Size {
			return fmt.Errorf("%w: %s has type %q and %d bytes, not %d", errArchive, m.Path, h.Typeflag, h.Size, m.Size)
		}
		delete(wanted, h.Name)
		seen[h.Name] = true
		if err := copyMember(ctx, t, m, sink); err != nil {
			return err
		}
	}
	return nil
}

func extractZip(ctx context.Context, r io.ReaderAt, size int64, wanted map[string]Member, sink func(Member) (io.WriteCloser, error)) error {
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("%w: %w", errArchive, err)
	}
	if len(z.File) > maxEntries {
		return fmt.Errorf("%w: too much in it", errArchive)
	}
	seen := make(map[string]bool)
	for _, f := range z.File {
		m, ok := wanted[f.Name]
		if !ok {
			if seen[f.Name] {
				return fmt.Errorf("%w: %s is in it twice", errArchive, f.Name)
			}
			continue
		}
		if !f.Mode().IsRegular() || f.UncompressedSize64 != uint64(max(m.Size, 0)) {
			return fmt.Errorf("%w: %s has mode %s and %d bytes, not %d", errArchive, m.Path, f.Mode(), f.UncompressedSize64, m.Size)
		}
		delete(wanted, f.Name)
		seen[f.Name] = true
		rc, err := f.Open()
		if err != nil {
			return fmt.Errorf("%w: %w", errArchive, err)
		}
		err = copyMember(ctx, rc, m, sink)
		rc.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// copyMember copies exactly m.Size bytes.
func copyMember(ctx context.Context, r io.Reader, m Member, sink func(Member) (io.WriteCloser, error)) error {
	w, err := sink(m)
	if err != nil {
		return err
	}
	n, err := copyCtx(ctx, w, io.LimitReader(r, m.Size+1))
	cerr := w.Close()
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("unpack %s: %w", m.Path, err)
	case cerr != nil:
		return fmt.Errorf("unpack %s: %w", m.Path, cerr)
	case n != m.Size:
		return fmt.Errorf("%w: %s holds %d bytes, not %d", errArchive, m.Path, n, m.Size)
	}
	return nil
}

// unpack extracts what a part has of the item from an archive file into dir.
// Members of one file are appended to it.
func (c *Cache) unpack(ctx context.Context, archive string, p Part, dir string) error {
	if p.Members == nil {
		if err := verifyFile(ctx, archive, p.Size, p.SHA256); err != nil {
			return err
		}
		return c.unpackLibraries(ctx, archive, dir)
	}
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open archive: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	var done int64
	return extract(ctx, f, st.Size(), p.Members, func(m Member) (io.WriteCloser, error) {
		w, err := root.OpenFile(m.File, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		return &countedFile{File: w, done: &done, report: c.report.done}, nil
	})
}

// countedFile is a file that reports what was written, and is on the disk
// when it is closed.
type countedFile struct {
	*os.File
	done   *int64
	report func(int64)
}

func (f *countedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	*f.done += int64(n)
	f.report(*f.done)
	return n, err
}

func (f *countedFile) Close() error {
	return errors.Join(f.Sync(), f.File.Close())
}
