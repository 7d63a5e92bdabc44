// Package lmtest is the conformance suite of lm.Engine: every driver runs it
// against its engine, real or mocked, and says in Options what that engine
// claims. Only checks of the contract in package lm may live here.
package lmtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// Options say what the engine at hand claims. The zero value of every field
// but Open claims nothing; what is not claimed must be refused as the contract
// says, or is not checked where it can't be.
type Options struct {
	// Open returns an engine that is ready to answer. The suite closes it; it
	// is called once for each subtest, so an expensive engine may return a
	// view of a shared one whose Close ends only the view's answers.
	Open func(t *testing.T) lm.Engine

	Model    string       // "" = the engine's first
	Messages []lm.Message // a prompt with a long answer; nil = one that asks for a long story

	Tokens        bool // chunks carry token ids
	Deterministic bool // at temperature 0 the same request alone gives the same text
	BatchEqual    bool // ... and also among others at the same time
	Usage         bool // results count tokens
	Embeddings    bool
	EmbedModel    string
	Count         bool
	RawPrompt     bool // Request.Prompt is served
	Schema        bool // Params.Schema is kept
	KnowsModels   bool // an unknown model is refused with NotFound

	Resume []lm.Policy // ways to continue that work; the others must be Unsupported
	Equal  []lm.Policy // those of Resume whose joined text equals the undisturbed run

	// TooLong is a prompt over the window; "" leaves that check out.
	TooLong string
	// AtOnce is how many answers run together; 0 = 4.
	AtOnce int
	// Answer is how long one answer may take; 0 = 30 s.
	Answer time.Duration
	// Cancel is how long an answer may go on after its end was asked for. The
	// contract says 200 ms; 0 = 2 s, so that a busy test machine does not fail.
	Cancel time.Duration
}

func (o Options) withDefaults() Options {
	if o.Messages == nil {
		o.Messages = []lm.Message{
			{Role: lm.System, Text: "You are a helpful assistant."},
			{Role: lm.User, Text: "Tell me a long story about a lighthouse, a storm and a small boat."},
		}
	}
	if o.AtOnce == 0 {
		o.AtOnce = 4
	}
	if o.Answer == 0 {
		o.Answer = 30 * time.Second
	}
	if o.Cancel == 0 {
		o.Cancel = 2 * time.Second
	}
	return o
}

// Run checks the engine against the contract.
func Run(t *testing.T, opts Options) {
	t.Helper()
	s := &suite{Options: opts.withDefaults()}
	for _, c := range []struct {
		name string
		run  func(t *testing.T, e lm.Engine)
	}{
		{"models", s.models},
		{"health", s.health},
		{"stream", s.stream},
		{"max tokens", s.maxTokens},
		{"stop strings", s.stopStrings},
		{"cancel", s.cancel},
		{"cancelled before", s.cancelledBefore},
		{"emit error", s.emitError},
		{"unknown model", s.unknownModel},
		{"empty request", s.emptyRequest},
		{"too long", s.tooLong},
		{"many at once", s.manyAtOnce},
		{"continue", s.resume},
		{"raw prompt", s.rawPrompt},
		{"schema", s.schema},
		{"embeddings", s.embeddings},
		{"count", s.count},
		{"close", s.close},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := s.Open(t)
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			c.run(t, e)
		})
	}
}

type suite struct{ Options }

// request asks for at most n tokens, greedily.
func (s *suite) request(n int) lm.Request {
	zero := 0.0
	return lm.Request{Model: s.Model, Messages: s.Messages, Params: lm.Params{MaxTokens: n, Temperature: &zero}}
}

// answer is what one Generate gave.
type answer struct {
	chunks []lm.Chunk
	text   string
	tokens []int32
	res    lm.Result
	err    error
}

