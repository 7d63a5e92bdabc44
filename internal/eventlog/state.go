package eventlog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/internal/fault"
)

// State is what a node knows of its cluster.
type State struct {
	Region, Node string
	Joined       bool // the streams are there
	Streams      []StreamState
}

// StreamState is a stream of one home.
type StreamState struct {
	Stream, Home string
	Leader       string    // the node; "" = nobody, as far as this node knows
	Region       string    // the leader's
	Quorum       bool      // it can store: a leader with a majority of the replicas
	Since        time.Time // since when leader and quorum are so
	Last         uint64    // last sequence
	Missing      bool      // it was not made yet
	Behind       time.Time // since when the copy here lacks something that was told everywhere; 0: it does not
	Replicas     []Replica // the leader among them
}

// Replica is a copy of a stream.
type Replica struct {
	Node, Region string
	Current      bool          // has all that the leader has, or is about to
	Offline      bool          // the leader has not heard it for a while
	Lag          uint64        // entries that it is behind
	Seen         time.Duration // since the leader heard it
	Pending      bool          // it is being made, or removed
}

const (
	lookEvery = time.Second
	// At what this node leads it looks more often: when it is cut off, nobody
	// else can tell those whom it serves.
	lookAtOwn = lookEvery / 4

	// A leader goes home when its home has been well for homeAfter, and not
	// again before homeAgain: a region that comes and goes must not pull the
	// leader along each time.
	homeAfter = 5 * time.Second
	homeAgain = 30 * time.Second
	homeLag   = 512 // entries that it may be behind

	// Who reads or writes by a copy that is behind for longer waits for nothing:
	// other regions serve.
	mostBehind = 3 * time.Second
)

// clusterView is what was seen of the cluster's streams.
type clusterView struct {
	look chan struct{} // holds one: look at once

	mu      sync.Mutex // guards all below
	streams map[string]StreamState
	looks   map[string]look
	moved   map[string]time.Time // when a stream's leader was last brought home
	fit     map[string]time.Time // since when this node could lead a home stream that is led elsewhere
	leaving bool                 // this node shall lead nothing
	lists   map[string]listHeard // what list each node has, by node
	told    map[string]uint64    // the newest entry of a stream that followers were told
	lacks   map[string]lack
	reigns  map[string]chan struct{} // each closed when the stream has a new leader
}

// reign ends when the stream has a new leader.
func (v *clusterView) reign(stream string) (over <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.reigns == nil {
		v.reigns = map[string]chan struct{}{}
	}
	if v.reigns[stream] == nil {
		v.reigns[stream] = make(chan struct{})
	}
	return v.reigns[stream]
}

// elected says that a stream has a new leader.
func (v *clusterView) elected(stream string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if over := v.reigns[stream]; over != nil {
		close(over)
		delete(v.reigns, stream)
	}
}

// look is the last one at a stream.
type look struct {
	began           time.Time
	underWay, again bool
}

// lack is an entry that was told and that the copy here did not have.
type lack struct {
	seq uint64
	at  time.Time // when that was first seen
}

// behind returns since when this node's own copy of a stream, which goes up to
// last, lacks an entry: one that followers were told, or that the leader has.
// (Followers here are told nothing as long as the copy has a hole.) One that is
// always a moment behind lacks another one each time.
func (v *clusterView) behind(stream string, last, leaders uint64, now time.Time) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	is := v.lacks[stream]
	if last >= is.seq {
		is = lack{}
		if there := max(v.told[stream], leaders); last < there {
			is = lack{there, now}
		}
		v.lacks[stream] = is
	}
	return is.at
}

func (v *clusterView) tell(stream string, seq uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told[stream] = max(v.told[stream], seq)
}

// stay notes whether this node shall lead nothing.
func (v *clusterView) stay(away bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leaving = away
	clear(v.fit)
}

func (v *clusterView) toldOf(stream string) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.told[stream]
}

// due begins a look at a stream if it is time: when it is wanted now, every
// lookEvery, and as often as asked at what this node leads. A look that is
// wanted while one is under way comes next.
func (v *clusterView) due(stream, node string, now time.Time, wanted bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.looks[stream]
	if last.underWay {
		last.again = last.again || wanted
		v.looks[stream] = last
		return false
	}
	if !wanted && v.streams[stream].Leader != node && now.Sub(last.began) < lookEvery {
		return false
	}
	v.looks[stream] = look{began: now, underWay: true}
	return true
}

func (v *clusterView) looked(stream string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := v.looks[stream]
	if last.underWay = false; last.again {
		last = look{}
	}
	v.looks[stream] = last
}

