//go:build linux

// Package stories drives the built binary from outside, as its users do, and
// kills parts of it: the promise of the product, checked.
package stories

import (
	"bufio"
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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// kills is how often a campaign kills: few in a plain `go test`, more in CI,
// as many as the promise says when asked for.
func kills(t *testing.T, quick int) int {
	t.Helper()
	if v := os.Getenv("PARLEY_KILLS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("PARLEY_KILLS: %v", err)
		}
		return n
	}
	return quick
}

// real skips a story that needs the real engine's library and model.
func real(t *testing.T) {
	t.Helper()
	if os.Getenv("PARLEY_TEST_REAL") == "" {
		t.Skip("missing: the embedded engine's library and model; set PARLEY_TEST_REAL=1 to fetch and use them")
	}
}

var binary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("PARLEY_BIN"); bin != "" {
		return bin, nil
	}
	dir, err := os.MkdirTemp("", "parley-stories-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "parley")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/parleyhq/parley/cmd/parley").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build parley: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	if addr := os.Getenv("PARLEY_STORY_ENGINE"); addr != "" {
		os.Exit(simulated(addr)) // an engine of fleet_test.go, as a process that can be killed
	}
	code := m.Run()
	if bin, err := binary(); err == nil && os.Getenv("PARLEY_BIN") == "" {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// node is a parley process on a fixed port and directory.
type node struct {
	t    *testing.T
	url  string
	dir  string
	env  []string
	args []string

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd
	log *words
}

// words is what a process says, read while it goes on.
type words struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func (w *words) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Reset()
}

func newNode(t *testing.T, env ...string) *node {
	t.Helper()
	addr := freeAddr(t)
	n := &node{t: t, url: "http://" + addr, dir: t.TempDir(), log: &words{}}
	n.env = append(os.Environ(), "PARLEY_LISTEN="+addr, "PARLEY_DATA="+n.dir, "PARLEY_LOG_LEVEL=warn", "CI=true")
	n.env = append(n.env, env...)
	n.args = []string{"up", "--no-browser"}
	t.Cleanup(func() {
		n.end()
		if t.Failed() {
			t.Logf("the node's last words:\n%s", tail(n.log.String(), 256<<10))
		}
	})
	return n
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (n *node) start() {
	n.t.Helper()
	bin, err := binary()
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(bin, n.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = n.env, n.log, n.log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.cmd = cmd
	n.mu.Unlock()
	deadline := time.Now().Add(startTime)
	for {
		resp, err := http.Get(n.url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the node is not ready: %v\n%s%s", err, tail(n.log.String(), 4000), n.regionsSaid())
		}
		wait(10 * time.Millisecond)
	}
}

// startTime is what a node, or a world, may take to start on a busy machine.
const startTime = 90 * time.Second

// regionsSaid is what the regions of a world said at last.
func (n *node) regionsSaid() string {
	logs, _ := filepath.Glob(filepath.Join(n.dir, "regions", "*", "parley.log"))
	said := ""
	for _, path := range logs {
		b, _ := os.ReadFile(path)
		said += "\n" + path + ":\n" + tail(string(b), 4000)
	}
	return said
}

// kill ends the node with SIGKILL.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// end ends the node. One that failed a test says what it was at: Go prints
// every goroutine's stack on SIGQUIT.
func (n *node) end() {
	n.mu.Lock()
	if n.t.Failed() && n.cmd != nil {
		_ = n.cmd.Process.Signal(syscall.SIGQUIT)
		wait(2 * time.Second)
	}
	n.mu.Unlock()
	n.kill()
}

// engine returns the pid of the node's engine process, 0 if there is none.
func (n *node) engine() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", n.cmd.Process.Pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			line, _ := os.ReadFile("/proc/" + f + "/cmdline")
			if bytes.Contains(line, []byte("\x00engine\x00")) {
				pid, _ := strconv.Atoi(f)
				return pid
			}
		}
	}
	return 0
}

func wait(d time.Duration) { <-time.After(d) }

// user is a client that never gives up: it repeats with the same key and
// re-attaches by position, and checks everything it is shown.
type user struct {
	t   *testing.T
	url string
	c   http.Client
}

