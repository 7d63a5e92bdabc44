// Package drill breaks a world of regions on purpose while people talk to it,
// and checks that nobody noticed more than a pause. What may live here: the
// people, the faults, and the judgement; the world is internal/world's.
package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/client"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
	"github.com/parleyhq/parley/internal/progress"
	"github.com/parleyhq/parley/internal/world"
)

// Fault is a kind of failure.
type Fault string

// The faults of a drill.
const (
	Kill    Fault = "kill"    // SIGKILL of the region's process
	Pause   Fault = "pause"   // SIGSTOP, and SIGCONT after a while
	Isolate Fault = "isolate" // no word passes between it and the other regions
	Slow    Fault = "slow"    // its ways to the other regions are ten times as long
	Rough   Fault = "rough"   // all ways are twice as long and lose one packet of a hundred: nothing that should move a leader
)

// Faults lists them all.
func Faults() []Fault { return []Fault{Kill, Pause, Isolate, Slow, Rough} }

// Options of a drill.
type Options struct {
	World  *world.World // started; it starts again what dies
	Users  int
	Times  int     // how often something breaks
	Faults []Fault // in turn
	// Hold is how long a region stays paused, isolated or slow, or all ways rough.
	Hold time.Duration
	// Direct lets the users reach the regions by themselves, with the client
	// library and its list of addresses, instead of through the edge.
	Direct bool
	Seed   uint64
	// Enough is closed when nothing more shall be broken: what is broken heals,
	// and the report comes. Nil: never.
	Enough  <-chan struct{}
	Console *progress.Console // nil = silent
	Logger  *slog.Logger      // nil = discard
}

// Drill is one campaign.
type Drill struct {
	opts  Options
	lg    *slog.Logger
	rand  *rand.Rand
	sites []string // regions that serve

	mu     sync.Mutex // guards what follows
	talks  []*talk
	hits   []*hit // of faults that are not over
	faults []FaultReport
	odd    []string // what should never happen, in words

	hitDone chan struct{} // holds one: a hit was healed
}

// hit is somebody who was disturbed by a fault and waits.
type hit struct {
	began time.Time
	what  metric
	moved bool // another region answers
}

// What comes so soon after a fault was on its way when it happened.
const underWay = 250 * time.Millisecond

func (h *hit) over() bool { return h != nil && (h.moved || time.Since(h.began) > underWay) }

type metric int

const (
	token metric = iota // until the next piece of an answer
	acked               // until the next message is acknowledged
)

// New checks the options.
func New(opts Options) (*Drill, error) {
	if opts.World == nil || opts.Users < 1 || opts.Times < 0 || len(opts.Faults) == 0 {
		return nil, errors.New("drill: World, Users and Faults are required")
	}
	if opts.Hold == 0 {
		opts.Hold = 8 * time.Second
	}
	if opts.Console == nil {
		opts.Console = progress.New(progress.Options{})
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Drill{
		opts: opts, lg: opts.Logger.With("part", "drill"), rand: rand.New(rand.NewPCG(opts.Seed, 1)),
		hitDone: make(chan struct{}, 1),
	}
	for name := range opts.World.Addresses() {
		d.sites = append(d.sites, name)
	}
	slices.Sort(d.sites)
	if len(d.sites) < 2 {
		return nil, fault.New(fault.Invalid, "a drill needs two regions that serve users; the other one has to take over")
	}
	return d, nil
}

// Run lets people talk, breaks things, and judges. A report comes with every
// outcome; the error says that the drill itself could not be held.
func (d *Drill) Run(ctx context.Context) (Report, error) {
	if err := d.well(ctx, time.Minute); err != nil {
		return Report{}, err
	}
	talking, enough := context.WithCancel(ctx)
	defer enough()
	var people sync.WaitGroup
	for i := range d.opts.Users {
		people.Go(func() { d.user(ctx, talking, i) })
	}
	for _, site := range d.sites {
		for i := range probers {
			people.Go(func() { d.prober(ctx, talking, site, i) })
		}
	}
	began := time.Now()
	err := d.breakThings(ctx)
	enough()
	people.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Report{}, err
	}
	d.opts.Console.Line("Comparing what every region holds with what the users were told")
	return d.judge(ctx, time.Since(began))
}

