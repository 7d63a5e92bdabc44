// Package alone is the edge as a program of its own, in front of regions on
// other machines: it reads the edge's file, measures the regions, and serves
// DNS, HTTP or both until it is stopped. What may live here: that file's form,
// and starting and ending the parts.
package alone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/edge"
	"github.com/parleyhq/parley/internal/edge/front"
	"github.com/parleyhq/parley/internal/edge/gslb"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/telemetry"
	"github.com/parleyhq/parley/internal/tlscert"
)

// Program is a running edge.
type Program struct {
	file    File
	lg      *slog.Logger
	edge    *edge.Edge
	front   *front.Front
	dns     *gslb.Server // nil: none
	metrics *telemetry.Edge
	cert    *certificate // nil: HTTP without TLS

	http, status net.Listener // nil: none
	undo         []func(context.Context)
	failed       chan error
	work         sync.WaitGroup
}

// New builds what a file of Load says, and reads the files that it names. It
// opens no port.
func New(f File, version string, lg *slog.Logger) (*Program, error) {
	places, err := readPlaces(f.Places)
	if err != nil {
		return nil, err
	}
	p := &Program{file: f, lg: lg, metrics: telemetry.NewEdge(version), failed: make(chan error, 2)}
	if p.edge, err = edge.New(f.Config, places); err != nil {
		return nil, err
	}
	for i, r := range f.Regions {
		p.metrics.Region(r.Name, func() bool { return p.edge.Live(i) })
	}
	o := front.Options{
		Edge: p.edge, Policy: f.HTTP.Policy, Trusted: f.HTTP.Trusted,
		Interval: f.Check.Interval, ProbeTimeout: f.Check.Timeout, Observer: p.metrics, Logger: lg,
	}
	if f.HTTP.CA != "" {
		if o.TLS, err = tlscert.Trusting(f.HTTP.CA); err != nil {
			return nil, fmt.Errorf("the authorities of the regions' certificates: %w", err)
		}
	}
	if p.front, err = front.New(o); err != nil {
		return nil, err
	}
	if f.HTTP.Cert != "" {
		if p.cert, err = readCertificate(f.HTTP.Cert, f.HTTP.Key); err != nil {
			return nil, err
		}
	}
	if len(f.DNS.Listen) > 0 {
		if p.dns, err = gslb.New(gslb.Options{
			Edge: p.edge, Zones: f.DNS.Zones, Listen: f.DNS.Listen, Serial: f.DNS.Serial, Rate: f.DNS.Rate, Observer: p.metrics, Logger: lg,
		}); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func readPlaces(paths []string) (edge.Places, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	var files []io.Reader
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the place data in %s can't be read", path)
		}
		defer func() { _ = f.Close() }()
		files = append(files, f)
	}
	r, err := edge.ReadRanges(files...)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the place data in %s can't be used", strings.Join(paths, ", "))
	}
	return r, nil
}

// Start binds every port, measures the regions once and then serves. With an
// error nothing is left open.
func (p *Program) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			p.Stop(context.WithoutCancel(ctx))
		}
	}()
	if p.http, err = listen(ctx, p.file.HTTP.Listen); err != nil {
		return err
	}
	if p.status, err = listen(ctx, p.file.Status); err != nil {
		return err
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.front.Start()
	if p.cert != nil {
		p.work.Go(func() { p.cert.follow(watch, p.lg) })
	}
	p.onStop(func(context.Context) {
		p.front.Stop()
		cancel()
	})
	p.firstLook(ctx)
	p.work.Go(func() { p.tell(watch) })
	if p.dns != nil {
		if err := p.dns.Start(ctx); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the name server can't listen: ports below 1024 need a privilege (CAP_NET_BIND_SERVICE), and only one program can have one")
		}
		p.onStop(func(context.Context) { p.dns.Stop() })
	}
	if p.http != nil {
		srv := p.front.Server()
		if p.cert != nil {
			srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.cert.get}
		}
		p.serve(srv, p.http)
	}
	if p.status != nil {
		p.serve(&http.Server{Handler: p.statusHandler(), ReadHeaderTimeout: 10 * time.Second}, p.status)
	}
	return nil
}

func (p *Program) onStop(f func(context.Context)) { p.undo = append(p.undo, f) }

func listen(ctx context.Context, at string) (net.Listener, error) {
	if at == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", at)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the edge can't listen on %s", at)
	}
	return l, nil
}

// serve runs a server until it is stopped.
func (p *Program) serve(srv *http.Server, l net.Listener) {
	run := func() error { return srv.Serve(l) }
	if srv.TLSConfig != nil {
		run = func() error { return srv.ServeTLS(l, "", "") }
	}
	p.work.Go(func() {
		if err := run(); !errors.Is(err, http.ErrServerClosed) {
			p.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	})
	p.onStop(func(ctx context.Context) {
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	})
}

// firstLook waits until every region has been measured once, or could have
// been: the first answers shall not lead to a region that is dead already.
func (p *Program) firstLook(ctx context.Context) {
	limit := time.NewTimer(3 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		unknown := slices.ContainsFunc(p.edge.States(), func(s edge.State) bool { return s.Since.IsZero() })
		if !unknown {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// tell writes down which regions come and go.
func (p *Program) tell(ctx context.Context) {
	before := map[string]bool{}
	for {
		changed := p.edge.Changed()
		for _, s := range p.edge.States() {
			if live, known := before[s.Region]; s.Since.IsZero() || known && live == s.Live {
				continue
			}
			before[s.Region] = s.Live
			if s.Live {
				p.lg.Info("a region lives", "region", s.Region)
				continue
			}
			p.lg.Warn("a region is taken out", "region", s.Region, "problem", problemOf(s))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func problemOf(s edge.State) string {
	for _, part := range s.Parts {
		if part.Known && !part.Up {
			return part.Problem
		}
	}
	return ""
}

// Stop ends event streams first, whose clients come back by position, then lets
// other requests finish until ctx ends.
func (p *Program) Stop(ctx context.Context) {
	// The front's Stop comes first in undo and must run before the servers wait
	// for its streams.
	for _, f := range p.undo {
		f(ctx)
	}
	for _, l := range []net.Listener{p.http, p.status} {
		if l != nil {
			_ = l.Close()
		}
	}
	p.work.Wait()
}

// Failed tells of a server that ended by itself.
func (p *Program) Failed() <-chan error { return p.failed }

// Serving says in sentences what is served where, once Start has returned.
func (p *Program) Serving() []string {
	var out []string
	if p.dns != nil {
		var at, zones []string
		for _, a := range p.dns.Addrs() {
			at = append(at, a.String())
		}
		for _, z := range p.file.DNS.Zones {
			zones = append(zones, z.Name)
		}
		out = append(out, fmt.Sprintf("DNS on %s for %s", strings.Join(at, ", "), strings.Join(zones, ", ")))
	}
	if p.http != nil {
		scheme := "http"
		if p.cert != nil {
			scheme = "https"
		}
		out = append(out, fmt.Sprintf("HTTP on %s://%s", scheme, p.http.Addr()))
	}
	if p.status != nil {
		out = append(out, fmt.Sprintf("State on http://%s/regions", p.status.Addr()))
	}
	return out
}
