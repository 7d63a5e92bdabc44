package cli

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/fault"
)

func channelCommand() *command {
	return &command{
		name: "channel", short: "channels that have to be called: their accounts, a test, dead letters",
		subs: []*command{
			{
				name: "list", short: "the accounts of the configuration",
				setup: func(fs *flag.FlagSet) action {
					return onChannels(fs, 0, 0, "nothing", call.listChannels)
				},
			},
			{
				name: "test", args: "[CHANNEL/ACCOUNT]", short: "walk the way to the other side and back, and say what is wrong",
				long: "The node tries its credentials on the platform, and the address by which the platform reaches it (channels.service). " +
					"Without a name, all accounts. Status 1 if something is wrong.",
				examples: []example{{"parley channel test webhook/kiosk", "a signed ping out, and one in by the edge"}},
				setup: func(fs *flag.FlagSet) action {
					return onChannels(fs, 0, 1, "one account at most, as CHANNEL/ACCOUNT", call.testChannels)
				},
			},
			{
				name: "dead", args: "[CHANNEL]", short: "dead letters: what bots said and the other side would not have",
				setup: func(fs *flag.FlagSet) action {
					return onChannels(fs, 0, 1, "one channel at most", call.deadLetters)
				},
			},
			{
				name: "replay", args: "LETTER…", short: "post dead letters now; \"all\" for all of them",
				examples: []example{{"parley channel replay all", "after what was wrong is mended"}},
				setup: func(fs *flag.FlagSet) action {
					drop := fs.Bool("drop", false, "take them away instead")
					return onChannels(fs, 1, 1000, "letters' ids, as \"parley channel dead\" shows them, or all", func(n call, ctx context.Context) error { return n.replayLetters(ctx, *drop) })
				},
			},
		},
	}
}

// onChannels does something on a node with a number of arguments.
func onChannels(fs *flag.FlagSet, least, most int, wants string, do func(call, context.Context) error) action {
	conn, asJSON := bindConnection(fs), fs.Bool("json", false, "write JSON")
	return func(ctx context.Context, t *terminal, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("it wants %s", wants)
		}
		cl, _, err := conn.open(ctx, t)
		if err != nil {
			return err
		}
		return do(call{cl, t, args, *asJSON}, ctx)
	}
}

func (n call) listChannels(ctx context.Context) error {
	all, service, err := n.client.Channels(ctx)
	if err != nil {
		return err
	}
	if n.json {
		return n.t.json(map[string]any{"accounts": all, "service": service})
	}
	if len(all) == 0 {
		n.t.say("There are none: docs/channels says how to set one up.")
		return nil
	}
	w := tabwriter.NewWriter(n.t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tREACHES US BELOW")
	for _, a := range all {
		fmt.Fprintf(w, "%s/%s\t%s/channels/%s/%s\n", a.Channel, a.Account, service, a.Channel, a.Account)
	}
	return w.Flush()
}

// named finds the accounts that an argument means.
func named(all []client.ChannelAccount, name string) ([]client.ChannelAccount, error) {
	var out []client.ChannelAccount
	for _, a := range all {
		if name == "" || name == a.Channel || name == a.Account || name == a.Channel+"/"+a.Account {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fault.New(fault.NotFound, "the node's configuration has no account %q; \"parley channel list\" shows them", name)
	}
	return out, nil
}

func (n call) testChannels(ctx context.Context) error {
	all, _, err := n.client.Channels(ctx)
	if err != nil {
		return err
	}
	accounts, err := named(all, strings.Join(n.args, ""))
	if err != nil {
		return err
	}
	type result struct {
		client.ChannelAccount
		Findings []client.Finding `json:"findings"`
	}
	var results []result
	wrong := false
	for _, a := range accounts {
		findings, err := n.client.CheckChannel(ctx, a)
		if err != nil {
			findings = []client.Finding{{What: "the test", Problem: err.Error()}}
		}
		results = append(results, result{a, findings})
		for _, f := range findings {
			wrong = wrong || f.Problem != ""
		}
	}
	if n.json {
		err = n.t.json(map[string]any{"accounts": results})
	} else {
		for _, r := range results {
			n.t.printf("%s/%s\n", r.Channel, r.Account)
			for _, f := range r.Findings {
				if f.Problem == "" {
					n.t.printf("  well   %s\n", calm(f.What))
				} else {
					n.t.printf("  WRONG  %s: %s\n", calm(f.What), calm(f.Problem))
				}
			}
		}
	}
	if err == nil && wrong {
		return errSilent
	}
	return err
}

func (n call) deadLetters(ctx context.Context) error {
	all, err := n.client.DeadLetters(ctx, strings.Join(n.args, ""))
	if err != nil {
		return err
	}
	if n.json {
		return n.t.json(map[string]any{"letters": all})
	}
	for _, l := range all {
		doubt := ""
		if l.Doubt {
			doubt = " (it may have arrived all the same)"
		}
		n.t.printf("%s  %s  %s%s\n", l.ID, l.Dead.Local().Format(time.DateTime), calm(l.Error), doubt)
	}
	if len(all) == 0 {
		n.t.say("There are none.")
	}
	return nil
}

func (n call) replayLetters(ctx context.Context, drop bool) error {
	ids := n.args
	if len(ids) == 1 && ids[0] == "all" {
		all, err := n.client.DeadLetters(ctx, "")
		if err != nil {
			return err
		}
		ids = nil
		for _, l := range all {
			ids = append(ids, l.ID)
		}
	}
	wrong := false
	for _, id := range ids {
		var (
			why string
			err error
		)
		if drop {
			err = n.client.DropLetter(ctx, id)
		} else {
			why, err = n.client.ReplayLetter(ctx, id)
		}
		switch {
		case err != nil:
			return err
		case why != "":
			wrong = true
			n.t.printf("%s  still refused: %s\n", id, calm(why))
		case drop:
			n.t.printf("%s  taken away\n", id)
		default:
			n.t.printf("%s  posted\n", id)
		}
	}
	if wrong {
		return errSilent
	}
	return nil
}
