package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
)

// talk is what the users do.
type talk struct {
	conversations, turns, users int
	think                       time.Duration
	shared                      bool // prompts have something in common
	chars                       int  // of the instructions and of each message
	words                       int  // of an answer that a real engine gives; 0 = the engines are simulated and know it
}

type figures struct {
	turns, failed           int
	perSecond, ttft, p50    float64
	p99, cached, cpuPerTurn float64
	why                     map[string]int // turns went where they went, as Parley says
}

func compare(fs *flag.FlagSet, args []string) error {
	conversations := fs.Int("conversations", 200, "how many")
	turns := fs.Int("turns", 6, "of each")
	think := fs.Duration("think", 100*time.Millisecond, "pause between two turns, half to one and a half of it")
	moderate := fs.Int("moderate", 12, "users at moderate load")
	saturated := fs.Int("saturated", 24, "users at saturation")
	rounds := fs.Int("rounds", 1, "times that everything is run")
	only := fs.String("only", "", "rules, by commas; all without it")
	load := fs.String("load", "", "moderate, saturated or nothing shared; all without it")
	chars := fs.Int("chars", 1000, "of the instructions and of each message")
	words := fs.Int("words", 16, "tokens of an answer of a real engine; simulated engines have 16 words")
	server := fs.String("server", "", "a llama-server; empty: simulated engines")
	embedded := fs.String("embedded", "", "a Parley whose embedded engine is asked, in the place of -server")
	gguf := fs.String("gguf", "", "the model of either")
	_ = fs.Parse(args)
	if *server == "" && *embedded == "" {
		*words = 0
	}
	loads := []struct {
		name string
		talk
	}{
		{"moderate", talk{*conversations, *turns, *moderate, *think, true, *chars, *words}},
		{"saturated", talk{*conversations, *turns, *saturated, *think, true, *chars, *words}},
		{"nothing shared", talk{*conversations, *turns, *saturated, *think, false, *chars, *words}},
	}
	rules := [][]string{
		{"rr"},
		{"least"},
		{"bounded", "-bound", "1.25"},
		{"bounded", "-bound", "2"},
		{"parley", "-slots", "4"},
		{"parley"},
	}
	fmt.Println("| load | rule | turns/s | TTFT mean | p50 | p99 | cached | router CPU per turn | failed |\n|---|---|---|---|---|---|---|---|---|")
	for range *rounds {
		for _, l := range loads {
			if *load != "" && *load != l.name {
				continue
			}
			for _, r := range rules {
				if *only != "" && !slices.Contains(strings.Split(*only, ","), r[0]) {
					continue
				}
				f, err := measure(l.talk, r, &herd{server: *server, parley: *embedded, gguf: *gguf})
				if err != nil {
					return err
				}
				fmt.Printf("| %s | %s | %.1f | %s | %s | %s | %.2f | %.0f us | %d |\n", l.name, strings.Join(r, " "), f.perSecond, ms(f.ttft), ms(f.p50), ms(f.p99), f.cached, f.cpuPerTurn*1e6, f.failed)
				if r[0] == "parley" {
					fmt.Fprintln(os.Stderr, l.name, strings.Join(r, " "), f.why)
				}
			}
		}
	}
	return nil
}

