package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/progress"
	serving "github.com/parleyhq/parley/internal/understand" // understand is a function here
)

func nluPublishCommand() *command {
	return &command{
		name: "publish", short: "give a model and its flows to all nodes, and make it live there", args: "[DIR|MODEL]",
		long: "DIR is a project's folder, the current one if it is left out: its model.nlu is published, or what is learned from it now; MODEL is a model's file. " +
			"The version understands at once, on every node of every region, unless --percent, --shadow or --hold say otherwise. A version that does not work is refused, and nothing changes.",
		examples: []example{
			{"parley nlu publish my-bot --flows flows.yaml --app helpdesk", "live everywhere within seconds"},
			{"parley nlu publish my-bot --app helpdesk --percent 10", "for a tenth of the conversations, always the same ones"},
			{"parley nlu publish my-bot --app helpdesk --shadow", "only listening: the metrics count what it understands otherwise"},
		},
		setup: func(fs *flag.FlagSet) action {
			p := &publishing{conn: bindConnection(fs)}
			fs.StringVar(&p.app, "app", "", "`NAME` of the entry under understanding in the nodes' configuration; not needed where there is one")
			fs.StringVar(&p.flows, "flows", "", "the script's `FILE`, published with the model")
			fs.IntVar(&p.percent, "percent", 0, "let it read this `SHARE` of the conversations, 1 to 99, and the live one the others")
			fs.BoolVar(&p.shadow, "shadow", false, "let it only listen")
			fs.BoolVar(&p.hold, "hold", false, "publish it and give it no role yet")
			fs.BoolVar(&p.json, "json", false, "write JSON")
			return p.run
		},
	}
}

// publishing is what publish was told.
type publishing struct {
	conn         *connection
	app, flows   string
	percent      int
	shadow, hold bool
	json         bool
}

func (p *publishing) run(ctx context.Context, t *terminal, args []string) error {
	from, err := source(args, "")
	if err != nil {
		return err
	}
	roles := 0
	for _, r := range []bool{p.percent != 0, p.shadow, p.hold} {
		if r {
			roles++
		}
	}
	switch {
	case roles > 1:
		return usagef("--percent, --shadow and --hold exclude each other")
	case p.percent < 0 || p.percent > 99:
		return usagef("--percent is 1 to 99; without it, it is for all")
	}
	cl, _, err := p.conn.open(ctx, t)
	if err != nil {
		return err
	}
	if p.app, err = oneApp(ctx, cl, p.app); err != nil {
		return err
	}
	before, err := appOf(ctx, cl, p.app)
	if err != nil {
		return err
	}
	src := serving.Source{Path: from, Flows: p.flows}
	if !p.json {
		src.Progress = learnLines(progress.New(consoleFor(t, t.err)))
	}
	pack, notes, err := serving.Make(ctx, src)
	if err != nil {
		return err
	}
	for _, n := range notes {
		t.say("%s", calm(n))
	}
	m, err := cl.Publish(ctx, p.app, pack)
	if err != nil {
		return err
	}
	if before.Flows > 0 && m.Flows == 0 && !p.hold {
		t.say("What is live has %d flows, and this version none: give them with --flows. parley nlu activate --back goes back.", before.Flows)
	}
	act := client.Activation{Version: m.Version, Role: "live"}
	what := "live"
	switch {
	case p.hold:
		act, what = client.Activation{}, "on hold: parley nlu activate "+m.Version
	case p.shadow:
		act.Role, what = "shadow", "listening only"
	case p.percent > 0:
		act.Role, act.Percent, what = "next", p.percent, fmt.Sprintf("for %d %% of the conversations", p.percent)
	}
	if act.Version != "" {
		if _, err := cl.Activate(ctx, p.app, act); err != nil {
			return fmt.Errorf("version %s of %s is published and has no role yet: %w", m.Version, p.app, err)
		}
	}
	if p.json {
		return t.json(map[string]any{"app": p.app, "published": m, "role": act.Role, "percent": act.Percent})
	}
	t.printf("Version %s of %s is published (%d intents, %d flows, %s) and %s.\n", m.Version, p.app, m.Intents, m.Flows, progress.Bytes(int64(m.Size)), what)
	return nil
}

