// Package app builds a node out of its parts, starts them in order and stops
// them in the opposite one. It is where adapters meet the core; nothing else
// may live here.
package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/account"
	"github.com/parleyhq/parley/internal/api"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/batch"
	"github.com/parleyhq/parley/internal/batch/kafka"
	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/channel/connector"
	"github.com/parleyhq/parley/internal/chat"
	"github.com/parleyhq/parley/internal/cluster"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/eventlog"
	"github.com/parleyhq/parley/internal/eventlog/rot"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/health"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/roster"
	"github.com/parleyhq/parley/internal/plain"
	"github.com/parleyhq/parley/internal/progress"
	"github.com/parleyhq/parley/internal/scale/crew"
	"github.com/parleyhq/parley/internal/snippets"
	"github.com/parleyhq/parley/internal/telemetry"
	"github.com/parleyhq/parley/internal/tlscert"
	"github.com/parleyhq/parley/internal/understand"
	"github.com/parleyhq/parley/internal/web"
)

// Options of an App.
type Options struct {
	Config  config.Config
	Version string
	Console *progress.Console // nil = silent
	Logger  *slog.Logger      // nil = discard
	Environ []string          // as os.Environ: where an engine may be named; nil = os.Environ()
	Alone   bool              // no other node runs in this process
	// Log is what turns are written to and read from, for simulations that put
	// something in between; nil = the node's log itself.
	Log func(*eventlog.Log) chat.Log
}

// App is one node.
type App struct {
	opts Options
	cfg  config.Config
	lg   *slog.Logger

	log      *eventlog.Log
	history  *history
	chat     *chat.Service
	roster   *roster.Roster
	gateway  *gateway.Gateway
	batches  *batch.Service
	accounts *account.Service
	bridges  []*kafka.Bridge
	crews    atomic.Pointer[[]*crew.Crew] // of the engines that are scaled
	crewing  sync.Mutex                   // held while crews come and go
	board    *health.Board
	metrics  *telemetry.Metrics
	listener net.Listener
	server   *http.Server
	world    atomic.Pointer[cluster.View] // nil for a node that is alone, and before the world is started
	certs    *tlscert.Certs               // nil where nodes show each other none

	understanding *understand.Service     // nil: engines answer everything
	distant       []connector.Bot         // the bots that run elsewhere
	keys          *connector.Keys         // for them; nil if there are none
	outlet        *channel.Outlet         // for channels that have to be called
	doors         map[string]http.Handler // what those send, by path
	runners       []runner                // those that fetch it

	stopping atomic.Bool // this node goes
	away     atomic.Bool // it was taken out of service

	undo    []step // what Stop does, last in first out
	stop    sync.Once
	stopErr error
	ended   chan struct{}         // closed when the node has stopped, or its server ended by itself
	end     sync.Once             // closes ended
	down    atomic.Pointer[error] // why the server ended by itself
}

// step undoes a part of Start.
type step struct {
	name string
	f    func(context.Context) error
}

// New checks what can be checked without touching anything.
func New(opts Options) (*App, error) {
	if opts.Config.Data == "" || opts.Config.Listen == "" || len(opts.Config.Bots) == 0 {
		return nil, errors.New("app: the configuration is not complete; config.Load makes one")
	}
	if opts.Console == nil {
		opts.Console = progress.New(progress.Options{})
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Environ == nil {
		opts.Environ = os.Environ()
	}
	return &App{
		opts: opts, cfg: opts.Config, lg: opts.Logger, ended: make(chan struct{}),
		metrics: telemetry.New(opts.Version, opts.Config.Region),
	}, nil
}

// Start starts every part. On an error what was started is stopped again.
// Engines may still be loading when it returns: questions wait for them.
func (a *App) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Drain)
			defer cancel()
			err = errors.Join(err, a.unwind(stop))
		}
	}()
	for _, part := range []struct {
		name  string
		start func(context.Context) error
	}{
		{"data directory", a.claimData},
		{"small files", a.keepSmall},
		{"listener", a.listen},
		{"log", a.startLog},
		{"store", a.unlessWitness(a.startStore)},
		{"engines", a.unlessWitness(a.startEngines)},
		{"understanding", a.unlessWitness(a.startUnderstanding)},
		{"accounts", a.unlessWitness(a.startAccounts)},
		{"chat", a.unlessWitness(a.startChat)},
		{"batches", a.unlessWitness(a.startBatches)},
		{"kafka", a.unlessWitness(a.startKafka)},
		{"http", a.startHTTP},
		{"world", a.startWorld},
		{"pid file", a.writePid},
	} {
		began := time.Now()
		if err := part.start(ctx); err != nil {
			return fmt.Errorf("start %s: %w", part.name, err)
		}
		a.lg.Debug("started", "part", part.name, "took", time.Since(began))
	}
	return nil
}

