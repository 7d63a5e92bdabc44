package llama

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/parleyhq/parley/internal/lm/llama/worker"
)

// Serve is the child's main, with the arguments that Engine gives it: it
// computes until its parent is gone. When it returns, the process must exit at
// once. log is where its own lines go; the parent keeps them.
func Serve(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(log)
	var c worker.Config
	flags.StringVar(&c.Library, "library", "", "folder of the shared library")
	flags.StringVar(&c.Model, "model", "", "GGUF file")
	flags.IntVar(&c.Slots, "slots", 4, "answers at once")
	flags.IntVar(&c.Window, "window", 0, "tokens of one sequence; 0: the model's own, at most 4096")
	flags.IntVar(&c.Threads, "threads", 0, "most threads; 0: one for each physical core")
	flags.BoolVar(&c.Loose, "loose", false, "use every cached token again")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read arguments: %w", err)
	}
	if c.Threads == 0 {
		c.Threads = min(physicalCores(), runtime.GOMAXPROCS(0))
	}
	in, out := os.NewFile(3, "requests"), os.NewFile(4, "answers")
	if in == nil || out == nil {
		return errors.New("the engine is started by parley itself, not by hand")
	}
	if _, err := in.Stat(); err != nil {
		return errors.New("the engine is started by parley itself, not by hand")
	}
	// The heap is small and the model is not in it: collect seldom.
	debug.SetGCPercent(400)
	return worker.Serve(ctx, c, in, out, slog.New(slog.NewTextHandler(log, nil)))
}