// measure runs one load by one rule, over engines that have just been started.
func measure(l talk, rule []string, h *herd) (figures, error) {
	if err := h.add(4); err != nil {
		return figures{}, err
	}
	defer h.stop()
	addr, err := kit.Free()
	if err != nil {
		return figures{}, err
	}
	cmd, err := kit.Self(1, append([]string{"route", "-listen", addr, "-to", strings.Join(h.urls, ","), "-rule"}, rule...)...)
	if err != nil {
		return figures{}, err
	}
	if err := cmd.Start(); err != nil {
		return figures{}, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := ready("http://" + addr + "/ready"); err != nil {
		return figures{}, err
	}
	f := l.play("http://" + addr)
	if h.simulated() {
		s, err := h.stats()
		if err != nil {
			return figures{}, err
		}
		f.cached = float64(s.Cached) / float64(s.Chars)
	}
	f.cpuPerTurn = kit.CPU(cmd.Process.Pid) / float64(f.turns+f.failed)
	return f, nil
}

// play has the conversations, and measures.
func (l talk) play(url string) figures {
	var mu sync.Mutex
	f := figures{why: map[string]int{}}
	var delays []float64
	var prompts, cached int // tokens
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}, Timeout: time.Minute}
	jobs := make(chan int)
	began := time.Now()
	var users sync.WaitGroup
	for u := range l.users {
		users.Go(func() {
			time.Sleep(time.Duration(u) * 7 * time.Millisecond)
			for c := range jobs {
				l.converse(client, url, c, func(t heard, err error) {
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						f.failed++
						fmt.Fprintf(os.Stderr, "conversation %d: %v\n", c, err)
						return
					}
					f.turns++
					f.why[t.why]++
					prompts, cached = prompts+t.prompt, cached+t.cached
					delays = append(delays, t.first.Seconds())
				})
			}
		})
	}
	for c := range l.conversations {
		jobs <- c
	}
	close(jobs)
	users.Wait()
	f.cached = float64(cached) / float64(max(prompts, 1))
	f.perSecond = float64(f.turns) / time.Since(began).Seconds()
	slices.Sort(delays)
	if len(delays) > 0 {
		for _, d := range delays {
			f.ttft += d / float64(len(delays))
		}
		f.p50, f.p99 = delays[len(delays)/2], delays[len(delays)*99/100]
	}
	return f
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func (l talk) converse(client *http.Client, url string, c int, done func(heard, error)) {
	id := fmt.Sprintf("conversation %d: ", c)
	filler := func(n int, of string) string { return (of + strings.Repeat("lorem ipsum ", n/12+1))[:n] }
	history := []message{{"system", filler(l.chars, "")}}
	for turn := range l.turns {
		tag := fmt.Sprintf("%sturn %d ", id, turn)
		if !l.shared {
			// A prompt of its own, as long as the others are on average.
			history = []message{{"system", filler(l.chars, fmt.Sprintf("%d/%d ", c, turn))}}
			for i := range 6 {
				history = append(history, message{"user", filler(l.chars, fmt.Sprintf("%s%d ", tag, i))})
			}
		} else {
			history = append(history, message{"user", filler(l.chars, tag)})
		}
		done(l.one(client, url, id, history))
		if l.shared {
			history = append(history, message{"assistant", filler(l.chars, tag+"answer ")})
		}
		time.Sleep(l.think/2 + time.Duration((c*31+turn*17)%100)*l.think/100)
	}
}

// heard is what one answer was like.
type heard struct {
	first          time.Duration // to the first word
	prompt, cached int           // tokens, as a real engine counts them
	why            string        // Parley's
}

// one asks once. The answer has to be whole.
func (l talk) one(client *http.Client, url, id string, history []message) (t heard, err error) {
	ask := map[string]any{"model": modelName, "stream": true, "messages": history}
	if l.words > 0 {
		ask["max_tokens"], ask["temperature"], ask["ignore_eos"], ask["stream_options"] = l.words, 0, true, map[string]bool{"include_usage": true}
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return t, err
	}
	req, err := http.NewRequest(http.MethodPost, url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return t, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Conversation", id)
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return t, fmt.Errorf("status %d", resp.StatusCode)
	}
	if _, why, ok := strings.Cut(resp.Header.Get("Parley-Engine"), "why="); ok {
		t.why, _, _ = strings.Cut(why, ";")
	}
	words := 0
	err = kit.Stream(resp.Body, func(p kit.Piece) error {
		t.prompt, t.cached = max(t.prompt, p.Prompt), max(t.cached, p.Cached)
		if p.Text == "" {
			return nil
		}
		if words == 0 {
			t.first = time.Since(began)
		}
		if want := fmt.Sprintf("w%d ", words); l.words == 0 && p.Text != want {
			return fmt.Errorf("%q where %q belongs", p.Text, want)
		}
		words++
		return nil
	})
	if err == nil && words == 0 {
		if t.first = time.Since(began); l.words == 0 {
			err = errors.New("an answer without a word")
		} // a model may have nothing to say
	}
	return t, err
}