// watchCluster begins to look at the streams: again and again, and whenever one
// has a new leader.
func (l *Log) watchCluster(ctx context.Context) error {
	l.view.look = make(chan struct{}, 1)
	l.view.streams, l.view.moved, l.view.fit = map[string]StreamState{}, map[string]time.Time{}, map[string]time.Time{}
	l.view.told, l.view.lacks, l.view.lists = map[string]uint64{}, map[string]lack{}, map[string]listHeard{}
	l.view.looks = map[string]look{}
	if _, err := l.nc.Subscribe("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*", func(m *nats.Msg) {
		l.elected(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
		l.view.now()
	}); err != nil {
		return readFault(err)
	}
	if _, err := l.nc.Subscribe(listSubject, func(m *nats.Msg) { l.view.hearList(m.Data) }); err != nil {
		return readFault(err)
	}
	l.done.Go(func() {
		tick := time.NewTicker(lookAtOwn)
		defer tick.Stop()
		for wanted := true; ; {
			l.lookAtStreams(ctx, wanted)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				wanted = false
			case <-l.view.look:
				wanted = true
			}
		}
	})
	return nil
}

func (v *clusterView) now() {
	select {
	case v.look <- struct{}{}:
	default:
	}
}

// elected tells the stream's appends, and who waits for its leader's answer, that
// there is a new one.
func (l *Log) elected(stream string) {
	l.view.elected(stream)
	l.mu.Lock()
	c := l.committers[stream]
	l.mu.Unlock()
	if r, ok := c.(*replicator); ok {
		r.newLeader()
	}
}

// State returns what this node knows of the cluster; a log of one node leads
// its stream alone.
func (l *Log) State() State {
	s := State{Region: l.opts.Region, Node: l.opts.Node, Joined: l.member() == nil}
	if l.cluster == nil {
		up := l.outage.Load() == nil
		me := Replica{Node: l.opts.Node, Region: l.opts.Region, Current: up, Offline: !up}
		s.Streams = []StreamState{{Stream: l.Home(), Home: l.opts.Region, Leader: l.opts.Node, Region: l.opts.Region, Quorum: up, Replicas: []Replica{me}}}
		return s
	}
	v := &l.view
	v.mu.Lock()
	defer v.mu.Unlock()
	for of := range l.streams() {
		st := v.streams[of.name]
		st.Stream, st.Home, st.Replicas = of.name, of.home, slices.Clone(st.Replicas)
		s.Streams = append(s.Streams, st)
	}
	return s
}

// streamInfo is the part of the server's answer that we read.
type streamInfo struct {
	State struct {
		Last     uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"` // if a filter is asked for
	} `json:"state"`
	Total   int `json:"total"` // of the subjects
	Cluster *struct {
		Leader   string       `json:"leader"`
		Replicas []streamPeer `json:"replicas"`
	} `json:"cluster"`
}

// streamPeer is a replica as the leader sees it.
type streamPeer struct {
	Name    string        `json:"name"`
	Current bool          `json:"current"`
	Offline bool          `json:"offline"`
	Active  time.Duration `json:"active"` // ago
	Lag     uint64        `json:"lag"`
	Pending bool          `json:"pending"`
}

// gone reports whether a peer may have another leader by now, or none.
func (l *Log) gone(p streamPeer) bool {
	return p.Offline || p.Active > timersFor(l.cluster.RoundTrip, 0, 1).minElection
}

// rules reports whether who answered leads indeed: with a majority of the
// replicas following, nobody else has been elected.
func (l *Log) rules(i *streamInfo) bool {
	if l.cluster == nil {
		return true
	}
	if i.Cluster == nil || i.Cluster.Leader == "" {
		return false
	}
	near := 1
	for _, p := range i.Cluster.Replicas {
		if !l.gone(p) {
			near++
		}
	}
	return near > (1+len(i.Cluster.Replicas))/2
}

// lookAtStreams begins the looks that are due, side by side: a stream without a
// leader holds up no other.
func (l *Log) lookAtStreams(ctx context.Context, wanted bool) {
	for s := range l.streams() {
		if l.view.due(s.name, l.opts.Node, time.Now(), wanted) {
			l.done.Go(func() {
				defer l.view.looked(s.name)
				l.lookAtStream(ctx, s.name, s.home)
			})
		}
	}
}

func (l *Log) lookAtStream(ctx context.Context, name, home string) {
	st := l.lookAt(ctx, name, home)
	if ctx.Err() != nil {
		return
	}
	v := &l.view
	if last, here := l.lastHere(name); here {
		st.Behind = v.behind(name, last, st.Last, time.Now())
	}
	v.mu.Lock()
	was := v.streams[name]
	st.Since = was.Since
	changed := was.Since.IsZero() || was.Leader != st.Leader || was.Quorum != st.Quorum
	if changed {
		st.Since = time.Now()
	}
	v.streams[name] = st
	v.mu.Unlock()
	if changed {
		l.lg.Info("log stream", "stream", name, "leader", st.Leader, "region", st.Region, "quorum", st.Quorum)
	}
	l.goHome(ctx, st)
	l.passQueue(ctx, st)
}