// breakThings breaks one region after the other, when all is well.
func (d *Drill) breakThings(ctx context.Context) error {
	if err := pause.For(ctx, warmUp); err != nil {
		return err
	}
	for n := range d.opts.Times {
		if d.enough() {
			return nil
		}
		kind := d.opts.Faults[n%len(d.opts.Faults)]
		site := d.busiest()
		if err := pause.For(ctx, time.Duration(d.rand.Int64N(int64(time.Second)))); err != nil {
			return err
		}
		rep, err := d.inflict(ctx, n, kind, site)
		if err != nil {
			return err
		}
		d.opts.Console.Line("%3d/%d %-8s %-16s %s", n+1, d.opts.Times, kind, site, rep.line())
		if err := d.well(ctx, recovery); err != nil {
			if ctx.Err() != nil {
				return err
			}
			d.strange("after fault %d (%s of %s): %v; nothing more is broken", n+1, kind, site, err)
			return nil
		}
		if err := pause.For(ctx, settle); err != nil {
			return err
		}
	}
	return nil
}

const (
	warmUp   = 3 * time.Second
	settle   = time.Second
	patience = 60 * time.Second // until a disturbed user counts as lost
	recovery = 5 * time.Minute  // until all regions serve again
)

// inflict breaks a region and waits until everybody who was disturbed goes on.
func (d *Drill) inflict(ctx context.Context, n int, kind Fault, site string) (FaultReport, error) {
	w := d.opts.World
	d.mu.Lock()
	d.faults = append(d.faults, FaultReport{N: n + 1, Kind: kind, Region: site, At: time.Now()})
	rep := &d.faults[len(d.faults)-1]
	if kind != Rough { // nobody is cut off
		d.strike(site, rep.At)
	}
	rep.Hit = len(d.hits)
	d.mu.Unlock()
	var heal func() error
	var err error
	switch kind {
	case Kill:
		err = w.Kill(site)
	case Pause:
		err = w.Pause(site)
		heal = func() error { return w.Resume(site) }
	case Isolate:
		w.Isolate(site)
		heal = func() error { w.Heal(site); return nil }
	case Slow:
		w.Slow(site)
		heal = func() error { w.Heal(site); return nil }
	case Rough:
		w.Rough()
		heal = func() error { w.Smooth(); return nil }
	}
	if err != nil {
		return *rep, fmt.Errorf("%s of %s: %w", kind, site, err)
	}
	switch {
	case kind == Isolate:
		d.alone(ctx, site, d.opts.Hold)
	case kind == Rough:
		count := d.elections(ctx, site, d.opts.Hold)
		d.mu.Lock()
		rep.Elections = count
		d.mu.Unlock()
	case heal != nil:
		err = d.hold(ctx)
	}
	if heal != nil {
		err = errors.Join(err, heal())
	}
	if err != nil {
		return *rep, err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		d.mu.Lock()
		left := len(d.hits)
		if left == 0 {
			done := *rep
			d.mu.Unlock()
			return done, nil
		}
		d.mu.Unlock()
		select {
		case <-d.hitDone:
		case <-late.C:
			d.mu.Lock()
			d.hits = nil
			rep.Lost = left
			d.odd = append(d.odd, fmt.Sprintf("fault %d (%s of %s): %d users still wait after %v", n+1, kind, site, left, patience))
			done := *rep
			d.mu.Unlock()
			return done, nil
		case <-ctx.Done():
			return *rep, ctx.Err()
		}
	}
}

func (d *Drill) enough() bool {
	select {
	case <-d.opts.Enough:
		return true
	default:
		return false
	}
}

