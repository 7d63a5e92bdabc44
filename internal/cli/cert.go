package cli

import (
	"context"
	"flag"
	"regexp"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/tlscert"
)

func certCommand() *command {
	return &command{
		name: "cert", short: "make certificates that nodes of several regions show each other",
		long: `Makes an authority in a directory, if there is none yet, and a certificate signed
by it for one node: two files that go into the node's cluster.certs directory.
Keep the authority where no node can read it: whoever has it can be any node.

A node reads its files again when they change, so renewing is running this again
and copying the result. For a world on one machine nothing of this is needed.`,
		examples: []example{
			{"parley cert --authority ca --node koreacentral --host kr.example.org --out certs", "ca.pem and node.pem for a node of the region of the same name"},
			{"parley cert --authority ca --node kr2 --region koreacentral --host 10.0.2.5 --out certs --days 7", "a second node there, for a week"},
		},
		setup: func(fs *flag.FlagSet) action {
			dir := fs.String("authority", "", "the authority's `DIR`")
			out := fs.String("out", "", "where ca.pem and node.pem go, a `DIR`")
			node := fs.String("node", "", "the node's `NAME`, as under nodes in the configuration")
			region := fs.String("region", "", "its region's `NAME`; without it the node's")
			hosts := fs.String("host", "", "`NAMES` and addresses at which the others reach it, separated by commas")
			days := fs.Int("days", 90, "how long it is valid")
			return func(_ context.Context, t *terminal, args []string) error {
				if err := none(args); err != nil {
					return err
				}
				if *region == "" {
					*region = *node
				}
				word := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
				switch {
				case *dir == "" || *out == "" || *hosts == "":
					return usagef("--authority, --node, --host and --out are needed")
				case !word.MatchString(*node) || !word.MatchString(*region):
					return usagef("--node and --region: 1 to 63 letters, digits, underscores or hyphens")
				case *days < 1 || *days > 825:
					return usagef("--days: 1 to 825")
				}
				a, err := tlscert.OpenAuthority(*dir)
				if err != nil {
					return err
				}
				life := time.Duration(*days) * 24 * time.Hour
				pem, err := a.Issue(tlscert.Identity{Region: *region, Node: *node}, strings.Split(*hosts, ","), life)
				if err != nil {
					return err
				}
				if err := tlscert.Put(*out, a.PEM(), pem); err != nil {
					return err
				}
				if _, err := tlscert.Open(tlscert.Options{
					Dir: *out, Self: tlscert.Identity{Region: *region, Node: *node}, Known: func(tlscert.Identity) bool { return true },
				}); err != nil {
					return err
				}
				t.say("%s: node.pem of %s in %s, valid until %s, and ca.pem", *out, *node, *region, time.Now().Add(life).UTC().Format(time.DateOnly))
				return nil
			}
		},
	}
}