// generate runs one answer and checks what holds for every stream.
func (s *suite) generate(ctx context.Context, t *testing.T, e lm.Engine, req lm.Request, each func(n int) error) answer {
	t.Helper()
	ctx, stop := context.WithTimeout(ctx, s.Answer)
	defer stop()
	var a answer
	var mu sync.Mutex // guards over and busy against an engine that breaks the contract
	over, busy := false, false
	a.res, a.err = e.Generate(ctx, req, func(c lm.Chunk) error {
		mu.Lock()
		if over {
			t.Error("emit was called after Generate had returned")
		}
		if busy {
			t.Error("emit was called twice at the same time")
		}
		busy = true
		mu.Unlock()
		defer func() { mu.Lock(); busy = false; mu.Unlock() }()
		if !utf8.ValidString(c.Text) {
			t.Errorf("chunk %q is not whole code points", c.Text)
		}
		if c.Text == "" && len(c.Tokens) == 0 {
			t.Error("a chunk without text and without tokens")
		}
		if !s.Tokens && len(c.Tokens) > 0 {
			t.Error("a chunk carries tokens, but the engine does not claim to know them")
		}
		c.Tokens = append([]int32(nil), c.Tokens...) // the engine may use its buffer again
		a.chunks = append(a.chunks, c)
		a.text += c.Text
		a.tokens = append(a.tokens, c.Tokens...)
		if each != nil {
			return each(len(a.chunks))
		}
		return nil
	})
	mu.Lock()
	over = true
	mu.Unlock()
	return a
}

func (s *suite) whole(t *testing.T, e lm.Engine, req lm.Request) answer {
	t.Helper()
	a := s.generate(t.Context(), t, e, req, nil)
	if a.err != nil {
		t.Fatalf("generate: %v", a.err)
	}
	if a.res.Finish == lm.FinishUndefined {
		t.Error("a finished answer without a finish reason")
	}
	return a
}

func wantCode(t *testing.T, err error, want ...fault.Code) {
	t.Helper()
	var f *fault.Error
	if err == nil || (!errors.As(err, &f) && !errors.Is(err, context.Canceled)) {
		t.Fatalf("got error %v, want a fault with code %v", err, want)
	}
	for _, w := range want {
		if fault.Is(err, w) {
			return
		}
	}
	t.Fatalf("got %q (%v), want code %v", fault.CodeOf(err), err, want)
}

func (s *suite) models(t *testing.T, e lm.Engine) {
	if e.Name() == "" {
		t.Error("the engine has no name")
	}
	all, err := e.Models(t.Context())
	if err != nil {
		t.Fatalf("models: %v", err)
	}
	if len(all) == 0 {
		t.Fatal("no models")
	}
	seen := map[string]bool{}
	for _, m := range all {
		if m.ID == "" || seen[m.ID] {
			t.Errorf("model id %q is empty or there twice", m.ID)
		}
		seen[m.ID] = true
		if m.Resume == "" && !m.Embedding {
			t.Errorf("model %q declares no resume policy", m.ID)
		}
	}
	if s.Model != "" && !seen[s.Model] && s.KnowsModels {
		t.Errorf("model %q is not listed", s.Model)
	}
}

