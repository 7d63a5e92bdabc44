package eventlog

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog/rot"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// TwinDir is where the log keeps its second copy, below its directory: a node
// that is alone all of it, and every node its small files. It can be made again
// from the rest.
const TwinDir = "twin"

const (
	asideName  = "damaged-" // and the time: files that were set aside for the other nodes' copies
	scrubEvery = 24 * time.Hour
	scrubRate  = 16 << 20 // bytes a second
	noteEvery  = 500 * time.Millisecond
	reachTry   = 3 * time.Second
	fillTime   = time.Minute // after which what is not there won't come
)

// Integrity is what is known of the log's files on this node's disk.
type Integrity struct {
	Checked  time.Time // when they were last read whole
	Bytes    int64     // that were read then
	Damaged  int       // places found since the start
	Restored int       // entries and files that were put back since the start
	Ends     int       // of files that were not written out, as a power cut leaves them
	Lost     []string  // what could not be put back, in words
}

// Integrity says what was found in the log's files since the start.
func (l *Log) Integrity() Integrity {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.integrity
	i.Lost = slices.Clone(i.Lost)
	return i
}

// found notes and tells what was found; how is what becomes of it.
func (l *Log) found(f rot.Found, how string) {
	l.mu.Lock()
	l.integrity.Damaged += len(f.Places)
	l.integrity.Restored += f.Restored
	l.integrity.Ends += len(f.Ends)
	l.integrity.Lost = append(l.integrity.Lost, f.Lost...)
	l.mu.Unlock()
	for i, place := range f.Places {
		if i == 20 {
			l.lg.Error("and more places", "places", len(f.Places)-i)
			break
		}
		l.lg.Error("damaged on the disk: bytes of the log are not what was written", "where", place, "now", how)
	}
	for _, end := range f.Ends {
		l.lg.Warn("damaged at its end, as a kill, a full disk or a power cut leaves it: nothing that was acknowledged stood there", "where", end)
	}
	if f.Restored > 0 {
		l.lg.Warn("put back from the second copy", "records", f.Restored)
	}
	for _, what := range f.Lost {
		l.lg.Error("could not be put back (if it was acknowledged, it is lost; it may also have been erased, or never acknowledged)", "what", what)
	}
}

func (l *Log) checked(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.integrity.Checked, l.integrity.Bytes = time.Now(), n
}

func (l *Log) jetstreamDir() string { return filepath.Join(l.opts.Dir, "jetstream") }

// streamDir is where the server keeps a stream.
func (l *Log) streamDir(name string) string {
	return filepath.Join(l.jetstreamDir(), "$G", "streams", name)
}

// keepsakes makes the ledger of all small files of the log. Blocks have their
// own copies, and index.db is derived.
func (l *Log) keepsakes() *rot.Ledger {
	k := rot.NewLedger(l.opts.Dir, filepath.Join(l.opts.Dir, TwinDir, "files"), func(path string) bool {
		return path == TwinDir || path == stoppedFile || strings.HasPrefix(path, asideName) ||
			slices.Contains([]string{".blk", ".tmp", ".new", ".db"}, filepath.Ext(path)) || strings.Contains(path, "__") ||
			filepath.Base(path) == "commit.idx" // written in place, with a checksum of its own; a floor that may be missing
	})
	// What a queue has handed out and what was acknowledged. An older state of
	// it hands some out again, which answers nothing twice.
	k.Older = func(path string) bool { return strings.HasSuffix(path, "/"+turns+"/o.dat") }
	return k
}

// mendSmall puts back small files that have rotted.
func (l *Log) mendSmall() error {
	f, err := l.ledger.Mend()
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.found(f, "the file is put back from its copy")
	return nil
}

// hasBlocks reports whether entries of a stream are there, be its description
// there or not.
func (l *Log) hasBlocks(name string) bool {
	all, err := rot.Find(filepath.Join(l.streamDir(name), "msgs"), "", ".blk")
	return err == nil && len(all) > 0
}

// mend reads the log's files before the server sees them: it would cut a block
// where a byte is wrong, and everything after it would be gone. A node that is
// alone puts them together out of its two copies. A member of a cluster sets
// them aside and is filled by the others.
func (l *Log) mend(ctx context.Context) error {
	began := time.Now()
	clean, err := l.stoppedClean()
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	var total int64
	if l.cluster == nil {
		if total, err = l.mendStreams(clean); err != nil {
			return fmt.Errorf("open log: %w", err)
		}
	}
	f, err := rot.Check(ctx, l.jetstreamDir(), rot.How{Stopped: true, Killed: !clean, Known: l.cluster == nil})
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	total += f.Bytes
	needed := slices.DeleteFunc(slices.Clone(f.Places), rot.Derived)
	switch {
	case len(needed) == 0:
		l.found(f, "the log makes it again")
	case l.cluster == nil:
		l.found(f, "it is made again from what the log's blocks hold")
		for _, place := range needed {
			if err := l.dropDescription(place); err != nil {
				return fmt.Errorf("open log: %w", err)
			}
		}
	default:
		l.found(f, "this node's part of the log is filled again by the other regions")
		if err := l.setAside(ctx); err != nil {
			return fmt.Errorf("open log: %w", err)
		}
	}
	l.checked(total)
	if took := time.Since(began); took > time.Second {
		l.lg.Info("the log's files were read and are whole", "bytes", total, "took", took)
	}
	return nil
}

