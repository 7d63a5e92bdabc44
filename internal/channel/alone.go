package channel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

const (
	aloneEvery = 3 * time.Second  // between two signs of life
	aloneLife  = 10 * time.Second // after so long without one another node takes over
	aloneDead  = 4 * time.Second  // after so long if the node is silent altogether
	aloneLook  = time.Second      // between two looks of those who wait
)

// claim is what the one at work keeps among the values. An empty one is free.
type claim struct {
	By     string `json:"by,omitempty"`
	Node   string `json:"node,omitempty"`
	Region string `json:"region,omitempty"`
	Count  uint64 `json:"count,omitempty"` // makes each sign of life another value
}

// Alone runs do on one node of all that call it with this name, on another one
// soon after that dies, and returns when ctx ends. do ends when its own context
// does. It spares work and is no lock: a node that is cut off may be at it for
// some seconds beside the next one, and what do does has to bear that.
//
// How long a sign of life is ago each node measures for itself, from when it
// first saw it: clocks that differ change nothing.
func (d *Desk) Alone(ctx context.Context, name string, do func(context.Context)) error {
	if d.opts.Values == nil {
		return errors.New("channel: Alone needs Values")
	}
	a := &alone{values: d.opts.Values, key: d.aloneKey(name), mine: claim{By: rand.Text()[:12], Node: d.opts.Node, Region: d.opts.Region}, dead: d.opts.Dead}
	for {
		if a.got(ctx) {
			a.hold(ctx, do)
		}
		if err := pause.For(ctx, aloneLook); err != nil {
			return err
		}
	}
}

// AloneAt returns the region of the node that is at what Alone is called with
// this name, "" if none is.
func (d *Desk) AloneAt(ctx context.Context, name string) (region string, err error) {
	value, _, err := d.opts.Values.Load(ctx, d.aloneKey(name))
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	var c claim
	if err == nil {
		err = json.Unmarshal(value, &c)
	}
	return c.Region, err
}

func (d *Desk) aloneKey(name string) string { return "alone." + d.opts.Name + "." + name }

type alone struct {
	values Values
	key    string
	mine   claim
	dead   func(node string) bool // nil = nobody knows

	seen  []byte    // the newest sign of life of somebody else
	since time.Time // when it was first seen
}

// write puts the next sign of life in the place of what has a revision; 0 =
// there is nothing yet.
func (a *alone) write(ctx context.Context, c claim, revision uint64) bool {
	b, err := json.Marshal(c)
	if err != nil {
		return false
	}
	if revision == 0 {
		return a.values.Create(ctx, a.key, b) == nil
	}
	return a.values.Replace(ctx, a.key, b, revision) == nil
}

// got reports whether it is this node's turn from now on.
func (a *alone) got(ctx context.Context) bool {
	value, revision, err := a.values.Load(ctx, a.key)
	if fault.Is(err, fault.NotFound) {
		return a.write(ctx, a.mine, 0)
	}
	if err != nil {
		return false
	}
	var c claim
	free := json.Unmarshal(value, &c) != nil || c.By == ""
	if !bytes.Equal(value, a.seen) {
		a.seen, a.since = value, time.Now()
	}
	life := aloneLife
	if a.dead != nil && c.Node != "" && a.dead(c.Node) {
		life = aloneDead
	}
	return (free || time.Since(a.since) > life) && a.write(ctx, a.mine, revision)
}

// hold runs do until it ends or this node can't say any more that it lives.
func (a *alone) hold(ctx context.Context, do func(context.Context)) {
	run, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(run)
	}()
	for last := time.Now(); run.Err() == nil && time.Since(last) < aloneLife; {
		select {
		case <-done:
			cancel()
		case <-run.Done():
		case <-time.After(aloneEvery):
			began := time.Now()
			try, end := context.WithTimeout(run, aloneEvery)
			switch mine, ok := a.renew(try); {
			case !mine:
				cancel()
			case ok:
				last = began
			}
			end()
		}
	}
	cancel()
	<-done
	a.release(ctx)
}

// renew gives a sign of life. mine is false when somebody else gave one.
func (a *alone) renew(ctx context.Context) (mine, ok bool) {
	revision, err := a.held(ctx)
	if err != nil {
		return !fault.Is(err, fault.Conflict), false
	}
	a.mine.Count++
	return true, a.write(ctx, a.mine, revision)
}

// held returns the revision of this node's own sign of life, or Conflict.
func (a *alone) held(ctx context.Context) (uint64, error) {
	value, revision, err := a.values.Load(ctx, a.key)
	var c claim
	if err == nil && (json.Unmarshal(value, &c) != nil || c.By != a.mine.By) {
		err = fault.New(fault.Conflict, "somebody else is at it")
	}
	return revision, err
}

// release lets the next one begin at once, if there is time for that.
func (a *alone) release(ctx context.Context) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), aloneEvery)
	defer cancel()
	if revision, err := a.held(late); err == nil {
		a.write(late, claim{}, revision)
	}
}
