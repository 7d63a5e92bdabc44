package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/test/bench/kit"
	"github.com/parleyhq/parley/test/bench/mock"
)

// fault is a way to break an engine. dead: its process is killed; still: it is
// stopped (real servers know no other faults).
type fault struct {
	name        string
	dead, still bool
	mock.Faults
}

func faults(real bool) []fault {
	if real {
		return []fault{{name: "none"}, {name: "killed", dead: true}, {name: "hung", still: true}}
	}
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
	stream   bool // through /v1
	began    time.Time
	took     time.Duration
	attempts int
	same     bool // word for word what an undisturbed engine says
	err      error
}

// breakAll runs a node over four engines, has conversations in it and streams
// through /v1, and breaks engines meanwhile: with every fault first one of four,
// then three of four.
func breakAll(fs *flag.FlagSet, args []string) error {
	parley := fs.String("parley", "parley", "the binary")
	users := fs.Int("users", 6, "conversations at once")
	streams := fs.Int("streams", 6, "streams through /v1 at once")
	server := fs.String("server", "", "a llama-server; empty: simulated engines")
	gguf := fs.String("gguf", "", "its model")
	hold := fs.Duration("hold", 8*time.Second, "how long an engine stays broken")
	rest := fs.Duration("rest", 4*time.Second, "how long all are well between two faults")
	_ = fs.Parse(args)
	const words = 40
	h := &herd{server: *server, gguf: *gguf}
	if err := h.add(4, "-words", fmt.Sprint(words), "-gap", "10ms"); err != nil {
		return err
	}
	defer h.stop()
	url, stop, err := startNode(*parley, h)
	if err != nil {
		return err
	}
	defer stop()
	want := &answers{url: url, words: words, real: h.server != "", said: map[string]string{}}
	var mu sync.Mutex
	var all []turn
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var talking sync.WaitGroup
	done := func(t turn) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, t)
	}
	for u := range *users {
		talking.Go(func() {
			for ctx.Err() == nil {
				converse(ctx, url, fmt.Sprint("user ", u), want, done)
			}
		})
	}
	for u := range *streams {
		if _, err := want.of(fmt.Sprint("client ", u)); err != nil {
			return err
		}
		talking.Go(func() {
			for ctx.Err() == nil {
				stream(ctx, url, fmt.Sprint("client ", u), want, done)
			}
		})
	}
	var phases []phase
	next := 0
	for _, f := range faults(want.real) {
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
	switch {
	case f.dead:
		h.kill(i)
		return nil
	case f.still:
		return halt(h.cmds[i].Process, true)
	case h.server != "":
		return nil
	}
	return h.faults(i, f.Faults)
}

func (h *herd) mends(i int, f fault) error {
	switch {
	case f.dead:
		return h.start(i)
	case f.still:
		return halt(h.cmds[i].Process, false)
	case h.server != "":
		return nil
	}
	return h.faults(i, mock.Faults{})
}