func (a *App) onStop(name string, f func(context.Context) error) {
	a.undo = append(a.undo, step{name, f})
}

func (a *App) unwind(ctx context.Context) error {
	var errs []error
	for i := len(a.undo) - 1; i >= 0; i-- {
		began := time.Now()
		if err := a.undo[i].f(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", a.undo[i].name, err))
		}
		a.lg.Debug("stopped", "part", a.undo[i].name, "took", time.Since(began))
	}
	a.undo = nil
	return errors.Join(errs...)
}

// Stop ends the node: not ready, no new requests, running answers get until
// ctx ends and are then left at their last checkpoint for the next start.
func (a *App) Stop(ctx context.Context) error {
	a.stop.Do(func() {
		if a.board != nil {
			a.board.Drain(true)
		}
		a.stopErr = a.unwind(ctx)
		a.end.Do(func() { close(a.ended) })
	})
	return a.stopErr
}

// Wait returns when the node has stopped, or its server ended by itself.
func (a *App) Wait() error {
	<-a.ended
	if err := a.down.Load(); err != nil {
		return *err
	}
	return a.stopErr
}

// Addr returns the address that the node listens on.
func (a *App) Addr() string { return a.listener.Addr().String() }

// URL returns where the page is, for a browser on this machine.
func (a *App) URL() string {
	scheme := "http"
	if a.cfg.TLS.Cert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(a.Addr())
	if err != nil {
		return scheme + "://" + a.Addr()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// ErrLocked says that another process has the data directory.
var ErrLocked = errors.New("another process has it")

// claimData makes the data directory and keeps other nodes out of it.
func (a *App) claimData(context.Context) error {
	if err := os.MkdirAll(a.cfg.Data, 0o700); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the data directory %s can't be made", a.cfg.Data)
	}
	unlock, err := LockDir(a.cfg.Data)
	if err != nil {
		pid, _ := os.ReadFile(filepath.Join(a.cfg.Data, "parley.pid"))
		return fault.Wrap(err, fault.Conflict, "another node (process %s) uses %s; stop it, or choose another directory with --data", bytes.TrimSpace(pid), a.cfg.Data)
	}
	a.onStop("data directory", func(context.Context) error { return unlock() })
	return nil
}

// keepSmall puts back what has rotted of the small files that are neither the
// log's nor the store's (certificates, secrets), and keeps copies of them.
func (a *App) keepSmall(context.Context) error {
	ours := func(path string) bool {
		return path == "log" || strings.HasPrefix(path, "log.") || path == "regions" || path == drainedFile || strings.HasPrefix(path, "store.db") || strings.HasPrefix(path, "parley.") ||
			strings.HasPrefix(path, "compare-") || path == "lock"
	}
	ledger := rot.NewLedger(a.cfg.Data, filepath.Join(a.cfg.Data, "kept"), ours)
	found, err := ledger.Mend()
	if err != nil {
		return err
	}
	for _, place := range found.Places {
		a.lg.Error("damaged on the disk: a file is not what was written; it is put back from its copy", "where", place)
	}
	for _, what := range found.Lost {
		a.lg.Error("could not be put back", "what", what)
	}
	run, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		tick := time.NewTicker(keepEvery)
		defer tick.Stop()
		for run.Err() == nil {
			select {
			case <-run.Done():
			case <-tick.C:
			}
			if err := ledger.Note(); err != nil {
				a.lg.Warn("the copies of small files are not being kept", "err", err)
			}
		}
	})
	a.onStop("small files", func(context.Context) error {
		cancel()
		keeping.Wait()
		return nil
	})
	return nil
}

const keepEvery = 10 * time.Second

func (a *App) writePid(context.Context) error {
	path := filepath.Join(a.cfg.Data, "parley.pid")
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return err
	}
	a.onStop("pid file", func(context.Context) error { return os.Remove(path) })
	return nil
}

