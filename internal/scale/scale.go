// Package scale decides how many replicas of an engine there shall be: enough
// that each has about as many requests as it is good at, no more than were
// needed lately, and in time for what is coming. Decide is a function of what
// was measured and of what is allowed: no clock, no process, no state. What
// starts and stops replicas lives in the folders below.
package scale

import (
	"fmt"
	"math"
	"time"
)

// Limits are what somebody wants of a set of replicas. The zero value of all but
// Max is a sensible default; Complete fills them in.
type Limits struct {
	Min, Max int
	// Target is how many requests, running and waiting together, one replica
	// shall have; 0 = 10. A small model server is good at 2.
	Target float64
	// Spare replicas are kept ready beyond what is needed, as long as anything is.
	Spare int
	// Start is how long a replica takes to begin: what is expected by then counts
	// as if it were there. 0: nothing is forecast.
	Start time.Duration
	// Hold is for how long a replica must not have been needed before it is given
	// up; 0 = 5 min.
	Hold time.Duration
	// Idle is how long there must be no request at all before only Min are left;
	// 0 = 5 min.
	Idle time.Duration
}

const (
	usual   = 10
	unhurry = 5 * time.Minute
	// band is how far from Target the load may be before the number changes.
	band = 0.1
	// smooth is the time over which load is averaged: one second of many
	// requests is no reason to start a process.
	smooth = 5 * time.Second
	// look is the least time that a trend is read from; it is longer where
	// replicas start slowly.
	look = time.Minute
	// fewest samples that make a trend.
	fewest = 8
)

// Complete returns l with its defaults.
func (l Limits) Complete() Limits {
	if l.Target == 0 {
		l.Target = usual
	}
	if l.Hold == 0 {
		l.Hold = unhurry
	}
	if l.Idle == 0 {
		l.Idle = unhurry
	}
	return l
}

// Check says what is wrong with l; nil if nothing is.
func (l Limits) Check() error {
	switch {
	case l.Min < 0 || l.Max < 1 || l.Min > l.Max:
		return fmt.Errorf("min %d and max %d: there must be 0 <= min <= max, and max at least 1", l.Min, l.Max)
	case !(l.Target >= 0) || math.IsInf(l.Target, 0):
		return fmt.Errorf("a target of %v requests for a replica: more than 0 are needed", l.Target)
	case l.Spare < 0 || l.Spare >= l.Max:
		return fmt.Errorf("%d spare replicas of at most %d", l.Spare, l.Max)
	case l.Start < 0 || l.Hold < 0 || l.Idle < 0:
		return fmt.Errorf("start %v, hold %v, idle %v: none can be negative", l.Start, l.Hold, l.Idle)
	}
	return nil
}

// Keep is how much of the history Decide looks at.
func (l Limits) Keep() time.Duration {
	l = l.Complete()
	return max(l.Hold, l.Idle, l.window()) + smooth
}

func (l Limits) window() time.Duration { return max(look, 3*l.Start) }

// Sample is what was measured since the sample before.
type Sample struct {
	At       time.Time
	Load     float64 // requests running and waiting, on average
	Replicas int     // that were wanted
}

// Why says what a decision comes from.
type Why string

// The reasons. A new one is a new label of a metric.
const (
	Load     Why = "load"     // as many as there are requests for
	Forecast Why = "forecast" // as many as there will be requests for when a new one has started
	Steady   Why = "steady"   // near enough to the target
	Held     Why = "held"     // fewer would do now, but not for long enough
	Idle     Why = "idle"     // nobody has asked for a while
	Least    Why = "min"      // the limit
	Most     Why = "max"      // the limit: more were needed
)

// Decision is how many replicas there shall be.
type Decision struct {
	Replicas int
	Why      Why
	Load     float64 // requests, averaged over the last seconds
	Expected float64 // requests when a replica that starts now is ready; never less than Load
}

