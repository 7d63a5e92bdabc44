package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"strings"
	"sync"

	lite "modernc.org/sqlite"

	"github.com/parleyhq/parley/internal/fault"
)

// parts are the tables and what the checksum of a row is made of.
func parts() map[string]string {
	return map[string]string{
		"conversations": `id, owner, bot, channel, title, chosen, hidden, pinned, archived, trashed, created, updated, tags, share`,
		"activities":    `conversation, seq, id, at, body`,
		"turns": `conversation, id, seq, reply_to, attempt, claim, state, open, finish, code, error,
			prompt, completion, cached, model, engine, updated`,
		"positions": `stream, seq, sum`,
	}
}

var errRotten = errors.New("a row is not what was written")

// ErrDamaged is in the chain of every error that says that the file can't be
// trusted.
var ErrDamaged = errors.New("damaged")

// checkHeader looks at those bytes of the file's beginning that are the same in
// every store. SQLite would take a few other values there for another format,
// another program's file, or one that is not to be written. A file in which
// most of it differs is left to SQLite to name.
func (s *Store) checkHeader() error {
	b := make([]byte, 100)
	f, err := os.Open(s.path)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the store's file %s can't be opened", s.path)
	}
	defer func() { _ = f.Close() }()
	if _, err := io.ReadFull(f, b); err != nil {
		return nil // new, or too short for SQLite too
	}
	wrong := 0
	for at, want := range map[int]string{0: "SQLite format 3\x00\x10\x00", 20: "\x00\x40\x20\x20", 52: "\x00\x00\x00\x00\x00\x00\x00", 64: "\x00\x00\x00\x00PRLY", 72: strings.Repeat("\x00", 20)} {
		for i := range len(want) {
			if b[at+i] != want[i] {
				wrong++
			}
		}
	}
	if b[59] > 1 { // UTF-8, or nothing yet
		wrong++
	}
	for _, at := range []int{18, 19} { // 1 before the write-ahead log was chosen
		if b[at] != 1 && b[at] != 2 {
			wrong++
		}
	}
	if wrong == 0 || wrong > 3 {
		return nil
	}
	return s.damaged(fmt.Errorf("%d bytes of its header", wrong))
}

// register makes row_crc known to every connection of the process, once.
var register = sync.OnceValue(func() error {
	return lite.RegisterDeterministicScalarFunction("row_crc", -1, func(_ *lite.FunctionContext, args []driver.Value) (driver.Value, error) {
		return rowCRC(args)
	})
})

// rowCRC is the checksum of a row's values, each with its type and length. It
// finds any one byte that changes, and any 32 bits in a row.
func rowCRC(args []driver.Value) (int64, error) {
	var b []byte
	for _, a := range args {
		switch v := a.(type) {
		case nil:
			b = append(b, 'n')
		case int64:
			b = binary.LittleEndian.AppendUint64(append(b, 'i'), uint64(v))
		case float64:
			b = binary.LittleEndian.AppendUint64(append(b, 'f'), math.Float64bits(v))
		case string:
			b = append(binary.LittleEndian.AppendUint64(append(b, 't'), uint64(len(v))), v...)
		case []byte:
			b = append(binary.LittleEndian.AppendUint64(append(b, 'b'), uint64(len(v))), v...)
		default:
			return 0, fmt.Errorf("row_crc: a value of type %T", a)
		}
	}
	return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), nil
}

// Check reads everything and verifies it: pages, indexes, the search index,
// every row by its checksum, and that none is missing. It uses a connection of
// its own: on one that has searched before, the check of the search index goes
// by what the index was then and reports damage that isn't there (SQLite
// 3.54.1).
func (s *Store) Check(ctx context.Context) error {
	if s.closed.Load() {
		return fault.New(fault.Unavailable, "the store is closed")
	}
	db, err := open(s.path, 1, fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=query_only(1)&_pragma=cache_size(-%d)", busyTimeout.Milliseconds(), readCacheKiB))
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return s.odd(ctx, "check store", err)
	}
	defer func() { _ = tx.Rollback() }()
	var found []string
	err = s.each(ctx, tx, `PRAGMA integrity_check(10)`, nil, func(scan func(...any) error) error {
		var line string
		err := scan(&line)
		if err == nil && line != "ok" {
			found = append(found, line)
		}
		return err
	})
	if err != nil {
		return s.odd(ctx, "check store", err)
	}
	for table, columns := range parts() {
		var n, crcs, bad, wantN, wantCRCs int64
		err := tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*), coalesce(sum(crc), 0), coalesce(sum(crc <> row_crc(%s)), 0) FROM %s`, columns, table)).Scan(&n, &crcs, &bad)
		if err == nil {
			err = tx.QueryRowContext(ctx, `SELECT n, crcs FROM digest WHERE part = ?`, table).Scan(&wantN, &wantCRCs)
		}
		if errors.Is(err, sql.ErrNoRows) {
			found = append(found, fmt.Sprintf("nothing says how many rows %s should have", table))
			continue
		}
		if err != nil {
			return s.odd(ctx, "check store", err)
		}
		switch {
		case bad > 0:
			found = append(found, fmt.Sprintf("%d rows of %s are not what was written", bad, table))
		case n != wantN || crcs != wantCRCs:
			found = append(found, fmt.Sprintf("%s has %d rows and should have %d, or other ones", table, n, wantN))
		}
	}
	if len(found) > 0 {
		return s.damaged(errors.New(strings.Join(found, "; ")))
	}
	return nil
}

// Remove removes a store that nobody has open, with the files beside it.
func Remove(path string) error {
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove store: %w", err)
		}
	}
	return nil
}
