package rot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Twin is the second copy of a stream on a node that is alone: its block files,
// byte for byte, in another directory. An append counts as done when Copy has
// seen it; so whatever rots in one of the two, the other has it. It is written
// and not flushed: it guards against bytes that change, the log's own flush
// against a power cut.
type Twin struct {
	stream, from, to string

	mu    sync.Mutex // guards all below
	last  int        // the block that is being copied; older ones don't grow. 0 = not known yet
	size  int64      // of what was copied of it
	src   *os.File   // it, open for reading
	dst   *os.File   // its copy, open for appending
	buf   []byte
	again time.Time // when a copy that failed is tried again
}

const copyAgain = 10 * time.Second

// NewTwin copies the blocks of a stream, whose directory this is, to a
// directory of the same form. Mend comes first, then Copy.
func NewTwin(stream, from, to string) *Twin {
	return &Twin{stream: stream, from: filepath.Join(from, "msgs"), to: filepath.Join(to, "msgs")}
}

// forgetting is the beginning of a file's name that says whose entries were
// being erased: what is missing in the log of those is not lost.
const forgetting = "forgetting-"

// Found is what Mend found in a stream, or Check in a directory.
type Found struct {
	Bytes    int64    // read
	Places   []string // that were damaged: file, offset, size
	Restored int      // records that were put back
	Lost     []string // places for which no record was there, in words
	Ends     []string // of files that may not have been written out when the power went; nothing acknowledged is missing
}

// Bad reports whether anything was damaged.
func (f *Found) Bad() bool { return len(f.Places) > 0 || f.Restored > 0 }

// Add adds what was found elsewhere.
func (f *Found) Add(o Found) {
	f.Bytes += o.Bytes
	f.Restored += o.Restored
	f.Places, f.Lost, f.Ends = append(f.Places, o.Places...), append(f.Lost, o.Lost...), append(f.Ends, o.Ends...)
}

