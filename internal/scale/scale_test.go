package scale_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/scale"
)

// run decides once a second while load says what there is, and returns all
// decisions.
func run(l scale.Limits, seconds int, load func(second int) float64) []scale.Decision {
	var history []scale.Sample
	var all []scale.Decision
	at, have := time.Unix(1_800_000_000, 0), l.Min
	for s := range seconds {
		history = append(history, scale.Sample{At: at.Add(time.Duration(s) * time.Second), Load: load(s), Replicas: have})
		d := scale.Decide(history, l)
		have = d.Replicas
		all = append(all, d)
	}
	return all
}

func changes(all []scale.Decision) (n int) {
	for i := 1; i < len(all); i++ {
		if all[i].Replicas != all[i-1].Replicas {
			n++
		}
	}
	return n
}

func TestFollowsTheLoad(t *testing.T) {
	l := scale.Limits{Max: 5, Target: 2, Hold: time.Minute, Idle: 2 * time.Minute}
	all := run(l, 900, func(s int) float64 {
		switch {
		case s < 10:
			return 0
		case s < 300:
			return 1
		case s < 400:
			return 7
		case s < 500:
			return 20
		case s < 600:
			return 3
		}
		return 0
	})
	for _, tc := range []struct {
		second, want int
		why          scale.Why
	}{
		{5, 0, scale.Idle},
		{10, 1, scale.Load}, // at the first request
		{200, 1, scale.Steady},
		{310, 4, scale.Steady},
		{420, 5, scale.Most},
		{540, 5, scale.Held}, // until it was not needed for a minute
		{580, 2, scale.Steady},
		{640, 2, scale.Held},
		{670, 1, scale.Held}, // the last one stays until nobody has asked for two minutes
		{730, 0, scale.Idle},
	} {
		if d := all[tc.second]; d.Replicas != tc.want || d.Why != tc.why {
			t.Errorf("second %d: %d (%s), want %d (%s)", tc.second, d.Replicas, d.Why, tc.want, tc.why)
		}
	}
}

func TestSpareAndMin(t *testing.T) {
	l := scale.Limits{Min: 1, Max: 6, Target: 2, Spare: 1, Hold: 10 * time.Second, Idle: 20 * time.Second}
	all := run(l, 200, func(s int) float64 {
		if s >= 50 && s < 100 {
			return 3
		}
		return 0
	})
	for second, want := range map[int]int{40: 1, 60: 3, 99: 3, 199: 1} {
		if all[second].Replicas != want {
			t.Errorf("second %d: %d (%s), want %d", second, all[second].Replicas, all[second].Why, want)
		}
	}
}

// A rise that goes on is met before it is there, by as much as a start takes.
func TestForecastLeadsARamp(t *testing.T) {
	ramp := func(s int) float64 { return float64(s) / 10 } // one more every ten seconds
	first := func(l scale.Limits, n int) int {
		for s, d := range run(l, 600, ramp) {
			if d.Replicas >= n {
				return s
			}
		}
		return math.MaxInt
	}
	l := scale.Limits{Max: 20, Target: 4}
	plain := first(l, 8)
	l.Start = 20 * time.Second
	ahead := first(l, 8)
	if lead := plain - ahead; lead < 12 || lead > 30 {
		t.Errorf("8 replicas after %d s, without a forecast after %d s: %d s sooner, want about 20", ahead, plain, lead)
	}
}

// What only wavers must not start and stop processes.
func TestDoesNotFlap(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		level := 1 + 20*r.Float64()
		l := scale.Limits{Max: 50, Target: 4, Hold: 2 * time.Minute, Start: 10 * time.Second}
		all := run(l, 1800, func(int) float64 { return math.Max(0, level*(1+0.15*r.NormFloat64())) })
		if n := changes(all[120:]); n > 3 {
			t.Errorf("seed %d: %d changes in 28 minutes at a load of about %.1f", seed, n, level)
		}
		if most := math.Ceil(level*1.35/4) + 1; float64(all[len(all)-1].Replicas) > most {
			t.Errorf("seed %d: %d replicas for a load of %.1f", seed, all[len(all)-1].Replicas, level)
		}
	}
}

