package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/activity"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

func open1(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t *testing.T, s *Store, seq uint64, changes ...store.Change) {
	t.Helper()
	if err := s.Apply(t.Context(), "S", store.Position{Seq: seq}, changes); err != nil {
		t.Fatal(err)
	}
}

func conversation(id string) store.Change {
	return store.Change{Conversation: &store.Conversation{ID: id, Owner: "alice", Created: time.Unix(1, 0), Updated: time.Unix(1, 0)}}
}

func said(conv, id, text string) store.Change {
	return store.Change{Activity: &store.ActivityRow{Conversation: conv, Seq: 1, At: time.Unix(2, 0), Activity: activity.Activity{Type: "message", ID: id, Text: text}}}
}

// raw runs statements on a file without the store.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, st := range statements {
		if _, err := db.Exec(st); err != nil {
			t.Fatalf("%s: %v", st, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("a store without a path was opened")
	}
	for _, c := range []struct {
		name, statement string
		code            fault.Code
		says            string
	}{
		{"newer", `PRAGMA application_id = 1347570777; PRAGMA user_version = 999`, fault.Unsupported, "newer Parley (schema 999, this one knows up to "},
		{"foreign", `CREATE TABLE t (x); INSERT INTO t VALUES (1)`, fault.Unavailable, "another program"},
		{"foreign with a version", `PRAGMA user_version = 1`, fault.Unavailable, "another program"},
		{"foreign with an id", `PRAGMA application_id = 12345`, fault.Unavailable, "another program"},
	} {
		path := filepath.Join(t.TempDir(), "store.db")
		raw(t, path, c.statement)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), Options{Path: path})
		if !fault.Is(err, c.code) || !strings.Contains(fault.MessageOf(err), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		after, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the file was changed (%v)", c.name, err)
		}
	}
	if _, err := Open(t.Context(), Options{Path: t.TempDir()}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a directory as the file: %v", err)
	}
}

// TestOpenTogether: two processes may start on a new file at the same moment.
func TestOpenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "store ? #%41.db")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := Open(t.Context(), Options{Path: path})
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if err := errors.Join(s.Health(t.Context()), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", st.Mode())
	}
}

func TestMigrationNames(t *testing.T) {
	names, err := migrationNames()
	if err != nil || len(names) == 0 {
		t.Fatalf("migrations = %v, %v", names, err)
	}
}

// TestSeparators deletes conversations whose words stand in the index's own
// page separators, where deleting rows does not reach.
func TestSeparators(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open1(t, path)
	rng := rand.New(rand.NewPCG(1, 1))
	owner := map[string]string{} // word -> conversation
	const n = 150
	for i := range n {
		id := fmt.Sprintf("c%d", i)
		var text strings.Builder
		for range 60 {
			// Siblings, so that a separator needs the whole of the word.
			word := fmt.Sprintf("family%04dword%c", rng.IntN(3000), 'a'+rng.IntN(20))
			if owner[word] == "" {
				owner[word] = id
				text.WriteString(word + " ")
			}
		}
		put(t, s, uint64(i+1), conversation(id), said(id, "a", text.String()))
	}
	separators := func() (out []string) {
		tx, err := s.write.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		out, err = (&batch{tx: tx, stmt: &s.stmt}).separators(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	tried, deleted := 0, map[string]bool{}
	for seq := uint64(n + 1); tried < 10; seq++ {
		word := ""
		for _, sep := range separators() {
			if conv := owner[sep]; conv != "" && !deleted[conv] {
				word = sep
				break
			}
		}
		if word == "" {
			break
		}
		tried++
		deleted[owner[word]] = true
		put(t, s, seq, store.Change{Delete: owner[word]})
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(word)) {
			t.Fatalf("the separator %q is still in the file", word)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if tried == 0 {
		t.Fatal("no separator was a whole word: this test tests nothing")
	}
	for word, conv := range owner {
		if rng.IntN(40) != 0 {
			continue
		}
		hits, err := s.Search(t.Context(), "alice", word, "", 5)
		if want := !deleted[conv]; err != nil || (len(hits) == 1) != want {
			t.Errorf("search %q finds %d, %v, want found %v", word, len(hits), err, want)
		}
	}
}

// TestScrubAfterCrash: what a Delete leaves in the write-ahead log when the
// process dies right after it is gone after the next Open.
func TestScrubAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := open1(t, filepath.Join(dir, "store.db"))
	put(t, s, 1, conversation("c1"), said("c1", "a1", "topsecretword"))
	if _, err := s.apply(t.Context(), "S", store.Position{Seq: 2}, []store.Change{{Delete: "c1"}}); err != nil { // without its scrub
		t.Fatal(err)
	}
	crashed := t.TempDir() // the files as they would be found
	for _, name := range []string{"store.db", "store.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(crashed, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	holds := func() bool {
		for _, name := range []string{"store.db", "store.db-wal"} {
			if b, _ := os.ReadFile(filepath.Join(crashed, name)); bytes.Contains(b, []byte("topsecretword")) {
				return true
			}
		}
		return false
	}
	if !holds() {
		t.Fatal("the word is nowhere in the crashed files: this test tests nothing")
	}
	again := open1(t, filepath.Join(crashed, "store.db"))
	if holds() {
		t.Error("the deleted word is still in the files after Open")
	}
	if known, err := again.Known(t.Context(), "c1"); known || err != nil {
		t.Errorf("the deleted conversation is back: %v", err)
	}
}

// TestLongQueryEnds: a read that takes long ends soon after its context.
func TestLongQueryEnds(t *testing.T) {
	s := open1(t, filepath.Join(t.TempDir(), "store.db"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	err := s.each(ctx, s.read, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n`, nil, func(scan func(...any) error) error { return nil })
	if err := s.fault(ctx, "count", err); !fault.Is(err, fault.Canceled) {
		t.Errorf("an endless query ended with %v", err)
	}
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestRealFullDisk fills a real, small file system.
func TestRealFullDisk(t *testing.T) {
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("set PARLEY_TEST_REAL=1 (needs Linux and the right to mount)")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small file system can't be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	s := open1(t, filepath.Join(dir, "store.db"))
	t.Cleanup(func() { _ = s.Close() }) // before umount
	put(t, s, 1, conversation("c1"), said("c1", "a0", "first"))
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("some words to fill the disk ", 300)
	seq, full := uint64(2), false
	for ; seq < 2000 && !full; seq++ {
		err := s.Apply(t.Context(), "S", store.Position{Seq: seq}, []store.Change{said("c1", fmt.Sprint("a", seq), text)})
		if full = fault.Is(err, fault.StorageFull); err != nil && !full {
			t.Fatalf("apply %d: %v", seq, err)
		}
	}
	if !full {
		t.Fatal("the disk never got full")
	}
	acts, err := s.Activities(t.Context(), "alice", "c1")
	hits, err2 := s.Search(t.Context(), "alice", "words", "", 5)
	if err := errors.Join(err, err2); err != nil || len(acts) != int(seq-2) || len(hits) != 5 {
		t.Errorf("reads on a full disk: %d activities, %d hits, %v", len(acts), len(hits), err)
	}
	for range 3 {
		if err := s.Apply(t.Context(), "S", store.Position{Seq: seq}, []store.Change{said("c1", "again", text)}); !fault.Is(err, fault.StorageFull) {
			t.Errorf("still full: %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	put(t, s, seq, said("c1", "again", text))
	put(t, s, seq+1, store.Change{Delete: "c1"})
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