// A log that was stopped, and neither killed nor cut off its power, leaves a
// note: then every file is as it was meant to be.
const stoppedFile = "stopped"

const stoppedText = "stopped\n"

func (l *Log) stoppedClean() (bool, error) {
	path := filepath.Join(l.opts.Dir, stoppedFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = rot.Remove(path)
	}
	if string(b) != stoppedText && err == nil {
		l.found(rot.Found{Places: []string{path}}, "the log is checked as after a kill")
	}
	return string(b) == stoppedText, err
}

func (l *Log) noteStopped() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, t := range l.twins {
		errs = append(errs, t.Close())
	}
	if err := errors.Join(append(errs, l.ledger.Note())...); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(l.opts.Dir, stoppedFile), []byte(stoppedText), 0o600); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// mendStreams puts every stream together out of its two copies.
func (l *Log) mendStreams(clean bool) (read int64, err error) {
	names := map[string]bool{}
	for _, dir := range []string{filepath.Dir(l.streamDir("x")), filepath.Join(l.opts.Dir, TwinDir)} {
		all, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		for _, e := range all {
			names[e.Name()] = e.IsDir() && e.Name() != "files"
		}
	}
	for name, is := range names {
		if !is {
			continue
		}
		f, err := l.twin(name).Mend(clean)
		if err != nil {
			return 0, err
		}
		l.found(f, "it is put back from the second copy")
		read += f.Bytes
	}
	return read, nil
}

// twin returns the second copy of a stream.
func (l *Log) twin(stream string) *rot.Twin {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.twins[stream]
	if t == nil {
		t = rot.NewTwin(stream, l.streamDir(stream), filepath.Join(l.opts.Dir, TwinDir, stream))
		l.twins[stream] = t
	}
	return t
}

// double makes sure that what was stored is in the second copy. A copy that
// can't be written is told of and made good later: the entry is durable all the
// same.
func (l *Log) double(stream string, seq uint64) {
	if l.cluster != nil {
		return
	}
	defer l.horizonOf(stream).reach(seq)
	if err := l.twin(stream).Copy(); err != nil {
		l.lg.Error("the log's second copy can't be written; it is made good when it can", "err", err)
	}
}

