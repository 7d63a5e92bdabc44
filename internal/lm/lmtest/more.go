package lmtest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// resume cuts an answer at several chunks and continues it by every policy.
func (s *suite) resume(t *testing.T, e lm.Engine) {
	const size = 24
	full := s.whole(t, e, s.request(size))
	for _, p := range []lm.Policy{lm.Exact, lm.Quick, lm.Prefill} {
		t.Run(string(p), func(t *testing.T) {
			if !slices.Contains(s.Resume, p) {
				req := s.request(4)
				req.Prefix = &lm.Prefix{Text: full.text[:len(full.chunks[0].Text)], Tokens: full.chunks[0].Tokens, Policy: p}
				wantCode(t, s.generate(t.Context(), t, e, req, nil).err, fault.Unsupported)
				return
			}
			for _, cut := range cuts(len(full.chunks)) {
				s.join(t, e, full, cut, p, size)
			}
			if p != lm.Prefill {
				req := s.request(4)
				req.Prefix = &lm.Prefix{Text: "no ids of this text", Policy: p}
				wantCode(t, s.generate(t.Context(), t, e, req, nil).err, fault.Unsupported, fault.Invalid)
			}
		})
	}
}

// cuts are the places to cut n chunks at: after the first, in the middle, late.
func cuts(n int) []int {
	c := []int{1, n / 3, n / 2, n - 2}
	slices.Sort(c)
	c = slices.Compact(c)
	return slices.DeleteFunc(c, func(k int) bool { return k < 1 || k >= n })
}

// join continues full after its first cut chunks and checks the joint.
func (s *suite) join(t *testing.T, e lm.Engine, full answer, cut int, p lm.Policy, size int) {
	t.Helper()
	pre := &lm.Prefix{Policy: p}
	for _, c := range full.chunks[:cut] {
		pre.Text += c.Text
		pre.Tokens = append(pre.Tokens, c.Tokens...)
	}
	had := cut // without ids a chunk stands for a token, near enough for a limit
	if s.Tokens {
		had = len(pre.Tokens)
	}
	if had >= size {
		return
	}
	if p == lm.Prefill {
		pre.Tokens = nil
	}
	req := s.request(size - had)
	req.Prefix = pre
	a := s.whole(t, e, req)
	rest := strings.TrimPrefix(full.text, pre.Text)
	if s.Deterministic && slices.Contains(s.Equal, p) {
		// A token that was sampled but not yet seen is sampled again by Prefill,
		// so that the limit may fall a token earlier.
		if p == lm.Prefill && a.text != "" && strings.HasPrefix(rest, a.text) && len(rest)-len(a.text) <= 16 {
			return
		}
		if a.text != rest {
			t.Errorf("%s after %q: got %q, want %q", p, pre.Text, a.text, rest)
		}
		return
	}
	if a.text == "" && rest != "" {
		t.Errorf("%s after %q: nothing came", p, pre.Text)
	}
	if len(pre.Text) >= 16 && strings.HasPrefix(strings.TrimSpace(a.text), strings.TrimSpace(pre.Text)) {
		t.Errorf("%s after %q began again: %q", p, pre.Text, a.text)
	}
}

func (s *suite) rawPrompt(t *testing.T, e lm.Engine) {
	req := s.request(8)
	req.Messages, req.Prompt = nil, "Once upon a time there was a lighthouse, and"
	if !s.RawPrompt {
		wantCode(t, s.generate(t.Context(), t, e, req, nil).err, fault.Unsupported)
		return
	}
	if a := s.whole(t, e, req); a.text == "" {
		t.Error("nothing came")
	}
}

func (s *suite) schema(t *testing.T, e lm.Engine) {
	req := s.request(64)
	req.Params.Schema = json.RawMessage(`{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}`)
	if !s.Schema {
		wantCode(t, s.generate(t.Context(), t, e, req, nil).err, fault.Unsupported)
		return
	}
	a := s.whole(t, e, req)
	var v struct{ OK *bool }
	if err := json.Unmarshal([]byte(a.text), &v); err != nil || v.OK == nil {
		t.Errorf("answer %q does not follow the schema: %v", a.text, err)
	}
}

func (s *suite) embeddings(t *testing.T, e lm.Engine) {
	in := []string{"a lighthouse", "a small boat", "a lighthouse"}
	vec, use, err := e.Embed(t.Context(), s.EmbedModel, in)
	if !s.Embeddings {
		wantCode(t, err, fault.Unsupported)
		return
	}
	if err != nil {
		t.Fatalf("embed: %v", err)
	}
	if len(vec) != len(in) {
		t.Fatalf("%d vectors for %d inputs", len(vec), len(in))
	}
	for i, v := range vec {
		if len(v) == 0 || len(v) != len(vec[0]) {
			t.Errorf("vector %d has %d values, the first %d", i, len(v), len(vec[0]))
		}
	}
	if near(vec[0], vec[1]) {
		t.Error("two texts have one vector")
	}
	if !near(vec[0], vec[2]) {
		t.Error("one text has two vectors: the order is lost")
	}
	if s.Usage && use.Prompt <= 0 {
		t.Errorf("usage %+v", use)
	}
	if _, _, err := e.Embed(t.Context(), s.EmbedModel, nil); err == nil {
		t.Error("no inputs were embedded without an error")
	}
}

// near reports whether two vectors agree but for rounding (batches round differently).
func near(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if d := a[i] - b[i]; d > 2e-2 || d < -2e-2 {
			return false
		}
	}
	return true
}

func (s *suite) count(t *testing.T, e lm.Engine) {
	short, err := e.Count(t.Context(), s.request(4))
	if !s.Count {
		wantCode(t, err, fault.Unsupported)
		return
	}
	if err != nil {
		t.Fatalf("count: %v", err)
	}
	req := s.request(4)
	req.Messages = append(slices.Clone(req.Messages),
		lm.Message{Role: lm.Assistant, Text: "Which storm do you mean?"}, lm.Message{Role: lm.User, Text: "Any storm will do."})
	long, err := e.Count(t.Context(), req)
	if err != nil {
		t.Fatalf("count: %v", err)
	}
	if short <= 0 || long <= short {
		t.Errorf("counted %d for a short and %d for a longer prompt", short, long)
	}
	if a := s.whole(t, e, s.request(4)); s.Usage && a.res.Usage.Prompt != short {
		t.Errorf("counted %d, but the answer's usage says %d", short, a.res.Usage.Prompt)
	}
}

func (s *suite) close(t *testing.T, e lm.Engine) {
	begun := make(chan struct{})
	done := make(chan answer, 1)
	go func() {
		done <- s.generate(t.Context(), t, e, s.request(4000), func(n int) error {
			if n == 2 {
				close(begun)
			}
			return nil
		})
	}()
	select {
	case <-begun:
	case a := <-done:
		t.Fatalf("the answer ended before its second chunk: %v", a.err)
	}
	_ = s.within(t, "close", e.Close)
	var a answer
	_ = s.within(t, "the end of a running answer after close", func() error { a = <-done; return nil })
	wantCode(t, a.err, fault.Unavailable, fault.Canceled)
	wantCode(t, s.generate(t.Context(), t, e, s.request(4), nil).err, fault.Unavailable)
	if err := e.Health(t.Context()); err == nil {
		t.Error("a closed engine is healthy")
	}
}
