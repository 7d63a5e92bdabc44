package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/pause"
)

// longestEvent bounds one event; activities are at most 1 MiB.
const longestEvent = 8 << 20

var errTooLong = fmt.Errorf("an event is longer than %d bytes", longestEvent)

func isEventStream(resp *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && kind == "text/event-stream"
}

// events is the body of an event stream that outlives its region. It hands on
// whole events only. When the region behind is lost, what came of an event is
// dropped and another region is asked for all behind the last id that was
// handed on; comments keep the client's connection alive meanwhile. It counts
// on what the API promises: every event has an id, ids are whole numbers that
// grow, and a stream ends only behind "deleted" or when its node stops.
//
// It is read by one goroutine, the proxy's, as fast as the client takes it:
// nothing runs ahead, and nobody else waits.
type events struct {
	c   *call
	out *http.Request // as the proxy made it; cloned for each region

	up      io.ReadCloser // the stream of the present region; nil while moving
	quiet   *time.Timer   // cuts up off when it is silent
	in      []byte        // of up, not handed on yet: the beginning of an event
	scanned int           // bytes of whole lines at the beginning of in
	ready   []byte        // whole events, handed on by the next Reads

	last  string // id of the last event in ready or before; "" = none
	lastN uint64 // the same as a number, if it is one
	over  error  // what Read says once ready is empty

	began time.Time     // of up
	lost  time.Time     // since when nothing whole came; zero while all is well
	from  int           // the region that was lost
	pause time.Duration // before the next attempt
}

func newEvents(c *call, out *http.Request, up io.ReadCloser) *events {
	e := &events{c: c, out: out}
	e.attach(up)
	return e
}

// attach takes a region's stream. Its silence closes it, which ends the Read
// under way.
func (e *events) attach(up io.ReadCloser) {
	e.up, e.began = up, time.Now()
	e.quiet = time.AfterFunc(e.c.f.opts.Silence, func() { up.Close() })
}

func (e *events) detach() {
	e.quiet.Stop()
	e.up.Close()
	e.up, e.in, e.scanned = nil, e.in[:0], 0
}

// Close implements io.Closer.
func (e *events) Close() error {
	if e.up != nil {
		e.detach()
	}
	return nil
}

// Read implements io.Reader.
func (e *events) Read(p []byte) (int, error) {
	for len(e.ready) == 0 {
		switch {
		case errors.Is(context.Cause(e.out.Context()), errStopping):
			return 0, io.EOF // a clean end: the client comes back by position
		case e.out.Context().Err() != nil:
			return 0, context.Cause(e.out.Context())
		case e.over != nil:
			return 0, e.over
		case e.up == nil:
			e.move()
		default:
			e.fill(len(p))
		}
	}
	n := copy(p, e.ready)
	if e.ready = e.ready[n:]; len(e.ready) == 0 {
		e.ready = nil
	}
	return n, nil
}

// fill reads from the region and moves what is whole from in to ready.
func (e *events) fill(most int) {
	if cap(e.in)-len(e.in) < most {
		e.in = append(make([]byte, 0, 2*cap(e.in)+most), e.in...)
	}
	n, err := e.up.Read(e.in[len(e.in) : len(e.in)+most])
	e.in = e.in[:len(e.in)+n]
	e.quiet.Reset(e.c.f.opts.Silence)
	e.split()
	if len(e.in) > longestEvent {
		err = errTooLong
	}
	if err != nil && e.over == nil {
		e.interrupted(err)
	}
}

// split hands on the whole events in e.in.
func (e *events) split() {
	begin := 0 // of the event that is being looked at
	for e.over == nil {
		i := bytes.IndexByte(e.in[e.scanned:], '\n')
		if i < 0 {
			break
		}
		line := e.in[e.scanned : e.scanned+i]
		e.scanned += i + 1
		if len(line) == 0 || string(line) == "\r" {
			e.event(e.in[begin:e.scanned])
			begin = e.scanned
		}
	}
	e.in = append(e.in[:0], e.in[begin:]...)
	e.scanned -= begin
}

// event hands on one event, unless the client has it.
func (e *events) event(raw []byte) {
	var id, name string
	for line := range bytes.Lines(raw) {
		field, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		switch value = bytes.TrimPrefix(value, []byte(" ")); string(field) {
		case "id":
			id = string(value)
		case "event":
			name = string(value)
		}
	}
	e.lost = time.Time{}
	if id != "" {
		e.pause = 0
		if n, err := strconv.ParseUint(id, 10, 64); err == nil {
			if n <= e.lastN && e.last != "" {
				return
			}
			e.lastN = n
		}
		e.last = id
	}
	e.ready = append(e.ready, raw...)
	if name == "deleted" {
		e.over = io.EOF
	}
}

// interrupted begins the search for another region.
func (e *events) interrupted(err error) {
	e.detach()
	if e.out.Context().Err() != nil {
		return // the client has gone, or the edge stops
	}
	e.from = e.c.region
	if time.Since(e.began) > settled {
		e.pause = 0 // it held for a while
	}
	if e.lost.IsZero() {
		e.lost = time.Now()
	}
	e.c.f.lg.Debug("an event stream lost its region", "region", e.c.f.backends[e.from].name, "problem", err)
	e.comment("moving")
}

func (e *events) comment(text string) { e.ready = append(e.ready, ": "+text+"\n\n"...) }

// move asks for the stream behind the last id, for as long as the client can
// be left without a sign of life.
func (e *events) move() {
	opts := e.c.f.opts
	if time.Since(e.lost) > opts.Reattach {
		e.over = fmt.Errorf("no region took the stream on within %v", opts.Reattach)
		return
	}
	timer := time.NewTimer(e.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.out.Context().Done():
		return
	}
	e.pause = pause.Next(time.Since(e.lost))

	ctx, cancel := context.WithCancelCause(e.out.Context())
	late := time.AfterFunc(opts.Beat, func() { cancel(errSlow) })
	req := e.out.Clone(ctx)
	if e.last != "" {
		req.Header.Set("Last-Event-ID", e.last)
	}
	resp, err := e.c.fetch(req, e.from, 0)
	if !late.Stop() && err == nil {
		resp.Body.Close()
		err = errSlow
	}
	switch {
	case err != nil:
		cancel(nil)
		e.comment("still moving")
	case isEventStream(resp):
		e.attach(&body{resp.Body, func() { cancel(nil) }})
		opts.Observer.Moved(e.c.f.backends[e.from].name, e.c.f.backends[e.c.region].name, time.Since(e.lost))
	case resp.StatusCode >= 400 && resp.StatusCode < 500 && time.Since(e.lost) > settled:
		// The conversation or the right to read it is gone. The client hears it
		// when it comes back.
		resp.Body.Close()
		cancel(nil)
		e.over = io.EOF
	default:
		resp.Body.Close()
		cancel(nil)
		e.comment("still moving")
	}
}

// settled is how long a region may not know a conversation that another one has
// just made: its log lags behind by less.
const settled = 3 * time.Second
