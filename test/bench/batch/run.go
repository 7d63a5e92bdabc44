package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
)

// turn is one that somebody has had.
type turn struct {
	at    time.Duration // since the run began
	first time.Duration // to the first piece of the answer
	err   error
}

// death is one on the way.
type death struct {
	name string
	at   time.Duration
	do   func(*world) error
}

const settle = 15 * time.Second // after a death: what people see then is told apart

func deaths(step time.Duration) []death {
	return []death{
		{"an engine", step, func(w *world) error {
			w.engines[1].kill()
			time.Sleep(2 * time.Second)
			return w.engines[1].start()
		}},
		{"the node that has the batch", 2 * step, func(w *world) error {
			w.nodes[0].kill()
			return w.nodes[0].start()
		}},
		{"its region, for 30 s", 3 * step, func(w *world) error {
			w.nodes[0].kill()
			time.Sleep(30 * time.Second)
			return w.nodes[0].start()
		}},
	}
}

func run(fs *flag.FlagSet, args []string) error {
	parley := fs.String("parley", "parley", "the binary")
	users := fs.Int("users", 20, "people who chat")
	think := fs.Duration("think", time.Second, "how long they think, on average")
	lines := fs.Int("lines", 10_000, "of the batch")
	gap := fs.Duration("gap", 10*time.Millisecond, "between two words of an engine")
	step := fs.Duration("step", 25*time.Second, "between two deaths")
	hold := fs.Duration("hold", 120*time.Second, "of the run without a batch; the one with it lasts until that is over, at least this long")
	_ = fs.Parse(args)
	fmt.Println("| people | turns | failed | TTFT p50 | p95 | p99 | p95 around the deaths |\n|---|---|---|---|---|---|---|")
	var before time.Duration
	for _, with := range []bool{false, true} {
		n := 0
		if with {
			n = *lines
		}
		p95, err := oneRun(*parley, *users, *think, n, *gap, *hold, deaths(*step))
		if err != nil {
			return err
		}
		if !with {
			before = p95
			continue
		}
		fmt.Printf("\np95 with the batch is %.2f of that without\n", p95.Seconds()/before.Seconds())
	}
	return nil
}

func oneRun(parley string, users int, think time.Duration, lines int, gap, hold time.Duration, deaths []death) (p95 time.Duration, err error) {
	w, err := open(parley, gap)
	defer w.close()
	if err != nil {
		return 0, err
	}
	urls := []string{w.nodes[0].url, w.nodes[1].url}
	c, err := client.New(client.Options{BaseURLs: urls, Patience: 5 * time.Minute})
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	began := time.Now()
	var mu sync.Mutex
	var all []turn
	var talking sync.WaitGroup
	for u := range users {
		talking.Go(func() {
			talk(ctx, urls, u, think, func(at time.Time, first time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, turn{at.Sub(began), first, err})
			})
		})
	}
	var batch client.Batch
	if lines > 0 {
		if batch, err = order(ctx, c, lines); err != nil {
			return 0, err
		}
	}
	killing := make(chan error, 1)
	go func() {
		for _, d := range deaths {
			time.Sleep(time.Until(began.Add(d.at)))
			fmt.Fprintf(os.Stderr, "%3.0f s: %s is killed\n", time.Since(began).Seconds(), d.name)
			if err := d.do(w); err != nil {
				killing <- err
				return
			}
		}
		killing <- nil
	}()
	if lines > 0 {
		if batch, err = await(ctx, c, batch, began); err != nil {
			return 0, err
		}
		fmt.Fprintf(os.Stderr, "%3.0f s: the batch is %s\n", time.Since(began).Seconds(), batch.Status)
	}
	took := time.Since(began)
	time.Sleep(time.Until(began.Add(hold)))
	if err := <-killing; err != nil {
		return 0, err
	}
	stop()
	talking.Wait()
	name := "alone"
	if lines > 0 {
		name = fmt.Sprintf("beside a batch of %d lines (%.0f s)", lines, took.Seconds())
		if err := check(c, batch, lines); err != nil {
			return 0, err
		}
		all = slices.DeleteFunc(all, func(t turn) bool { return t.at > took }) // it is over
	}
	return report(name, all, deaths), nil
}

