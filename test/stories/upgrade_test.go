//go:build linux

package stories

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/drill"
)

// newer is the version that the second build says it is.
const newer = "99.0.0-story"

// newerBinary builds the program once more, as another version.
func newerBinary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "parley")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "-ldflags", "-X github.com/parleyhq/parley/internal/cli.stamp="+newer, "github.com/parleyhq/parley/cmd/parley")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build another version: %v\n%s", err, out)
	}
	return bin
}

// TestRollingUpgrade replaces the program of every node of a world, one after
// the other, while people talk: no stream breaks, no request fails, nothing is
// lost, and answers that were being written are handed over in mid-sentence.
func TestRollingUpgrade(t *testing.T) {
	old, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	next := newerBinary(t)
	rounds := max(1, kills(t, 1)/25)
	// Answers take more than two seconds, and a node has less: some are handed over.
	r := newRealm(t, "engine: demo\ndrain: 200ms\nlame_duck: 1s\n", "japaneast:witness", "koreacentral", "southeastasia")
	r.configure()
	r.start(old, r.places...)
	r.front(old)
	r.well()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	w, end := r.crowd(t, ctx, 12)
	wait(3 * time.Second) // everybody is somewhere in an answer
	began := time.Now()
	for range rounds {
		for _, p := range r.places {
			r.well()
			took := r.stop(p)
			r.start(next, p)
			t.Logf("%s: stopped within %s", p.name, took.Round(time.Millisecond))
		}
		old, next = next, old
	}
	r.well()
	t.Logf("all nodes replaced within %s", time.Since(began).Round(time.Millisecond))
	end()
	if w.handed == 0 {
		t.Error("nobody was in the middle of an answer: this upgrade proves nothing")
	}

	all, err := r.regions(ctx, r.places[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		for _, n := range g.Nodes {
			if rounds%2 == 1 && n.Version != newer {
				t.Errorf("%s runs %s", n.Name, n.Version)
			}
		}
	}
}

// watch is what people who must not notice anything have noticed.
type watch struct {
	t *testing.T

	mu      sync.Mutex // guards all below
	talks   []*talked
	wrong   []string
	longest time.Duration // until a message was acknowledged
	streams int           // that were held from the beginning to the end
	handed  int           // answers that another node went on with
}

// talked is a conversation and what its user was told.
type talked struct {
	conv string
	told []drill.Told
}

func (w *watch) badly(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *watch) acked(t *talked, said drill.Told, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.told = append(t.told, said)
	w.longest = max(w.longest, took)
}

func (w *watch) begin(conv string) *talked {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &talked{conv: conv}
	w.talks = append(w.talks, t)
	return t
}

// onTheEdge talks through the edge with plain HTTP: every request is made once,
// and one event stream lasts the whole time.
func (w *watch) onTheEdge(ctx, talking context.Context, url string, n int) {
	u := &user{t: w.t, url: url, c: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
	var made struct{ ID string }
	if status, err := u.once(ctx, "POST", "/api/v1/conversations", fmt.Sprintf("edge-%d", n), []byte("{}"), &made); err != nil || status != 201 {
		w.badly("edge user %d: a conversation: %d %v", n, status, err)
		return
	}
	t, seen := w.begin(made.ID), newShown()
	seen.over = make(chan string, 16)
	reading, stop := context.WithCancel(ctx)
	var left atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		err := u.attach(reading, made.ID, "", seen, nil)
		if !left.Load() {
			w.badly("edge user %d: the stream broke: %v", n, err)
		}
		close(seen.over)
	})
	for i := 0; talking.Err() == nil; i++ {
		text := fmt.Sprintf("edge user %d, message %d: what becomes of a sentence?", n, i)
		body, _ := json.Marshal(map[string]string{"type": "message", "text": text})
		var s said
		asked := time.Now()
		status, err := u.once(ctx, "POST", "/api/v1/conversations/"+made.ID+"/activities", fmt.Sprintf("edge-%d-%d", n, i), body, &s)
		if err != nil || status != 202 {
			w.badly("edge user %d: %q was not taken: %d %v", n, text, status, err)
			break
		}
		w.acked(t, drill.Told{ID: s.ID, Text: text, Answer: &client.Answer{Turn: s.Turn}}, time.Since(asked))
		if !answered(ctx, seen.over, s.Turn) {
			w.badly("edge user %d: no end of the answer to %q", n, text)
			break
		}
	}
	left.Store(true)
	stop()
	reader.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range t.told {
		turn := t.told[i].Answer.Turn
		state := seen.state[turn]
		t.told[i].Answer = &client.Answer{Turn: turn, State: state, Text: seen.text[turn], Activity: &client.Activity{ID: "b" + turn[1:]}}
	}
	w.streams += seen.attached
	w.handed += len(seen.joints)
}

