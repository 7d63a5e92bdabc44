//go:build linux

package eventlog_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
)

// A write that fails in the middle for want of room, though a reserve was kept:
// the engine then refuses whatever comes. With room again the log goes on by
// itself, with everything that was acknowledged.
func TestWriteFailedForWantOfRoom(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "parley-test", dir).CombinedOutput(); err != nil {
		t.Skipf("missing: the right to mount a small disk (%s)", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	l := open(t, eventlog.Options{Dir: filepath.Join(dir, "log"), Reserve: 1})
	c, acked := event.NewConversation("local"), map[string]bool{}
	long := strings.Repeat("x", 64<<10)
	try := func(i int) error {
		title := fmt.Sprint(i, long)
		_, err := l.Append(t.Context(), titled(c, title, nil, 0))
		if err == nil {
			acked[title] = true
		}
		return err
	}
	if err := try(0); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 32<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk did not get full: %v", err)
	}
	if info, err := os.Stat(filler); err != nil {
		t.Fatal(err)
	} else if err := os.Truncate(filler, info.Size()-16<<10); err != nil { // room for a part of the next entry
		t.Fatal(err)
	}
	if err := try(1); err == nil || fault.Is(err, fault.StorageFull) {
		t.Errorf("the write that was to fail in the middle: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a write goes through, with room again", 20*time.Second, func() bool { return try(2) == nil })
	eventually(t, "the log calls itself well", 20*time.Second, func() bool { return l.Health(t.Context()) == nil })
	there := map[string]int{}
	for _, got := range titles(readAll(t, l, c, 0)) {
		there[got]++
	}
	for want := range acked {
		if there[want] != 1 {
			t.Errorf("%.1s was acknowledged and is there %d times", want, there[want])
		}
	}
}
