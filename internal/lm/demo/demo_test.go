package demo

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/lmtest"
)

var all = []lm.Policy{lm.Exact, lm.Quick, lm.Prefill}

func TestCannedKeepsTheContract(t *testing.T) {
	for name, answer := range map[string]func(lm.Request) string{
		"words": nil,
		"unicode": func(lm.Request) string {
			return strings.Repeat("Ein Bär läuft über die Brücke, 猫が見ている 🚣‍♀️. ", 200)
		},
	} {
		t.Run(name, func(t *testing.T) {
			lmtest.Run(t, lmtest.Options{
				Open: func(*testing.T) lm.Engine {
					return Canned(CannedOptions{Words: 4000, Answer: answer, Delay: 100 * time.Microsecond, Slots: 3})
				},
				Tokens: true, Deterministic: true, BatchEqual: true, Usage: true, Embeddings: true,
				Count: true, RawPrompt: true, KnowsModels: true,
				Resume: all, Equal: all, TooLong: Words(5000),
			})
		})
	}
}

func TestCannedWithoutIDsKeepsTheContract(t *testing.T) {
	lmtest.Run(t, lmtest.Options{
		Open: func(*testing.T) lm.Engine {
			return Canned(CannedOptions{Words: 4000, Delay: 100 * time.Microsecond, NoTokens: true, NoEmbed: true})
		},
		Deterministic: true, BatchEqual: true, Usage: true, Count: true, RawPrompt: true, KnowsModels: true,
		Resume: []lm.Policy{lm.Prefill}, Equal: []lm.Policy{lm.Prefill}, TooLong: Words(5000),
	})
}

func TestDemonstrationSaysWhatItIs(t *testing.T) {
	e := New(Options{Delay: -1, Why: "The download failed."})
	m, err := e.Models(t.Context())
	if err != nil || len(m) != 1 || !m[0].Demo || m[0].Resume == "" {
		t.Fatalf("models %+v, %v", m, err)
	}
	for _, said := range []string{"", "hello", "What is the tallest mountain?"} {
		text, res, err := collect(t.Context(), e, lm.Request{Messages: []lm.Message{
			{Role: lm.User, Text: "first"}, {Role: lm.Assistant, Text: "x"}, {Role: lm.User, Text: said},
		}})
		if err != nil || res.Finish != lm.FinishStop {
			t.Fatalf("%q: %+v, %v", said, res, err)
		}
		first, _, _ := strings.Cut(text, ". ")
		if !strings.Contains(first, "not a language model") {
			t.Errorf("the answer does not say at once what it is: %q", first)
		}
		for _, want := range []string{"The download failed.", "parley model pull", "--engine URL", "message 2"} {
			if !strings.Contains(text, want) {
				t.Errorf("the answer %q lacks %q", text, want)
			}
		}
	}
}

func TestDemonstrationContinues(t *testing.T) {
	req := lm.Request{Messages: []lm.Message{{Role: lm.User, Text: "hello"}}}
	e := New(Options{Delay: -1})
	full, _, err := collect(t.Context(), e, req)
	if err != nil {
		t.Fatal(err)
	}
	models, _ := e.Models(t.Context())
	req.Prefix = &lm.Prefix{Text: full[:40], Policy: models[0].Resume}
	rest, _, err := collect(t.Context(), e, req)
	if err != nil || full[:40]+rest != full {
		t.Errorf("continued with %q, %v", rest, err)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		kind FaultKind
		want fault.Code
		text string
	}{
		{Cut, fault.Unavailable, "w0 w1 w2 "},
		{Refuse, fault.Limited, "w0 w1 w2 "},
		{Hang, fault.Timeout, "w0 w1 w2 "},
	} {
		e := Canned(CannedOptions{Words: 8})
		e.SetFault(Fault{Kind: c.kind, After: 3, Times: 1})
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		text, res, err := collect(ctx, e, lm.Request{Prompt: "go"})
		stop()
		if !fault.Is(err, c.want) || text != c.text || res.Finish != "" || res.Usage.Completion != 3 {
			t.Errorf("%s: %q %+v %v", c.kind, text, res, err)
		}
		if text, _, err := collect(t.Context(), e, lm.Request{Prompt: "go"}); err != nil || text != Words(8) {
			t.Errorf("after %s: %q, %v", c.kind, text, err)
		}
	}
	full := errors.New("full")
	for _, kind := range []FaultKind{Flood, Garbage} {
		e := Canned(CannedOptions{Words: 8, Fault: Fault{Kind: kind, After: 2}})
		n := 0
		_, err := e.Generate(t.Context(), lm.Request{Prompt: "go"}, func(c lm.Chunk) error {
			if n += len(c.Text); n > 1<<20 {
				return full
			}
			return nil
		})
		if err == nil || n < 1<<16 {
			t.Errorf("%s: %d bytes, %v", kind, n, err)
		}
	}
}

func TestScripted(t *testing.T) {
	e := Canned(CannedOptions{Answer: Scripted("one", "two")})
	var got []string
	msgs := []lm.Message{}
	for range 3 {
		msgs = append(msgs, lm.Message{Role: lm.User, Text: "?"})
		text, _, err := collect(t.Context(), e, lm.Request{Messages: msgs})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, text)
	}
	if d := cmp.Diff([]string{"one", "two", "one"}, got); d != "" {
		t.Error(d)
	}
	if c := e.Calls(); c.Generate != 3 || c.Running != 0 || c.Tokens != 3 {
		t.Errorf("calls %+v", c)
	}
}

func collect(ctx context.Context, e *Engine, r lm.Request) (string, lm.Result, error) {
	var b strings.Builder
	res, err := e.Generate(ctx, r, func(c lm.Chunk) error { b.WriteString(c.Text); return nil })
	return b.String(), res, err
}
