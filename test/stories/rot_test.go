//go:build linux

package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// times is how often a campaign of damage strikes.
func times(t *testing.T, quick int) int {
	t.Helper()
	if v := os.Getenv("PARLEY_DAMAGES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("PARLEY_DAMAGES: %v", err)
		}
		return n
	}
	return quick
}

func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("PARLEY_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("PARLEY_SEED: %v", err)
		}
	}
	t.Logf("PARLEY_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // a campaign, not a secret
}

// crowd is people who talk and don't mind what becomes of the node.
type crowd struct {
	people []*person
	note   *noter
	over   atomic.Bool
	wg     sync.WaitGroup
}

// noter says things that nobody answers, one after the other: many that are
// acknowledged.
type noter struct {
	u     *user
	conv  string
	acked []string
}

func (p *noter) talk(ctx context.Context, over *atomic.Bool) {
	p.conv = p.u.conversation(ctx)
	for i := 0; !over.Load() && ctx.Err() == nil; i++ {
		text := fmt.Sprint("note ", i)
		var s said
		status, err := p.u.call(ctx, "POST", "/api/v1/conversations/"+p.conv+"/activities", "k"+text, map[string]string{"type": "event", "text": text}, &s)
		if err != nil || status >= 300 {
			p.u.t.Errorf("note: %d %v", status, err)
			return
		}
		p.acked = append(p.acked, s.ID)
	}
}

func (p *noter) check(ctx context.Context) {
	all := p.u.activities(ctx, p.conv)
	got := make([]string, 0, len(all))
	for _, a := range all {
		got = append(got, a.ID)
	}
	if !slices.Equal(got, p.acked) {
		p.u.t.Errorf("%d notes were acknowledged, %d are there, or others", len(p.acked), len(got))
	}
}

func newCrowd(ctx context.Context, t *testing.T, n *node, size int, name string) *crowd {
	t.Helper()
	c := &crowd{note: &noter{u: newUser(t, n.url)}}
	c.wg.Go(func() { c.note.talk(ctx, &c.over) })
	for i := range size {
		p := &person{u: newUser(t, n.url), name: fmt.Sprint(name, i)}
		c.people = append(c.people, p)
		c.wg.Go(func() { p.talk(ctx, &c.over) })
	}
	return c
}

// stop returns how many answers there were and how many notes.
func (c *crowd) stop() (answers, notes int) {
	c.over.Store(true)
	c.wg.Wait()
	for _, p := range c.people {
		answers += len(p.turns)
	}
	return answers, len(c.note.acked)
}

// check compares what was acknowledged and shown with what is there. Another
// region than the one that answered may be asked, and be a moment behind.
func (c *crowd) check(ctx context.Context) {
	for _, p := range c.people {
		for late := time.Now().Add(20 * time.Second); len(p.u.activities(ctx, p.conv)) < 2*len(p.turns) && time.Now().Before(late); {
			wait(100 * time.Millisecond)
		}
	}
	c.note.check(ctx)
	for _, p := range c.people {
		p.check(ctx)
	}
}

// flip changes one bit of a file of the log or the store below dir, as a disk
// does: its time stays. What a kill left of a copy is thrown away. Every second
// time each file is as likely as any other, else each byte.
func flip(t *testing.T, rnd *rand.Rand, dir string, byFile bool) (path, where string) {
	t.Helper()
	var files []string
	var sizes []int64
	var all int64
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if !strings.HasPrefix(rel, "log/") && !strings.HasPrefix(rel, "store.db") {
			return nil
		}
		st, err := d.Info()
		if err == nil && st.Size() > 0 {
			files, sizes, all = append(files, path), append(sizes, st.Size()), all+st.Size()
		}
		return err
	}); err != nil || all == 0 {
		t.Fatalf("nothing to damage in %s: %v", dir, err)
	}
	i, at := rnd.IntN(len(files)), rnd.Int64N(all)
	if byFile {
		at = rnd.Int64N(sizes[i])
	} else {
		for i = 0; at >= sizes[i]; i++ {
			at -= sizes[i]
		}
	}
	st, err := os.Stat(files[i])
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(files[i], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	was := b[0]
	b[0] ^= 1 << rnd.IntN(8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(files[i], st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	rel, _ := filepath.Rel(dir, files[i])
	return rel, fmt.Sprintf("%s at %d of %d, %02x to %02x", rel, at, sizes[i], was, b[0])
}

// terminate stops the node as an operator does.
func (n *node) terminate() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
	n.cmd = nil
}

// storeIsWhole asks the program itself: the store is read whole and compared
// with a second one that is made from the log.
func storeIsWhole(t *testing.T, n *node, dir string) (ok bool, said string) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "store", "check", "--json", "--data="+dir)
	cmd.Env = n.env
	out, _ := cmd.Output()
	var r struct {
		OK, Compared bool
		Problem      string
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return false, fmt.Sprintf("no answer: %v %s", err, out)
	}
	return r.OK && r.Compared, r.Problem
}

