// Package eventlog is the durable, ordered log under every conversation:
// NATS JetStream, embedded. It is the only package that knows NATS. What it
// promises: an append that was acknowledged is on the disk (fsync) and is
// never lost to kill -9 or a power cut; entries of a conversation have one
// order; a guarded append loses against a newer entry; every entry carries a
// checksum that is verified when it is read.
package eventlog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/internal/atomicfile"
	"github.com/parleyhq/parley/internal/eventlog/rot"
	"github.com/parleyhq/parley/internal/fault"
)

// Options of a log. Dir is required.
type Options struct {
	Dir     string        // everything lives below it
	Region  string        // home of new conversations; "" = "local"
	Node    string        // this node's name; "" = Region
	Lease   time.Duration // how long a turn's lease lives without a sign of life; 0 = 3 s
	Reserve int64         // bytes kept free on the disk: appends are refused below; 0 = 64 MiB
	Logger  *slog.Logger  // nil = discard
	// Cluster makes the log one that several nodes hold together; nil = this
	// node alone.
	Cluster *Cluster
	// Scrub is how often all files are read, in search of damage; 0 = 24 h.
	Scrub time.Duration
	// MemoryOnly skips fsync. Only for tests of things that aren't about
	// durability.
	MemoryOnly bool
}

// Log is an open log. Open starts it, Close stops it.
type Log struct {
	opts Options
	lg   *slog.Logger
	nc   *nats.Conn
	js   jetstream.JetStream
	kv   jetstream.KeyValue
	disk diskGuard

	cluster *Cluster      // nil = this node alone
	secret  string        // of the operator's account, in this process
	joined  chan struct{} // closed when the streams and kv are there
	view    clusterView
	polls   polls
	waits   atomic.Pointer[string] // what joining waits for, if not for a majority

	srv    atomic.Pointer[server.Server]
	stop   context.CancelFunc
	done   sync.WaitGroup
	outage atomic.Pointer[string] // why the engine is down, nil while it is up
	ledger *rot.Ledger
	rotten atomic.Bool // a scrub found damage: the server must start again

	mu         sync.Mutex // guards all below
	committers map[string]appender
	closed     bool
	twins      map[string]*rot.Twin // of a node that is alone, by stream
	horizons   map[string]*horizon  // of a node that is alone, by stream
	integrity  Integrity
	former     []string // regions that are no more, whose conversations are in the log
}

const (
	shards = 1 // per home region; a name in subjects and streams, so that more can come

	streamPrefix = "CONV_"
	maxPayload   = 4 << 20 // bytes of one entry; the API's own limits are lower
	kvBucket     = "parley"
	kvStream     = "KV_" + kvBucket
	kvSubjects   = "$KV." + kvBucket + "." // in front of a key
	ioTimeout    = 5 * time.Second
)

