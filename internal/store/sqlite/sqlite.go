// Package sqlite keeps the store in one SQLite file, by a pure-Go build of
// SQLite: no server, no C compiler. It is the only package that knows SQLite.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
	"github.com/parleyhq/parley/internal/store"
)

// Options of a store. Path is required.
type Options struct {
	Path   string       // the database file; made with its directory if it isn't there
	Logger *slog.Logger // nil = discard
	// OnDamage, if set, is called when the file turns out to be damaged: from
	// any goroutine, and each time.
	OnDamage func(cause error)
}

// Store is an open database. It satisfies store.Store.
type Store struct {
	path     string
	lg       *slog.Logger
	onDamage func(error)

	// SQLite has one writer at a time, so there is one connection for it;
	// readers see the last commit and never wait for it (write-ahead log).
	write *sql.DB
	read  *sql.DB
	stmt  statements // prepared on write

	closed   atomic.Bool
	scrubDue atomic.Int64 // Nanos of the last attempt to empty the write-ahead log after a Delete, 0 = nothing due
}

var _ store.Store = (*Store)(nil)

const (
	busyTimeout  = 5 * time.Second
	scrubTimeout = 200 * time.Millisecond
	readers      = 4
	// Pages kept in memory by a connection. Five connections together stay
	// under 6 MiB; the operating system's file cache does the rest.
	writeCacheKiB = 2048
	readCacheKiB  = 768
	walLimit      = 4 << 20 // bytes the write-ahead log is cut to after a checkpoint
)

// Open opens or makes the store at opts.Path and brings its schema up to date.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.Path == "" {
		return nil, errors.New("open store: Path is empty")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := register(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &Store{path: path, lg: opts.Logger.With("part", "store"), onDamage: opts.OnDamage}
	if err := s.makeFile(); err != nil {
		return nil, err
	}
	if err := s.checkHeader(); err != nil {
		return nil, err
	}
	s.write, err = open(path, 1, writerSettings())
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(s.odd(ctx, "open store", err), s.write.Close())
	}
	s.read, err = open(path, readers, fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=query_only(1)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-%d)",
		busyTimeout.Milliseconds(), readCacheKiB))
	if err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	return s, nil
}

// writerSettings: synchronous=NORMAL means that a power cut may take back the
// last transactions (whole ones, the newest first), never tear one. The log has
// them, and the position went back with them, so the projector writes them
// again.
func writerSettings() string {
	return fmt.Sprintf("_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=synchronous(NORMAL)&_pragma=secure_delete(ON)&_pragma=recursive_triggers(ON)"+
		"&_pragma=temp_store(MEMORY)&_pragma=cache_size(-%d)&_pragma=journal_size_limit(%d)",
		busyTimeout.Milliseconds(), writeCacheKiB, walLimit)
}

func open(path string, conns int, settings string) (*sql.DB, error) {
	slash := filepath.ToSlash(path)
	if !strings.HasPrefix(slash, "/") {
		slash = "/" + slash // a Windows drive
	}
	c, err := driver.NewConnector("file:" + (&url.URL{Path: slash}).EscapedPath() + "?" + settings)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if conns > 1 {
		db.SetConnMaxIdleTime(time.Minute) // an idle node gives the memory back
	}
	return db, nil
}

// makeFile sees to it that the file is there and that only this user reads it;
// SQLite gives the files beside it the same rights.
func (s *Store) makeFile() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the store's file %s can't be opened for writing", s.path)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	return nil
}

// prepare migrates, compiles the writer's statements and finishes a scrub that
// a crash cut short: what a Delete left in the write-ahead log.
func (s *Store) prepare(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.stmt.compile(ctx, s.write); err != nil {
		return err
	}
	s.scrub(ctx)
	return nil
}

// settle brings the file into the form that this version wants, beside others
// who may be doing the same. SQLite waits for them, but not while one of them
// changes the mode or is the last to close the file.
func (s *Store) settle(ctx context.Context) error {
	for late := time.Now().Add(busyTimeout); ; {
		err := s.migrate(ctx)
		if err == nil { // only now is it known that the file is ours; the mode stays with the file
			_, err = s.write.ExecContext(ctx, `PRAGMA journal_mode = WAL`)
		}
		var lite *driver.Error
		if !errors.As(err, &lite) || lite.Code()&0xff != lib.SQLITE_BUSY || time.Now().After(late) {
			return err
		}
		if pause.For(ctx, 20*time.Millisecond) != nil {
			return err
		}
	}
}

// Close writes what is left in the write-ahead log into the file and closes it.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := errors.Join(s.read.Close(), s.stmt.close(), s.write.Close()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Health reports whether the database answers.
func (s *Store) Health(ctx context.Context) error {
	var n int
	err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM positions`).Scan(&n)
	return s.fault(ctx, "ask store", err)
}

// damaged is what is said of a store that can't be trusted. It is told to who
// wants to know, whoever met it.
func (s *Store) damaged(cause error) error {
	if s.onDamage != nil {
		s.onDamage(cause)
	}
	return fault.Wrap(errors.Join(ErrDamaged, cause), fault.Unavailable,
		"the store's file %s is damaged or not a store; the log has everything: a node that starts makes it again, as does `parley store rebuild`", s.path)
}

// odd is fault for statements that a file that is fine gives no plain error for.
func (s *Store) odd(ctx context.Context, doing string, err error) error {
	var plain *driver.Error
	if errors.As(err, &plain) && plain.Code() == lib.SQLITE_ERROR {
		return s.damaged(err)
	}
	return s.fault(ctx, doing, err)
}

// fault makes of SQLite's error what the contract promises. It keeps nil, an
// error of ctx and faults as they are.
func (s *Store) fault(ctx context.Context, doing string, err error) error {
	var known *fault.Error
	var lite *driver.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case errors.As(err, &known):
		return err
	case errors.Is(err, errRotten):
		return s.damaged(err)
	case s.closed.Load():
		return fault.Wrap(err, fault.Unavailable, "the store is closed")
	case !errors.As(err, &lite):
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch code := lite.Code(); {
	case code&0xff == lib.SQLITE_FULL, code == lib.SQLITE_IOERR_SHMSIZE:
		return fault.Wrap(err, fault.StorageFull, "the disk under %s is full: history can't be written there; free some space and it goes on by itself", s.path).After(5 * time.Second)
	case code&0xff == lib.SQLITE_CORRUPT, code&0xff == lib.SQLITE_NOTADB:
		return s.damaged(err)
	case code&0xff == lib.SQLITE_BUSY, code&0xff == lib.SQLITE_LOCKED:
		return fault.Wrap(err, fault.Unavailable, "the store %s is in use by another process; try again", s.path).After(time.Second)
	case code&0xff == lib.SQLITE_IOERR, code&0xff == lib.SQLITE_CANTOPEN, code&0xff == lib.SQLITE_READONLY, code&0xff == lib.SQLITE_PERM:
		return fault.Wrap(err, fault.Unavailable, "the store's file %s can't be read or written at the moment", s.path).After(time.Second)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
