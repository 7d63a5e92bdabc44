package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/test/bench/mock"
)

// fault is a way to break an engine. dead: its process is killed.
type fault struct {
	name string
	dead bool
	mock.Faults
}

func faults() []fault {
	return []fault{
		{name: "none"},
		{name: "killed", dead: true},
		{name: "cut in mid-answer", Faults: mock.Faults{Mode: "cut"}},
		{name: "500", Faults: mock.Faults{Mode: "500"}},
		{name: "429", Faults: mock.Faults{Mode: "429"}},
		{name: "garbage", Faults: mock.Faults{Mode: "garbage"}},
		{name: "ten times slower", Faults: mock.Faults{Slow: 10}},
		{name: "hung", Faults: mock.Faults{Mode: "hang"}},
	}
}

// turn is one that a user has had.
type turn struct {
	began    time.Time
	took     time.Duration
	attempts int
	err      error
}

// breakAll runs a node over four engines, has conversations in it and breaks
// engines meanwhile: with every fault first one of four, then three of four.
func breakAll(fs *flag.FlagSet, args []string) error {
	parley := fs.String("parley", "parley", "the binary")
	users := fs.Int("users", 12, "conversations at once")
	hold := fs.Duration("hold", 8*time.Second, "how long an engine stays broken")
	rest := fs.Duration("rest", 4*time.Second, "how long all are well between two faults")
	_ = fs.Parse(args)
	const words = 40
	h, err := startHerd(4, "-words", fmt.Sprint(words), "-gap", "10ms")
	if err != nil {
		return err
	}
	defer h.stop()
	url, stop, err := startNode(*parley, h.urls)
	if err != nil {
		return err
	}
	defer stop()
	var mu sync.Mutex
	var all []turn
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var talking sync.WaitGroup
	for u := range *users {
		talking.Go(func() {
			for ctx.Err() == nil {
				converse(ctx, url, fmt.Sprint("user ", u), words, func(t turn) {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, t)
				})
			}
		})
	}
	var phases []phase
	next := 0
	for _, f := range faults() {
		for _, n := range []int{1, 3} {
			if f.name == "none" && n > 1 {
				continue
			}
			began := time.Now()
			broken := []int{}
			for range n {
				broken = append(broken, next%4)
				next++
			}
			for _, i := range broken {
				if err := h.breaks(i, f); err != nil {
					return err
				}
			}
			time.Sleep(*hold)
			for _, i := range broken {
				if err := h.mends(i, f); err != nil {
					return err
				}
			}
			time.Sleep(*rest)
			name := fmt.Sprintf("%s, %d of 4", f.name, n)
			if f.name == "none" {
				name = "none"
			}
			phases = append(phases, phase{name, began, time.Now()})
			fmt.Fprintln(os.Stderr, phases[len(phases)-1].name)
		}
	}
	cancel()
	talking.Wait()
	return report(phases, all)
}

// phase is the time in which a fault was there and went away.
type phase struct {
	name     string
	from, to time.Time
}

func (h *herd) breaks(i int, f fault) error {
	if f.dead {
		h.kill(i)
		return nil
	}
	return h.faults(i, f.Faults)
}

func (h *herd) mends(i int, f fault) error {
	if f.dead {
		return h.start(i)
	}
	return h.faults(i, mock.Faults{})
}

// report prints a line for each phase. A turn that failed is an error.
func report(phases []phase, all []turn) error {
	fmt.Println("| broken | turns | failed | p50 | p99 | longest | in more than one attempt |\n|---|---|---|---|---|---|---|")
	failed := 0
	for _, p := range phases {
		var took []time.Duration
		again, bad := 0, 0
		for _, t := range all {
			if t.began.Before(p.from) || t.began.After(p.to) {
				continue
			}
			if t.err != nil {
				bad++
				fmt.Fprintf(os.Stderr, "%s: %v\n", p.name, t.err)
			}
			if t.attempts > 1 {
				again++
			}
			took = append(took, t.took)
		}
		failed += bad
		if len(took) == 0 {
			return fmt.Errorf("no turns with %s", p.name)
		}
		slices.Sort(took)
		fmt.Printf("| %s | %d | %d | %s | %s | %s | %d |\n", p.name, len(took), bad, ms(took[len(took)/2].Seconds()), ms(took[len(took)*99/100].Seconds()), ms(took[len(took)-1].Seconds()), again)
	}
	if failed > 0 {
		return fmt.Errorf("%d turns failed", failed)
	}
	return nil
}

// converse has a conversation of six turns; every answer must be word for word
// what an undisturbed engine says.
func converse(ctx context.Context, url, who string, words int, done func(turn)) {
	c, err := client.New(client.Options{BaseURLs: []string{url}})
	if err != nil {
		done(turn{began: time.Now(), err: err})
		return
	}
	conversation, err := c.Create(ctx, client.NewConversation{Title: who})
	if err != nil {
		if ctx.Err() == nil {
			done(turn{began: time.Now(), err: err})
		}
		return
	}
	var want strings.Builder
	for i := range words {
		fmt.Fprintf(&want, "w%d ", i)
	}
	for n := range 6 {
		if ctx.Err() != nil {
			return
		}
		t := turn{began: time.Now()}
		// Not ctx: a turn that has begun is waited for.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
		a, err := c.Ask(limited, conversation.ID, client.Message{Text: fmt.Sprintf("%s, turn %d: %s", who, n, strings.Repeat("please go on ", 40))}, nil)
		cancel()
		t.took, t.attempts, t.err = time.Since(t.began), a.Attempts, err
		if err == nil && strings.TrimSpace(a.Text) != strings.TrimSpace(want.String()) {
			t.err = fmt.Errorf("not the words in their order: %q", a.Text)
		}
		done(t)
		time.Sleep(200 * time.Millisecond)
	}
}

func startNode(parley string, engines []string) (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "parley-fleet-")
	if err != nil {
		return "", nil, err
	}
	addr, err := free()
	if err != nil {
		return "", nil, err
	}
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "listen: %s\ndata: %s\nengines:\n", addr, filepath.Join(dir, "data"))
	for i, u := range engines {
		fmt.Fprintf(&cfg, "  - {name: engine-%d, kind: openai, url: %s, dialect: generic, models: [mock], resume: prefill, slots: 4, timeout: 3s}\n", i, u)
	}
	path := filepath.Join(dir, "parley.yaml")
	if err := os.WriteFile(path, []byte(cfg.String()), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(parley, "serve", "-c", path)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "PARLEY_LOG_LEVEL=error")
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	if err := ready("http://" + addr + "/readyz"); err != nil {
		stop()
		return "", nil, err
	}
	return "http://" + addr, stop, nil
}
