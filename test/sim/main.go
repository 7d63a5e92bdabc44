// Command sim holds a world of regions in one process and breaks it at random
// while people talk: whole nodes, with their logs, turns, stores, API and the
// client library, are real; the links between them, and between them and the
// people, are simulated, and with them every fault. Then a judge holds what
// each person was told against every region's log. Nothing else may live here.
//
//	go run ./test/sim -faults 1000 -seed 1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func command(args []string, out, log io.Writer) int {
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(log)
	faults := flags.Int("faults", 1000, "how many faults in all")
	seed := flags.Uint64("seed", 1, "of the first round; the next one has the next")
	round := flags.Int("round", 25, "faults of one round, in a world of its own")
	every := flags.Duration("every", 1500*time.Millisecond, "a fault, on average; each holds for a second or two, and they overlap")
	regions := flags.Int("regions", 3, "how many regions, 3 or 5")
	talkers := flags.Int("talkers", 4, "people who ask and read answers; each has somebody who watches from another region")
	noters := flags.Int("noters", 4, "people who say one thing after the other and read it in other regions")
	only := flags.String("only", "", "faults to take, as crash,lone (default all)")
	planted := flags.String("plant", "", `plant a bug in all conversations and see it found: "ack before quorum", "no fencing", ...`)
	data := flags.String("data", "", "directory for the worlds; those in which something was found are left there (default a temporary one)")
	verbose := flags.Bool("v", false, "name every fault, and write the nodes' own log to stderr")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	of, err := parseKinds(*only)
	switch {
	case err != nil:
	case *regions != 3 && *regions != 5:
		err = errors.New("-regions is 3 or 5")
	case *every < 100*time.Millisecond:
		err = errors.New("-every wants at least 100ms")
	case *faults < 1 || *round < 1 || *talkers < 0 || *noters < 0 || *talkers+*noters == 0:
		err = errors.New("-faults and -round want at least 1, and somebody must talk")
	case *planted != "" && !slices.Contains(allFlaws(), flaw(*planted)):
		err = fmt.Errorf("-plant %q: there are %q", *planted, allFlaws())
	}
	if err != nil {
		fmt.Fprintln(log, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir := *data
	if dir == "" {
		dir, err = os.MkdirTemp("", "parley-sim-")
		defer os.Remove(dir) // stays if something is left in it
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		fmt.Fprintln(log, err)
		return 1
	}
	c := campaign{
		seed: *seed, regions: *regions, kinds: of, every: *every, dir: dir, lg: slog.New(slog.DiscardHandler), told: func(misfortune) {},
		groups: []group{{flaw: flaw(*planted), talkers: *talkers, noters: *noters}},
	}
	if *verbose {
		c.told = func(m misfortune) { fmt.Fprintf(out, "    %3d %v\n", m.n, m) }
		c.lg = slog.New(slog.NewTextHandler(log, nil))
	}
	fmt.Fprintf(out, "%d regions in this process; links and faults are simulated, all else is real. Data in %s\n", *regions, dir)
	var sum verdict
	began, suffered := time.Now(), 0
	err = rounds(ctx, c, *faults, *round, func(seed uint64, faults int, took time.Duration, v map[flaw]*verdict) {
		suffered += faults
		for _, one := range v {
			fmt.Fprintf(out, "seed %d: %d faults in %.0f s, %s\n", seed, faults, took.Seconds(), one)
			for i, f := range one.Findings {
				if i == 20 {
					fmt.Fprintf(out, "  and %d more\n", len(one.Findings)-i)
					break
				}
				fmt.Fprintf(out, "  %v\n", f)
			}
			if len(one.Findings) > 0 {
				fmt.Fprintf(out, "  again: go run ./test/sim -seed %d -faults %d -round %d%s\n", seed, faults, *round, rest(args))
			}
			sum.add(one)
		}
	})
	fmt.Fprintf(out, "\n%d faults in %.0f s on %d processors: %s\n", suffered, time.Since(began).Seconds(), runtime.NumCPU(), &sum)
	if err != nil {
		fmt.Fprintln(log, err)
		return 1
	}
	if len(sum.Findings) > 0 {
		return 1
	}
	return 0
}

// rest is what else was asked for, to be asked for again.
func rest(args []string) string {
	var out strings.Builder
	for i := 0; i < len(args); i++ {
		name := strings.TrimLeft(args[i], "-")
		key, _, joined := strings.Cut(name, "=")
		if slices.Contains([]string{"seed", "faults", "round"}, key) {
			if !joined {
				i++
			}
			continue
		}
		fmt.Fprintf(&out, " %q", args[i])
	}
	return out.String()
}

func (v *verdict) String() string {
	return fmt.Sprintf("%d conversations, %d messages acknowledged, %d answers (%d times taken over), %d lists and %d events read: %d findings",
		v.Conversations, v.Acknowledged, v.Answers, v.Resumed, v.Reads, v.Events, len(v.Findings))
}

func (v *verdict) add(o *verdict) {
	v.Acknowledged += o.Acknowledged
	v.Answers += o.Answers
	v.Conversations += o.Conversations
	v.Resumed += o.Resumed
	v.Reads += o.Reads
	v.Events += o.Events
	v.Findings = append(v.Findings, o.Findings...)
}
