//go:build linux

package stories

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// disk is an ext4 file system in an image file, mounted by a loop device. What
// the image file holds is what was really written: what waits in the memory of
// the system is not in it, as after a power cut.
type disk struct {
	t     *testing.T
	image string
	at    string // where it is mounted
}

func newDisk(t *testing.T, size string) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("missing: root, to mount an image by a loop device")
	}
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), at: filepath.Join(dir, "mount")}
	if err := os.Mkdir(d.at, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"truncate", "-s", size, d.image}, {"mkfs.ext4", "-q", d.image}, {"mount", "-o", "loop", d.image, d.at}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("missing: an ext4 image on a loop device: %v: %v %s", c, err, bytes.TrimSpace(out))
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.at).Run() })
	return d
}

// cut copies the image as it is at this moment. Nobody writes meanwhile but the
// system itself, so it is copied until two copies in a row are the same.
func (d *disk) cut() string {
	d.t.Helper()
	a, b := d.image+".a", d.image+".b"
	d.copy(a)
	for range 20 {
		d.copy(b)
		if same(d.t, a, b) {
			return b
		}
		a, b = b, a
	}
	d.t.Fatal("the image does not come to rest")
	return ""
}

func (d *disk) copy(to string) {
	d.t.Helper()
	if out, err := exec.Command("cp", "--sparse=always", d.image, to).CombinedOutput(); err != nil {
		d.t.Fatalf("copy image: %v %s", err, out)
	}
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	err := exec.Command("cmp", "-s", a, b).Run()
	return err == nil
}

// replace mounts a copy in the place of the image. Its file system is repaired
// as at any start after a power cut: by its journal.
func (d *disk) replace(with string) {
	d.t.Helper()
	for late := time.Now().Add(10 * time.Second); ; wait(20 * time.Millisecond) {
		out, err := exec.Command("umount", d.at).CombinedOutput()
		if err == nil {
			break
		}
		if time.Now().After(late) {
			d.t.Fatalf("umount: %v %s", err, out)
		}
	}
	if err := os.Rename(with, d.image); err != nil {
		d.t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.at).CombinedOutput(); err != nil {
		d.t.Fatalf("mount the copy: %v %s", err, out)
	}
}

// TestPowerCut cuts a node's power while people talk: nothing that was
// acknowledged is lost, and every answer is finished.
func TestPowerCut(t *testing.T) {
	powerCut(t, 2, nil)
}

// TestPowerCutOfAllRegions cuts the power of a whole world at once.
func TestPowerCutOfAllRegions(t *testing.T) {
	if times(t, 0) == 0 {
		t.Skip("missing: time; PARLEY_DAMAGES=50 cuts the power of a world of three regions as often, about 12 s each")
	}
	powerCut(t, 0, []string{"up", "--no-browser", "--regions=japaneast:witness,koreacentral,southeastasia"})
}

func powerCut(t *testing.T, quick int, args []string) {
	t.Helper()
	rnd := chance(t)
	d := newDisk(t, "512M")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Minute)
	defer cancel()
	n := newNode(t, "PARLEY_ENGINE=demo", "PARLEY_CHECKPOINT=20ms", "PARLEY_DATA="+d.at)
	n.dir = d.at
	if args != nil {
		n.args = args
	}
	n.start()
	c := newCrowd(ctx, t, n, 5, "p")
	alarms := 0
	count := times(t, quick)
	for i := range count {
		// Long enough that on a busy machine answers come to an end between cuts.
		wait(time.Duration(500+rnd.IntN(3500)) * time.Millisecond)
		dark(t, d, n)
		n.start()
		alarms += falseAlarms(t, n)
		t.Logf("cut %d", i+1)
	}
	turns, notes := c.stop()
	c.check(ctx)
	cuts := 0
	for _, p := range c.people {
		cuts += len(p.seen.joints)
	}
	t.Logf("%d power cuts, %d answers, cut and resumed %d times, %d notes; nothing lost; %d false alarms", count, turns, cuts, notes, alarms)
	if turns == 0 || cuts == 0 {
		t.Error("no answer was hit: this campaign proves nothing")
	}
	n.kill()
	awaitGone(t, n.dir)
}

// falseAlarms counts the damages that were told of since the last count: a power
// cut leaves writes that were cut short, and indexes that are behind, but
// changes nothing that was written.
func falseAlarms(t *testing.T, n *node) int {
	t.Helper()
	said := n.log.String()
	n.log.Reset()
	logs, err := filepath.Glob(filepath.Join(n.dir, "regions", "*", "parley.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said += string(b)
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	for line := range strings.Lines(said) {
		if strings.Contains(line, "damaged on the disk") && !strings.Contains(line, "index.db") {
			t.Logf("a false alarm: %s", line)
			count++
		}
	}
	return count
}

// dark freezes every process on the disk, takes what the disk holds, and lets
// them die.
func dark(t *testing.T, d *disk, n *node) {
	t.Helper()
	all := processesOf(d.at)
	if len(all) == 0 {
		t.Fatal("nobody to freeze")
	}
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	image := d.cut()
	n.kill()
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	awaitGone(t, d.at)
	d.replace(image)
}
