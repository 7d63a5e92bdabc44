// Package world runs several regions on one machine: a process for each, links
// between them with the delays of a map, and the edge in front. The processes,
// their logs and their elections are the real ones; only the distances are
// simulated. What may live here: starting, watching and ending those
// processes.
package world

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/edge"
	"github.com/parleyhq/parley/internal/edge/front"
	"github.com/parleyhq/parley/internal/eventlog/link"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/loopback"
	"github.com/parleyhq/parley/internal/progress"
)

// Region is one of the world.
type Region struct {
	Name    string
	Witness bool // votes, serves nobody
}

var nameForm = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// Parse reads "japaneast:witness,koreacentral,southeastasia".
func Parse(list string) ([]Region, error) {
	var (
		out []Region
		bad []string
	)
	full := 0
	for part := range strings.SplitSeq(list, ",") {
		name, role, _ := strings.Cut(strings.TrimSpace(part), ":")
		switch {
		case !nameForm.MatchString(name):
			bad = append(bad, fmt.Sprintf("%q is no name for a region: 1 to 32 of a-z and 0-9", name))
		case slices.ContainsFunc(out, func(r Region) bool { return r.Name == name }):
			bad = append(bad, name+" is named twice")
		case role != "" && role != "witness":
			bad = append(bad, fmt.Sprintf("%q is no role: write %s or %s:witness", role, name, name))
		}
		if role == "" {
			full++
		}
		out = append(out, Region{Name: name, Witness: role == "witness"})
	}
	if len(bad) == 0 && (len(out) < 2 || len(out) > 9) {
		bad = append(bad, fmt.Sprintf("%d regions: a world has 2 to 9", len(out)))
	}
	if len(bad) == 0 && full == 0 {
		bad = append(bad, "every region is a witness: nobody serves users")
	}
	if len(bad) > 0 {
		return nil, fault.New(fault.Invalid, "--regions: %s", strings.Join(bad, "; "))
	}
	return out, nil
}

// Options of a World.
type Options struct {
	Regions []Region
	Dir     string // each region lives in regions/<name> below it
	Listen  string // HOST:PORT of the edge; port 0 = any free one
	// Command runs a node: program and arguments, to which "-c FILE" is added.
	Command []string
	Environ []string // of the nodes
	// Settings are more lines of each node's configuration file: what can't be
	// said in flags and variables, such as bots.
	Settings string
	// Wire carries what the regions say to each other; nil = the links do, with a
	// model of TCP.
	Wire    *link.Wire
	Console *progress.Console // nil = silent
	Logger  *slog.Logger      // nil = discard
	// Restart is how long a region that died stays dead; 0 = 5 s, below 0 = for
	// good.
	Restart time.Duration
}

// World is a set of regions. Start starts it, Stop ends it.
type World struct {
	opts  Options
	lg    *slog.Logger
	nodes []*node
	links map[pair]*link.Link
	front *front.Front
	http  *http.Server
	addr  string

	cancel context.CancelFunc
	work   sync.WaitGroup
}

// node is a region's process.
type node struct {
	Region
	dir     string
	cluster string // where its log listens
	url     string // where it serves

	mu      sync.Mutex // guards process
	process *os.Process
}

// pair is a region and another that it talks to.
type pair struct{ from, to string }

// New checks the options.
func New(opts Options) (*World, error) {
	if opts.Dir == "" || opts.Listen == "" || len(opts.Command) == 0 || len(opts.Regions) == 0 {
		return nil, errors.New("world: Regions, Dir, Listen and Command are required")
	}
	if opts.Restart == 0 {
		opts.Restart = 5 * time.Second
	}
	if opts.Console == nil {
		opts.Console = progress.New(progress.Options{})
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &World{opts: opts, links: map[pair]*link.Link{}, lg: opts.Logger.With("part", "world")}, nil
}

// URL is where the edge serves.
func (w *World) URL() string { return "http://" + w.addr }

// Start starts the regions and the edge. It returns when one region serves.
func (w *World) Start(ctx context.Context) (err error) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	defer func() {
		if err != nil {
			w.Stop()
		}
	}()
	if err := w.place(); err != nil {
		return err
	}
	var lc net.ListenConfig
	in, err := lc.Listen(ctx, "tcp", w.opts.Listen)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "can't listen on %s; is another program there? --listen chooses another address, port 0 any free one", w.opts.Listen)
	}
	w.addr = in.Addr().String()
	if err := w.configure(ctx); err != nil {
		_ = in.Close()
		return err
	}
	for _, n := range w.nodes {
		w.work.Go(func() { w.keep(run, n) })
	}
	if err := w.serve(in); err != nil {
		_ = in.Close()
		return err
	}
	return w.ready(ctx)
}

// place finds ports and directories.
func (w *World) place() error {
	for _, r := range w.opts.Regions {
		n := &node{Region: r, dir: filepath.Join(w.opts.Dir, "regions", r.Name)}
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the directory %s can't be made", n.dir)
		}
		w.nodes = append(w.nodes, n)
	}
	free, err := loopback.Free(2 * len(w.nodes))
	if err != nil {
		return err
	}
	for i, n := range w.nodes {
		n.cluster, n.url = free[2*i], "http://"+free[2*i+1]
	}
	return nil
}

