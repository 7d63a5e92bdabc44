package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/store"
)

func testDelete(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	ctx := t.Context()
	w.apply(conversation(alice, "c1", 1), said("c1", "a1", "common apple", 2), turn("c1", "t1", 2, event.Queued))
	keep := dump(t, s)
	w.apply(conversation(alice, "c2", 3), said("c2", "a1", "common pear", 4), said("c2", "a2", "common plum", 5), turn("c2", "t1", 4, event.Running))
	w.apply(store.Change{Delete: "c2"})
	if diff := cmp.Diff(keep[:len(keep)-1], dump(t, s)[:len(keep)-1]); diff != "" {
		t.Errorf("after delete: %s", diff)
	}
	if _, err := s.Activities(ctx, alice, "c2"); !fault.Is(err, fault.NotFound) {
		t.Errorf("activities of a deleted conversation: %v", err)
	}
	if _, err := s.Turn(ctx, "c2", "t1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("turn of a deleted conversation: %v", err)
	}
	if got := found(t, s, alice, "common"); len(got) != 1 {
		t.Errorf("search after delete = %v", got)
	}
	// In one batch with what it removes, and with what follows.
	w.apply(conversation(alice, "c3", 6), said("c3", "a1", "brief", 7), store.Change{Delete: "c3"}, said("c3", "a2", "brief", 8), conversation(alice, "c4", 9), said("c4", "a1", "longer", 9))
	if got := found(t, s, alice, "brief"); len(got) != 0 {
		t.Errorf("search after delete in the same batch = %v", got)
	}
	if got := found(t, s, alice, "longer"); len(got) != 1 {
		t.Errorf("search after delete in the same batch = %v", got)
	}
	if err := s.Check(ctx); err != nil {
		t.Errorf("check: %v", err)
	}
}

// traces returns which files below dir hold any of the texts.
func traces(t *testing.T, dir string, texts ...string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(b, []byte(text)) {
				out = append(out, filepath.Base(path)+" holds "+text)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// secret returns a conversation full of words that are nowhere else, and those
// words.
func secret(conv string, n int, rng *rand.Rand) (changes []store.Change, words []string) {
	word := func() string {
		b := make([]byte, 10)
		for i := range b {
			b[i] = byte('a' + rng.IntN(26))
		}
		words = append(words, string(b))
		return string(b)
	}
	c := conversation(alice, conv, n)
	c.Conversation.Title = word()
	changes = append(changes, c)
	for i := range 6 {
		var text strings.Builder
		for range 15 {
			text.WriteString(word() + " ")
		}
		changes = append(changes, said(conv, fmt.Sprintf("a%d", i), text.String(), n+i))
	}
	tr := turn(conv, "t1", n, event.Failed)
	tr.Turn.Error = word()
	return append(changes, tr), words
}

func testDeleteLeavesNoTrace(t *testing.T, d Driver) {
	if !d.InDir {
		t.Skip("the driver's bytes are not in files here")
	}
	dir := t.TempDir()
	s := open(t, d, dir)
	w := &writer{t: t, s: s}
	rng := rand.New(rand.NewPCG(3, 4))
	words := map[string][]string{}
	for i := range 40 {
		id := fmt.Sprintf("conv-%03d", i)
		changes, mine := secret(id, i*10, rng)
		w.apply(changes...)
		words[id] = mine
	}
	if got := traces(t, dir, words["conv-030"][3]); len(got) == 0 {
		t.Fatal("the words are nowhere in the files before they are deleted: this test can't see them")
	}
	for i := range 40 {
		if i%7 == 3 {
			continue // these stay
		}
		id := fmt.Sprintf("conv-%03d", i)
		w.apply(store.Change{Delete: id})
		if got := traces(t, dir, append(words[id], id)...); len(got) != 0 {
			t.Fatalf("after deleting %s: %s", id, got)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	for i := 3; i < 40; i += 7 {
		for _, word := range words[fmt.Sprintf("conv-%03d", i)][1:5] {
			if got := found(t, s, alice, word); len(got) != 1 {
				t.Errorf("a word of a conversation that stays is found %d times", len(got))
			}
		}
	}
}

// testDeleteWithReader: a long reader may hold back the cleaning of the files,
// but not for good.
func testDeleteWithReader(t *testing.T, d Driver) {
	if !d.InDir {
		t.Skip("the driver's bytes are not in files here")
	}
	dir := t.TempDir()
	s := open(t, d, dir)
	w := &writer{t: t, s: s}
	changes, words := secret("conv", 1, rand.New(rand.NewPCG(5, 6)))
	w.apply(changes...)
	w.apply(conversation(alice, "stays", 9))
	n := 0
	err := s.Dump(t.Context(), func(string) error {
		if n++; n == 1 {
			w.apply(store.Change{Delete: "conv"})
		}
		return nil
	})
	if err != nil || n < 9 {
		t.Fatalf("the reader saw %d lines, %v", n, err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(traces(t, dir, words...)) != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("still there: %v", traces(t, dir, words...))
		}
		w.apply()
	}
}

func testBackup(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1), said("c1", "a1", "kept text", 2), turn("c1", "t1", 2, event.Ok))
	dir := t.TempDir()
	path := filepath.Join(dir, "copy with ? and %41.db")
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatalf("backup: %v", err)
	}
	if err := s.Backup(t.Context(), path); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second backup to the same file: %v, want conflict", err)
	}
	want := dump(t, s)
	w.apply(said("c1", "a2", "later", 3))
	c, err := d.OpenCopy(path)
	if err != nil {
		t.Fatalf("open copy: %v", err)
	}
	defer c.Close()
	if diff := cmp.Diff(want, dump(t, c)); diff != "" {
		t.Errorf("copy: %s", diff)
	}
	if got := found(t, c, alice, "kept"); len(got) != 1 {
		t.Errorf("search in the copy = %v", got)
	}
	if err := errors.Join(c.Check(t.Context()), c.Apply(t.Context(), stream, store.Position{Seq: 1000}, []store.Change{said("c1", "a9", "goes on", 9)})); err != nil {
		t.Errorf("the copy is no whole store: %v", err)
	}
	empty := t.TempDir()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(cancelled, filepath.Join(empty, "x")); !fault.Is(err, fault.Canceled) {
		t.Errorf("cancelled backup: %v", err)
	}
	if err := s.Backup(t.Context(), filepath.Join(empty, "no", "such", "dir")); err == nil {
		t.Error("backup into a directory that isn't there succeeded")
	}
	if left, err := os.ReadDir(empty); len(left) != 0 || err != nil {
		t.Errorf("failed backups left %v, %v", left, err)
	}
}

