package cli

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/scale"
	"github.com/parleyhq/parley/internal/scale/replay"
)

func scaleCommand() *command {
	return &command{
		name: "scale", short: "find out how many engines traffic takes",
		long: "Engines of kind process, and embedded ones with scale, are started and stopped as they are needed (docs/scaling.md).",
		subs: []*command{scaleSimulateCommand()},
	}
}

func scaleSimulateCommand() *command {
	return &command{
		name: "simulate", short: "play traffic against policies, simulated, and draw what would have been", args: "[FILE]",
		long: "FILE is traffic that was recorded: CSV with the columns at, prompt and answer, or JSON objects with these names, one a line; at is a time (RFC 3339) or seconds, prompt and answer are tokens. Without it, traffic is generated from --shape and --seed. " +
			"The policies decide as a node does. The engines are the numbers that you give, and nothing else: take them from a measurement (docs/benchmarks/scale.md says how). Whatever comes out is simulated, and says so.\n" +
			"Shapes: " + shapes(),
		examples: []example{
			{"parley scale simulate --draw day.svg", "a working day against four policies"},
			{"parley scale simulate --shape bursts --peak 5 --starts 40s --price 1.2", "slow starts, and what a replica costs in an hour"},
			{"parley scale simulate last-monday.csv --policy 'ours: max=4 target=2' --policy 'always 2: fixed=2'", "your own day"},
		},
		setup: func(fs *flag.FlagSet) action {
			s := simulation{}
			s.bind(fs)
			return s.run
		},
	}
}

func shapes() string {
	var all []string
	for _, s := range replay.Shapes() {
		all = append(all, s.Name+" ("+s.What+")")
	}
	return strings.Join(all, "; ") + "."
}

// simulation is the command's flags.
type simulation struct {
	traffic  replay.Generate
	engine   replay.Engine
	policies []string
	max      int
	price    float64
	draw     string
	json     bool
}

func (s *simulation) bind(fs *flag.FlagSet) {
	fs.StringVar(&s.traffic.Shape, "shape", "office", "how generated traffic comes and goes: a `NAME`")
	fs.Float64Var(&s.traffic.Peak, "peak", 1.5, "requests in a second at its peak: a `NUMBER`")
	fs.DurationVar(&s.traffic.For, "for", 24*time.Hour, "how long it goes on: a `DURATION`")
	fs.IntVar(&s.traffic.Prompt, "prompt", 400, "`TOKENS` of its prompts, on average")
	fs.IntVar(&s.traffic.Answer, "answer", 150, "`TOKENS` of its answers, on average")
	fs.Uint64Var(&s.traffic.Seed, "seed", 1, "a `NUMBER`: the same one makes the same traffic")
	fs.IntVar(&s.engine.Slots, "slots", 4, "answers at once of a replica: a `NUMBER`")
	fs.DurationVar(&s.engine.Starts, "starts", 10*time.Second, "how long a replica takes to start: a `DURATION`")
	fs.DurationVar(&s.engine.First, "first", 20*time.Millisecond, "how long it takes to the first token, beside reading the prompt: a `DURATION`")
	fs.Float64Var(&s.engine.Prefill, "prefill", 1000, "tokens of a prompt that it reads in a second: a `NUMBER`")
	fs.Float64Var(&s.engine.Decode, "decode", 40, "tokens of an answer that it writes in a second when there is no other: a `NUMBER`")
	fs.Float64Var(&s.engine.Batch, "batch", 0.15, "what a further answer costs those in the same replica: a `NUMBER`, 0 nothing, 1 they share its speed")
	fs.IntVar(&s.engine.Cores, "cores", 0, "replicas that the machine drives at full speed, a `NUMBER`: more share it; 0: each has its own machine")
	fs.Func("policy", "a policy to play, `'NAME: max=4 target=2 hold=5m'`, any number of times; with min, max, fixed, target, spare, hold, idle, forecast=off. Without any: four that differ in one thing", func(v string) error {
		s.policies = append(s.policies, v)
		return nil
	})
	fs.IntVar(&s.max, "max", 6, "most replicas of these four: a `NUMBER`")
	fs.Float64Var(&s.price, "price", 0, "what a replica costs in an hour, in whatever money: a `NUMBER`")
	fs.StringVar(&s.draw, "draw", "", "draw replicas, requests, waiting and cost into this `FILE` (.svg or .html)")
	fs.BoolVar(&s.json, "json", false, "write JSON, with the points of the drawing")
}

// requests are those to be played, and what they are.
func (s *simulation) requests(args []string) (traffic []replay.Request, what string, err error) {
	switch len(args) {
	case 0:
		if traffic, err = s.traffic.Traffic(); err != nil {
			return nil, "", usagef("%v", err)
		}
		return traffic, fmt.Sprintf("generated: %s, %g requests/s at the peak, seed %d", s.traffic.Shape, s.traffic.Peak, s.traffic.Seed), nil
	case 1:
		f, err := os.Open(args[0])
		if err != nil {
			return nil, "", err
		}
		defer func() { _ = f.Close() }()
		traffic, err = replay.Read(args[0], f)
		return traffic, "recorded: " + filepath.Base(args[0]), err
	}
	return nil, "", usagef("one file at most, not %d", len(args))
}

