package drill

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/client"
)

// Report is what a drill found.
type Report struct {
	Users         int           `json:"users"`
	Regions       []string      `json:"regions"` // that serve
	Through       string        `json:"through"` // "edge" or "client"
	Seconds       float64       `json:"seconds"`
	Conversations int           `json:"conversations"`
	Faults        []FaultReport `json:"faults"`
	Tally
	Strange []string `json:"strange"` // what else should not have happened
}

// FaultReport is one fault and what people felt of it.
type FaultReport struct {
	N      int             `json:"n"`
	Kind   Fault           `json:"kind"`
	Region string          `json:"region"`
	At     time.Time       `json:"at"`
	Hit    int             `json:"hit"`  // people in the middle of something there
	Lost   int             `json:"lost"` // of them, who never went on
	Token  []time.Duration `json:"token_ns"`
	Acked  []time.Duration `json:"acked_ns"`
	// Elections is how many there were in the log's groups while all ways were
	// rough: nobody died, so each is a false one.
	Elections uint64 `json:"elections,omitempty"`
}

func (f FaultReport) line() string {
	if f.Kind == Rough {
		return fmt.Sprintf("false elections: %d", f.Elections)
	}
	return fmt.Sprintf("next token %s (%d), next acknowledgement %s (%d)", longest(f.Token), len(f.Token), longest(f.Acked), len(f.Acked))
}

func longest(all []time.Duration) string {
	if len(all) == 0 {
		return "-"
	}
	return slices.Max(all).Round(10 * time.Millisecond).String()
}

// Good reports whether the promise was kept.
func (r Report) Good() bool {
	return r.Clean() && len(r.Strange) == 0 && r.Answers > 0 && r.elections() == 0
}

func (r Report) elections() (n uint64) {
	for _, f := range r.Faults {
		n += f.Elections
	}
	return n
}

// Quantile of a measure over all faults of a kind; "" = of all.
func (r Report) Quantile(kind Fault, what func(FaultReport) []time.Duration, q float64) (time.Duration, int) {
	var all []time.Duration
	for _, f := range r.Faults {
		if kind == "" || f.Kind == kind {
			all = append(all, what(f)...)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))], len(all)
}

// Text is the report for people.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d users through the %s, %.0f s: %d conversations, %d messages acknowledged, %d answers\n",
		r.Users, r.Through, r.Seconds, r.Conversations, r.Acknowledged, r.Answers)
	for _, kind := range Faults() {
		n := 0
		for _, f := range r.Faults {
			if f.Kind == kind {
				n++
			}
		}
		if n == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s, %d times\n", kind, n)
		if kind == Rough {
			fmt.Fprintf(&b, "  false elections %d\n", r.elections())
			continue
		}
		for _, m := range []struct {
			name string
			of   func(FaultReport) []time.Duration
		}{
			{"until the next token", func(f FaultReport) []time.Duration { return f.Token }},
			{"until the next acknowledgement", func(f FaultReport) []time.Duration { return f.Acked }},
		} {
			p50, count := r.Quantile(kind, m.of, 0.5)
			p95, _ := r.Quantile(kind, m.of, 0.95)
			most, _ := r.Quantile(kind, m.of, 1)
			fmt.Fprintf(&b, "  %-32s p50 %6.2f s   p95 %6.2f s   longest %6.2f s   (%d people)\n", m.name, p50.Seconds(), p95.Seconds(), most.Seconds(), count)
		}
	}
	fmt.Fprintf(&b, "\nacknowledged and lost %d, doubled %d, conversations in another order %d, answers unfinished %d, answers unlike what was shown %d\n",
		r.Lost, r.Doubled, r.Disordered, r.Unfinished, r.Differing)
	for i, s := range r.Strange {
		if i == 20 {
			fmt.Fprintf(&b, "  and %d more\n", len(r.Strange)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", s)
	}
	return b.String()
}

// judge reads every conversation in every region.
func (d *Drill) judge(ctx context.Context, took time.Duration) (Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := Report{
		Users: d.opts.Users, Regions: d.sites, Through: "edge", Seconds: took.Seconds(), Faults: d.faults, Conversations: len(d.talks),
	}
	if d.opts.Direct {
		r.Through = "client"
	}
	all := map[string][]Held{} // by region, as talks
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	for site, address := range d.opts.World.Addresses() {
		wg.Go(func() {
			out, err := read(ctx, address, d.talks)
			mu.Lock()
			defer mu.Unlock()
			all[site] = out
			if err != nil {
				failed = fmt.Errorf("read the conversations in %s: %w", site, err)
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return r, failed
	}
	for i, t := range d.talks {
		held := make([]Held, 0, len(r.Regions))
		for _, site := range r.Regions {
			held = append(held, all[site][i])
		}
		r.Count(t.said, held)
	}
	r.Strange = d.odd
	return r, nil
}

// readers is how many conversations of a region are read at a time.
const readers = 8

func read(ctx context.Context, address string, talks []*talk) ([]Held, error) {
	c, err := client.New(client.Options{BaseURLs: []string{address}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([]Held, len(talks))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(talks); i = next.Add(1) - 1 {
				acts, err := c.Activities(ctx, talks[i].conv)
				if err != nil {
					cancel(err)
					return
				}
				out[i] = Holds(acts)
			}
		})
	}
	wg.Wait()
	return out, context.Cause(ctx)
}
