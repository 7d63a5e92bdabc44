package cli

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"time"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/edge/alone"
)

func edgeCommand() *command {
	return &command{
		name: "edge", short: "lead users to a living region, by DNS and HTTP",
		long: "It stands in front of regions on other machines: it asks each one's /readyz twice a second, answers DNS with the addresses of those that live, " +
			"and passes HTTP on to the one that the policy chooses. An event stream whose region dies goes on in another one, on the same connection. " +
			"It has a file of its own: examples/edge.yaml shows every setting, docs/edge.md says what they do.\n\n" +
			"SIGTERM stops it: event streams end and come back by position, other requests may finish within 15 s.",
		examples: []example{
			{"parley edge --check -c edge.yaml && parley edge -c edge.yaml", "check first, then serve"},
			{"parley edge -c edge.yaml --log-level warn --log-format json", "only regions that are taken out and worse, for a collector"},
		},
		setup: func(fs *flag.FlagSet) action {
			file := fs.String("c", "", "the edge's own settings, a `FILE`")
			check := fs.Bool("check", false, "say everything that is wrong with the file, and stop")
			level := fs.String("log-level", "info", "what it says: `LEVEL` debug, info, warn or error")
			format := fs.String("log-format", "text", "how it says it: `FORM` text or json")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := none(args); err != nil {
					return err
				}
				if *file == "" {
					return usagef("name the edge's file: -c edge.yaml")
				}
				f, err := alone.Load(*file)
				if err != nil {
					return err
				}
				lg := logger(t.err, config.Log{Format: *format}, *level)
				p, err := alone.New(f, version(), lg)
				if err != nil {
					return err
				}
				if *check {
					t.say("%s is right", *file)
					return nil
				}
				return runEdge(ctx, p, lg)
			}
		},
	}
}

// edgeGrace is how long requests may take to finish when the edge stops.
const edgeGrace = 15 * time.Second

// runEdge serves until ctx ends or a server ends by itself.
func runEdge(ctx context.Context, p *alone.Program, lg *slog.Logger) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	for _, line := range p.Serving() {
		lg.Info("serving", "what", line)
	}
	var failure error
	select {
	case <-ctx.Done():
		lg.Info("stopping", "within", edgeGrace)
	case failure = <-p.Failed():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), edgeGrace)
	defer cancel()
	p.Stop(stop)
	if errors.Is(failure, context.Canceled) {
		return nil
	}
	return failure
}
