// Package front is the edge's HTTP part: a reverse proxy to a living region for
// the page, the API, event streams and WebSockets. It measures the regions,
// repeats a request elsewhere where that cannot do harm, and re-attaches
// Parley's own event streams to another region without the client noticing.
package front

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/edge"
	"github.com/parleyhq/parley/internal/fault"
)

// Observer counts what the front does. Its methods are called from many
// goroutines and must not block.
type Observer interface {
	// Tried is one attempt at a region: status is 0 if there was no answer.
	Tried(region string, status int, took time.Duration)
	// Moved is an event stream that went on in another region, or in the same
	// one again, after it was interrupted for so long.
	Moved(from, to string, gap time.Duration)
	// Probed is one active check.
	Probed(region string, ok bool, took time.Duration)
}

// Options of a front. Only Edge is required.
type Options struct {
	// Edge decides, and is told what the front measures. Each of its regions
	// needs a URL of a scheme and a host.
	Edge   *edge.Edge
	Policy string // of Edge; "" = the first one
	// Trusted are the proxies in front of this one whose X-Forwarded-For and
	// X-Forwarded-Proto are believed. Everybody else's are dropped.
	Trusted []netip.Prefix
	TLS     *tls.Config // towards the regions; nil = the system's roots

	Interval      time.Duration // between active checks of a region; 0 = 250 ms
	ProbeTimeout  time.Duration // of an active check at most: who answers quickly is given less; 0 = 1 s
	DialTimeout   time.Duration // 0 = 1 s
	HeaderTimeout time.Duration // until a GET is answered, or is tried elsewhere; 0 = 10 s
	AnswerTimeout time.Duration // until any other request is answered; 0 = 10 min
	// Wait is how long a request that may be repeated goes on trying while no
	// region answers; 0 = 5 s.
	Wait time.Duration
	// Reattach is how long an event stream is kept while no region takes it
	// on; 0 = 2 min.
	Reattach time.Duration
	Beat     time.Duration // between comments meanwhile; 0 = 2 s
	// Silence is after how long without a byte an event stream counts as dead;
	// regions send a comment every 15 s. 0 = 45 s.
	Silence time.Duration
	Stall   time.Duration // how long a client may take nothing; 0 = 30 s

	MaxReplay   int64 // bytes of a request kept so that it can be repeated; 0 = 1 MiB
	MaxKept     int64 // the same of all requests together; 0 = 256 MiB
	MaxInFlight int   // requests and streams at once; 0 = 20,000
	Observer    Observer
	Logger      *slog.Logger
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value  *time.Duration
		absent time.Duration
	}{
		{&o.Interval, 250 * time.Millisecond},
		{&o.ProbeTimeout, time.Second},
		{&o.DialTimeout, time.Second},
		{&o.HeaderTimeout, 10 * time.Second},
		{&o.AnswerTimeout, 10 * time.Minute},
		{&o.Wait, 5 * time.Second},
		{&o.Reattach, 2 * time.Minute},
		{&o.Beat, 2 * time.Second},
		{&o.Silence, 45 * time.Second},
		{&o.Stall, 30 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.absent
		}
	}
	if o.MaxReplay == 0 {
		o.MaxReplay = 1 << 20
	}
	if o.MaxKept == 0 {
		o.MaxKept = 256 << 20
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 20_000
	}
	if o.Observer == nil {
		o.Observer = noObserver{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

type noObserver struct{}

func (noObserver) Tried(string, int, time.Duration)    {}
func (noObserver) Moved(string, string, time.Duration) {}
func (noObserver) Probed(string, bool, time.Duration)  {}

// Front is an http.Handler. Start and Stop begin and end its active checks;
// without them every region counts as alive.
type Front struct {
	opts     Options
	lg       *slog.Logger
	backends []*backend // as Edge.Regions
	via      *http.Transport
	proxy    httputil.ReverseProxy // copied for each request
	inFlight atomic.Int64
	kept     atomic.Int64 // bytes of requests that could be repeated
	long     flights      // what only Stop ends: upgraded connections, event streams

	stop context.CancelFunc // nil before Start
	done sync.WaitGroup
}

// New checks the options. It opens nothing.
func New(opts Options) (*Front, error) {
	if opts.Edge == nil {
		return nil, errors.New("front: Edge is required")
	}
	opts = opts.withDefaults()
	f := &Front{opts: opts, lg: opts.Logger.With("part", "front")}
	if ps := Check(opts.Edge.Regions()); len(ps) > 0 {
		return nil, fmt.Errorf("front: %w", ps)
	}
	for _, r := range opts.Edge.Regions() {
		u, _ := url.Parse(r.URL) // checked above
		f.backends = append(f.backends, &backend{name: r.Name, scheme: u.Scheme, host: u.Host, wake: make(chan struct{}, 1)})
	}
	// HTTP/1.1 only: with a connection for each stream a client that reads
	// slowly holds up nobody else.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	f.via = &http.Transport{
		DialContext:         (&net.Dialer{Timeout: opts.DialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     opts.TLS,
		TLSHandshakeTimeout: 3 * opts.DialTimeout,
		Protocols:           protocols,
		DisableCompression:  true, // what a region sends goes out as it is
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		WriteBufferSize:     16 << 10,
		ReadBufferSize:      16 << 10,
	}
	f.proxy = httputil.ReverseProxy{
		Rewrite:       f.rewrite,
		FlushInterval: -1,
		BufferPool:    &buffers{},
		ErrorLog:      slog.NewLogLogger(f.lg.Handler(), slog.LevelDebug),
	}
	return f, nil
}

// Check says which regions can't be reached by what is written of them.
func Check(regions []edge.Region) (ps edge.Problems) {
	for i, r := range regions {
		u, err := url.Parse(r.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			ps = append(ps, edge.Problem{
				Key:  fmt.Sprintf("regions[%d].url", i),
				Text: fmt.Sprintf("must be like https://kr.example.com, without a path, not %q", r.URL),
			})
		}
	}
	return ps
}

// Server returns an HTTP server with limits that suit a front; Addr and TLS are
// for the caller to set.
func (f *Front) Server() *http.Server {
	return &http.Server{
		Handler: f, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(f.lg.Handler(), slog.LevelDebug),
	}
}

// Start begins to measure the regions.
func (f *Front) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	for _, b := range f.backends {
		f.done.Go(func() { f.check(ctx, b) })
	}
	f.done.Go(func() { f.watch(ctx) })
}

// Stop ends the checks, and the event streams and upgraded connections, whose
// clients come back by position. Other requests run on: shut the server down
// after it to wait for them.
func (f *Front) Stop() {
	if f.stop != nil {
		f.stop()
		f.done.Wait()
	}
	f.long.close(errStopping)
	f.via.CloseIdleConnections()
}

// ServeHTTP passes a request on.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = &patient{ResponseWriter: w, rc: http.NewResponseController(w), stall: f.opts.Stall}
	defer f.inFlight.Add(-1)
	if f.inFlight.Add(1) > int64(f.opts.MaxInFlight) {
		writeFault(w, r, http.StatusServiceUnavailable, fault.New(fault.Limited, "the edge is busy: try again in a moment").After(time.Second))
		return
	}
	client, peer := f.client(r)
	if loopback(hostOf(r.Host)) && !peer.IsLoopback() {
		// A node without keys takes requests for loopback names as those of who
		// sits at the machine. From elsewhere they are an attack.
		writeFault(w, r, http.StatusMisdirectedRequest, fault.New(fault.Invalid, "this is not %s: use the service's own name", r.Host))
		return
	}
	c, err := f.newCall(w, r, client)
	if err != nil {
		writeFault(w, r, http.StatusBadRequest, fault.Wrap(err, fault.Invalid, "the request's body could not be read: send it again"))
		return
	}
	defer c.forget()
	p := f.proxy
	p.Transport, p.ModifyResponse, p.ErrorHandler = c, c.answered, c.failed
	if c.upgrade || c.events {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer f.long.join(cancel)()
		c.cut = cancel
		r = r.WithContext(ctx)
	}
	p.ServeHTTP(w, r)
}

// rewrite prepares the request to a region; httputil has taken off hop headers
// and what the client said about forwarding.
func (f *Front) rewrite(p *httputil.ProxyRequest) {
	p.Out.Host = p.In.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery              // as it came: nothing is decided by it here
	p.Out.URL.Scheme, p.Out.URL.Host = "http", "region" // replaced when one is chosen
	trusted := f.trusted(addrOf(p.In.RemoteAddr))
	if trusted {
		p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	}
	p.SetXForwarded()
	if proto := p.In.Header.Get("X-Forwarded-Proto"); trusted && (proto == "http" || proto == "https") {
		p.Out.Header.Set("X-Forwarded-Proto", proto)
	}
}

// client returns who asks, as far as proxies that we trust know, and who is at
// the other end of the connection.
func (f *Front) client(r *http.Request) (client, peer netip.Addr) {
	peer = addrOf(r.RemoteAddr)
	client = peer
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !f.trusted(client) {
			break
		}
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		client = a.Unmap()
	}
	return client, peer
}

