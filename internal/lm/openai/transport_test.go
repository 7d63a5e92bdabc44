package openai

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rawServer answers the first request of every connection
// with the given bytes, in pieces, and then hangs up.
func rawServer(t *testing.T, pieces ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				for _, p := range pieces {
					if _, err := io.WriteString(c, p); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func roundTrip(t *testing.T, tr http.RoundTripper, method, addr string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+"/x?y=1", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	return tr.RoundTrip(req)
}

// Our transport must see what net/http's sees.
func TestTransportAgreesWithNetHTTP(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 4096)
	for name, pieces := range map[string][]string{
		"length":          {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhel", "lo"},
		"big length":      {"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n", big},
		"empty":           {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"chunked":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "lo\r\n3\r\nyou\r\n0\r\n\r\n"},
		"chunk in pieces": strings.Split("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", ""),
		"big chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n", big, "\r\n0\r\n\r\n"},
		"extensions":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"},
		"until close":     {"HTTP/1.1 200 OK\r\n\r\nhello"},
		"http 1.0":        {"HTTP/1.0 200 OK\r\n\r\nhello"},
		"interim":         {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		"no content":      {"HTTP/1.1 204 No Content\r\n\r\n"},
		"error":           {"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy"},
		"cut length":      {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"},
		"cut chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello"},
		"cut after chunk": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"},
		"bad size":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"},
		"negative size":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"},
		"not HTTP":        {"SSH-2.0-OpenSSH_9.2\r\n\r\n"},
		"nothing":         {},
	} {
		t.Run(name, func(t *testing.T) {
			addr := rawServer(t, pieces...)
			want := outcome(roundTrip(t, &http.Transport{DisableCompression: true}, "POST", addr))
			for _, push := range []bool{false, true} {
				tr := newTransport(addr, time.Second, 5*time.Second, 5*time.Second)
				resp, err := roundTrip(t, tr, "POST", addr)
				if !push && err == nil {
					resp.Body = struct{ io.ReadCloser }{resp.Body} // hides WriteTo
				}
				if d := cmp.Diff(want, outcome(resp, err)); d != "" {
					t.Errorf("push %v: %s", push, d)
				}
				tr.close()
			}
		})
	}
}

type seen struct {
	Status   int
	Header   http.Header
	Body     string
	Failed   bool
	CutShort bool
}

func outcome(resp *http.Response, err error) seen {
	if err != nil {
		return seen{Failed: true}
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, resp.Body)
	resp.Header.Del("Date")
	return seen{Status: resp.StatusCode, Header: resp.Header, Body: b.String(), CutShort: err != nil}
}

func TestTransportKeepsConnections(t *testing.T) {
	var conns atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	tr := newTransport(srv.Listener.Addr().String(), time.Second, 0, 0)
	defer tr.close()
	for range 5 {
		if got := outcome(roundTrip(t, tr, "POST", tr.addr)); got.Body != "body" || got.Failed {
			t.Fatalf("%+v", got)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for five requests one after the other", n)
	}
	// The server hangs up on idle connections; the next request must not fail.
	srv.CloseClientConnections()
	if got := outcome(roundTrip(t, tr, "POST", tr.addr)); got.Body != "body" || got.Failed {
		t.Errorf("after the server hung up: %+v", got)
	}
}

func TestTransportEndsWithItsContext(t *testing.T) {
	gone := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		close(gone)
	}))
	defer srv.Close()
	tr := newTransport(srv.Listener.Addr().String(), time.Second, 0, 0)
	defer tr.close()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", srv.URL, strings.NewReader("x"))
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	_, err = resp.Body.(io.WriterTo).WriteTo(writerFunc(func(p []byte) (int, error) {
		cancel()
		return got.Write(p)
	}))
	if !errors.Is(err, context.Canceled) || got.String() != "first" {
		t.Errorf("%q, %v", got.String(), err)
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the server was not told")
	}
	if len(tr.busy) != 0 || len(tr.idle) != 0 {
		t.Errorf("%d busy and %d idle connections are left", len(tr.busy), len(tr.idle))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A header may not be smuggled by a value with a line end.
func TestTransportWritesOneRequest(t *testing.T) {
	got := make(chan *http.Request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	defer srv.Close()
	tr := newTransport(srv.Listener.Addr().String(), time.Second, 0, 0)
	defer tr.close()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/a%2Fb?q=1", strings.NewReader("x"))
	req.Header.Set("X-A", "b\r\nX-Evil: 1")
	req.Header.Set("Transfer-Encoding", "chunked")
	req.Header.Set("Connection", "close")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := <-got
	if r.RequestURI != "/a%2Fb?q=1" || r.Header.Get("X-Evil") != "" || r.ContentLength != 1 || r.Host != srv.Listener.Addr().String() {
		t.Errorf("the server saw %s %v %d %s", r.RequestURI, r.Header, r.ContentLength, r.Host)
	}
}

// FuzzTransport sends any bytes as an answer: no panic, no endless loop, and
// the body is the same whether it is pulled or pushed, whatever the pieces.
func FuzzTransport(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 3)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n"), 1)
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest"), 7)
	f.Fuzz(func(t *testing.T, answer []byte, piece int) {
		var all []seen
		for _, c := range []struct {
			piece int
			push  bool
		}{{max(1, piece%64), false}, {max(1, piece%64), true}, {1 << 20, true}} {
			tr := newTransport("", 0, 0, 0)
			cn := &conn{t: tr, nc: &script{data: answer, piece: c.piece}, buf: make([]byte, 64)}
			tr.idle, cn.since = []*conn{cn}, time.Now()
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:1/", nil)
			tr.addr = "127.0.0.1:1" // nothing listens there: a second try fails
			cn.t = tr
			resp, err := tr.RoundTrip(req)
			if !c.push && err == nil {
				resp.Body = struct{ io.ReadCloser }{resp.Body}
			}
			all = append(all, outcome(resp, err))
		}
		for _, s := range all[1:] {
			// Framing that breaks off inside one read may be seen earlier when pushed.
			if s.CutShort && all[0].CutShort {
				continue
			}
			if d := cmp.Diff(all[0], s); d != "" {
				t.Error(d)
			}
		}
	})
}

// script is a connection that plays an answer and takes everything.
type script struct {
	net.Conn
	data  []byte
	piece int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.piece)], s.data)
	s.data = s.data[n:]
	return n, nil
}
func (s *script) Write(p []byte) (int, error)     { return len(p), nil }
func (s *script) Close() error                    { return nil }
func (s *script) SetDeadline(time.Time) error     { return nil }
func (s *script) SetReadDeadline(time.Time) error { return nil }