// Mend makes the stream's blocks whole out of both copies, and then the copy
// equal to them. The log must not run; clean means that it was stopped, and
// neither killed nor cut off its power.
func (t *Twin) Mend(clean bool) (Found, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeFiles()
	t.last, t.again = 0, time.Time{}
	var f Found
	for _, dir := range []string{t.from, t.to} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return f, fmt.Errorf("second copy of %s: %w", t.stream, err)
		}
	}
	ours, err := blocks(t.from)
	if err != nil {
		return f, err
	}
	theirs, err := blocks(t.to)
	if err != nil {
		return f, err
	}
	notes, err := Find(t.to, forgetting, "")
	if err != nil {
		return f, fmt.Errorf("second copy of %s: %w", t.stream, err)
	}
	erasing := func(r Record) bool {
		return slices.ContainsFunc(notes, func(note string) bool {
			return strings.HasPrefix(r.Subject, strings.TrimPrefix(filepath.Base(note), forgetting))
		})
	}
	all := slices.Concat(ours, theirs)
	slices.Sort(all)
	all = slices.Compact(all)
	rewritten := false
	for i, n := range all {
		again, err := t.mendBlock(n, i == len(all)-1, clean, erasing, &f)
		if err != nil {
			return f, fmt.Errorf("mend block %d of %s: %w", n, t.stream, err)
		}
		rewritten = rewritten || again
	}
	if rewritten {
		// It tells of the blocks as they were; without it the log reads them.
		if err := remove(filepath.Join(t.from, "index.db")); err != nil {
			return f, err
		}
	}
	for _, note := range notes {
		if err := remove(note); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (t *Twin) mendBlock(n int, newest, clean bool, erasing func(Record) bool, f *Found) (rewritten bool, err error) {
	from, to := blockFile(t.from, n), blockFile(t.to, n)
	a, err := readBlock(from)
	if err != nil {
		return false, err
	}
	b, err := readBlock(to)
	if err != nil {
		return false, err
	}
	f.Bytes += int64(len(a) + len(b))
	if newest && len(a) > 0 { // what a kill left unflushed is readable now
		if err := flush(from); err != nil {
			return false, err
		}
	}
	if bytes.Equal(a, b) && !newest { // two copies don't rot alike
		return false, nil
	}
	mine, other := Scan(t.stream, n, a), Scan(t.stream, n, b)
	missing := slices.DeleteFunc(mine.lacks(other), erasing)
	e := stopped
	if newest && !clean {
		e = killed
	}
	f.places(to, other.Damage, e)
	if len(missing) > 0 {
		e = written // what was not flushed was not acknowledged: the copy would have nothing for it either
	}
	f.places(from, mine.Damage, e)
	whole := a
	if len(missing) > 0 || len(mine.Damage) > 0 {
		f.Restored += len(missing)
		if whole = b; len(other.Damage) > 0 || len(other.all(mine)) > 0 || slices.ContainsFunc(other.Records, erasing) {
			whole = merge(mine, missing)
			f.Lost = append(f.Lost, mine.holes(n, t.stream, missing, e == killed)...)
		}
		rewritten = true
		if err := replace(from, whole); err != nil {
			return false, err
		}
	}
	if bytes.Equal(whole, b) {
		return rewritten, nil
	}
	if len(whole) == 0 {
		return rewritten, shred(to)
	}
	return rewritten, replace(to, whole)
}

// end is what the end of a block may look like without being damaged.
type end int

const (
	written end = iota // all of it was there, as another copy shows
	stopped            // a write may have been cut short, as by a full disk
	killed             // and what was written may not be on the disk
	growing            // the log runs: a record may be half there
)

// places notes what is damaged in a block.
func (f *Found) places(path string, all []Damage, e end) {
	for _, d := range all {
		switch {
		case d.Torn && e == growing:
		case d.Torn && e != written, d.End && e == killed:
			f.Ends = append(f.Ends, path)
		default:
			f.Places = append(f.Places, fmt.Sprintf("%s at %d (%d bytes)", path, d.At, d.Size))
		}
	}
}

// holes tells, of each damaged place, which records may have stood there that
// nothing was found for. Which those were only their neighbours know: a place
// where erased ones stood, or one that was never acknowledged, looks the same.
func (b Block) holes(n int, stream string, found []Record, lenient bool) []string {
	var out []string
	for _, d := range b.Damage {
		if d.Torn || d.End && lenient {
			continue
		}
		before, after, at := uint64(0), uint64(0), 0
		for _, r := range b.Records {
			if at < d.At {
				before = r.Seq
			} else if after == 0 && r.Live {
				after = r.Seq
			}
			at += len(r.Raw)
			for _, e := range b.Damage {
				if e.At == at {
					at += e.Size
				}
			}
		}
		if slices.ContainsFunc(found, func(r Record) bool { return r.Seq > before && (after == 0 || r.Seq < after) }) {
			continue
		}
		if after != 0 {
			out = append(out, fmt.Sprintf("%s, block %d: what stood between entries %d and %d", stream, n, before, after))
		} else {
			out = append(out, fmt.Sprintf("%s, block %d: what stood after entry %d", stream, n, before))
		}
	}
	return out
}

// Copy takes over what the log has written. When it returns, all that was
// acknowledged before it was called is in both copies.
func (t *Twin) Copy() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Now().Before(t.again) {
		return nil // it was said
	}
	err := t.copyNew()
	if err != nil {
		t.again = time.Now().Add(copyAgain)
		t.closeFiles()
		return fmt.Errorf("second copy of %s: %w", t.stream, err)
	}
	return nil
}

// Flush is Copy for what nobody has flushed yet: afterwards it is on the disk,
// too.
func (t *Twin) Flush() error {
	all, err := blocks(t.from)
	if err != nil {
		return fmt.Errorf("flush %s: %w", t.stream, err)
	}
	for _, n := range all[max(0, len(all)-2):] { // a batch may have begun a new one
		if err := flush(blockFile(t.from, n)); err != nil {
			return fmt.Errorf("flush %s: %w", t.stream, err)
		}
	}
	return t.Copy()
}

func (t *Twin) copyNew() error {
	for {
		if err := t.follow(); err != nil || t.src == nil {
			return err
		}
		if err := t.append(); err != nil {
			return err
		}
		if _, err := os.Lstat(blockFile(t.from, t.last+1)); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		if err := t.append(); err != nil { // what came before the next one began
			return err
		}
		t.closeFiles()
		t.last++
	}
}

