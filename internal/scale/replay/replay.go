// Package replay plays traffic against policies of package scale, without a
// machine and without a clock: what replicas there would have been, how long
// people would have waited for the first word, what it would have cost. Traffic
// was recorded, or is generated from a shape and a seed; the engines are a
// handful of numbers. Everything that it says is simulated and must say so.
package replay

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/scale"
)

// Request is one of the traffic's.
type Request struct {
	At     time.Duration // since the beginning
	Prompt int           // tokens to read
	Answer int           // tokens to write
}

// Engine is what a replica is like.
type Engine struct {
	Slots   int           // answers at once; more wait outside
	Starts  time.Duration // from the decision until it takes requests
	First   time.Duration // to the first token, beside reading the prompt
	Prefill float64       // tokens of a prompt read in a second; 0 = no time
	Decode  float64       // tokens of an answer written in a second, when it is the only one
	// Batch is what a further answer in the same replica costs the others: with 0
	// nothing, with 1 they share its speed.
	Batch float64
	// Cores is how many replicas at work the machine drives at full speed; more
	// share it. 0: each has a machine of its own.
	Cores int
}

// Check says what is wrong with e.
func (e Engine) Check() error {
	good := func(x float64) bool { return x >= 0 && !math.IsInf(x, 0) }
	switch {
	case e.Slots < 1 || e.Slots > 4096:
		return fmt.Errorf("%d slots: 1 to 4096 are possible", e.Slots)
	case e.Starts < 0 || e.First < 0 || e.Starts > 24*time.Hour || e.First > time.Hour:
		return fmt.Errorf("it starts in %v and begins in %v: neither can be negative or that long", e.Starts, e.First)
	case !good(e.Prefill) || !good(e.Decode) || e.Decode < 0.01:
		return fmt.Errorf("%v tokens read and %v written in a second: at least 0 and 0.01", e.Prefill, e.Decode)
	case !good(e.Batch) || e.Batch > 1:
		return fmt.Errorf("batch %v: 0 to 1", e.Batch)
	case e.Cores < 0:
		return fmt.Errorf("%d cores", e.Cores)
	}
	return nil
}

// Policy is a way to scale, with a name to call it by.
type Policy struct {
	Name string
	scale.Limits
}

// Fixed is n replicas at any time.
func Fixed(n int) Policy {
	return Policy{fmt.Sprintf("fixed %d", n), scale.Limits{Min: n, Max: n}}
}

// ParsePolicy reads "NAME: max=4 target=2 idle=5m". The words are those of the
// configuration; forecast=off looks at nothing but the present. starts is how
// long a replica takes.
func ParsePolicy(text string, starts time.Duration) (Policy, error) {
	name, rest, ok := strings.Cut(text, ":")
	p := Policy{Name: strings.TrimSpace(name), Limits: scale.Limits{Start: starts}}
	if !ok || p.Name == "" || len(p.Name) > 60 {
		return p, fmt.Errorf("the policy %q has no name: write \"NAME: max=4 target=2\"", text)
	}
	for word := range strings.FieldsSeq(rest) {
		key, value, _ := strings.Cut(word, "=")
		if err := p.set(key, value); err != nil {
			return p, fmt.Errorf("the policy %q: %w", p.Name, err)
		}
	}
	if err := p.Check(); err != nil {
		return p, fmt.Errorf("the policy %q: %w", p.Name, err)
	}
	return p, nil
}

func (p *Policy) set(key, value string) (err error) {
	switch key {
	case "min":
		p.Min, err = strconv.Atoi(value)
	case "max":
		p.Max, err = strconv.Atoi(value)
	case "fixed":
		p.Min, err = strconv.Atoi(value)
		p.Max = p.Min
	case "spare":
		p.Spare, err = strconv.Atoi(value)
	case "target":
		p.Target, err = strconv.ParseFloat(value, 64)
	case "hold":
		p.Hold, err = time.ParseDuration(value)
	case "idle":
		p.Idle, err = time.ParseDuration(value)
	case "forecast":
		if value != "on" && value != "off" {
			return fmt.Errorf("forecast=%s: on or off", value)
		}
		if value == "off" {
			p.Start = 0
		}
	default:
		return fmt.Errorf("there is no %q: min, max, fixed, target, spare, hold, idle and forecast are known", key)
	}
	if err != nil {
		return fmt.Errorf("%s=%s is not a value for it", key, value)
	}
	if p.Max > 1000 {
		return fmt.Errorf("%s=%s: at most 1000 replicas", key, value)
	}
	return nil
}

// Point is what a stretch of time was like.
type Point struct {
	At       time.Duration // its end
	Load     float64       // requests running and waiting, on average
	Replicas float64       // starting, serving and draining, on average
	P50, P95 float64       // seconds to the first token, of the requests that came; NaN if none did
	Cost     float64       // so far
}

// Run is what became of traffic under a policy.
type Run struct {
	Policy   string
	Measured bool // it happened; else it is simulated
	Points   []Point

	Requests      int     // that began to be answered
	Waiting       int     // others, at the end
	P50, P95, P99 float64 // seconds to the first token
	Cold          int     // requests that waited while a replica started
	Longest       float64 // seconds to the first token
	Starts        int     // of replicas
	Most          int     // replicas at once
	Hours         float64 // of replicas, from the decision to the end of the process
	Cost          float64
}

// Summary fills in what follows from the times to the first token.
func (r *Run) Summary(first []float64) {
	sorted := slices.Sorted(slices.Values(first))
	r.Requests = len(sorted)
	r.P50, r.P95, r.P99 = Share(sorted, 0.5), Share(sorted, 0.95), Share(sorted, 0.99)
	if len(sorted) > 0 {
		r.Longest = sorted[len(sorted)-1]
	}
}

// Share is the value below which that share of the sorted values lies; NaN of
// none.
func Share(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}
