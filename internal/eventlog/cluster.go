package eventlog

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

// Cluster of a log that several nodes hold together. Nodes is required; this
// node is the one in it that has Options.Node as its name.
type Cluster struct {
	Name  string // the same in all nodes; "" = "parley"
	Nodes []Node // all of them, this one included, the same order everywhere
	// Listen is the address that the other nodes' connections come in at;
	// "" = this node's Address.
	Listen string
	// Advertise is what nodes tell each other about this one; "" = its
	// Address. Nodes dial what is in their own Nodes, but also what they are
	// told: where they reach each other through something in between (a proxy,
	// a NAT), it must lead there too.
	Advertise string
	// TLS is used in both directions and must ask the other side for its
	// certificate. nil only where every address is a loopback one.
	TLS *tls.Config
	// Replicas of an entry; 0 = 3, or the number of nodes if that is smaller.
	Replicas int
	// RoundTrip is the longest one between two nodes that is normal; the raft
	// timers follow from it. 0 = 150 ms. At most a second.
	RoundTrip time.Duration
	// Alone says that no other node runs in this process. The raft timers are
	// the process's, and can only differ between regions where this holds: then
	// two of them hardly ever want to lead at the same moment.
	Alone bool
	// Wait is how long Open waits for a majority. After that it returns all
	// the same: reading works, Health says what is missing, and the node joins
	// when it can. 0 = 20 s.
	Wait time.Duration
}

// Node is a member of a cluster.
type Node struct {
	Region  string
	Name    string // unique in the cluster
	Address string // host:port at which this node reaches it
	Witness bool   // holds replicas and votes, but no conversation begins there and nobody is served
	Leaves  bool   // is going to be taken out of the list: its replicas move to the others
}

const (
	serverPrefix = "parley-" // and the node's name: a server's name
	routePing    = 2 * time.Second
	routePings   = 3 // without an answer: the connection counts as dead
	modeFile     = "cluster"
	dedupeWindow = 20 * time.Second // more than an append is ever tried again
	mostNodes    = 64
	ensureTry    = 2 * time.Second // for a stream; a request from before there was a leader is never answered

	// A server that is told not to listen for clients never listens for other
	// servers either. So it is told to listen where it can't: it gives up on
	// clients, and goes on. Ours come in-process.
	noPort  = 1 << 16
	nowhere = "127.0.0.1:65536"
)

func (c *Cluster) self(name string) (Node, bool) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}

// region returns the region of a node, "" if it is not in the cluster.
func (c *Cluster) region(node string) string {
	n, _ := c.self(node)
	return n.Region
}

// homes lists the regions in which conversations begin.
func (c *Cluster) homes() []string {
	return c.regions(func(n Node) bool { return !n.Witness && !n.Leaves })
}

func (c *Cluster) regions(which func(Node) bool) []string {
	var out []string
	for _, n := range c.Nodes {
		if which(n) && !slices.Contains(out, n.Region) {
			out = append(out, n.Region)
		}
	}
	return out
}

// holding lists the regions that can hold replicas.
func (c *Cluster) holding() []string { return c.regions(func(n Node) bool { return !n.Leaves }) }

// holders lists the regions that hold the log of a home: the home and the next
// ones in the order of the list, so that every node comes to the same answer
// and the home always has a replica.
func (c *Cluster) holders(home string) []string {
	all := c.holding()
	i := max(0, slices.Index(all, home))
	turned := slices.Concat(all[i:], all[:i])
	return turned[:min(len(turned), c.Replicas)]
}

