package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
)

// engineHeader says which engine answered and, of several, why this one.
const engineHeader = "Parley-Engine"

func trace(t *fleet.Turn, l *fleet.Lease) string {
	s := l.Engine.Name()
	asked, instead := t.Asked()
	if asked != "" {
		s += "; model=" + l.Model.ID
	}
	if instead != "" {
		s += "; instead=" + string(instead)
	}
	s += "; why=" + string(l.Why)
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
			value, rec.Model = trace(t, l), l.Model.ID
		}
	}
	w.Header()[engineHeader] = []string{value}
}

// within is how long a request may take to begin: what the client prefers (RFC
// 7240, "Prefer: wait=10"), or the most that anybody waits here.
func (g *Gateway) within(h http.Header) time.Duration {
	within := g.o.Wait
	for _, line := range h["Prefer"] {
		for p := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(p, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value, _, _ = strings.Cut(value, ";")
			if s, err := strconv.Atoi(strings.Trim(value, " \t\"")); err == nil && s > 0 && s < int(within/time.Second) {
				within = time.Duration(s) * time.Second
			}
		}
	}
	return within
}

// passes reports whether all of a fleet's engines speak this API.
func passes(t *fleet.Turn) bool {
	for _, m := range t.All() {
		if _, ok := m.Engine.(Passthrough); !ok {
			return false
		}
	}
	return true
}

// route hands the request on to one of several engines, and to another one as
// long as nothing of an answer was shown.
func (g *Gateway) route(w http.ResponseWriter, r *http.Request, rec *Record, t *fleet.Turn, h head, body *buffer) {
	defer body.free()
	if !rec.Batch && rec.Op != Embeddings {
		if f := t.Aside(); f != nil {
			op, b := rec.Op, bytes.Clone(body.Bytes())
			f.Listen(func() (lm.Request, error) { _, req, err := parse(op, b); return req, err })
		}
	}
	ask := h.ask(body.Bytes())
	ask.Within = g.within(r.Header)
	var last delivery
	var named []byte
	model := ""
	for {
		l, err := t.Take(r.Context(), &ask)
		if err != nil {
			if last.err == nil || r.Context().Err() != nil {
				last = delivery{err: err}
			}
			g.conclude(w, rec, last)
			return
		}
		note(w, rec, t)
		if named == nil || model != l.Model.ID {
			model, named = l.Model.ID, h.named(body.Bytes(), l.Model.ID)
		}
		m := t.Model()
		m.ID = l.Model.ID
		if t.Hedges() {
			named = bytes.Clone(named) // the one that is not shown may read on when the request is over
		}
		first, declines, sofar := l, t.Declines(), *rec // a copy: who is asked second may begin when all is over
		var x tried
		x, l, _ = fleet.Hedged(r.Context(), t, l, func(ctx context.Context, l *fleet.Lease, may func() bool) (x tried, _ error) {
			x.rec = sofar
			x.rec.Engine = l.Engine.Name()
			x.delivery = g.lend(w, r.WithContext(ctx), &x.rec, l, named, declines, func() bool {
				if !may() {
					return false
				}
				if l != first {
					note(w, &x.rec, t)
				}
				return true
			}, g.follow(&x.rec, m))
			return x, x.err
		})
		last, *rec = x.delivery, x.rec
		again := !last.shown && t.Again(r.Context(), &ask, l, last.err)
		l.Done(r.Context(), last.err, again)
		if !again {
			if last.cut != nil {
				t.Avoid(rec.Engine)
			}
			g.conclude(w, rec, g.goOn(r, rec, t, m, body.b, last))
			return
		}
	}
}

// tried is one attempt, with its own record of the request.
type tried struct {
	delivery
	rec Record
}

// lend is one attempt at one engine. declines: another model may take a request
// that this one refuses. may: whether it may be shown, asked once it has begun.
func (g *Gateway) lend(w http.ResponseWriter, r *http.Request, rec *Record, l *fleet.Lease, body []byte, declines bool, may func() bool, f *follower) delivery {
	up, err := l.Engine.(Passthrough).Upstream(rec.Op, rec.Model)
	if err != nil {
		return delivery{err: err}
	}
	ctx, begun, end := l.Silent(r.Context())
	defer end()
	begin := func() bool {
		if !may() {
			return false
		}
		begun()
		l.First()
		l.Keep()
		return true
	}
	d := g.once(w, r.WithContext(ctx), rec, up, &buffer{b: body, lent: true}, &care{begin, declines}, f)
	if r.Context().Err() == nil {
		d.err = l.Blame(ctx, d.err)
	}
	return d
}

var errElsewhere = errors.New("another engine began first")

// care is what an answer of one of several engines gets: what is no answer is
// not shown, as another engine may have one.
type care struct {
	begin    func() bool // whether it is this one that is shown
	declines bool        // nor is one that refuses the request
}

// refusal is an engine's own answer that says no. It is kept while others are
// asked, and shown if none of them does better.
type refusal struct {
	status int
	header http.Header
	body   []byte
}

const refusalLimit = 64 << 10

// refused keeps the answer if another engine may do better.
func refused(resp *http.Response, declines bool) (*refusal, error) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500 && !(declines && resp.StatusCode >= 400) {
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
	cut     *cut     // it may be gone on with
}

// cut is an answer that its engine did not bring to its end.
type cut struct {
	*follower
	out  *sender
	last time.Time // when the last piece came
}

// goOn brings an answer that was cut to its end by another engine, or the same
// one when it is back. The client's stream just goes on; a comment in it tells.
func (g *Gateway) goOn(r *http.Request, rec *Record, e lm.Engine, m lm.Model, body []byte, d delivery) delivery {
	c := d.cut
	if c == nil || r.Context().Err() != nil {
		return d
	}
	if c.ended { // only the farewell is missing
		d.err = c.out.send([]byte("data: [DONE]\n\n"))
		return d
	}
	req, usage, err := c.request(rec.Op, body)
	if err != nil {
		d.err = fault.Wrap(err, fault.Unavailable, "%s: %s", fault.MessageOf(d.err), fault.MessageOf(err))
		_ = c.out.send(append(c.says, errorEvent(d.err)...))
		return d
	}
	req.Model, req.Batch = m.ID, rec.Batch
	a := c.answer(g, rec, e, m)
	a.usage = usage
	res, err := g.whole(r.Context(), e, m, req, a)
	rec.Usage = res.Usage
	if err == nil {
		err = a.end(res)
	}
	if d.err = err; err != nil && r.Context().Err() == nil {
		_ = a.out.send(errorEvent(err))
	}
	a.out.done()
	return d
}

// answer is the answer so far, for another engine to go on with.
func (c *cut) answer(g *Gateway, rec *Record, e lm.Engine, m lm.Model) *answer {
	a := &answer{
		g: g, rec: rec, out: c.out, engine: e, chat: rec.Op == Chat, id: c.id, created: c.created, model: c.model,
		begun: c.id != "" || c.pieces > 0, pieces: c.pieces, resume: m.Resume, last: c.last, failed: rec.Engine,
	}
	if a.id == "" {
		a.id, a.created, a.model = newID(rec.Op), time.Now().Unix(), rec.Model
	}
	a.text.Write(c.text)
	return a
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
