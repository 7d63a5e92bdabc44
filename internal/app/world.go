package app

import (
	"context"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/cluster"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/tlscert"
)

// members turns the configured nodes into the log's words; nil for a node that
// is alone.
func (a *App) members() (*eventlog.Cluster, error) {
	c := a.cfg
	if !c.Clustered() {
		return nil, nil
	}
	out := &eventlog.Cluster{Listen: c.Cluster.Listen, Advertise: c.Cluster.Advertise, RoundTrip: c.Cluster.RoundTrip, Alone: a.opts.Alone}
	for _, n := range c.Nodes {
		out.Nodes = append(out.Nodes, eventlog.Node{Name: n.Name, Region: n.Region, Address: n.Address, Witness: n.Witness, Leaves: n.Leaves})
	}
	if c.Cluster.Certs == "" {
		return out, nil
	}
	certs, err := a.certificates()
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the certificate for the other nodes can't be used")
	}
	a.certs = certs
	run, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		certs.Run(run)
	}()
	a.onStop("certificates", func(context.Context) error {
		cancel()
		<-done
		return nil
	})
	out.TLS = certs.Config()
	return out, nil
}

// certificates opens this node's certificate, and the authority that signs it
// if that is here too.
func (a *App) certificates() (*tlscert.Certs, error) {
	c := a.cfg
	opts := tlscert.Options{
		Dir: c.Cluster.Certs, Self: tlscert.Identity{Region: c.Region, Node: c.Node}, Logger: a.lg,
		Known: func(who tlscert.Identity) bool {
			return slices.ContainsFunc(c.Nodes, func(n config.Node) bool { return n.Name == who.Node && n.Region == who.Region })
		},
	}
	if c.Cluster.Authority == "" {
		return tlscert.Open(opts)
	}
	for _, addr := range []string{c.Cluster.Advertise, c.Cluster.Listen} {
		opts.Hosts = appendHost(opts.Hosts, addr)
	}
	for _, n := range c.Nodes {
		if n.Name == c.Node {
			opts.Hosts = appendHost(opts.Hosts, n.Address)
		}
	}
	var err error
	if opts.Authority, err = tlscert.OpenAuthority(c.Cluster.Authority); err != nil {
		return nil, err
	}
	return tlscert.Open(opts)
}

func appendHost(hosts []string, addr string) []string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || slices.Contains(hosts, host) {
		return hosts
	}
	return append(hosts, host)
}

// secret is what all nodes sign cookies with. A node that is cut off from the
// others serves with the one it had.
func (a *App) secret(ctx context.Context) ([]byte, error) {
	path := filepath.Join(a.cfg.Data, "cookie-secret")
	secret, err := auth.Secret(ctx, a.log)
	switch {
	case !a.cfg.Clustered():
		return secret, err
	case err == nil:
		if err := atomicfile.Write(path, secret, 0o600); err != nil {
			a.lg.Warn("the secret of the cookies can't be kept; cut off from the others this node would not start", "err", err)
		}
		return secret, nil
	}
	kept, readErr := os.ReadFile(path)
	if readErr != nil || len(kept) == 0 {
		return nil, err
	}
	a.lg.Warn("the other nodes can't be asked for the secret of the cookies; the one of the last start is used", "err", err)
	return kept, nil
}