func (s *simulation) chosen() (all []replay.Policy, err error) {
	for _, text := range s.policies {
		p, err := replay.ParsePolicy(text, s.engine.Starts)
		if err != nil {
			return nil, usagef("%v", err)
		}
		all = append(all, p)
	}
	if len(all) > 0 {
		return all, nil
	}
	if s.max < 1 || s.max > 1000 {
		return nil, usagef("--max %d: 1 to 1000 are possible", s.max)
	}
	l := scale.Limits{Max: s.max, Target: float64(s.engine.Slots), Start: s.engine.Starts}
	warm, present := l, l
	warm.Min = 1
	present.Start = 0
	return []replay.Policy{replay.Fixed(s.max), {Name: "one always there", Limits: warm}, {Name: "down to zero", Limits: l}, {Name: "down to zero, no forecast", Limits: present}}, nil
}

func (s *simulation) run(ctx context.Context, t *terminal, args []string) error {
	if ext := filepath.Ext(s.draw); s.draw != "" && ext != ".svg" && ext != ".html" {
		return usagef("--draw %s: a name that ends in .svg or .html", s.draw)
	}
	policies, err := s.chosen()
	if err != nil {
		return err
	}
	traffic, what, err := s.requests(args)
	if err != nil {
		return err
	}
	length := s.traffic.For
	if len(args) > 0 {
		length = traffic[len(traffic)-1].At + 15*time.Minute
	}
	var runs []replay.Run
	for _, p := range policies {
		r, err := replay.Play(ctx, traffic, p, replay.Options{Engine: s.engine, Price: s.price, For: length})
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	title := fmt.Sprintf("%d requests in %s", len(traffic), length.Round(time.Minute))
	if s.draw != "" {
		if err := s.save(title, what, runs); err != nil {
			return err
		}
	}
	if s.json {
		e := engineJSON{s.engine.Slots, s.engine.Starts.Seconds(), s.engine.First.Seconds(), s.engine.Prefill, s.engine.Decode, s.engine.Batch, s.engine.Cores}
		return t.json(simulated{true, what, len(traffic), e, jsonRuns(runs)})
	}
	t.printf("Simulated: %s (%s).\n\n", title, what)
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POLICY\tFIRST TOKEN P50\tP95\tLONGEST\tBEHIND A START\tREPLICA HOURS\tSTARTS\tMOST\tCOST")
	for _, r := range runs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%.2f\t%d\t%d\t%.2f\n", r.Policy, replay.Seconds(r.P50), replay.Seconds(r.P95), replay.Seconds(r.Longest), r.Cold, r.Hours, r.Starts, r.Most, r.Cost)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	for _, r := range runs {
		if r.Waiting > 0 {
			t.say("%s: %d requests have no answer yet at the end: there are too few replicas.", r.Policy, r.Waiting)
		}
	}
	if s.draw != "" {
		t.say("Drawn into %s.", s.draw)
	}
	return nil
}

// save writes the drawing; a page is the drawing in a page.
func (s *simulation) save(title, what string, runs []replay.Run) error {
	out := replay.Draw(title, what, runs)
	if filepath.Ext(s.draw) == ".html" {
		out = "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Simulated</title>\n<body style=\"margin:0;background:#fff\">\n" + out
	}
	if err := atomicfile.Write(s.draw, []byte(out), 0o644); err != nil {
		return fmt.Errorf("write the drawing: %w", err)
	}
	return nil
}

// What follows is the JSON of a simulation.

type simulated struct {
	Simulated bool        `json:"simulated"` // always true
	Traffic   string      `json:"traffic"`
	Requests  int         `json:"requests"`
	Engine    engineJSON  `json:"engine"`
	Policies  []policyRun `json:"policies"`
}

type engineJSON struct {
	Slots   int     `json:"slots"`
	Starts  float64 `json:"starts_seconds"`
	First   float64 `json:"first_seconds"`
	Prefill float64 `json:"prefill_tokens_per_second"`
	Decode  float64 `json:"decode_tokens_per_second"`
	Batch   float64 `json:"batch"`
	Cores   int     `json:"cores"`
}

type policyRun struct {
	Name    string      `json:"name"`
	P50     *float64    `json:"first_token_p50_seconds"`
	P95     *float64    `json:"first_token_p95_seconds"`
	Longest float64     `json:"first_token_longest_seconds"`
	Cold    int         `json:"behind_a_start"`
	Waiting int         `json:"without_an_answer"`
	Hours   float64     `json:"replica_hours"`
	Starts  int         `json:"starts"`
	Most    int         `json:"most"`
	Cost    float64     `json:"cost"`
	Points  []pointJSON `json:"points"`
}

type pointJSON struct {
	At       float64  `json:"at_seconds"`
	Load     float64  `json:"load"`
	Replicas float64  `json:"replicas"`
	P50      *float64 `json:"first_token_p50_seconds"` // null where nobody asked
	P95      *float64 `json:"first_token_p95_seconds"`
	Cost     float64  `json:"cost"`
}

func jsonRuns(runs []replay.Run) (out []policyRun) {
	for _, r := range runs {
		p := policyRun{Name: r.Policy, P50: number(r.P50), P95: number(r.P95), Longest: r.Longest, Cold: r.Cold, Waiting: r.Waiting, Hours: r.Hours, Starts: r.Starts, Most: r.Most, Cost: r.Cost}
		for _, x := range r.Points {
			p.Points = append(p.Points, pointJSON{x.At.Seconds(), x.Load, x.Replicas, number(x.P50), number(x.P95), x.Cost})
		}
		out = append(out, p)
	}
	return out
}

// number is null where there is none.
func number(v float64) *float64 {
	if math.IsNaN(v) {
		return nil
	}
	return &v
}