// follow has the newest block open. An erasure puts another file in its place.
func (t *Twin) follow() error {
	if t.src != nil {
		now, err := os.Stat(blockFile(t.from, t.last))
		if err != nil {
			return err
		}
		was, err := t.src.Stat()
		if err != nil {
			return err
		}
		if os.SameFile(now, was) {
			return nil
		}
		t.closeFiles()
	}
	if t.last == 0 { // at first: Mend left all before the newest equal
		if err := os.MkdirAll(t.to, 0o700); err != nil {
			return err
		}
		ours, err := blocks(t.from)
		if err != nil || len(ours) == 0 {
			return err
		}
		theirs, err := blocks(t.to)
		if err != nil {
			return err
		}
		t.last = ours[0]
		if len(theirs) > 0 {
			t.last = theirs[len(theirs)-1]
		}
	}
	src, err := os.Open(blockFile(t.from, t.last))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not yet
	}
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(blockFile(t.to, t.last), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return errors.Join(err, src.Close())
	}
	t.src, t.dst = src, dst
	st, err := dst.Stat()
	if err != nil {
		return err
	}
	if t.size = st.Size(); t.size == 0 {
		return nil
	}
	st, err = src.Stat()
	if err != nil || st.Size() >= t.size {
		return err
	}
	return errors.New("the log has cut a block that was copied already")
}

// append copies what was added to the block.
func (t *Twin) append() error {
	if t.buf == nil {
		t.buf = make([]byte, 64<<10)
	}
	for {
		n, err := t.src.ReadAt(t.buf, t.size)
		if n > 0 {
			if _, err := t.dst.Write(t.buf[:n]); err != nil {
				return err
			}
			t.size += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Forget wraps an erasure: erase overwrites the entries under a subject in the
// log, and when Forget returns they are gone from the copy too.
func (t *Twin) Forget(subject string, erase func() error) error {
	note := filepath.Join(t.to, forgetting+subject)
	if err := os.MkdirAll(t.to, 0o700); err != nil {
		return fmt.Errorf("second copy of %s: %w", t.stream, err)
	}
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		return fmt.Errorf("second copy of %s: %w", t.stream, err)
	}
	if err := erase(); err != nil {
		return err // the note stays: some may be erased
	}
	if err := t.copyChanged(); err != nil {
		return fmt.Errorf("second copy of %s: %w", t.stream, err)
	}
	return remove(note)
}

// Refresh is Copy for streams that throw away what was replaced: their blocks
// may be written anew at any time.
func (t *Twin) Refresh() error {
	if err := t.copyChanged(); err != nil {
		return fmt.Errorf("second copy of %s: %w", t.stream, err)
	}
	return t.Copy()
}

// copyChanged copies all blocks anew that the log has written anew.
func (t *Twin) copyChanged() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeFiles()
	theirs, err := blocks(t.to)
	if err != nil {
		return err
	}
	for _, n := range theirs {
		to := blockFile(t.to, n)
		a, err := os.Stat(blockFile(t.from, n))
		if errors.Is(err, fs.ErrNotExist) {
			if err := shred(to); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		b, err := os.Stat(to)
		if err != nil {
			return err
		}
		if a.Size() == b.Size() && a.ModTime().Before(b.ModTime()) {
			continue
		}
		whole, err := readBlock(blockFile(t.from, n))
		if err != nil {
			return err
		}
		if err := replace(to, whole); err != nil {
			return err
		}
	}
	t.last = 0 // goes on with the newest that was copied
	return nil
}

// Close ends copying. What was copied is flushed.
func (t *Twin) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.dst != nil {
		err = t.dst.Sync()
	}
	t.closeFiles()
	return err
}

func (t *Twin) closeFiles() {
	if t.src != nil {
		_ = t.src.Close()
		_ = t.dst.Close()
		t.src, t.dst = nil, nil
	}
}

func blockFile(dir string, n int) string { return filepath.Join(dir, strconv.Itoa(n)+".blk") }

// blocks lists a directory's blocks, oldest first.
func blocks(dir string) ([]int, error) {
	all, err := Find(dir, "", ".blk")
	if err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	var out []int
	for _, path := range all {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".blk")); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// readBlock reads a file; one that is not there is empty.
func readBlock(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Read returns the living records of a stream, whose directory this is, as far
// as they are whole.
func Read(stream, dir string) ([]Record, error) {
	dir = filepath.Join(dir, "msgs")
	all, err := blocks(dir)
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, n := range all {
		b, err := readBlock(blockFile(dir, n))
		if err != nil {
			return nil, err
		}
		for _, r := range Scan(stream, n, b).Records {
			if r.Live {
				out = append(out, r)
			}
		}
	}
	return out, nil
}
