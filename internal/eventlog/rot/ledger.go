package rot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
)

// Ledger keeps copies of the small files below a directory, with when each was
// written and what its checksum is. A file whose time has not changed and whose
// bytes have has rotted, and is put back.
//
// It looks now and then, so what was written just before a kill is not in it:
// then the file counts as it stands, or, if Older says so, the copy does: for
// files whose bytes nothing vouches for, and of which an older state does no
// harm.
type Ledger struct {
	Older func(path string) bool // nil = none

	root, dir string
	skip      func(path string) bool

	mu    sync.Mutex // guards known
	known map[string]mark
}

type mark struct {
	at   time.Time
	size int64
	sum  uint32
}

const (
	ledgerFile = "ledger"
	copyEnd    = ".copy"
	smallFile  = 1 << 20
)

// NewLedger watches the files below root; skip leaves out what is not to be
// kept (it gets paths relative to root, with slashes). Copies are in dir.
func NewLedger(root, dir string, skip func(path string) bool) *Ledger {
	return &Ledger{root: root, dir: dir, skip: skip, known: map[string]mark{}}
}

// Mend puts back what has rotted since it was noted. Nobody may be writing.
func (l *Ledger) Mend() (Found, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var f Found
	if err := atomicfile.Clear(l.dir); err != nil {
		return f, err
	}
	b, err := os.ReadFile(filepath.Join(l.dir, ledgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read ledger: %w", err)
	}
	var ok bool
	if l.known, ok = parseLedger(b); !ok {
		f.Places = append(f.Places, filepath.Join(l.dir, ledgerFile))
	}
	if err := l.checkCopies(&f); err != nil {
		return f, fmt.Errorf("check copies of small files: %w", err)
	}
	for path, m := range l.known {
		name := filepath.Join(l.root, filepath.FromSlash(path))
		now, _, err := readSmall(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, fmt.Errorf("check small files: %w", err)
		}
		since := err != nil || !now.at.Equal(m.at) || now.size != m.size // removed or written
		kept, good := l.readCopy(path)
		if good = good && crc(kept) == m.sum; !good || since {
			delete(l.known, path) // noted anew, if it is worth it
		}
		f.Bytes += now.size
		switch {
		case since && err == nil && l.Older != nil && l.Older(path):
			if !good {
				kept = nil // none is better than one that may be anything
			}
			if err := replace(name, kept); err != nil {
				return f, fmt.Errorf("put back %s: %w", name, err)
			}
			continue
		case since || now.sum == m.sum:
			continue
		}
		f.Places = append(f.Places, name)
		if !good {
			f.Lost = append(f.Lost, name+": its copy is gone or damaged too")
			continue
		}
		if err := errors.Join(replace(name, kept), os.Chtimes(name, m.at, m.at)); err != nil {
			return f, fmt.Errorf("put back %s: %w", name, err)
		}
		f.Restored++
	}
	return f, nil
}

// checkCopies removes copies that have rotted.
func (l *Ledger) checkCopies(f *Found) error {
	all, err := Find(l.dir, "", copyEnd)
	if err != nil {
		return err
	}
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f.Bytes += int64(len(b))
		if _, good := unseal(b); !good {
			f.Places = append(f.Places, name)
			if err := remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// A copy ends with its checksum.
func seal(b []byte) []byte { return binary.BigEndian.AppendUint32(slices.Clone(b), crc(b)) }

func unseal(b []byte) (data []byte, ok bool) {
	n := len(b) - 4
	if n < 0 {
		return nil, false
	}
	return b[:n], crc(b[:n]) == binary.BigEndian.Uint32(b[n:])
}

func (l *Ledger) readCopy(path string) (b []byte, ok bool) {
	b, err := os.ReadFile(l.kept(path))
	if err != nil {
		return nil, false
	}
	return unseal(b)
}

// Note takes over what has changed.
func (l *Ledger) Note() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, seen := false, map[string]bool{}
	err := filepath.WalkDir(l.root, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		path, err := filepath.Rel(l.root, name)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		if d.IsDir() {
			if path != "." && (l.skip(path) || name == l.dir) {
				return fs.SkipDir
			}
			return nil
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && (!st.Mode().IsRegular() || st.Size() > smallFile || l.skip(path)) {
			return nil
		}
		if err != nil {
			return err
		}
		seen[path] = true
		if m, ok := l.known[path]; ok && m.at.Equal(st.ModTime()) && m.size == st.Size() {
			return nil
		}
		m, b, err := readSmall(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errWriting) {
			return nil // next time
		}
		if err != nil {
			return err
		}
		if err := os.MkdirAll(l.dir, 0o700); err != nil {
			return err
		}
		if err := atomicfile.Write(l.kept(path), seal(b), 0o600); err != nil {
			return err
		}
		l.known[path], changed = m, true
		return nil
	})
	for path := range l.known {
		if err == nil && !seen[path] {
			delete(l.known, path)
			changed = true
			err = remove(l.kept(path))
		}
	}
	if err == nil && changed {
		err = atomicfile.Write(filepath.Join(l.dir, ledgerFile), l.text(), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep copies of small files: %w", err)
	}
	return nil
}

// kept is where a file's copy is; its name is the path in one part.
func (l *Ledger) kept(path string) string {
	return filepath.Join(l.dir, strings.NewReplacer("%", "%25", "/", "%2F", ":", "%3A").Replace(path)+copyEnd)
}

func (l *Ledger) text() []byte {
	var b bytes.Buffer
	for path, m := range l.known {
		line := fmt.Sprintf("%d %d %08x %s", m.at.UnixNano(), m.size, m.sum, path)
		fmt.Fprintf(&b, "%08x %s\n", crc([]byte(line)), line)
	}
	return b.Bytes()
}

// parseLedger leaves out lines that have rotted themselves, and says so.
func parseLedger(b []byte) (known map[string]mark, ok bool) {
	known, ok = map[string]mark{}, true
	for line := range strings.Lines(string(b)) {
		sum, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		part := strings.SplitN(rest, " ", 4)
		want, err := strconv.ParseUint(sum, 16, 32)
		if err != nil || len(part) != 4 || uint32(want) != crc([]byte(rest)) {
			ok = false
			continue
		}
		at, err1 := strconv.ParseInt(part[0], 10, 64)
		size, err2 := strconv.ParseInt(part[1], 10, 64)
		own, err3 := strconv.ParseUint(part[2], 16, 32)
		if errors.Join(err1, err2, err3) != nil || !filepath.IsLocal(filepath.FromSlash(part[3])) {
			ok = false
			continue
		}
		known[part[3]] = mark{at: time.Unix(0, at), size: size, sum: uint32(own)}
	}
	return known, ok
}

var errWriting = errors.New("it is being written")

func readSmall(name string) (mark, []byte, error) {
	before, err := os.Stat(name)
	if err != nil {
		return mark{}, nil, err
	}
	if before.Size() > smallFile {
		return mark{size: before.Size(), at: before.ModTime()}, nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return mark{}, nil, err
	}
	after, err := os.Stat(name)
	if err != nil {
		return mark{}, nil, err
	}
	if !before.ModTime().Equal(after.ModTime()) || int64(len(b)) != after.Size() {
		return mark{}, nil, errWriting
	}
	return mark{at: after.ModTime(), size: after.Size(), sum: crc(b)}, b, nil
}

func crc(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
