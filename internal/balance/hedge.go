package balance

import (
	"math"
	"slices"
	"time"
)

// delays are how long answers took to begin lately, without the reading of their
// prompts.
type delays struct {
	last [256]float64
	n    int
}

func (d *delays) add(x float64) {
	d.last[d.n%len(d.last)] = x
	d.n++
}

const delaysLeast = 32 // before a percentile is believed

// at is the delay that so many of a hundred don't exceed.
func (d *delays) at(percentile float64) (seconds float64, known bool) {
	if d.n < delaysLeast {
		return 0, false
	}
	all := slices.Clone(d.last[:min(d.n, len(d.last))])
	slices.Sort(all)
	return all[min(int(percentile/100*float64(len(all))), len(all)-1)], true
}

// Late is how long after it was granted a request is slower to begin than so many
// of a hundred; 0: not enough is known.
func (p *Pool) Late(t *Ticket, percentile float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, known := p.late.at(percentile)
	if !known || t.at == nil || t.ask.Batch {
		return 0
	}
	return max(limited(s+p.cost.of()*float64(t.unknown)), time.Millisecond)
}

// Hedge lets a request that is late to begin go to a second replica too, if one is
// idle, nobody waits, and no more than this share of the requests have done so
// lately. The first one stays. Nil: no.
func (p *Pool) Hedge(now time.Time, first *Ticket, share float64) *Ticket {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first.at == nil || first.over || first.ask.Batch || len(p.line) > 0 || float64(p.hedged+1) > share*float64(p.granted) {
		return nil
	}
	t := &Ticket{ask: first.ask, ready: make(chan struct{}), entered: now, hedge: true}
	p.appraise(t)
	x := p.price(now)
	best, cheapest := -1, math.Inf(1)
	for i, r := range p.replicas {
		if r == first.at || x.room[i] < 1 || r.outs > 0 || !r.fits(t) {
			continue
		}
		if c := x.of(t, i, r, false); c < cheapest {
			best, cheapest = i, c
		}
	}
	if best < 0 {
		return nil
	}
	p.hedged++
	p.grant(now, t, best)
	return t
}

// counted keeps the books of Hedge: what was long ago counts for less.
func (p *Pool) counted(t *Ticket) {
	if t.hedge || t.ask.Batch {
		return
	}
	if p.granted++; p.granted >= 4096 {
		p.granted /= 2
		p.hedged /= 2
	}
}