// noticed waits until the node has said that something is damaged.
func noticed(log func() string, limit time.Duration) bool {
	for late := time.Now().Add(limit); time.Now().Before(late); wait(50 * time.Millisecond) {
		if strings.Contains(log(), "damaged") {
			return true
		}
	}
	return false
}

// lists asks for the list and a search until the node gives them.
func (u *user) lists(ctx context.Context, want int) error {
	var out struct{ Conversations []struct{ ID string } }
	for late := time.Now().Add(30 * time.Second); ; wait(100 * time.Millisecond) {
		status, err := u.call(ctx, "GET", "/api/v1/conversations?limit=200", "", nil, &out)
		if err == nil && status == 200 && len(out.Conversations) >= want {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("the list has %d conversations of %d: %d %w", len(out.Conversations), want, status, err)
		}
	}
}

// TestRot flips one bit of a log or store file of a node, after a clean stop and
// after a kill: it is noticed, said, and repaired, and nothing that was
// acknowledged is lost.
func TestRot(t *testing.T) {
	rnd := chance(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Minute)
	defer cancel()
	n := newNode(t, "PARLEY_ENGINE=demo", "PARLEY_CHECKPOINT=20ms")
	n.start()
	first := newUser(t, n.url)
	var crowds []*crowd
	count, told, idle, answers, notes := times(t, 3), 0, 0, 0, 0
	for i := range count {
		killed := i%2 == 1
		c := newCrowd(ctx, t, n, 2, fmt.Sprint("r", i, "-"))
		crowds = append(crowds, c)
		wait(time.Duration(700+rnd.IntN(800)) * time.Millisecond)
		if killed {
			n.kill()
		} else {
			n.terminate()
		}
		path, where := flip(t, rnd, n.dir, i%4 < 2)
		n.log.Reset()
		n.start()
		how := map[bool]string{true: "killed", false: "stopped"}[killed]
		switch {
		case noticed(n.said, 4*time.Second):
			told++
			t.Logf("%2d %s: %s: noticed", i+1, how, where)
		case strings.HasPrefix(path, "store.db"), killed && strings.HasSuffix(path, "o.dat"):
			// Perhaps a byte that nobody reads (and a queue's state is not used
			// after a kill). Then the store is as good as new.
			n.terminate()
			ok, said := storeIsWhole(t, n, n.dir)
			if !ok {
				t.Errorf("%2d %s: %s: not noticed by the node, and it is not whole: %s", i+1, how, where, said)
			}
			idle++
			t.Logf("%2d %s: %s: a byte that nobody reads", i+1, how, where)
			n.start()
		default:
			t.Errorf("%2d %s: %s: not noticed\n%s", i+1, how, where, tail(n.said(), 4000))
		}
		a, m := c.stop()
		answers, notes = answers+a, notes+m
		if err := first.lists(ctx, 3*len(crowds)); err != nil {
			t.Errorf("%2d %s: %s: %v", i+1, how, where, err)
		}
		c.check(ctx)
		if t.Failed() {
			t.Fatalf("%s\n%s", where, tail(n.said(), 16000))
		}
	}
	for _, c := range crowds {
		c.check(ctx)
	}
	n.terminate()
	if ok, said := storeIsWhole(t, n, n.dir); !ok {
		t.Errorf("the store at the end: %s", said)
	}
	t.Logf("%d flips: %d noticed and repaired, %d in bytes that nobody reads; %d answers and %d notes, none lost", count, told, idle, answers, notes)
}