// Open starts the log below opts.Dir and returns when it can be read and
// written.
func Open(ctx context.Context, opts Options) (*Log, error) {
	if opts.Dir == "" {
		return nil, errors.New("open log: Dir is empty")
	}
	if opts.Region == "" {
		opts.Region = "local"
	}
	if opts.Node == "" {
		opts.Node = opts.Region
	}
	if opts.Lease == 0 {
		opts.Lease = 3 * time.Second
	}
	if opts.Reserve == 0 {
		opts.Reserve = 64 << 20
	}
	if opts.Scrub == 0 {
		opts.Scrub = scrubEvery
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &Log{
		opts: opts, lg: opts.Logger.With("part", "log"), disk: diskGuard{dir: opts.Dir, reserve: opts.Reserve},
		committers: map[string]appender{}, twins: map[string]*rot.Twin{}, horizons: map[string]*horizon{}, joined: make(chan struct{}),
		secret: rand.Text(),
	}
	l.ledger = l.keepsakes()
	if opts.Cluster != nil {
		c, err := opts.Cluster.validate(opts)
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		l.cluster = c
	}
	if err := l.mendSmall(); err != nil {
		return nil, err
	}
	if err := l.checkMode(); err != nil {
		return nil, err
	}
	if err := l.recallFormer(); err != nil {
		return nil, err
	}
	if err := l.startServer(ctx); err != nil {
		return nil, err
	}
	nc, err := nats.Connect("", nats.InProcessServer(l), nats.Name("parley"),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
		nats.CustomInboxPrefix("_INBOX.p"))
	if err != nil {
		l.srv.Load().Shutdown()
		return nil, fmt.Errorf("connect to the embedded log: %w", err)
	}
	l.nc = nc
	if l.js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(8192), jetstream.WithPublishAsyncTimeout(ioTimeout)); err == nil {
		if l.cluster != nil {
			err = l.join(ctx)
		} else {
			err = l.ensureStreams(ctx)
		}
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	if l.cluster != nil {
		return l, nil
	}
	close(l.joined)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = cancel
	l.done.Go(func() { l.watchServer(run) })
	l.done.Go(func() { l.watchFiles(run) })
	return l, nil
}

// Close stops the log. Acknowledged entries are on the disk already.
func (l *Log) Close() error {
	l.mu.Lock()
	for _, c := range l.committers {
		if !l.closed {
			c.close()
		}
	}
	l.closed = true
	l.mu.Unlock()
	if l.stop != nil {
		l.stop()
	}
	l.done.Wait()
	if l.nc != nil {
		l.nc.Close()
	}
	if s := l.srv.Load(); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
	return l.noteStopped()
}

// Region returns the home region of conversations that begin here.
func (l *Log) Region() string { return l.opts.Region }

// InProcessConn connects the client to whichever server is running now; the
// server is replaced when the disk was full.
func (l *Log) InProcessConn() (net.Conn, error) {
	s := l.srv.Load()
	if s == nil {
		return nil, errors.New("the embedded log is not running")
	}
	return s.InProcessConn()
}

func (l *Log) startServer(ctx context.Context) error {
	if err := l.mend(ctx); err != nil {
		return err
	}
	o := &server.Options{
		ServerName:            serverPrefix + l.opts.Node,
		DontListen:            true,
		JetStream:             true,
		StoreDir:              l.opts.Dir,
		SyncAlways:            !l.opts.MemoryOnly,
		JetStreamMaxMemory:    16 << 20,
		JetStreamMaxStore:     1 << 50, // diskGuard is the limit
		MaxPayload:            maxPayload,
		MaxPending:            64 << 20,
		NoSigs:                true,
		NoLog:                 true,
		DisableShortFirstPing: true,
	}
	if l.cluster != nil {
		place, of := l.cluster.place(l.opts.Node)
		if err := setTimers(timersFor(l.cluster.RoundTrip, place, of)); err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		// Who does not say who he is gets into the ordinary account.
		system := server.NewAccount(server.DEFAULT_SYSTEM_ACCOUNT)
		o.Accounts, o.SystemAccount = []*server.Account{system}, system.Name
		o.Users = []*server.User{{Username: operator, Password: l.secret, Account: system}}
		if err := l.cluster.configure(o, l.opts.Node); err != nil {
			return fmt.Errorf("open log: %w", err)
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("configure the embedded log: %w", err)
	}
	s.SetLoggerV2(serverLog{l.lg}, false, false, false)
	s.Start()
	if l.cluster != nil {
		return l.started(ctx, s)
	}
	limit := 30 * time.Second // recovery of a large log after kill -9 reads every block
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(d))
	}
	if !s.ReadyForConnections(limit) || !s.JetStreamEnabled() {
		s.Shutdown()
		return fault.New(fault.Unavailable, "the log in %s did not start; is the disk full, or the directory in use by another node?", l.opts.Dir)
	}
	l.srv.Store(s)
	return nil
}

// onlyBusy holds for a server that was asked for its health while the processor
// was busy: the answer begins with a look that must be over within one
// millisecond. That is no illness.
func onlyBusy(h *server.HealthStatus) bool {
	return strings.Contains(h.Error, "ready for connections")
}

// watchServer starts the server again when it can't write any more. After a
// write that failed for want of room it either switches itself off, or refuses
// every further write of that stream, in silence, with room or without; reads
// go on then, and the new server waits for the room.
func (l *Log) watchServer(ctx context.Context) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	ill := 0 // looks in a row that found it so
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s := l.srv.Load()
		off := !s.Running() || !s.JetStreamEnabled()
		if l.rotten.Swap(false) {
			l.down("files of the log are damaged; it starts again and puts them right")
			off = true
		}
		if !off && l.cluster != nil {
			continue // a replica that falls behind is not down: see State
		}
		if !off {
			h := s.Healthz(nil)
			if h.Error == "" || onlyBusy(h) {
				ill = 0
				continue
			}
			if ill++; ill < 2 {
				continue
			}
			l.down("the log can't write (disk full?) and refuses new entries; it starts again by itself when there is room: " + h.Error)
			if l.disk.check() != nil {
				continue
			}
		}
		l.down("the log switched itself off (disk full?); it starts again by itself")
		if l.cluster != nil && l.disk.check() != nil {
			continue // it could not start, and takes half a minute to find out
		}
		s.Shutdown()
		s.WaitForShutdown()
		if err := l.startServer(ctx); err != nil {
			l.lg.Warn("log does not start yet", "err", err)
			continue
		}
		_ = l.nc.ForceReconnect() // fails only on a closed connection
		l.outage.Store(nil)
		l.lg.Info("log is up again")
		if l.cluster != nil {
			l.done.Go(func() { l.settleAside(ctx) })
		}
	}
}

// down notes why the log can't be written, once for an outage.
func (l *Log) down(why string) {
	if l.outage.CompareAndSwap(nil, &why) {
		l.lg.Error("log is down", "reason", why)
	}
}

