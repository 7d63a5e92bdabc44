package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/parleyhq/parley/internal/config"
)

func configCommand() *command {
	return &command{
		name: "config", short: "check or show the configuration",
		long: "Settings come from a file (-c), PARLEY_* variables and flags; the later ones win. examples/parley.yaml shows every setting, docs/configuration.md describes them.",
		subs: []*command{
			{
				name: "check", short: "say everything that is wrong, with its place",
				long:     "It ends with status 0 if a node would start with these settings, 2 if not.",
				examples: []example{{"parley config check -c parley.yaml", "before a restart, or in CI"}},
				setup: func(fs *flag.FlagSet) action {
					s, asJSON := bind(fs), fs.Bool("json", false, "write JSON")
					return func(_ context.Context, t *terminal, args []string) error {
						if err := none(args); err != nil {
							return err
						}
						return configCheck(t, s, *asJSON)
					}
				},
			},
			{
				name: "print", short: "show what is in force and where it comes from",
				long: "The output is a file that can be used again, but for secrets, which it never shows.",
				examples: []example{
					{"parley config print", "the defaults and what your environment changes"},
					{"PARLEY_LISTEN=127.0.0.1:1234 parley config print -c parley.yaml", "which of the three wins"},
				},
				setup: func(fs *flag.FlagSet) action {
					s, asJSON := bind(fs), fs.Bool("json", false, "write JSON")
					return func(_ context.Context, t *terminal, args []string) error {
						if err := none(args); err != nil {
							return err
						}
						c, err := s.load(t, false)
						if err != nil {
							return err
						}
						if *asJSON {
							return t.json(map[string]any{"settings": c.Values()})
						}
						return c.Print(t.out)
					}
				},
			},
		},
	}
}

func configCheck(t *terminal, s *settings, asJSON bool) error {
	c, err := s.load(t, false)
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	if asJSON {
		if problems == nil {
			problems = config.Problems{}
		}
		if c.Warnings == nil {
			c.Warnings = []string{}
		}
		if err := t.json(map[string]any{"ok": len(problems) == 0, "problems": problems, "warnings": c.Warnings}); err != nil {
			return err
		}
		if len(problems) > 0 {
			return errMisused
		}
		return nil
	}
	if err != nil {
		return err
	}
	t.printf("The configuration is good: %d settings, %d of them not the default.\n", len(c.Values()), changed(c))
	return nil
}

func changed(c config.Config) int {
	n := 0
	for _, v := range c.Values() {
		if v.Source != config.FromDefault {
			n++
		}
	}
	return n
}

// readLine reads the first line of a script's input.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read input: %w", err)
	}
	return strings.TrimSpace(line), nil
}
