//go:build unix

package llama

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// fakeOptions are those of an engine whose child is a fake.
func fakeOptions(t *testing.T, mode string) Options {
	t.Helper()
	return Options{
		Library: "none", Model: "none", Command: []string{os.Args[0]}, Env: []string{childEnv + "=" + mode},
		StallLimit: 2 * time.Second, SilenceLimit: 2 * time.Second, LoadLimit: 2 * time.Second,
	}
}

func raw(prompt string) lm.Request { return lm.Request{Prompt: prompt} }

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAnswer(t *testing.T) {
	e := start(t, fakeOptions(t, "good"))
	a := generate(t.Context(), e, raw("brief"), nil)
	if a.err != nil || a.text != "012" || len(a.tokens) != 3 || a.res.Finish != lm.FinishStop || a.res.Usage.Completion != 3 || a.res.Model != "fake" {
		t.Errorf("%+v", a)
	}
	if err := e.Health(t.Context()); err != nil {
		t.Error(err)
	}
	models, err := e.Models(t.Context())
	if err != nil || len(models) != 1 || models[0].Window != 1000 || models[0].Slots != 4 || models[0].Resume != lm.Exact {
		t.Errorf("%+v, %v", models, err)
	}
	if n, err := e.Count(t.Context(), raw("12345")); err != nil || n != 5 {
		t.Errorf("count %d, %v", n, err)
	}
	if a := generate(t.Context(), e, raw("error"), nil); !fault.Is(a.err, fault.Invalid) || a.text != "012" || a.res.Usage.Completion != 3 {
		t.Errorf("%+v", a)
	}
	if a := generate(t.Context(), e, raw(strings.Repeat("x", 33<<20)), nil); !fault.Is(a.err, fault.TooLarge) {
		t.Errorf("a huge request: %v", a.err)
	}
	if a := generate(t.Context(), e, lm.Request{Prompt: "brief", Model: "other"}, nil); !fault.Is(a.err, fault.NotFound) {
		t.Errorf("another model: %v", a.err)
	}
}

// TestBrokenChild breaks the child in the middle of an answer, in every way,
// and expects what came before, a clear error, and a working child after.
func TestBrokenChild(t *testing.T) {
	for _, prompt := range []string{
		"crash", "no progress", "stop answering", "garbage", "another's chunk", "another's end",
		"flood of tokens", "flood of text", "flood of nothing", "flood of log", "not UTF-8",
	} {
		t.Run(prompt, func(t *testing.T) {
			t.Parallel()
			o := fakeOptions(t, "good")
			o.StallLimit, o.SilenceLimit = 400*time.Millisecond, 800*time.Millisecond
			exits := make(chan Exit, 10)
			o.OnExit = func(x Exit) { exits <- x }
			e := start(t, o)
			a := generate(t.Context(), e, raw(prompt), nil)
			if !fault.Is(a.err, fault.Unavailable) || !strings.HasPrefix(a.text, "012") {
				t.Errorf("text %.20q, error %v", a.text, a.err)
			}
			if a.res.Usage.Completion < 3 {
				t.Errorf("usage %+v", a.res.Usage)
			}
			x := <-exits
			if !x.Served || x.Err == nil || x.Pid == 0 {
				t.Errorf("exit %+v", x)
			}
			t.Logf("the child's end: %v", x.Err)
			if a := generate(t.Context(), e, raw("brief"), nil); a.err != nil || a.text != "012" {
				t.Errorf("after it: %+v", a)
			}
		})
	}
}

func TestHealthyChildIsLeftAlone(t *testing.T) {
	o := fakeOptions(t, "good")
	o.StallLimit, o.SilenceLimit = 300*time.Millisecond, 2*time.Second
	e := start(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
	defer cancel()
	a := generate(ctx, e, raw("slow"), nil) // its steps go on
	if !fault.Is(a.err, fault.Canceled) || e.State().Restarts != 0 {
		t.Errorf("%v, %d restarts", a.err, e.State().Restarts)
	}
}

func TestRequestsWaitForTheNextChild(t *testing.T) {
	o := fakeOptions(t, "crash once "+filepath.Join(t.TempDir(), "flag"))
	e := start(t, o)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if a := generate(t.Context(), e, raw("brief"), nil); a.err != nil || a.text != "012" {
				t.Errorf("%+v", a)
			}
		})
	}
	wg.Wait()
	if n := e.State().Restarts; n != 1 {
		t.Errorf("%d restarts, want 1", n)
	}
}

func TestKilledManyTimes(t *testing.T) {
	e := start(t, fakeOptions(t, "good"))
	for range 3 {
		a := generate(t.Context(), e, raw("slow"), func(lm.Chunk) { _ = syscall.Kill(e.Pid(), syscall.SIGKILL) })
		if !fault.Is(a.err, fault.Unavailable) {
			t.Fatalf("%+v", a)
		}
	}
	if a := generate(t.Context(), e, raw("brief"), nil); a.err != nil {
		t.Error(a.err)
	}
}

func TestNeverReady(t *testing.T) {
	for mode, want := range map[string]string{
		"dies":             "last words",
		"silent":           "no sign of life",
		"garbage":          "garbage",
		"other version":    "version",
		"fatal":            "the model file is damaged",
		"endless progress": "endless progress",
		"never ready":      "no progress",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			o := fakeOptions(t, mode)
			o.SilenceLimit, o.LoadLimit = 300*time.Millisecond, 600*time.Millisecond
			e := start(t, o)
			a := generate(t.Context(), e, raw("brief"), nil)
			if !fault.Is(a.err, fault.Unavailable) || !strings.Contains(fault.MessageOf(a.err), want) {
				t.Errorf("%v, want %q", a.err, want)
			}
			if err := e.Health(t.Context()); !fault.Is(err, fault.Unavailable) {
				t.Errorf("health: %v", err)
			}
			if _, err := e.Models(t.Context()); !fault.Is(err, fault.Unavailable) {
				t.Errorf("models: %v", err)
			}
		})
	}
}

