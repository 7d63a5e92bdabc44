// Command embedded compares the embedded engine with a llama-server that
// serves the same model file on the same machine: tokens a second at several
// numbers of streams, in interleaved rounds, so that a busy machine slows both.
//
// See docs/benchmarks/embedded.md for how to run it and what it gave.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "engine" { // the embedded engine's child
		if err := llama.Serve(context.Background(), os.Args[2:], os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// subject answers one chat prompt greedily with up to n tokens and calls
// first at its first piece.
type subject func(ctx context.Context, prompt string, n int, first func()) (tokens int, err error)

// result is one round of one subject.
type result struct {
	rate  float64       // tokens a second, from the first request to the last answer
	total int           // tokens
	work  float64       // tokens for a second of the engine's processor time; 0: not known
	first time.Duration // median time to the first piece
}

func run(ctx context.Context) error {
	library := flag.String("library", "", "folder of the embedded engine's shared library")
	model := flag.String("model", "", "GGUF file")
	server := flag.String("server", "", "base URL of a llama-server with the same model; empty: the embedded engine alone")
	rounds := flag.Int("rounds", 7, "rounds of each subject at each number of streams")
	tokens := flag.Int("tokens", 128, "tokens of an answer")
	serverPid := flag.Int("server-pid", 0, "process of the llama-server, so that its work is not taken for somebody else's")
	patience := flag.Duration("patience", 0, "how long to wait for the machine to be quiet, and to repeat rounds that others disturbed; 0: measure as it is")
	threads := flag.Int("threads", 0, "threads of the embedded engine; 0: one for each core. The llama-server should have as many")
	resume := flag.String("resume", string(lm.Exact), "the embedded engine's policy, exact or quick")
	streams := flag.String("streams", "1,4,8", "numbers of streams")
	flag.Parse()
	var counts []int
	for _, s := range strings.Split(*streams, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 64 {
			return fmt.Errorf("number of streams %q", s)
		}
		counts = append(counts, n)
	}
	engine, err := llama.New(llama.Options{Library: *library, Model: *model, Slots: slices.Max(counts), Window: 1024, Threads: *threads, Resume: lm.Policy(*resume)})
	if err != nil {
		return err
	}
	if err := engine.Start(ctx); err != nil {
		return err
	}
	defer engine.Close()
	names, subjects := []string{"embedded"}, []subject{embedded(engine)}
	if *server != "" {
		names, subjects = append(names, "llama-server"), append(subjects, remote(*server))
	}
	for i, s := range subjects { // warm up, and fail early
		if _, err := s(ctx, prompt(0), 8, func() {}); err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
	}
	fmt.Printf("%8s  %-13s %10s %10s %10s %10s %9s  %s\n", "streams", "", "tokens/s", "lowest", "highest", "first", "per CPU-s", "ratio of tokens/s, and per CPU-s")
	q := &quiet{until: time.Now().Add(*patience), pids: func() []int { return []int{os.Getpid(), engine.Pid(), *serverPid} }}
	n := 0
	for _, k := range counts {
		all := make([][]result, len(subjects))
		for round := 0; round < *rounds; {
			n += k
			pair, others := make([]result, len(subjects)), 0.0
			for i := range subjects {
				i = (i + round) % len(subjects) // nobody always goes first
				q.wait(ctx)
				before := q.look()
				var err error
				if pair[i], err = measure(ctx, subjects[i], k, *tokens, n); err != nil {
					return fmt.Errorf("%s: %w", names[i], err)
				}
				after := q.look()
				others = max(others, after.others(before))
				if used := after.pid[1+i] - before.pid[1+i]; used > 0 {
					pair[i].work = float64(pair[i].total) / used.Seconds()
				}
			}
			if others > disturbed && time.Now().Before(q.until) {
				q.repeated++
				continue
			}
			round++
			for i, r := range pair {
				all[i] = append(all[i], r)
			}
			q.worst = max(q.worst, others)
		}
		for i, rs := range all {
			lo, mid, hi := spread(rs, func(r result) float64 { return r.rate })
			_, first, _ := spread(rs, func(r result) float64 { return r.first.Seconds() * 1000 })
			ratio := ""
			if i == 0 && len(all) > 1 {
				var ratios []result // of the same round
				for j, r := range rs {
					ratios = append(ratios, result{rate: r.rate / all[1][j].rate, work: r.work / all[1][j].work})
				}
				a, b, c := spread(ratios, func(r result) float64 { return r.rate })
				d, e, f := spread(ratios, func(r result) float64 { return r.work })
				ratio = fmt.Sprintf("%.2f (%.2f-%.2f), %.2f (%.2f-%.2f)", b, a, c, e, d, f)
			}
			_, work, _ := spread(rs, func(r result) float64 { return r.work })
			fmt.Printf("%8d  %-13s %10.1f %10.1f %10.1f %7.0f ms %9.1f  %s\n", k, names[i], mid, lo, hi, first, work, ratio)
		}
	}
	if *patience > 0 {
		fmt.Printf("others used at most %.2f of a core in a round; %d rounds were repeated\n", q.worst, q.repeated)
	}
	return nil
}

func spread(rs []result, f func(result) float64) (lo, mid, hi float64) {
	var v []float64
	for _, r := range rs {
		v = append(v, f(r))
	}
	slices.Sort(v)
	return v[0], v[len(v)/2], v[len(v)-1]
}

// measure runs k answers at once. from makes the prompts differ between
// rounds, so that no prefix cache knows them; both subjects get the same ones.
func measure(ctx context.Context, s subject, k, tokens, from int) (result, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total int
		first []time.Duration
		errs  []error
	)
	begin := time.Now()
	for i := range k {
		wg.Go(func() {
			seen := false
			n, err := s(ctx, prompt(from+i), tokens, func() {
				if !seen {
					seen = true
					mu.Lock()
					first = append(first, time.Since(begin))
					mu.Unlock()
				}
			})
			mu.Lock()
			defer mu.Unlock()
			total += n
			errs = append(errs, err)
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return result{}, err
	}
	if total < k*tokens*9/10 {
		return result{}, fmt.Errorf("only %d of %d tokens: the answers are too short to compare", total, k*tokens)
	}
	slices.Sort(first)
	return result{total: total, rate: float64(total) / took.Seconds(), first: first[len(first)/2]}, nil
}

var (
	places = []string{"the sea", "a lighthouse", "Seoul", "an old library", "a train at night", "the moon", "a mountain hut", "a market"}
	people = []string{"a sailor", "a young teacher", "two brothers", "a retired judge", "a baker", "an astronomer", "a nurse"}
)

// prompt is a chat message that a small model answers at length.
func prompt(i int) string {
	return fmt.Sprintf("Write a long story (number %d) about %s and %s. Describe the place first, then what happened there on a cold morning, "+
		"what everybody said, and how it ended. Take your time and do not hurry to the end.", i+1, people[i%len(people)], places[i%len(places)])
}

// system begins differently every time, and llama-server is told not to use
// its cache: what is compared is computing, not remembering.
func system(prompt string) string {
	return fmt.Sprintf("%08x: you are a helpful assistant who writes long and careful answers.", crc32.ChecksumIEEE([]byte(prompt)))
}

func embedded(e *llama.Engine) subject {
	zero := 0.0
	return func(ctx context.Context, prompt string, n int, first func()) (int, error) {
		res, err := e.Generate(ctx, lm.Request{
			Messages: []lm.Message{{Role: lm.System, Text: system(prompt)}, {Role: lm.User, Text: prompt}},
			Params:   lm.Params{MaxTokens: n, Temperature: &zero},
		}, func(lm.Chunk) error { first(); return nil })
		return res.Usage.Completion, err
	}
}

func remote(base string) subject {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context, prompt string, n int, first func()) (int, error) {
		body, err := json.Marshal(map[string]any{
			"messages":   []map[string]string{{"role": "system", "content": system(prompt)}, {"role": "user", "content": prompt}},
			"max_tokens": n, "temperature": 0, "stream": true, "cache_prompt": false, "stream_options": map[string]bool{"include_usage": true},
		})
		if err != nil {
			return 0, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+"/v1/chat/completions", bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
			return 0, fmt.Errorf("%s: %s", resp.Status, text)
		}
		return readStream(resp.Body, first)
	}
}

// readStream reads the events of a chat completion and returns its tokens.
func readStream(r io.Reader, first func()) (tokens int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var ev struct {
			Choices []struct {
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
			} `json:"choices"`
			Usage *struct {
				Completion int `json:"completion_tokens"`
			} `json:"usage"`
		}
		if err := json.Unmarshal([]byte(data), &ev); err != nil {
			return 0, fmt.Errorf("read event: %w", err)
		}
		if len(ev.Choices) > 0 && ev.Choices[0].Delta.Content != "" {
			first()
		}
		if ev.Usage != nil {
			tokens = ev.Usage.Completion
		}
	}
	return tokens, lines.Err()
}