// dropDescription removes a description of a stream or of its queue that can't
// be read, so that it is made again. A queue that is new hands out again what
// was asked; what was answered is not answered twice.
func (l *Log) dropDescription(place string) error {
	dir := filepath.Dir(place)
	if filepath.Base(filepath.Dir(dir)) == "obs" {
		return os.RemoveAll(dir)
	}
	for _, name := range []string{"meta.inf", "meta.sum"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// setAside moves the log's files out of the way, so that the node comes up
// empty and the others fill it. What only these files hold must not be thrown
// away while the others are not there: so it waits for a majority of nodes
// besides this one, and a node that waits here counts for nobody.
func (l *Log) setAside(ctx context.Context) error {
	need := min(len(l.cluster.Nodes)-1, len(l.cluster.Nodes)/2+1)
	for told := (time.Time{}); ; {
		there := l.inReach(ctx)
		if there >= need {
			break
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			l.lg.Error("this node's part of the log is damaged and waits for the others to be filled by them", "in_reach", there, "needed", need)
		}
		if pause.For(ctx, 200*time.Millisecond) != nil {
			return fault.New(fault.Unavailable, "this node's part of the log in %s is damaged, and %d of the %d other nodes that could fill it again are in reach; start them first. "+
				"If they are damaged too, copy all their data directories before anything else", l.opts.Dir, there, need)
		}
	}
	aside := filepath.Join(l.opts.Dir, asideName+strconv.FormatInt(time.Now().UnixNano(), 10))
	if err := os.Rename(l.jetstreamDir(), aside); err != nil {
		return err
	}
	l.lg.Warn("the damaged files were set aside until the node has everything from the others", "dir", aside)
	return nil
}

// inReach counts the other nodes whose logs answer.
func (l *Log) inReach(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, reachTry)
	defer cancel()
	answers := make(chan bool)
	asked := 0
	for _, n := range l.cluster.Nodes {
		if n.Name != l.opts.Node {
			asked++
			go func() { answers <- l.reaches(ctx, n) }()
		}
	}
	there := 0
	for range asked {
		if <-answers {
			there++
		}
	}
	return there
}

// reaches reports whether a node's log answers: it shakes hands, or says INFO.
func (l *Log) reaches(ctx context.Context, n Node) bool {
	if l.cluster.TLS != nil {
		cfg := l.cluster.TLS.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(n.Address)
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", n.Address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.Address)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if d, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(d)
	}
	line, err := bufio.NewReader(conn).ReadString(' ')
	return err == nil && line == "INFO "
}

// settleAside compares what was set aside with what the others gave: when they
// had everything, it is removed, and when not, it stays and is told of.
func (l *Log) settleAside(ctx context.Context) {
	dirs, err := rot.Find(l.opts.Dir, asideName, "")
	if err != nil || len(dirs) == 0 {
		return
	}
	for !l.filled() {
		if pause.For(ctx, lookEvery) != nil {
			return
		}
	}
	for _, dir := range dirs {
		only, err := l.onlyIn(ctx, dir)
		for late := time.Now().Add(fillTime); (err != nil || len(only) > 0) && ctx.Err() == nil && time.Now().Before(late); {
			_ = pause.For(ctx, lookEvery) // this node's copy may still be on its way
			only, err = l.onlyIn(ctx, dir)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.lg.Warn("the damaged files can't be compared with what the others gave; they stay until the next start", "dir", dir, "err", err)
		case len(only) > 0:
			l.found(rot.Found{Lost: only}, "")
			l.lg.Error("entries that the other regions don't have are in the damaged files, which are kept", "dir", dir, "entries", len(only))
		default:
			if err := os.RemoveAll(dir); err != nil {
				l.lg.Warn("damaged files can't be removed", "dir", dir, "err", err)
				continue
			}
			l.lg.Info("this node's part of the log is whole again: the other regions had everything", "was", dir)
		}
	}
}

// filled reports whether this node has all of every stream.
func (l *Log) filled() bool {
	if l.member() != nil {
		return false
	}
	for _, st := range l.State().Streams {
		i := slices.IndexFunc(st.Replicas, func(r Replica) bool { return r.Node == l.opts.Node })
		if !st.Quorum || i >= 0 && (!st.Replicas[i].Current || st.Replicas[i].Lag > 0) {
			return false
		}
	}
	return true
}

// onlyIn lists the entries that stand in the files of a directory and not in
// the log.
func (l *Log) onlyIn(ctx context.Context, dir string) ([]string, error) {
	var out []string
	for s := range l.streams() {
		old, err := rot.Read(s.name, filepath.Join(dir, "$G", "streams", s.name))
		if err != nil {
			return nil, err
		}
		have := map[uint64]uint64{} // sequence to checksum
		for from, more := uint64(1), len(old) > 0; more; {
			last, n, err := l.readSome(ctx, s.name, streamSubjects(s.name), from, func(e event.Entry) error {
				if !e.Damaged {
					have[e.Seq] = e.Sum
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			from, more = last+1, n == readBatch
		}
		for _, r := range old {
			sum, ok := have[r.Seq]
			if ok && strings.Contains(string(r.Header), fmt.Sprintf("\r\n%s: %x\r\n", hdrSum, sum)) || l.wasDeleted(ctx, r.Subject) {
				continue
			}
			out = append(out, fmt.Sprintf("%s, entry %d (%s)", s.name, r.Seq, r.Subject))
		}
	}
	return out, nil
}

// wasDeleted reports whether a subject's conversation is deleted: its entries
// are gone because somebody wanted it.
func (l *Log) wasDeleted(ctx context.Context, subject string) bool {
	conversation, _, err := parseSubject(subject)
	if err != nil {
		return false
	}
	gone := false
	err = l.Read(ctx, conversation, 0, func(e event.Entry) error {
		gone = gone || e.Event.Kind == event.KindDeleted
		return nil
	})
	return err == nil && gone
}

// watchFiles keeps the copies of small files and reads all files now and then.
func (l *Log) watchFiles(ctx context.Context) {
	note, scrub := time.NewTicker(noteEvery), time.NewTicker(l.opts.Scrub)
	defer note.Stop()
	defer scrub.Stop()
	failed := false
	for {
		err := l.ledger.Note()
		if err != nil && !failed {
			l.lg.Warn("the copies of the log's small files are not being kept", "err", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-note.C:
		case <-scrub.C:
			if _, err := l.Scrub(ctx); err != nil && ctx.Err() == nil {
				l.lg.Warn("the log's files can't be read", "err", err)
			}
		}
	}
}

// Scrub reads all files of the log. If one is damaged the log is down for a
// moment and starts again, which mends it.
func (l *Log) Scrub(ctx context.Context) (damaged int, err error) {
	var all rot.Found
	for _, dir := range []string{l.jetstreamDir(), filepath.Join(l.opts.Dir, TwinDir)} {
		f, err := rot.Check(ctx, dir, rot.How{Rate: scrubRate})
		if err != nil {
			return 0, err
		}
		all.Add(f)
	}
	l.checked(all.Bytes)
	damaged = len(slices.DeleteFunc(all.Places, rot.Derived))
	if damaged > 0 {
		l.rotten.Store(true)
	}
	return damaged, nil
}
