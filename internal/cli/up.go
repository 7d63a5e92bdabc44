package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/lm/llama"
	"github.com/parleyhq/parley/internal/progress"
)

func upCommand() *command {
	return &command{
		name: "up", short: "start a node on this machine, with everything in it",
		long: "It needs nothing else: the log, the store and the page are inside. For a model it takes, in this order: " +
			"what --engine or the file names; an Ollama or llama-server that runs on its usual port; the server that OPENAI_BASE_URL names; " +
			"else the embedded engine with a small model, fetched once into the cache and used offline afterwards. " +
			"If no model can be had, it starts all the same and answers with a demonstration that says so.\n\n" +
			"Ctrl-C stops it: running answers are kept and go on at the next start. A second Ctrl-C ends it at once.",
		examples: []example{
			{"parley up", "the page at http://127.0.0.1:8470, the data in your home directory"},
			{"parley up --engine http://127.0.0.1:11434/v1 --model llama3.2", "with a model of an OpenAI-compatible server"},
			{"parley up --listen 0.0.0.0:8470 --key env:PARLEY_SECRET", "for other machines too, which then need the key (\"parley key\" makes one)"},
			{"parley up --regions japaneast:witness,koreacentral,southeastasia", "a world on this machine: kill a region and go on talking"},
			{"parley up --listen 127.0.0.1:0 --data /tmp/try --no-browser", "a node to throw away, on any free port"},
		},
		setup: func(fs *flag.FlagSet) action {
			s := bind(fs)
			quiet := fs.Bool("no-browser", false, "do not open the page in a browser")
			regions := fs.String("regions", "", "run a world of several regions instead: `NAME,NAME,NAME:witness`, a process for each, with the distances between them simulated and the edge in front")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := none(args); err != nil {
					return err
				}
				c, err := s.load(t, false)
				if err != nil {
					return err
				}
				if *regions != "" {
					return upWorld(ctx, t, s, c, *regions, *quiet)
				}
				return up(ctx, t, c, *quiet)
			}
		},
	}
}

func serveCommand() *command {
	return &command{
		name: "serve", short: "run a node from a configuration file, as a service",
		long: "Like up, but for a supervisor such as systemd: it wants a file, logs what it does to standard error, and opens no browser. " +
			"SIGTERM stops it after running requests, at most for as long as the setting drain says.",
		examples: []example{
			{"parley config check -c parley.yaml && parley serve -c parley.yaml", "check first, then serve"},
			{"parley serve -c parley.yaml --log-format json", "logs for a collector"},
		},
		setup: func(fs *flag.FlagSet) action {
			s := bind(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := none(args); err != nil {
					return err
				}
				c, err := s.load(t, true)
				if err != nil {
					return err
				}
				lg := logger(t.err, c.Log, c.Log.Level)
				lg.Info("starting", "version", version(), "listen", c.Listen, "data", c.Data, "region", c.Region)
				console := progress.New(progress.Options{Out: &lines{say: func(line string) { lg.Info(line) }}})
				a, err := app.New(app.Options{Config: c, Version: version(), Alone: true, Console: console, Logger: lg, Environ: t.environ})
				if err != nil {
					return err
				}
				return node(ctx, a, c, func() { lg.Info("serving", "url", a.URL()) }, func() { lg.Info("stopping", "within", c.Drain) })
			}
		},
	}
}

// up runs a node for a person at a console.
func up(ctx context.Context, t *terminal, c config.Config, quiet bool) error {
	opts := progress.Options{Out: t.out}
	if f, ok := t.out.(*os.File); ok {
		opts = progress.For(f, t.getenv)
	}
	console := progress.New(opts)
	level, logs := c.Log.Level, t.err
	if c.Source("log.level").Kind == config.FromDefault {
		level = "warn" // the console's lines tell the rest
	}
	if opts.Moving {
		logs = &lines{say: func(line string) { console.Line("%s", line) }} // above the bar
	}
	a, err := app.New(app.Options{Config: c, Version: version(), Alone: true, Console: console, Logger: logger(logs, c.Log, level), Environ: t.environ})
	if err != nil {
		return err
	}
	console.Line("Parley %s, region %s, data in %s", version(), c.Region, c.Data)
	return node(ctx, a, c, func() {
		console.Line("Page: %s", a.URL())
		if len(c.Keys) > 0 {
			console.Line("It asks for a key: %d known", len(c.Keys))
		}
		console.Line("Ctrl-C stops it.")
		if !quiet && t.outTTY && t.getenv("CI") == "" {
			if err := t.open(a.URL()); err != nil {
				console.Line("Open the page yourself: no browser could be started (%v)", err)
			}
		}
	}, func() {
		console.Clear()
		console.Line("Stopping; answers go on at the next start. Ctrl-C again ends it at once.")
	})
}

// node runs a until ctx ends or it ends by itself.
func node(ctx context.Context, a *app.App, c config.Config, started, stopping func()) error {
	if err := a.Start(ctx); err != nil {
		return err
	}
	started()
	ended := make(chan error, 1)
	go func() { ended <- a.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
	defer cancel()
	if err := a.Stop(stop); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// logger makes the node's logger.
func logger(w io.Writer, c config.Log, level string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // config knows only good ones
	o := &slog.HandlerOptions{Level: l}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// lines is a writer that passes on whole lines. Its user writes one at a time.
type lines struct {
	say  func(line string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		if line := strings.TrimSpace(string(l.rest[:i])); line != "" {
			l.say(line)
		}
		l.rest = l.rest[i+1:]
	}
}

// openBrowser asks the desktop to show a URL.
func openBrowser(url string) error {
	var words []string
	switch runtime.GOOS {
	case "darwin":
		words = []string{"open", url}
	case "windows":
		words = []string{"rundll32", "url.dll,FileProtocolHandler", url}
	default:
		if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
			return nil // no desktop: the line with the address is enough
		}
		words = []string{"xdg-open", url}
	}
	cmd := exec.CommandContext(context.Background(), words[0], words[1:]...) // outlives this program
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", words[0], err)
	}
	go func() { _ = cmd.Wait() }() // so that it leaves no zombie; its status says nothing
	return nil
}

// engineCommand is the embedded engine's child process.
func engineCommand() *command {
	return &command{
		name: "engine", short: "the embedded engine's process, started by a node", hidden: true, raw: true,
		setup: func(*flag.FlagSet) action {
			return func(ctx context.Context, t *terminal, args []string) error {
				return llama.Serve(context.WithoutCancel(ctx), args, t.err)
			}
		},
	}
}

// since keeps durations readable.
func since(began time.Time) time.Duration { return time.Since(began).Round(time.Millisecond) }
