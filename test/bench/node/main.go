// Command node measures a whole parley node from outside: durable conversation
// turns a second, event streams that stay smooth, memory. It starts the binary
// on one core and keeps the load and a mock engine on the other, so that the
// node's limit is its own. The engine is a mock and says only numbers.
//
//	go build -o /tmp/parley ./cmd/parley
//	go run ./test/bench/node -parley /tmp/parley
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
)

func main() {
	parley := flag.String("parley", "parley", "the binary to measure")
	secs := flag.Duration("for", 8*time.Second, "length of each measurement")
	talkers := flag.Int("talkers", 64, "conversations that talk at once in the turns measurement")
	readers := flag.Int("readers", 2000, "event streams")
	live := flag.Int("live", 20, "answers that stream at once to the readers")
	flag.Parse()
	if err := run(*parley, *secs, *talkers, *readers, *live); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(parley string, secs time.Duration, talkers, readers, live int) error {
	mock, err := startMock()
	if err != nil {
		return err
	}
	const regions = "japaneast:witness,koreacentral,southeastasia"
	for _, m := range []struct {
		name string
		f    func(*node) error
		more []string // arguments of the node
	}{
		{name: "idle", f: idle},
		{name: "idle, a world of three regions on this one core", f: world, more: []string{"--regions", regions}},
		{name: "turns", f: func(n *node) error { mock.gap.Store(0); mock.tokens.Store(32); return n.turns(talkers, secs) }},
		{name: "readers", f: func(n *node) error {
			mock.gap.Store(int64(20 * time.Millisecond))
			mock.tokens.Store(int64(secs / (20 * time.Millisecond)))
			return n.readers(readers, live)
		}},
	} {
		n, err := startNode(parley, mock.url, m.more...)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", m.name)
		err = m.f(n)
		n.stop()
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// mock is an OpenAI-compatible engine that says w0 w1 ...
type mock struct {
	url    string
	gap    atomic.Int64 // ns between tokens
	tokens atomic.Int64
}

func startMock() (*mock, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mock{url: "http://" + l.Addr().String() + "/v1"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"object":"list","data":[{"id":"mock","object":"model","created":1,"owned_by":"mock"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", m.chat)
	go func() { _ = http.Serve(l, mux) }() //nolint:gosec // loopback, for as long as this program runs
	return m, nil
}

func (m *mock) chat(w http.ResponseWriter, r *http.Request) {
	var q struct{ Stream bool }
	_ = json.NewDecoder(r.Body).Decode(&q)
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	gap := time.Duration(m.gap.Load())
	for i := range m.tokens.Load() {
		if gap > 0 {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(gap):
			}
		}
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"w%d \"}}]}\n\n", i)
		if gap > 0 {
			_ = rc.Flush()
		}
	}
	_, _ = fmt.Fprint(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
}

type node struct {
	cmd    *exec.Cmd
	dir    string
	url    string
	client *http.Client
}

func startNode(parley, engine string, more ...string) (*node, error) {
	dir, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return nil, err
	}
	addr, err := kit.Free()
	if err != nil {
		return nil, err
	}
	args := []string{parley, "up", "--no-browser", "--listen", addr, "--data", dir, "--engine", engine, "--model", "mock"}
	args = append(args, more...)
	if _, err := exec.LookPath("taskset"); err == nil {
		args = append([]string{"taskset", "-c", "1"}, args...)
		_ = exec.Command("taskset", "-a", "-p", "-c", "0", strconv.Itoa(os.Getpid())).Run()
	}
	n := &node{
		cmd: exec.Command(args[0], args[1:]...), dir: dir, url: "http://" + addr,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}},
	}
	n.cmd.Stderr = os.Stderr
	n.cmd.Env = append(os.Environ(), "CI=true", "GOMAXPROCS=1")
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	for range 3000 {
		if resp, err := http.Get(n.url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return n, nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	n.stop()
	return nil, fmt.Errorf("the node at %s is not ready", addr)
}

func (n *node) stop() {
	_ = n.cmd.Process.Signal(os.Interrupt)
	_ = n.cmd.Wait()
	_ = os.RemoveAll(n.dir)
}

// memory returns resident and peak MiB of the node.
func (n *node) memory() (now, peak float64) { return memory(n.cmd.Process.Pid) }

func memory(pid int) (now, peak float64) {
	now, peak = kit.Memory(pid)
	return now / 1024, peak / 1024
}

// cpu returns the node's processor seconds.
func (n *node) cpu() float64 { return kit.CPU(n.cmd.Process.Pid) }

// world is idle for the processes of three regions and the one that holds them
// together: the edge, the page's address and the simulated distances.
func world(n *node) error {
	names, err := filepath.Glob(filepath.Join(n.dir, "regions", "*", "parley.pid"))
	if err != nil || len(names) == 0 {
		return fmt.Errorf("no regions in %s: %w", n.dir, err)
	}
	pids := map[string]int{"edge and links": n.cmd.Process.Pid}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if pids[filepath.Base(filepath.Dir(name))], err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return err
		}
	}
	time.Sleep(10 * time.Second)
	before := map[string]float64{}
	for name, pid := range pids {
		before[name] = kit.CPU(pid)
	}
	time.Sleep(20 * time.Second)
	var sum, used float64
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		now, _ := memory(pids[name])
		share := 100 * (kit.CPU(pids[name]) - before[name]) / 20
		fmt.Printf("  %-16s %.0f MiB, %.1f %% of a core\n", name, now, share)
		sum, used = sum+now, used+share
	}
	fmt.Printf("  all              %.0f MiB, %.1f %% of a core\n", sum, used)
	return nil
}

func idle(n *node) error {
	time.Sleep(2 * time.Second)
	before := n.cpu()
	time.Sleep(5 * time.Second)
	now, peak := n.memory()
	fmt.Printf("  memory %.0f MiB (peak %.0f), cpu %.2f %% of a core\n", now, peak, 100*(n.cpu()-before)/5)
	return nil
}

func (n *node) post(path string, body string, into any) error {
	req, err := http.NewRequest(http.MethodPost, n.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("POST %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func (n *node) conversation() (string, error) {
	var c struct{ ID string }
	err := n.post("/api/v1/conversations", "{}", &c)
	return c.ID, err
}

// follow calls each with the name and data of every event.
func (n *node) follow(ctx context.Context, conv string, each func(event string, data []byte) bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/api/v1/conversations/"+conv+"/events", nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewReaderSize(resp.Body, 4096)
	event := ""
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(line, []byte("event: ")):
			event = string(bytes.TrimSpace(line[7:]))
		case bytes.HasPrefix(line, []byte("data: ")):
			if !each(event, line[6:]) {
				return nil
			}
		}
	}
}

func (n *node) turns(talkers int, secs time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), secs+20*time.Second)
	defer cancel()
	var done atomic.Int64
	var mu sync.Mutex
	var acks, answers []time.Duration
	var first error
	began, cpu := time.Now(), n.cpu()
	var wg sync.WaitGroup
	for range talkers {
		wg.Go(func() {
			err := n.talk(ctx, began.Add(secs), func(ack, answer time.Duration) {
				done.Add(1)
				mu.Lock()
				defer mu.Unlock()
				acks, answers = append(acks, ack), append(answers, answer)
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				first = err
			}
		})
	}
	wg.Wait()
	took, used := time.Since(began).Seconds(), n.cpu()-cpu
	now, peak := n.memory()
	fmt.Printf("  %d conversations at once, answers of 32 tokens: %.0f durable turns/s, %.2f ms cpu each\n", talkers, float64(done.Load())/took, 1000*used/float64(done.Load()))
	fmt.Printf("  message acknowledged after %v p50, %v p99; answered after %v p50, %v p99\n", q(acks, .5), q(acks, .99), q(answers, .5), q(answers, .99))
	fmt.Printf("  memory %.0f MiB (peak %.0f)\n", now, peak)
	return first
}

