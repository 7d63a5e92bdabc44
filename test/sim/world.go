package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/eventlog/link"
)

// world is several regions in this process: a whole node for each, and between
// any two of them, and between each of them and its users, links that can be
// bent.
type world struct {
	dir   string
	lg    *slog.Logger
	h     *history
	flaws *flaws
	names []string
	nodes map[string]*node
	doors map[string]*link.Link // the users' ways to regions

	mu      sync.Mutex // guards what follows, and a node's fields
	links   map[way]*link.Link
	trouble map[int]misfortune // what is going on

	suffering sync.WaitGroup
	burying   sync.WaitGroup // of what crashed
}

// way leads from a region that dials to the one it dials.
type way struct{ from, to string }

// node is a region's node, over all its lives.
type node struct {
	name string
	one  sync.Mutex // held by the fault of a region
	pace *pace

	// Guarded by world.mu.
	lives   int
	dir     string // of this life
	address string // where it listens to the others in this life
	dead    bool
	app     *app.App
	log     *eventlog.Log
}

const (
	near       = 10 * time.Millisecond // the round trip between two regions
	startLimit = time.Minute
	closing    = 20 * time.Second
)

func newWorld(ctx context.Context, dir string, names []string, h *history, f *flaws, lg *slog.Logger) (*world, error) {
	w := &world{
		dir: dir, lg: lg, h: h, flaws: f, names: names, nodes: map[string]*node{}, doors: map[string]*link.Link{},
		links: map[way]*link.Link{}, trouble: map[int]misfortune{},
	}
	for _, name := range names {
		address, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		w.nodes[name] = &node{name: name, pace: newPace(), dir: filepath.Join(dir, name, "1"), address: address, dead: true}
		if w.doors[name], err = link.Open(ctx, nowhere, link.State{Down: true}); err != nil {
			return nil, err
		}
	}
	for _, from := range names {
		for _, to := range names {
			if from == to {
				continue
			}
			l, err := link.Open(ctx, w.nodes[to].address, link.State{Down: true})
			if err != nil {
				return nil, err
			}
			w.links[way{from, to}] = l
		}
	}
	return w, nil
}

// nowhere is where a door leads while there is nobody behind it.
const nowhere = "127.0.0.1:1"

func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// open starts all nodes; none is ready before there is a majority.
func (w *world) open(ctx context.Context) error {
	errs := make([]error, len(w.names))
	var all sync.WaitGroup
	for i, name := range w.names {
		all.Go(func() { errs[i] = w.start(ctx, w.nodes[name]) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// close ends everything.
func (w *world) close() {
	var all sync.WaitGroup
	for _, n := range w.nodes {
		w.mu.Lock()
		a := n.app
		n.app = nil
		w.mu.Unlock()
		if a != nil {
			all.Go(func() { w.halt(a) })
		}
	}
	all.Wait()
	w.burying.Wait()
	for _, l := range w.links {
		_ = l.Close()
	}
	for _, l := range w.doors {
		_ = l.Close()
	}
}

// halt stops a node without patience for what it is doing.
func (w *world) halt(a *app.App) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Stop(ctx); err != nil {
		w.lg.Debug("a node stopped", "err", err)
	}
}

// begin and end change all links to how they shall be with a fault, or without.
func (w *world) begin(m misfortune) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble[m.n] = m
	w.settle()
}

func (w *world) end(m misfortune) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.trouble, m.n)
	w.settle()
}

// settle makes every link what the faults of the moment want. mu is held.
func (w *world) settle() {
	for road, l := range w.links {
		s := link.State{RoundTrip: near}
		for _, m := range w.trouble {
			m.bend(road, &s)
		}
		s.Down = s.Down || w.nodes[road.from].dead || w.nodes[road.to].dead
		l.Change(func(was *link.State) { *was = s })
	}
	for name, l := range w.doors {
		s := link.State{RoundTrip: time.Millisecond, Down: w.nodes[name].dead}
		for _, m := range w.trouble {
			m.bar(name, &s)
		}
		l.Change(func(was *link.State) { *was = s })
	}
}

// start starts a node, again and again as whoever runs it would.
func (w *world) start(ctx context.Context, n *node) error {
	for late := time.Now().Add(startLimit); ; {
		err := w.try(ctx, n)
		if err == nil || ctx.Err() != nil {
			return err
		}
		w.lg.Info("a node does not start yet", "node", n.name, "err", err)
		if time.Now().After(late) {
			return fmt.Errorf("%s did not start within %v: %w", n.name, startLimit, err)
		}
		pause(ctx, 200*time.Millisecond)
	}
}

