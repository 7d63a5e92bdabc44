package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/internal/edge"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/pause"
)

const (
	sessionCookie = "parley_session" // the node's; told apart by what it says, never read
	regionCookie  = "parley_region"  // the front's: which region served this browser last
	regionHeader  = "Parley-Region"
)

var errSlow = errors.New("the region did not answer in time")

// call is one request of a client. It is the transport of its own copy of the
// proxy: it chooses regions until one answers, before the client has seen
// anything of an answer.
type call struct {
	f      *Front
	query  edge.Query
	stick  int    // region of the client's cookie, or -1
	body   []byte // what was read of the request's body
	room   int64  // that body takes of the front's
	whole  bool   // nothing is behind body
	repeat bool   // the request may reach regions more than once

	upgrade, events bool
	cut             context.CancelCauseFunc // ends an upgraded connection, or an event stream
	region          int                     // that answered, or -1
}

func (f *Front) newCall(w http.ResponseWriter, r *http.Request, client netip.Addr) (*call, error) {
	c := &call{f: f, stick: -1, region: -1, upgrade: r.Header.Get("Upgrade") != "", events: isEvents(r)}
	c.query.Policy = f.opts.Policy
	who := client.String()
	if client.IsValid() {
		c.query.Client = netip.PrefixFrom(client.WithZone(""), client.BitLen())
	}
	if session, err := r.Cookie(sessionCookie); err == nil {
		who = session.Value
	}
	c.query.Draw = edge.DrawOf(who)
	if last, err := r.Cookie(regionCookie); err == nil {
		c.stick = slices.IndexFunc(f.backends, func(b *backend) bool { return b.name == last.Value })
	}
	if err := c.keepBody(w, r); err != nil {
		c.forget()
		return nil, err
	}
	c.repeat = c.whole && (idempotent(r.Method) || r.Header.Get("Idempotency-Key") != "" || isForm(r))
	return c, nil
}

// idempotent lists the methods whose repetition does no more than their first
// time (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// isEvents recognises the streams of GET /api/v1/conversations/{id}/events.
func isEvents(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/conversations/")
	id, ok2 := strings.CutSuffix(rest, "/events")
	return ok && ok2 && r.Method == http.MethodGet && id != "" && !strings.Contains(id, "/")
}

// isForm recognises the forms of the page without JavaScript. They have their
// keys among their fields: posted twice, they do what they do once.
func isForm(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/plain/")
}

// keepBody reads what it may of the body: a request that is kept whole can be
// sent again, and a client that sends slowly costs a region nothing.
func (c *call) keepBody(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		c.whole = true
		return nil
	}
	most := c.f.opts.MaxReplay
	if r.ContentLength > most {
		return nil
	}
	c.room = r.ContentLength
	if c.room < 0 {
		c.room = most + 1
	}
	if c.f.kept.Add(c.room) > c.f.opts.MaxKept {
		c.forget() // it goes through, once
		return nil
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(c.f.opts.Stall)) // a test's writer may not have one
	var kept bytes.Buffer
	if _, err := io.CopyN(&kept, r.Body, most+1); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_ = rc.SetReadDeadline(time.Time{})
	c.body, c.whole = kept.Bytes(), int64(kept.Len()) <= most
	return nil
}

// forget gives back what keepBody took.
func (c *call) forget() {
	c.f.kept.Add(-c.room)
	c.room = 0
}

// RoundTrip implements http.RoundTripper for the proxy.
func (c *call) RoundTrip(out *http.Request) (*http.Response, error) {
	resp, err := c.fetch(out, -1, c.f.opts.Wait)
	if err == nil && c.events && isEventStream(resp) {
		resp.Body = newEvents(c, out, resp.Body)
	}
	return resp, err
}

// fetch asks one region after the other, avoid last, until one answers. What
// may be repeated is tried in rounds until wait is over; the last answer
// counts, whatever it says.
func (c *call) fetch(out *http.Request, avoid int, wait time.Duration) (*http.Response, error) {
	for began := time.Now(); ; {
		changed := c.f.opts.Edge.Changed()
		resp, again, err := c.round(out, avoid)
		passed := time.Since(began)
		next := pause.Next(passed)
		if !again || passed+next > wait {
			return resp, err
		}
		if resp != nil {
			resp.Body.Close()
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
		case <-out.Context().Done():
			timer.Stop()
			return nil, context.Cause(out.Context())
		}
	}
}

// round asks each region once. again says that another round may help.
func (c *call) round(out *http.Request, avoid int) (resp *http.Response, again bool, err error) {
	err = fault.New(fault.Unavailable, "no region serves such a client")
	for _, region := range c.choices(avoid) {
		if resp != nil {
			resp.Body.Close()
		}
		var sent bool
		resp, sent, err = c.try(out, region)
		if err == nil {
			c.region = region
			if !c.repeat || !refused(resp.StatusCode) {
				return resp, false, nil
			}
			again = resp.Header.Get("Retry-After") == "" // else it knows better when
			continue
		}
		if out.Context().Err() != nil {
			return nil, false, context.Cause(out.Context())
		}
		if !c.repeat && sent {
			return nil, false, err
		}
		again = true
	}
	return resp, again, err
}

