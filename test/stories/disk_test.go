//go:build linux

package stories

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The disk fills up: writes are refused clearly, reading goes on, and with room
// again the node goes on without a restart. Once up to the reserve that the
// node keeps, once to the last byte.
func TestFullDisk(t *testing.T) {
	for _, left := range []int64{4 << 20, 0} {
		t.Run(fmt.Sprintf("%d bytes left", left), func(t *testing.T) {
			n := newNode(t, "PARLEY_ENGINE=demo", "PARLEY_LIMITS_RESERVE=8MiB")
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96m", "parley-test", n.dir).CombinedOutput(); err != nil {
				t.Skipf("missing: the right to mount a small disk (%s)", out)
			}
			t.Cleanup(func() {
				n.end()
				if out, err := exec.Command("umount", n.dir).CombinedOutput(); err != nil {
					t.Errorf("umount: %s", out)
				}
			})
			n.start()
			u := newUser(t, n.url)
			conv := u.conversation(t.Context())
			before := u.say(t.Context(), conv, "before", "k1")
			seen := newShown()
			if err := u.follow(t.Context(), conv, before.Turn, seen, nil); err != nil {
				t.Fatal(err)
			}
			filler := filepath.Join(n.dir, "filler")
			fill(t, n.dir, filler, left)
			body := []byte(`{"type":"message","text":"while full"}`)
			path := "/api/v1/conversations/" + conv + "/activities"
			deadline := time.Now().Add(20 * time.Second)
			for status := 0; status != 507; {
				var err error
				if status, err = u.once(t.Context(), "POST", path, fmt.Sprint("k", time.Now().UnixNano()), body, nil); err != nil {
					t.Fatal(err)
				}
				if time.Now().After(deadline) {
					t.Fatalf("writes are not refused: status %d", status)
				}
				wait(50 * time.Millisecond) // what is still taken wants an answer later, one after another
			}
			if acts := u.activities(t.Context(), conv); len(acts) < 2 || acts[0].Text != "before" {
				t.Errorf("reading while full: %v", acts)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			after := u.say(t.Context(), conv, "after", "k-after") // repeats until it is taken
			if err := u.follow(t.Context(), conv, after.Turn, seen, nil); err != nil {
				t.Fatal(err)
			}
			acts := u.activities(t.Context(), conv)
			ids := map[string]int{}
			for _, a := range acts {
				ids[a.ID]++
			}
			for id, times := range ids {
				if times != 1 {
					t.Errorf("%s is there %d times", id, times)
				}
			}
			if ids[before.ID] != 1 || ids[after.ID] != 1 {
				t.Errorf("lost: %v", ids)
			}
		})
	}
}

// fill writes a file until only left bytes are free.
func fill(t *testing.T, dir, file string, left int64) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for free(t, dir) > left {
		n := min(int64(len(block)), max(free(t, dir)-left, 1))
		if _, err := f.Write(block[:n]); err != nil {
			return // full
		}
	}
}
