package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/lm"
)

// wholeLimit is up to where an answer that is no stream is held back until it
// is there as a whole, so that a cut one can still become a clear error.
const wholeLimit = 1 << 20

// pass hands the request on as it is and the answer back as it comes.
func (g *Gateway) pass(w http.ResponseWriter, r *http.Request, rec *Record, e lm.Engine, m lm.Model, up Upstream, body *buffer) {
	f := g.follow(rec, m)
	if f == nil {
		g.conclude(w, rec, g.once(w, r, rec, up, body, nil, nil))
		return
	}
	// Not given back: it may be needed once more, and who knows until when a
	// transport reads.
	d := g.once(w, r, rec, up, &buffer{b: body.b, lent: true}, nil, f)
	g.conclude(w, rec, g.goOn(r, rec, e, m, body.b, d))
}

// follow is what an answer needs that another engine could go on with.
func (g *Gateway) follow(rec *Record, m lm.Model) *follower {
	if g.o.NoResume || !rec.Stream || rec.Op == Embeddings || !m.Resume.Continues() {
		return nil
	}
	return &follower{}
}

// once asks an engine once. With care, what is no answer is not shown; with a
// follower, what fails is left for goOn to go on with.
func (g *Gateway) once(w http.ResponseWriter, r *http.Request, rec *Record, up Upstream, body *buffer, c *care, f *follower) delivery {
	// Made by hand: the parts are known to be sound, and this is the hot path.
	req := (&http.Request{
		Method: http.MethodPost, URL: up.URL, Host: up.URL.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: forward(r.Header, up.Header), Body: body, ContentLength: int64(len(body.Bytes())),
	}).WithContext(r.Context())
	resp, err := up.Transport.RoundTrip(req)
	if err != nil {
		return delivery{err: unreachable(r.Context(), rec.Engine, err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		// The caller's key was good enough for us: this is about the engine's.
		return delivery{err: fault.New(fault.Unavailable, "the engine %q refuses the key that it is configured with", rec.Engine)}
	}
	if c != nil {
		if no, err := refused(resp, c.declines); err != nil {
			return delivery{err: err, refusal: no}
		}
	}
	rec.Status = resp.StatusCode
	if resp.StatusCode >= 400 {
		rec.Code, f = codeOf(resp.StatusCode), nil
	}
	if isStream(resp.Header) {
		return g.passStream(w, rec, resp, c, f)
	}
	return g.passWhole(w, r, rec, resp, c)
}

// unreachable makes a fault of a transport's error.
func unreachable(ctx context.Context, engine string, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(err, fault.Canceled, "the request was given up by its caller")
	}
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		return fault.Wrap(err, fault.Timeout, "the engine %q sent nothing within its time limit", engine)
	}
	return fault.Wrap(err, fault.Unavailable, "the engine %q can't be reached or broke off", engine)
}

func codeOf(status int) fault.Code {
	switch status {
	case http.StatusTooManyRequests:
		return fault.Limited
	case http.StatusNotFound:
		return fault.NotFound
	}
	if status < 500 {
		return fault.Invalid
	}
	return fault.Unavailable
}

func isStream(h http.Header) bool {
	v := h["Content-Type"]
	return len(v) > 0 && strings.HasPrefix(v[0], "text/event-stream")
}

// forward are the headers that go to the engine: the client's, but for those of
// the connection, of its own credentials and of what we could not read back.
func forward(in, set http.Header) http.Header {
	out := make(http.Header, len(in)+len(set))
	for k, v := range in {
		switch k {
		case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
			"Transfer-Encoding", "Upgrade", "Content-Length", "Authorization", "Api-Key", "X-Api-Key", "Cookie",
			"Accept-Encoding", "Expect", "Origin", "Referer":
			continue
		}
		if strings.HasPrefix(k, "Sec-") {
			continue
		}
		out[k] = v
	}
	for _, v := range in["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			delete(out, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	for k, v := range set {
		out[k] = v
	}
	return out
}

// backward are the headers that go to the client: what belongs to the
// connection or to the engine's own origin stays behind.
func backward(out, in http.Header) {
	for k, v := range in {
		switch k {
		case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
			"Upgrade", "Content-Length", "Set-Cookie", "Alt-Svc", "Strict-Transport-Security", "Content-Security-Policy":
			continue
		}
		if strings.HasPrefix(k, "Access-Control-") {
			continue
		}
		if strings.HasPrefix(k, "X-Ratelimit-") && out[k] != nil {
			continue // what our caller has left is ours to say
		}
		out[k] = v
	}
	for _, v := range in["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			out.Del(strings.TrimSpace(name))
		}
	}
}

