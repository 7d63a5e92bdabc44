package client

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// node is a service of one conversation at a time with a log in memory, as
// far as a client can tell; rough makes it fail in every way that a client
// must live with.
type node struct {
	t *testing.T

	mu      sync.Mutex // guards what follows
	rnd     *rand.Rand
	rough   bool
	said    map[string]Sent   // by Idempotency-Key
	texts   []string          // in the order in which they were taken
	log     []string          // frames, "event\ndata"; the position is the index + 1
	grown   chan struct{}     // closed when log grows
	answer  func(turn string) // called once for each new turn, in a goroutine
	bodies  []string
	counted map[string]int
}

func newNode(t *testing.T, seed uint64) *node {
	return &node{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), said: map[string]Sent{}, grown: make(chan struct{}), counted: map[string]int{}}
}

// put appends a frame to the log.
func (n *node) put(event string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		n.t.Error(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, event+"\n"+string(b))
	close(n.grown)
	n.grown = make(chan struct{})
}

func (n *node) chance(p float64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rough && n.rnd.Float64() < p
}

func (n *node) roll(most int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rnd.IntN(most)
}

// stream puts an answer's frames into the log: pieces of random length.
func (n *node) stream(turn, text, state string) {
	offset := 0
	for text != "" {
		size := 1 + n.roll(12)
		cut := min(size, len(text))
		for cut < len(text) && !utf8.RuneStart(text[cut]) {
			cut++
		}
		n.put("delta", Delta{Turn: turn, Offset: offset, Text: text[:cut]})
		offset += utf8.RuneCountInString(text[:cut])
		text = text[cut:]
	}
	if state != "" {
		n.put("turn", Turn{Turn: turn, State: state, Attempt: 1})
	}
}

func (n *node) final(turn, text string) {
	n.put("activity", map[string]any{
		"type": "message", "id": "b" + turn, "text": text, "from": Account{ID: "bot", Role: "bot"},
		"channelData": map[string]any{"parley": map[string]string{"turn": turn}},
	})
	n.put("turn", Turn{Turn: turn, State: Done, Attempt: 1})
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":%q}}`, code, message)
}

// cut ends the connection in the middle.
func cut() { panic(http.ErrAbortHandler) }

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Header.Get("X-Parley") != "1" {
		fail(w, http.StatusForbidden, "forbidden", "X-Parley is missing")
		return
	}
	if n.chance(0.15) {
		w.Header().Set("Retry-After", "0")
		fail(w, http.StatusServiceUnavailable, "unavailable", "starting")
		return
	}
	if n.chance(0.1) {
		cut()
	}
	n.mu.Lock()
	n.counted[r.Method+" "+r.URL.Path]++
	n.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/activities") && r.Method == http.MethodPost:
		n.take(w, r)
	case strings.HasSuffix(r.URL.Path, "/events"):
		n.events(w, r)
	default:
		fail(w, http.StatusNotFound, "not_found", "there is nothing")
	}
}

func (n *node) take(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var a Activity
	if err != nil || json.Unmarshal(b, &a) != nil {
		return
	}
	key := r.Header.Get("Idempotency-Key")
	n.mu.Lock()
	sent, again := n.said[key]
	if !again {
		sent = Sent{ID: fmt.Sprintf("a%d", len(n.texts)), Turn: fmt.Sprintf("t%d", len(n.texts))}
		n.said[key] = sent
		n.texts = append(n.texts, a.Text)
		n.bodies = append(n.bodies, string(b))
	}
	n.mu.Unlock()
	if !again && n.answer != nil {
		n.put("activity", a)
		n.put("turn", Turn{Turn: sent.Turn, State: Queued, Position: 2, ReplyTo: sent.ID})
		go n.answer(sent.Turn)
	}
	if n.chance(0.3) {
		cut() // taken, but the client does not hear of it
	}
	w.WriteHeader(http.StatusAccepted)
	out, _ := json.Marshal(sent)
	if n.chance(0.2) {
		_, _ = w.Write(out[:len(out)/2])
		_ = http.NewResponseController(w).Flush()
		cut()
	}
	_, _ = w.Write(out)
}

func (n *node) events(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.Atoi(r.URL.Query().Get("after"))
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid", "after")
		return
	}
	if after > 0 && n.chance(0.3) {
		after -= 1 + n.roll(after) // tells things again
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	budget := -1
	if n.chance(0.7) {
		budget = n.roll(900)
	}
	end := []string{"\n", "\r\n", "\r"}[n.roll(3)]
	for {
		n.mu.Lock()
		all, grown := n.log, n.grown
		n.mu.Unlock()
		var out strings.Builder
		for i := after; i < len(all); i++ {
			event, data, _ := strings.Cut(all[i], "\n")
			fmt.Fprintf(&out, "id: %[1]d%[4]sevent: %[2]s%[4]sdata: %[3]s%[4]s%[4]s", i+1, event, data, end)
		}
		out.WriteString(": alive" + end + end)
		text := out.String()
		if budget >= 0 && len(text) > budget {
			_, _ = io.WriteString(w, text[:budget])
			_ = http.NewResponseController(w).Flush()
			cut()
		}
		if budget >= 0 {
			budget -= len(text)
		}
		after = len(all)
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-grown:
		case <-r.Context().Done():
			return
		}
	}
}

// serve starts handlers and returns a client of all of them.
func serve(t *testing.T, opts Options, handlers ...http.Handler) *Client {
	t.Helper()
	for _, h := range handlers {
		s := httptest.NewServer(h)
		s.Config.ErrorLog = nil
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		opts.BaseURLs = append(opts.BaseURLs, s.URL)
	}
	if opts.Backoff == 0 {
		opts.Backoff = time.Millisecond
	}
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}