// hold waits as long as a fault lasts.
func (d *Drill) hold(ctx context.Context) error {
	over := time.NewTimer(d.opts.Hold)
	defer over.Stop()
	select {
	case <-over.C:
	case <-d.opts.Enough:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// strike notes whom a fault of a region disturbs. mu is held.
func (d *Drill) strike(site string, at time.Time) {
	for _, t := range d.talks {
		switch {
		case t.answering == site:
			t.hit = &hit{began: at, what: token}
		case t.prober == site:
			t.hit = &hit{began: at, what: acked}
		default:
			continue
		}
		d.hits = append(d.hits, t.hit)
	}
}

// healed notes that somebody goes on. mu is held.
func (d *Drill) healed(h *hit) {
	if !d.dropped(h) {
		return
	}
	rep := &d.faults[len(d.faults)-1]
	gap := time.Since(h.began)
	if h.what == token {
		rep.Token = append(rep.Token, gap)
	} else {
		rep.Acked = append(rep.Acked, gap)
	}
}

// dropped takes a hit off the list and reports whether it was there. mu is
// held.
func (d *Drill) dropped(h *hit) bool {
	i := slices.Index(d.hits, h)
	if i < 0 {
		return false
	}
	d.hits = slices.Delete(d.hits, i, i+1)
	select {
	case d.hitDone <- struct{}{}:
	default:
	}
	return true
}

// busiest is the region that answers most users.
func (d *Drill) busiest() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	best := d.sites[d.rand.IntN(len(d.sites))]
	present := map[string]int{} // users who are being answered
	for _, t := range d.talks {
		present[t.answering]++
	}
	for _, s := range d.sites {
		if present[s] > present[best] {
			best = s
		}
	}
	return best
}

// alone talks to an isolated region for a while: it must acknowledge nothing
// that it is told from now on.
func (d *Drill) alone(ctx context.Context, site string, hold time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	conv := ""
	d.mu.Lock()
	for _, t := range d.talks {
		if t.prober == site && t.conv != "" {
			conv = t.conv
		}
	}
	d.mu.Unlock()
	if conv == "" {
		return
	}
	c, err := client.New(client.Options{BaseURLs: []string{d.opts.World.Addresses()[site]}, Patience: time.Millisecond})
	if err != nil {
		return
	}
	for n := 0; ctx.Err() == nil; n++ {
		if sent, err := c.Send(ctx, conv, client.Message{Text: fmt.Sprintf("alone %d", n)}); err == nil {
			d.strange("the isolated region %s acknowledged %s", site, sent.ID)
			return
		}
		if pause.For(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

// elections counts for a while how many a region hears of, from the node that
// notices most.
func (d *Drill) elections(ctx context.Context, site string, hold time.Duration) (most uint64) {
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	c, err := client.New(client.Options{BaseURLs: []string{d.opts.World.Addresses()[site]}, Timeout: 5 * time.Second})
	if err != nil {
		d.strange("nobody counted the elections: %v", err)
		return 0
	}
	seen, asked := polls{}, false
	defer func() {
		if asked && len(seen) == 0 {
			d.strange("nobody counted the elections: %s never said how many there were", site)
		}
	}()
	for pause.For(ctx, 500*time.Millisecond) == nil && !d.enough() {
		asked = true
		regions, err := c.Regions(ctx)
		if err != nil {
			continue // the next answer has what this one would have had
		}
		if count := seen.look(regions); count > most {
			most = count
			d.opts.Console.Line("        elections so far: %d", most)
		}
	}
	return most
}

// polls is how many elections each node had noticed when it was first seen.
type polls map[string]uint64

// look returns how many a node has noticed since, at most.
func (p polls) look(regions []client.Region) (most uint64) {
	for _, r := range regions {
		for _, n := range r.Nodes {
			was, known := p[n.Name]
			if n.Alive && (!known || n.Elections < was) { // or it has started again
				p[n.Name], was, known = n.Elections, n.Elections, true
			}
			if known {
				most = max(most, n.Elections-min(was, n.Elections))
			}
		}
	}
	return most
}

// well waits until every region serves and leads the log of its own users.
func (d *Drill) well(ctx context.Context, limit time.Duration) error {
	late := time.Now().Add(limit)
	for {
		why := d.illness(ctx)
		if why == "" {
			return nil
		}
		if time.Now().After(late) {
			return fault.New(fault.Unavailable, "the world is not well after %v: %s", limit, why)
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// illness asks every region how it sees the world; "" = all is well.
func (d *Drill) illness(ctx context.Context) string {
	for site, address := range d.opts.World.Addresses() {
		c, err := client.New(client.Options{BaseURLs: []string{address}, Timeout: 2 * time.Second, Patience: time.Millisecond})
		if err != nil {
			return err.Error()
		}
		regions, err := c.Regions(ctx)
		if err != nil {
			return fmt.Sprintf("%s can't be asked: %v", site, err)
		}
		for _, r := range regions {
			switch {
			case r.Role == "witness" && r.State != client.RegionWitness, r.Role != "witness" && r.State != client.RegionServing:
				return fmt.Sprintf("%s sees %s %s", site, r.Name, r.State)
			case r.Role != "witness" && !slices.Contains(r.Leads, r.Name):
				return fmt.Sprintf("%s sees the log of %s led elsewhere", site, r.Name)
			}
		}
	}
	return ""
}

func (d *Drill) strange(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.odd = append(d.odd, fmt.Sprintf(format, args...))
	d.lg.Error("that should not be", "what", d.odd[len(d.odd)-1])
}

// ParseFaults reads "kill,pause".
func ParseFaults(list string) ([]Fault, error) {
	var out []Fault
	for part := range strings.SplitSeq(list, ",") {
		f := Fault(strings.TrimSpace(part))
		if !slices.Contains(Faults(), f) {
			return nil, fault.New(fault.Invalid, "%q is no fault: kill, pause, isolate, slow or rough, separated by commas", part)
		}
		out = append(out, f)
	}
	return out, nil
}