// passWhole hands on an answer that is no stream.
func (g *Gateway) passWhole(w http.ResponseWriter, r *http.Request, rec *Record, resp *http.Response, c *care) delivery {
	mem := memory.Get().(*[]byte)
	defer func() {
		if cap(*mem) <= 256<<10 {
			memory.Put(mem)
		}
	}()
	b, more, err := readUpTo(resp.Body, (*mem)[:0], wholeLimit)
	*mem = b
	if err != nil {
		return delivery{err: unreachable(r.Context(), rec.Engine, err)}
	}
	if c != nil {
		if resp.StatusCode < 400 && !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) {
			return delivery{err: fault.New(fault.Unavailable, "the engine %q answered with something that is no JSON object", rec.Engine)}
		}
		if !c.begin() {
			return delivery{err: errElsewhere}
		}
	}
	trace := w.Header()[engineHeader]
	backward(w.Header(), resp.Header) // not before: an error of ours has other ones
	w.Header()[engineHeader] = trace
	rec.Pieces = 1
	rec.Usage = usageIn(b)
	if g.o.Observer != nil {
		g.o.Observer.First(rec, time.Since(rec.Start))
	}
	switch {
	case !more:
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(b))}
	case resp.ContentLength >= 0:
		w.Header()["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	w.WriteHeader(resp.StatusCode)
	if _, err = w.Write(b); err == nil && more {
		_, err = io.Copy(w, resp.Body)
	}
	d := delivery{shown: true}
	switch {
	case err != nil:
		d.err = unreachable(r.Context(), rec.Engine, err)
		rec.Code = ""
	case resp.StatusCode >= 400: // nobody else would say otherwise
		d.err = fault.New(rec.Code, "the engine %q refused the request", rec.Engine)
	}
	return d
}

// readUpTo appends to b until the end or limit bytes; more says that the end
// was not reached.
func readUpTo(r io.Reader, b []byte, limit int) (_ []byte, more bool, err error) {
	for len(b) < limit {
		if len(b) == cap(b) {
			b = append(b, make([]byte, max(4096, len(b)))...)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return b, false, nil
		}
		if err != nil {
			return b, false, err
		}
	}
	return b, true, nil
}

// passStream hands on server-sent events. A stream that did not come to its
// own end gets an error event, and then an aborted connection, unless there is
// a follower to go on with.
func (g *Gateway) passStream(w http.ResponseWriter, rec *Record, resp *http.Response, c *care, f *follower) delivery {
	s := streams.Get().(*stream)
	*s = stream{out: sender{w: w, rc: http.NewResponseController(w), slow: g.o.Slow}, rec: rec, obs: g.o.Observer, resp: resp, care: c, follow: f, tail: s.tail[:0]}
	var err error
	if c == nil {
		s.begin()
	}
	if wt, ok := resp.Body.(io.WriterTo); ok {
		_, err = wt.WriteTo(s)
	} else {
		_, err = io.Copy(s, resp.Body)
	}
	if err == nil && f != nil {
		err = s.last(f)
	}
	failed, clean, begun, last := s.failed, s.clean(), s.begun, s.at
	s.out.done()
	ragged := len(s.tail) > 0 && !bytes.HasSuffix(s.tail, []byte("\n\n")) && !bytes.HasSuffix(s.tail, []byte("\n\r\n"))
	out := s.out
	s.out, s.rec, s.obs, s.resp, s.care, s.follow = sender{}, nil, nil, nil, nil, nil
	streams.Put(s)
	d := delivery{shown: begun}
	switch {
	case failed != nil && begun: // the client is gone
		rec.Code = ""
		d.err = fault.Wrap(failed, fault.Canceled, "the client hung up")
		return d
	case failed != nil:
		d.err = failed
		return d
	case err == nil && (clean || resp.StatusCode >= 400):
		return d
	}
	d.err = fault.Wrap(err, fault.Unavailable, "the engine %q broke the answer off", rec.Engine)
	if !begun {
		return d
	}
	rec.Code = ""
	if ragged {
		_ = out.send([]byte("\n\n"))
	}
	if f != nil {
		again := out
		again.armed = time.Time{}
		d.cut = &cut{follower: f, out: &again, last: last}
		return d
	}
	_ = out.send(errorEvent(d.err))
	return d
}

var (
	noBuffering = []string{"no"}
	eventStart  = []byte("data:")
)

var streams = sync.Pool{New: func() any { return new(stream) }}

// stream is the writer that a body is poured into, piece by piece.
type stream struct {
	out    sender
	resp   *http.Response
	care   *care
	follow *follower
	begun  bool // the header is sent
	rec    *Record
	obs    Observer
	at     time.Time // when the last piece came
	failed error     // of the client's side, or of an engine that sends no events
	tail   []byte    // the end of what was sent, to see whether the answer was whole
}

const tailLimit = 512

