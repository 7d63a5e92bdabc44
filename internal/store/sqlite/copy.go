package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

// Dump calls each with every row, all of one moment.
func (s *Store) Dump(ctx context.Context, each func(line string) error) error {
	tx, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return s.fault(ctx, "dump store", err)
	}
	defer func() { _ = tx.Rollback() }()
	var stopped error // by each: returned as it is
	emit := func(r store.Row) error {
		line, err := store.DumpLine(r)
		if err != nil {
			return err
		}
		stopped = each(line)
		return stopped
	}
	for _, part := range []struct {
		query string
		row   func(scan func(...any) error) (store.Row, error)
	}{
		{`SELECT ` + conversationColumns + ` FROM conversations ORDER BY id`, dumpConversation},
		{`SELECT c.id, a.seq, a.at, a.body, ` + activityWhole + ` FROM activities a JOIN conversations c ON c.num = a.conversation ORDER BY c.id, a.seq, a.id`, dumpActivity},
		{`SELECT ` + turnColumns + ` ORDER BY c.id, t.seq, t.id`, dumpTurn},
		{`SELECT stream, seq, sum FROM positions ORDER BY stream`, dumpPosition},
	} {
		err := s.each(ctx, tx, part.query, nil, func(scan func(...any) error) error {
			r, err := part.row(scan)
			if err != nil {
				return err
			}
			return emit(r)
		})
		if stopped != nil {
			return stopped
		}
		if err != nil {
			return s.fault(ctx, "dump store", err)
		}
	}
	return nil
}

func dumpConversation(scan func(...any) error) (store.Row, error) {
	c, chosen, err := scanConversation(scan)
	return store.Row{Conversation: &c, Chosen: chosen}, err
}

func dumpActivity(scan func(...any) error) (store.Row, error) {
	var a store.ActivityRow
	var seq, at int64
	var body []byte
	var whole bool
	err := scan(&a.Conversation, &seq, &at, &body, &whole)
	if err := rotten(err, whole); err != nil {
		return store.Row{}, err
	}
	a.Seq, a.At = uint64(seq), store.FromNanos(at)
	a.Activity, err = store.DecodeActivity(body)
	return store.Row{Activity: &a}, err
}

func dumpTurn(scan func(...any) error) (store.Row, error) {
	t, err := scanTurn(scan)
	return store.Row{Turn: &t}, err
}

func dumpPosition(scan func(...any) error) (store.Row, error) {
	var r store.Row
	var seq, sum int64
	err := scan(&r.Stream, &seq, &sum)
	r.Position = &store.Position{Seq: uint64(seq), Sum: uint64(sum)}
	return r, err
}

// Backup writes a copy of one moment to path, which must not exist. The copy
// is complete, flushed to the disk and free of what was deleted.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	placeholder, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fault.Wrap(err, fault.Conflict, "%s is there already; name a new file for the backup", path)
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the backup can't be written to %s: %s", path, reason(err))
	}
	part := path + ".part"
	defer func() {
		if err != nil {
			_ = os.Remove(part)
			_ = os.Remove(path)
		}
	}()
	if err := placeholder.Close(); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write backup: %w", err)
	}
	if err := s.copyTo(ctx, part); err != nil {
		return s.fault(ctx, "write backup", err)
	}
	if err := flush(part); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return flush(filepath.Dir(path))
}

// copyTo uses a connection of its own: readers' connections refuse to write,
// and the writer's must stay free.
func (s *Store) copyTo(ctx context.Context, path string) error {
	db, err := open(s.path, 1, fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=cache_size(-%d)", busyTimeout.Milliseconds(), readCacheKiB))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
		return err
	}
	return os.Chmod(path, 0o600)
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("flush backup: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !isDir(f) { // not every system can flush a directory
		return fmt.Errorf("flush backup: %w", err)
	}
	return nil
}

func isDir(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.IsDir()
}

// reason is the part of a file error that tells no more than why.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return "it can't be opened"
}
