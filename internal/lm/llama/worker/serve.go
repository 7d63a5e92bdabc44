package worker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/lm/llama/lib"
	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// Config says what a child loads and how it computes.
type Config struct {
	Library string // folder of the shared library
	Model   string // GGUF file
	Slots   int    // answers at once
	Window  int    // tokens of one sequence; 0: what the model was trained for, at most DefaultWindow
	Threads int
	Loose   bool
}

// promptChunk is how many tokens of a prompt are computed at a time. Longer
// chunks are no faster (measured up to 512) and hold up running answers; with
// shorter ones, more prompts end in an odd piece, which is slow for its length.
const promptChunk = 128

// promptStall is too short for anybody to see an answer stand still.
const promptStall = 250 * time.Millisecond

// DefaultWindow bounds the window where nobody asks for more: the cache of
// every slot is allocated at the start.
const DefaultWindow = 4096

// Serve is the child: it says hello, loads the model, and answers requests
// from in until in ends, which is how it learns that its parent is gone. When
// it returns the process should exit at once: a decode may still run.
func Serve(ctx context.Context, c Config, in io.Reader, out io.Writer, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &server{out: NewOut(out), in: wire.NewReader(in, wire.MaxToChild), ready: make(chan *Worker, 1), log: log}
	if err := s.out.send(wire.KindHello, wire.Hello{Version: wire.Version}); err != nil {
		return fmt.Errorf("write to parent: %w", err)
	}
	go func() { cancel(s.read()) }()
	go func() {
		err := s.run(ctx, c)
		if err != nil {
			// The last frame; if it can't be sent, the parent sees the exit.
			_ = s.out.send(wire.KindFatal, wire.Fatal{Message: err.Error()})
		}
		cancel(err)
	}()
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

type server struct {
	in    *wire.Reader
	out   *Out
	ready chan *Worker // one, when the model is loaded
	log   *slog.Logger
}

// run loads and computes.
func (s *server) run(ctx context.Context, c Config) error {
	l, err := lib.Open(c.Library)
	if err != nil {
		return err
	}
	sent := float32(-1)
	m, err := l.LoadModel(c.Model, func(at float32) {
		if at >= sent+0.02 || at == 1 && sent < 1 {
			sent = at
			_ = s.out.send(wire.KindProgress, wire.Progress{Loaded: at})
		}
	})
	if err != nil {
		return fmt.Errorf("%w; the file may be damaged or of a kind that library %s does not know: remove it to fetch it again", err, l.Version())
	}
	window := c.Window
	if window == 0 {
		window = min(m.TrainedWindow(), DefaultWindow)
	}
	if trained := m.TrainedWindow(); window > trained {
		return fmt.Errorf("a window of %d tokens: the model was trained for %d", window, trained)
	}
	batch := max(promptChunk, c.Slots)
	lc, err := m.NewContext(lib.ContextParams{
		Tokens: window * c.Slots, Sequences: c.Slots, Batch: batch, Outputs: c.Slots, Threads: c.Threads, Pool: true,
		NoFlash: !c.Loose, // what a token's computation gives must not depend on the threads
	})
	if err != nil {
		return err
	}
	v := newVocabulary(m)
	w, err := New(Options{
		Model: v, Decoder: &cache{lc, l.NewBatch(batch)},
		Embedder: func() (Embedder, error) { return newEmbedder(l, m, c.Threads) },
		Slots:    c.Slots, Chunk: promptChunk, Stall: promptStall, Loose: c.Loose, Reuse: m.PlainCache(),
		Threads: c.Threads, Load: systemLoad,
		Seed: randomSeed, Out: s.out, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.ready <- w // before the parent knows, so that no request comes too early
	_, templateErr := v.Render([]lib.Message{{Role: "user", Content: "x"}})
	err = s.out.send(wire.KindReady, wire.Ready{
		Library: l.Version(), Model: modelName(c.Model), Window: lc.Window(), Slots: c.Slots,
		Threads: c.Threads, Template: templateErr == nil,
	})
	if err != nil {
		return fmt.Errorf("write to parent: %w", err)
	}
	return w.Run(ctx)
}

// modelName is the file's name without its ending.
func modelName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".gguf") }

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// read takes requests in until the parent closes the pipe (io.EOF).
func (s *server) read() error {
	var w *Worker
	for {
		kind, payload, err := s.in.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return err
			}
			return fmt.Errorf("read from parent: %w", err)
		}
		if w == nil {
			select {
			case w = <-s.ready:
			default:
			}
		}
		if err := s.handle(w, kind, payload); err != nil {
			return err
		}
	}
}

// handle reads one frame. What takes time happens on a goroutine of its own.
func (s *server) handle(w *Worker, kind wire.Kind, payload []byte) error {
	if kind == wire.KindPing {
		var p wire.Ping
		if err := wire.Decode(payload, &p); err != nil {
			return err
		}
		pong := wire.Pong{}
		if w != nil {
			pong = w.Stats()
		}
		pong.Seq = p.Seq
		return s.out.send(wire.KindPong, pong)
	}
	if w == nil {
		return fmt.Errorf("request %d before the model is loaded", kind)
	}
	switch kind {
	case wire.KindGenerate:
		var req wire.Generate
		if err := wire.Decode(payload, &req); err != nil {
			return err
		}
		t := w.Ask(req.ID)
		go w.Generate(t, req)
	case wire.KindEmbed:
		var req wire.Embed
		if err := wire.Decode(payload, &req); err != nil {
			return err
		}
		t := w.Ask(req.ID)
		go w.Embed(t, req)
	case wire.KindCount:
		var req wire.Count
		if err := wire.Decode(payload, &req); err != nil {
			return err
		}
		t := w.Ask(req.ID)
		go w.Count(t, req)
	case wire.KindCancel:
		var req wire.Cancel
		if err := wire.Decode(payload, &req); err != nil {
			return err
		}
		w.Cancel(req.ID)
	default:
		return fmt.Errorf("unknown request %d from the parent", kind)
	}
	return nil
}