func TestNoProgram(t *testing.T) {
	o := fakeOptions(t, "good")
	o.Command = []string{filepath.Join(t.TempDir(), "none")}
	e := start(t, o)
	if a := generate(t.Context(), e, raw("brief"), nil); !fault.Is(a.err, fault.Unavailable) {
		t.Errorf("%v", a.err)
	}
}

func TestCancelReachesTheChild(t *testing.T) {
	e := start(t, fakeOptions(t, "good"))
	ctx, cancel := context.WithCancel(t.Context())
	a := generate(ctx, e, raw("slow"), func(lm.Chunk) { cancel() })
	if !fault.Is(a.err, fault.Canceled) || !errors.Is(a.err, context.Canceled) || a.res.Usage.Prompt != 1 {
		t.Errorf("%+v", a) // the usage comes from the child's own end
	}
	mine := errors.New("mine")
	_, err := e.Generate(t.Context(), raw("slow"), func(lm.Chunk) error { return mine })
	if err != mine { //nolint:errorlint // as it is
		t.Errorf("%v", err)
	}
	if a := generate(ctx, e, raw("brief"), nil); !fault.Is(a.err, fault.Canceled) || a.text != "" {
		t.Errorf("%+v", a)
	}
	if n := e.inflight.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}

func TestSlowReader(t *testing.T) {
	e := start(t, fakeOptions(t, "good"))
	release, stuck := make(chan struct{}), make(chan struct{})
	slow := make(chan answer)
	go func() {
		first := true
		slow <- generate(t.Context(), e, raw("fast"), func(lm.Chunk) {
			if first {
				first = false
				close(stuck)
				<-release
			}
		})
	}()
	<-stuck
	if a := generate(t.Context(), e, raw("fast"), nil); a.err != nil || len(a.tokens) != 903 {
		t.Errorf("beside a slow reader: %d tokens, %v", len(a.tokens), a.err)
	}
	close(release)
	if a := <-slow; a.err != nil || len(a.tokens) != 903 || len(a.text) != 903 {
		t.Errorf("slow reader: %d tokens, %v", len(a.tokens), a.err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	o := fakeOptions(t, "good")
	o.Slots, o.Queue = 1, 1
	e := start(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { generate(ctx, e, raw("slow"), nil) })
	}
	until(t, "two requests", func() bool { return e.inflight.Load() == 2 })
	a := generate(t.Context(), e, raw("brief"), nil)
	if !fault.Is(a.err, fault.Limited) || fault.RetryAfterOf(a.err) == 0 {
		t.Errorf("%v", a.err)
	}
	cancel()
	wg.Wait()
	if a := generate(t.Context(), e, raw("brief"), nil); a.err != nil {
		t.Error(a.err)
	}
}

func TestClose(t *testing.T) {
	for _, mode := range []string{"good", "does not leave"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			e := start(t, fakeOptions(t, mode))
			got := make(chan answer)
			begun, once := make(chan struct{}), sync.Once{}
			go func() {
				got <- generate(t.Context(), e, raw("slow"), func(lm.Chunk) { once.Do(func() { close(begun) }) })
			}()
			<-begun
			pid := e.Pid()
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if a := <-got; !fault.Is(a.err, fault.Unavailable) {
				t.Errorf("%v", a.err)
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d is still there: %v", pid, err)
			}
			if a := generate(t.Context(), e, raw("brief"), nil); !fault.Is(a.err, fault.Unavailable) {
				t.Errorf("%v", a.err)
			}
			if err := e.Close(); err != nil {
				t.Errorf("twice: %v", err)
			}
			if e.Health(t.Context()) == nil || e.State().Phase != Stopped || e.Pid() != 0 {
				t.Errorf("%+v", e.State())
			}
		})
	}
}

func TestNotStarted(t *testing.T) {
	e, err := New(fakeOptions(t, "good"))
	if err != nil {
		t.Fatal(err)
	}
	if a := generate(t.Context(), e, raw("brief"), nil); !fault.Is(a.err, fault.Unavailable) {
		t.Errorf("%v", a.err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Start(t.Context()); err == nil {
		t.Error("started after close")
	}
}

func TestBadOptions(t *testing.T) {
	_, err := New(Options{Slots: -1, Window: -1, Threads: -1, Queue: -1, Resume: lm.Restart, Command: []string{"x"}})
	for _, want := range []string{"library", "model", "slots", "window", "threads", "queue", "policy"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestRawMessages(t *testing.T) {
	for in, want := range map[string]any{
		`{"role":"user","content":"hi"}`: "hi",
		`{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`: "ab",
		`{"role":"developer","content":"be kind"}`:                                          "be kind",
		`{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}`:          fault.Unsupported,
		`{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}`:                     fault.Unsupported,
		`{"role":"user","content":7}`:                                                       fault.Invalid,
		`{`:                                                                                 fault.Invalid,
	} {
		got, err := texts([]lm.Message{{Raw: []byte(in)}})
		switch want := want.(type) {
		case string:
			if err != nil || got[0].Text != want {
				t.Errorf("%s: %+v, %v", in, got, err)
			}
		case fault.Code:
			if !fault.Is(err, want) {
				t.Errorf("%s: %v, want %s", in, err, want)
			}
		}
	}
}