// startWorld says to the other nodes how this one is, hears how they are, and
// takes the turns of regions that can't.
func (a *App) startWorld(ctx context.Context) error {
	if !a.cfg.Clustered() {
		return nil
	}
	nodes := make([]cluster.Node, 0, len(a.cfg.Nodes))
	for _, n := range a.cfg.Nodes {
		nodes = append(nodes, cluster.Node{Name: n.Name, Region: n.Region, Role: role(n)})
	}
	view, err := cluster.New(cluster.Options{Self: a.cfg.Node, Nodes: nodes, Homes: a.log.Homes})
	if err != nil {
		return err
	}
	if err := a.log.Listen(func(news []byte) {
		var b cluster.Beat
		if json.Unmarshal(news, &b) == nil {
			view.Hear(b, time.Now())
		}
	}); err != nil {
		return err
	}
	a.world.Store(view)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	all.Go(func() { a.beat(run, view) })
	all.Go(func() {
		tick := time.NewTicker(attendEvery)
		defer tick.Stop()
		for run.Err() == nil {
			a.attend(run)
			select {
			case <-tick.C:
			case <-run.Done():
			}
		}
	})
	a.onStop("world", func(ctx context.Context) error {
		a.depart(ctx)
		cancel()
		all.Wait()
		b := a.state(context.Background())
		b.Leaving = true
		a.tell(b)
		return nil
	})
	return nil
}

// dead reports whether another node of this world is silent.
func (a *App) dead(node string) bool {
	view := a.world.Load()
	return view != nil && view.Dead(node, time.Now())
}

const attendEvery = 500 * time.Millisecond

func role(n config.Node) cluster.Role {
	if n.Witness {
		return cluster.Witness
	}
	return cluster.Full
}

