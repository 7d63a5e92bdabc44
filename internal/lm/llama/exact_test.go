//go:build unix

package llama

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/lm"
)

var exactPrompts = []string{
	"Tell me about the sea.",
	"Write a short story about a fox who learns to count.",
	"List five facts about Korea, Japan and Singapore, with an emoji for each.",
	"Explain how a steam engine works to a child.",
	"Write a Go function that reverses a string.",
	"What should I cook with rice, eggs and spinach? Give the steps.",
}

// cutter cuts answers and continues them.
type cutter struct {
	t *testing.T
	e *Engine
	r *rand.Rand
}

// shownBy is the text that a client had after the first n tokens.
func shownBy(chunks []lm.Chunk, n int) string {
	text, seen := "", 0
	for _, c := range chunks {
		if seen += len(c.Tokens); seen > n {
			break
		}
		text += c.Text
	}
	return text
}

func (c cutter) chunks(req lm.Request) ([]lm.Chunk, answer) {
	c.t.Helper()
	var chunks []lm.Chunk
	a := generate(c.t.Context(), c.e, req, func(ch lm.Chunk) { chunks = append(chunks, ch) })
	if a.err != nil {
		c.t.Fatal(a.err)
	}
	return chunks, a
}

// again continues an answer from n tokens on and returns the whole of it.
func (c cutter) again(req lm.Request, whole answer, chunks []lm.Chunk, n int, p lm.Policy) answer {
	c.t.Helper()
	text := shownBy(chunks, n)
	req.Prefix = &lm.Prefix{Text: text, Tokens: whole.tokens[:n], Policy: p}
	req.Params.MaxTokens -= n
	a := generate(c.t.Context(), c.e, req, nil)
	if a.err != nil {
		c.t.Fatalf("continue by %s from %d: %v", p, n, a.err)
	}
	a.text = text + a.text
	a.tokens = append(slices.Clone(whole.tokens[:n]), a.tokens...)
	return a
}

// TestRealExact cuts answers at random places and expects that an exact
// continuation is the undisturbed answer, every time: greedy and sampled, in
// first and second turns of a conversation, with a warm cache and in a new
// process.
func TestRealExact(t *testing.T) {
	o := realOptions(t)
	e := start(t, o)
	c := cutter{t, e, rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7))}
	cuts := 16 // PARLEY_TEST_CUTS=48 was what the promise was tested with
	if n, err := strconv.Atoi(os.Getenv("PARLEY_TEST_CUTS")); err == nil {
		cuts = n
	}
	for name, params := range map[string]lm.Params{
		"greedy": {MaxTokens: 80, Temperature: ptr(0.0), RepeatPenalty: ptr(1.1)},
		"seeded": {MaxTokens: 80, Temperature: ptr(0.9), Seed: ptr(int64(11)), PresencePenalty: ptr(0.3)},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			c.t = t
			exact, quick, quicks, restarts := 0, 0, 0, 0
			for i := range cuts {
				req := lm.Request{Messages: chat(exactPrompts[i%len(exactPrompts)]), Params: params, Session: name + strconv.Itoa(i)}
				chunks, whole := c.chunks(req)
				if i%2 == 1 { // a second turn, whose beginning is cached
					req.Messages = append(req.Messages, lm.Message{Role: lm.Assistant, Text: whole.text}, lm.Message{Role: lm.User, Text: "Go on, with more detail."})
					chunks, whole = c.chunks(req)
				}
				n := c.r.IntN(len(whole.tokens))
				if i%4 >= 2 { // the process that knew it is gone
					restarts++
					if err := syscall.Kill(e.Pid(), syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
				a := c.again(req, whole, chunks, n, lm.Exact)
				if a.text != whole.text || !slices.Equal(a.tokens, whole.tokens) || a.res.Finish != whole.res.Finish || a.res.Usage.Completion != len(whole.tokens)-n {
					t.Errorf("cut %d at %d of %d:\n got %q %+v\nwant %q %+v", i, n, len(whole.tokens), a.text, a.res, whole.text, whole.res)
				} else {
					exact++
				}
				if i%3 == 0 {
					quicks++
					if b := c.again(req, whole, chunks, n, lm.Quick); b.text == whole.text {
						quick++
					} else if !utf8.ValidString(b.text) {
						t.Errorf("quick from %d is not UTF-8: %q", n, b.text)
					}
				}
			}
			t.Logf("%d of %d exact continuations equal (%d in a new process), %d of %d quick ones", exact, cuts, restarts, quick, quicks)
		})
	}
}
