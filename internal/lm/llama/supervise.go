package llama

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/parleyhq/parley/internal/lm/llama/wire"
)

// Restarts: at once after a child that had served for a while, else after a
// pause that doubles, but stays short while children do get ready: answers
// wait. A child that never got ready failsAfter times, or said itself that it
// can't, makes the engine Failed.
const (
	firstPause  = 50 * time.Millisecond
	servedPause = 400 * time.Millisecond // the longest after a child that served
	lastPause   = 30 * time.Second       // the longest after others
	longEnough  = 5 * time.Second
	failsAfter  = 3
)

// supervise keeps a child running until ctx ends. It keeps its thread, for
// with it the child would die.
func (e *Engine) supervise(ctx context.Context) {
	defer close(e.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause, fails := firstPause, 0
	for ctx.Err() == nil {
		began := time.Now()
		served, pid, err := e.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if served {
			fails = 0
		} else {
			fails++
		}
		var fatal fatalError
		if fails >= failsAfter || !served && errors.As(err, &fatal) {
			e.update(func(s *State) { s.Phase = Failed })
		}
		switch {
		case served && time.Since(began) > longEnough:
			pause = firstPause
		case served:
			pause = min(pause, servedPause)
		}
		e.log.Warn("embedded engine ended", "pid", pid, "error", err, "served", served)
		e.update(func(s *State) { s.Restarts++ })
		if e.o.OnExit != nil {
			e.o.OnExit(Exit{Pid: pid, Err: err, Served: served})
		}
		if served && pause == firstPause {
			pause *= 2
			continue // the first crash: answers wait
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
	e.update(func(s *State) { s.Phase, s.Pid = Stopped, 0 })
}

// fatalError is what the child itself said last.
type fatalError struct{ message string }

func (f fatalError) Error() string { return f.message }

// once runs one child to its end.
func (e *Engine) once(ctx context.Context) (served bool, pid int, err error) {
	c, err := e.spawn()
	if err != nil {
		e.update(func(s *State) { s.Err = err })
		return false, 0, err
	}
	pid = c.cmd.Process.Pid
	e.mu.Lock()
	e.cur = c
	e.state.Pid, e.state.Loaded = pid, 0
	if e.state.Phase != Failed {
		e.state.Phase = Loading
	}
	e.notify()
	e.mu.Unlock()
	err = c.run(ctx)
	e.mu.Lock()
	e.cur = nil
	e.state.Pid = 0
	if e.state.Phase == Ready {
		e.state.Phase = Loading
	}
	e.state.Err = err
	e.notify()
	e.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.served, pid, err
}

func (e *Engine) onReady(c *child, r *wire.Ready) {
	c.mu.Lock()
	c.served = true
	c.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cur != c {
		return
	}
	e.info = r
	e.state.Phase, e.state.Loaded, e.state.Library, e.state.Err = Ready, 1, r.Library, nil
	e.notify()
	e.log.Info("embedded engine is ready", "pid", e.state.Pid, "model", r.Model, "window", r.Window,
		"slots", r.Slots, "threads", r.Threads, "library", r.Library, "took", time.Since(c.began).Round(time.Millisecond))
}

func (e *Engine) update(change func(*State)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.state)
	e.notify()
}

// notify wakes those who wait for a change; mu is held.
func (e *Engine) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// watch pings the child and kills it when it is over a limit.
func (c *child) watch(ctx context.Context) {
	o := &c.e.o
	every := min(time.Second, o.SilenceLimit/4, o.StallLimit/4)
	tick := time.NewTicker(max(every, time.Millisecond))
	defer tick.Stop()
	var steps uint64
	moved := time.Now()
	loaded := float32(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.gone:
			return
		case <-tick.C:
		}
		if silent := time.Since(c.began) - time.Duration(c.alive.Load()); silent > o.SilenceLimit {
			c.kill(fmt.Errorf("engine hangs: no sign of life for %v", silent.Round(time.Millisecond)))
			return
		}
		p, limit := c.pong.Load(), o.StallLimit
		c.mu.Lock()
		served := c.served
		c.mu.Unlock()
		s := c.e.State()
		switch {
		case !served && s.Loaded != loaded:
			loaded, moved = s.Loaded, time.Now()
		case !served:
			limit = o.LoadLimit
		case !p.Busy() || p.Steps != steps:
			steps, moved = p.Steps, time.Now()
		}
		if still := time.Since(moved); still > limit {
			c.kill(fmt.Errorf("engine hangs: no progress for %v", still.Round(time.Millisecond)))
			return
		}
		select {
		case c.out <- outgoing{wire.KindPing, wire.Ping{Seq: c.seq.Add(1)}}:
		default: // its pipe is full: the next tick asks again
		}
	}
}
