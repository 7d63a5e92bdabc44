package replay

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/parleyhq/parley/internal/scale"
)

// Options of Play.
type Options struct {
	Engine Engine
	Price  float64 // of a replica for an hour
	Points int     // that a Run has; 0 = 288
	// For is how long it goes on; 0 = until the last request's answer, and a
	// replica more than Min would have gone.
	For time.Duration
}

const tick = time.Second // between two decisions

// Play plays the traffic, which is in the order of time, under one policy.
func Play(ctx context.Context, traffic []Request, p Policy, o Options) (Run, error) {
	if err := errors.Join(o.Engine.Check(), p.Check()); err != nil {
		return Run{}, err
	}
	if o.Points == 0 {
		o.Points = 288
	}
	if o.For == 0 && len(traffic) > 0 {
		o.For = traffic[len(traffic)-1].At + p.Keep() + 10*time.Minute
	}
	w := &world{o: o, p: p, want: p.Min, epoch: time.Unix(0, 0).UTC(), run: Run{Policy: p.Name}}
	for range p.Min {
		w.start(0) // those that are always there have started before
	}
	w.run.Starts = 0
	if err := w.play(ctx, traffic); err != nil {
		return Run{}, err
	}
	w.run.Summary(w.firsts)
	w.run.Waiting = len(traffic) - len(w.firsts)
	w.run.Hours = w.billed / 3600
	w.run.Cost = w.run.Hours * o.Price
	return w.run, nil
}

// world is a simulation under way. Times are seconds since the beginning.
type world struct {
	o     Options
	p     Policy
	epoch time.Time
	now   float64

	replicas []*replica
	waiting  []*answer
	want     int
	history  []scale.Sample

	load, replicated float64 // integrals since the last sample and point
	loadPoint        float64
	billed           float64
	firsts, since    []float64 // seconds to the first token: all, and since the last point
	run              Run
}

type replica struct {
	ready    float64
	draining bool
	running  []*answer
	done     float64 // seconds of work that each of its answers has had since it started
}

type answer struct {
	came         float64
	first, work  float64 // seconds of undisturbed work to the first token, and in all
	begins, ends float64 // by the replica's done
	began        bool
	cold         bool
}

func (w *world) answer(r Request) *answer {
	e := w.o.Engine
	a := &answer{came: r.At.Seconds(), first: e.First.Seconds() + 1/e.Decode}
	if e.Prefill > 0 {
		a.first += float64(r.Prompt) / e.Prefill
	}
	a.work = a.first + float64(max(0, r.Answer-1))/e.Decode
	return a
}

func (w *world) play(ctx context.Context, traffic []Request) error {
	end := w.o.For.Seconds()
	point := end / float64(w.o.Points)
	nextTick, nextPoint, came := tick.Seconds(), point, 0
	for w.now < end {
		next := min(nextTick, nextPoint, end, w.milestone())
		if came < len(traffic) {
			next = min(next, traffic[came].At.Seconds())
		}
		w.advance(math.Max(next, w.now))
		for came < len(traffic) && traffic[came].At.Seconds() <= w.now {
			w.waiting = append(w.waiting, w.answer(traffic[came]))
			came++
		}
		w.serve()
		if w.now >= nextTick {
			if err := ctx.Err(); err != nil {
				return err
			}
			w.sample(tick.Seconds())
			w.decide()
			nextTick += tick.Seconds()
		}
		if len(w.waiting) > 0 && w.want == 0 { // as on a machine: nobody waits for the second to be over
			w.want = 1
			w.fill()
		}
		if w.now >= nextPoint {
			w.point(point)
			nextPoint += point
		}
	}
	return nil
}

// speed is how fast the answers of a replica go, beside one that is alone.
func (w *world) speed(r *replica, busy int) float64 {
	s := 1 / (1 + w.o.Engine.Batch*float64(len(r.running)-1))
	if c := w.o.Engine.Cores; c > 0 && busy > c {
		s *= float64(c) / float64(busy)
	}
	return s
}

func (w *world) busy() (n int) {
	for _, r := range w.replicas {
		if len(r.running) > 0 {
			n++
		}
	}
	return n
}

