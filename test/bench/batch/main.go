// Command batch measures what a batch costs people who chat meanwhile, and
// whether each of its lines is answered once though an engine, a node and a
// region are killed on the way. It is its own engines and users:
//
//	go build -o bin/ ./cmd/parley && go run ./test/bench/batch run -parley bin/parley
//
// All engines are simulated; docs/benchmarks/batch.md says what they cost.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
	"github.com/parleyhq/parley/test/bench/mock"
)

const help = `usage: batch COMMAND [flags]

  run      people chat, without a batch and with one, and parts are killed; prints a table
  engine   one simulated engine

Each has -h.
`

const words = 16

func main() {
	kit.Main(help, map[string]func(*flag.FlagSet, []string) error{"run": run, "engine": engine})
}

func engine(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:9400", "address")
	gap := fs.Duration("gap", 10*time.Millisecond, "between two words")
	_ = fs.Parse(args)
	srv := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second, Handler: mock.New(mock.Options{
		Slots: 4, First: 20 * time.Millisecond, Gap: *gap, Words: words, Miss: 40 * time.Millisecond, Hit: time.Millisecond, Blocks: 400,
	})}
	return srv.ListenAndServe()
}

// process is one that can be killed and started again.
type process struct {
	name  string
	url   string
	ready string // path that answers 200 when it is
	make  func() (*exec.Cmd, error)
	cmd   *exec.Cmd
}

func (p *process) start() error {
	cmd, err := p.make()
	if err != nil {
		return err
	}
	p.cmd = cmd
	return cmd.Start()
}

func (p *process) wait() error {
	for range 4500 {
		resp, err := http.Get(p.url + p.ready)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s does not answer at %s", p.name, p.url)
}

// kill is kill -9.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// world is four engines, and three nodes in three regions: two that answer and
// a witness.
type world struct {
	dir     string
	engines []*process
	nodes   []*process // the witness last
}

// open starts a world of its own.
func open(parley string, gap time.Duration) (w *world, err error) {
	w = &world{}
	if w.dir, err = os.MkdirTemp("", "parley-bench-batch-"); err != nil {
		return nil, err
	}
	var engines strings.Builder
	for i := range 4 {
		addr, err := kit.Free()
		if err != nil {
			return w, err
		}
		w.engines = append(w.engines, &process{name: fmt.Sprint("engine ", i), url: "http://" + addr, ready: "/stats", make: func() (*exec.Cmd, error) {
			return kit.Self(0, "engine", "-listen", addr, "-gap", gap.String())
		}})
		// Each of the two nodes has half of the four slots.
		fmt.Fprintf(&engines, "  - {name: e%d, kind: openai, url: \"http://%s/v1\", dialect: generic, models: [mock], resume: prefill, slots: 2}\n", i, addr)
	}
	regions := []string{"east", "west", "north"}
	var nodes strings.Builder
	var cluster []string
	for i, region := range regions {
		addr, err := kit.Free()
		if err != nil {
			return w, err
		}
		peer, err := kit.Free()
		if err != nil {
			return w, err
		}
		cluster = append(cluster, peer)
		fmt.Fprintf(&nodes, "  - {name: %s, region: %s, address: %q, url: \"http://%s\", witness: %v}\n", region, region, peer, addr, i == 2)
		file := filepath.Join(w.dir, region+".yaml")
		w.nodes = append(w.nodes, &process{name: region, url: "http://" + addr, ready: "/readyz", make: func() (*exec.Cmd, error) {
			said, err := os.OpenFile(filepath.Join(w.dir, region+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				return nil, err
			}
			cmd := exec.Command(parley, "serve", "-c", file) // ended by close
			cmd.Stdout, cmd.Stderr = said, said
			return cmd, nil
		}})
	}
	for i, region := range regions {
		cfg := fmt.Sprintf("listen: %s\nregion: %s\nnode: %s\ndata: %q\nengines:\n%snodes:\n%scluster: {listen: %q, round_trip: 10ms}\n",
			strings.TrimPrefix(w.nodes[i].url, "http://"), region, region, filepath.Join(w.dir, region), engines.String(), nodes.String(), cluster[i])
		if err := os.WriteFile(filepath.Join(w.dir, region+".yaml"), []byte(cfg), 0o600); err != nil {
			return w, err
		}
	}
	all := append(append([]*process{}, w.engines...), w.nodes...)
	for _, p := range all {
		if err := p.start(); err != nil {
			return w, err
		}
	}
	for _, p := range all {
		if err := p.wait(); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) close() {
	for _, p := range append(w.nodes, w.engines...) {
		p.kill()
	}
	_ = os.RemoveAll(w.dir)
}
