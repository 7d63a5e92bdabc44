package openai

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// transport is a http.RoundTripper for one plain HTTP/1.1 server. A request
// runs entirely in its caller's goroutine: no loops beside the connection, one
// write, and one read for each piece of the answer. That is most of what a
// gateway spends, so it pays to have it beside net/http's Transport, which
// serves https and proxies.
//
// The answer's Body has WriteTo, which hands every piece on as it comes.
type transport struct {
	addr  string
	dial  time.Duration
	first time.Duration // until the answer's header; 0: no limit
	stall time.Duration // between two pieces of the body; 0: no limit

	mu     sync.Mutex // guards idle, busy, closed
	idle   []*conn    // the last is the youngest
	busy   map[*conn]struct{}
	closed bool
}

const (
	bufSize     = 8 << 10
	headerLimit = 256 << 10
	idleLimit   = 4 * time.Second // below the 5 s after which common servers hang up
	idleMax     = 4096
)

var (
	errStall    = error(stallError{})
	errClosed   = errors.New("the transport is closed")
	errCut      = fmt.Errorf("the connection ended in the middle of the answer: %w", io.ErrUnexpectedEOF)
	errChunk    = errors.New("malformed chunked body")
	errTooMuch  = errors.New("the answer's header is too long")
	errUpgraded = errors.New("the server switched protocols")
)

// stallError is a time limit of ours. It says so as net.Error does.
type stallError struct{}

func (stallError) Error() string   { return "no bytes within the stall limit" }
func (stallError) Timeout() bool   { return true }
func (stallError) Temporary() bool { return true }

// conn is one connection and its one buffer: first it holds the request, then
// what was read of the answer. Only the request's goroutine touches it, but
// for nc.Close, which ends everything at once.
type conn struct {
	t     *transport
	nc    net.Conn
	buf   []byte // buf[r:w] is unread
	r, w  int
	fresh bool      // the deadline is still that of the header
	got   bool      // bytes of the answer to the present request have come
	since time.Time // idle since
	until time.Time // the read deadline that is set
}

func newTransport(addr string, dial, first, stall time.Duration) *transport {
	return &transport{addr: addr, dial: dial, first: first, stall: stall, busy: map[*conn]struct{}{}}
}

// RoundTrip sends the request and returns when the answer's header is there.
// A kept-alive connection that turns out to be closed before any byte of the
// answer came is replaced: the server had hung up before it saw the request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close() // not before: body may be its memory
	}
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	ctx := req.Context()
	for {
		c, reused, err := t.get(ctx)
		if err != nil {
			return nil, err
		}
		// Close is the one thing that ends a read or write for good.
		stop := context.AfterFunc(ctx, func() { _ = c.nc.Close() })
		resp, err := c.exchange(req, body)
		if err == nil {
			resp.Body.(*respBody).stop = stop
			return resp, nil
		}
		stop()
		t.drop(c)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !reused || c.got || errors.Is(err, errStall) {
			return nil, err
		}
	}
}

func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	if b, ok := req.Body.(interface{ Bytes() []byte }); ok {
		return b.Bytes(), nil
	}
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("read request body: %w", err)
	}
	return b, nil
}

func (t *transport) get(ctx context.Context) (c *conn, reused bool, err error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, false, errClosed
	}
	if n := len(t.idle); n > 0 {
		c = t.idle[n-1]
		t.idle = t.idle[:n-1]
		if time.Since(c.since) < idleLimit {
			t.busy[c] = struct{}{}
			t.mu.Unlock()
			return c, true, nil
		}
		// The youngest is too old, so all are.
		for _, old := range append(t.idle, c) {
			_ = old.nc.Close()
		}
		t.idle = t.idle[:0]
	}
	t.mu.Unlock()
	d := net.Dialer{Timeout: t.dial}
	nc, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, false, fmt.Errorf("connect: %w", err)
	}
	c = &conn{t: t, nc: nc, buf: make([]byte, bufSize)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = nc.Close()
		return nil, false, errClosed
	}
	t.busy[c] = struct{}{}
	return c, false, nil
}

// put keeps the connection for the next request.
func (t *transport) put(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, c)
	if t.closed || len(t.idle) >= idleMax {
		_ = c.nc.Close()
		return
	}
	if cap(c.buf) > 4*bufSize {
		c.buf = make([]byte, bufSize)
	}
	c.since = time.Now()
	t.idle = append(t.idle, c)
}

