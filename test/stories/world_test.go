//go:build linux

package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/loopback"
)

// realm is a world as it is run for real: a process of "parley serve" for each
// node, each with a file and certificates of its own, and the edge in front.
type realm struct {
	t      *testing.T
	dir    string
	places []*place
	edge   *exec.Cmd
	url    string   // the edge's
	more   string   // lines of every node's file
	free   []string // addresses that no place has yet
}

// place is a node, over all its processes.
type place struct {
	name, region  string
	witness       bool
	dir           string
	cluster, addr string // where it listens for the others, and for users

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
}

func (p *place) url() string { return "http://" + p.addr }

// freeAddr finds an address that nobody listens on now.
func freeAddr(t *testing.T) string { return freeAddrs(t, 1)[0] }

func freeAddrs(t *testing.T, count int) []string {
	t.Helper()
	free, err := loopback.Free(count)
	if err != nil {
		t.Fatal(err)
	}
	return free
}

// freeAddr finds an address that no other place of the realm has.
func (r *realm) freeAddr() string {
	r.t.Helper()
	if len(r.free) == 0 {
		r.t.Fatal("the realm has no address left: newRealm takes more")
	}
	addr := r.free[0]
	r.free = r.free[1:]
	return addr
}

// newRealm makes the nodes' directories and certificates; nothing runs yet. A
// name is a node's and its region's; ":witness" behind it makes it one.
func newRealm(t *testing.T, more string, names ...string) *realm {
	t.Helper()
	r := &realm{t: t, dir: t.TempDir(), more: more, free: freeAddrs(t, 64)}
	for _, name := range names {
		r.add(name)
	}
	t.Cleanup(func() {
		for _, p := range r.places {
			p.kill()
		}
		if r.edge != nil {
			_ = r.edge.Process.Kill()
			_ = r.edge.Wait()
		}
		if t.Failed() {
			for _, p := range r.places {
				t.Logf("%s said at last:\n%s", p.name, tail(p.said(), 6000))
			}
		}
	})
	return r
}

// add makes a place for one more node. The others learn of it when configure is
// called and they start again.
func (r *realm) add(name string) *place {
	r.t.Helper()
	name, role, _ := strings.Cut(name, ":")
	p := &place{name: name, region: name, witness: role == "witness", dir: filepath.Join(r.dir, name), cluster: r.freeAddr(), addr: r.freeAddr()}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.parley("cert", "--authority", filepath.Join(r.dir, "ca"), "--node", name, "--host", "127.0.0.1", "--out", filepath.Join(p.dir, "certs"))
	r.places = append(r.places, p)
	return p
}

// configure writes every node's file, with all places in it that shall be in.
func (r *realm) configure() {
	r.t.Helper()
	for _, p := range r.places {
		var b strings.Builder
		fmt.Fprintf(&b, "listen: %s\nregion: %s\nnode: %s\ndata: %q\nlog: {level: info}\n%s\nnodes:\n", p.addr, p.region, p.name, filepath.Join(p.dir, "data"), r.more)
		for _, q := range r.places {
			fmt.Fprintf(&b, "  - {name: %s, region: %s, address: %q, url: %q, witness: %v}\n", q.name, q.region, q.cluster, q.url(), q.witness)
		}
		fmt.Fprintf(&b, "cluster: {listen: %q, round_trip: 20ms, certs: %q}\n", p.cluster, filepath.Join(p.dir, "certs"))
		if err := os.WriteFile(p.file(), []byte(b.String()), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (p *place) file() string { return filepath.Join(p.dir, "parley.yaml") }

func (p *place) said() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "said"))
	return string(b)
}