// oneApp finds the app that is meant where nobody named one.
func oneApp(ctx context.Context, cl *client.Client, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	apps, err := cl.Apps(ctx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, a := range apps {
		names = append(names, a.App)
	}
	switch len(names) {
	case 0:
		return "", fmt.Errorf("this node understands nothing: its configuration needs an entry under understanding")
	case 1:
		return names[0], nil
	}
	return "", usagef("name the app with --app: %s", strings.Join(names, ", "))
}

func nluModelsCommand() *command {
	return &command{
		name: "models", short: "list the versions that the nodes have, and what each is for",
		examples: []example{{"parley nlu models", "the live one, its predecessor, and what was published"}},
		setup: func(fs *flag.FlagSet) action {
			return withNode(fs, 0, func(ctx context.Context, n call) error {
				apps, err := n.client.Apps(ctx)
				if err != nil {
					return err
				}
				if n.json {
					return n.t.json(map[string]any{"apps": apps})
				}
				return tellApps(n.t, apps)
			})
		},
	}
}

func tellApps(t *terminal, apps []client.App) error {
	if len(apps) == 0 {
		t.say("This node understands nothing: its configuration needs an entry under understanding.")
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	for _, a := range apps {
		fmt.Fprintf(w, "%s\n", calm(a.App))
		if a.Source == serving.Configuration {
			fmt.Fprintf(w, "  %s\tlive\tof the configuration\n", a.Live)
		}
		for _, m := range a.Models {
			fmt.Fprintf(w, "  %s\t%s\t%s by %s, %d intents, %d flows, %s\n", m.Version, roleOf(a, m.Version),
				m.At.Local().Format("2006-01-02 15:04"), calm(m.By), m.Intents, m.Flows, progress.Bytes(int64(m.Size)))
		}
		if a.Live == "" {
			fmt.Fprintf(w, "  nothing is live: parley nlu publish\n")
		}
		if a.Problem != "" {
			fmt.Fprintf(w, "  problem: %s\n", calm(a.Problem))
		}
	}
	return w.Flush()
}

func roleOf(a client.App, version string) string {
	switch version {
	case a.Live:
		return "live"
	case a.Next:
		return fmt.Sprintf("next, %d %%", a.Percent)
	case a.Shadow:
		return "shadow"
	case a.Before:
		return "before"
	}
	return "-"
}

func nluUnknownCommand() *command {
	return &command{
		name: "unknown", short: "write what a node did not understand, as lines of JSON to learn from",
		long: "Only of apps that have collect: true in the configuration, and without addresses, telephone and other long numbers, and keys. People's names stay in them.",
		examples: []example{
			{"parley nlu unknown > unknown.jsonl", "then: parley nlu learn my-bot --jsonl unknown.jsonl"},
		},
		setup: func(fs *flag.FlagSet) action {
			conn := bindConnection(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if len(args) > 0 {
					return none(args)
				}
				cl, _, err := conn.open(ctx, t)
				if err != nil {
					return err
				}
				out := json.NewEncoder(t.out)
				out.SetEscapeHTML(false)
				return eachUnknown(ctx, cl, func(m client.Unknown) error { return out.Encode(m) })
			}
		},
	}
}

// eachUnknown hands on all that a node did not understand.
func eachUnknown(ctx context.Context, cl *client.Client, do func(client.Unknown) error) error {
	for cursor, more := "", true; more; {
		items, next, err := cl.Unknown(ctx, cursor, 1000)
		if err != nil {
			return err
		}
		for _, m := range items {
			if err := do(m); err != nil {
				return err
			}
		}
		cursor, more = next, next != ""
	}
	return nil
}

func nluActivateCommand() *command {
	return &command{
		name: "activate", short: "give a published version its role, or go back to the one before", args: "[VERSION]",
		long: `VERSION is one that "parley nlu models" lists, or configuration for the model of the nodes' own configuration.`,
		examples: []example{
			{"parley nlu activate 0f1e2d3c4b5a6978", "it is live, everywhere"},
			{"parley nlu activate --back", "what was live before is live again"},
			{"parley nlu activate 0f1e2d3c4b5a6978 --percent 50", "half of the conversations"},
			{"parley nlu activate --none shadow", "nobody listens any more"},
		},
		setup: func(fs *flag.FlagSet) action {
			conn, asJSON := bindConnection(fs), fs.Bool("json", false, "write JSON")
			app := fs.String("app", "", "`NAME` of the app; not needed where there is one")
			percent := fs.Int("percent", 0, "let it read this `SHARE` of the conversations, 1 to 99")
			shadow := fs.Bool("shadow", false, "let it only listen")
			back := fs.Bool("back", false, "make live what was live before")
			none := fs.String("none", "", "take a `ROLE` away: next or shadow")
			return func(ctx context.Context, t *terminal, args []string) error {
				act := client.Activation{Role: "live"}
				switch {
				case *shadow && *percent != 0:
					return usagef("--percent and --shadow exclude each other")
				case *shadow:
					act.Role = "shadow"
				case *percent != 0:
					act.Role, act.Percent = "next", *percent
				}
				switch {
				case *none != "" && (len(args) > 0 || *back || act.Role != "live"):
					return usagef("--none takes a role away and needs nothing else")
				case *none != "" && !slices.Contains([]string{"next", "shadow"}, *none):
					return usagef("--none is next or shadow")
				case *none != "":
					act.Role = *none
				case *back && (len(args) > 0 || act.Role != "live"):
					return usagef("--back needs nothing else")
				case !*back && len(args) != 1:
					return usagef("name the version; \"parley nlu models\" lists them")
				case !*back:
					act.Version = args[0]
				}
				cl, _, err := conn.open(ctx, t)
				if err != nil {
					return err
				}
				name, err := oneApp(ctx, cl, *app)
				if err != nil {
					return err
				}
				if *back {
					if act.Version, err = versionBefore(ctx, cl, name); err != nil {
						return err
					}
				}
				apps, err := cl.Activate(ctx, name, act)
				if err != nil {
					return err
				}
				if *asJSON {
					return t.json(map[string]any{"apps": apps})
				}
				return tellApps(t, apps)
			}
		},
	}
}

func versionBefore(ctx context.Context, cl *client.Client, name string) (string, error) {
	a, err := appOf(ctx, cl, name)
	if err == nil && a.Before == "" {
		err = fmt.Errorf("nothing was live before in %s", name)
	}
	return a.Before, err
}

// appOf finds an app by its name or id; the zero one if the node has none of
// it, which it says itself when it is asked.
func appOf(ctx context.Context, cl *client.Client, name string) (client.App, error) {
	apps, err := cl.Apps(ctx)
	for _, a := range apps {
		if strings.EqualFold(a.App, name) || slices.ContainsFunc(a.IDs, func(id string) bool { return strings.EqualFold(id, name) }) {
			return a, nil
		}
	}
	return client.App{}, err
}