func (a *App) listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", a.cfg.Addr())
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "can't listen on %s; is another program there? --listen chooses another address, port 0 any free one", a.cfg.Addr())
	}
	a.listener = l
	a.onStop("listener", func(context.Context) error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// unlessWitness leaves out what a node that serves nobody does not need.
func (a *App) unlessWitness(start func(context.Context) error) func(context.Context) error {
	if !a.cfg.Witness() {
		return start
	}
	return func(context.Context) error { return nil }
}

func (a *App) startLog(ctx context.Context) error {
	world, err := a.members()
	if err != nil {
		return err
	}
	log, err := eventlog.Open(ctx, eventlog.Options{
		Dir: filepath.Join(a.cfg.Data, "log"), Region: a.cfg.Region, Node: a.cfg.Node, Cluster: world,
		Reserve: a.cfg.Limits.Reserve, Logger: a.lg,
	})
	if err != nil {
		return err
	}
	a.log = log
	a.onStop("log", func(context.Context) error { return log.Close() })
	return a.adopt(ctx)
}

func (a *App) startStore(ctx context.Context) error {
	h, err := openHistory(ctx, filepath.Join(a.cfg.Data, "store.db"), a.log, a.lg)
	if err != nil {
		return err
	}
	a.history = h
	a.onStop("store", func(context.Context) error { return h.Close() })
	return nil
}

func (a *App) startChat(ctx context.Context) error {
	a.gauges()
	bots, err := a.chatBots()
	if err != nil {
		return err
	}
	homes := []string{a.cfg.Region}
	if a.cfg.Clustered() {
		homes = []string{} // startWorld will tell
	}
	var log chat.Log = a.log
	if a.opts.Log != nil {
		log = a.opts.Log(a.log)
	}
	if a.outlet, err = channel.NewOutlet(channel.OutletOptions{Values: a.log, Logger: a.lg}); err != nil {
		return err
	}
	svc, err := chat.New(chat.Options{
		Homes: homes, Understanding: a.understanding, Log: log, Engines: a.roster, Bots: bots, Worker: a.cfg.Node, Orphans: a.orphans,
		Checkpoint: a.cfg.Checkpoint, Running: a.cfg.Limits.Running, Queue: a.cfg.Limits.Queue, MaxText: int(a.cfg.Limits.Message),
		Patience: a.cfg.Patience, Outlet: a.outlet, Meter: a.meter, Observer: a.metrics, Logger: a.lg,
		Files: a.log, FileLimits: chat.FileLimits{Size: a.cfg.Limits.File, Count: mostFiles(a.cfg.Limits.Files), Types: a.cfg.Limits.FileTypes},
	})
	if err != nil {
		return err
	}
	a.chat = svc
	if err := a.openCalled(); err != nil {
		return err
	}
	if err := svc.Start(ctx); err != nil {
		return err
	}
	a.onStop("chat", func(ctx context.Context) error { svc.Stop(ctx); return nil })
	a.runCalled()
	return nil
}

// mostFiles is a count of the configuration as chat has it: there, 0 is open.
func mostFiles(n *int) int {
	if n == nil || *n == 0 {
		return -1
	}
	return *n
}

// gauges shows what was found on the disk.
func (a *App) gauges() {
	for _, g := range []struct {
		name, help string
		read       func(eventlog.Integrity) float64
	}{
		{"parley_log_checked_bytes", "Bytes of the log's files that were read when all of them were read last.", func(i eventlog.Integrity) float64 { return float64(i.Bytes) }},
		{"parley_log_checked_timestamp_seconds", "When all of the log's files were read last.", func(i eventlog.Integrity) float64 { return float64(i.Checked.Unix()) }},
		{"parley_log_damaged_places", "Places in the log's files that were found damaged since the start.", func(i eventlog.Integrity) float64 { return float64(i.Damaged) }},
		{"parley_log_restored_records", "Records and files that were put back since the start.", func(i eventlog.Integrity) float64 { return float64(i.Restored) }},
		{"parley_log_lost_places", "Damaged places since the start for which nothing could be put back.", func(i eventlog.Integrity) float64 { return float64(len(i.Lost)) }},
	} {
		a.metrics.Gauge(g.name, g.help, func() float64 { return g.read(a.log.Integrity()) })
	}
	a.metrics.Gauge("parley_log_elections", "How many elections this node has noticed in its log's groups since the start, those that were wished included.",
		func() float64 { return float64(a.log.Elections()) })
	a.metrics.Gauge("parley_store_rebuilds", "How often the store was made again since the start because its file was damaged.",
		func() float64 { return float64(a.history.Rebuilt()) })
	a.metrics.Gauge("parley_store_lag_entries", "How many entries of the log the store has not copied yet.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		lag, err := a.history.Lag(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(lag)
	})
}

