package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/balance"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
)

// engineHeader says which engine answered and, of several, why this one.
const engineHeader = "Parley-Engine"

func trace(l *fleet.Lease) string {
	s := l.Engine.Name() + "; why=" + string(l.Why)
	if l.Waited >= time.Millisecond {
		s += fmt.Sprintf("; waited=%dms", l.Waited.Milliseconds())
	}
	return s
}

// note takes down which engine has the request.
func note(w http.ResponseWriter, rec *Record, e lm.Engine) {
	rec.Engine = e.Name()
	value := rec.Engine
	if t, ok := e.(*fleet.Turn); ok {
		if l := t.Route(); l != nil {
			value = trace(l)
		}
	}
	w.Header()[engineHeader] = []string{value}
}

// passes reports whether all of a fleet's engines speak this API.
func passes(t *fleet.Turn) bool {
	for _, m := range t.Members() {
		if _, ok := m.Engine.(Passthrough); !ok {
			return false
		}
	}
	return true
}

// route hands the request on to one of several engines, and to another one as
// long as nothing of an answer was shown.
func (g *Gateway) route(w http.ResponseWriter, r *http.Request, rec *Record, t *fleet.Turn, ask balance.Ask, body *buffer) {
	defer body.free()
	var last delivery
	for {
		l, err := t.Take(r.Context(), ask)
		if err != nil {
			if last.err == nil || r.Context().Err() != nil {
				last = delivery{err: err}
			}
			g.conclude(w, rec, last)
			return
		}
		note(w, rec, t)
		last = g.lend(w, r, rec, l, body)
		again := !last.shown && t.Again(r.Context(), &ask, l, last.err)
		l.Done(r.Context(), last.err, again)
		if !again {
			g.conclude(w, rec, last)
			return
		}
	}
}

// lend is one attempt at one engine.
func (g *Gateway) lend(w http.ResponseWriter, r *http.Request, rec *Record, l *fleet.Lease, body *buffer) delivery {
	up, err := l.Engine.(Passthrough).Upstream(rec.Op, rec.Model)
	if err != nil {
		return delivery{err: err}
	}
	ctx, begun, end := l.Silent(r.Context())
	defer end()
	d := g.once(w, r.WithContext(ctx), rec, up, &buffer{b: body.b, lent: true}, &care{begin: func() { begun(); l.First(); l.Keep() }})
	if r.Context().Err() == nil {
		d.err = l.Blame(ctx, d.err)
	}
	return d
}

// care is what an answer of one of several engines gets: what is no answer is
// not shown, as another engine may have one.
type care struct{ begin func() }

// refusal is an engine's own answer that says no. It is kept while others are
// asked, and shown if none of them does better.
type refusal struct {
	status int
	header http.Header
	body   []byte
}

const refusalLimit = 64 << 10

// refused keeps the answer if another engine may do better.
func refused(resp *http.Response) (*refusal, error) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500 {
		return nil, nil //nolint:nilnil // an answer to be shown
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, refusalLimit))
	if err != nil {
		return nil, err
	}
	f := fault.New(codeOf(resp.StatusCode), "the engine answered with HTTP status %d", resp.StatusCode).After(retryAfter(resp.Header))
	return &refusal{resp.StatusCode, resp.Header, b}, f
}

func (x *refusal) show(w http.ResponseWriter, rec *Record) {
	rec.Status, rec.Code = x.status, codeOf(x.status)
	backward(w.Header(), x.header)
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(x.body))}
	w.WriteHeader(x.status)
	_, _ = w.Write(x.body)
}

func retryAfter(h http.Header) time.Duration {
	const most = time.Hour
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 {
		return time.Duration(min(s, most.Seconds()) * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), most)
	}
	return 0
}

// delivery is what became of an answer on its way to the client.
type delivery struct {
	err     error    // nil: it came to its end
	shown   bool     // the client has got something of it
	refusal *refusal // the engine's own words about err
}

// conclude ends a request whose delivery is over.
func (g *Gateway) conclude(w http.ResponseWriter, rec *Record, d delivery) {
	switch {
	case d.err == nil:
	case d.refusal != nil:
		d.refusal.show(w, rec)
	case !d.shown:
		g.fail(w, rec, d.err)
	case rec.Code == "" || rec.Status < 400:
		rec.Code = fault.CodeOf(d.err)
		panic(http.ErrAbortHandler) // never a clean end of half an answer
	}
}

// events reports whether p may be the beginning of a stream of events.
func events(p []byte) bool {
	p = bytes.TrimLeft(p, "\r\n\ufeff")
	for _, field := range []string{"data", ":", "event", "id", "retry"} {
		n := min(len(p), len(field))
		if string(p[:n]) == field[:n] {
			return true
		}
	}
	return false
}
