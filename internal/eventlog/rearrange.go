package eventlog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The list of nodes is in every node's own file, and for a while they differ: a
// new list comes in as one node after the other starts again. So nothing is
// moved before every node that stays has said that it has the same list. Then
// the leader of the cluster's own group makes the log fit the list, one step
// after the other, while it is used.

const (
	listSubject = "parley.list"
	listFresh   = 3 * lookEvery   // a node that says nothing for so long has no say, and nothing is moved
	listSettled = 3 * time.Second // how long all must have had the same list
	goneAfter   = 5 * time.Second // a node that leaves is taken out of the cluster when it has been silent for so long
)

// listNews is what a node says of its list.
type listNews struct {
	Node string `json:"node"`
	List string `json:"list"` // digest
}

type listHeard struct {
	digest string
	at     time.Time
}

func (v *clusterView) hearList(b []byte) {
	var n listNews
	if json.Unmarshal(b, &n) != nil || n.Node == "" || len(n.List) > 64 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.lists[n.Node]; known || len(v.lists) < mostNodes {
		v.lists[n.Node] = listHeard{n.List, time.Now()}
	}
}

// digest of the list; addresses may differ from node to node.
func (c *Cluster) digest() string {
	var b strings.Builder
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "%s %s %v %v\n", n.Name, n.Region, n.Witness, n.Leaves)
	}
	fmt.Fprintln(&b, c.Replicas)
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}

// agreed reports whether all nodes that stay have the same list as this one.
func (l *Log) agreed(now time.Time) bool {
	mine := l.cluster.digest()
	l.view.mu.Lock()
	defer l.view.mu.Unlock()
	return !slices.ContainsFunc(l.cluster.Nodes, func(n Node) bool {
		h := l.view.lists[n.Name]
		return !n.Leaves && (h.digest != mine || now.Sub(h.at) > listFresh)
	})
}