// orphans lists the turns of a home that had not ended, as far as the log
// knows now.
func (a *App) orphans(ctx context.Context, home string) ([]chat.Orphan, error) {
	if err := a.current(ctx, func(stream string) bool { return a.log.HomeOf(stream) == home }); err != nil {
		return nil, err
	}
	rows, err := a.history.OpenTurns(ctx)
	if err != nil {
		return nil, err
	}
	var out []chat.Orphan
	for _, r := range rows {
		if event.HomeOf(r.Conversation) == home {
			out = append(out, chat.Orphan{Conversation: r.Conversation, Seq: r.Seq})
		}
	}
	return out, nil
}

// current waits until the store has all that the log holds by now of the
// streams that are wanted.
func (a *App) current(ctx context.Context, wanted func(stream string) bool) error {
	streams, err := a.log.Streams(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(streams))
	var wg sync.WaitGroup
	for i, stream := range streams {
		if !wanted(stream) {
			continue
		}
		wg.Go(func() {
			last, err := a.log.Last(ctx, stream)
			if err == nil {
				err = a.history.WaitFor(ctx, stream, last)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// startHTTP serves. When the node stops, event streams end first, because
// their clients come back by position; other requests may finish.
func (a *App) startHTTP(ctx context.Context) error {
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	handler, err := a.handler(ctx, stopping.Done())
	if err != nil {
		stop()
		return err
	}
	a.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.lg.With("part", "http").Handler(), slog.LevelDebug),
	}
	serve := func() error { return a.server.Serve(a.listener) }
	if a.cfg.TLS.Cert != "" {
		a.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		serve = func() error { return a.server.ServeTLS(a.listener, a.cfg.TLS.Cert, a.cfg.TLS.Key) }
	}
	go func() {
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			err = fmt.Errorf("serve: %w", err)
			a.down.Store(&err)
			a.lg.Error("the server ended", "err", err)
			a.end.Do(func() { close(a.ended) })
		}
	}()
	a.onStop("http", func(ctx context.Context) error {
		stop()
		if err := a.server.Shutdown(ctx); err != nil {
			return a.server.Close()
		}
		return nil
	})
	return nil
}

func (a *App) handler(ctx context.Context, stopping <-chan struct{}) (http.Handler, error) {
	a.board = a.checks()
	if a.cfg.Witness() {
		return api.Witness(a.cfg.Region, a.board), nil
	}
	secret, err := a.secret(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]auth.Key, 0, len(a.cfg.Keys))
	for _, k := range a.cfg.Keys {
		keys = append(keys, auth.Key{Name: k.Name, Hash: k.Hash, Operator: k.Operator})
	}
	guard, err := auth.New(auth.Options{Secret: secret, Keys: keys, Open: a.cfg.Loopback(), Lifetime: a.cfg.Session, Secure: a.cfg.TLS.Cert != ""})
	if err != nil {
		return nil, err
	}
	regions := a.origins()
	page := web.Handler(regions...)
	if a.cfg.Webchat != "" {
		if page, err = web.Webchat(a.cfg.Webchat, page); err != nil {
			return nil, err
		}
	}
	fresh := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		_ = a.current(ctx, func(string) bool { return true }) // a lagging list is better than none
	}
	without, err := plain.Handler(plain.Options{
		Chat: a.chat, Store: a.history, Guard: guard, Region: a.cfg.Region, Fresh: fresh, Style: web.Asset("plain.css"), Dark: web.Asset("dark.css"),
		MaxBody: a.cfg.Limits.Body, Stopping: stopping, Logger: a.lg,
	})
	if err != nil {
		return nil, err
	}
	o := api.Options{
		Chat: a.chat, Store: a.history, Guard: guard, Board: a.board, Metrics: a.metrics, Info: a.info, Scale: a.scaling, Regions: a.regions, Understanding: a.understanding, Fresh: fresh, Snippets: snippets.New(a.log), Accounts: a.accounts, Currency: a.cfg.Currency,
		Gateway: a.gateway.For, Batches: a.batches, Page: page, Plain: without, Origins: append(regions, a.cfg.Origins...), Widget: a.widget(regions), MaxBody: a.cfg.Limits.Body, Heartbeat: a.cfg.Heartbeat, Stopping: stopping, Logger: a.lg,
	}
	if err := a.channels(&o, secret); err != nil {
		return nil, err
	}
	if err := a.connector(&o, secret); err != nil {
		return nil, err
	}
	a.letIn(&o)
	return api.New(o)
}

