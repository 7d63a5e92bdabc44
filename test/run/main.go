// Command run is the project's one way to check itself: `make check` is
// `go run ./test/run check`, `make test` is `go run ./test/run`. It installs
// what its stages need, runs them two at a time, says what it does while it
// does it, shows the log of a stage that failed, and ends with a line
// "N passed, N failed". What may live here: the table of stages and what runs
// it. It needs Go; whatever else is missing it fetches with the machine's own
// package clients, or says which command would.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.SetOutput(out)
	only := flags.String("only", "", "run only these stages, by name with commas between, and what they need")
	list := flags.Bool("list", false, "list the stages and do nothing")
	flags.Usage = func() {
		fmt.Fprint(out, "usage: go run ./test/run [-list] [-only stage,...] [check|test|nightly]\n\ncheck: what needs no model and no browser; test (the default): everything that\nevery change must pass; nightly: campaigns of hours, and nothing else\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	set := "test"
	if flags.NArg() > 0 {
		set = flags.Arg(0)
	}
	if !slices.Contains([]string{"check", "test", "nightly"}, set) || flags.NArg() > 1 {
		flags.Usage()
		return 2
	}
	chosen, err := choose(stages(), set, *only)
	if err != nil {
		fmt.Fprintln(out, err)
		return 2
	}
	if *list {
		for _, s := range chosen {
			fmt.Fprintf(out, "%-10s %s\n", s.name, s.what)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	m, err := newMachine(out, began)
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	results := m.runAll(ctx, chosen)
	return summarize(out, results, time.Since(began), m.logs)
}

// choose picks the stages of a set, or those named and what they need.
func choose(all []stage, set, only string) ([]stage, error) {
	byName := map[string]stage{}
	for _, s := range all {
		byName[s.name] = s
	}
	want := map[string]bool{}
	var add func(string) error
	add = func(name string) error {
		s, ok := byName[name]
		if !ok {
			return fmt.Errorf("there is no stage %q; -list names them", name)
		}
		want[name] = true
		for _, n := range s.after {
			if err := add(n); err != nil {
				return err
			}
		}
		return nil
	}
	for _, s := range all {
		if only == "" && (s.night == (set == "nightly")) && (set != "check" || s.check) {
			if err := add(s.name); err != nil {
				return nil, err
			}
		}
	}
	if only != "" {
		for name := range strings.SplitSeq(only, ",") {
			if err := add(strings.TrimSpace(name)); err != nil {
				return nil, err
			}
		}
	}
	var out []stage
	for _, s := range all {
		if want[s.name] {
			out = append(out, s)
		}
	}
	return out, nil
}

// summarize writes the last lines and returns the exit status.
func summarize(out io.Writer, results []result, took time.Duration, logs string) int {
	var total tally
	fmt.Fprintln(out)
	for _, r := range results {
		total = total.plus(r.tally)
		word := "ok"
		if r.err != nil {
			word = "FAILED"
		}
		fmt.Fprintf(out, "%-8s %-10s %6.1f s  %s\n", word, r.name, r.took.Seconds(), r.tally)
	}
	for _, s := range total.why {
		fmt.Fprintln(out, "skipped:", s)
	}
	for _, r := range results {
		for _, n := range r.notes {
			fmt.Fprintf(out, "note: %s: %s\n", r.name, n)
		}
	}
	for _, r := range results {
		for _, line := range r.broke {
			fmt.Fprintf(out, "failed: %s: %s\n", r.name, line)
		}
	}
	if total.failed > 0 {
		fmt.Fprintln(out, "logs:", logs)
	}
	fmt.Fprintf(out, "in %.0f s\n%s\n", took.Seconds(), total)
	if total.failed > 0 || total.passed == 0 {
		return 1
	}
	return 0
}