func (s *suite) health(t *testing.T, e lm.Engine) {
	if err := e.Health(t.Context()); err != nil {
		t.Errorf("a ready engine is not healthy: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_ = s.within(t, "health with an ended context", func() error { return e.Health(ctx) })
}

func (s *suite) stream(t *testing.T, e lm.Engine) {
	a := s.whole(t, e, s.request(24))
	if a.text == "" {
		t.Fatal("the answer has no text")
	}
	if len(a.chunks) < 3 {
		t.Errorf("24 tokens came in %d chunks: that is no stream", len(a.chunks))
	}
	if s.Tokens && len(a.tokens) == 0 {
		t.Error("no token ids")
	}
	if s.Usage && (a.res.Usage.Prompt <= 0 || a.res.Usage.Completion <= 0) {
		t.Errorf("usage %+v", a.res.Usage)
	}
	if s.Deterministic {
		if b := s.whole(t, e, s.request(24)); b.text != a.text {
			t.Errorf("the same request gave\n%q\nand then\n%q", a.text, b.text)
		}
	}
}

func (s *suite) maxTokens(t *testing.T, e lm.Engine) {
	a := s.whole(t, e, s.request(4))
	if a.res.Finish != lm.FinishLength {
		t.Errorf("finish %q, want %q", a.res.Finish, lm.FinishLength)
	}
	if s.Tokens && len(a.tokens) != 4 {
		t.Errorf("%d token ids, want 4", len(a.tokens))
	}
	if s.Usage && a.res.Usage.Completion != 4 {
		t.Errorf("usage %+v, want 4 tokens of completion", a.res.Usage)
	}
}

func (s *suite) stopStrings(t *testing.T, e lm.Engine) {
	free := s.whole(t, e, s.request(32))
	r := []rune(free.text)
	if len(r) < 12 {
		t.Skipf("the answer %q is too short", free.text)
	}
	for _, at := range []int{len(r) / 3, len(r) / 2} {
		stop := string(r[at : at+4])
		req := s.request(32)
		req.Params.Stop = []string{"\x00 never there", stop}
		a := s.whole(t, e, req)
		if strings.Contains(a.text, stop) {
			t.Errorf("stop string %q is in the answer %q", stop, a.text)
		}
		if !s.Deterministic {
			continue
		}
		want := free.text[:strings.Index(free.text, stop)]
		if a.text != want || a.res.Finish != lm.FinishStop {
			t.Errorf("stop %q: got %q (%s), want %q (stop)", stop, a.text, a.res.Finish, want)
		}
	}
	// A string that only begins like the text must not swallow anything.
	if s.Deterministic {
		req := s.request(32)
		req.Params.Stop = []string{string(r[4:8]) + "\x00"}
		if a := s.whole(t, e, req); a.text != free.text {
			t.Errorf("a stop string that never came changed the text:\n%q\n%q", a.text, free.text)
		}
	}
}

func (s *suite) cancel(t *testing.T, e lm.Engine) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var at time.Time
	a := s.generate(ctx, t, e, s.request(4000), func(n int) error {
		if n == 2 {
			at = time.Now()
			stop()
		}
		return nil
	})
	if at.IsZero() {
		t.Fatalf("the answer ended before its second chunk: %v", a.err)
	}
	wantCode(t, a.err, fault.Canceled)
	if d := time.Since(at); d > s.Cancel {
		t.Errorf("the answer went on for %v after its context ended", d)
	}
}

func (s *suite) cancelledBefore(t *testing.T, e lm.Engine) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	a := s.generate(ctx, t, e, s.request(8), nil)
	wantCode(t, a.err, fault.Canceled)
	if len(a.chunks) > 0 {
		t.Errorf("%d chunks for a context that had ended", len(a.chunks))
	}
}

func (s *suite) emitError(t *testing.T, e lm.Engine) {
	mine := errors.New("the reader is gone")
	a := s.generate(t.Context(), t, e, s.request(400), func(n int) error {
		if n == 2 {
			return mine
		}
		return nil
	})
	if a.err != mine { //nolint:errorlint // as it is, not wrapped
		t.Errorf("got %v, want the error of emit as it is", a.err)
	}
	if len(a.chunks) != 2 {
		t.Errorf("%d chunks, but emit failed at the second", len(a.chunks))
	}
}

func (s *suite) unknownModel(t *testing.T, e lm.Engine) {
	if !s.KnowsModels {
		t.Skip("this engine takes any model name")
	}
	req := s.request(4)
	req.Model = "there-is-no-such-model"
	wantCode(t, s.generate(t.Context(), t, e, req, nil).err, fault.NotFound)
}

func (s *suite) emptyRequest(t *testing.T, e lm.Engine) {
	wantCode(t, s.generate(t.Context(), t, e, lm.Request{Model: s.Model}, nil).err, fault.Invalid)
}

func (s *suite) tooLong(t *testing.T, e lm.Engine) {
	if s.TooLong == "" {
		t.Skip("no prompt given that is over the window")
	}
	req := s.request(4)
	req.Messages = []lm.Message{{Role: lm.User, Text: s.TooLong}}
	wantCode(t, s.generate(t.Context(), t, e, req, nil).err, fault.TooLarge)
}

func (s *suite) manyAtOnce(t *testing.T, e lm.Engine) {
	alone := s.whole(t, e, s.request(24))
	var wg sync.WaitGroup
	all := make([]answer, s.AtOnce)
	for i := range all {
		wg.Go(func() { all[i] = s.generate(t.Context(), t, e, s.request(24), nil) })
	}
	wg.Wait()
	for i, a := range all {
		switch {
		case a.err != nil:
			t.Errorf("answer %d: %v", i, a.err)
		case a.text == "":
			t.Errorf("answer %d is empty", i)
		case s.BatchEqual && a.text != alone.text:
			t.Errorf("answer %d among others is\n%q\nalone\n%q", i, a.text, alone.text)
		}
	}
}

// within runs f and fails if it takes longer than an end may take.
func (s *suite) within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(s.Cancel):
		t.Fatalf("%s took longer than %v", what, s.Cancel)
		return nil
	}
}
