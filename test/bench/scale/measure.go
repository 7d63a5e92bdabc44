package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/scale/process"
	"github.com/parleyhq/parley/internal/scale/replay"
	"github.com/parleyhq/parley/test/bench/kit"
)

const points = 60

// ask has one answer streamed and returns when it began and ended. It has to be
// whole.
func ask(ctx context.Context, client *http.Client, url, model, prompt string, tokens int) (first, whole time.Duration, err error) {
	body, err := json.Marshal(map[string]any{
		"model": model, "stream": true, "max_tokens": tokens, "temperature": 0, "ignore_eos": true,
		"messages": []map[string]string{{"role": "user", "content": prompt}},
	})
	if err != nil {
		return 0, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return 0, 0, fmt.Errorf("status %d: %s", resp.StatusCode, b)
	}
	err = kit.Stream(resp.Body, func(p kit.Piece) error {
		if first == 0 && p.Text != "" {
			first = time.Since(began)
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, 0, err
	case first == 0:
		return 0, 0, errors.New("an answer without a word")
	}
	return first, time.Since(began), nil
}

func client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 3 * time.Minute}
}

// calibrate measures engines by themselves: what the simulator has to know.
func (s setting) calibrate(ctx context.Context) (e replay.Engine, err error) {
	e.Slots = s.slots
	var urls []string
	c := client()
	for range 2 {
		began := time.Now()
		p, err := process.Start(process.Options{Command: s.command})
		if err != nil {
			return e, err
		}
		defer p.Stop()
		url := fmt.Sprintf("http://127.0.0.1:%d", p.Port())
		if err := healthy(c, url, p.Gone()); err != nil {
			return e, fmt.Errorf("%w: %s", err, p.Why())
		}
		e.Starts += time.Since(began) / 2
		urls = append(urls, url)
	}
	n := 0
	one := func(url string, words, tokens int) (first, gap float64, err error) {
		n++
		f, w, err := ask(ctx, c, url, "x", text(words, 1000+n), tokens)
		return f.Seconds(), (w - f).Seconds() / float64(max(tokens-1, 1)), err
	}
	// The median of several, for others use the machine too.
	alone := func(words, tokens int) (first, gap float64, err error) {
		var fs, gs []float64
		for range 5 {
			f, g, err := one(urls[0], words, tokens)
			if err != nil {
				return 0, 0, err
			}
			fs, gs = append(fs, f), append(gs, g)
		}
		slices.Sort(fs)
		slices.Sort(gs)
		return fs[2], gs[2], nil
	}
	short, gap, err := alone(10, s.traffic.Answer)
	if err != nil {
		return e, err
	}
	long, _, err := alone(10+4*s.traffic.Prompt, 2)
	if err != nil {
		return e, err
	}
	e.Decode = 1 / gap
	if d := long - short; d > 0.001 {
		e.Prefill = float64(4*s.traffic.Prompt) / d
	}
	if e.Prefill > 0 {
		short -= 10 / e.Prefill
	}
	e.First = time.Duration(max(0, short-gap) * float64(time.Second))
	same, err := together(one, []string{urls[0], urls[0]}, s.traffic.Answer)
	if err != nil {
		return e, err
	}
	e.Batch = min(1, max(0, same/gap-1))
	apart, err := together(one, urls, s.traffic.Answer)
	if err != nil {
		return e, err
	}
	if apart/gap > 1.5 {
		e.Cores = 1
	} else if s.real {
		e.Cores = 2
	}
	return e, nil
}

// together is the time between two tokens when there is an answer at each of
// the engines, on average over three rounds.
func together(one func(string, int, int) (float64, float64, error), urls []string, tokens int) (gap float64, err error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	const rounds = 3
	for range rounds {
		for _, u := range urls {
			all.Go(func() {
				_, g, e := one(u, 10, tokens)
				mu.Lock()
				defer mu.Unlock()
				gap += g / float64(rounds*len(urls))
				err = errors.Join(err, e)
			})
		}
		all.Wait()
	}
	return gap, err
}