func (f *Front) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(f.opts.Trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

func addrOf(hostport string) netip.Addr {
	ap, _ := netip.ParseAddrPort(hostport)
	return ap.Addr().Unmap()
}

func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// patient is a response whose client may stall for a while, but not for good.
type patient struct {
	http.ResponseWriter
	rc       *http.ResponseController
	stall    time.Duration
	deadline time.Time // as set
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (p *patient) WriteHeader(status int) {
	p.extend()
	p.ResponseWriter.WriteHeader(status)
}

func (p *patient) Write(b []byte) (int, error) {
	p.extend()
	return p.ResponseWriter.Write(b)
}

func (p *patient) extend() {
	// Moved now and then, not with every piece: that costs more than it is
	// worth.
	if now := time.Now(); p.deadline.Sub(now) < p.stall {
		p.deadline = now.Add(2 * p.stall)
		_ = p.rc.SetWriteDeadline(p.deadline) // a writer without deadlines has none
	}
}

// buffers lends the proxy its copy buffers.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if x, ok := b.pool.Get().(*[]byte); ok {
		return *x
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(x []byte) { b.pool.Put(&x) }

// writeFault answers for the edge itself, in the API's shape or, under /v1, in
// OpenAI's.
func writeFault(w http.ResponseWriter, r *http.Request, status int, err *fault.Error) {
	body := map[string]any{"code": err.Code, "message": err.Message}
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		body["type"], body["param"] = "server_error", nil
	}
	if err.RetryAfter > 0 {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": body}) // the client has gone: nothing to be done
}