// random makes limits and a history that Decide may meet, however odd.
func random(r *rand.Rand) ([]scale.Sample, scale.Limits) {
	l := scale.Limits{Min: r.IntN(4), Target: 0.5 + 20*r.Float64(), Start: time.Duration(r.IntN(60)) * time.Second}
	l.Max = l.Min + 1 + r.IntN(20)
	l.Spare = r.IntN(min(3, l.Max))
	l.Hold, l.Idle = time.Duration(r.IntN(300))*time.Second, time.Duration(r.IntN(300))*time.Second
	at := time.Unix(1_800_000_000, 0)
	level := 50 * r.Float64()
	var history []scale.Sample
	for range 1 + r.IntN(400) {
		at = at.Add(time.Duration(1+r.IntN(3)) * time.Second)
		if r.IntN(20) == 0 {
			level = 50 * r.Float64()
		}
		if r.IntN(60) == 0 {
			level = 0
		}
		history = append(history, scale.Sample{At: at, Load: level * r.Float64(), Replicas: r.IntN(l.Max + 1)})
	}
	return history, l
}

func TestProperties(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		history, l := random(r)
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		d := scale.Decide(history, l)
		switch last := &history[len(history)-1]; {
		case d.Replicas < l.Min || d.Replicas > l.Max:
			t.Fatalf("seed %d: %d replicas outside %d..%d", seed, d.Replicas, l.Min, l.Max)
		case d.Expected < d.Load || d.Expected > 2*d.Load:
			t.Fatalf("seed %d: %v expected of a load of %v", seed, d.Expected, d.Load)
		case last.Load > 0 && d.Replicas == 0:
			t.Fatalf("seed %d: nobody for a request", seed)
		}
		if again := scale.Decide(history, l); again != d {
			t.Fatalf("seed %d: %+v, and then %+v", seed, d, again)
		}
		if cut := history[len(history)-1].At.Add(-l.Keep()); history[0].At.Before(cut) {
			i := 0
			for history[i].At.Before(cut) {
				i++
			}
			if short := scale.Decide(history[max(0, i-1):], l); short.Replicas != d.Replicas {
				t.Fatalf("seed %d: %+v, without what is older than Keep %+v", seed, d, short)
			}
		}
		// More load all along, or more room, never makes it less.
		more := append([]scale.Sample(nil), history...)
		for i := range more {
			more[i].Load *= 1.5
		}
		if m := scale.Decide(more, l); m.Replicas < d.Replicas {
			t.Fatalf("seed %d: %+v, with half as much load again %+v", seed, d, m)
		}
		wider := l
		wider.Max += 5
		if m := scale.Decide(history, wider); m.Replicas < d.Replicas {
			t.Fatalf("seed %d: %+v, with a higher max %+v", seed, d, m)
		}
		// Nor does one more request now.
		history[len(history)-1].Load += 1 + 20*r.Float64()
		if m := scale.Decide(history, l); m.Replicas < d.Replicas {
			t.Fatalf("seed %d: %+v, with more requests now %+v", seed, d, m)
		}
	}
}

func TestAbsurdNumbers(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	l := scale.Limits{Max: 3}
	for _, load := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -5, 1e300} {
		var history []scale.Sample
		for i := range 30 {
			history = append(history, scale.Sample{At: at.Add(time.Duration(i) * time.Second), Load: load, Replicas: 1})
		}
		if d := scale.Decide(history, l); d.Replicas < 0 || d.Replicas > 3 {
			t.Errorf("load %v: %+v", load, d)
		}
		// A clock that goes back.
		history[15].At = at.Add(-time.Hour)
		if d := scale.Decide(history, l); d.Replicas < 0 || d.Replicas > 3 {
			t.Errorf("load %v with a clock that jumps: %+v", load, d)
		}
	}
	for _, bad := range []scale.Limits{{}, {Min: 2, Max: 1}, {Min: -1, Max: 1}, {Max: 1, Target: -1}, {Max: 1, Target: math.NaN()}, {Max: 2, Spare: 2}, {Max: 1, Hold: -1}} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
