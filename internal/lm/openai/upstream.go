package openai

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm/gateway"
)

var _ gateway.Passthrough = (*Engine)(nil)

// upstreamKey is what an Upstream depends on; the key may be replaced.
type upstreamKey struct {
	op    gateway.Op
	model string // of Azure, whose addresses name it
	key   string
}

// Upstream tells the gateway where a request goes on to.
func (e *Engine) Upstream(op gateway.Op, model string) (gateway.Upstream, error) {
	k := upstreamKey{op: op, key: e.key()}
	if e.o.Dialect == Azure {
		if err := pathSafe(model); err != nil {
			return gateway.Upstream{}, err
		}
		k.model = model
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return gateway.Upstream{}, fault.Wrap(errEngineClosed, fault.Unavailable, "the engine %q is closed", e.o.Name)
	}
	if up, ok := e.ups[k]; ok {
		return up, nil
	}
	if len(e.ups) > 256 { // keys that were replaced, models that are gone
		clear(e.ups)
	}
	u, err := url.Parse(e.address(string(op), model).String())
	if err != nil {
		return gateway.Upstream{}, fmt.Errorf("make address: %w", err)
	}
	h := http.Header{}
	e.authorize(h)
	up := gateway.Upstream{URL: u, Header: h, Transport: e.rt}
	if e.own == nil {
		up.Transport = patientTransport{e.rt, e.o.Stall}
	}
	e.ups[k] = up
	return up, nil
}

// patientTransport gives net/http's transport the limit between two pieces of
// an answer, which it does not have.
type patientTransport struct {
	rt    http.RoundTripper
	stall time.Duration
}

// RoundTrip sends the request.
func (p patientTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := p.rt.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	t := time.AfterFunc(p.stall, func() { cancel(errStall) })
	resp.Body = &patientBody{patient{resp.Body, t, p.stall}, resp.Body, ctx.Err, func() error { return context.Cause(ctx) }, cancel}
	return resp, nil
}

// patientBody ends with errStall if nothing came for too long.
type patientBody struct {
	patient
	body   io.Closer
	ended  func() error
	cause  func() error
	cancel context.CancelCauseFunc
}

func (b *patientBody) Read(p []byte) (int, error) {
	n, err := b.patient.Read(p)
	if err != nil && b.ended() != nil && b.cause() == errStall { //nolint:errorlint // our own, as it is
		err = errStall
	}
	return n, err
}

func (b *patientBody) Close() error {
	b.t.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}
