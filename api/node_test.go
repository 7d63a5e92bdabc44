package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
)

// siteSecret is that of the one Direct Line site of every node here.
const siteSecret = "a-secret-of-one-site"

// node starts a whole node, stopped at the end of the test.
func node(t *testing.T, settings string) *app.App {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	if !strings.Contains(settings, "listen:") {
		settings = "listen: 127.0.0.1:0\n" + settings
	}
	settings = "data: " + filepath.Join(dir, "data") + "\ndirectline_secret: " + siteSecret + "\noffline: true\npatience: 1s\nlimits: {reserve: 1MiB, body: 64KiB, message: 16KiB, file: 64KiB, files: 2, file_types: [\"image/*\", \"text/*\"]}\n" + settings
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Input{Path: file, Environ: []string{"HOME=" + dir}})
	if err != nil {
		t.Fatalf("load the configuration: %v", err)
	}
	a, err := app.New(app.Options{Config: cfg, Version: "test", Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatalf("start the node: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			t.Errorf("stop the node: %v", err)
		}
	})
	return a
}

// upstream is a server with the OpenAI API that answers by what it is asked:
// it refuses, or cuts its answer, if somebody says please.
func upstream(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, map[string]any{"object": "list", "data": []any{
			map[string]any{"id": "mock/one", "object": "model", "created": 0, "owned_by": "mock"},
			map[string]any{"id": "mock/endless", "object": "model", "created": 0, "owned_by": "mock"},
		}})
	})
	mux.HandleFunc("POST /v1/embeddings", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, map[string]any{
			"object": "list", "model": "mock/one", "usage": map[string]int{"prompt_tokens": 1, "total_tokens": 1},
			"data": []any{map[string]any{"object": "embedding", "index": 0, "embedding": []float64{.6, .8}}},
		})
	})
	answer := func(kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			switch {
			case bytes.Contains(b, []byte("please 429")):
				w.Header().Set("Retry-After", "7")
				reply(w, 429, map[string]any{"error": map[string]any{"message": "slow down", "type": "rate_limit_error", "param": nil, "code": "rate_limit_exceeded"}})
				return
			case bytes.Contains(b, []byte("please 400")):
				reply(w, 400, map[string]any{"error": map[string]any{"message": "no", "type": "invalid_request_error", "param": nil, "code": nil}})
				return
			}
			if bytes.Contains(b, []byte("mock/endless")) {
				forever(w, r)
				return
			}
			usage := map[string]int{"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
			if !bytes.Contains(b, []byte(`"stream":true`)) {
				choice := map[string]any{"index": 0, "finish_reason": "stop", "text": "Well then."}
				if kind == "chat.completion" {
					choice = map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": "Well then."}}
				}
				reply(w, 200, map[string]any{"id": "x", "object": kind, "created": 1, "model": "mock/one", "choices": []any{choice}, "usage": usage})
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			for i, word := range []string{"Well", " then", ".", ""} {
				choice := map[string]any{"index": 0, "finish_reason": nil, "text": word, "delta": map[string]any{"content": word}}
				if i == 3 {
					choice["finish_reason"] = "stop"
				}
				if kind == "chat.completion" {
					delete(choice, "text")
				} else {
					delete(choice, "delta")
				}
				c, _ := json.Marshal(map[string]any{
					"id": "x", "object": strings.Replace(kind, "chat.completion", "chat.completion.chunk", 1),
					"created": 1, "model": "mock/one", "choices": []any{choice},
				})
				fmt.Fprintf(w, "data: %s\n\n", c)
				if i == 1 && bytes.Contains(b, []byte("please cut")) {
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
			}
			_, _ = io.WriteString(w, "data: [DONE]\n\n")
		}
	}
	mux.HandleFunc("POST /v1/chat/completions", answer("chat.completion"))
	mux.HandleFunc("POST /v1/completions", answer("text_completion"))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}

// forever answers with one word after the other until nobody listens: whatever
// is to be met in the middle of an answer is in it, however slow the machine is.
func forever(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-r.Context().Done():
			tick.Stop()
			return
		case <-tick.C:
			fmt.Fprint(w, `data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"mock/endless","choices":[{"index":0,"delta":{"content":" on"},"finish_reason":null}]}`+"\n\n")
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// caller makes requests of one user.
type caller struct {
	t      *testing.T
	base   string
	client *http.Client
	header http.Header
}

// with returns a caller that sends one more header.
func (c *caller) with(name, value string) *caller {
	d := *c
	d.header = c.header.Clone()
	if d.header == nil {
		d.header = http.Header{}
	}
	d.header.Set(name, value)
	return &d
}

func (c *caller) request(method, path, body string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for k, v := range c.header {
		r.Header[k] = v
	}
	if h := r.Header.Get("Host"); h != "" {
		r.Host = h
	}
	return r
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// get reads a field of the answer, as "a.b.0.c".
func (a answer) get(path string) any {
	var v any
	_ = json.Unmarshal([]byte(a.body), &v)
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) text(path string) string { s, _ := a.get(path).(string); return s }

func (c *caller) send(r *http.Request) answer {
	c.t.Helper()
	resp, err := c.client.Do(r)
	if err != nil {
		c.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: read: %v", r.Method, r.URL.Path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// ok makes a request that the description allows and checks its status.
func (c *caller) ok(status int, method, path, body string) answer {
	c.t.Helper()
	a := c.send(c.request(method, path, body))
	if a.status != status {
		c.t.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, a.status, status, a.body)
	}
	return a
}

// bad makes a request that the description forbids.
func (c *caller) bad(status int, method, path, body string) answer {
	c.t.Helper()
	a := c.send(wrong(c.request(method, path, body)))
	if a.status != status {
		c.t.Errorf("%s %s %.200s: status %d, want %d: %s", method, path, body, a.status, status, a.body)
	}
	return a
}

// until reads an event stream up to the first event that last accepts.
func (c *caller) until(method, path, body string, last func(sse) bool) []sse {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	resp, err := c.client.Do(c.request(method, path, body).WithContext(ctx))
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		c.t.Fatalf("%s %s: status %d: %s", method, path, resp.StatusCode, b)
	}
	var (
		out   []sse
		block bytes.Buffer
	)
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadString('\n')
		block.WriteString(line)
		if line == "\n" {
			for _, e := range parseEvents(block.Bytes()) {
				out = append(out, e)
				if last(e) {
					return out
				}
			}
			block.Reset()
		}
		if err != nil {
			c.t.Fatalf("%s %s: the stream ended (%v) behind %v", method, path, err, out)
		}
	}
}

// turnIs accepts a turn's event with one of the states.
func turnIs(turn string, states ...string) func(sse) bool {
	return func(e sse) bool {
		if e.name != "turn" {
			return false
		}
		a := answer{body: e.data}
		for _, s := range states {
			if a.text("turn") == turn && a.text("state") == s {
				return true
			}
		}
		return false
	}
}