// beat goes on until ctx ends.
func (a *App) beat(ctx context.Context, view *cluster.View) {
	tick := time.NewTicker(cluster.Every)
	defer tick.Stop()
	var (
		serving []string
		dead    = map[string]bool{}
		mine    cluster.Beat
		looked  time.Time
		led     = leaders{}
	)
	for {
		if time.Since(looked) >= time.Second || !mine.Ready || mine.Leaving != a.leaves() {
			mine, looked = a.state(ctx), time.Now()
		}
		a.tell(mine)
		now := time.Now()
		view.Hear(mine, now) // whatever becomes of the log
		homes := view.Homes(now)
		if a.chat != nil && !slices.Equal(homes, serving) {
			a.lg.Info("turns are taken", "of", homes)
			a.chat.Serve(homes)
			serving = homes
		}
		for _, n := range view.States(now) {
			gone := view.Dead(n.Name, now)
			switch {
			case gone && !dead[n.Name] && !n.Last.IsZero():
				a.lg.Warn("a node is silent", "node", n.Name, "region", n.Region)
				a.adoptAll(view, homes)
			case !gone && dead[n.Name]:
				a.lg.Info("a node is back", "node", n.Name, "region", n.Region)
			}
			dead[n.Name] = gone
		}
		if a.chat != nil {
			for _, home := range led.settled(a.log.State(), now) {
				a.lg.Debug("the queue has a new leader: turns that it may have forgotten are looked for", "home", home)
				if slices.Contains(homes, home) {
					a.takeUp(view, home)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// leaders is who leads the log of each home, and since when.
type leaders map[string]struct {
	node  string
	since time.Time // zero: long ago
}

// A lease that was on its way from the old leader to a worker is lost. The new
// one hands it out again when its time is over, by the clocks of both: if those
// differ by an hour, in an hour.
const leaseLost = 5 * time.Second

// settled lists the homes whose log got another leader, once for each, when
// leases that were lost with the old one should have come again.
func (l leaders) settled(s eventlog.State, now time.Time) (homes []string) {
	for _, st := range s.Streams {
		was, known := l[st.Home]
		switch {
		case st.Leader == "":
		case was.node != st.Leader:
			if was.node = st.Leader; known {
				was.since = now
			}
			l[st.Home] = was
		case !was.since.IsZero() && now.Sub(was.since) > leaseLost:
			was.since = time.Time{}
			l[st.Home] = was
			homes = append(homes, st.Home)
		}
	}
	return homes
}

// adoptAll takes up what silent nodes had in hand, of all homes that this one
// serves.
func (a *App) adoptAll(view *cluster.View, homes []string) {
	if a.chat == nil {
		return
	}
	for _, home := range homes {
		a.takeUp(view, home)
	}
}

// takeUp takes up what silent nodes, or nobody, had in hand of a home.
func (a *App) takeUp(view *cluster.View, home string) {
	a.chat.Adopt(home, func(worker string) bool { return view.Dead(worker, time.Now()) })
}

func (a *App) tell(b cluster.Beat) {
	news, err := json.Marshal(b)
	if err == nil {
		err = a.log.Tell(news)
	}
	if err != nil {
		a.lg.Debug("the other nodes can't be told", "err", err)
	}
}

// state is what this node says of itself.
func (a *App) state(ctx context.Context) cluster.Beat {
	b := cluster.Beat{Node: a.cfg.Node, Region: a.cfg.Region, Role: cluster.Full, Version: a.opts.Version}
	b.Leaving, b.Elections = a.leaves(), a.log.Elections()
	for _, n := range a.cfg.Nodes {
		if n.Name == a.cfg.Node {
			b.Role, b.URL = role(n), n.URL
		}
	}
	report := a.board.Report(ctx)
	b.Ready = report.Ready
	for _, p := range report.Parts {
		if p.Name == "engine" {
			b.Answers = p.OK
		}
	}
	if a.chat != nil {
		b.Turns, b.Live = a.chat.Load()
	}
	return b
}

// origins lists where users reach the nodes of the world.
func (a *App) origins() []string {
	out := []string{}
	for _, n := range a.cfg.Nodes {
		u, err := url.Parse(n.URL)
		if err != nil || u.Host == "" {
			continue
		}
		if o := u.Scheme + "://" + u.Host; !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// regions is what GET /api/v1/regions says.
func (a *App) regions() []api.Region {
	now := time.Now()
	log := a.log.State()
	out := []api.Region{}
	at := func(name string) *api.Region {
		for i := range out {
			if out[i].Name == name {
				return &out[i]
			}
		}
		out = append(out, api.Region{Name: name, Role: string(cluster.Full), State: api.RegionDown, Leads: []string{}, Copies: []string{}, Nodes: []api.RegionNode{}})
		return &out[len(out)-1]
	}
	view := a.world.Load()
	if view == nil {
		b := a.state(context.Background())
		r := at(a.cfg.Region)
		r.Here, r.Address, r.State = true, a.URL(), regionState(b)
		r.Nodes = []api.RegionNode{{Name: a.cfg.Node, Alive: true, Turns: b.Turns, Live: b.Live, Version: b.Version}}
	} else {
		for _, n := range view.States(now) {
			r := at(n.Region)
			r.Role, r.Here = string(n.Role), r.Here || n.Name == a.cfg.Node
			here := !n.Last.IsZero() && !view.Dead(n.Name, now) // one that leaves is still here
			node := api.RegionNode{Name: n.Name, Alive: here, Turns: n.Beat.Turns, Live: n.Beat.Live, Version: n.Beat.Version, Elections: n.Beat.Elections}
			if !n.Last.IsZero() {
				node.Seen = n.Last.UTC()
			}
			r.Nodes = append(r.Nodes, node)
			if !here {
				continue
			}
			r.Address = n.Beat.URL
			if s := regionState(n.Beat); r.State == api.RegionDown || s == api.RegionServing {
				r.State = s
			}
		}
	}
	for _, s := range log.Streams {
		for _, c := range s.Replicas {
			if c.Region == "" {
				continue // of a node that is in nobody's list any more
			}
			r := at(c.Region)
			r.Lag = max(r.Lag, c.Lag)
			if c.Current && !slices.Contains(r.Copies, s.Home) {
				r.Copies = append(r.Copies, s.Home)
			}
		}
		if s.Leader != "" && s.Region != "" {
			r := at(s.Region)
			r.Leads = append(r.Leads, s.Home)
		}
	}
	return out
}

func regionState(b cluster.Beat) string {
	switch {
	case b.Role == cluster.Witness && b.Ready:
		return api.RegionWitness
	case b.Leaving:
		return api.RegionLeaving
	case !b.Ready:
		return api.RegionDown
	case !b.Answers:
		return api.RegionDegraded
	}
	return api.RegionServing
}