// milestone is when the next replica is ready, or an answer begins or ends.
func (w *world) milestone() float64 {
	next, busy := math.Inf(1), w.busy()
	for _, r := range w.replicas {
		if r.ready > w.now {
			next = min(next, r.ready)
		}
		for _, a := range r.running {
			until := a.ends
			if !a.began {
				until = a.begins
			}
			next = min(next, w.now+math.Max(0, until-r.done)/w.speed(r, busy))
		}
	}
	return next
}

const hair = 1e-9 // of a second: what sums of fractions are off by

// advance lets time go by, in which nothing happens before its end.
func (w *world) advance(to float64) {
	d, busy, load := to-w.now, w.busy(), len(w.waiting)
	for _, r := range w.replicas {
		load += len(r.running)
		if len(r.running) > 0 {
			r.done += d * w.speed(r, busy)
		}
	}
	w.load += d * float64(load)
	w.loadPoint += d * float64(load)
	w.replicated += d * float64(len(w.replicas))
	w.billed += d * float64(len(w.replicas))
	w.now = to
	for _, r := range w.replicas {
		for _, a := range r.running {
			if !a.began && r.done >= a.begins-hair {
				a.began = true
				w.firsts = append(w.firsts, w.now-a.came)
				w.since = append(w.since, w.now-a.came)
				if a.cold {
					w.run.Cold++
				}
			}
		}
		r.running = slices.DeleteFunc(r.running, func(a *answer) bool { return a.began && r.done >= a.ends-hair })
	}
	w.replicas = slices.DeleteFunc(w.replicas, func(r *replica) bool { return r.draining && len(r.running) == 0 })
}

// serve gives those that wait to the replicas that have fewest.
func (w *world) serve() {
	for len(w.waiting) > 0 {
		var best *replica
		for _, r := range w.replicas {
			if r.ready <= w.now && !r.draining && len(r.running) < w.o.Engine.Slots && (best == nil || len(r.running) < len(best.running)) {
				best = r
			}
		}
		if best == nil {
			starting := slices.ContainsFunc(w.replicas, func(r *replica) bool { return r.ready > w.now })
			for _, a := range w.waiting {
				a.cold = a.cold || starting || len(w.replicas) == 0
			}
			return
		}
		a := w.waiting[0]
		w.waiting = w.waiting[1:]
		a.begins, a.ends = best.done+a.first, best.done+a.work
		best.running = append(best.running, a)
	}
}

func (w *world) sample(seconds float64) {
	at := w.epoch.Add(time.Duration(w.now * float64(time.Second)))
	w.history = append(w.history, scale.Sample{At: at, Load: w.load / seconds, Replicas: w.want})
	w.load = 0
	if most := 2*int(w.p.Keep()/tick) + 2; len(w.history) > most {
		w.history = append(w.history[:0], w.history[len(w.history)/2:]...)
	}
}

func (w *world) decide() {
	w.want = scale.Decide(w.history, w.p.Limits).Replicas
	w.fill()
	w.empty()
}

func (w *world) living() (n int) {
	for _, r := range w.replicas {
		if !r.draining {
			n++
		}
	}
	return n
}

func (w *world) start(ready float64) {
	w.replicas = append(w.replicas, &replica{ready: ready})
	w.run.Starts++
	w.run.Most = max(w.run.Most, len(w.replicas))
}

// fill takes back what was to go, and starts what is missing.
func (w *world) fill() {
	missing := w.want - w.living()
	for _, r := range w.replicas {
		if missing > 0 && r.draining {
			r.draining = false
			missing--
		}
	}
	for ; missing > 0; missing-- {
		w.start(w.now + w.o.Engine.Starts.Seconds())
	}
	w.serve()
}

// empty lets go of what is too many: first those that have least to do.
func (w *world) empty() {
	for too := w.living() - w.want; too > 0; too-- {
		var least *replica
		for _, r := range w.replicas {
			if !r.draining && (least == nil || r.ready > w.now && least.ready <= w.now || len(r.running) < len(least.running)) {
				least = r
			}
		}
		least.draining = true
	}
}

func (w *world) point(seconds float64) {
	slices.Sort(w.since)
	w.run.Points = append(w.run.Points, Point{
		At: time.Duration(w.now * float64(time.Second)), Load: w.loadPoint / seconds, Replicas: w.replicated / seconds,
		P50: Share(w.since, 0.5), P95: Share(w.since, 0.95), Cost: w.billed / 3600 * w.o.Price,
	})
	w.since, w.loadPoint, w.replicated = w.since[:0], 0, 0
}
