package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// echoServer is an OpenAI-compatible server that says again what it was told,
// word by word; after "forever" it goes on until its caller hangs up.
func echoServer(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"echo","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []struct{ Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.Messages) == 0 {
			http.Error(w, `{"error":{"message":"bad"}}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		say := func(text, finish string) {
			c := map[string]any{"index": 0, "delta": map[string]string{"content": text}, "finish_reason": nil}
			if finish != "" {
				c["finish_reason"] = finish
			}
			b, _ := json.Marshal(map[string]any{"id": "x", "object": "chat.completion.chunk", "model": "echo", "choices": []any{c}})
			_, _ = fmt.Fprintf(w, "data: %s\n\n", b)
			_ = http.NewResponseController(w).Flush()
		}
		text := in.Messages[len(in.Messages)-1].Content
		for _, word := range strings.SplitAfter("You said: "+text, " ") {
			say(word, "")
		}
		for tick := time.NewTicker(10 * time.Millisecond); strings.Contains(text, "forever"); {
			select {
			case <-r.Context().Done():
				tick.Stop()
				return
			case <-tick.C:
				say(" again", "")
			}
		}
		say("", "stop")
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// output is a buffer that can be read while it is written.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// wait returns the output once it matches.
func (o *output) wait(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if m := re.FindStringSubmatch(o.String()); m != nil {
			return m
		}
	}
	t.Fatalf("no %s in:\n%s", pattern, o.String())
	return nil
}

// startNode runs "parley up" until the test, or the returned function, ends it.
func startNode(t *testing.T, dir string, args ...string) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, errs := &output{}, &output{}
	term := &terminal{in: strings.NewReader(""), out: out, err: errs, environ: []string{"HOME=" + t.TempDir()}}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, term, append([]string{"up", "--data", dir, "--listen", "127.0.0.1:0", "--no-browser"}, args...))
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case status := <-ended:
			if status != 0 {
				t.Errorf("the node ended with status %d: %s", status, errs)
			}
		case <-time.After(20 * time.Second):
			t.Error("the node does not stop")
		}
	})
	t.Cleanup(stop)
	return out.wait(t, `Page: (http://\S+)`)[1], stop
}

// The whole life of a node's data, from the command line.
func TestStory(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	url, stop := startNode(t, data, "--engine", echoServer(t).URL+"/v1")
	env := []string{"PARLEY_URL=" + url}
	do := func(stdin string, line ...string) string {
		t.Helper()
		status, out, errs := typed(t, env, stdin, line...)
		if status != 0 {
			t.Fatalf("%q: status %d: %s%s", line, status, out, errs)
		}
		return out
	}
	// One question, a pipe, both, lines.
	if got, want := do("", "chat", "first", "question"), "You said: first question\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := do("from a pipe\n", "chat"), "You said: from a pipe\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := do("text\nof lines\n", "chat", "Sum up:"), "You said: Sum up:\n\ntext\nof lines\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := do("one\n\ntwo\n", "chat", "--lines"), "You said: one\nYou said: two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var answer struct{ Conversation, State, Text, Model string }
	if err := json.Unmarshal([]byte(do("", "chat", "--json", "in JSON")), &answer); err != nil {
		t.Fatal(err)
	}
	id := answer.Conversation
	answer.Conversation = ""
	if diff := cmp.Diff(struct{ Conversation, State, Text, Model string }{"", "done", "You said: in JSON", "echo"}, answer); diff != "" {
		t.Error(diff)
	}
	do("", "chat", "--conversation", id, "and more")
	do("", "chat", "--last", "and most")
	if got := do("", "conversation", "show", id); strings.Count(got, "You said: ") != 3 || !strings.Contains(got, "> and most\n") {
		t.Errorf("show gives:\n%s", got)
	}
	if got := do("", "conversation", "list"); strings.Count(got, "\n") != 5 {
		t.Errorf("list gives:\n%s", got)
	}
	if got := do("", "conversation", "search", "pipe"); !strings.Contains(got, "*pipe*") {
		t.Errorf("search gives:\n%s", got)
	}
	if got := do("", "conversation", "export", id, "--format", "json"); !json.Valid([]byte(got)) || !strings.Contains(got, "and most") {
		t.Errorf("export gives:\n%s", got)
	}
	if status, _, errs := typed(t, env, "", "conversation", "show", "local-000000000000000000000000"); status != 1 || !strings.Contains(errs, "there is no conversation") {
		t.Errorf("status %d, %s", status, errs)
	}

	// While the node runs, its data is its own.
	if status, _, errs := typed(t, nil, "", "store", "rebuild", "--data", data); status != 1 || !strings.Contains(errs, "stop it first") {
		t.Errorf("status %d, %s", status, errs)
	}
	if got := do("", "store", "check", "--data", data); !strings.Contains(got, "It was not compared") {
		t.Errorf("check gives %s", got)
	}
	if got := do("", "doctor", "--data", data, "--engine", "demo", "--listen", strings.TrimPrefix(url, "http://")); !strings.Contains(got, "is running on") {
		t.Errorf("doctor gives %s", got)
	}
	stop()

	// Without it, the store is checked, thrown away and built again.
	if got := do("", "store", "check", "--data", data); !strings.Contains(got, "holds what the log holds") {
		t.Errorf("check gives %s", got)
	}
	backup := filepath.Join(t.TempDir(), "backup.tar.gz")
	do("", "store", "backup", backup, "--data", data)
	if err := os.WriteFile(filepath.Join(data, "store.db"), bytes.Repeat([]byte("not a database"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out, _ := typed(t, nil, "", "store", "check", "--json", "--data", data); status != 1 || !strings.Contains(out, `"ok": false`) {
		t.Errorf("a broken store: status %d, %s", status, out)
	}
	do("", "store", "rebuild", "--data", data)
	do("", "store", "check", "--data", data)

	// A lost disk: all of it comes back, and the node goes on with it.
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	do("", "store", "restore", backup, "--data", data)
	url, _ = startNode(t, data, "--engine", echoServer(t).URL+"/v1")
	env = []string{"PARLEY_URL=" + url}
	do("", "chat", "--conversation", id, "after the restore")
	if got := do("", "conversation", "show", id); strings.Count(got, "You said: ") != 4 {
		t.Errorf("show gives:\n%s", got)
	}
	do("", "conversation", "delete", id)
	late := time.Now().Add(20 * time.Second) // a busy machine's list is a moment behind
	for strings.Contains(do("", "conversation", "list", "--json"), id) {
		if time.Now().After(late) {
			t.Fatal("a deleted conversation is listed")
		}
	}
}

// keyboard is a person at a terminal.
type keyboard struct {
	t    *testing.T
	keys *io.PipeWriter
	out  *output
	stop chan os.Signal
	done chan int
}

func sitDown(t *testing.T, url string) *keyboard {
	t.Helper()
	r, w := io.Pipe()
	k := &keyboard{t: t, keys: w, out: &output{}, stop: make(chan os.Signal), done: make(chan int, 1)}
	term := &terminal{in: r, out: k.out, err: k.out, environ: []string{"HOME=" + t.TempDir()}, inTTY: true, outTTY: true, interrupts: k.stop}
	go func() { k.done <- run(t.Context(), term, []string{"chat", "--url", url}) }()
	t.Cleanup(func() { _ = w.Close() })
	k.out.wait(t, `(?s)^Parley .*> $`)
	return k
}

func (k *keyboard) press(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.keys, line+"\n"); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keyboard) gone() {
	k.t.Helper()
	select {
	case status := <-k.done:
		if status != 0 {
			k.t.Errorf("status %d", status)
		}
	case <-time.After(20 * time.Second):
		k.t.Fatalf("it does not leave:\n%s", k.out)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	url, _ := startNode(t, t.TempDir(), "--engine", echoServer(t).URL+"/v1")
	k := sitDown(t, url)
	k.press("hello")
	k.out.wait(t, `You said: hello\n\n> $`)
	k.press("two \\")
	k.press("lines")
	k.out.wait(t, `You said: two \nlines\n\n> $`)
	k.press("//slash")
	k.out.wait(t, `You said: /slash\n`)
	k.press("/again")
	k.out.wait(t, `(?s)You said: /slash\n.*You said: /slash\n`)
	k.press("/titel x")
	k.out.wait(t, `did you mean /title\?`)
	k.press("/xyzzy")
	k.out.wait(t, `/help lists`)
	k.press("/title A name")
	k.press("/title")
	k.out.wait(t, `> A name\n`)
	k.press("/new")
	k.press("another")
	k.out.wait(t, `You said: another\n`)
	k.press("/list")
	k.out.wait(t, `\*  1 .* another\n   2 .* A name\n`)
	k.press("/open 2")
	k.out.wait(t, `(?s)A name\n\n> hello\n\nYou said: hello\n`)
	k.press("/search another")
	k.out.wait(t, "\x1b\\[1manother\x1b\\[0m")
	file := filepath.Join(t.TempDir(), "talk.md")
	k.press("/export " + file)
	k.out.wait(t, `Written to `)
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), "# A name") {
		t.Errorf("%s, %v", b, err)
	}
	k.press("/help")
	k.out.wait(t, `/export FILE`)
	k.press("/stop")
	k.out.wait(t, `no answer is running`)
	k.press("/delete")
	k.out.wait(t, `Deleted. A new conversation`)
	k.press("/history")
	k.out.wait(t, `nothing was said yet`)
	k.press("/open 9")
	k.out.wait(t, `/list shows 1 to [12]`) // a list may lag behind a deletion
	k.press("/quit")
	k.gone()
}

func TestStopInTheTerminal(t *testing.T) {
	t.Parallel()
	url, _ := startNode(t, t.TempDir(), "--engine", echoServer(t).URL+"/v1")
	k := sitDown(t, url)
	k.press("go on forever")
	k.out.wait(t, ` again again`)
	k.press("typed ahead")
	k.press("/stop")
	k.out.wait(t, `(?s)\[stopped\]\n\n> typed ahead\nYou said: typed ahead\n`)
	k.press("once more forever")
	k.out.wait(t, `(?s)typed ahead.* again again`)
	k.stop <- os.Interrupt
	k.out.wait(t, `(?s)\[stopped\].*\[stopped\]\n\n> $`)
	k.stop <- os.Interrupt
	k.gone()
}

// The end of the input does not cut the answer.
func TestInputEndsInTheMiddle(t *testing.T) {
	t.Parallel()
	url, _ := startNode(t, t.TempDir(), "--engine", echoServer(t).URL+"/v1")
	k := sitDown(t, url)
	k.press("last words")
	_ = k.keys.Close()
	k.gone()
	k.out.wait(t, `You said: last words\n`)
}

// A person who interrupts a question does not leave the model running.
func TestInterruptStopsTheAnswer(t *testing.T) {
	t.Parallel()
	url, _ := startNode(t, t.TempDir(), "--engine", echoServer(t).URL+"/v1")
	out, stop := &output{}, make(chan os.Signal)
	term := &terminal{in: strings.NewReader(""), out: out, err: out, environ: []string{"HOME=" + t.TempDir()}, outTTY: true, interrupts: stop}
	done := make(chan int, 1)
	go func() { done <- run(t.Context(), term, []string{"chat", "--url", url, "forever"}) }()
	out.wait(t, ` again again`)
	stop <- os.Interrupt
	if status := <-done; status != statusFailed {
		t.Errorf("status %d: %s", status, out)
	}
	status, got, errs := typed(t, []string{"PARLEY_URL=" + url}, "", "conversation", "list", "--json")
	var list struct{ Conversations []struct{ ID string } }
	if err := json.Unmarshal([]byte(got), &list); err != nil || status != 0 || len(list.Conversations) != 1 {
		t.Fatal(err, status, got, errs)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, got, _ := typed(t, []string{"PARLEY_URL=" + url}, "", "conversation", "show", list.Conversations[0].ID)
		if strings.Contains(got, "again") {
			break // the stopped answer is kept
		}
		if time.Now().After(end) {
			t.Fatalf("the answer still runs:\n%s", got)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "parley.yaml")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:0\ndata: data\nengine: demo\nlog: {format: json}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := &output{}
	term := &terminal{in: strings.NewReader(""), out: io.Discard, err: log, environ: []string{"HOME=" + dir}}
	done := make(chan int, 1)
	go func() { done <- run(ctx, term, []string{"serve", "-c", file}) }()
	url := log.wait(t, `"msg":"serving","url":"([^"]+)"`)[1]
	if resp, err := http.Get(url + "/livez"); err != nil || resp.StatusCode != http.StatusOK || resp.Body.Close() != nil {
		t.Errorf("livez: %v", err)
	}
	cancel()
	if status := <-done; status != 0 {
		t.Errorf("status %d: %s", status, log)
	}
	for line := range strings.Lines(log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}