// lookAt asks a stream's leader how it is. Nobody who answers in time is no
// leader and no quorum.
func (l *Log) lookAt(ctx context.Context, name, home string) StreamState {
	try, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	var info streamInfo
	st := StreamState{Stream: name, Home: home}
	if err := l.askLeader(try, infoOf, name, nil, &info); err != nil || info.Cluster == nil || info.Cluster.Leader == "" {
		var refused *apiError
		st.Missing = errors.As(err, &refused) && refused.Code == 404
		return st
	}
	st.Leader = strings.TrimPrefix(info.Cluster.Leader, serverPrefix)
	st.Region, st.Last = l.cluster.region(st.Leader), info.State.Last
	st.Replicas = []Replica{{Node: st.Leader, Region: st.Region, Current: true}}
	for _, r := range info.Cluster.Replicas {
		node, gone := strings.TrimPrefix(r.Name, serverPrefix), l.gone(r)
		st.Replicas = append(st.Replicas, Replica{
			Node: node, Region: l.cluster.region(node),
			Current: r.Current && !gone, Offline: gone, Lag: r.Lag, Seen: r.Active, Pending: r.Pending,
		})
	}
	slices.SortFunc(st.Replicas, func(a, b Replica) int { return cmp.Compare(a.Node, b.Node) })
	st.Quorum = l.rules(&info)
	return st
}

// passQueue gives the lead of a stream's queue to who leads the stream, if this
// node's own copy is behind: a queue hands out what its leader's copy has, and so
// nothing that is new.
func (l *Log) passQueue(ctx context.Context, st StreamState) {
	if st.Behind.IsZero() || time.Since(st.Behind) <= mostBehind || st.Leader == "" || st.Leader == l.opts.Node || st.Home == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	queue := st.Stream + "." + turns
	var info streamInfo
	if err := l.ask(ctx, "$JS.API.CONSUMER.INFO."+queue, nil, &info); err != nil || info.Cluster == nil || strings.TrimPrefix(info.Cluster.Leader, serverPrefix) != l.opts.Node {
		return
	}
	if err := l.ask(ctx, "$JS.API.CONSUMER.LEADER.STEPDOWN."+queue, preferred(st.Leader), nil); err != nil {
		l.lg.Warn("the lead of the queue can't be given away yet, though this copy of the log is behind", "stream", st.Stream, "err", err)
		return
	}
	l.lg.Info("the queue is led elsewhere, as this copy of the log is behind", "stream", st.Stream, "leader", st.Leader)
}

// goHome moves the leader of a home stream to this node, if it is the home's
// and has been fit to lead for a while. A leader steps down for a chosen
// successor: writers wait about two round trips, no election time-out.
func (l *Log) goHome(ctx context.Context, st StreamState) {
	if me, _ := l.cluster.self(l.opts.Node); me.Witness || me.Leaves || st.Home != me.Region {
		return
	}
	mine := slices.IndexFunc(st.Replicas, func(r Replica) bool { return r.Node == l.opts.Node })
	// Not "current": while people talk, a replica is never further than what is
	// on its way to it. Raft itself does not elect one that is behind.
	fit := st.Quorum && st.Region != l.opts.Region && mine >= 0 && !st.Replicas[mine].Offline && st.Replicas[mine].Lag <= homeLag
	v := &l.view
	v.mu.Lock()
	since, was := v.fit[st.Stream]
	moved := v.moved[st.Stream]
	fit = fit && !v.leaving
	switch {
	case !fit:
		delete(v.fit, st.Stream)
	case !was:
		v.fit[st.Stream] = time.Now()
	}
	v.mu.Unlock()
	if !fit || !was || time.Since(since) < homeAfter || time.Since(moved) < homeAgain {
		return
	}
	if err := l.moveLeader(ctx, st.Stream, l.opts.Node); err != nil {
		l.lg.Warn("the log's leader does not come home yet", "stream", st.Stream, "leader", st.Leader, "err", err)
	}
	v.mu.Lock()
	v.moved[st.Stream] = time.Now()
	delete(v.fit, st.Stream)
	v.mu.Unlock()
}

// member is nil when this node has joined the cluster, or needs none.
func (l *Log) member() error {
	select {
	case <-l.joined:
		return nil
	default:
	}
	if why := l.waits.Load(); why != nil {
		return fault.New(fault.Unavailable, "%s", *why).After(time.Second)
	}
	return fault.New(fault.Unavailable, "this node has not found a majority of the cluster's nodes yet; it joins when they are in reach").After(time.Second)
}

// clusterHealth is nil if entries of this region's conversations can be stored
// now; for a witness, of all.
func (l *Log) clusterHealth() error {
	if err := l.member(); err != nil {
		return err
	}
	me, _ := l.cluster.self(l.opts.Node)
	for _, st := range l.State().Streams {
		if !st.Behind.IsZero() && time.Since(st.Behind) > mostBehind {
			return fault.New(fault.Unavailable, "this region's copy of the log of region %s is behind since %s", st.Home, st.Behind.UTC().Format(time.RFC3339)).After(time.Second)
		}
		if st.Quorum || st.Missing || !me.Witness && st.Home != me.Region {
			continue
		}
		who := "it has no leader"
		if st.Leader != "" {
			who = "its leader " + st.Leader + " reaches no majority"
		}
		return fault.New(fault.Unavailable, "the log of region %s stores nothing since %s: %s", st.Home, st.Since.UTC().Format(time.RFC3339), who).After(time.Second)
	}
	return nil
}