func (a *App) checks() *health.Board {
	log := health.Check{Name: "log", Vital: true, Probe: func(ctx context.Context) error {
		if a.certs != nil {
			if err := a.certs.Health(); err != nil {
				return err
			}
		}
		return a.log.Health(ctx)
	}}
	if a.cfg.Witness() {
		return health.New(time.Second, log, health.Check{Name: "files", Probe: a.files})
	}
	checks := []health.Check{
		log,
		{Name: "store", Probe: a.history.Health},
		{Name: "files", Probe: a.files},
		{Name: "projector", Probe: a.history.Copying},
		{Name: "engine", Probe: a.roster.Health},
	}
	if len(a.cfg.Engines) > 1 {
		for _, e := range a.cfg.Engines {
			checks = append(checks, health.Check{Name: "engine " + e.Name, Probe: func(ctx context.Context) error { return a.roster.Healthy(ctx, e.Name) }})
		}
	}
	if a.understanding != nil {
		checks = append(checks, health.Check{Name: "understanding", Probe: a.understanding.Health})
	}
	for i, b := range a.bridges {
		checks = append(checks, health.Check{Name: "kafka " + a.cfg.Kafka[i].Name, Probe: b.Health})
	}
	return health.New(time.Second, checks...)
}

// files says what of the log's files could not be put right.
func (a *App) files(context.Context) error {
	if lost := a.log.Integrity().Lost; len(lost) > 0 {
		return fault.New(fault.Unavailable, "%d places of the log were damaged and could not be put back (%s); the rest is served, and the node's log names them all", len(lost), lost[0])
	}
	return nil
}

func (a *App) info() api.Info {
	st := a.roster.Default()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := a.roster.Health(ctx); err != nil && st.Problem == "" {
		st.Ready, st.Problem = false, fault.MessageOf(err)
	}
	i := api.Info{
		Version: a.opts.Version, Region: a.cfg.Region,
		Engine: api.EngineInfo{Name: st.Name, Model: st.Model, Demo: st.Demo, Ready: st.Ready, Problem: st.Problem},
		Limits: map[string]int{"message_bytes": int(a.cfg.Limits.Message)},
	}
	if l := a.chat.Limits(); l.Count > 0 {
		i.Limits["file_bytes"], i.Limits["files"], i.FileTypes = int(l.Size), l.Count, l.Types
	}
	for _, b := range a.cfg.Bots {
		i.Bots = append(i.Bots, api.BotInfo{ID: b.ID, Name: b.Name, Vision: b.URL != "" || a.roster.Sees(b.Model)})
	}
	return i
}

// operation is what the GenAI conventions call one of the gateway's.
func operation(r *gateway.Record) string {
	switch r.Op {
	case gateway.Completions:
		return "text_completion"
	case gateway.Embeddings:
		return "embeddings"
	case gateway.Chat:
	}
	return telemetry.Chat
}

// observer passes what the gateway sees on to the metrics.
type observer struct{ m *telemetry.Metrics }

func (o observer) First(r *gateway.Record, after time.Duration) {
	o.m.First(operation(r), r.Engine, r.Model, after)
}

func (o observer) Next(r *gateway.Record, gap time.Duration) {
	o.m.Next(operation(r), r.Engine, r.Model, gap)
}

func (o observer) End(r *gateway.Record) {
	if r.Cached != "" {
		o.m.Cached(r.Model, string(r.Cached))
	}
	if r.Cached == gateway.Hit {
		return // no engine was asked
	}
	o.m.Answered(operation(r), r.Engine, r.Model, string(r.Code), time.Since(r.Start), r.Usage)
	for range r.Resume {
		o.m.Continued(r.Engine, r.Model, r.By)
	}
}
