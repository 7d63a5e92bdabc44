//go:build unix

package llama

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// childEnv makes the test binary play the engine's child: "real" is the real
// one, the others are fakes that behave as their name says.
const childEnv = "PARLEY_TEST_ENGINE_CHILD"

func TestMain(m *testing.M) {
	switch mode := os.Getenv(childEnv); mode {
	case "":
		os.Exit(m.Run())
	case "real":
		if err := Serve(context.Background(), os.Args[1:], os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	default:
		fakeChild(mode)
	}
}

// fake is a child without a model. What it does with a request is its prompt.
type fake struct {
	mu      sync.Mutex
	w       *wire.Writer
	cancels map[uint64]chan struct{}
	active  int
	steps   uint64
	frozen  bool
}

func (f *fake) send(kind wire.Kind, v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.w.Send(kind, v)
	_ = f.w.Flush()
}

func (f *fake) raw(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = os.NewFile(4, "answers").Write(b)
}

// fakeChild never returns.
func fakeChild(mode string) {
	f := &fake{w: wire.NewWriter(os.NewFile(4, "answers"), wire.MaxToParent), cancels: map[uint64]chan struct{}{}}
	fmt.Fprintln(os.Stderr, "the fake's last words")
	if file, ok := strings.CutPrefix(mode, "crash once "); ok {
		if _, err := os.Stat(file); err != nil {
			_ = os.WriteFile(file, nil, 0o600)
			mode = "crash on request"
		}
	}
	hello := wire.Hello{Version: wire.Version}
	switch mode {
	case "dies":
		os.Exit(3)
	case "silent":
		select {}
	case "garbage":
		f.raw(bytes.Repeat([]byte("garbage"), 100))
		select {}
	case "other version":
		hello.Version++
	case "fatal":
		f.send(wire.KindHello, hello)
		f.send(wire.KindFatal, wire.Fatal{Message: "the model file is damaged"})
		os.Exit(1)
	case "endless progress":
		f.send(wire.KindHello, hello)
		for i := 0; ; i++ {
			f.send(wire.KindProgress, wire.Progress{Loaded: float32(i%2) / 2})
		}
	}
	f.send(wire.KindHello, hello)
	f.send(wire.KindProgress, wire.Progress{Loaded: 0.5})
	if mode != "never ready" {
		f.send(wire.KindReady, wire.Ready{Library: "fake", Model: "fake", Window: 1000, Slots: 4, Threads: 1, Template: true})
	}
	f.serve(mode)
}

func (f *fake) serve(mode string) {
	r := wire.NewReader(os.NewFile(3, "requests"), wire.MaxToChild)
	for {
		kind, payload, err := r.Next()
		if err != nil {
			if mode == "does not leave" {
				select {}
			}
			os.Exit(0)
		}
		switch kind {
		case wire.KindPing:
			var p wire.Ping
			_ = wire.Decode(payload, &p)
			f.mu.Lock()
			if !f.frozen {
				f.steps++
			}
			pong := wire.Pong{Seq: p.Seq, Active: f.active, Steps: f.steps}
			f.mu.Unlock()
			f.send(wire.KindPong, pong)
		case wire.KindGenerate:
			if mode == "crash on request" {
				os.Exit(7)
			}
			var g wire.Generate
			_ = wire.Decode(payload, &g)
			stop := make(chan struct{})
			f.mu.Lock()
			f.cancels[g.ID] = stop
			f.active++
			f.mu.Unlock()
			go f.generate(g, stop)
		case wire.KindCancel:
			var c wire.Cancel
			_ = wire.Decode(payload, &c)
			f.mu.Lock()
			if stop := f.cancels[c.ID]; stop != nil {
				close(stop)
				delete(f.cancels, c.ID)
			}
			f.mu.Unlock()
		case wire.KindCount:
			var c wire.Count
			_ = wire.Decode(payload, &c)
			f.send(wire.KindDone, wire.Done{ID: c.ID, Count: len(c.Prompt)})
		}
	}
}

func (f *fake) token(id uint64, n int, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.w.Chunk(id, []int32{int32(n)}, text)
	_ = f.w.Flush()
}

func (f *fake) generate(g wire.Generate, stop chan struct{}) {
	for i := range 3 {
		f.token(g.ID, i, fmt.Sprint(i))
	}
	done := wire.Done{ID: g.ID, Finish: lm.FinishStop, Usage: lm.Usage{Prompt: 1, Completion: 3}}
	switch g.Prompt {
	case "crash":
		os.Exit(7)
	case "hang":
		select {}
	case "no progress":
		f.mu.Lock()
		f.frozen = true
		f.mu.Unlock()
		select {}
	case "stop answering":
		f.mu.Lock() // for good
		select {}
	case "garbage":
		f.raw([]byte("this is no frame"))
		select {}
	case "another's chunk":
		f.token(g.ID+1000, 1, "x")
		select {}
	case "another's end":
		f.send(wire.KindDone, wire.Done{ID: g.ID + 1000})
		select {}
	case "flood of tokens":
		for i := 0; ; i++ {
			f.token(g.ID, i, "x")
		}
	case "flood of text":
		for {
			f.token(g.ID, 1, strings.Repeat("x", 1<<20))
		}
	case "flood of nothing":
		for {
			f.mu.Lock()
			_ = f.w.Chunk(g.ID, nil, "")
			_ = f.w.Flush()
			f.mu.Unlock()
		}
	case "flood of log":
		for {
			fmt.Fprintln(os.Stderr, strings.Repeat("log ", 1000))
		}
	case "not UTF-8":
		f.token(g.ID, 1, "\xff")
		select {}
	case "error":
		done.Finish, done.Code, done.Message = "", fault.Invalid, "the request is wrong"
	case "slow":
		<-stop
		done.Finish, done.Code, done.Message = "", fault.Canceled, "cancelled"
	case "fast":
		for i := range 900 {
			f.token(g.ID, i, "x")
		}
		done.Usage.Completion += 900
	case "brief":
		time.Sleep(20 * time.Millisecond) // a model at work; nothing waits for just this long
	}
	f.mu.Lock()
	f.active--
	delete(f.cancels, g.ID)
	f.mu.Unlock()
	f.send(wire.KindDone, done)
}
