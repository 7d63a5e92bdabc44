package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/conversation"
	"github.com/parleyhq/parley/internal/event"
)

// campaign is one world, from its start to its judgement.
type campaign struct {
	seed    uint64
	faults  int
	regions int
	kinds   []kind        // nil = all
	every   time.Duration // a fault, on average
	groups  []group
	dir     string // empty; everything of the world lies below
	lg      *slog.Logger
	told    func(misfortune) // hears of every fault as it begins
}

const (
	patience = 90 * time.Second // until a world in which nothing is broken any more is well
	ending   = time.Minute      // until every turn has ended then, and what was deleted is erased
)

func regionNames(n int) []string { return []string{"north", "east", "south", "west", "middle"}[:n] }

// run lets people talk while the faults of the seed happen, and judges. The
// error says that the campaign itself could not be held.
func (c campaign) run(ctx context.Context) (map[flaw]*verdict, error) {
	h, f := newHistory(), newFlaws()
	names := regionNames(c.regions)
	of := c.kinds
	if of == nil {
		of = kinds()
	}
	w, err := newWorld(ctx, c.dir, names, h, f, c.lg)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.open(ctx); err != nil {
		return nil, err
	}
	if err := w.until(ctx, patience); err != nil {
		return nil, err
	}
	var people, watchers sync.WaitGroup
	talking, enough := context.WithCancel(ctx)
	defer enough()
	watching, away := context.WithCancel(ctx)
	defer away()
	for _, g := range c.groups {
		if err := w.settleIn(ctx, talking, watching, g, c.seed, &people, &watchers); err != nil {
			return nil, err
		}
	}
	w.suffer(ctx, plan(c.seed, c.faults, names, of, c.every), c.told)
	healed := time.Now()
	if err := w.until(ctx, patience); err != nil && ctx.Err() == nil {
		h.strange("after the last fault: %v", err)
	}
	c.lg.Info("the world is well again", "after", time.Since(healed))
	enough()
	people.Wait()
	c.lg.Info("everybody has finished", "after", time.Since(healed))
	logs, err := w.books(ctx)
	away()
	watchers.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("read the logs: %w", err)
	}
	return h.judge(ctx, logs), nil
}

// books reads the log of every region, when all turns have ended or will not.
func (w *world) books(ctx context.Context) (books, error) {
	for late := time.Now().Add(ending); ; {
		out, err := w.readAll(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil && (alike(out) && w.settled(out) || time.Now().After(late)) {
			return out, nil
		}
		if err != nil && time.Now().After(late.Add(ending)) {
			return nil, err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

func (w *world) readAll(ctx context.Context) (books, error) {
	out := books{}
	for _, name := range w.names {
		out[name] = map[string][]event.Entry{}
		w.mu.Lock()
		log := w.nodes[name].log
		w.mu.Unlock()
		for _, conv := range w.h.conversations() {
			var all []event.Entry
			if err := log.Read(ctx, conv, 0, func(e event.Entry) error { all = append(all, e); return nil }); err != nil {
				return nil, fmt.Errorf("%s in %s: %w", conv, name, err)
			}
			out[name][conv] = all
		}
	}
	return out, nil
}

// alike reports whether all regions have as many entries of everything.
func alike(b books) bool {
	var first map[string][]event.Entry
	for _, all := range b {
		if first == nil {
			first = all
		}
		for conv, log := range all {
			if len(log) != len(first[conv]) {
				return false
			}
		}
	}
	return true
}

// settled reports whether no answer is being written and nothing is still to be
// erased.
func (w *world) settled(b books) bool {
	for conv, log := range b[w.names[0]] {
		if w.h.gone(conv) {
			if left(log) > 0 {
				return false
			}
			continue
		}
		st := conversation.New(conv)
		for _, e := range log {
			st.Apply(e)
		}
		if slices.ContainsFunc(st.Turns(), func(t *conversation.Turn) bool { return !t.State.Final() }) {
			return false
		}
	}
	return true
}

// rounds holds campaigns with consecutive seeds, each in a directory of its
// own that is removed unless something was found.
func rounds(ctx context.Context, c campaign, faults, each int, done func(seed uint64, faults int, took time.Duration, v map[flaw]*verdict)) error {
	for left := faults; left > 0 && ctx.Err() == nil; left -= each {
		dir, err := os.MkdirTemp(c.dir, fmt.Sprintf("seed-%d-", c.seed))
		if err != nil {
			return err
		}
		one := c
		one.dir, one.faults = dir, min(each, left)
		began := time.Now()
		v, err := one.run(ctx)
		if err != nil {
			return fmt.Errorf("seed %d: %w", c.seed, err)
		}
		done(c.seed, one.faults, time.Since(began), v)
		if len(findings(v)) == 0 {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		c.seed++
	}
	return ctx.Err()
}

func findings(v map[flaw]*verdict) []finding {
	var out []finding
	for _, f := range append([]flaw{sound}, allFlaws()...) {
		if v[f] != nil {
			out = append(out, v[f].Findings...)
		}
	}
	return out
}
