// Package storetest holds the suite that every driver of a store passes: each
// sentence of store.Store's contract as a test.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/store"
)

// Driver is what the suite needs to know of one.
type Driver struct {
	// Open opens the store that belongs to dir, with what is in it. It may be
	// called again after Close and, for another process' sake, before.
	Open func(dir string) (store.Store, error)
	// InDir says that all of the store's bytes lie in dir, so that the suite
	// looks for deleted text in the files there.
	InDir bool
	// OpenCopy opens what Backup wrote. Required.
	OpenCopy func(path string) (store.Store, error)
	// Damage makes the closed store of dir unreadable in one of its ways; nil
	// for a driver whose server looks after that.
	Damage map[string]func(t *testing.T, dir string)
	// Full makes the disk under an open store full, or roomy again; nil if that
	// can't be made to happen.
	Full func(t *testing.T, s store.Store, full bool)
}

// Run runs the suite.
func Run(t *testing.T, d Driver) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Driver)
	}{
		{"ApplyAndRead", testApplyAndRead},
		{"Position", testPosition},
		{"AllOrNothing", testAllOrNothing},
		{"Idempotent", testIdempotent},
		{"Titles", testTitles},
		{"Marks", testMarks},
		{"Kept", testKept},
		{"NoGhosts", testNoGhosts},
		{"OddText", testOddText},
		{"OwnersApart", testOwnersApart},
		{"Paging", testPaging},
		{"PagingWhileWriting", testPagingWhileWriting},
		{"Turns", testTurns},
		{"Search", testSearch},
		{"SearchAnyQuery", testSearchAnyQuery},
		{"SearchAgreesWithHolds", testSearchAgreesWithHolds},
		{"SearchFollowsOwner", testSearchFollowsOwner},
		{"Delete", testDelete},
		{"DeleteLeavesNoTrace", testDeleteLeavesNoTrace},
		{"DeleteWithReader", testDeleteWithReader},
		{"Dump", testDump},
		{"Backup", testBackup},
		{"BackupWhileWriting", testBackupWhileWriting},
		{"Concurrent", testConcurrent},
		{"CancelledContext", testCancelledContext},
		{"Closed", testClosed},
		{"Damaged", testDamaged},
		{"FullDisk", testFullDisk},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, d) })
	}
}

// The world of the tests.
const (
	stream = "CONV_local_0"
	alice  = "alice"
	bob    = "bob"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC)

func at(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }

func open(t *testing.T, d Driver, dir string) store.Store {
	t.Helper()
	s, err := d.Open(dir)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// writer applies changes one batch after the other.
type writer struct {
	t   *testing.T
	s   store.Store
	seq uint64
}

func (w *writer) apply(changes ...store.Change) {
	w.t.Helper()
	w.seq += uint64(len(changes)) + 1 // sequences have gaps
	if err := w.s.Apply(w.t.Context(), stream, store.Position{Seq: w.seq, Sum: w.seq * 7}, changes); err != nil {
		w.t.Fatalf("apply: %v", err)
	}
}

func conversation(owner, id string, n int) store.Change {
	return store.Change{Conversation: &store.Conversation{ID: id, Owner: owner, Bot: "bot", Channel: "web", Created: at(n), Updated: at(n)}}
}

func said(conv, id, text string, n int) store.Change {
	return store.Change{Activity: &store.ActivityRow{Conversation: conv, Seq: uint64(n), At: at(n), Activity: activity.Activity{
		Type: activity.TypeMessage, ID: id, Text: text, Timestamp: at(n), From: &activity.Account{ID: alice, Role: "user"},
	}}}
}

func turn(conv, id string, n int, state event.State) store.Change {
	return store.Change{Turn: &store.TurnRow{Conversation: conv, ID: id, Seq: uint64(n), ReplyTo: "a" + id, State: state, Updated: at(n)}}
}

func dump(t *testing.T, s store.Store) []string {
	t.Helper()
	var lines []string
	if err := s.Dump(t.Context(), func(line string) error { lines = append(lines, line); return nil }); err != nil {
		t.Fatalf("dump: %v", err)
	}
	return lines
}

func found(t *testing.T, s store.Store, owner, query string) []string {
	t.Helper()
	hits, err := s.Search(t.Context(), owner, query, "", 200)
	if err != nil {
		t.Fatalf("search %q: %v", query, err)
	}
	ids := []string{}
	for _, h := range hits {
		ids = append(ids, h.Activity)
	}
	return ids
}

func list(ctx context.Context, s store.Store, owner string, limit int) (ids []string, err error) {
	cursor := ""
	for {
		page, next, err := s.Conversations(ctx, owner, store.Filter{}, cursor, limit)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			ids = append(ids, c.ID)
		}
		if next == "" {
			return ids, nil
		}
		if next == cursor || len(ids) > 100_000 {
			return nil, errors.New("the pages don't end")
		}
		cursor = next
	}
}
