package balance

import (
	"math"
	"time"
)

// Outlook is what a request may expect that comes now.
type Outlook struct {
	Down bool // no replica is well, and none is about to be tried
	Forecast
}

// Forecast is when a request will begin that waits. It is a guess from how long
// answers take: fairness, long prompts and whoever is quicker move it.
type Forecast struct {
	Place      int           // 1: it is the next; 0: it does not wait
	Soon, Late time.Duration // four of five begin between these; Late 0: nothing is known
}

// Back is when it makes sense to ask again, for one that can wait for so long.
func (f Forecast) Back(within time.Duration) time.Duration {
	if f.Late == 0 {
		return min(max(f.Soon, 5*time.Second), 10*time.Minute).Round(time.Second) // nothing is known
	}
	return min(max((f.Soon+f.Late)/2-within, time.Second), 10*time.Minute).Round(time.Second)
}

const (
	knownFrom = 3    // answers, before a forecast is made of how long they took
	fourFifth = 1.28 // standard deviations to either side
)

// Outlook looks ahead for a request that would come now.
func (p *Pool) Outlook(now time.Time) Outlook {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := Outlook{Down: true}
	free := false
	for _, r := range p.replicas {
		if !now.Before(r.until) || r.outs == 0 {
			o.Down = false // one that refuses has much to do, which is another matter
		}
		free = free || r.room(now) >= 1
	}
	if !free || len(p.line) > 0 {
		o.Forecast = p.forecast(now, len(p.line)+1)
	}
	return o
}

// Forecast looks ahead for a request that has entered.
func (p *Pool) Forecast(now time.Time, t *Ticket) Forecast {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.line {
		if other == t {
			return p.forecast(now, i+1)
		}
	}
	return Forecast{}
}

// forecast is for who has this place in the line. Slots become free at random, at
// a rate that is measured; the time until so many have is then distributed by
// gamma, whose quantiles are taken after Wilson and Hilferty.
func (p *Pool) forecast(now time.Time, place int) Forecast {
	f := Forecast{Place: place}
	rate, back := 0.0, math.Inf(1)
	for _, r := range p.replicas {
		switch {
		case now.Before(r.until):
			back = math.Min(back, r.until.Sub(now).Seconds())
		case r.inflight > 0:
			// Where answers differ much, those in flight are as old as a whole one
			// takes; far older ones say that it has become slow.
			took := math.Max(r.took(now, p.service.or(1)), r.age(now)/2)
			rate += float64(r.inflight) / math.Max(took, 1e-3)
		}
	}
	switch {
	case rate > 0 && p.service.n >= knownFrom:
		n := float64(place)
		quantile := func(z float64) time.Duration {
			x := 1 - 1/(9*n) + z/(3*math.Sqrt(n))
			return limited(n * x * x * x / rate)
		}
		f.Soon, f.Late = quantile(-fourFifth), quantile(fourFifth)
	case rate == 0 && !math.IsInf(back, 1): // all are out: nothing begins before the first may be asked again
		f.Soon = limited(back)
	}
	return f
}

// limited is a duration of so many seconds, an hour at most.
func limited(s float64) time.Duration {
	return time.Duration(math.Min(math.Max(s, 0), 3600) * float64(time.Second))
}