func newUser(t *testing.T, url string) *user {
	return &user{t: t, url: url, c: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// call repeats a request until the node answers it with a status below 500.
func (u *user) call(ctx context.Context, method, path, key string, body, into any) (int, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		status, err := u.once(ctx, method, path, key, b, into)
		if err == nil && status < 500 {
			return status, nil
		}
		if ctx.Err() != nil {
			return status, fmt.Errorf("%s %s: status %d, %w, last error %w", method, path, status, ctx.Err(), err)
		}
		wait(20 * time.Millisecond)
	}
}

func (u *user) once(ctx context.Context, method, path, key string, body []byte, into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := u.c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if into != nil && resp.StatusCode < 300 {
		return resp.StatusCode, json.Unmarshal(b, into)
	}
	return resp.StatusCode, nil
}

func (u *user) conversation(ctx context.Context) string {
	var c struct{ ID string }
	if status, err := u.call(ctx, "POST", "/api/v1/conversations", "", map[string]any{}, &c); err != nil || status != 201 {
		u.t.Fatalf("create conversation: %d %v", status, err)
	}
	return c.ID
}

type said struct{ ID, Turn string }

func (u *user) say(ctx context.Context, conv, text, key string) said {
	var s said
	status, err := u.call(ctx, "POST", "/api/v1/conversations/"+conv+"/activities", key, map[string]string{"type": "message", "text": text}, &s)
	if err != nil || status != 202 {
		u.t.Errorf("say: %d %v", status, err)
	}
	return s
}

// shown is what a client has seen of a conversation.
type shown struct {
	pos      uint64
	text     map[string]string // by turn
	state    map[string]string
	problem  map[string]string
	acts     []act
	joints   []joint
	attached int         // connections it took
	over     chan string // gets each turn that is over; nil: nobody asks
}

type act struct {
	ID        string `json:"id"`
	Text      string `json:"text"`
	ReplyToID string `json:"replyToId"`
	From      struct{ Role string }
	Data      struct {
		Parley struct{ Turn string }
	} `json:"channelData"`
}

type joint struct {
	turn   string
	offset int
	policy string
}

func newShown() *shown {
	return &shown{text: map[string]string{}, state: map[string]string{}, problem: map[string]string{}}
}

// patience is how long a request, and how long an answer, may take, kills
// included, on a busy machine.
const patience = 5 * time.Minute

// follow reads events until the turn is over, through whatever is killed.
// grown, if not nil, is called after every delta.
func (u *user) follow(ctx context.Context, conv, turn string, s *shown, grown func(*shown)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := u.attach(ctx, conv, turn, s, grown)
		if err == nil {
			return nil
		}
		var broken contractError
		if errors.As(err, &broken) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("turn %s is %q after %d connections, last: %w", turn, s.state[turn], s.attached, err)
		}
		wait(20 * time.Millisecond)
	}
}

// contractError is a broken promise, not a broken connection.
type contractError struct{ error }

func broken(format string, args ...any) error { return contractError{fmt.Errorf(format, args...)} }

func (u *user) attach(ctx context.Context, conv, turn string, s *shown, grown func(*shown)) error {
	req, err := http.NewRequestWithContext(ctx, "GET", u.url+"/api/v1/conversations/"+conv+"/events", nil)
	if err != nil {
		return err
	}
	if s.pos > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatUint(s.pos, 10))
	}
	resp, err := u.c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	s.attached++
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 4<<20)
	var id, event, data string
	for in.Scan() {
		line := in.Text()
		switch {
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "event: "):
			event = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "" && event != "":
			if err := s.take(id, event, []byte(data)); err != nil {
				return contractError{err}
			}
			if grown != nil && event == "delta" {
				grown(s)
			}
			id, event, data = "", "", ""
			if st := s.state[turn]; st == "done" || st == "failed" || st == "stopped" {
				return nil
			}
		}
	}
	return errors.Join(errors.New("the stream ended"), in.Err())
}

func (s *shown) take(id, event string, data []byte) error {
	pos, err := strconv.ParseUint(id, 10, 64)
	if err != nil || pos <= s.pos {
		return broken("event %q has id %q after %d", event, id, s.pos)
	}
	s.pos = pos
	var b struct {
		Turn, Text, State, Policy, Error string
		Offset                           int
	}
	if event == "activity" {
		var a act
		if err := json.Unmarshal(data, &a); err != nil {
			return err
		}
		s.acts = append(s.acts, a)
		if a.From.Role == "bot" && s.text[a.Data.Parley.Turn] != a.Text {
			return broken("shown %q, the log holds %q", s.text[a.Data.Parley.Turn], a.Text)
		}
		return nil
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	switch event {
	case "delta":
		if have := utf8.RuneCountInString(s.text[b.Turn]); b.Offset != have {
			return broken("a delta at %d, %d characters are there", b.Offset, have)
		}
		s.text[b.Turn] += b.Text
	case "resumed":
		if b.Policy == "restart" {
			s.text[b.Turn] = ""
		}
		if have := utf8.RuneCountInString(s.text[b.Turn]); b.Offset != have {
			return broken("resumed at %d, %d characters are there", b.Offset, have)
		}
		s.joints = append(s.joints, joint{b.Turn, b.Offset, b.Policy})
	case "turn":
		s.state[b.Turn], s.problem[b.Turn] = b.State, b.Error
		if s.over != nil && (b.State == "done" || b.State == "failed" || b.State == "stopped") {
			s.over <- b.Turn
		}
	}
	return nil
}

// activities returns what the node says was said.
func (u *user) activities(ctx context.Context, conv string) []act {
	var out struct{ Activities []act }
	if status, err := u.call(ctx, "GET", "/api/v1/conversations/"+conv+"/activities", "", nil, &out); err != nil || status != 200 {
		u.t.Errorf("activities: %d %v", status, err)
	}
	return out.Activities
}
