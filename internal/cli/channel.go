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
				long: "In the order of their ids. When there are more, it says how to go on.",
				setup: func(fs *flag.FlagSet) action {
					limit := fs.Int("limit", 100, "show at most `N`; 0 for all")
					after := fs.String("after", "", "begin behind the letter `ID`")
					return onChannels(fs, 0, 1, "one channel at most", func(n call, ctx context.Context) error { return n.deadLetters(ctx, *after, *limit) })
				},
			},
			{
				name: "replay", args: "[LETTER… | --all [CHANNEL…]]", short: "post dead letters now",
				long: "With --all those of the channels that are named, or of all channels, each conversation's in its order. " +
					"After one that is still refused, the later ones of its conversation stay. Status 1 if any is left.",
				examples: []example{{"parley channel replay --all slack", "after what was wrong is mended"}},
				setup: func(fs *flag.FlagSet) action {
					all := fs.Bool("all", false, "all of the channels that are named in the place of letters")
					drop := fs.Bool("drop", false, "take them away instead")
					return onChannels(fs, 0, 1000, "letters' ids, as \"parley channel dead\" shows them, or --all", func(n call, ctx context.Context) error { return n.replayLetters(ctx, *all, *drop) })
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

// letters hands out a channel's dead letters, page by page, until there are
// limit of them; 0 = all. next is what to go on after, "" = there are no more.
func (n call) letters(ctx context.Context, channel, after string, limit int, each func(client.DeadLetter) error) (next string, err error) {
	const most = 1000 // of one page
	for done := 0; ; {
		want := most
		if limit > 0 {
			want = min(most, limit-done)
		}
		page, next, err := n.client.DeadLetters(ctx, channel, after, want)
		if err != nil {
			return "", err
		}
		for _, l := range page {
			if err := each(l); err != nil {
				return "", err
			}
		}
		if done += len(page); next == "" || done == limit {
			return next, nil
		}
		after = next
	}
}

func (n call) deadLetters(ctx context.Context, after string, limit int) error {
	if limit < 0 {
		return usagef("--limit is 0 or more")
	}
	all := []client.DeadLetter{}
	next, err := n.letters(ctx, strings.Join(n.args, ""), after, limit, func(l client.DeadLetter) error {
		if n.json {
			all = append(all, l)
			return nil
		}
		doubt := ""
		if l.Doubt {
			doubt = " (it may have arrived all the same)"
		}
		n.t.printf("%s  %s  %s%s\n", l.ID, l.Dead.Local().Format(time.DateTime), calm(l.Error), doubt)
		after = l.ID
		return nil
	})
	switch {
	case err != nil:
		return err
	case n.json:
		return n.t.json(map[string]any{"letters": all, "next": next})
	case next != "":
		n.t.say("There are more: --after " + next)
	case after == "":
		n.t.say("There are none.")
	}
	return nil
}

func (n call) replayLetters(ctx context.Context, all, drop bool) error {
	if !all && len(n.args) == 0 {
		return usagef("it wants letters' ids, as \"parley channel dead\" shows them, or --all")
	}
	do := n.postAgain
	if drop {
		do = n.dropLetter
	}
	left := "" // the newest conversation in which one is still refused
	err := n.eachNamed(ctx, all, func(id string) error {
		conv := id[:strings.LastIndexByte(id, '.')+1]
		if all && conv == left {
			return nil // it would overtake
		}
		done, err := do(ctx, id)
		if !done {
			left = conv
		}
		return err
	})
	if err == nil && left != "" {
		return errSilent
	}
	return err
}

// eachNamed hands out the letters that the arguments name, or all those of the
// channels that they name.
func (n call) eachNamed(ctx context.Context, all bool, each func(id string) error) error {
	names := n.args
	if all && len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		var err error
		if all {
			_, err = n.letters(ctx, name, "", 0, func(l client.DeadLetter) error { return each(l.ID) })
		} else {
			err = each(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// postAgain reports whether the other side has the letter now.
func (n call) postAgain(ctx context.Context, id string) (done bool, err error) {
	why, err := n.client.ReplayLetter(ctx, id)
	switch {
	case err != nil:
		return false, err
	case why != "":
		n.t.printf("%s  still refused: %s\n", id, calm(why))
	default:
		n.t.printf("%s  posted\n", id)
	}
	return why == "", nil
}

func (n call) dropLetter(ctx context.Context, id string) (done bool, err error) {
	if err := n.client.DropLetter(ctx, id); err != nil {
		return false, err
	}
	n.t.printf("%s  taken away\n", id)
	return true, nil
}