// answered waits until a turn is over.
func answered(ctx context.Context, over <-chan string, turn string) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case done, open := <-over:
			if done == turn || !open {
				return open
			}
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// withClient talks to the nodes themselves, with the client library, which
// knows all their addresses.
func (w *watch) withClient(ctx, talking context.Context, urls []string, n int) {
	c, err := client.New(client.Options{BaseURLs: urls})
	if err != nil {
		w.badly("client user %d: %v", n, err)
		return
	}
	conv, err := c.Create(ctx, client.NewConversation{})
	if err != nil {
		w.badly("client user %d: a conversation: %v", n, err)
		return
	}
	t := w.begin(conv.ID)
	for i := 0; talking.Err() == nil; i++ {
		text := fmt.Sprintf("client user %d, message %d: what becomes of a sentence?", n, i)
		asked := time.Now()
		sent, err := c.Send(ctx, conv.ID, client.Message{Text: text})
		if err != nil {
			w.badly("client user %d: %q: %v", n, text, err)
			return
		}
		took := time.Since(asked)
		var seen bytes.Buffer
		answer, err := c.Follow(ctx, conv.ID, sent.Turn, 0, func(p client.Piece) error {
			if p.Restart && seen.Len() > 0 { // nothing was shown before: that hides nothing
				return errors.New("the answer began anew")
			}
			seen.WriteString(p.Text)
			return nil
		})
		if err != nil || seen.String() != answer.Text {
			w.badly("client user %d: the answer to %q: %v", n, text, err)
		}
		w.acked(t, drill.Told{ID: sent.ID, Text: text, Answer: &answer}, took)
		if answer.Attempts > 1 {
			w.mu.Lock()
			w.handed++
			w.mu.Unlock()
		}
	}
}

// held reads a conversation in every region. What was just said somewhere takes
// its time to get elsewhere.
func (w *watch) held(ctx context.Context, regions []*client.Client, conv string) []drill.Held {
	for late := time.Now().Add(10 * time.Second); ; wait(100 * time.Millisecond) {
		var held []drill.Held
		alike := true
		for _, c := range regions {
			acts, err := c.Activities(ctx, conv)
			if err != nil {
				w.t.Fatalf("read %s: %v", conv, err)
			}
			held = append(held, drill.Holds(acts))
			alike = alike && reflect.DeepEqual(held[0], held[len(held)-1])
		}
		if alike || time.Now().After(late) {
			return held
		}
	}
}

// judge reads every conversation in every region.
func (w *watch) judge(ctx context.Context, r *realm) {
	var sum drill.Tally
	var here []*client.Client
	for _, url := range r.urls(0) {
		c, err := client.New(client.Options{BaseURLs: []string{url}})
		if err != nil {
			w.t.Fatal(err)
		}
		here = append(here, c)
	}
	for _, t := range w.talks {
		sum.Count(t.told, w.held(ctx, here, t.conv))
	}
	w.t.Logf("%d streams held, %d messages acknowledged (the slowest after %s), %d answers, %d of them handed over in mid-sentence",
		w.streams, sum.Acknowledged, w.longest.Round(time.Millisecond), sum.Answers, w.handed)
	if !sum.Clean() || len(w.wrong) > 0 {
		w.t.Errorf("%+v\n%s", sum, strings.Join(w.wrong, "\n"))
	}
	if sum.Answers < len(w.talks) {
		w.t.Error("not everybody was answered: this proves nothing")
	}
}