// FuzzEvents reads any bytes as a stream: no panic, and the same events
// whatever the pieces.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: a\n\ndata:b\r\n\r\n: c\n\ndata: d\ndata: e\n\n"), 3)
	f.Add([]byte("\ufeffdata: a\r\rdata"), 1)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		var got [2][]string
		for i, n := range []int{max(1, piece%16), 1 << 20} {
			ev := newEvents(&pieces{in, n})
			for {
				data, err := ev.next()
				if err != nil {
					if !errors.Is(err, io.EOF) && !errors.Is(err, errEventTooLong) {
						t.Fatal(err)
					}
					break
				}
				got[i] = append(got[i], string(data))
			}
		}
		if d := cmp.Diff(got[0], got[1]); d != "" {
			t.Error(d)
		}
	})
}

type pieces struct {
	data []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.data)
	p.data = p.data[n:]
	return n, nil
}

// FuzzError reads any bytes as an error of a server.
func FuzzError(f *testing.F) {
	f.Add([]byte(`{"error":{"message":"x","code":1,"type":null}}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Add([]byte(`{"detail":[{"msg":"x"}]}`))
	e, err := New(Options{BaseURL: "http://127.0.0.1:1", Key: func() string { return "sk-secret" }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, _ := readError(b)
		if msg := e.clean(a.Message); strings.Contains(msg, "sk-secret") || len([]rune(msg)) > 510 {
			t.Errorf("%q", msg)
		}
	})
}