// parley runs a command to its end and returns what it wrote.
func (r *realm) parley(args ...string) string {
	r.t.Helper()
	bin, err := binary()
	if err != nil {
		r.t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(r.t.Context(), bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("parley %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// launch starts a node's process and does not wait for it.
func (r *realm) launch(p *place, bin string) {
	r.t.Helper()
	out, err := os.OpenFile(filepath.Join(p.dir, "said"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(bin, "serve", "-c", p.file())
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "CI=true"), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
}

func (p *place) ready() bool {
	resp, err := http.Get(p.url() + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// start launches nodes and waits until they are ready.
func (r *realm) start(bin string, places ...*place) {
	r.t.Helper()
	for _, p := range places {
		r.launch(p, bin)
	}
	for _, p := range places {
		r.until(p.name+" is ready", p.ready)
	}
}

func (r *realm) until(what string, ok func() bool) {
	r.t.Helper()
	for late := time.Now().Add(90 * time.Second); !ok(); wait(20 * time.Millisecond) {
		if time.Now().After(late) {
			r.t.Fatalf("%s: not within 90 s", what)
		}
	}
}

// stop ends a node as a supervisor does and returns how long that took.
func (r *realm) stop(p *place) time.Duration {
	r.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		r.t.Errorf("%s ended with %v\n%s", p.name, err, tail(p.said(), 4000))
	}
	p.cmd = nil
	return time.Since(began)
}

func (p *place) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// front puts the edge before all places that serve users.
func (r *realm) front(bin string) {
	r.t.Helper()
	addr := r.freeAddr()
	var regions, targets []string
	for _, p := range r.places {
		if !p.witness {
			regions = append(regions, fmt.Sprintf("{name: %s, url: %q}", p.name, p.url()))
			targets = append(targets, fmt.Sprintf("{region: %s}", p.name))
		}
	}
	file := filepath.Join(r.dir, "edge.yaml")
	text := fmt.Sprintf("http: {listen: %q}\nregions: [%s]\npolicies: [{name: all, method: weighted, targets: [%s]}]\n", addr, strings.Join(regions, ", "), strings.Join(targets, ", "))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(bin, "edge", "-c", file, "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.edge, r.url = cmd, "http://"+addr
	r.until("the edge serves", func() bool {
		resp, err := http.Get(r.url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

// urls are the addresses of the places that serve, the n-th one first.
func (r *realm) urls(n int) []string {
	var out []string
	for _, p := range r.places {
		if !p.witness {
			out = append(out, p.url())
		}
	}
	n %= len(out)
	return append(out[n:len(out):len(out)], out[:n]...)
}

// regionSeen is a region as GET /api/v1/regions shows it.
type regionSeen struct {
	Name, Role, State string
	Leads, Copies     []string
	Lag               uint64
	Nodes             []struct {
		Name, Version string
		Alive         bool
	}
}

// regions asks a place how the world is.
func (r *realm) regions(ctx context.Context, p *place) ([]regionSeen, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url()+"/api/v1/regions", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out struct{ Regions []regionSeen }
	return out.Regions, json.NewDecoder(resp.Body).Decode(&out)
}

// well waits as the documented sequence does.
func (r *realm) well() {
	r.t.Helper()
	r.parley("regions", "wait", "--url", strings.Join(r.urls(0), ","), "--timeout", "90s", "--json")
}

// crowd lets people talk until the returned function is called, which waits for
// them and judges.
func (r *realm) crowd(t *testing.T, ctx context.Context, each int) (w *watch, end func()) {
	w = &watch{t: t}
	talking, enough := context.WithCancel(ctx)
	var people sync.WaitGroup
	for i := range each {
		join := func(talk func()) { // in step, they would all be between two answers at once
			people.Go(func() {
				if wait(time.Duration(i) * 2 * time.Second / time.Duration(each)); talking.Err() == nil {
					talk()
				}
			})
		}
		join(func() { w.onTheEdge(ctx, talking, r.url, i) })
		join(func() { w.withClient(ctx, talking, r.urls(i), i) })
	}
	return w, func() {
		enough()
		people.Wait()
		w.judge(ctx, r)
	}
}