// begin sends the header. Among several engines that waits for the first piece.
func (s *stream) begin() {
	s.begun = true
	trace := s.out.w.Header()[engineHeader]
	backward(s.out.w.Header(), s.resp.Header)
	s.out.w.Header()[engineHeader] = trace
	s.out.w.Header()["X-Accel-Buffering"] = noBuffering // for proxies in front of us
	s.out.w.WriteHeader(s.resp.StatusCode)
}

func (s *stream) Write(p []byte) (int, error) {
	if !s.begun && len(p) > 0 && (s.follow == nil || len(s.follow.held) == 0) {
		if !events(p) {
			s.failed = fault.New(fault.Unavailable, "the engine %q sent something that is no stream of events", s.rec.Engine)
			return 0, s.failed
		}
	}
	if s.follow == nil {
		return s.show(p)
	}
	pass, rest, err := s.follow.feed(p)
	if len(pass) > 0 {
		if _, err := s.show(pass); err != nil {
			return 0, err
		}
	}
	s.follow.held = append(s.follow.held[:0], rest...)
	return len(p), err
}

// last takes what is left at the end of a stream: an event without an empty line.
func (s *stream) last(f *follower) error {
	b := f.held
	if len(b) == 0 {
		return nil
	}
	if err := f.event(b); err != nil {
		return err
	}
	_, err := s.show(b)
	return err
}

// show sends what came to the client.
func (s *stream) show(p []byte) (int, error) {
	if !s.begun && len(p) > 0 {
		if !s.care.begin() {
			s.failed = errElsewhere
			return 0, s.failed
		}
		s.begin()
	}
	if s.failed = s.out.send(p); s.failed != nil {
		return 0, s.failed
	}
	if len(p) >= tailLimit {
		s.tail = append(s.tail[:0], p[len(p)-tailLimit:]...)
	} else {
		if len(s.tail)+len(p) > 2*tailLimit {
			s.tail = s.tail[:copy(s.tail, s.tail[len(s.tail)-tailLimit:])]
		}
		s.tail = append(s.tail, p...)
	}
	s.rec.Pieces++
	s.rec.Events += bytes.Count(p, eventStart)
	if s.obs == nil {
		return len(p), nil
	}
	now := time.Now()
	if s.rec.Pieces == 1 {
		s.obs.First(s.rec, now.Sub(s.rec.Start))
	} else {
		s.obs.Next(s.rec, now.Sub(s.at))
	}
	s.at = now
	return len(p), nil
}

// clean reports whether the stream said that the answer was over, and takes
// the usage from its end.
func (s *stream) clean() bool {
	if u := usageIn(s.tail); u.Completion > 0 || u.Prompt > 0 {
		s.rec.Usage = u
	}
	if bytes.Contains(s.tail, []byte("data: [DONE]")) || bytes.Contains(s.tail, []byte("data:[DONE]")) {
		return true
	}
	// Some servers leave the farewell out. A reason why it ended will do.
	i := bytes.LastIndex(s.tail, []byte(`"finish_reason"`))
	if i < 0 {
		return false
	}
	rest := bytes.TrimLeft(s.tail[i+len(`"finish_reason"`):], ": ")
	return len(rest) > 0 && rest[0] == '"'
}

// usageIn finds the counts in JSON without reading all of it. A miss costs a
// metric, nothing else.
func usageIn(b []byte) lm.Usage {
	i := bytes.LastIndex(b, []byte(`"usage"`))
	if i < 0 {
		return lm.Usage{}
	}
	b = b[i:]
	u := lm.Usage{
		Prompt: counted(number(b, `"prompt_tokens"`)), Completion: counted(number(b, `"completion_tokens"`)), Cached: counted(number(b, `"cached_tokens"`)),
	}
	u.Cached = min(u.Cached, u.Prompt)
	return u
}

func number(b []byte, key string) int {
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return 0
	}
	n := 0
	for _, c := range bytes.TrimLeft(b[i+len(key):], ": ") {
		if c < '0' || c > '9' || n > 1<<40 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// sender writes and flushes, and gives up on a client that does not read.
type sender struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	slow  time.Duration
	armed time.Time
}

func (s *sender) send(p []byte) error {
	// Moved only now and then: a deadline costs more than a look at the clock.
	if now := time.Now(); now.Sub(s.armed) > s.slow/2 {
		s.armed = now
		_ = s.rc.SetWriteDeadline(now.Add(3 * s.slow / 2)) // where it is not supported, TCP's own limits hold
	}
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return s.rc.Flush()
}

// done takes the deadline back, as the connection serves more requests.
func (s *sender) done() {
	if !s.armed.IsZero() {
		_ = s.rc.SetWriteDeadline(time.Time{})
	}
}
