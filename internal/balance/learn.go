package balance

import (
	"math"
	"time"
)

// average is an exponentially weighted mean whose first samples count evenly.
type average struct {
	mean float64
	n    int
}

func (a *average) add(x, alpha float64) {
	a.n = min(a.n+1, 1<<20)
	a.mean += math.Max(alpha, 1/float64(a.n)) * (x - a.mean)
}

func (a *average) or(x float64) float64 {
	if a.n == 0 {
		return x
	}
	return a.mean
}

// slope learns how y grows with x, by least squares over the recent past.
type slope struct {
	guess float64 // before the first sample
	least float64 // x is thought to be as much at the least
	sure  float64 // samples times the variance of x: half sure

	x, y, xx, xy float64
	n            int
}

func (s *slope) add(x, y float64) {
	s.n = min(s.n+1, 1<<20)
	a := math.Max(0.01, 1/float64(s.n))
	dx, dy := x-s.x, y-s.y
	s.x += a * dx
	s.y += a * dy
	s.xx = (1 - a) * (s.xx + a*dx*dx)
	s.xy = (1 - a) * (s.xy + a*dx*dy)
}

// ofReading is for the seconds that a byte of a prompt takes to be read: some ten
// thousand tokens in one, as long as nothing is known.
func ofReading() slope { return slope{guess: 20e-6, least: 512, sure: 16 * 256 * 256} }

// ofCompany is for the seconds that an answer takes longer for each that its
// replica has beside it.
func ofCompany() slope { return slope{least: 1, sure: 16} }

// of is the slope. Where all samples are alike, as when every conversation stays
// where it is known, they tell nothing: then it leans to what it is at the most,
// as if all the time went into x. A guess that is too low would send
// conversations about, and only that would teach it better.
func (s *slope) of() float64 {
	if s.n == 0 {
		return s.guess
	}
	return s.towards(s.y / math.Max(s.x, s.least))
}

// shown is the slope where it leans to none instead.
func (s *slope) shown() float64 { return s.towards(0) }

func (s *slope) towards(x float64) float64 {
	n := float64(min(s.n, 100))
	return math.Max(0, (n*s.xy+s.sure*x)/(n*s.xx+s.sure))
}

// tide is what a number was over the recent past, for as long as it was that.
type tide struct {
	mean float64
	at   time.Time
}

const remembered = 20 * time.Second // after which of what was a third still counts

// now returns the mean; x is what the number has been since the last call.
func (t *tide) now(at time.Time, x float64) float64 {
	if d := at.Sub(t.at); t.at.IsZero() {
		t.mean, t.at = x, at
	} else if d > 0 {
		t.mean += (1 - math.Exp(-float64(d)/float64(remembered))) * (x - t.mean)
		t.at = at
	}
	return t.mean
}