// validate fills in the defaults and reports everything that is wrong.
func (c *Cluster) validate(opts Options) (*Cluster, error) {
	out := *c
	if out.Name == "" {
		out.Name = "parley"
	}
	if out.RoundTrip == 0 {
		out.RoundTrip = 150 * time.Millisecond
	}
	if out.Wait == 0 {
		out.Wait = 20 * time.Second
	}
	staying := len(slices.DeleteFunc(slices.Clone(out.Nodes), func(n Node) bool { return n.Leaves }))
	if out.Replicas == 0 {
		out.Replicas = min(3, staying)
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(out.Nodes) < 2 || len(out.Nodes) > mostNodes {
		wrong("%d nodes: a cluster has 2 to %d; a single node needs none", len(out.Nodes), mostNodes)
	}
	if out.Replicas < 1 || out.Replicas > min(5, max(1, staying)) {
		wrong("%d replicas of %d nodes: take 1 to 5, best 3", out.Replicas, staying)
	}
	if out.RoundTrip < 0 || out.RoundTrip > time.Second {
		wrong("a round trip of %s: at most 1s is bearable", out.RoundTrip)
	}
	word := regexp.MustCompile(`^[a-z0-9]{1,32}$`)
	name := regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$`)
	seen := map[string]bool{}
	remote := false
	for _, n := range out.Nodes {
		if !word.MatchString(n.Region) {
			wrong("node %q: region %q: lower-case letters and digits only", n.Name, n.Region)
		}
		if !name.MatchString(n.Name) || seen[n.Name] {
			wrong("node name %q: letters, digits, - and _, and every name once", n.Name)
		}
		seen[n.Name] = true
		host, port, err := net.SplitHostPort(n.Address)
		if err != nil || port == "" || port == "0" {
			wrong("node %q: address %q: want host:port", n.Name, n.Address)
		}
		remote = remote || !loopback(host)
	}
	if me, ok := out.self(opts.Node); !ok || me.Region != opts.Region {
		wrong("this node (%q in region %q) is not among the nodes", opts.Node, opts.Region)
	} else if out.Listen == "" {
		out.Listen = me.Address
	}
	if out.Advertise == "" {
		me, _ := out.self(opts.Node)
		out.Advertise = me.Address
	}
	if len(out.homes()) == 0 {
		wrong("every node is a witness or leaves: nobody serves users")
	}
	if host, _, err := net.SplitHostPort(out.Listen); err != nil || !loopback(host) {
		remote = true
	}
	if remote && out.TLS == nil {
		wrong("nodes on other machines need TLS certificates")
	}
	if out.TLS != nil && out.TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		wrong("the TLS configuration must require and verify the other node's certificate")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return &out, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// configure adds to the server's options what makes it a member.
func (c *Cluster) configure(o *server.Options, node string) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("cluster address: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("cluster address: %w", err)
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", noPort
	o.ReconnectErrorReports = 60 // of the tries to reach a node that is down, one a second
	o.Cluster = server.ClusterOpts{
		Name: c.Name, Host: host, Port: n,
		Advertise: c.Advertise, NoAdvertise: true,
		TLSConfig: c.TLS, TLSTimeout: 5,
		// All traffic is of one account: one connection, and the system's own.
		PoolSize:     1,
		PingInterval: routePing, MaxPingsOut: routePings,
		WriteDeadline: 5 * time.Second,
	}
	for _, peer := range c.Nodes {
		if peer.Name != node {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: peer.Address})
		}
	}
	if len(c.Nodes) == c.Replicas {
		// A request to read goes to any replica at random, be it next door or
		// an ocean away. Where every node has one, requests stay at home.
		reads := &server.SubjectPermission{Deny: []string{"$JS.API.DIRECT.GET.>"}}
		o.Cluster.Permissions = &server.RoutePermissions{Import: reads, Export: reads}
	}
	me, _ := c.self(node)
	o.Tags = append(o.Tags, "region:"+me.Region)
	for _, home := range c.homes() {
		if !me.Leaves && slices.Contains(c.holders(home), me.Region) {
			o.Tags = append(o.Tags, "holds:"+home)
		}
	}
	if len(c.holding()) >= c.Replicas { // else two replicas must share one
		o.JetStreamUniqueTag = "region:"
	}
	o.JetStreamMaxCatchup = 256 << 20
	return nil
}

// started waits until a server of a cluster is up. Its log can be read as soon
// as it is; whether it can be written is the cluster's.
func (l *Log) started(ctx context.Context, s *server.Server) error {
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for s.ClusterAddr() == nil || !s.JetStreamEnabled() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			s.Shutdown()
			return fmt.Errorf("open log: %w", ctx.Err())
		case <-limit.C:
			s.Shutdown()
			return fault.New(fault.Unavailable, "the log in %s did not start: is the disk full, the directory in use by another node, or the address %s taken?", l.opts.Dir, l.cluster.Listen)
		}
	}
	l.srv.Store(s)
	return nil
}

// checkMode refuses a directory that belongs to a log of the other kind: a
// server that joins a cluster throws streams away which the others don't know.
func (l *Log) checkMode() error {
	path := filepath.Join(l.opts.Dir, modeFile)
	was, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open log: %w", err)
	}
	name := strings.TrimSpace(string(was))
	switch known, kerr := l.knownStreams(); {
	case kerr != nil:
		return kerr
	case l.cluster == nil && name != "":
		return fault.New(fault.Invalid, "%s holds a node's part of the cluster %q; start it with its regions, or take another data directory", l.opts.Dir, name)
	case l.cluster == nil:
		return nil
	case name == "" && len(known) > 0:
		return fault.New(fault.Invalid, "%s holds the log of a single node, and joining a cluster would throw it away; "+
			"take another data directory for the cluster, or rename it to %s beside it: then its conversations are taken into the cluster", l.opts.Dir, AloneDir)
	case name != "" && name != l.cluster.Name:
		return fault.New(fault.Invalid, "%s belongs to the cluster %q, not to %q; take another data directory", l.opts.Dir, name, l.cluster.Name)
	case name != "":
		return nil
	}
	if err := atomicfile.Write(path, []byte(l.cluster.Name+"\n"), 0o600); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	return nil
}

// join ends when this node is a working member, or after the cluster's Wait
// when there is no majority yet: then the node goes on trying.
func (l *Log) join(ctx context.Context) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = cancel
	if n := len(l.cluster.holding()); n < 3 {
		l.lg.Warn("fewer than three regions: the death of one may stop the log; a witness region without users is enough", "regions", n)
	}
	if err := l.watchCluster(run); err != nil {
		return err
	}
	l.done.Go(func() { l.watchServer(run) })
	l.done.Go(func() { l.watchFiles(run) })
	l.done.Go(func() { l.settleAside(run) })
	l.done.Go(func() { l.rearrange(run) })
	failed := make(chan error, 1)
	l.done.Go(func() {
		if err := l.ensureAll(run); err != nil {
			why := err.Error()
			l.outage.Store(&why)
			failed <- err
			l.lg.Error("the log can't join its cluster", "err", err)
		}
	})
	wait := time.NewTimer(l.cluster.Wait)
	defer wait.Stop()
	select {
	case <-l.joined:
	case err := <-failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("join cluster: %w", ctx.Err())
	case <-wait.C:
		l.lg.Warn("no majority of the cluster's nodes yet; the node joins when there is one")
	}
	return nil
}

// ensureAll makes what is missing, again and again until it is all there. It
// gives up only when a stream that this node has held is gone.
func (l *Log) ensureAll(ctx context.Context) error {
	for ctx.Err() == nil {
		err := l.ensureOnce(ctx)
		if err == nil {
			close(l.joined)
			l.view.now()
			return nil
		}
		var known *fault.Error
		if errors.As(err, &known) && ctx.Err() == nil {
			return err
		}
		l.lg.Debug("cluster is not ready", "err", err)
		_ = pause.For(ctx, 100*time.Millisecond)
	}
	return nil
}

// Every full node makes the streams of all regions, so that the log of a
// region is there before its own first node is. A witness makes nothing, nor
// does a node that leaves. One that can't be made yet is made by rearrange: the
// nodes that shall hold it have not read the list that it is in.
func (l *Log) ensureOnce(ctx context.Context) error {
	if err := l.ensureHomes(ctx); err != nil {
		return err
	}
	return l.ensureShared(ctx)
}

func (l *Log) ensureHomes(ctx context.Context) error {
	known, err := l.knownStreams()
	if err != nil {
		return err
	}
	if err := l.findFormer(ctx); err != nil {
		return err
	}
	var names []string
	for s := range l.streams() {
		there, err := l.ensureStream(ctx, s, known)
		if err != nil {
			return err
		}
		if there {
			names = append(names, s.name)
		}
	}
	return l.noteStreams(names)
}

// makes reports whether this node makes streams.
func (l *Log) makes() bool {
	me, _ := l.cluster.self(l.opts.Node)
	return !me.Witness && !me.Leaves
}

// ensureShared makes the streams that belong to no region.
func (l *Log) ensureShared(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	kv, err := l.js.KeyValue(ctx, kvBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) && l.makes() {
		kv, err = l.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: kvBucket, History: 1, Replicas: l.cluster.Replicas})
	}
	if err != nil {
		return fmt.Errorf("open key-value bucket: %w", err)
	}
	l.kv = kv
	if !l.makes() { // it keeps a copy when it is told to, and reads none
		return nil
	}
	_, err = l.js.Stream(ctx, fileStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = l.js.CreateStream(ctx, fileConfig(l.cluster.Replicas))
	}
	if err != nil {
		return fmt.Errorf("open stream %s: %w", fileStream, err)
	}
	return nil
}

// ensureStream makes a stream and its queue if it makes any, and reports whether
// it is there.
func (l *Log) ensureStream(ctx context.Context, s homeStream, known []string) (there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ensureTry)
	defer cancel()
	name, mine := s.name, s.home == l.opts.Region
	stream, err := l.js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && slices.Contains(known, name):
		return false, fault.New(fault.Unavailable, "the log's stream %s was here before, and the cluster knows nothing of it: the other nodes' files were removed or belong to another cluster. "+
			"This node's files below %s may be the last copy: stop all nodes and copy it before anything else", name, l.opts.Dir)
	case errors.Is(err, jetstream.ErrStreamNotFound) && l.makes():
		stream, err = l.js.CreateStream(ctx, l.cluster.stream(s.home, s.shard))
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.ErrorCode == errNoPlace {
			if !mine {
				return false, nil
			}
			why := "the other nodes that shall hold this region's log don't know of it yet: put it into their lists of nodes and start them again, one by one"
			l.waits.Store(&why)
		}
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open stream %s: %w", name, err)
	}
	_, err = stream.Consumer(ctx, turns)
	if errors.Is(err, jetstream.ErrConsumerNotFound) && l.makes() {
		_, err = stream.CreateConsumer(ctx, l.turnsOf(s.home, mostLeases))
	}
	if err != nil {
		return false, fmt.Errorf("open the queue of %s: %w", name, err)
	}
	return true, nil
}

// errNoPlace is the server's code for a stream that too few nodes could hold.
const errNoPlace = 10005

// placement says which nodes can hold the log of a home. That of a region that
// is no more is at home anywhere.
func (c *Cluster) placement(home string) *jetstream.Placement {
	if !slices.Contains(c.homes(), home) {
		return nil
	}
	return &jetstream.Placement{Tags: []string{"holds:" + home}}
}

func (c *Cluster) stream(home string, shard int) jetstream.StreamConfig {
	subjects := fmt.Sprintf("conv.%s.%d.>", home, shard)
	return jetstream.StreamConfig{
		Name:       streamName(home, shard),
		Subjects:   []string{subjects},
		Storage:    jetstream.FileStorage,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew,
		Replicas:   c.Replicas,
		Placement:  c.placement(home),
		MaxMsgSize: maxPayload,
		Duplicates: dedupeWindow,
		// Every replica answers reads. What is stored is told to all regions
		// at once: their readers wait neither for a consumer nor for their own
		// replica, which learns what is durable with the next message only.
		AllowDirect: true,
		RePublish:   &jetstream.RePublish{Source: subjects, Destination: tailPrefix + subjects},
	}
}

// apiError is how the server says no.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     uint16 `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// ask sends a request to the server's interface and waits for the answer.
// Nobody there to answer is ErrNoResponders at once.
func (l *Log) ask(ctx context.Context, subject string, req, into any) error {
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	reply, err := l.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return err
	}
	var refused struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &refused); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	if refused.Error != nil {
		return refused.Error
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Data, into); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// Questions about a stream, in front of its name.
const (
	infoOf    = "$JS.API.STREAM.INFO."
	messageOf = "$JS.API.STREAM.MSG.GET."
	purgeOf   = "$JS.API.STREAM.PURGE."
)

// askLeader is ask for what a stream's leader knows: again and again until ctx
// ends.
func (l *Log) askLeader(ctx context.Context, about, stream string, req, into any) error {
	return l.again(ctx, stream, func(try context.Context) error { return l.ask(try, about+stream, req, into) })
}

// again puts a question to whoever leads a stream until it is answered or ctx
// ends.
func (l *Log) again(ctx context.Context, stream string, question func(try context.Context) error) error {
	for limit := l.leaderKnown(); ; {
		try, end := l.try(ctx, stream, limit)
		err := question(try)
		limit = end()
		var (
			refused *apiError
			api     *jetstream.APIError
		)
		final := errors.As(err, &refused) && refused.Code != 503 || errors.As(err, &api) && api.Code != 503
		if err == nil || final || pause.For(ctx, askPause) != nil {
			return err
		}
	}
}

// leaderKnown is when every node has heard of a new leader.
func (l *Log) leaderKnown() time.Duration {
	if l.cluster == nil {
		return leastKnown
	}
	return max(leastKnown, 3*l.cluster.RoundTrip)
}

// try bounds one try at a stream's leader. One that was made before there was a
// leader, or to one that is cut off, is never answered: it ends after limit, and
// at once when there is a new leader. end gives the limit of the next one, which
// is longer, as who is only slow is not asked too often.
func (l *Log) try(ctx context.Context, stream string, limit time.Duration) (try context.Context, end func() (next time.Duration)) {
	over := l.view.reign(stream)
	try, cancel := context.WithTimeout(ctx, limit)
	go func() {
		select {
		case <-over:
			cancel()
		case <-try.Done():
		}
	}()
	return try, func() time.Duration {
		cancel()
		select {
		case <-over:
			return l.leaderKnown()
		default:
			return min(2*limit, 3*l.leaderKnown())
		}
	}
}

// newest asks a stream's leader for the newest entry under a subject or filter:
// its sequence and checksum, or zeros if there is none.
func (l *Log) newest(ctx context.Context, stream, filter string) (seq, sum uint64, err error) {
	var got struct {
		Message struct {
			Seq uint64 `json:"seq"`
			Hdr []byte `json:"hdrs"`
		} `json:"message"`
	}
	err = l.askLeader(ctx, messageOf, stream, map[string]any{"last_by_subj": filter}, &got)
	var refused *apiError
	if errors.As(err, &refused) && refused.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	h, err := nats.DecodeHeadersMsg(got.Message.Hdr)
	if err != nil {
		return 0, 0, fmt.Errorf("decode headers: %w", err)
	}
	sum, err = strconv.ParseUint(h.Get(hdrSum), 16, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("decode checksum: %w", err)
	}
	return got.Message.Seq, sum, nil
}
