package cli

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/parleyhq/parley/client"
)

func usageCommand() *command {
	return &command{
		name: "usage", short: "what was spent: requests, tokens and money",
		long: "A user sees his own, and who has an operator's key everybody's. Days are in UTC. docs/accounts.md says what is counted.",
		examples: []example{
			{"parley usage", "this month, by day and model"},
			{"parley usage --by tenant,model --from 2026-10-01 --to 2026-10-31 --csv > october.csv", "for a bill"},
		},
		setup: func(fs *flag.FlagSet) action {
			var q client.UsageQuery
			fs.StringVar(&q.From, "from", "", "the first `DAY`, as 2026-11-22 (default: the first of this month)")
			fs.StringVar(&q.To, "to", "", "the last `DAY` (default: today)")
			by := fs.String("by", "day,model", "tell apart by these `WORDS`: day, tenant, key, user, model")
			fs.StringVar(&q.User, "user", "", "only what this `USER` spent")
			asCSV := fs.Bool("csv", false, "write CSV")
			return withNode(fs, 0, func(ctx context.Context, n call) error {
				q.By = strings.Split(*by, ",")
				if *asCSV {
					return n.client.UsageCSV(ctx, q, n.t.out)
				}
				u, err := n.client.Usage(ctx, q)
				if err != nil {
					return err
				}
				if n.json {
					return n.t.json(u)
				}
				return n.showUsage(u, q.By)
			})
		},
	}
}

func (n call) showUsage(u client.Usage, by []string) error {
	if len(u.Rows) == 0 {
		n.t.say("Nothing was spent from %s to %s.", u.From, u.To)
		return nil
	}
	w := tabwriter.NewWriter(n.t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(by, "\t"))+"\tREQUESTS\tPROMPT\tCACHED\tANSWER\tCOST")
	line := func(first []string, r client.Spent) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s %s\n", strings.Join(first, "\t"), r.Requests, r.Prompt, r.Cached, r.Completion, r.Cost, r.Currency)
	}
	for _, r := range u.Rows {
		var first []string
		for _, d := range by {
			v := map[string]string{"day": r.Day, "tenant": r.Tenant, "key": r.Key, "user": r.User, "model": r.Model}[d]
			if v == "" {
				v = "-"
			}
			first = append(first, calm(v))
		}
		line(first, r)
	}
	if len(u.Rows) > 1 {
		total := make([]string, len(by))
		total[0] = "all"
		line(total, u.Total)
	}
	return w.Flush()
}