// report prints two lines for each phase. A turn that failed is an error.
func report(phases []phase, all []turn) error {
	fmt.Println("| broken | through | turns | failed | p50 | p99 | longest | in more than one attempt | p99 of those | word for word |\n|---|---|---|---|---|---|---|---|---|---|")
	failed := 0
	for _, p := range phases {
		for _, through := range []string{"conversations", "`/v1`"} {
			var took, hit []time.Duration
			bad, same := 0, 0
			for _, t := range all {
				if t.began.Before(p.from) || t.began.After(p.to) || t.stream != (through == "`/v1`") {
					continue
				}
				if t.err != nil {
					bad++
					fmt.Fprintf(os.Stderr, "%s, %s: %v\n", p.name, through, t.err)
				}
				if t.attempts > 1 {
					hit = append(hit, t.took)
				}
				if t.same {
					same++
				}
				took = append(took, t.took)
			}
			failed += bad
			if len(took) == 0 {
				fmt.Printf("| %s | %s | none began |\n", p.name, through)
				continue
			}
			fmt.Printf("| %s | %s | %d | %d | %s | %s | %s | %d | %s | %d |\n", p.name, through, len(took), bad, at(took, 50), at(took, 99), at(took, 100), len(hit), at(hit, 99), same)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d turns failed", failed)
	}
	return nil
}

// at is a percentile in words.
func at(all []time.Duration, percent int) string {
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return ms(all[min(len(all)*percent/100, len(all)-1)].Seconds())
}

// answers is what undisturbed engines say. A simulated one must say it word for
// word; a real one that goes on with a text may choose another word later.
type answers struct {
	url   string
	words int
	real  bool
	said  map[string]string // of streams with a real engine, by who asks
}

// of asks for the answer while nothing is broken.
func (a *answers) of(who string) (string, error) {
	if !a.real {
		var b strings.Builder
		for i := range a.words {
			fmt.Fprintf(&b, "w%d ", i)
		}
		return b.String(), nil
	}
	if s, ok := a.said[who]; ok {
		return s, nil
	}
	s, _, err := a.listen(context.Background(), who)
	a.said[who] = s
	return s, err
}

// judge notes whether the text is what it should be.
func (a *answers) judge(t *turn, who, text string) {
	want, err := a.of(who)
	t.same = strings.TrimSpace(text) == strings.TrimSpace(want)
	switch {
	case t.err != nil:
	case err != nil:
		t.err = err
	case text == "" || !t.same && !a.real:
		t.err = fmt.Errorf("not the words in their order: %q", text)
	}
}

// question is the same for all turns of one who asks.
func (a *answers) question(who string) string {
	if a.real {
		return "Tell me about the life of " + who + " in two sentences."
	}
	return who + ": " + strings.Repeat("please go on ", 40)
}

// listen asks through /v1 and reads the stream. The error is about anything but
// a whole answer; again says that another engine went on with it.
func (a *answers) listen(ctx context.Context, who string) (text string, again int, err error) {
	body, err := json.Marshal(map[string]any{
		"model": modelName, "stream": true, "temperature": 0, "max_tokens": a.words,
		"messages": []map[string]string{{"role": "user", "content": a.question(who)}},
	})
	if err != nil {
		return "", 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var b strings.Builder
	err = kit.Stream(resp.Body, func(p kit.Piece) error {
		if strings.HasPrefix(p.Comment, "the engine ") {
			again++
		}
		b.WriteString(p.Text)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("HTTP %d: %w", resp.StatusCode, err)
	}
	return b.String(), again, err
}

// stream asks once through /v1.
func stream(ctx context.Context, url, who string, want *answers, done func(turn)) {
	t := turn{stream: true, began: time.Now(), attempts: 1}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	text, again, err := want.listen(limited, who)
	cancel()
	t.took, t.err = time.Since(t.began), err
	t.attempts += again
	want.judge(&t, who, text)
	done(t)
	time.Sleep(200 * time.Millisecond)
}

// converse has a conversation of six turns. What a real engine says in one is
// not compared: the earlier turns are in its prompt.
func converse(ctx context.Context, url, who string, want *answers, done func(turn)) {
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
	for n := range 6 {
		if ctx.Err() != nil {
			return
		}
		t := turn{began: time.Now()}
		// Not ctx: a turn that has begun is waited for.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
		a, err := c.Ask(limited, conversation.ID, client.Message{Text: fmt.Sprintf("%s (turn %d)", want.question(who), n)}, nil)
		cancel()
		t.took, t.attempts, t.err = time.Since(t.began), a.Attempts, err
		if !want.real {
			want.judge(&t, who, a.Text)
		}
		done(t)
		time.Sleep(200 * time.Millisecond)
	}
}

func startNode(parley string, h *herd) (url string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "parley-fleet-")
	if err != nil {
		return "", nil, err
	}
	addr, err := kit.Free()
	if err != nil {
		return "", nil, err
	}
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "listen: %s\ndata: %s\nengines:\n", addr, filepath.Join(dir, "data"))
	dialect := "generic"
	if h.server != "" {
		dialect = "llama-server"
	}
	for i, u := range h.urls {
		fmt.Fprintf(&cfg, "  - {name: engine-%d, kind: openai, url: %s, dialect: %s, models: [%s], resume: prefill, slots: 4, timeout: 3s}\n", i, u, dialect, modelName)
	}
	fmt.Fprintf(&cfg, "bots:\n  - {id: bot, name: Bot, max_tokens: 40, temperature: 0}\n")
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