func healthy(c *http.Client, url string, gone <-chan struct{}) error {
	for range 3000 {
		select {
		case <-gone:
			return errors.New("the server has ended")
		default:
		}
		for _, path := range []string{"/health", "/stats"} {
			resp, err := c.Get(url + path)
			if err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return nil
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the server does not get ready")
}

// seen is what the metrics said at a moment.
type seen struct {
	at             time.Duration
	replicas, load float64
}

// outcome is one request's.
type outcome struct {
	at, first time.Duration
	err       error
}

// measure plays the traffic against a node.
func (s setting) measure(ctx context.Context, traffic []replay.Request, p replay.Policy, length time.Duration) (replay.Run, error) {
	url, stop, err := s.node(p)
	if err != nil {
		return replay.Run{}, err
	}
	defer stop()
	c := client()
	for p.Min > 0 { // a fixed number is there before anybody comes
		if x, err := look(c, url); err == nil && x.ready == float64(p.Min) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	began := time.Now()
	var mu sync.Mutex
	var outcomes []outcome
	var all sync.WaitGroup
	watched := make(chan []seen)
	enough, end := context.WithDeadline(ctx, began.Add(length))
	defer end()
	go func() { watched <- watch(enough, c, url, began) }()
	for i, r := range traffic {
		time.Sleep(time.Until(began.Add(r.At)))
		all.Go(func() {
			first, _, err := ask(ctx, c, url, "m", text(r.Prompt, i), r.Answer)
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, outcome{r.At, first, err})
		})
	}
	all.Wait()
	run := replay.Run{Policy: p.Name, Measured: true}
	samples := <-watched
	x, err := look(c, url)
	if err != nil {
		return run, err
	}
	run.Starts = x.starts - p.Min
	for late := time.Now(); x.replicas > float64(p.Min); time.Sleep(time.Second) {
		if x, err = look(c, url); err != nil || time.Since(late) > 2*time.Minute {
			return run, errors.Join(err, fmt.Errorf("%v engines are left, %v after the end", x.replicas, time.Since(late).Round(time.Second)))
		}
		if x.replicas <= float64(p.Min) {
			fmt.Printf("%s: the last engine went %v after the drawing's end.\n", p.Name, time.Since(late).Round(time.Second))
		}
	}
	gather(&run, samples, outcomes, length)
	return run, nil
}

// gather makes a run of what was seen, as the simulator makes its own.
func gather(run *replay.Run, samples []seen, outcomes []outcome, length time.Duration) {
	var firsts []float64
	for _, o := range outcomes {
		if o.err != nil {
			run.Waiting++ // lost
			fmt.Fprintf(os.Stderr, "lost, came at %v: %v\n", o.at, o.err)
			continue
		}
		firsts = append(firsts, o.first.Seconds())
	}
	run.Summary(firsts)
	stretch := length / points
	for i := range points {
		p := replay.Point{At: stretch * time.Duration(i+1)}
		n := 0.0
		for _, x := range samples {
			if x.at >= stretch*time.Duration(i) && x.at < p.At {
				p.Replicas, p.Load, n = p.Replicas+x.replicas, p.Load+x.load, n+1
				run.Most = max(run.Most, int(x.replicas))
			}
		}
		p.Replicas, p.Load = p.Replicas/max(n, 1), p.Load/max(n, 1)
		var mine []float64
		for _, o := range outcomes {
			if at := o.at + o.first; o.err == nil && at >= stretch*time.Duration(i) && at < p.At {
				mine = append(mine, o.first.Seconds())
			}
		}
		slices.Sort(mine)
		p.P50, p.P95 = replay.Share(mine, 0.5), replay.Share(mine, 0.95)
		run.Hours += p.Replicas * stretch.Hours()
		run.Points = append(run.Points, p)
	}
}

func watch(ctx context.Context, c *http.Client, url string, began time.Time) (all []seen) {
	for ctx.Err() == nil {
		if x, err := look(c, url); err == nil {
			all = append(all, seen{time.Since(began), x.replicas, x.requests})
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return all
}

// now is what a node's metrics say of the engine.
type now struct {
	replicas, ready, requests float64
	starts                    int
}

func look(c *http.Client, url string) (x now, err error) {
	resp, err := c.Get(url + "/metrics")
	if err != nil {
		return x, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return x, err
	}
	for _, m := range regexp.MustCompile(`(?m)^parley_scale_(\w+)\{engine="local"(?:,region="[^"]*")?(?:,(?:state|outcome)="(\w+)")?(?:,region="[^"]*")?\} (\S+)$`).FindAllSubmatch(b, -1) {
		v, err := strconv.ParseFloat(string(m[3]), 64)
		if err != nil {
			return x, err
		}
		switch string(m[1]) {
		case "requests":
			x.requests = v
		case "replicas":
			x.replicas += v
			if string(m[2]) == "ready" {
				x.ready = v
			}
		case "start_seconds_count":
			x.starts += int(v)
		}
	}
	return x, nil
}

// node starts Parley with an engine that is scaled so.
func (s setting) node(p replay.Policy) (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "parley-scale-")
	if err != nil {
		return "", nil, err
	}
	addr, err := kit.Free()
	if err != nil {
		return "", nil, err
	}
	command, err := json.Marshal(s.command)
	if err != nil {
		return "", nil, err
	}
	cfg := fmt.Sprintf("listen: %s\ndata: %s\nengines:\n  - {name: local, kind: process, command: %s, models: [m], slots: %d, scale: {min: %d, max: %d, target: %d, hold: %v, idle: %v}}\n",
		addr, filepath.Join(dir, "data"), command, s.slots, p.Min, p.Max, s.slots, s.hold, s.idle)
	path := filepath.Join(dir, "parley.yaml")
	if err := os.WriteFile(path, []byte(cfg), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(s.parley, "serve", "-c", path)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "PARLEY_LOG_LEVEL=warn")
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	url = "http://" + addr
	for range 1500 {
		resp, err := http.Get(url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return url, stop, nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("the node does not get ready")
}