func streamName(home string, shard int) string { return fmt.Sprintf(streamPrefix+"%s_%d", home, shard) }

// homeStream is a stream of conversations that are at home in one region.
type homeStream struct {
	name, home string
	shard      int
}

// streams yields the streams of all regions, oldest region first.
func (l *Log) streams() iter.Seq[homeStream] {
	return func(yield func(homeStream) bool) {
		for _, home := range l.Homes() {
			for shard := range shards {
				if !yield(homeStream{streamName(home, shard), home, shard}) {
					return
				}
			}
		}
	}
}

func (l *Log) ensureStreams(ctx context.Context) error {
	known, err := l.knownStreams()
	if err != nil {
		return err
	}
	want := make([]string, 0, shards)
	for s := range l.streams() {
		name := s.name
		want = append(want, name)
		_, err := l.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) && slices.Contains(known, name) && !l.hasBlocks(name) {
			return fault.New(fault.Unavailable, "the log's stream %s was here before and is gone: the files below %s are damaged or were removed. "+
				"Restore them (parley store restore), or move the directory away to begin anew", name, l.opts.Dir)
		}
		_, err = l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:               name,
			Subjects:           []string{fmt.Sprintf("conv.%s.%d.>", s.home, s.shard)},
			Storage:            jetstream.FileStorage,
			Retention:          jetstream.LimitsPolicy,
			Discard:            jetstream.DiscardNew,
			Replicas:           1,
			MaxMsgSize:         maxPayload,
			Duplicates:         30 * time.Second,
			AllowDirect:        true,
			AllowAtomicPublish: true,
		})
		if err != nil {
			return fmt.Errorf("open stream %s: %w", name, err)
		}
		last, err := l.Last(ctx, name)
		if err != nil {
			return fmt.Errorf("open stream %s: %w", name, err)
		}
		l.horizonOf(name).reach(last) // mend has flushed it
	}
	if l.kv, err = l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: kvBucket, History: 1, Replicas: 1}); err != nil {
		return fmt.Errorf("open key-value bucket: %w", err)
	}
	if _, err := l.js.CreateOrUpdateStream(ctx, fileConfig(1)); err != nil {
		return fmt.Errorf("open stream %s: %w", fileStream, err)
	}
	return l.noteStreams(want)
}

// The names of the streams that were made here stand in a file beside them, so
// that a lost stream is noticed instead of being made anew, empty.
func (l *Log) knownStreams() ([]string, error) {
	b, err := os.ReadFile(filepath.Join(l.opts.Dir, "streams"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read list of streams: %w", err)
	}
	return strings.Fields(string(b)), nil
}

func (l *Log) noteStreams(names []string) error {
	known, err := l.knownStreams()
	if err != nil || slices.Equal(known, names) {
		return err
	}
	path := filepath.Join(l.opts.Dir, "streams")
	if err := atomicfile.Write(path, []byte(strings.Join(names, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("write list of streams: %w", err)
	}
	return nil
}

// Health is nil if the log can be written now.
func (l *Log) Health(ctx context.Context) error {
	if err := l.disk.check(); err != nil {
		return err // the cause, if there is an outage too
	}
	if why := l.outage.Load(); why != nil {
		return fault.New(fault.Unavailable, "%s", *why)
	}
	if l.cluster != nil {
		return l.clusterHealth()
	}
	_, err := l.Last(ctx, l.Home())
	return err
}

// serverLog passes the server's warnings on and keeps its chatter at debug.
type serverLog struct{ lg *slog.Logger }

func (s serverLog) Noticef(format string, v ...any) { s.lg.Debug(fmt.Sprintf(format, v...)) }
func (s serverLog) Warnf(format string, v ...any)   { s.say(slog.LevelWarn, format, v) }
func (s serverLog) Errorf(format string, v ...any)  { s.say(slog.LevelError, format, v) }
func (s serverLog) Fatalf(format string, v ...any)  { s.say(slog.LevelError, format, v) }
func (s serverLog) Debugf(format string, v ...any)  {}
func (s serverLog) Tracef(format string, v ...any)  {}

// say leaves out what is as it should be: that there is no listener for
// clients, that a node which is down can't be dialled, that a password which
// lives in this process is not hashed, and what a server says while it stops.
func (s serverLog) say(level slog.Level, format string, v []any) {
	msg := fmt.Sprintf(format, v...)
	usual := []string{strconv.Itoa(noPort), "Waiting for routing", "Plaintext passwords", "store is closed", "Metalayer blocking snapshot"}
	if slices.ContainsFunc(usual, func(s string) bool { return strings.Contains(msg, s) }) ||
		strings.Contains(msg, "TLS route handshake error") && (strings.HasSuffix(msg, "EOF") || strings.HasSuffix(msg, "reset by peer")) {
		level = slog.LevelDebug
	}
	s.lg.Log(context.Background(), level, msg)
}
