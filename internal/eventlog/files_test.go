package eventlog_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	l := open(t, eventlog.Options{Dir: dir, MemoryOnly: true})
	conv, other := event.NewConversation("local"), event.NewConversation("local")
	const id = "0123456789abcdef"
	noise := rand.NewChaCha8([32]byte{1})
	files := map[string][]byte{id + "a": {}, id + "b": []byte("a small file"), id + "c": make([]byte, 2<<20+17), id + "d": make([]byte, 1<<20)}
	for name, b := range files {
		if len(b) > 100 {
			_, _ = noise.Read(b)
			copy(b[len(b)/2:], "these very bytes")
		}
		for range 2 { // a file never changes, so the second time is nothing
			if err := l.PutFile(t.Context(), conv, name, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.PutFile(t.Context(), other, id, []byte("another's")); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for name, want := range files {
			if got, err := l.File(t.Context(), conv, name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, want %d (%v)", name, len(got), len(want), err)
			}
		}
	}
	check()
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, damaged := range []string{"jetstream", eventlog.TwinDir, ""} { // what is damaged meanwhile
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if damaged != "" {
			t.Log(flip(t, rnd, filepath.Join(dir, damaged), func(path string) bool {
				return strings.Contains(path, "/FILES/") && strings.HasSuffix(path, ".blk")
			}))
		}
		l = open(t, eventlog.Options{Dir: dir, MemoryOnly: true})
		check()
		if i := l.Integrity(); len(i.Lost) > 0 || (i.Damaged > 0) != (damaged != "") {
			t.Errorf("%q was damaged: %+v", damaged, i)
		}
	}
	for _, bad := range [][2]string{{conv, id}, {other, id + "b"}, {conv, "../" + id}, {"nope", id}, {conv, id + ".0"}, {conv, ">"}} {
		if _, err := l.File(t.Context(), bad[0], bad[1]); !fault.Is(err, fault.NotFound) {
			t.Errorf("file %q: %v", bad, err)
		}
	}
	if err := l.PutFile(t.Context(), conv, "*", nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("an id that is a pattern: %v", err)
	}
	if err := l.Forget(t.Context(), conv, 0); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if _, err := l.File(t.Context(), conv, name); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s after its conversation was forgotten: %v", name, err)
		}
	}
	if got, err := l.File(t.Context(), other, id); string(got) != "another's" {
		t.Errorf("another conversation's file: %q, %v", got, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("these very bytes")) || bytes.Contains(b, []byte("a small file")) {
			t.Errorf("%s still holds a file that was forgotten", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// One file alone is known, named and erased.
func TestOneFile(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	conv, other := event.NewConversation("local"), event.NewConversation("local")
	const id = "0123456789abcdef"
	for _, x := range [][2]string{{conv, id + "a"}, {other, id}} {
		if err := l.PutFile(t.Context(), x[0], x[1], []byte("a small file")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.PutFile(t.Context(), conv, id+"b", make([]byte, 1<<20+1)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is gone already
		if err := l.DropFile(t.Context(), conv, id+"b"); err != nil {
			t.Fatal(err)
		}
	}
	named := map[string]bool{}
	if err := l.EachFile(t.Context(), func(conv, name string) error { named[conv+" "+name] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(named) != 2 || !named[conv+" "+id+"a"] || !named[other+" "+id] {
		t.Errorf("%d files are named: %v", len(named), named)
	}
	for _, c := range []struct {
		conv, name string
		want       bool
	}{{conv, id + "a", true}, {conv, id + "b", false}, {other, id + "a", false}, {conv, "*", false}, {"nope", id, false}} {
		if has, err := l.HasFile(t.Context(), c.conv, c.name); has != c.want || err != nil {
			t.Errorf("file %q of %s is there: %v, %v", c.name, c.conv, has, err)
		}
	}
}

// Nodes throw away what nobody named by themselves, and so may meet: what another
// one has just erased is erased.
func TestFilesErasedTwice(t *testing.T) {
	l := open(t, eventlog.Options{Dir: t.TempDir(), MemoryOnly: true})
	conv := event.NewConversation("local")
	for i := range 20 {
		id := fmt.Sprintf("%016d", i)
		if err := l.PutFile(t.Context(), conv, id, []byte("old")); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := l.DropFile(t.Context(), conv, id); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if has, err := l.HasFile(t.Context(), conv, id); has || err != nil {
			t.Errorf("it is there: %v, %v", has, err)
		}
	}
}
