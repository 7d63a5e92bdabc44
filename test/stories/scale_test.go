//go:build linux

package stories

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// childrenOf lists the processes whose parent this one is.
func childrenOf(pid int) (out []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if ppid, _ := strconv.Atoi(fields[1]); ppid != pid || fields[0] == "Z" {
			continue
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		out = append(out, child)
	}
	return out
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

// scaled writes a configuration whose engine is simulated servers that the node
// starts and stops.
func scaled(t *testing.T, n *node, scale string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := fmt.Sprintf("engines:\n  - name: sim\n    kind: process\n    command: [env, \"PARLEY_STORY_ENGINE=127.0.0.1:{port}\", %q]\n    models: [mock]\n    dialect: generic\n    resume: prefill\n    slots: 4\n    timeout: 5s\n    scale: %s\n", self, scale)
	path := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(path, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = []string{"serve", "-c", path}
}

func until(t *testing.T, what string, limit time.Duration, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); wait(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, limit)
		}
	}
}

// From nothing to several and back to nothing, on processes, while people talk:
// nobody is lost, a server that is killed is replaced, and none outlives a node
// that is killed.
func TestEnginesComeAndGo(t *testing.T) {
	n := newNode(t)
	scaled(t, n, "{min: 0, max: 3, target: 1, hold: 3s, idle: 3s}")
	n.start()
	if kids := childrenOf(n.pid()); len(kids) != 0 {
		t.Errorf("%d servers run while nobody asks", len(kids))
	}

	// The first one is held while the first server starts.
	began := time.Now()
	talkOnce(t, t.Context(), n.url, func() {})
	t.Logf("three turns from nothing: %v", time.Since(began).Round(time.Millisecond))

	ctx, stop := context.WithCancel(t.Context())
	var people sync.WaitGroup
	for range 6 {
		people.Go(func() {
			for ctx.Err() == nil {
				talkOnce(t, ctx, n.url, func() {})
			}
		})
	}
	until(t, "three servers", 30*time.Second, func() bool { return len(childrenOf(n.pid())) == 3 })
	dead := childrenOf(n.pid())[0]
	if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "another one for the killed one", 30*time.Second, func() bool {
		kids := childrenOf(n.pid())
		return len(kids) == 3 && !slices.Contains(kids, dead)
	})
	if got := gauge(t, n.url, "parley_scale_replicas_wanted"); got != 3 {
		t.Errorf("%v replicas wanted, by the metrics", got)
	}
	stop()
	people.Wait()
	until(t, "nothing again", 30*time.Second, func() bool { return len(childrenOf(n.pid())) == 0 })
	if got := gauge(t, n.url, "parley_scale_deaths_total"); got != 1 {
		t.Errorf("%v servers have died, by the metrics", got)
	}

	talkOnce(t, t.Context(), n.url, func() {})
	kids := childrenOf(n.pid())
	if len(kids) == 0 {
		t.Fatal("no server after a conversation")
	}
	n.kill()
	until(t, "no server without its node", 5*time.Second, func() bool {
		return !slices.ContainsFunc(kids, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	})
}

// gauge reads a metric of the engine sim.
func gauge(t *testing.T, url, name string) float64 {
	t.Helper()
	v, ok := metric(t, url, name+`{engine="sim",region="local"}`)
	if !ok {
		t.Fatalf("no %s in the metrics", name)
	}
	return v
}

// metric reads a node's metric; false if there is none yet.
func metric(t *testing.T, url, series string) (float64, bool) {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v, true
}