// talk has conversations until ctx ends.
func talk(ctx context.Context, urls []string, user int, think time.Duration, had func(time.Time, time.Duration, error)) {
	c, err := client.New(client.Options{BaseURLs: urls, Patience: 2 * time.Minute})
	if err != nil {
		panic(err) // the addresses are our own
	}
	rnd := rand.New(rand.NewPCG(1, uint64(user))) //nolint:gosec // the same people in every run
	text := strings.Repeat(fmt.Sprintf("This is what user %d always says. ", user), 8)
	for ctx.Err() == nil {
		conv, err := c.Create(ctx, client.NewConversation{})
		for n := 0; n < 6 && ctx.Err() == nil && err == nil; n++ {
			pause := time.Duration(rnd.ExpFloat64() * float64(think))
			select {
			case <-ctx.Done():
				return
			case <-time.After(min(pause, 5*think)):
			}
			at, first := time.Now(), time.Duration(0)
			_, err = c.Ask(ctx, conv.ID, client.Message{Text: text}, func(p client.Piece) error {
				if p.Text != "" && first == 0 {
					first = time.Since(at)
				}
				return nil
			})
			if ctx.Err() == nil {
				had(at, first, err)
			}
		}
	}
}

// order uploads a batch and has it begun.
func order(ctx context.Context, c *client.Client, lines int) (client.Batch, error) {
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, `{"custom_id":"line-%d","method":"POST","url":"/v1/chat/completions","body":{"model":"mock","messages":[{"role":"user","content":"Line %d of a batch"}]}}`+"\n", i, i)
	}
	id, err := c.UploadBatch(ctx, "lines.jsonl", b.Bytes(), "")
	if err != nil {
		return client.Batch{}, err
	}
	return c.CreateBatch(ctx, client.NewBatch{Input: id, Endpoint: "/v1/chat/completions", Window: "24h"}, "")
}

func await(ctx context.Context, c *client.Client, b client.Batch, began time.Time) (client.Batch, error) {
	told := time.Now()
	for !b.Over() {
		time.Sleep(time.Second)
		var err error
		if b, err = c.Batch(ctx, b.ID); err != nil {
			return b, err
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "%3.0f s: %d of %d\n", time.Since(began).Seconds(), b.Counts.Completed+b.Counts.Failed, b.Counts.Total)
		}
	}
	return b, nil
}

// check reads the output: each line once, with the right answer.
func check(c *client.Client, b client.Batch, lines int) error {
	if b.Status != "completed" || b.Counts.Completed != lines || b.Counts.Failed != 0 {
		return fmt.Errorf("the batch ended so: %+v", b)
	}
	var out bytes.Buffer
	if err := c.BatchFile(context.Background(), b.Output, &out); err != nil {
		return err
	}
	var text strings.Builder
	for i := range words {
		fmt.Fprintf(&text, "w%d ", i)
	}
	seen := map[string]bool{}
	for raw := range strings.Lines(out.String()) {
		var l struct {
			Custom   string `json:"custom_id"`
			Response struct {
				Body struct {
					Choices []struct{ Message struct{ Content string } }
				}
			}
		}
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			return err
		}
		if seen[l.Custom] {
			return errors.New(l.Custom + " is there twice")
		}
		seen[l.Custom] = true
		if ch := l.Response.Body.Choices; len(ch) != 1 || ch[0].Message.Content != text.String() {
			return fmt.Errorf("%s has the wrong answer: %s", l.Custom, raw)
		}
	}
	for i := range lines {
		if !seen[fmt.Sprint("line-", i)] {
			return fmt.Errorf("line-%d is missing", i)
		}
	}
	if len(seen) != lines {
		return fmt.Errorf("the output has %d lines", len(seen))
	}
	fmt.Fprintf(os.Stderr, "each of the %d lines is there, once\n", lines)
	return nil
}

// report prints a line and returns the p95 of the turns that no death was near.
func report(name string, all []turn, deaths []death) time.Duration {
	var calm, near []time.Duration
	failed := 0
	for _, t := range all {
		if t.err != nil {
			failed++
			fmt.Fprintln(os.Stderr, "a turn failed:", t.err)
			continue
		}
		hit := slices.ContainsFunc(deaths, func(d death) bool { return t.at > d.at-2*time.Second && t.at < d.at+settle })
		if hit {
			near = append(near, t.first)
		} else {
			calm = append(calm, t.first)
		}
	}
	at := func(s []time.Duration, q float64) time.Duration {
		if len(s) == 0 {
			return 0
		}
		slices.Sort(s)
		return s[min(int(q*float64(len(s))), len(s)-1)]
	}
	fmt.Printf("| %s | %d | %d | %d ms | %d ms | %d ms | %d ms |\n", name, len(all), failed, at(calm, .5).Milliseconds(), at(calm, .95).Milliseconds(), at(calm, .99).Milliseconds(), at(near, .95).Milliseconds())
	return at(calm, .95)
}