func (w *world) try(ctx context.Context, n *node) error {
	if err := w.place(ctx, n); err != nil {
		return err
	}
	file := filepath.Join(n.dir, "parley.yaml")
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(w.file(n)), 0o600); err != nil {
		return err
	}
	cfg, err := config.Load(config.Input{Path: file, Environ: []string{"HOME=" + n.dir}, Flags: map[string]string{"engine": "demo"}})
	if err != nil {
		return fmt.Errorf("configuration of %s: %w", n.name, err)
	}
	var log *eventlog.Log
	a, err := app.New(app.Options{
		Config: cfg, Version: "sim", Logger: w.lg.With("node", n.name), Environ: []string{},
		Log: func(l *eventlog.Log) chat.Log { log = l; return w.flaws.log(l, n.name, n.pace) },
	})
	if err != nil {
		return err
	}
	if err := a.Start(ctx); err != nil {
		w.mu.Lock()
		n.dead = true
		w.settle()
		w.mu.Unlock()
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.app, n.log = a, log
	w.doors[n.name].Lead(a.Addr())
	return nil
}

// place gives a node's next life an address and ways of its own: what is left
// of the last one must reach nobody.
func (w *world) place(ctx context.Context, n *node) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.lives++; n.lives > 1 {
		var err error
		if n.address, err = freePort(ctx); err != nil {
			return err
		}
	}
	n.dead = false
	for _, other := range w.names {
		if other == n.name {
			continue
		}
		w.links[way{other, n.name}].Lead(n.address)
		if n.lives > 1 {
			out, err := link.Open(ctx, w.nodes[other].address, link.State{Down: true})
			if err != nil {
				return err
			}
			old := w.links[way{n.name, other}]
			w.burying.Go(func() { _ = old.Close() })
			w.links[way{n.name, other}] = out
		}
	}
	w.doors[n.name].Lead(nowhere)
	w.settle()
	return nil
}

// file is a node's configuration.
func (w *world) file(n *node) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "listen: 127.0.0.1:0\ndata: %q\nregion: %s\nheartbeat: 1s\nnodes:\n", n.dir, n.name)
	for _, other := range w.names {
		address := n.address
		if other != n.name {
			address = w.links[way{n.name, other}].Addr()
		}
		fmt.Fprintf(&b, "  - {name: %s, region: %s, address: %q, url: %q}\n", other, other, address, "http://"+w.doors[other].Addr())
	}
	// Nodes also dial what others tell them, and nobody shall go round the links.
	fmt.Fprintf(&b, "cluster:\n  listen: %s\n  advertise: 127.0.0.1:%d\n  round_trip: %s\n", n.address, 1+slices.Index(w.names, n.name), near)
	return b.String()
}

// crash ends a node's life. Its links are cut first, so that the others see
// what they see of a process that is gone, and its next life begins with the
// files of that moment, not with what a stop in good order leaves. The store is
// not among them: it can't be copied while it is written, and is made again
// from the log.
func (w *world) crash(n *node) error {
	w.mu.Lock()
	a, old := n.app, n.dir
	n.app, n.dead = nil, true
	w.settle()
	next := filepath.Join(w.dir, n.name, fmt.Sprint(n.lives+1))
	w.mu.Unlock()
	if a == nil {
		return errors.New("the node was not up")
	}
	err := copyTree(filepath.Join(next, "log"), filepath.Join(old, "log"))
	if err == nil {
		err = copyFile(filepath.Join(next, "cookie-secret"), filepath.Join(old, "cookie-secret"))
	}
	w.mu.Lock()
	n.dir = next
	w.mu.Unlock()
	w.burying.Go(func() {
		w.halt(a)
		_ = os.RemoveAll(old)
	})
	if err != nil {
		return fmt.Errorf("copy what the disk of %s holds: %w", n.name, err)
	}
	return nil
}

// well reports why the world is not, "" if it is: every node serves, and the
// log of each region can be written.
func (w *world) illness(ctx context.Context) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.names {
		n := w.nodes[name]
		if n.app == nil {
			return name + " is down"
		}
		if err := n.log.Health(ctx); err != nil {
			return fmt.Sprintf("%s: %v", name, err)
		}
		for _, s := range n.log.State().Streams {
			if !s.Quorum {
				return fmt.Sprintf("%s sees nobody lead the log of %s", name, s.Home)
			}
		}
	}
	return ""
}

func (w *world) until(ctx context.Context, limit time.Duration) error {
	for late := time.Now().Add(limit); ; {
		why := w.illness(ctx)
		switch {
		case why == "" || ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(late):
			return fmt.Errorf("the world is not well after %v: %s", limit, why)
		}
		pause(ctx, 50*time.Millisecond)
	}
}
