package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
)

const benchKey = "pk-of-the-benchmark"

// node starts a whole Parley on the core of the servers under test, with all
// that an account costs: a key, four budgets that every request is under, a
// price, the books; and /metrics is read as often as Prometheus does.
func node(parley, engine string) (s server, end func(), err error) {
	s.name = "node"
	if s.addr, err = kit.Free(); err != nil {
		return s, nil, err
	}
	dir, err := os.MkdirTemp("", "parley-bench-gateway-")
	if err != nil {
		return s, nil, err
	}
	end = func() { _ = os.RemoveAll(dir) }
	file := filepath.Join(dir, "parley.yaml")
	if err = os.WriteFile(file, fmt.Appendf(nil, `
listen: %s
data: %q
engines:
  - {name: mock, kind: openai, url: %q, models: [mock]}
keys:
  - {name: bench, key: "sha256:%x", tenant: acme, operator: true}
prices:
  - {model: "*", input: 0.15, output: 0.60}
budgets:
  - {name: all, for: everyone, month.money: 1000000}
  - {name: tenants, for: tenant, day.money: 1000000, minute.requests: 100000000}
  - {name: keys, for: key, minute: {requests: 100000000, tokens: 1000000000000}}
  - {name: users, for: user, day.tokens: 1000000000000}
`, s.addr, filepath.Join(dir, "data"), engine, sha256.Sum256([]byte(benchKey))), 0o600); err != nil {
		return s, end, err
	}
	cmd := kit.Pinned(1, parley, "serve", "-c", file)
	cmd.Stderr = nil
	if err = cmd.Start(); err != nil {
		return s, end, err
	}
	done := make(chan struct{})
	end = func() {
		close(done)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	s.pid = cmd.Process.Pid
	if err = await(s.addr); err != nil {
		return s, end, err
	}
	go scrape("http://"+s.addr+"/metrics", done)
	return s, end, nil
}

// scrape reads the metrics as Prometheus does without being told otherwise.
func scrape(url string, done chan struct{}) {
	client := &http.Client{Timeout: 5 * time.Second}
	for {
		select {
		case <-done:
			return
		case <-time.After(15 * time.Second):
		}
		req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+benchKey)
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
}
