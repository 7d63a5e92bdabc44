package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/parleyhq/parley/internal/drill"
	"github.com/parleyhq/parley/internal/eventlog/link"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/progress"
	"github.com/parleyhq/parley/internal/world"
)

func drillCommand() *command {
	return &command{
		name: "drill", short: "break a world of regions on purpose, and see that nobody loses a word",
		long: `Starts a world of regions on this machine as "parley up --regions" does (the
distances between them are simulated, everything else is real; --kernel-tcp
simulates only that packets are late or lost), lets users talk to it, and breaks
the region that answers most of them, again and again. In the end it reads every
conversation in every region and compares it with what the users were told. The
exit status is 1 if anything was lost, doubled, out of order or unfinished.

Ctrl-C ends it early, with a report of what there was.`,
		examples: []example{
			{"parley drill", "ten users, ten regions killed in mid-sentence"},
			{"parley drill --users 50 --times 100 --seed 7", "a campaign: most of an hour"},
			{"parley drill --faults pause,isolate --via client", "hung and cut-off regions, with users who know all addresses"},
			{"parley drill --faults rough --times 1 --hold 1h", "an hour of long and lossy ways, in which no leader should move"},
		},
		setup: func(fs *flag.FlagSet) action {
			s := bind(fs)
			regions := fs.String("regions", "japaneast:witness,koreacentral,southeastasia", "the world: `NAME,NAME,NAME:witness`")
			users := fs.Int("users", 10, "how many talk all the time")
			times := fs.Int("times", 10, "how often something breaks")
			faults := fs.String("faults", "kill", "what breaks, in turn: `kill,pause,isolate,slow,rough`")
			hold := fs.Duration("hold", 8*time.Second, "how long a region stays paused, isolated or slow, or all ways rough")
			via := fs.String("via", "edge", "how users reach the regions: `edge|client`")
			kernel := fs.Bool("kernel-tcp", false, "regions talk by this machine's own TCP, over packets that are delayed and lost (Linux, root)")
			seed := fs.Uint64("seed", 1, "decides when and where it breaks")
			asJSON := fs.Bool("json", false, "the report as JSON on standard output; what happens meanwhile on standard error")
			return func(ctx context.Context, t *terminal, args []string) error {
				if err := none(args); err != nil {
					return err
				}
				list, err := world.Parse(*regions)
				if err != nil {
					return err
				}
				kinds, err := drill.ParseFaults(*faults)
				if err != nil {
					return err
				}
				if *via != "edge" && *via != "client" {
					return fault.New(fault.Invalid, "--via: %q is neither edge nor client", *via)
				}
				if *users < 1 || *users > 1000 || *times < 0 || *hold < time.Second || *hold > time.Hour {
					return fault.New(fault.Invalid, "1 to 1000 users, 0 or more times, and 1s to 1h of --hold, please")
				}
				if s.flags["engine"] == "" {
					s.flags["engine"] = "demo"
				}
				c, err := s.load(t, false)
				if err != nil {
					return err
				}
				dir := c.Data
				if s.flags["data"] == "" { // never on the user's own data
					if dir, err = os.MkdirTemp("", "parley-drill-"); err != nil {
						return err
					}
					defer func() { _ = os.RemoveAll(dir) }()
				}
				out := t.out
				if *asJSON {
					out = t.err
				}
				console := progress.New(progress.Options{Out: out})
				lg := logger(t.err, c.Log, "error")
				wire, distances, err := between(*kernel)
				if err != nil {
					return err
				}
				defer wire.Close()
				w, err := regionsHere(t, s, world.Options{Regions: list, Dir: dir, Listen: "127.0.0.1:0", Logger: lg, Restart: 2 * time.Second, Wire: wire})
				if err != nil {
					return err
				}
				ctx, enough, end := interrupted(ctx, t, "Nothing more is broken; the report comes when the present fault is over. Ctrl-C again ends the drill without one.")
				defer end()
				if err := w.Start(ctx); err != nil {
					return err
				}
				defer w.Stop()
				d, err := drill.New(drill.Options{
					World: w, Users: *users, Times: *times, Faults: kinds, Hold: *hold, Direct: *via == "client", Seed: *seed,
					Enough: enough, Console: console, Logger: lg,
				})
				if err != nil {
					return err
				}
				console.Line("%d users talk through the %s; engine: %s; faults: %s; %s", *users, *via, s.flags["engine"], *faults, distances)
				r, err := d.Run(ctx)
				if err != nil {
					return err
				}
				return judged(t, r, *asJSON)
			}
		},
	}
}

// between chooses what lies between the regions, and says it in words.
func between(kernel bool) (*link.Wire, string, error) {
	if !kernel {
		return nil, "the distances between the regions are simulated", nil
	}
	wire, err := link.OpenWire()
	return wire, "between the regions packets are delayed and lost, and TCP is this machine's own", err
}

// judged prints a drill's report. It is an error if the promise was not kept.
func judged(t *terminal, r drill.Report, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(t.out).Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprint(t.out, r.Text())
	}
	if !r.Good() {
		return fault.New(fault.Internal, "the promise was not kept")
	}
	return nil
}

// interrupted makes the first Ctrl-C close enough, and say so; the second one
// ends the context.
func interrupted(ctx context.Context, t *terminal, say string) (_ context.Context, enough <-chan struct{}, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	first := make(chan struct{})
	go func() {
		defer cancel()
		select {
		case <-t.interrupts:
		case <-ctx.Done():
			return
		}
		t.say("%s", say)
		close(first)
		select {
		case <-t.interrupts:
		case <-ctx.Done():
		}
	}()
	return ctx, first, cancel
}
