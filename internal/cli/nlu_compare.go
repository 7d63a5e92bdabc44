package cli

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/parleyhq/parley/internal/nlu/learn"
)

func nluCompareCommand() *command {
	return &command{
		name: "compare", short: "see where two models understand the same texts otherwise", args: "A B",
		long: "A and B are models' files, the old one first. The texts are lines of JSON, {\"text\": ...}; those with an intent also show which of the two is right. " +
			"Differences come in the order in which they should be looked at: first what B lost, then what both are surest of.",
		examples: []example{
			{"parley nlu compare old.nlu my-bot/model.nlu --jsonl said.jsonl", "before the new one is used"},
		},
		setup: func(fs *flag.FlagSet) action {
			jsonl := fs.String("jsonl", "", "read the texts from this `FILE`; - is the input")
			asJSON := fs.Bool("json", false, "write JSON, with all differences")
			var enc sentences
			enc.bind(fs)
			return func(ctx context.Context, t *terminal, args []string) error {
				if len(args) != 2 || *jsonl == "" {
					return usagef("name two models, and the texts with --jsonl FILE")
				}
				l, err := readTexts(t, *jsonl)
				if err != nil {
					return err
				}
				if len(l.examples) == 0 {
					return fmt.Errorf("%s has no texts", l.name)
				}
				a, err := enc.readModel(ctx, t, args[0])
				if err != nil {
					return err
				}
				b, err := enc.readModel(ctx, t, args[1])
				if err != nil {
					return err
				}
				c := learn.Compare(a, b, l.examples, time.Now())
				if *asJSON {
					return t.json(map[string]any{"a": a.Version(), "b": b.Version(), "comparison": c})
				}
				tellComparison(t, c)
				return nil
			}
		},
	}
}

func tellComparison(t *terminal, c learn.Comparison) {
	share := func(n, of int) string { return fmt.Sprintf("%d of %d (%.1f %%)", n, of, 100*float64(n)/float64(of)) }
	t.printf("The same intent for %s, the same entities for %s.\n", share(c.SameIntent, c.Texts), share(c.SameEntities, c.Texts))
	t.printf("None: A %s, B %s.\n", share(c.NoneA, c.Texts), share(c.NoneB, c.Texts))
	if c.Labelled > 0 {
		t.printf("Right: A %s, B %s; B mends %d and breaks %d.\n", share(c.RightA, c.Labelled), share(c.RightB, c.Labelled), c.Mended, c.Broken)
	}
	if len(c.Pairs) > 0 {
		t.printf("\nWhat changed:\n")
	}
	for _, p := range c.Pairs[:min(len(c.Pairs), mostWorst)] {
		t.printf("  %3d  %s became %s\n", p.Texts, calm(p.A), calm(p.B))
	}
	if len(c.Differences) > 0 {
		t.printf("\nLook at these first:\n")
	}
	for _, d := range c.Differences[:min(len(c.Differences), mostWorst)] {
		t.printf("  %q\n    A %s %.2f, B %s %.2f", short(d.Text), calm(d.A.Intent), d.A.Score, calm(d.B.Intent), d.B.Score)
		if d.Want != "" {
			t.printf(", it is %s", calm(d.Want))
		}
		if d.A.Intent == d.B.Intent {
			t.printf(": other entities")
		}
		t.printf("\n")
	}
}
