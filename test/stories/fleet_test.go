//go:build linux

package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/test/bench/mock"
)

const storyWords = 20

// simulated is a simulated engine as a process of its own.
func simulated(addr string) int {
	srv := &http.Server{Addr: addr, ReadHeaderTimeout: 10 * time.Second, Handler: mock.New(mock.Options{
		Slots: 4, First: 10 * time.Millisecond, Gap: 10 * time.Millisecond, Words: storyWords, Miss: 5 * time.Millisecond, Blocks: 400,
	})}
	fmt.Fprintln(os.Stderr, srv.ListenAndServe())
	return 1
}

// oneEngine is a process of simulated.
type oneEngine struct {
	addr string
	cmd  *exec.Cmd
}

func (e *oneEngine) start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e.cmd = exec.Command(self)
	e.cmd.Env = append(os.Environ(), "PARLEY_STORY_ENGINE="+e.addr)
	e.cmd.Stderr = os.Stderr
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if resp, err := http.Get("http://" + e.addr + "/stats"); err == nil {
			_ = resp.Body.Close()
			return
		}
		wait(10 * time.Millisecond)
	}
	t.Fatal("a simulated engine does not start")
}

func (e *oneEngine) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

func (e *oneEngine) faults(t *testing.T, json string) {
	t.Helper()
	resp, err := http.Post("http://"+e.addr+"/faults", "application/json", bytes.NewReader([]byte(json)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// Three of four engines are broken in every way, one way after another, while
// people talk: no turn fails, and every answer is what it should be, word for
// word.
func TestEnginesBreakOneAfterAnother(t *testing.T) {
	var engines []*oneEngine
	var cfg strings.Builder
	cfg.WriteString("engines:\n")
	for i := range 4 {
		e := &oneEngine{addr: freeAddr(t)}
		e.start(t)
		t.Cleanup(e.kill)
		engines = append(engines, e)
		fmt.Fprintf(&cfg, "  - {name: e%d, kind: openai, url: \"http://%s\", dialect: generic, models: [mock], resume: prefill, slots: 4, timeout: 2s}\n", i, e.addr)
	}
	n := newNode(t)
	path := filepath.Join(t.TempDir(), "parley.yaml")
	if err := os.WriteFile(path, []byte(cfg.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = []string{"serve", "-c", path}
	n.start()

	ctx, stop := context.WithCancel(t.Context())
	var people sync.WaitGroup
	var mu sync.Mutex
	turns := 0
	counted := func() { mu.Lock(); turns++; mu.Unlock() }
	for i := range 6 {
		people.Go(func() {
			for ctx.Err() == nil {
				if i%2 == 0 {
					talkOnce(t, ctx, n.url, counted)
				} else {
					streamOnce(t, ctx, n.url, counted)
				}
			}
		})
	}
	next := 0
	for _, f := range []string{"killed", `{"mode":"cut"}`, `{"mode":"500"}`, `{"mode":"429"}`, `{"mode":"garbage"}`, `{"slow":10}`, `{"mode":"hang"}`} {
		broken := []*oneEngine{engines[next%4], engines[(next+1)%4], engines[(next+2)%4]}
		next++
		for _, e := range broken {
			if f == "killed" {
				e.kill()
			} else {
				e.faults(t, f)
			}
		}
		wait(time.Second)
		for _, e := range broken {
			if f == "killed" {
				e.start(t)
			} else {
				e.faults(t, "{}")
			}
		}
	}
	stop()
	people.Wait()
	if turns < 10 {
		t.Errorf("only %d turns", turns)
	}
	t.Logf("%d turns", turns)
}

// storyText is what an undisturbed engine says.
func storyText() string {
	var want strings.Builder
	for i := range storyWords {
		fmt.Fprintf(&want, "w%d ", i)
	}
	return strings.TrimSpace(want.String())
}

// streamOnce has an answer through /v1, which is one to the eye of a client
// whatever becomes of its engines.
func streamOnce(t *testing.T, ctx context.Context, url string, done func()) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(`{"model":"mock","stream":true,"messages":[{"role":"user","content":"go on"}]}`))
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var text strings.Builder
	for line := range strings.Lines(string(body)) {
		var e struct {
			ID      string
			Choices []struct{ Delta struct{ Content string } }
		}
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok || json.Unmarshal([]byte("{"+data), &e) != nil || len(e.Choices) == 0 {
			continue
		}
		if text.WriteString(e.Choices[0].Delta.Content); e.ID != "x" {
			t.Errorf("an event of another answer: %q", line)
		}
	}
	if err != nil || resp.StatusCode != http.StatusOK || strings.TrimSpace(text.String()) != storyText() || strings.Count(string(body), "data: [DONE]") != 1 {
		t.Errorf("through /v1: %d %v %q", resp.StatusCode, err, body)
	}
	done()
}

// talkOnce has a conversation of three turns.
func talkOnce(t *testing.T, ctx context.Context, url string, done func()) {
	c, err := client.New(client.Options{BaseURLs: []string{url}})
	if err != nil {
		t.Error(err)
		return
	}
	whole := context.WithoutCancel(ctx) // a turn that has begun is waited for
	conversation, err := c.Create(whole, client.NewConversation{})
	if err != nil {
		t.Error(err)
		return
	}
	for i := range 3 {
		if ctx.Err() != nil {
			return
		}
		limited, cancel := context.WithTimeout(whole, time.Minute)
		a, err := c.Ask(limited, conversation.ID, client.Message{Text: fmt.Sprint("go on ", i)}, nil)
		cancel()
		if err != nil || strings.TrimSpace(a.Text) != storyText() {
			t.Errorf("after %d attempts: %q %v", a.Attempts, a.Text, err)
		}
		done()
	}
}
