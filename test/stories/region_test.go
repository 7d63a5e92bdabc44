//go:build linux

package stories

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/tlscert"
)

// whole skips a story that only whole campaigns tell: they take long, and what
// they are about has shorter tests where it is made.
func whole(t *testing.T) {
	t.Helper()
	if kills(t, 1) < 50 {
		t.Skip("missing: PARLEY_KILLS=50")
	}
}

// problem is what a place says is wrong with a part of it, "" if nothing.
func (p *place) problem(part string) string {
	resp, err := http.Get(p.url() + "/healthz")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var report struct {
		Parts []struct{ Name, Problem string }
	}
	if json.NewDecoder(resp.Body).Decode(&report) != nil {
		return ""
	}
	for _, x := range report.Parts {
		if x.Name == part {
			return x.Problem
		}
	}
	return ""
}

// The disk of a region that answers and leads fills up to its last byte. Its
// users are led elsewhere, nothing is lost, and with room again it comes back by
// itself.
func TestFullDiskOfARegion(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r := newRealm(t, "engine: demo\nlimits: {reserve: 8MiB}\n", "japaneast:witness", "koreacentral", "southeastasia")
	r.configure()
	kr := r.places[1]
	data := filepath.Join(kr.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96m", "parley-test", data).CombinedOutput(); err != nil {
		t.Skipf("missing: the right to mount a small disk (%s)", out)
	}
	t.Cleanup(func() {
		kr.kill()
		if out, err := exec.Command("umount", data).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	r.start(bin, r.places...)
	r.front(bin)
	r.well()
	_, end := r.crowd(t, t.Context(), 4)
	filler := filepath.Join(data, "filler")
	fill(t, data, filler, 0)
	r.until("the region says that its disk is full", func() bool { return strings.Contains(kr.problem("log"), "disk is full") && !kr.ready() })
	wait(3 * time.Second) // people talk on elsewhere
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.until("the region is back", kr.ready)
	r.well()
	end()
}

// A certificate runs out while its node works: the node says so and serves
// nobody, it does not start again with it, and is back with a new one.
func TestExpiredCertificate(t *testing.T) {
	whole(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r := newRealm(t, "engine: demo\n", "japaneast:witness", "koreacentral", "southeastasia")
	r.configure()
	kr := r.places[1]
	authority, err := tlscert.OpenAuthority(filepath.Join(r.dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := authority.Issue(tlscert.Identity{Region: kr.region, Node: kr.name}, []string{"127.0.0.1"}, 8*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlscert.Put(filepath.Join(kr.dir, "certs"), authority.PEM(), pem); err != nil {
		t.Fatal(err)
	}
	r.start(bin, r.places...)
	r.front(bin)
	_, end := r.crowd(t, t.Context(), 2)
	r.until("the node says that its certificate ran out", func() bool { return strings.Contains(kr.problem("log"), "expired at") && !kr.ready() })
	r.stop(kr)
	r.launch(kr, bin)
	r.until("it does not start with the old one", func() bool {
		return strings.Contains(kr.said(), "expired at") && strings.Contains(kr.said(), "can't be used")
	})
	kr.kill()
	r.parley("cert", "--authority", filepath.Join(r.dir, "ca"), "--node", kr.name, "--host", "127.0.0.1", "--out", filepath.Join(kr.dir, "certs"))
	r.start(bin, kr)
	r.well()
	end()
}

// A region's clock is an hour off, in either direction: nobody notices. Its
// program is the same, built with a time.Now that adds an hour.
func TestClockAnHourOff(t *testing.T) {
	whole(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []string{"3600", "-3600"} {
		t.Run(off, func(t *testing.T) {
			wrong := skewed(t, off)
			r := newRealm(t, "engine: demo\ndrain: 2s\n", "japaneast:witness", "koreacentral", "southeastasia")
			r.configure()
			jp, kr, sg := r.places[0], r.places[1], r.places[2]
			r.launch(kr, wrong)
			r.start(bin, jp, sg)
			r.until("the region with the wrong clock is ready", kr.ready)
			r.front(bin)
			r.well()
			_, end := r.crowd(t, t.Context(), 6)
			for _, p := range []*place{kr, sg} { // each takes over from the other
				program := bin
				if p == kr {
					program = wrong
				}
				wait(2 * time.Second)
				r.stop(p)
				wait(2 * time.Second)
				r.start(program, p)
				r.well()
			}
			end()
		})
	}
}

// skewed builds the program with a clock that is off by some seconds.
func skewed(t *testing.T, seconds string) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(source)
	if err != nil {
		t.Skipf("missing: the source of Go's standard library (%v)", err)
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(b), now) != 1 {
		t.Fatalf("time.Now is not what this test knows: look at %s", source)
	}
	dir := t.TempDir()
	off, plan, bin := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "parley")
	if err := os.WriteFile(off, []byte(strings.Replace(string(b), now, now+"\tsec += "+seconds+"\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: off}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", plan, "-o", bin, "github.com/parleyhq/parley/cmd/parley")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build with another clock: %v\n%s", err, out)
	}
	return bin
}

// A node is taken out of service while it runs, over a restart, and back.
func TestDrain(t *testing.T) {
	whole(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r := newRealm(t, "engine: demo\n", "japaneast:witness", "koreacentral", "southeastasia")
	r.configure()
	r.start(bin, r.places...)
	r.front(bin)
	r.well()
	_, end := r.crowd(t, t.Context(), 4)
	kr := r.places[1]
	r.parley("regions", "drain", "-c", kr.file())
	out := func() bool {
		all, err := r.regions(t.Context(), r.places[2])
		if err != nil || kr.ready() {
			return false
		}
		for _, g := range all {
			if g.Name == kr.region {
				return g.State == "leaving" && len(g.Leads) == 0 && len(g.Copies) == 2
			}
		}
		return false
	}
	r.until("it serves nobody, leads nothing and keeps its copies", out)
	r.stop(kr)
	r.launch(kr, bin)
	r.until("so it is after a restart", out)
	wait(2 * time.Second)
	r.parley("regions", "resume", "-c", kr.file())
	r.until("it is back", kr.ready)
	r.well()
	end()
}

// Somebody who began with one node goes on with three regions: what was said is
// there, under the same positions, and the answer that the kill cut is finished
// by whoever is near.
func TestFromOneNodeToThree(t *testing.T) {
	whole(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, "PARLEY_ENGINE=demo")
	n.start()
	u := newUser(t, n.url)
	conv, seen := u.conversation(t.Context()), newShown()
	first := u.say(t.Context(), conv, "before", "k1")
	if err := u.follow(t.Context(), conv, first.Turn, seen, nil); err != nil {
		t.Fatal(err)
	}
	cut := u.say(t.Context(), conv, "cut off", "k2")
	wait(300 * time.Millisecond)
	n.kill()

	r := newRealm(t, "engine: demo\n", "japaneast:witness", "koreacentral", "southeastasia")
	r.configure()
	data := filepath.Join(r.places[1].dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(n.dir, "log"), filepath.Join(data, "log.alone")); err != nil {
		t.Fatal(err)
	}
	r.start(bin, r.places...)
	for _, p := range []*place{r.places[0], r.places[2]} {
		r.well()
		r.stop(p)
		r.start(bin, p)
	}
	r.well()
	u = newUser(t, r.places[2].url())
	if err := u.follow(t.Context(), conv, cut.Turn, seen, nil); err != nil {
		t.Fatal(err)
	}
	last := u.say(t.Context(), conv, "after", "k3")
	if err := u.follow(t.Context(), conv, last.Turn, seen, nil); err != nil {
		t.Fatal(err)
	}
	for _, url := range r.urls(0) {
		acts := newUser(t, url).activities(t.Context(), conv)
		var ids []string
		for _, a := range acts {
			ids = append(ids, a.ID)
		}
		want := []string{first.ID, "b" + first.Turn[1:], cut.ID, "b" + cut.Turn[1:], last.ID, "b" + last.Turn[1:]}
		if strings.Join(ids, " ") != strings.Join(want, " ") {
			t.Errorf("%s has %v, want %v", url, ids, want)
		}
	}
}