// Decide says how many replicas there shall be from now on. history is in the
// order of time and ends now; what is older than Keep makes no difference.
//
// The number is ceil(load / Target), as Kubernetes' HorizontalPodAutoscaler,
// KEDA and Azure Container Apps have it for a metric with an average value. Like
// the first it does nothing within 10 % of the target, and gives up only what
// was not needed for Hold (stabilizationWindowSeconds of scaleDown: 300 s); like
// the others it goes to nothing after Idle (cooldownPeriod: 300 s), and from
// nothing to one at the first request. docs/scaling.md has the sources. What it
// adds is the forecast.
func Decide(history []Sample, l Limits) Decision {
	l = l.Complete()
	if len(history) == 0 {
		return Decision{Replicas: l.Min, Why: Least}
	}
	now := history[len(history)-1]
	d := Decision{Load: mean(after(history, now.At.Add(-smooth)))}
	d.Expected = d.Load
	if l.Start > 0 {
		d.Expected = expect(after(history, now.At.Add(-l.window())), d.Load, l)
	}
	have := now.Replicas
	up, down := need(d.Expected, l.Target, l.Spare), keep(history, l)
	switch {
	case need(d.Expected, l.Target*(1+band), l.Spare) > have:
		d.Replicas, d.Why = up, Load
		if need(d.Load, l.Target, l.Spare) < up {
			d.Why = Forecast
		}
	case quiet(history, l.Idle):
		d.Replicas, d.Why = 0, Idle
	case down < have:
		d.Replicas, d.Why = down, Load
	case up < have:
		d.Replicas, d.Why = have, Held
	default:
		d.Replicas, d.Why = have, Steady
	}
	return l.within(d)
}

// within keeps the limits.
func (l Limits) within(d Decision) Decision {
	switch {
	case d.Replicas > l.Max:
		d.Replicas, d.Why = l.Max, Most
	case d.Replicas < l.Min:
		d.Replicas, d.Why = l.Min, Least
	}
	return d
}

// need is how many replicas a load takes: none for none, else the spare ones
// too.
func need(load, target float64, spare int) int {
	if !(load > 0) {
		return 0
	}
	return int(math.Min(math.Ceil(load/target), 1<<20)) + spare
}

// keep is how many were needed at some time in Hold, with room to spare: what
// is given up must not be missed at once. The last one stays.
func keep(history []Sample, l Limits) int {
	now := history[len(history)-1].At
	from := now.Add(-l.Hold)
	history = after(history, from.Add(-smooth))
	most, sum, first := 0.0, 0.0, 0
	for i, s := range history {
		for sum += s.Load; s.At.Sub(history[first].At) >= smooth; first++ {
			sum -= history[first].Load
		}
		if s.At.After(from) {
			most = math.Max(most, sum/float64(i-first+1))
		}
	}
	if most < 1e-9 { // what adding and taking away has left
		return 1
	}
	return need(most, l.Target*(1-band), l.Spare)
}

// quiet reports whether there was no request for all of d.
func quiet(history []Sample, d time.Duration) bool {
	from := history[len(history)-1].At.Add(-d)
	if history[0].At.After(from) {
		return history[len(history)-1].Replicas == 0 && mean(history) == 0
	}
	return mean(after(history, from)) == 0
}

// after is the part of the history behind t.
func after(history []Sample, t time.Time) []Sample {
	for i := len(history) - 1; i >= 0; i-- {
		if !history[i].At.After(t) {
			return history[i+1:]
		}
	}
	return history
}

func mean(s []Sample) float64 {
	sum := 0.0
	for _, x := range s {
		sum += math.Max(0, x.Load)
	}
	return sum / math.Max(1, float64(len(s)))
}

// expect is the load when a replica that starts now is ready: a straight line
// through the last minutes, as far as it surely rises. Of the line's slope two
// standard errors are taken off, so that noise is no trend, and what is
// expected is twice the present load at most. A falling line says nothing: to
// give up replicas early saves little.
func expect(s []Sample, load float64, l Limits) float64 {
	n := float64(len(s))
	if len(s) < fewest || s[len(s)-1].At.Sub(s[0].At) < min(l.Start, look/2) {
		return load
	}
	base := s[0].At
	var x, y float64
	for _, p := range s {
		x += p.At.Sub(base).Seconds() / n
		y += p.Load / n
	}
	var xx, xy, yy float64
	for _, p := range s {
		dx, dy := p.At.Sub(base).Seconds()-x, p.Load-y
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	if xx == 0 {
		return load
	}
	slope := xy / xx
	unsure := math.Sqrt(math.Max(0, yy-slope*xy) / (n - 2) / xx)
	rise := math.Max(0, slope-2*unsure) * l.Start.Seconds()
	return load + math.Min(rise, load)
}
