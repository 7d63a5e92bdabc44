// Command directline measures the Direct Line channel of a node next to a bare
// WebSocket echo: conversations that all talk, what an activity costs, how long
// it takes to come back, and what a connection costs that only waits. Server
// and load have a core each.
//
//	go build -o /tmp/parley ./cmd/parley
//	go run ./test/bench/directline compare -parley /tmp/parley
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/parleyhq/parley/test/bench/kit"
)

const help = `usage:
  compare -parley FILE [-n 1000] [-idle 10000] [-for 10s] [-rate 100]
  bare -listen HOST:PORT
`

const site = "a-secret-of-this-benchmark-0123456789abcdef"

func main() {
	kit.Main(help, map[string]func(*flag.FlagSet, []string) error{"compare": compare, "bare": bare})
}

// bare sends every frame back.
func bare(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:8485", "address")
	_ = fs.Parse(args)
	return http.ListenAndServe(*listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // loopback, for as long as compare runs
		if r.URL.Path == "/readyz" {
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for {
			kind, b, err := ws.Read(r.Context())
			if err != nil || ws.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}))
}

type options struct {
	n, idle int
	long    time.Duration
	rate    int
}

func compare(fs *flag.FlagSet, args []string) error {
	parley := fs.String("parley", "parley", "the binary to measure")
	var o options
	fs.IntVar(&o.n, "n", 1000, "conversations that are open")
	fs.IntVar(&o.idle, "idle", 10_000, "connections that only wait")
	fs.DurationVar(&o.long, "for", 10*time.Second, "length of each measurement")
	fs.IntVar(&o.rate, "rate", 100, "activities a second for the latency of a server that is not busy")
	_ = fs.Parse(args)
	if _, err := exec.LookPath("taskset"); err == nil {
		_ = exec.Command("taskset", "-a", "-p", "-c", "0", strconv.Itoa(os.Getpid())).Run()
	}
	fmt.Printf("%-30s %13s %12s %11s %11s %11s %11s\n", "", "activities/s", "cpu each", "busy p50", "p99", "calm p50", "p99")
	for _, s := range []struct {
		name  string
		start func() (*server, error)
		dial  func(context.Context, *server) (*talk, error)
	}{
		{"bare echo", startBare, dialBare},
		{"Direct Line, events", func() (*server, error) { return startNode(*parley) }, dialNode("event")},
		{"Direct Line, said and answered", func() (*server, error) { return startNode(*parley) }, dialNode("message")},
	} {
		srv, err := s.start()
		if err != nil {
			return err
		}
		err = srv.measure(s.name, o, s.dial)
		srv.stop()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for _, s := range []struct {
		name  string
		start func() (*server, error)
		dial  func(context.Context, *server) (*talk, error)
	}{{"bare echo", startBare, dialBare}, {"Direct Line", func() (*server, error) { return startNode(*parley) }, dialNode("event")}} {
		srv, err := s.start()
		if err != nil {
			return err
		}
		err = srv.wait(s.name, o, s.dial)
		srv.stop()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// server is what is measured.
type server struct {
	cmd  *exec.Cmd
	dir  string
	addr string
	http *http.Client
}

func start(dir, addr string, cmd *exec.Cmd) (*server, error) {
	cmd.Env = append(os.Environ(), "CI=true", "GOMAXPROCS=1")
	s := &server{cmd: cmd, dir: dir, addr: addr, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for range 3000 {
		if resp, err := s.http.Get("http://" + addr + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("the server at %s is not ready", addr)
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

func startBare() (*server, error) {
	addr, err := kit.Free()
	if err != nil {
		return nil, err
	}
	cmd, err := kit.Self(1, "bare", "-listen", addr)
	if err != nil {
		return nil, err
	}
	return start("", addr, cmd)
}

func startNode(parley string) (*server, error) {
	addr, err := kit.Free()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "parley.yaml")
	text := fmt.Sprintf("listen: %s\ndata: %s\nengine: echo\nchannels:\n  directline:\n    - {name: bench, secret: %s}\n", addr, filepath.Join(dir, "data"), site)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return start(dir, addr, kit.Pinned(1, parley, "serve", "-c", config))
}

// talk is one conversation's connection.
type talk struct {
	ws  *websocket.Conn
	say func(ctx context.Context, key string) error
	// done reports whether a frame is the last that follows from what was said
	// under a key.
	done func(frame []byte, key string) bool
}

func dialBare(ctx context.Context, s *server) (*talk, error) {
	ws, _, err := websocket.Dial(ctx, "ws://"+s.addr+"/", nil)
	if err != nil {
		return nil, err
	}
	return &talk{
		ws: ws,
		say: func(ctx context.Context, key string) error {
			return ws.Write(ctx, websocket.MessageText, activity("event", key))
		},
		done: func(frame []byte, key string) bool { return bytes.Contains(frame, []byte(key)) },
	}, nil
}

func activity(kind, key string) []byte {
	return fmt.Appendf(nil, `{"type":%q,"from":{"id":"ann","name":"Ann"},"name":"key","text":"What about %s?","locale":"en-GB","channelData":{"clientActivityID":%q}}`, kind, key, key)
}

func dialNode(kind string) func(context.Context, *server) (*talk, error) {
	return func(ctx context.Context, s *server) (*talk, error) {
		var made struct{ ConversationID, Token, StreamURL string }
		if err := s.post(ctx, "/v3/directline/conversations", site, nil, &made); err != nil {
			return nil, err
		}
		ws, _, err := websocket.Dial(ctx, made.StreamURL, nil)
		if err != nil {
			return nil, err
		}
		ws.SetReadLimit(1 << 20)
		wanted := []byte(`"Echo: What about `)
		return &talk{
			ws: ws,
			say: func(ctx context.Context, key string) error {
				return s.post(ctx, "/v3/directline/conversations/"+made.ConversationID+"/activities", made.Token, activity(kind, key), nil)
			},
			done: func(frame []byte, key string) bool {
				if kind == "event" {
					return bytes.Contains(frame, []byte(key))
				}
				return bytes.Contains(frame, append(slices.Clone(wanted), key...)) && bytes.Contains(frame, []byte(`"type":"message"`))
			},
		}, nil
	}
}

func (s *server) post(ctx context.Context, path, secret string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

// open opens connections, a few at a time.
func (s *server) open(ctx context.Context, n int, dial func(context.Context, *server) (*talk, error)) ([]*talk, error) {
	all := make([]*talk, n)
	var next atomic.Int64
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil {
				k := int(next.Add(1)) - 1
				if k >= n {
					return
				}
				all[k], errs[i] = dial(ctx, s)
			}
		})
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return all, errs[i] // they are alike
	}
	return all, nil
}

func hangUp(all []*talk) {
	for _, t := range all {
		if t != nil {
			_ = t.ws.CloseNow()
		}
	}
}

// measure has all conversations talk, each as soon as its last word came back,
// and then so few that the server is not busy.
func (s *server) measure(name string, o options, dial func(context.Context, *server) (*talk, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	all, err := s.open(ctx, o.n, dial)
	defer hangUp(all)
	if err != nil {
		return err
	}
	before := s.cpu()
	began := time.Now()
	busy, err := converse(ctx, all, o.long, 0)
	if err != nil {
		return err
	}
	took, used := time.Since(began), s.cpu()-before
	time.Sleep(5 * time.Second) // a node's store is behind its log for a while
	calm, err := converse(ctx, all, o.long, time.Duration(o.n)*time.Second/time.Duration(o.rate))
	if err != nil {
		return err
	}
	fmt.Printf("%-30s %13.0f %12v %11v %11v %11v %11v\n", name, float64(len(busy))/took.Seconds(),
		(time.Duration(used*1e9) / time.Duration(len(busy))).Round(time.Microsecond), at(busy, 0.5), at(busy, 0.99), at(calm, 0.5), at(calm, 0.99))
	return nil
}

// converse lets all talk for a while, each with a rest between two words.
func converse(ctx context.Context, all []*talk, long, rest time.Duration) ([]time.Duration, error) {
	var (
		mu   sync.Mutex // guards took and errs
		took []time.Duration
		errs []error
		wg   sync.WaitGroup
		end  = time.Now().Add(long)
	)
	for i, t := range all {
		wg.Go(func() {
			time.Sleep(rest * time.Duration(i) / time.Duration(len(all)))
			for k := 0; time.Now().Before(end); k++ {
				began := time.Now()
				if err := t.turn(ctx, fmt.Sprintf("k%d-%d-%d.", i, k, began.UnixNano())); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					return
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
				time.Sleep(rest)
			}
		})
	}
	wg.Wait()
	if len(took) == 0 {
		errs = append(errs, errors.New("nothing came back"))
	}
	slices.Sort(took)
	return took, errors.Join(errs...)
}

func (t *talk) turn(ctx context.Context, key string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sent := make(chan error, 1)
	go func() {
		err := t.say(ctx, key)
		if err != nil {
			cancel(err)
		}
		sent <- err
	}()
	for {
		_, frame, err := t.ws.Read(ctx)
		if err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		if t.done(frame, key) {
			return <-sent
		}
	}
}

func at(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(10 * time.Microsecond)
}

// wait opens connections that only wait, and has some of them talk.
func (s *server) wait(name string, o options, dial func(context.Context, *server) (*talk, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	before := s.memory()
	all, err := s.open(ctx, o.idle, dial)
	defer hangUp(all)
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	now, was := s.memory(), s.cpu()
	time.Sleep(10 * time.Second)
	used := s.cpu() - was
	some, err := converse(ctx, all[:min(len(all), 100)], 3*time.Second, time.Second)
	if err != nil {
		return err
	}
	fmt.Printf("%-30s %d connections wait: %.1f KiB each, %.1f %% of a core; 100 of them talk once a second: p50 %v, p99 %v\n",
		name, len(all), (now-before)/float64(len(all)), 10*used, at(some, 0.5), at(some, 0.99))
	return nil
}

// memory is the resident KiB of the server.
func (s *server) memory() float64 {
	now, _ := kit.Memory(s.cmd.Process.Pid)
	return now
}

// cpu is the processor seconds of the server.
func (s *server) cpu() float64 { return kit.CPU(s.cmd.Process.Pid) }
