package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
)

// server is a child under test.
type server struct {
	name, addr string
	cmd        *exec.Cmd
}

// compare has the servers on one core, one at a time under load, and the
// generator on another. Figures are medians over the rounds; only ratios within
// one run mean anything.
func compare(fs *flag.FlagSet, args []string) error {
	rounds := fs.Int("rounds", 5, "rounds of each kind")
	secs := fs.Float64("secs", 2, "length of a round")
	rate := fs.Int("rate", 10_000, "queries a second of the rounds that look at latency")
	_ = fs.Parse(args)
	dir, err := os.MkdirTemp("", "parley-dns-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	all, err := start(dir)
	defer func() {
		for _, s := range all {
			_ = s.cmd.Process.Signal(syscall.SIGTERM) // not SIGKILL: servers end their children
			_ = s.cmd.Wait()
		}
	}()
	if err != nil {
		return err
	}
	for _, k := range []struct{ title, kind string }{
		{"A of a name", "plain"}, {"A by client subnet", "subnet"}, {"A of names that don't exist, each another one", "absent"},
	} {
		got, err := measure(all, *rounds, *secs, "-kind", k.kind)
		if err != nil {
			return err
		}
		fmt.Printf("\n## %s\n\n| server | queries/s | CPU us/query | queries per CPU second | wrong | lost |\n|---|---|---|---|---|---|\n", k.title)
		for i, s := range all {
			perQuery := median(got[i], func(r result) float64 { return r.cpu / float64(r.OK) * 1e6 })
			fmt.Printf("| %s | %.0f | %.1f | %.0f | %d | %d |\n", s.name, median(got[i], func(r result) float64 { return float64(r.OK) / r.Seconds }),
				perQuery, 1e6/perQuery, total(got[i], func(r result) int { return r.Wrong }), total(got[i], func(r result) int { return r.Lost }))
		}
	}
	got, err := measure(all, *rounds, *secs, "-kind", "plain", "-rate", strconv.Itoa(*rate))
	if err != nil {
		return err
	}
	fmt.Printf("\n## Latency at %d queries a second\n\n| server | p50 us | p99 us | p99.9 us | lost |\n|---|---|---|---|---|\n", *rate)
	for i, s := range all {
		fmt.Printf("| %s | %.0f | %.0f | %.0f | %d |\n", s.name, median(got[i], func(r result) float64 { return r.P50 }),
			median(got[i], func(r result) float64 { return r.P99 }), median(got[i], func(r result) float64 { return r.P999 }), total(got[i], func(r result) int { return r.Lost }))
	}
	return nil
}

// start runs every server there is.
func start(dir string) (all []server, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	zoneFile := filepath.Join(dir, "zone")
	if err := os.WriteFile(zoneFile, []byte(zoneText), 0o600); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		name, program, config string
		args                  func(addr, config string) []string
	}{
		{"bare UDP responder in Go", self, "", func(addr, _ string) []string { return []string{"bare", "-listen", addr} }},
		{"Parley gslb", self, "", func(addr, _ string) []string { return []string{"gslb", "-listen", addr} }},
		{"NSD", "nsd", nsdConfig, func(_, config string) []string { return []string{"-d", "-c", config} }},
		{"Knot DNS", "knotd", knotConfig, func(_, config string) []string { return []string{"-c", config} }},
	} {
		program, err := exec.LookPath(s.program)
		if err != nil {
			fmt.Printf("%s is not installed and left out\n", s.name)
			continue
		}
		addr, err := freePort()
		if err != nil {
			return all, err
		}
		_, port, _ := net.SplitHostPort(addr)
		config := filepath.Join(dir, s.program)
		if s.config != "" {
			sub := filepath.Join(dir, s.program+".d")
			text := strings.NewReplacer("DIR", sub, "PORT", port, "ZONEFILE", zoneFile, "ZONE", strings.TrimSuffix(zone, ".")).Replace(s.config)
			if err := os.Mkdir(sub, 0o700); err != nil {
				return all, err
			}
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				return all, err
			}
		}
		cmd := kit.Pinned(1, append([]string{program}, s.args(addr, config)...)...)
		if s.config != "" {
			cmd.Stderr = nil // they tell about every start and zone
		}
		if err := cmd.Start(); err != nil {
			return all, err
		}
		all = append(all, server{s.name, addr, cmd})
		if err := await(addr); err != nil {
			return all, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return all, nil
}

const (
	zoneText = `$ORIGIN ` + zone + `
@ 300 SOA ns.example.net. hostmaster 1 3600 600 604800 10
@ 300 NS ns.example.net.
@ 10 A 192.0.2.1
api 10 A 192.0.2.1
`
	nsdConfig = `server:
  server-count: 1
  ip-address: 127.0.0.1@PORT
  username: ""
  database: ""
  zonesdir: "DIR"
  zonelistfile: "DIR/zone.list"
  xfrdfile: "DIR/xfrd.state"
  xfrdir: "DIR"
  pidfile: "DIR/nsd.pid"
  rrl-ratelimit: 0
  minimal-responses: yes
zone:
  name: ZONE
  zonefile: ZONEFILE
`
	knotConfig = `server:
  listen: 127.0.0.1@PORT
  rundir: DIR
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: DIR
zone:
  - domain: ZONE
    file: ZONEFILE
`
)

func freePort() (string, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return c.LocalAddr().String(), c.Close()
}

// await asks until a server answers well.
func await(addr string) error {
	q := questions()["plain"]
	buf := make([]byte, 2048)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("udp", addr)
		if err != nil {
			return err
		}
		_, _ = c.Write(q.packet) // refused while nobody listens
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := c.Read(buf)
		_ = c.Close()
		if err == nil && q.good(buf[:n]) {
			return nil
		}
	}
	return fmt.Errorf("no good answer from %s within 10 s", addr)
}

// result is a round of one server.
type result struct {
	tally
	cpu float64 // seconds
}

func measure(all []server, rounds int, secs float64, args ...string) ([][]result, error) {
	got := make([][]result, len(all))
	for r := range rounds {
		for k := range all {
			i := (k + r) % len(all) // nobody always goes first
			before := cpu(all[i].cmd.Process.Pid)
			cmd, err := kit.Self(0, append([]string{"load", "-addr", all[i].addr, "-secs", strconv.FormatFloat(secs, 'f', -1, 64)}, args...)...)
			if err != nil {
				return nil, err
			}
			out, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("load %s: %w", all[i].name, err)
			}
			res := result{cpu: cpu(all[i].cmd.Process.Pid) - before}
			if err := json.Unmarshal(out, &res.tally); err != nil {
				return nil, err
			}
			got[i] = append(got[i], res)
		}
	}
	return got, nil
}

// cpu is what a process and those below it have used, in seconds, by the
// kernel's ticks of 10 ms.
func cpu(root int) float64 {
	ticks, parent := map[int]int{}, map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // from the third field on
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(f) < 13 {
			continue
		}
		parent[pid], _ = strconv.Atoi(string(f[1]))
		user, _ := strconv.Atoi(string(f[11]))
		system, _ := strconv.Atoi(string(f[12]))
		ticks[pid] = user + system
	}
	sum := 0
	for pid, n := range ticks {
		at := pid
		for at != root && at > 1 {
			at = parent[at]
		}
		if at == root {
			sum += n
		}
	}
	return float64(sum) / 100
}

func median(rs []result, of func(result) float64) float64 {
	var all []float64
	for _, r := range rs {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func total(rs []result, of func(result) int) (n int) {
	for _, r := range rs {
		n += of(r)
	}
	return n
}
