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
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
)

// server is a child under test, or the mock.
type server struct {
	name, addr string
	pid        int
}

// compare starts the mock on one core and both servers on another, and loads
// direct, plain and gateway in alternating rounds. Figures are medians over the
// rounds; only ratios within one run mean anything.
func compare(fs *flag.FlagSet, args []string) error {
	rounds := fs.Int("rounds", 5, "rounds of each kind")
	secs := fs.Float64("secs", 3, "length of a round")
	streams := fs.Int("streams", 256, "streams at once")
	conc := fs.Int("conc", 64, "whole answers in flight")
	parley := fs.String("parley", "", "a whole node of this program instead of the gateway alone: keys, budgets, prices, the books")
	_ = fs.Parse(args)
	for _, k := range []struct {
		name string
		mock []string
		load []string
		cut  bool
	}{
		{name: "whole answers, 50 a second", load: []string{"-rate", "50"}},
		{name: fmt.Sprintf("whole answers, %d in flight", *conc), load: []string{"-conc", strconv.Itoa(*conc)}},
		{name: fmt.Sprintf("%d streams of 64 words, 20 ms apart", *streams), mock: []string{"-gap", "20ms"}, load: []string{"-stream", "-tokens", "64", "-conc", strconv.Itoa(*streams)}},
		{name: "streams whose engine dies after 5 words", mock: []string{"-die", "5"}, load: []string{"-stream", "-conc", "8"}, cut: true},
	} {
		all, stop, err := start(k.mock, *parley)
		if err != nil {
			return err
		}
		err = table(k.name, all, append(k.load, "-secs", strconv.FormatFloat(*secs, 'f', -1, 64)), *rounds, k.cut)
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// start starts what is compared; stop ends it.
func start(mockArgs []string, parley string) (all []server, stop func(), err error) {
	var ends []func()
	stop = func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}
	run := func(name string, core int, args ...string) server {
		if err != nil {
			return server{}
		}
		s := server{name: name}
		if s.addr, err = kit.Free(); err != nil {
			return s
		}
		var cmd *exec.Cmd
		if cmd, err = kit.Self(core, append([]string{args[0], "-listen", s.addr}, args[1:]...)...); err != nil {
			return s
		}
		if err = cmd.Start(); err != nil {
			return s
		}
		ends = append(ends, func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		s.pid = cmd.Process.Pid
		err = await(s.addr)
		return s
	}
	m := run("direct", 0, append([]string{"mock"}, mockArgs...)...)
	p := run("plain", 1, "plain", "-to", "http://"+m.addr)
	var g server
	if parley == "" {
		g = run("gateway", 1, "serve", "-to", "http://"+m.addr)
	} else if err == nil {
		var end func()
		if g, end, err = node(parley, "http://"+m.addr+"/v1"); end != nil {
			ends = append(ends, end)
		}
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return []server{{name: "direct", addr: m.addr}, p, g}, stop, nil
}

func await(addr string) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// result is a round of one server.
type result struct {
	tally
	cpu float64 // seconds
}

// round loads one server.
func round(s server, args []string) (res result, err error) {
	before := cpu(s.pid)
	cmd, err := kit.Self(0, append([]string{"load", "-addr", s.addr}, args...)...)
	if err != nil {
		return res, err
	}
	out, err := cmd.Output()
	if err != nil {
		return res, fmt.Errorf("load %s: %w", s.name, err)
	}
	res.cpu = cpu(s.pid) - before
	return res, json.Unmarshal(out, &res.tally)
}

func table(title string, all []server, args []string, rounds int, cut bool) error {
	got := make([][]result, len(all))
	for r := range rounds {
		for k := range all {
			i := (k + r) % len(all) // nobody always goes first
			res, err := round(all[i], args)
			if err != nil {
				return err
			}
			got[i] = append(got[i], res)
		}
	}
	fmt.Printf("\n## %s\n\n", title)
	if cut {
		fmt.Println("| server | clean ends (must be 0) | broken off | failed |\n|---|---|---|---|")
		for i, s := range all {
			var sum tally
			for _, r := range got[i] {
				sum.OK, sum.Cut, sum.Failed = sum.OK+r.OK, sum.Cut+r.Cut, sum.Failed+r.Failed
			}
			fmt.Printf("| %s | %d | %d | %d |\n", s.name, sum.OK, sum.Cut, sum.Failed)
		}
		return nil
	}
	over := func(i int, f func(result) float64) float64 {
		var v []float64
		for _, r := range got[i] {
			v = append(v, f(r))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	fmt.Println("| server | p50 ms | added p50, to plain | p99 ms | done | failed | CPU us/request, to plain | CPU us/chunk, to plain | stalls |\n|---|---|---|---|---|---|---|---|---|")
	p50 := func(i int) float64 { return over(i, func(r result) float64 { return r.P50 }) }
	perReq := func(i int) float64 {
		return over(i, func(r result) float64 { return 1e6 * r.cpu / float64(max(r.OK, 1)) })
	}
	perChunk := func(i int) float64 {
		return over(i, func(r result) float64 { return 1e6 * r.cpu / float64(max(r.Chunks, 1)) })
	}
	for i, s := range all {
		done, failed, stalls := 0, 0, 0
		for _, r := range got[i] {
			done, failed, stalls = done+r.OK, failed+r.Failed+r.Cut, stalls+r.Stalls
		}
		fmt.Printf("| %s | %.2f | %s | %.2f | %d | %d | %s | %s | %d |\n", s.name, p50(i),
			ratio(p50(i)-p50(0), p50(1)-p50(0), i), over(i, func(r result) float64 { return r.P99 }), done, failed,
			ratio(perReq(i), perReq(1), i), ratio(perChunk(i), perChunk(1), i), stalls)
	}
	return nil
}

func ratio(v, yard float64, i int) string {
	if i == 0 || v > 1e4 { // a chunk of an answer that is no stream
		return "-"
	}
	return fmt.Sprintf("%.2f, %.2f", v, v/yard)
}

// cpu is the time that a process has run, in seconds, to the nanosecond where
// the kernel says so. Linux only.
func cpu(pid int) float64 {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	sum := 0.0
	for _, f := range files {
		b, err := os.ReadFile(f) //nolint:gosec // below /proc
		if err != nil {
			continue
		}
		if w := bytes.Fields(b); len(w) > 0 {
			ns, _ := strconv.ParseFloat(string(w[0]), 64)
			sum += ns / 1e9
		}
	}
	return sum
}
