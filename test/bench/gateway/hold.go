package main

import (
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/parleyhq/parley/test/bench/kit"
)

// hold keeps many streams open at once for a while, through one server after the
// other. A piece is late when it comes so much after the pace.
func hold(fs *flag.FlagSet, args []string) error {
	parley := fs.String("parley", "", "a whole node of this program instead of the gateway alone")
	streams := fs.Int("streams", 2000, "at once")
	long := fs.Duration("for", time.Minute, "each")
	gap := fs.Duration("gap", 100*time.Millisecond, "between two pieces")
	late := fs.Duration("late", 100*time.Millisecond, "after that")
	_ = fs.Parse(args)
	all, stop, err := start([]string{"-gap", gap.String()}, *parley)
	if err != nil {
		return err
	}
	defer stop()
	const over = 5 * time.Second
	fmt.Printf("%d streams of %v, a piece every %v, begun over %v\n\n", *streams, *long, *gap, over)
	fmt.Println("| server | whole | failed | pieces | pieces more than " + late.String() + " late | longest gap | CPU us/piece, to plain | memory per stream |\n|---|---|---|---|---|---|---|---|")
	yard := 0.0
	for _, s := range all {
		before, _ := kit.Memory(s.pid)
		r, err := round(s, []string{
			"-stream", "-conc", strconv.Itoa(*streams), "-tokens", strconv.Itoa(int(*long / *gap)), "-secs", strconv.FormatFloat(long.Seconds(), 'f', -1, 64),
			"-over", over.String(), "-stall", (*gap + *late).String(),
		})
		if err != nil {
			return err
		}
		_, peak := kit.Memory(s.pid) // nothing has loaded it before
		costs, memory := "-", "-"
		if s.pid != 0 {
			each := 1e6 * r.cpu / float64(max(r.Chunks, 1))
			if yard == 0 {
				yard = each
			}
			costs, memory = fmt.Sprintf("%.1f, %.2f", each, each/yard), fmt.Sprintf("%.0f KiB", (peak-before)/float64(*streams))
		}
		fmt.Printf("| %s | %d | %d | %d | %d | %.0f ms | %s | %s |\n", s.name, r.OK, r.Failed+r.Cut, r.Chunks, r.Stalls, r.Longest, costs, memory)
	}
	return nil
}
