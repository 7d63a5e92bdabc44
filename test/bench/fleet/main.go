// Command fleet measures how requests are spread over several engines: by
// Parley, by simple rules, and while engines are broken one after another. It is
// its own engines, routers and users:
//
//	go run ./test/bench/fleet compare
//	go build -o bin/ ./cmd/parley && go run ./test/bench/fleet break -parley bin/parley
//
// Engines are simulated, or by choice llama-servers; docs/benchmarks/fleet.md says what they cost.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
	"github.com/parleyhq/parley/test/bench/mock"
)

const help = `usage: fleet COMMAND [flags]

  compare   conversations over four engines, by every rule in turn; prints a table
  break     conversations and streams in a node while its engines are broken one after another
  engine    one simulated engine
  route     a router alone (-rule parley, rr, least or bounded)

Each has -h.
`

func main() {
	kit.Main(help, map[string]func(*flag.FlagSet, []string) error{"compare": compare, "break": breakAll, "engine": engine, "route": route})
}

// engine runs a simulated engine.
func engine(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:9400", "address")
	var o mock.Options
	fs.IntVar(&o.Slots, "slots", 4, "answers at once")
	fs.DurationVar(&o.First, "first", 20*time.Millisecond, "before the first word, beside the prompt")
	fs.DurationVar(&o.Gap, "gap", 5*time.Millisecond, "between two words")
	fs.IntVar(&o.Words, "words", 16, "of an answer")
	fs.DurationVar(&o.Miss, "miss", 40*time.Millisecond, "to read 1000 characters that are not in the cache")
	fs.DurationVar(&o.Hit, "hit", time.Millisecond, "to read 1000 that are")
	fs.IntVar(&o.Blocks, "blocks", 400, "of 256 characters in the cache")
	_ = fs.Parse(args)
	srv := &http.Server{Addr: *listen, Handler: mock.New(o), ReadHeaderTimeout: 10 * time.Second}
	return srv.ListenAndServe()
}

// herd is a set of engines, each a process.
type herd struct {
	urls []string
	cmds []*exec.Cmd
	args [][]string

	server, gguf string // "" = simulated
	parley       string // in the place of a server: nodes with nothing but an embedded engine
	dir          string // of the nodes
}

// simulated reports whether nothing real computes.
func (h *herd) simulated() bool { return h.server == "" && h.parley == "" }

// modelName is the one model of all engines.
const modelName = "mock"

// add starts engines; more is for simulated ones.
func (h *herd) add(n int, more ...string) error {
	for range n {
		addr, err := kit.Free()
		if err != nil {
			return err
		}
		args := append([]string{"engine", "-listen", addr}, more...)
		switch {
		case h.parley != "":
			if args, err = h.node(addr); err != nil {
				return err
			}
		case h.server != "":
			_, port, _ := strings.Cut(addr, ":")
			args = []string{"--model", h.gguf, "--alias", modelName, "--host", "127.0.0.1", "--port", port, "--parallel", "4", "--ctx-size", "8192", "--threads", "1"}
		}
		h.urls, h.args, h.cmds = append(h.urls, "http://"+addr), append(h.args, args), append(h.cmds, nil)
		if err := h.start(len(h.urls) - 1); err != nil {
			h.stop()
			return err
		}
	}
	return nil
}

func (h *herd) start(i int) error {
	health := h.urls[i] + "/stats"
	cmd, err := kit.Self(0, h.args[i]...)
	if err != nil {
		return err
	}
	switch {
	case h.parley != "":
		cmd, health = exec.Command(h.parley, h.args[i]...), h.urls[i]+"/readyz"
	case h.server != "":
		cmd, health = exec.Command(h.server, h.args[i]...), h.urls[i]+"/health"
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	h.cmds[i] = cmd
	if err := ready(health); err != nil || h.parley == "" {
		return err
	}
	return awake(h.urls[i]) // a node is ready before its engine
}

// node writes the configuration of one that has an embedded engine.
func (h *herd) node(addr string) (args []string, err error) {
	if h.dir == "" {
		if h.dir, err = os.MkdirTemp("", "parley-bench-fleet-"); err != nil {
			return nil, err
		}
	}
	own := filepath.Join(h.dir, strconv.Itoa(len(h.urls)))
	file := own + ".yaml"
	return []string{"serve", "-c", file}, os.WriteFile(file, fmt.Appendf(nil, `
listen: %s
data: %q
engines:
  - {name: own, kind: embedded, models: [%q], slots: 4, threads: 1, context: 8192}
models:
  - {name: %s, serve: [own]}
`, addr, own, h.gguf, modelName), 0o600)
}

func (h *herd) kill(i int) {
	_ = h.cmds[i].Process.Kill()
	_ = h.cmds[i].Wait()
}

func (h *herd) stop() {
	for i := range h.cmds {
		if h.cmds[i] != nil {
			h.kill(i)
		}
	}
	if h.dir != "" {
		_ = os.RemoveAll(h.dir)
	}
}

func (h *herd) faults(i int, f mock.Faults) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	resp, err := http.Post(h.urls[i]+"/faults", "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (h *herd) stats() (sum mock.Stats, err error) {
	for _, u := range h.urls {
		resp, err := http.Get(u + "/stats")
		if err != nil {
			return sum, err
		}
		var s mock.Stats
		err = json.NewDecoder(resp.Body).Decode(&s)
		_ = resp.Body.Close()
		if err != nil {
			return sum, err
		}
		sum.Requests += s.Requests
		sum.Chars += s.Chars
		sum.Cached += s.Cached
		sum.HungUp += s.HungUp
	}
	return sum, nil
}

func ready(url string) error {
	for range 1500 {
		resp, err := http.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New(url + " does not answer")
}

// awake waits until an engine answers.
func awake(url string) error {
	var err error
	for range 300 {
		if _, err = (talk{words: 1}).one(http.DefaultClient, url, "", []message{{"user", "Hello"}}); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func ms(s float64) string { return fmt.Sprintf("%.0f ms", s*1000) }
