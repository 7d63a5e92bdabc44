package cli

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/fault"
)

func regionsCommand() *command {
	return &command{
		name: "regions", short: "how the regions are, and a node out of service and back",
		subs: []*command{
			{
				name: "list", short: "who lives, who leads whose log, and who has copies of it",
				setup: func(fs *flag.FlagSet) action {
					return withNode(fs, 0, func(ctx context.Context, n call) error {
						all, err := n.client.Regions(ctx)
						if err != nil {
							return err
						}
						if n.json {
							return n.t.json(map[string]any{"regions": all})
						}
						return showRegions(n.t, all)
					})
				},
			},
			{
				name: "wait", short: "wait until all of them are well",
				long: "All nodes live, every region serves or votes, every log has a leader, and every copy of a log is whole again. " +
					"Only then may the next node be stopped: a majority of the copies has to stay.",
				examples: []example{{
					"parley regions wait --url https://kr.example.org,https://sg.example.org",
					"before each node of an upgrade; several addresses, one of which may be the node that starts",
				}},
				setup: func(fs *flag.FlagSet) action {
					limit := fs.Duration("timeout", 5*time.Minute, "give up after this `TIME`, with status 1")
					without := fs.String("without", "", "nodes that don't count, `NAMES` with commas: not started yet, or stopped for good")
					return withNode(fs, 0, func(ctx context.Context, n call) error {
						return n.waitForRegions(ctx, *limit, strings.Split(*without, ","))
					})
				},
			},
			{
				name: "drain", short: "take the node on this machine out of service while it runs",
				long: "It says that it is not ready, so that users are led elsewhere, hands its log's leaders to other nodes, takes no more turns and finishes those it has. " +
					"It still keeps copies of the log and votes, and stays so over restarts, until \"parley regions resume\".",
				examples: []example{{"parley regions drain -c /etc/parley/parley.yaml", "before work on the machine; SIGTERM does the same before it stops a node"}},
				setup:    func(fs *flag.FlagSet) action { return drainAction(fs, true) },
			},
			{
				name: "resume", short: "put it back into service",
				setup: func(fs *flag.FlagSet) action { return drainAction(fs, false) },
			},
		},
	}
}

func drainAction(fs *flag.FlagSet, away bool) action {
	s := bind(fs, "data", "region")
	return func(_ context.Context, t *terminal, args []string) error {
		if err := none(args); err != nil {
			return err
		}
		c, err := s.load(t, false)
		if err != nil {
			return err
		}
		if !c.Clustered() {
			return fault.New(fault.Invalid, "this node is alone, so nobody could take over: name its configuration with -c, or stop it")
		}
		if err := app.Drain(c.Data, away); err != nil {
			return fmt.Errorf("mark %s: %w", c.Data, err)
		}
		if away {
			t.say("%s leaves within a second; its turns are over when \"parley regions list\" says so.", c.Node)
		} else {
			t.say("%s comes back within a second; its region's log comes home some seconds later.", c.Node)
		}
		return nil
	}
}

func showRegions(t *terminal, all []client.Region) error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "REGION\tSTATE\tLEADS\tCOPIES OF\tBEHIND\tNODES")
	for _, r := range all {
		var nodes []string
		for _, n := range r.Nodes {
			what := fmt.Sprintf("%s %s, %d turns", n.Name, n.Version, n.Turns)
			if !n.Alive {
				what = n.Name + " is silent"
			}
			nodes = append(nodes, what)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", r.Name, r.State, strings.Join(r.Leads, " "), strings.Join(r.Copies, " "), r.Lag, strings.Join(nodes, "; "))
	}
	return w.Flush()
}

// waitForRegions asks whichever node answers, again and again.
func (n call) waitForRegions(ctx context.Context, limit time.Duration, without []string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	why, told := "nobody was asked yet", time.Now()
	for {
		if all, err := n.client.Regions(ctx); err == nil {
			if why = unwell(all, without); why == "" {
				if n.json {
					return n.t.json(map[string]any{"regions": all})
				}
				return showRegions(n.t, all)
			}
		} else if ctx.Err() == nil {
			why = err.Error()
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			n.t.say("(still waiting: %s)", why)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fault.New(fault.Timeout, "the regions are not well after %v: %s", limit, why)
		}
	}
}

// farBehind is how far a copy may be behind while people talk.
const farBehind = 512

// unwell says what keeps the next node from being stopped, "" = nothing. Nodes
// that don't count are left out, and so are regions that have no others.
func unwell(all []client.Region, without []string) string {
	copies := map[string]int{} // whole ones, by the region whose log it is
	led := map[string]bool{}
	staying := all[:0:0]
	for _, r := range all {
		for _, home := range r.Copies {
			copies[home]++
		}
		for _, home := range r.Leads {
			led[home] = true
		}
		nodes := slices.DeleteFunc(slices.Clone(r.Nodes), func(n client.RegionNode) bool { return slices.Contains(without, n.Name) })
		for _, n := range nodes {
			if !n.Alive {
				return fmt.Sprintf("node %s of %s is silent", n.Name, r.Name)
			}
		}
		if len(nodes) > 0 || len(r.Nodes) == 0 {
			staying = append(staying, r)
		}
	}
	for _, r := range staying {
		switch {
		case r.State != client.RegionServing && r.State != client.RegionWitness:
			return fmt.Sprintf("%s is %s", r.Name, r.State)
		case r.Lag > farBehind:
			return fmt.Sprintf("a copy of the log in %s is %d entries behind", r.Name, r.Lag)
		case r.State == client.RegionServing && !led[r.Name]:
			return "nobody leads the log of " + r.Name
		}
	}
	for home, n := range copies {
		if want := min(3, len(staying)); n < want {
			return fmt.Sprintf("the log of %s has %d whole copies, of %d", home, n, want)
		}
	}
	return ""
}
