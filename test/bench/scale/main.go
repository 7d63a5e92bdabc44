// Command scale has engines come and go under a ramp of requests, on real
// processes, and holds what happened against a fixed number of them and against
// what the simulator says:
//
//	go build -o bin/ ./cmd/parley
//	go run ./test/bench/scale ramp -parley bin/parley -server llama-server -gguf model.gguf -draw ramp.svg
//	go run ./test/bench/scale ramp -parley bin/parley -draw ramp.svg    # simulated engines, and says so
//
// docs/benchmarks/scale.md says what came of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/scale"
	"github.com/parleyhq/parley/internal/scale/replay"
	"github.com/parleyhq/parley/test/bench/kit"
	"github.com/parleyhq/parley/test/bench/mock"
)

const help = `usage: scale COMMAND [flags]

  ramp     from no engine to several and back, next to a fixed number and to the simulator
  engine   one simulated engine

Each has -h.
`

func main() {
	kit.Main(help, map[string]func(*flag.FlagSet, []string) error{"ramp": ramp, "engine": engine})
}

// engine runs a simulated engine: 40 ms for 1000 characters of a prompt, 25 ms
// for a word, after a start of two seconds.
func engine(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:9400", "address")
	slots := fs.Int("slots", 2, "answers at once")
	_ = fs.Parse(args)
	time.Sleep(2 * time.Second)
	srv := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second, Handler: mock.New(mock.Options{
		Slots: *slots, First: 50 * time.Millisecond, Gap: 25 * time.Millisecond, Words: 1000, Miss: 40 * time.Millisecond, Hit: 40 * time.Millisecond, Blocks: 100,
	})}
	return srv.ListenAndServe()
}

// setting is what is measured.
type setting struct {
	parley  string
	command []string // of a server, with {port}
	real    bool
	slots   int
	max     int
	hold    time.Duration
	idle    time.Duration
	traffic replay.Generate
	quiet   time.Duration // at the end
	draw    string
}

func ramp(fs *flag.FlagSet, args []string) error {
	var s setting
	var server, gguf string
	fs.StringVar(&s.parley, "parley", "parley", "the binary")
	fs.StringVar(&server, "server", "", "a llama-server; empty: simulated engines")
	fs.StringVar(&gguf, "gguf", "", "its model")
	threads := fs.Int("threads", 1, "of each llama-server")
	fs.IntVar(&s.slots, "slots", 2, "answers at once of one engine")
	fs.IntVar(&s.max, "max", 3, "engines at most")
	fs.DurationVar(&s.hold, "hold", 10*time.Second, "as in the configuration")
	fs.DurationVar(&s.idle, "idle", 15*time.Second, "as in the configuration")
	fs.DurationVar(&s.traffic.For, "for", 2*time.Minute, "length of the ramp, with quiet before and after")
	fs.Float64Var(&s.traffic.Peak, "peak", 2, "requests in a second at its peak")
	fs.IntVar(&s.traffic.Prompt, "prompt", 60, "words of a prompt, on average")
	fs.IntVar(&s.traffic.Answer, "answer", 40, "tokens of an answer, on average")
	fs.Uint64Var(&s.traffic.Seed, "seed", 1, "of the traffic")
	fs.DurationVar(&s.quiet, "quiet", 30*time.Second, "time after the last request in which the engines go")
	fs.StringVar(&s.draw, "draw", "", "draw into this file (.svg)")
	_ = fs.Parse(args)
	s.traffic.Shape = "ramp"
	if s.real = server != ""; s.real {
		s.command = []string{server, "--model", gguf, "--host", "127.0.0.1", "--port", "{port}", "--parallel", strconv.Itoa(s.slots), "--threads", strconv.Itoa(*threads), "--ctx-size", strconv.Itoa(2048 * s.slots)}
	} else {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		s.command = []string{self, "engine", "-listen", "127.0.0.1:{port}", "-slots", strconv.Itoa(s.slots)}
	}
	return s.run(context.Background())
}

func (s setting) run(ctx context.Context) error {
	traffic, err := s.traffic.Traffic()
	if err != nil {
		return err
	}
	what := "simulated engines"
	if s.real {
		what = "llama-server"
	}
	fmt.Fprintf(os.Stderr, "%d requests over %v; measuring one engine first\n", len(traffic), s.traffic.For)
	e, err := s.calibrate(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("One engine (%s): starts in %v; first token after %v and %.0f words of prompt a second; %.1f tokens/s alone; a further answer costs %.2f; %s at full speed.\n\n",
		what, e.Starts.Round(10*time.Millisecond), e.First.Round(time.Millisecond), e.Prefill, e.Decode, e.Batch, cores(e.Cores))
	fixed := replay.Fixed(s.max)
	moving := replay.Policy{Name: fmt.Sprintf("0 to %d", s.max), Limits: scale.Limits{Max: s.max, Target: float64(s.slots), Hold: s.hold, Idle: s.idle, Start: e.Starts}}
	var runs []replay.Run
	length := s.traffic.For + s.quiet
	for _, p := range []replay.Policy{moving, fixed} {
		fmt.Fprintf(os.Stderr, "%s engines\n", p.Name)
		measured, err := s.measure(ctx, traffic, p, length)
		if err != nil {
			return err
		}
		simulated, err := replay.Play(ctx, traffic, p, replay.Options{Engine: e, For: length, Points: points})
		if err != nil {
			return err
		}
		runs = append(runs, measured, simulated)
	}
	report(runs)
	if s.draw != "" {
		title := fmt.Sprintf("a ramp of %d requests, %s", len(traffic), what)
		return os.WriteFile(s.draw, []byte(replay.Draw(title, "measured (dashed) next to the simulator's prediction", runs)), 0o644)
	}
	return nil
}

func cores(n int) string {
	if n == 0 {
		return "any number of engines"
	}
	return fmt.Sprintf("%d engine(s)", n)
}

// report prints a line for each run. A request that got no whole answer is an
// error of its own, before this.
func report(runs []replay.Run) {
	fmt.Println("| engines | | requests | lost | first token p50 | p95 | longest | engine seconds | starts | most |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range runs {
		how := "simulated"
		if r.Measured {
			how = "measured"
		}
		fmt.Printf("| %s | %s | %d | %d | %s | %s | %s | %.0f | %d | %d |\n", r.Policy, how, r.Requests, r.Waiting, replay.Seconds(r.P50), replay.Seconds(r.P95), replay.Seconds(r.Longest), r.Hours*3600, r.Starts, r.Most)
	}
}

// text is a prompt of that many words that no other request has.
func text(n, request int) string {
	words := []string{"river", "bridge", "morning", "market", "window", "garden", "letter", "train", "harbour", "lantern", "music", "winter", "kitchen", "paper", "mountain", "clock"}
	var b strings.Builder
	for i := range max(n, 1) {
		b.WriteString(words[(i*7+request*13+i*request)%len(words)])
		b.WriteByte(' ')
	}
	return fmt.Sprintf("%d %s", request, b.String())
}