// testBackupWhileWriting: the copy is of one moment: as many activities as its
// position says.
func testBackupWhileWriting(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := s.Apply(ctx, stream, store.Position{Seq: 1}, []store.Change{conversation(alice, "c1", 1)}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := uint64(2); ctx.Err() == nil; seq++ {
			err := s.Apply(ctx, stream, store.Position{Seq: seq}, []store.Change{said("c1", fmt.Sprintf("a%d", seq), "text", int(seq))})
			if err != nil && ctx.Err() == nil {
				t.Errorf("apply during backup: %v", err)
			}
		}
	})
	dir := t.TempDir()
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := s.Backup(ctx, path); err != nil {
			t.Fatalf("backup: %v", err)
		}
		c, err := d.OpenCopy(path)
		if err != nil {
			t.Fatalf("open copy: %v", err)
		}
		pos, err := c.Position(ctx, stream)
		acts, err2 := c.Activities(ctx, alice, "c1")
		if err := errors.Join(err, err2, c.Check(ctx), c.Close()); err != nil || uint64(len(acts)) != pos.Seq-1 {
			t.Errorf("copy at %d has %d activities, %v", pos.Seq, len(acts), err)
		}
	}
	cancel()
	wg.Wait()
}

func testConcurrent(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	ctx := t.Context()
	const streams, each = 3, 40
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for n := range streams {
		writers.Go(func() {
			name, conv := fmt.Sprintf("S%d", n), fmt.Sprintf("c%d", n)
			for i := range each {
				changes := []store.Change{conversation(alice, conv, 1), said(conv, fmt.Sprintf("a%d", i), fmt.Sprintf("word%d common", i), i), turn(conv, "t", 1, event.Running)}
				if err := s.Apply(ctx, name, store.Position{Seq: uint64(i + 1)}, changes); err != nil {
					t.Errorf("apply: %v", err)
				}
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_, err1 := list(ctx, s, alice, 2)
				_, err2 := s.Search(ctx, alice, "common", "", 5)
				_, err3 := s.OpenTurns(ctx)
				if err := errors.Join(err1, err2, err3, s.Health(ctx)); err != nil {
					t.Errorf("read while writing: %v", err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	for n := range streams {
		acts, err := s.Activities(ctx, alice, fmt.Sprintf("c%d", n))
		if len(acts) != each || err != nil {
			t.Errorf("stream %d has %d activities, %v", n, len(acts), err)
		}
	}
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
}

func testCancelledContext(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1), said("c1", "a1", "text", 2))
	before := dump(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, listErr := s.Conversations(ctx, alice, store.Filter{}, "", 1)
	_, oneErr := s.Conversation(ctx, alice, "c1")
	_, actErr := s.Activities(ctx, alice, "c1")
	_, searchErr := s.Search(ctx, alice, "text", "", 1)
	_, posErr := s.Position(ctx, stream)
	_, turnErr := s.Turn(ctx, "c1", "t1")
	_, openErr := s.OpenTurns(ctx)
	for name, err := range map[string]error{
		"list": listErr, "one": oneErr, "activities": actErr, "search": searchErr, "position": posErr, "turn": turnErr, "open": openErr,
		"apply": s.Apply(ctx, stream, store.Position{Seq: 99}, []store.Change{{Delete: "c1"}}), "check": s.Check(ctx), "health": s.Health(ctx),
		"dump": s.Dump(ctx, func(string) error { return nil }),
	} {
		if !fault.Is(err, fault.Canceled) {
			t.Errorf("%s with a cancelled context: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("a cancelled Apply changed something: %s", diff)
	}
	// Cancelled anywhere in the middle: all of the batch or nothing, and asking
	// again makes it whole.
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 40 {
		var batch []store.Change
		for j := range 30 {
			batch = append(batch, said("c1", fmt.Sprintf("x%d-%d", i, j), "some text", i))
		}
		pos := store.Position{Seq: uint64(100 + i)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(3000))*time.Microsecond)
		_ = s.Apply(ctx, stream, pos, batch)
		cancel()
		got, err := s.Position(t.Context(), stream)
		acts, err2 := s.Activities(t.Context(), alice, "c1")
		applied := i
		if got == pos {
			applied++
		}
		if err := errors.Join(err, err2); err != nil || len(acts) != 1+30*applied {
			t.Fatalf("after a cancelled batch: position %v, %d activities, %v", got, len(acts), err)
		}
		if err := s.Apply(t.Context(), stream, pos, batch); err != nil {
			t.Fatalf("asking again: %v", err)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func testClosed(t *testing.T, d Driver) {
	s := open(t, d, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if _, err := s.Conversation(t.Context(), alice, "c1"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("read after close: %v", err)
	}
	if err := s.Apply(t.Context(), stream, store.Position{Seq: 1}, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("apply after close: %v", err)
	}
}

// testDamaged: a damaged store says so, clearly, when it is opened, read or
// checked, and never with another code than Unavailable.
func testDamaged(t *testing.T, d Driver) {
	if d.Damage == nil {
		t.Skip("the driver has no files of its own")
	}
	for name, damage := range d.Damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, d, dir)
			w := &writer{t: t, s: s}
			rng := rand.New(rand.NewPCG(9, 10))
			for i := range 20 {
				changes, _ := secret(fmt.Sprintf("c%d", i), i*10, rng)
				w.apply(changes...)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, dir)
			s, err := d.Open(dir)
			if err == nil {
				t.Cleanup(func() { _ = s.Close() })
				err = s.Check(t.Context())
			}
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.MessageOf(err), "damaged") || !strings.Contains(fault.MessageOf(err), "rebuild") {
				t.Errorf("a damaged store says %v", err)
			}
		})
	}
}

func testFullDisk(t *testing.T, d Driver) {
	if d.Full == nil {
		t.Skip("the driver's disk can't be filled here")
	}
	s := open(t, d, t.TempDir())
	w := &writer{t: t, s: s}
	w.apply(conversation(alice, "c1", 1), said("c1", "a1", "before", 1))
	before := dump(t, s)
	d.Full(t, s, true)
	big := said("c1", "a2", strings.Repeat("much text ", 100_000), 2)
	for range 3 {
		err := s.Apply(t.Context(), stream, store.Position{Seq: 500}, []store.Change{big})
		if !fault.Is(err, fault.StorageFull) {
			t.Fatalf("apply on a full disk: %v, want storage_full", err)
		}
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("reads on a full disk: %s", diff)
	}
	if got := found(t, s, alice, "before"); len(got) != 1 {
		t.Errorf("search on a full disk = %v", got)
	}
	d.Full(t, s, false)
	if err := s.Apply(t.Context(), stream, store.Position{Seq: 500}, []store.Change{big}); err != nil {
		t.Fatalf("apply after room was made: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got := found(t, s, alice, "much"); len(got) != 1 {
		t.Errorf("search after room was made = %v", got)
	}
}