// configure opens the links and writes each node's file.
func (w *World) configure(ctx context.Context) error {
	for _, n := range w.nodes {
		for _, m := range w.nodes {
			if m == n {
				continue
			}
			l, err := link.Over(ctx, w.opts.Wire, m.cluster, link.State{RoundTrip: Distance(n.Name, m.Name)})
			if err != nil {
				return err
			}
			w.links[pair{n.Name, m.Name}] = l
		}
	}
	for i, n := range w.nodes {
		// Nodes also dial what others tell them. Each pair has a link of its own,
		// so there must be nobody where they are told to go.
		told := fmt.Sprintf("127.0.0.1:%d", i+1)
		if err := os.WriteFile(filepath.Join(n.dir, "parley.yaml"), []byte(w.file(n, told)), 0o600); err != nil {
			return fmt.Errorf("write the configuration of %s: %w", n.Name, err)
		}
	}
	return nil
}

// file is a node's configuration; what the user chose comes by flags and
// variables.
func (w *World) file(n *node, told string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by parley up --regions at every start.\nlisten: %s\ndata: %q\nregion: %s\norigins: [%s]\nnodes:\n",
		strings.TrimPrefix(n.url, "http://"), n.dir, n.Name, strings.Join(w.origins(), ", "))
	longest := 10 * time.Millisecond
	for _, m := range w.nodes {
		told := fmt.Sprintf("url: %q", m.url)
		if m.Witness {
			told = "witness: true"
		}
		address := m.cluster
		if l := w.links[pair{n.Name, m.Name}]; l != nil {
			address, longest = l.Addr(), max(longest, Distance(n.Name, m.Name))
		}
		fmt.Fprintf(&b, "  - {name: %s, region: %s, address: %q, %s}\n", m.Name, m.Name, address, told)
	}
	fmt.Fprintf(&b, "cluster:\n  listen: %s\n  advertise: %s\n  round_trip: %s\n  authority: %q\n  certs: %q\n",
		n.cluster, told, longest, filepath.Join(w.opts.Dir, "regions", "authority"), filepath.Join(n.dir, "certs"))
	b.WriteString(w.opts.Settings)
	return b.String()
}

// origins are what a browser calls the edge: the page comes from there, and
// goes to a region by itself when the edge is gone.
func (w *World) origins() []string {
	host, port, err := net.SplitHostPort(w.addr)
	if err != nil {
		return nil // nothing listens yet
	}
	out := []string{strconv.Quote(w.URL())}
	if host == "127.0.0.1" {
		out = append(out, strconv.Quote("http://localhost:"+port))
	}
	return out
}

// serve puts the edge in front.
func (w *World) serve(in net.Listener) error {
	cfg := edge.Config{Policies: []edge.Policy{{Name: "world", Method: edge.Priority}}}
	for _, n := range w.nodes {
		if n.Witness {
			continue
		}
		cfg.Regions = append(cfg.Regions, edge.Region{Name: n.Name, URL: n.url})
		cfg.Policies[0].Targets = append(cfg.Policies[0].Targets, edge.Target{Region: n.Name})
	}
	e, err := edge.New(cfg, nil)
	if err != nil {
		return err
	}
	if w.front, err = front.New(front.Options{Edge: e, Logger: w.lg, Interval: 250 * time.Millisecond}); err != nil {
		return err
	}
	w.front.Start()
	w.http = w.front.Server()
	w.work.Go(func() {
		if err := w.http.Serve(in); !errors.Is(err, http.ErrServerClosed) {
			w.lg.Error("the edge ended", "err", err)
		}
	})
	return nil
}

// ready waits for the first region that serves.
func (w *World) ready(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(time.Minute); ; {
		for _, n := range w.nodes {
			if !n.Witness && n.ready(ctx) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if time.Now().After(late) {
			return fault.New(fault.Unavailable, "no region is ready after a minute; see %s", filepath.Join(w.opts.Dir, "regions", "*", "parley.log"))
		}
	}
}

func (n *node) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stop ends every region, gently, and the edge.
func (w *World) Stop() {
	if w.front != nil {
		w.front.Stop()
	}
	if w.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		if w.http.Shutdown(ctx) != nil {
			_ = w.http.Close()
		}
		cancel()
	}
	if w.cancel != nil {
		w.cancel()
	}
	w.work.Wait()
	for _, l := range w.links {
		_ = l.Close()
	}
}

// Distance is the round trip between two regions: what was measured between
// Azure's for the pairs we know, else 60 ms.
func Distance(a, b string) time.Duration {
	known := map[[2]string]time.Duration{
		{"japaneast", "koreacentral"}:     30 * time.Millisecond,
		{"japaneast", "southeastasia"}:    70 * time.Millisecond,
		{"koreacentral", "southeastasia"}: 75 * time.Millisecond,
	}
	if a > b {
		a, b = b, a
	}
	if d, ok := known[[2]string{a, b}]; ok {
		return d
	}
	return 60 * time.Millisecond
}