func (t *transport) drop(c *conn) {
	_ = c.nc.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, c)
}

// close ends all connections, also those with an answer on its way.
func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.idle {
		_ = c.nc.Close()
	}
	t.idle = nil
	for c := range t.busy {
		_ = c.nc.Close()
	}
}

// exchange sends the request and reads the answer's header.
func (c *conn) exchange(req *http.Request, body []byte) (*http.Response, error) {
	c.got, c.fresh = false, true
	msg := c.compose(req, body)
	c.r, c.w = 0, 0
	if err := c.allow(c.t.first); err != nil {
		return nil, err
	}
	if _, err := c.nc.Write(msg); err != nil {
		return nil, err
	}
	for {
		end, err := c.header()
		if err != nil {
			return nil, err
		}
		resp, err := c.parse(req, end)
		if err != nil {
			return nil, err
		}
		if resp != nil {
			return resp, nil
		}
	}
}

// compose writes the request into the connection's buffer.
func (c *conn) compose(req *http.Request, body []byte) []byte {
	b := bytes.NewBuffer(c.buf[:0])
	b.WriteString(req.Method)
	b.WriteByte(' ')
	b.WriteString(req.URL.RequestURI())
	b.WriteString(" HTTP/1.1\r\nHost: ")
	if req.Host != "" {
		b.WriteString(req.Host)
	} else {
		b.WriteString(req.URL.Host)
	}
	b.WriteString("\r\n")
	_ = req.Header.WriteSubset(b, framing) // a bytes.Buffer takes everything
	if body != nil || req.Method == http.MethodPost {
		b.WriteString("Content-Length: ")
		b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(len(body)), 10))
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	msg := b.Bytes()
	if cap(msg) > cap(c.buf) {
		c.buf = msg[:cap(msg)]
	}
	return msg
}

// framing headers are the transport's own.
var framing = map[string]bool{"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true}

// header reads until the header's end is in the buffer and returns its length.
func (c *conn) header() (int, error) {
	for {
		p := c.buf[c.r:c.w]
		if i := bytes.Index(p, []byte("\r\n\r\n")); i >= 0 {
			return i + 4, nil
		}
		if len(p) > headerLimit {
			return 0, errTooMuch
		}
		if err := c.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				err = errCut
			}
			return 0, err
		}
		c.got = true
	}
}

// parse reads the header of end bytes; nil means that it was an interim one.
func (c *conn) parse(req *http.Request, end int) (*http.Response, error) {
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	p.src.Reset(c.buf[c.r : c.r+end])
	p.br.Reset(&p.src)
	resp, err := http.ReadResponse(p.br, req)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	c.r += end
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return nil, errUpgraded
	case resp.StatusCode < 200:
		return nil, nil //nolint:nilnil // an interim answer: read on
	}
	b := &respBody{c: c, keep: !resp.Close, left: resp.ContentLength}
	switch {
	case req.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified:
		b.left = 0
	case len(resp.TransferEncoding) > 0 && resp.TransferEncoding[0] == "chunked":
		b.chunked, b.left = true, 0
	case resp.ContentLength < 0:
		b.keep = false // until the connection ends
	}
	resp.Body = b
	return resp, nil
}

// parser holds what http.ReadResponse needs, to be used again: it copies all
// strings out of the buffer.
type parser struct {
	src bytes.Reader
	br  *bufio.Reader
}

var parsers = sync.Pool{New: func() any { return &parser{br: bufio.NewReaderSize(nil, 4096)} }}

// allow sets how long a read or write may wait from now on; 0: for ever.
func (c *conn) allow(d time.Duration) error {
	c.until = time.Time{}
	if d > 0 {
		c.until = time.Now().Add(d)
	}
	return c.nc.SetDeadline(c.until)
}

// fill reads what has come into the buffer.
func (c *conn) fill() error {
	n, err := c.nc.Read(c.room())
	c.w += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errStall
	}
	return err
}

// fillBody reads on within the stall limit. The deadline moves only now and
// then, so that a stalled answer ends between one and two limits after its
// last bytes.
func (c *conn) fillBody() error {
	s := c.t.stall
	if c.fresh || (s > 0 && time.Until(c.until) < s) {
		c.fresh = false
		if err := c.allow(2 * s); err != nil {
			return err
		}
	}
	return c.fill()
}

// room makes the buffer ready for a read and returns its free part.
func (c *conn) room() []byte {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) && c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	return c.buf[c.w:]
}