// talk says something and waits for the whole answer, again and again.
func (n *node) talk(ctx context.Context, until time.Time, each func(ack, answer time.Duration)) error {
	conv, err := n.conversation()
	if err != nil {
		return err
	}
	over := make(chan struct{}, 1)
	go func() {
		_ = n.follow(ctx, conv, func(event string, data []byte) bool {
			if event == "turn" && bytes.Contains(data, []byte(`"state":"done"`)) {
				over <- struct{}{}
			}
			return ctx.Err() == nil
		})
	}()
	for time.Now().Before(until) {
		began := time.Now()
		var a struct{ ID string }
		if err := n.post("/api/v1/conversations/"+conv+"/activities", `{"type":"message","text":"How are you today?"}`, &a); err != nil {
			return err
		}
		ack := time.Since(began)
		select {
		case <-over:
			each(ack, time.Since(began))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func q(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(int(p*float64(len(d))), len(d)-1)].Round(100 * time.Microsecond)
}

// readers holds many event streams open while some conversations answer, and
// measures the longest silence on each stream while its answer runs.
func (n *node) readers(readers, live int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	convs := make([]string, live)
	for i := range convs {
		var err error
		if convs[i], err = n.conversation(); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var longest []time.Duration
	var events atomic.Int64
	var failed atomic.Int64
	var open, all sync.WaitGroup
	open.Add(readers)
	for i := range readers {
		all.Go(func() {
			open.Done()
			var last time.Time
			var worst time.Duration
			err := n.follow(ctx, convs[i%live], func(event string, data []byte) bool {
				events.Add(1)
				now := time.Now()
				if event == "delta" {
					if !last.IsZero() {
						worst = max(worst, now.Sub(last))
					}
					last = now
				}
				return event != "turn" || !bytes.Contains(data, []byte(`"state":"done"`))
			})
			if err != nil {
				failed.Add(1)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			longest = append(longest, worst)
		})
	}
	open.Wait()
	time.Sleep(3 * time.Second) // all attached
	began, cpu := time.Now(), n.cpu()
	for _, conv := range convs {
		var a struct{ ID string }
		if err := n.post("/api/v1/conversations/"+conv+"/activities", `{"type":"message","text":"How are you today?"}`, &a); err != nil {
			return err
		}
	}
	all.Wait()
	took, used := time.Since(began).Seconds(), n.cpu()-cpu
	stalls := 0
	for _, d := range longest {
		if d > 100*time.Millisecond {
			stalls++
		}
	}
	now, peak := n.memory()
	fmt.Printf("  %d readers of %d streaming answers: %.0f events/s, %.1f us cpu each, %d streams failed\n", readers, live, float64(events.Load())/took, 1e6*used/float64(events.Load()), failed.Load())
	fmt.Printf("  longest silence of a stream: %v p50, %v p99, %v worst; %d streams with one over 100 ms\n", q(longest, .5), q(longest, .99), q(longest, 1), stalls)
	fmt.Printf("  memory %.0f MiB (peak %.0f), %.0f KiB for each reader\n", now, peak, now*1024/float64(readers))
	return nil
}