func (n *node) said() string { return n.log.String() }

// TestRotInARegion is TestRot in a world: one region's files are damaged, with
// the whole world stopped or killed, or with only this region killed while
// people talk.
func TestRotInARegion(t *testing.T) {
	count := times(t, 0)
	if count == 0 {
		t.Skip("missing: time; PARLEY_DAMAGES=50 flips as many bytes in a world of three regions, about 15 s each")
	}
	rnd := chance(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
	defer cancel()
	regions := []string{"japaneast", "koreacentral", "southeastasia"}
	n := newNode(t, "PARLEY_ENGINE=demo", "PARLEY_CHECKPOINT=20ms")
	n.args = []string{"up", "--no-browser", "--regions=japaneast:witness,koreacentral,southeastasia"}
	n.start()
	var crowds []*crowd
	told, idle, answers, notes := 0, 0, 0, 0
	for i := range count {
		how, region := []string{"stopped", "killed", "all killed"}[i%3], regions[rnd.IntN(3)]
		dir := filepath.Join(n.dir, "regions", region)
		logged := func() string {
			b, _ := os.ReadFile(filepath.Join(dir, "parley.log"))
			return string(b)
		}
		c := newCrowd(ctx, t, n, 3, fmt.Sprint("w", i, "-"))
		crowds = append(crowds, c)
		wait(time.Duration(1500+rnd.IntN(1500)) * time.Millisecond)
		switch how {
		case "killed":
			killPid(t, filepath.Join(dir, "parley.pid"))
		case "all killed":
			n.kill()
			awaitGone(t, n.dir)
		default:
			n.terminate()
		}
		path, where := flip(t, rnd, dir, i%4 < 2)
		if err := os.Truncate(filepath.Join(dir, "parley.log"), 0); err != nil {
			t.Fatal(err)
		}
		if how != "killed" {
			n.start()
		}
		ok := noticed(logged, 15*time.Second)
		a, m := c.stop()
		answers, notes = answers+a, notes+m
		c.check(ctx)
		switch {
		case ok:
			told++
			t.Logf("%2d %s: %s: %s: noticed", i+1, how, region, where)
		case strings.HasPrefix(path, "store.db"), how != "stopped" && strings.HasSuffix(path, "o.dat"):
			idle++
			t.Logf("%2d %s: %s: %s: a byte that nobody reads", i+1, how, region, where)
		default:
			t.Errorf("%2d %s: %s: %s: not noticed\n%s", i+1, how, region, where, tail(logged(), 4000))
		}
		settled(t, dir, logged)
		if t.Failed() {
			t.Fatalf("%s: %s\n%s", region, where, tail(logged(), 16000))
		}
	}
	for _, c := range crowds {
		c.check(ctx)
	}
	t.Logf("%d flips: %d noticed and repaired, %d in bytes that nobody reads; %d answers and %d notes, none lost", count, told, idle, answers, notes)
}

// settled waits until the region has everything from the others again.
func settled(t *testing.T, dir string, logged func() string) {
	t.Helper()
	for late := time.Now().Add(2 * time.Minute); ; wait(100 * time.Millisecond) {
		aside, err := filepath.Glob(filepath.Join(dir, "log", "damaged-*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(aside) == 0 {
			return
		}
		if time.Now().After(late) {
			t.Errorf("%s is not filled by the others\n%s", dir, tail(logged(), 4000))
			return
		}
	}
}

func killPid(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(pid, 0) == nil { // until its parent has seen it
		wait(5 * time.Millisecond)
	}
}

// awaitGone waits until no process of a world is left: they die with their
// parent, but not before it.
func awaitGone(t *testing.T, dir string) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); wait(10 * time.Millisecond) {
		if len(processesOf(dir)) == 0 {
			return
		}
	}
	t.Fatalf("processes of %s are left: %v", dir, processesOf(dir))
}

// processesOf lists the processes that name a directory on their command line
// or have it in their environment.
func processesOf(dir string) []int {
	var out []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(p + "/cmdline")
		env, _ := os.ReadFile(p + "/environ")
		if strings.Contains(string(line), dir) || strings.Contains(string(env), "PARLEY_DATA="+dir) {
			out = append(out, pid)
		}
	}
	return out
}
