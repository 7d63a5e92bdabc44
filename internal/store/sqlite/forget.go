package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/store"
)

// delete removes a conversation's rows. secure_delete overwrites their bytes
// with zeros; forgetWords and scrub see to what that does not reach.
func (b *batch) delete(ctx context.Context, id string) error {
	num, _, err := b.find(ctx, id)
	if err != nil || num == 0 {
		return err
	}
	if err := b.index(ctx); err != nil {
		return err
	}
	if err := b.noteWords(ctx, num); err != nil {
		return err
	}
	b.forgot = true
	for _, st := range []*sql.Stmt{b.stmt.dropSearch, b.stmt.dropActs, b.stmt.dropTurns, b.stmt.drop} {
		if _, err := b.exec(ctx, st, num); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) noteWords(ctx context.Context, num int64) error {
	rows, err := b.tx.StmtContext(ctx, b.stmt.words).QueryContext(ctx, num)
	if err != nil {
		return err
	}
	defer rows.Close()
	if b.gone == nil {
		b.gone = map[string]struct{}{}
	}
	for rows.Next() {
		var words string
		if err := rows.Scan(&words); err != nil {
			return err
		}
		for word := range strings.FieldsSeq(words) {
			b.gone[word] = struct{}{}
		}
	}
	return rows.Err()
}

// forgetWords looks for deleted words that the search index still shows. Its
// pages are found by separators: beginnings of words that were once the first
// of their page, which stay when the word goes. If one of them is the
// beginning of a deleted word and of no other, the index is written anew,
// which makes separators from the words that are there. That is rare: a page
// holds hundreds of words, and most are in other conversations too.
func (b *batch) forgetWords(ctx context.Context) error {
	if len(b.gone) == 0 {
		return nil
	}
	words := make([]string, 0, len(b.gone))
	for w := range b.gone {
		words = append(words, w)
	}
	slices.Sort(words)
	// The index holds changes back in memory until a savepoint or the commit.
	if _, err := b.tx.ExecContext(ctx, `SAVEPOINT flush; RELEASE flush`); err != nil {
		return err
	}
	separators, err := b.separators(ctx)
	if err != nil {
		return err
	}
	for _, sep := range separators {
		i, _ := slices.BinarySearch(words, sep)
		if i == len(words) || !strings.HasPrefix(words[i], sep) {
			continue
		}
		var n int
		if err := b.tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM search WHERE search MATCH ? LIMIT 1)`, `"`+sep+`" *`).Scan(&n); err != nil {
			return fmt.Errorf("look for separator: %w", err)
		}
		if n == 0 {
			return b.rewriteIndex(ctx)
		}
	}
	return nil
}

// separators returns the index's page separators of more than two bytes.
func (b *batch) separators(ctx context.Context) ([]string, error) {
	rows, err := b.tx.QueryContext(ctx, `SELECT substr(term, 2) FROM search_idx WHERE length(term) > 3`) // the first byte says which index
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var term []byte
		if err := rows.Scan(&term); err != nil {
			return nil, err
		}
		out = append(out, string(term))
	}
	return out, rows.Err()
}

// rewriteIndex merges the whole index into new pages. One that is in one piece
// already would be left alone, hence the row that makes it two.
func (b *batch) rewriteIndex(ctx context.Context) error {
	_, err := b.tx.ExecContext(ctx, `INSERT INTO search (rowid, owner, words) VALUES (-1, '', '0');
		INSERT INTO search (search) VALUES ('optimize');
		DELETE FROM search WHERE rowid = -1`)
	return err
}

// scrub moves everything from the write-ahead log into the file and cuts the
// log to nothing: it still holds the pages as they were before a Delete. A
// long reader can hold it up; then it is tried again with a later Apply, and at
// the latest by Close or the next Open.
func (s *Store) scrub(ctx context.Context) {
	s.scrubDue.Store(store.Nanos(time.Now()))
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", scrubTimeout.Milliseconds()))
	var busy, pages, moved int
	if err == nil {
		err = conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &pages, &moved)
	}
	if _, err2 := conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds())); err == nil {
		err = err2
	}
	if err != nil || busy != 0 {
		s.lg.Debug("write-ahead log not emptied yet", "busy", busy, "err", err)
		return
	}
	s.scrubDue.Store(0)
}

// scrubAgain is scrub, at most once a second.
func (s *Store) scrubAgain(ctx context.Context) {
	if time.Since(time.Unix(0, s.scrubDue.Load())) > time.Second {
		s.scrub(ctx)
	}
}
