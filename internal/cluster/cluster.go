// Package cluster knows who is in the world and who of them is alive, and
// decides who serves the conversations of a region that can't. What may live
// here: the words of membership and the pure decisions made from beats; how
// beats travel is an adapter's.
//
// Nothing here guards the log: two nodes may think for a moment that they
// serve the same region, and the claims in the log let one of them win.
package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Role says what a region is for.
type Role string

// The roles.
const (
	Full    Role = "full"    // serves users, works on turns, holds replicas
	Witness Role = "witness" // holds replicas and votes; no users, no models
)

// Node is one process of the world as it is configured.
type Node struct {
	Name   string
	Region string
	Role   Role
}

// Beat is what a node says of itself, again and again.
type Beat struct {
	Node    string `json:"node"`
	Region  string `json:"region"`
	Role    Role   `json:"role"`
	URL     string `json:"url,omitempty"` // where its users reach it
	Version string `json:"version,omitempty"`
	Ready   bool   `json:"ready"`   // it can take what users say
	Answers bool   `json:"answers"` // it has an engine that works
	Leaving bool   `json:"leaving,omitempty"`
	Turns   int    `json:"turns"` // asked for and not ended, as far as it knows
	Live    int    `json:"live"`  // conversations that somebody reads
	// Elections is how many it has noticed in its log's groups since it started.
	Elections uint64 `json:"elections,omitempty"`
}

// Every is how often a node says a Beat.
const Every = 200 * time.Millisecond

// Options of a View.
type Options struct {
	Self  string // this node's name
	Nodes []Node // all of the world, this one included
	// Homes are the regions that conversations began in, those that are no more
	// included; nil = the regions of Nodes that serve users.
	Homes func() []string
	// Distance is the round trip between two regions; nearer ones step in
	// first. Nil: the order of Nodes.
	Distance func(a, b string) time.Duration
	// Silence after which a node counts as dead; 0 = 1 s.
	Silence time.Duration
	// Return is how long a node must have been heard without a pause before
	// its region serves for itself again; 0 = 2 s.
	Return time.Duration
}

// View is what this node has heard.
type View struct {
	opts Options
	self Node

	mu    sync.Mutex // guards heard
	heard map[string]*heard
}

// heard is the news of a node.
type heard struct {
	beat  Beat
	last  time.Time
	since time.Time // of the first beat after the last pause
}

// New checks the options.
func New(opts Options) (*View, error) {
	if opts.Silence == 0 {
		opts.Silence = time.Second
	}
	if opts.Return == 0 {
		opts.Return = 2 * time.Second
	}
	v := &View{opts: opts, heard: map[string]*heard{}}
	seen := map[string]bool{}
	for _, n := range opts.Nodes {
		if n.Name == "" || n.Region == "" || seen[n.Name] {
			return nil, fmt.Errorf("cluster: node %q of region %q has no name, no region, or a name that is taken", n.Name, n.Region)
		}
		seen[n.Name] = true
		if n.Name == opts.Self {
			v.self = n
		}
	}
	if v.self.Name == "" {
		return nil, errors.New("cluster: this node is not in the list of nodes")
	}
	return v, nil
}

// Hear takes a beat of any node, this one included.
func (v *View) Hear(b Beat, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := v.heard[b.Node]
	if h == nil {
		h = &heard{since: now}
		v.heard[b.Node] = h
	} else if now.Sub(h.last) > v.opts.Silence || !h.beat.Ready && b.Ready {
		h.since = now
	}
	h.beat, h.last = b, now
}

// heardOf reports whether a node was heard lately. mu is held.
func (v *View) heardOf(name string, now time.Time) bool {
	h := v.heard[name]
	return h != nil && now.Sub(h.last) <= v.opts.Silence
}

// alive reports whether a node was heard lately and stays. mu is held.
func (v *View) alive(name string, now time.Time) bool {
	return v.heardOf(name, now) && !v.heard[name].beat.Leaving
}

// Majority reports whether this node hears enough of the world to act for
// others: what it could not store anyway it need not try.
func (v *View) Majority(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.majority(now)
}

func (v *View) majority(now time.Time) bool {
	n := 0
	for _, node := range v.opts.Nodes {
		if node.Name == v.self.Name || v.heardOf(node.Name, now) { // one that leaves still votes
			n++
		}
	}
	return 2*n > len(v.opts.Nodes)
}

// Dead reports whether another node of this world is silent; one that leaves
// still finishes what it has. A node that was never heard is dead too.
func (v *View) Dead(name string, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := v.heard[name]
	return slices.ContainsFunc(v.opts.Nodes, func(n Node) bool { return n.Name == name }) && name != v.self.Name &&
		(h == nil || now.Sub(h.last) > v.opts.Silence)
}

// Homes returns the regions whose turns this node's region works on: its own
// while it can answer, and those of regions that can't and have it as their
// nearest stand-in.
func (v *View) Homes(now time.Time) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.self.Role == Witness {
		return nil
	}
	majority := v.majority(now)
	var out []string
	for _, home := range v.regions() {
		if home == v.self.Region && !majority {
			out = append(out, home) // to find out when it heals
		} else if majority && v.server(home, now) == v.self.Region {
			out = append(out, home)
		}
	}
	return out
}

// server names the region that works on a home's turns. mu is held.
func (v *View) server(home string, now time.Time) string {
	if v.able(home, home, now) {
		return home
	}
	best := ""
	for _, r := range v.regions() {
		if r == home || !v.able(r, home, now) {
			continue
		}
		if best == "" || v.opts.Distance != nil && v.opts.Distance(home, r) < v.opts.Distance(home, best) {
			best = r
		}
	}
	if best == "" {
		return home // nobody can: let it say so itself
	}
	return best
}

// able reports whether a region has a node that can answer. For a region that
// takes its own turns back that must have been so for a while.
func (v *View) able(region, home string, now time.Time) bool {
	return slices.ContainsFunc(v.opts.Nodes, func(n Node) bool {
		h := v.heard[n.Name]
		return n.Region == region && n.Role != Witness && h != nil && v.alive(n.Name, now) && h.beat.Ready && h.beat.Answers &&
			(region != home || v.settled(h, now))
	})
}

// settled reports whether a node was there long enough to be relied on, or as
// long as we ourselves: at the start of the world nobody is.
func (v *View) settled(h *heard, now time.Time) bool {
	self := v.heard[v.self.Name]
	return now.Sub(h.since) >= v.opts.Return || h.beat.Node == v.self.Name ||
		self == nil || now.Sub(self.since) < 2*v.opts.Return
}

// regions lists every region that is home to conversations, in order. mu need
// not be held.
func (v *View) regions() []string {
	if v.opts.Homes != nil {
		return v.opts.Homes()
	}
	var out []string
	for _, n := range v.opts.Nodes {
		if n.Role != Witness && !slices.Contains(out, n.Region) {
			out = append(out, n.Region)
		}
	}
	return out
}

// State is what is known of a node.
type State struct {
	Node
	Alive bool
	Beat  Beat      // the last one
	Last  time.Time // when it came; zero: never
	Since time.Time // of being heard without a pause
}

// States lists every node of the world, by region and name.
func (v *View) States(now time.Time) []State {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]State, 0, len(v.opts.Nodes))
	for _, n := range v.opts.Nodes {
		s := State{Node: n, Alive: v.alive(n.Name, now)}
		if h := v.heard[n.Name]; h != nil {
			s.Beat, s.Last, s.Since = h.beat, h.last, h.since
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Self returns this node.
func (v *View) Self() Node { return v.self }
