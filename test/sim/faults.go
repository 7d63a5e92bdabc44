package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/eventlog/link"
	"github.com/parleyhq/parley/internal/fault"
)

// kind of fault.
type kind string

// The faults. Those of a region come first: one region has at most one of them
// at a time. Those of ways may come on top.
const (
	crash   kind = "crash"   // the node is gone on the spot, and comes back from what was on its disk
	lone    kind = "lone"    // nothing passes between the region and the others, and nobody is told
	sever   kind = "sever"   // all its connections to the others break, and none can be made
	stall   kind = "stall"   // lone, its users hear nothing either, and what it was about to write waits: a process that hangs
	fall    kind = "fall"    // lone for a while, then crash: what it took meanwhile is nowhere else
	part    kind = "part"    // two regions can't reach each other; the others reach both
	mute    kind = "mute"    // what one region says to another one does not arrive; it goes on hearing it
	slow    kind = "slow"    // all ways of a region are several times as long
	drop    kind = "drop"    // the connections between two regions break; new ones can be made at once
	shut    kind = "shut"    // users hear nothing of a region
	hang    kind = "hang"    // users' connections to a region break, once in the middle of whatever they carry
	unheard kind = "unheard" // what users say to a region arrives, its answers don't, and then their connections break
)

func kinds() []kind {
	return []kind{crash, lone, sever, stall, fall, part, mute, slow, drop, shut, hang, unheard}
}

func (k kind) ofRegion() bool { return slices.Contains([]kind{crash, lone, sever, stall, fall}, k) }

// parseKinds reads "crash,lone".
func parseKinds(list string) ([]kind, error) {
	if list == "" {
		return kinds(), nil
	}
	var out []kind
	for name := range strings.SplitSeq(list, ",") {
		k := kind(strings.TrimSpace(name))
		if !slices.Contains(kinds(), k) {
			return nil, fault.New(fault.Invalid, "%q is no fault: take some of %v", name, kinds())
		}
		out = append(out, k)
	}
	return out, nil
}

// misfortune is one fault of a plan.
type misfortune struct {
	n      int // from 1
	at     time.Duration
	kind   kind
	a, b   string // b only where two regions are struck
	hold   time.Duration
	factor int // of slow
}

func (m misfortune) String() string {
	who := m.a
	if m.b != "" {
		who += " " + m.b
	}
	if m.factor > 0 {
		who += fmt.Sprintf(" x%d", m.factor)
	}
	return fmt.Sprintf("%6.2fs %-7s %-12s for %.2fs", m.at.Seconds(), m.kind, who, m.hold.Seconds())
}

const warmUp = 1500 * time.Millisecond

// plan makes faults from a seed, one every so often on average: which, of what,
// when and for how long. It is the part of a run that a seed fixes.
func plan(seed uint64, n int, regions []string, of []kind, every time.Duration) []misfortune {
	r := rand.New(rand.NewPCG(seed, 1))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(r.Int64N(int64(most-least)))
	}
	out := make([]misfortune, 0, n)
	at := warmUp
	for i := range n {
		k := of[r.IntN(len(of))]
		two := r.Perm(len(regions))
		m := misfortune{n: i + 1, at: at, kind: k, a: regions[two[0]], hold: between(500*time.Millisecond, 2500*time.Millisecond)}
		switch k {
		case part, mute:
			m.b = regions[two[1]]
		case drop:
			m.b, m.hold = regions[two[1]], 20*time.Millisecond
		case hang:
			m.hold = 20 * time.Millisecond
		case unheard:
			m.hold = between(20*time.Millisecond, 300*time.Millisecond)
		case slow:
			m.factor = 3 + r.IntN(13)
		case stall: // longer than it takes another region to step in
			m.hold = between(1500*time.Millisecond, 4500*time.Millisecond)
		}
		out = append(out, m)
		at += between(every/5, every*9/5)
	}
	return out
}

// bend does to a way between two regions what the fault does to it.
func (m misfortune) bend(w way, s *link.State) {
	mine := w.from == m.a || w.to == m.a
	switch m.kind {
	case lone, stall, fall:
		s.Hold = s.Hold || mine
	case sever:
		s.Down = s.Down || mine
	case part, drop:
		s.Down = s.Down || mine && (w.from == m.b || w.to == m.b)
	case mute:
		s.HoldTo = s.HoldTo || w == way{m.a, m.b}
		s.HoldBack = s.HoldBack || w == way{m.b, m.a}
	case slow:
		if mine {
			s.RoundTrip *= time.Duration(m.factor)
		}
	}
}

// bar does to the users' way to a region what the fault does to it.
func (m misfortune) bar(region string, s *link.State) {
	if region != m.a {
		return
	}
	switch m.kind {
	case stall, shut:
		s.Hold = true
	case unheard:
		s.HoldBack = true
	case hang:
		s.Down = true
	}
}

// alone reports whether the fault takes all other regions from one.
func (m misfortune) alone() bool { return slices.Contains([]kind{lone, sever, stall, fall}, m.kind) }

// inflict lets a fault happen and be over.
func (w *world) inflict(ctx context.Context, m misfortune) error {
	n := w.nodes[m.a]
	if m.kind.ofRegion() {
		n.one.Lock() // the plan knows how long faults hold, not how long a node takes to start
		defer n.one.Unlock()
	}
	hold := m.hold
	if m.kind == fall {
		hold /= 2
	}
	w.begin(m)
	since := time.Now()
	if m.kind == stall {
		n.pace.stop()
	}
	if m.kind == crash {
		if err := w.crash(n); err != nil {
			return err
		}
	}
	pause(ctx, hold)
	if m.alone() {
		w.h.alone(m.a, since, time.Now())
	}
	if m.kind == fall {
		if err := w.crash(n); err != nil {
			return err
		}
		w.end(m)
		pause(ctx, hold)
	}
	if m.kind == crash || m.kind == fall {
		w.end(m)
		return w.start(ctx, n)
	}
	if m.kind == unheard { // what arrived is done, its answer is lost
		w.doors[m.a].Change(func(s *link.State) { s.Down = true })
	}
	w.end(m)
	if m.kind == stall {
		n.pace.goOn()
	}
	return nil
}

// suffer lets the faults of a plan happen, each when it is due.
func (w *world) suffer(ctx context.Context, all []misfortune, told func(misfortune)) {
	began := time.Now()
	for _, m := range all {
		pause(ctx, m.at-time.Since(began))
		if ctx.Err() != nil {
			break
		}
		told(m)
		w.suffering.Go(func() {
			if err := w.inflict(ctx, m); err != nil && ctx.Err() == nil {
				w.h.strange("fault %d (%v): %v", m.n, m, err)
			}
		})
	}
	w.suffering.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
