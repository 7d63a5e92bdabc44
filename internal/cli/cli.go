// Package cli is the command line: what each command is called, what its help
// teaches, and how it talks to the person or script that typed it. What the
// commands do lives in the packages that they call.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/fault"
)

// Exit statuses.
const (
	statusOK      = 0
	statusFailed  = 1
	statusMisused = 2
)

// terminal is what a command talks to.
type terminal struct {
	in      io.Reader
	out     io.Writer // what the command is for
	err     io.Writer // everything else
	environ []string

	inTTY, outTTY bool // a person is there

	// interrupts carries Ctrl-C for a command that has a use for it; others
	// are ended by their context.
	interrupts <-chan os.Signal
	// open shows a URL to the person, if there is a way.
	open func(url string) error
}

func (t *terminal) getenv(name string) string {
	v, _ := t.lookup(name)
	return v
}

func (t *terminal) lookup(name string) (string, bool) {
	for i := len(t.environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(t.environ[i], "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// say writes a line for people.
func (t *terminal) say(format string, args ...any) {
	fmt.Fprintf(t.err, format+"\n", args...)
}

// printf writes to the output. A reader that left ends the process by SIGPIPE;
// other errors show when the output is closed.
func (t *terminal) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

// json writes one value for a script.
func (t *terminal) json(v any) error {
	e := json.NewEncoder(t.out)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// Main runs the command that args (without the program's name) say and returns
// the process's exit status: 0 done, 1 failed, 2 not understood.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &terminal{
		in: stdin, out: stdout, err: stderr, environ: os.Environ(),
		inTTY: isTerminal(stdin), outTTY: isTerminal(stdout), open: openBrowser,
	}
	// The first signal ends the command's context; the second one the process.
	// A command that takes interrupts itself gets SIGINT instead.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	interrupts := make(chan os.Signal, 1)
	t.interrupts = interrupts
	takes := len(args) > 0 && (args[0] == "chat" || args[0] == "drill")
	go func() {
		for s := range signals {
			if takes && s == os.Interrupt {
				select {
				case interrupts <- s:
				default: // it has not taken the last one yet
				}
				continue
			}
			if ctx.Err() != nil {
				os.Exit(statusFailed)
			}
			cancel()
		}
	}()
	return run(ctx, t, args)
}

// run is Main without the process around it.
func run(ctx context.Context, t *terminal, args []string) int {
	root := commands()
	if len(args) > 0 {
		switch {
		case args[0] == "--version" || args[0] == "-version":
			args = append([]string{"version"}, args[1:]...)
		case args[0] == "help":
			args = append(args[1:], "--help")
		}
	}
	cmd, path, rest, err := find(root, args)
	if err != nil {
		return t.fail(err, path)
	}
	if cmd.setup == nil {
		fmt.Fprint(t.out, helpText(cmd, path))
		return statusOK
	}
	fs := flag.NewFlagSet(path, flag.ContinueOnError)
	do := cmd.setup(fs)
	if !cmd.raw {
		rest, err = parse(fs, rest)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(t.out, helpText(cmd, path))
		return statusOK
	case err == nil:
		err = do(ctx, t, rest)
	}
	return t.fail(err, path)
}

// fail says what went wrong and returns the status for it.
func (t *terminal) fail(err error, path string) int {
	var usage usageError
	var problems config.Problems
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, errSilent):
		return statusFailed
	case errors.Is(err, errMisused):
		return statusMisused
	case errors.As(err, &usage):
		t.say("parley: %s", usage.text)
		t.say("%q says how it is used.", path+" --help")
		return statusMisused
	case errors.As(err, &problems):
		t.say("parley: %v", problems)
		return statusMisused
	case errors.Is(err, context.Canceled):
		t.say("parley: interrupted")
		return statusFailed
	}
	var f *fault.Error
	if errors.As(err, &f) && f.Cause != nil {
		t.say("parley: %s (%v)", f.Message, f.Cause)
		return statusFailed
	}
	t.say("parley: %v", err)
	return statusFailed
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// none refuses arguments.
func none(args []string) error {
	if len(args) > 0 {
		return usagef("it takes no argument, but here is %q", args[0])
	}
	return nil
}

// commands is everything that can be typed.
func commands() *command {
	return &command{
		name: "parley", short: "conversations with language models that survive what dies",
		long: "One program with everything in it: a page to talk on, an API, a durable log, a search, " +
			"and a language model if you have none running.",
		examples: []example{
			{"parley up", "start a node on this machine and open its page"},
			{"parley chat", "talk in this terminal, from another window"},
			{"parley doctor", "find out what is missing, and what to do about it"},
		},
		subs: []*command{
			upCommand(), serveCommand(), chatCommand(), conversationCommand(), configCommand(), certCommand(), doctorCommand(), drillCommand(), edgeCommand(), regionsCommand(), channelCommand(), batchCommand(), nluCommand(), scaleCommand(), usageCommand(),
			storeCommand(), modelCommand(), keyCommand(), versionCommand(), engineCommand(),
		},
	}
}