// rearrange goes on until ctx ends.
func (l *Log) rearrange(ctx context.Context) {
	news, err := json.Marshal(listNews{l.opts.Node, l.cluster.digest()})
	if err != nil {
		l.lg.Error("the list of nodes can't be told", "err", err)
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var since time.Time // all have had the same list
	unheard := map[string]time.Time{}
	said := ""
	for ctx.Err() == nil {
		_ = l.nc.Publish(listSubject, news) // fails only on a closed connection
		now := time.Now()
		if !l.agreed(now) {
			since = time.Time{}
		} else if since.IsZero() {
			since = now
		}
		if !since.IsZero() && now.Sub(since) >= listSettled && l.member() == nil {
			did, err := l.nextStep(ctx, unheard)
			switch {
			case did != "":
				l.lg.Info("the log is being fitted to the list of nodes", "step", did)
				said = ""
			case err != nil && err.Error() != said && ctx.Err() == nil:
				said = err.Error()
				l.lg.Info("the log does not fit the list of nodes yet", "why", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// nextStep does the first thing that is left to do, and says what. Unheard are
// the members that have said nothing since this node leads, and since when.
func (l *Log) nextStep(ctx context.Context, unheard map[string]time.Time) (did string, err error) {
	if did, err := l.makeMissing(ctx); did != "" || err != nil {
		return did, err
	}
	s := l.srv.Load()
	if !s.Running() || !s.JetStreamIsLeader() {
		clear(unheard)
		return "", nil // somebody else does the rest
	}
	for _, name := range l.allStreams() {
		if did, err := l.fit(ctx, name); did != "" || err != nil {
			return did, err
		}
	}
	return l.removeGone(ctx, s, unheard)
}

// makeMissing makes streams that could not be made when this node joined.
func (l *Log) makeMissing(ctx context.Context) (did string, err error) {
	missing := slices.DeleteFunc(l.State().Streams, func(st StreamState) bool { return !st.Missing })
	if len(missing) == 0 {
		known, err := l.knownStreams()
		if err != nil || len(known) >= len(l.State().Streams) {
			return "", err
		}
	}
	if err := l.ensureHomes(ctx); err != nil {
		return "", err
	}
	l.view.now()
	switch {
	case len(missing) == 0 || !l.makes():
		return "", nil
	case l.lookAt(ctx, missing[0].Stream, missing[0].Home).Missing:
		return "", fmt.Errorf("too few of the nodes that shall hold %s are there", missing[0].Stream)
	}
	return missing[0].Stream + " is made", nil
}

// fit brings one stream closer to the list: as many replicas as there shall be,
// none on a node that leaves, one in its home.
func (l *Log) fit(ctx context.Context, name string) (did string, err error) {
	home := l.HomeOf(name)
	st := l.lookAt(ctx, name, home)
	if st.Missing {
		return "", nil
	}
	leaves := func(r Replica) bool {
		n, listed := l.cluster.self(r.Node)
		return !listed || n.Leaves
	}
	onItsWay := func(r Replica) bool { // but for one whose node is gone
		return r.Pending && !(leaves(r) && r.Offline) || !leaves(r) && (r.Offline || r.Lag > homeLag)
	}
	if !st.Quorum || slices.ContainsFunc(st.Replicas, onItsWay) {
		return "", fmt.Errorf("%s has copies that are not whole", name)
	}
	if did, err := l.rescale(ctx, name, home); did != "" || err != nil {
		return did, err
	}
	if i := slices.IndexFunc(st.Replicas, leaves); i >= 0 && !st.Replicas[i].Offline {
		return l.evacuate(ctx, name, st.Replicas[i].Node)
	}
	atHome := func(r Replica) bool { return r.Region == home }
	if home == "" || !slices.Contains(l.cluster.homes(), home) || slices.ContainsFunc(st.Replicas, atHome) {
		return "", nil
	}
	// The replica that is the least at home goes: none of the holders', or the
	// last of them.
	holders := l.cluster.holders(home)
	far := func(r Replica) int {
		if i := slices.Index(holders, r.Region); i >= 0 {
			return i
		}
		return len(holders)
	}
	last := slices.MaxFunc(st.Replicas, func(a, b Replica) int { return cmp.Compare(far(a), far(b)) })
	return l.evacuate(ctx, name, last.Node)
}

// rescale gives a stream, and its queue, as many replicas as there shall be, on
// nodes that can hold it. A queue never has more than its stream.
func (l *Log) rescale(ctx context.Context, name, home string) (did string, err error) {
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	stream, err := l.js.Stream(ctx, name)
	if err != nil {
		return "", fmt.Errorf("open stream %s: %w", name, err)
	}
	cfg, want := stream.CachedInfo().Config, l.cluster.Replicas
	queue := func() (string, error) {
		if home == "" {
			return "", nil
		}
		c, err := stream.Consumer(ctx, turns)
		if err != nil {
			return "", fmt.Errorf("open the queue of %s: %w", name, err)
		}
		cc := c.CachedInfo().Config
		if cc.Replicas == want {
			return "", nil
		}
		cc.Replicas = want
		if _, err := stream.UpdateConsumer(ctx, cc); err != nil {
			return "", fmt.Errorf("give the queue of %s %d replicas: %w", name, want, err)
		}
		return fmt.Sprintf("the queue of %s has %d replicas", name, want), nil
	}
	if cfg.Replicas > want {
		if did, err := queue(); did != "" || err != nil {
			return did, err
		}
	}
	if home != "" && !reflect.DeepEqual(cfg.Placement, l.cluster.placement(home)) {
		cfg.Placement = l.cluster.placement(home)
		if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
			return "", fmt.Errorf("say where %s shall be: %w", name, err)
		}
		return "it is said anew where " + name + " shall be", nil
	}
	if cfg.Replicas != want {
		cfg.Replicas = want
		if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
			return "", fmt.Errorf("give %s %d replicas: %w", name, want, err)
		}
		return fmt.Sprintf("%s has %d replicas", name, want), nil
	}
	return queue()
}

// evacuate moves a replica away from a node, which keeps it until another one
// has everything.
func (l *Log) evacuate(ctx context.Context, stream, node string) (did string, err error) {
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	if err := l.ask(ctx, "$JS.API.STREAM.PEER.EVACUATE."+stream, map[string]any{"peer": serverPrefix + node}, nil); err != nil {
		return "", fmt.Errorf("move the copy of %s away from %s: %w", stream, node, err)
	}
	return fmt.Sprintf("the copy of %s on %s moves", stream, node), nil
}

// removeGone takes nodes out of the cluster's group which leave, or are in
// nobody's list any more, and have been silent for a while. They count for the
// majority until then. The server knows no time for a member that it has not
// heard since it leads.
func (l *Log) removeGone(ctx context.Context, s *server.Server, unheard map[string]time.Time) (did string, err error) {
	info, err := s.Jsz(nil)
	if err != nil || info.Meta == nil {
		return "", err
	}
	now := time.Now()
	for _, p := range info.Meta.Replicas {
		silent := p.Active
		if since, was := unheard[p.Peer]; silent != 0 {
			delete(unheard, p.Peer)
		} else if was {
			silent = now.Sub(since)
		} else {
			unheard[p.Peer] = now
		}
		name := strings.TrimPrefix(p.Name, serverPrefix)
		if n, listed := l.cluster.self(name); listed && !n.Leaves || silent < goneAfter {
			continue
		}
		if err := l.removePeer(ctx, p.Peer); err != nil {
			return "", fmt.Errorf("take %s out of the cluster: %w", name, err)
		}
		return name + " is out of the cluster", nil
	}
	return "", nil
}

// removePeer is asked for in the server's own account, which nobody else gets
// into.
func (l *Log) removePeer(ctx context.Context, id string) error {
	nc, err := nats.Connect("", nats.InProcessServer(l), nats.UserInfo(operator, l.secret), nats.Name("operator"))
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, server.JSApiRemoveServer, fmt.Appendf(nil, `{"peer_id":%q}`, id))
	if err != nil {
		return err
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

const operator = "operator" // who may change the cluster's group; its password lives in this process only

// homeIn returns the region that a stream's name tells, "" if it is none of
// conversations.
func homeIn(stream string) string {
	rest, ok := strings.CutPrefix(stream, streamPrefix)
	home, _, ok2 := strings.Cut(rest, "_")
	if !ok || !ok2 {
		return ""
	}
	return home
}

// recallFormer finds regions that are no more in what this node has held.
func (l *Log) recallFormer() error {
	if l.cluster == nil {
		return nil
	}
	known, err := l.knownStreams()
	if err != nil {
		return err
	}
	l.noteFormer(known)
	return nil
}

// findFormer finds them in what the cluster holds.
func (l *Log) findFormer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	lister := l.js.StreamNames(ctx, jetstream.WithStreamListSubject("conv.>"))
	var names []string
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return fmt.Errorf("list the cluster's streams: %w", err)
	}
	l.noteFormer(names)
	return nil
}

func (l *Log) noteFormer(streams []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range streams {
		home := homeIn(name)
		if home != "" && !slices.Contains(l.cluster.homes(), home) && !slices.Contains(l.former, home) {
			l.former = append(l.former, home)
		}
	}
	slices.Sort(l.former)
}