// refused lists the statuses of a region that can't serve now: another one may.
func refused(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return true
	}
	return false
}

// choices is the order in which regions are asked: the client's last one if it
// lives, then as decided; behind those the ones that rest and the one to avoid.
func (c *call) choices(avoid int) []int {
	d := c.f.opts.Edge.Decide(c.query)
	order := make([]int, 0, d.Len())
	if c.stick >= 0 && d.Has(c.stick) {
		order = append(order, c.stick)
	}
	for i := range d.Len() {
		if r := d.At(i); r != c.stick {
			order = append(order, r)
		}
	}
	rank := func(r int) int {
		switch {
		case r == avoid:
			return 2
		case c.f.backends[r].resting():
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b int) int { return rank(a) - rank(b) })
	return order
}

// try sends the request to a region. sent is false if surely nothing of it went
// out.
func (c *call) try(out *http.Request, region int) (resp *http.Response, sent bool, err error) {
	b := c.f.backends[region]
	ctx, cancel := context.WithCancelCause(out.Context())
	wasLive := c.f.opts.Edge.Live(region)
	limit := c.f.opts.AnswerTimeout
	leave := func() {}
	if c.repeat {
		leave = b.flights.join(cancel)
		if wasLive && !c.f.opts.Edge.Live(region) {
			cancel(errRegionDown) // it went down before we joined
		}
		if out.Method == http.MethodGet {
			limit = c.f.opts.HeaderTimeout
		}
	}
	slow := time.AfterFunc(limit, func() { cancel(errSlow) })
	began := time.Now()
	resp, err = c.f.via.RoundTrip(c.request(ctx, out, b))
	inTime := slow.Stop()
	if err == nil && !inTime { // it came, but its body has been cancelled
		resp.Body.Close()
		err = errSlow
	}
	if err != nil {
		leave()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		if out.Context().Err() == nil { // not the client's doing
			c.f.opts.Observer.Tried(b.name, 0, time.Since(began))
			b.broke()
		}
		var op *net.OpError
		return nil, !(errors.As(err, &op) && op.Op == "dial"), err
	}
	c.f.opts.Observer.Tried(b.name, resp.StatusCode, time.Since(began))
	b.works()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		leave()
		context.AfterFunc(out.Context(), func() { cancel(nil) })
		if c.cut != nil { // the connection ends with its region; its client makes another one
			context.AfterFunc(out.Context(), b.flights.join(c.cut))
		}
		return resp, true, nil // its body must stay what it is, a connection
	}
	if !c.events {
		leave() // from here on the client sees it: too late for another region
	}
	resp.Body = &body{resp.Body, func() { leave(); cancel(nil) }}
	return resp, true, nil
}

// request is the proxy's request, for one region.
func (c *call) request(ctx context.Context, out *http.Request, b *backend) *http.Request {
	req := out.Clone(ctx)
	req.URL.Scheme, req.URL.Host = b.scheme, b.host
	kept := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.body)), nil }
	switch {
	case c.whole && len(c.body) == 0:
		req.Body = http.NoBody
	case c.whole:
		req.Body, _ = kept()
		req.GetBody = kept
		req.ContentLength, req.TransferEncoding = int64(len(c.body)), nil
	case len(c.body) > 0:
		req.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(c.body), out.Body), out.Body}
	}
	return req
}

// body is a response's body that releases what its request holds.
type body struct {
	io.ReadCloser
	release func()
}

func (b *body) Close() error {
	b.release() // first: it ends a Read that is under way
	return b.ReadCloser.Close()
}

// answered completes the headers of the answer that the client gets.
func (c *call) answered(resp *http.Response) error {
	name := c.f.backends[c.region].name
	resp.Header.Set(regionHeader, name)
	// Never on what a shared cache may keep: it would move everybody here.
	if c.stick != c.region && resp.StatusCode < 500 && !strings.Contains(resp.Header.Get("Cache-Control"), "public") {
		cookie := http.Cookie{
			Name: regionCookie, Value: name, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
			Secure: resp.Request.Header.Get("X-Forwarded-Proto") == "https",
		}
		resp.Header.Add("Set-Cookie", cookie.String())
	}
	return nil
}

// failed answers when no region did.
func (c *call) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), errStopping) {
		return // the client has gone
	}
	c.f.lg.Info("no region answered", "method", r.Method, "problem", err)
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		writeFault(w, r, http.StatusServiceUnavailable, known.After(time.Second))
	case errors.Is(err, errSlow):
		writeFault(w, r, http.StatusGatewayTimeout, fault.Wrap(err, fault.Timeout, "no region answered in time: try again"))
	case !c.repeat && !idempotent(r.Method):
		writeFault(w, r, http.StatusBadGateway, fault.Wrap(err, fault.Unavailable,
			"the region was lost and may have received the request: look before you send it again, or send it with an Idempotency-Key").After(time.Second))
	default:
		writeFault(w, r, http.StatusServiceUnavailable, fault.Wrap(err, fault.Unavailable, "no region can be reached: try again").After(time.Second))
	}
}
