package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/edge"
)

// region is a real HTTP server that can be told how to behave.
type region struct {
	*httptest.Server
	serve atomic.Pointer[http.HandlerFunc] // all but /readyz
	ready atomic.Int32                     // what /readyz says; negative: it hangs
	got   atomic.Int32                     // requests but for /readyz
}

func newRegion(t *testing.T) *region {
	r := &region{}
	r.ready.Store(http.StatusOK)
	gone := make(chan struct{})
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/readyz" {
			if status := r.ready.Load(); status > 0 {
				w.WriteHeader(int(status))
				return
			}
			select {
			case <-req.Context().Done():
			case <-gone:
			}
			return
		}
		r.got.Add(1)
		(*r.serve.Load())(w, req)
	}))
	r.answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	t.Cleanup(func() {
		close(gone)
		r.CloseClientConnections()
		r.Close()
	})
	return r
}

func (r *region) answer(h http.HandlerFunc) { r.serve.Store(&h) }

// die cuts the connection of a request.
func die(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// rig is a front before regions a, b, ..., by priority in that order.
type rig struct {
	*Front
	edge *edge.Edge
	srv  *httptest.Server
}

func newRig(t *testing.T, opts Options, regions ...*region) *rig {
	t.Helper()
	leaks(t)
	urls := make([]string, len(regions))
	for i, r := range regions {
		urls[i] = r.URL
	}
	opts.Edge = newEdge(t, urls...)
	f, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = f.Server()
	srv.Start()
	t.Cleanup(func() {
		f.Stop()
		srv.CloseClientConnections()
		srv.Close()
	})
	return &rig{f, opts.Edge, srv}
}

func newEdge(t *testing.T, urls ...string) *edge.Edge {
	t.Helper()
	cfg := edge.Config{Policies: []edge.Policy{{Name: "p", Method: edge.Priority}}}
	for i, u := range urls {
		name := string(rune('a' + i))
		cfg.Regions = append(cfg.Regions, edge.Region{Name: name, URL: u})
		cfg.Policies[0].Targets = append(cfg.Policies[0].Targets, edge.Target{Region: name})
	}
	e, err := edge.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// alive tells the edge which regions live.
func (r *rig) alive(names string) {
	for _, reg := range r.edge.Regions() {
		var problem error
		if !strings.Contains(names, reg.Name) {
			problem = errors.New("dead")
		}
		for range 2 {
			r.edge.Observe(reg.Name, edge.Ready, problem, time.Now())
		}
	}
}

// leaks checks at the test's end that no goroutine is left. Call it first: what
// is cleaned up later was registered earlier.
func leaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if runtime.NumGoroutine() <= before {
				return
			}
		}
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s did not happen within 5 s", what)
}

// send returns status, region and body.
func (r *rig) send(t *testing.T, method, path, body string, headers ...string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequest(method, r.srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get(regionHeader), string(b)
}

func TestPassesOn(t *testing.T) {
	a := newRegion(t)
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s host=%s body=%s hop=%q for=%q proto=%q fwd=%q", r.Method, r.URL, r.Host, b,
			r.Header.Get("X-Hop"), r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Forwarded"))
	})
	rig := newRig(t, Options{}, a)
	req, _ := http.NewRequest(http.MethodPost, rig.srv.URL+"/x%2Fy?q=1;2", strings.NewReader("hello"))
	req.Host = "localhost"
	for k, v := range map[string]string{"Connection": "X-Hop", "X-Hop": "1", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "Forwarded": "for=6.6.6.6"} {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	want := `POST /x%2Fy?q=1;2 host=localhost body=hello hop="" for="127.0.0.1" proto="http" fwd=""`
	if string(b) != want {
		t.Errorf("the region saw\n%s, want\n%s", b, want)
	}
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Hop") != "" || resp.Header.Get(regionHeader) != "a" {
		t.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	}
}

func TestTrustedProxies(t *testing.T) {
	f, err := New(Options{Edge: newEdge(t, "http://127.0.0.1:1"), Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ peer, header, want string }{
		{"203.0.113.9:1", "6.6.6.6", "203.0.113.9"},
		{"10.0.0.1:1", "6.6.6.6, 198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:1", "6.6.6.6, 198.51.100.7, 10.1.1.1", "198.51.100.7"},
		{"10.0.0.1:1", "junk", "10.0.0.1"},
		{"10.0.0.1:1", "", "10.0.0.1"},
		{"[::ffff:10.0.0.1]:1", "2001:db8::1", "2001:db8::1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		if c.header != "" {
			r.Header.Set("X-Forwarded-For", c.header)
		}
		if got, _ := f.client(r); got.String() != c.want {
			t.Errorf("%s with %q is %v, want %s", c.peer, c.header, got, c.want)
		}
	}
}

func TestLoopbackNamesFromElsewhere(t *testing.T) {
	a := newRegion(t)
	rig := newRig(t, Options{}, a)
	for _, host := range []string{"localhost", "LOCALHOST:8470", "127.0.0.1:8470", "[::1]:8470", "x.localhost.", "127.1.2.3"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host, r.RemoteAddr = host, "203.0.113.9:1"
		w := httptest.NewRecorder()
		rig.ServeHTTP(w, r)
		if w.Code != http.StatusMisdirectedRequest {
			t.Errorf("%s from elsewhere: %d", host, w.Code)
		}
	}
	if n := a.got.Load(); n != 0 {
		t.Errorf("%d requests reached the region", n)
	}
}

func TestRepeatsOnlyWhereSafe(t *testing.T) {
	big := strings.Repeat("x", 2000)
	busy := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	later := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	for _, c := range []struct {
		name, method, body, key string
		a                       http.HandlerFunc // nil: its port is closed
		status                  int
		region                  string
		got                     int32 // of a
	}{
		{"get, cut", "GET", "", "", die, 200, "b", 1},
		{"get, busy", "GET", "", "", busy, 200, "b", 1},
		{"put, cut", "PUT", "x", "", die, 200, "b", 1},
		{"delete, closed", "DELETE", "", "", nil, 200, "b", 0},
		{"post, closed", "POST", "x", "", nil, 200, "b", 0},
		{"post, cut", "POST", "x", "", die, 502, "", 1},
		{"post, busy", "POST", "x", "", busy, 503, "a", 1},
		{"post with key, cut", "POST", "x", "k1", die, 200, "b", 1},
		{"post with key, busy", "POST", "x", "k1", later, 200, "b", 1},
		{"patch, cut", "PATCH", "x", "", die, 502, "", 1},
		{"too big to keep, cut", "POST", big, "k1", die, 502, "", 1},
		{"not refused but failed", "GET", "", "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 500, "a", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newRegion(t), newRegion(t)
			rig := newRig(t, Options{MaxReplay: 1000}, a, b)
			if c.a == nil {
				a.Close()
			} else {
				a.answer(c.a)
			}
			var body string
			b.answer(func(_ http.ResponseWriter, r *http.Request) {
				all, _ := io.ReadAll(r.Body)
				body = string(all)
			})
			var headers []string
			if c.key != "" {
				headers = []string{"Idempotency-Key", c.key}
			}
			status, where, _ := rig.send(t, c.method, "/api/v1/x", c.body, headers...)
			if status != c.status || where != c.region || a.got.Load() != c.got {
				t.Errorf("status %d from %q after %d requests to a; want %d from %q after %d", status, where, a.got.Load(), c.status, c.region, c.got)
			}
			if c.region == "b" && body != c.body {
				t.Errorf("b got the body %q, want %q", body, c.body)
			}
		})
	}
}

// The forms of the page without JavaScript go to another region by themselves:
// nobody is asked whether to post them again.
func TestFormsAreRepeated(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	rig := newRig(t, Options{MaxReplay: 1000}, a, b)
	a.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	for path, want := range map[string]string{"/plain/c/x/say": "b", "/plainly/c/x/say": "a"} {
		if _, where, _ := rig.send(t, "POST", path, "key=k&text=x"); where != want {
			t.Errorf("%s was answered by %q, want %q", path, where, want)
		}
	}
}

func TestChunkedBodyIsRepeatedWhole(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	a.answer(die)
	b.answer(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	rig := newRig(t, Options{}, a, b)
	req, _ := http.NewRequest(http.MethodPost, rig.srv.URL+"/", struct{ io.Reader }{strings.NewReader("in pieces")})
	req.Header.Set("Idempotency-Key", "k")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, _ := io.ReadAll(resp.Body); string(got) != "in pieces" {
		t.Errorf("b got %q", got)
	}
}

// TestRoomForBodies fills the room for bodies that could be repeated: what
// finds none goes through all the same, but only once.
func TestRoomForBodies(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	inside, hold := make(chan struct{}), make(chan struct{})
	b.answer(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			close(inside)
			<-hold
		}
	})
	a.answer(die)
	rig := newRig(t, Options{MaxKept: 100}, a, b)
	body := strings.Repeat("x", 60)
	var wg sync.WaitGroup
	wg.Go(func() { rig.send(t, "POST", "/hold", body, "Idempotency-Key", "k") })
	<-inside
	if status, _, _ := rig.send(t, "POST", "/", body, "Idempotency-Key", "k"); status != 502 {
		t.Errorf("without room for it: %d", status)
	}
	close(hold)
	wg.Wait()
	if status, where, _ := rig.send(t, "POST", "/", body, "Idempotency-Key", "k"); status != 200 || where != "b" {
		t.Errorf("with room for it: %d from %q", status, where)
	}
	eventually(t, "all room free", func() bool { return rig.kept.Load() == 0 })
}

func TestBigBodyStreamsThrough(t *testing.T) {
	a := newRegion(t)
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	rig := newRig(t, Options{MaxReplay: 1000}, a)
	for _, body := range []io.Reader{bytes.NewReader(make([]byte, 3<<20)), struct{ io.Reader }{bytes.NewReader(make([]byte, 3<<20))}} {
		resp, err := http.Post(rig.srv.URL+"/", "x", body)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(resp.Body); string(got) != fmt.Sprint(3<<20) {
			t.Errorf("the region got %s bytes", got)
		}
		resp.Body.Close()
	}
}

func TestWaitsForARegion(t *testing.T) {
	a := newRegion(t)
	var asked atomic.Int32
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 4 {
			die(w, r)
		}
	})
	rig := newRig(t, Options{}, a)
	if status, _, _ := rig.send(t, "GET", "/", ""); status != 200 || asked.Load() != 4 {
		t.Errorf("status %d after %d attempts", status, asked.Load())
	}
	a.Close()
	began := time.Now()
	if status, _, body := newRig(t, Options{Wait: 200 * time.Millisecond}, a).send(t, "GET", "/v1/models", ""); status != 503 || !strings.Contains(body, `"server_error"`) {
		t.Errorf("with no region at all: %d %s", status, body)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestHungRegion(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before that, nobody notices that the other end has gone
		<-r.Context().Done()
	}
	a.answer(hang)
	t.Run("a time limit", func(t *testing.T) {
		rig := newRig(t, Options{HeaderTimeout: 100 * time.Millisecond}, a, b)
		if status, where, _ := rig.send(t, "GET", "/", ""); status != 200 || where != "b" {
			t.Errorf("%d from %q", status, where)
		}
	})
	t.Run("taken out meanwhile", func(t *testing.T) {
		rig := newRig(t, Options{Interval: 20 * time.Millisecond, ProbeTimeout: 50 * time.Millisecond}, a, b)
		a.got.Store(0)
		rig.Start()
		eventually(t, "life", func() bool { return rig.edge.Live(0) && rig.edge.Live(1) })
		go func() {
			for a.got.Load() == 0 {
				runtime.Gosched()
			}
			a.ready.Store(-1)
		}()
		if status, where, _ := rig.send(t, "POST", "/", "x", "Idempotency-Key", "k"); status != 200 || where != "b" {
			t.Errorf("%d from %q", status, where)
		}
	})
}

func TestChecks(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	rig := newRig(t, Options{Interval: 10 * time.Millisecond, ProbeTimeout: 100 * time.Millisecond}, a, b)
	rig.Start()
	where := func() string {
		_, name, _ := rig.send(t, "GET", "/", "")
		return name
	}
	eventually(t, "service by a", func() bool { return where() == "a" && rig.edge.Live(1) })
	a.ready.Store(http.StatusServiceUnavailable) // it drains: it answers, but wants no more
	eventually(t, "service by b", func() bool { return where() == "b" })
	a.ready.Store(http.StatusOK)
	eventually(t, "service by a again", func() bool { return where() == "a" })
	a.ready.Store(-1)
	eventually(t, "service by b while a hangs", func() bool { return where() == "b" })
}

func TestBrokenButReady(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	a.answer(die)
	rig := newRig(t, Options{}, a, b)
	for range 20 {
		if status, where, _ := rig.send(t, "GET", "/", ""); status != 200 || where != "b" {
			t.Fatalf("%d from %q", status, where)
		}
	}
	if n := a.got.Load(); n != failuresToRest {
		t.Errorf("the broken region was asked %d times, want %d", n, failuresToRest)
	}
}

func TestSticky(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	rig := newRig(t, Options{}, a, b)
	rig.alive("ab")
	ask := func(cookie string) (string, string) {
		req, _ := http.NewRequest(http.MethodGet, rig.srv.URL, nil)
		if cookie != "" {
			req.AddCookie(&http.Cookie{Name: regionCookie, Value: cookie})
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for _, c := range resp.Cookies() {
			if c.Name == regionCookie {
				return resp.Header.Get(regionHeader), c.Value
			}
		}
		return resp.Header.Get(regionHeader), ""
	}
	for _, c := range []struct{ alive, cookie, want, set string }{
		{"ab", "", "a", "a"},
		{"ab", "b", "b", ""},
		{"a", "b", "a", "a"},
		{"ab", "nowhere", "a", "a"},
	} {
		rig.alive(c.alive)
		if where, set := ask(c.cookie); where != c.want || set != c.set {
			t.Errorf("with cookie %q and %q alive: served by %q, cookie %q; want %q, %q", c.cookie, c.alive, where, set, c.want, c.set)
		}
	}
	a.answer(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "public, max-age=9") })
	if _, set := ask(""); set != "" {
		t.Error("a cookie goes out with what shared caches may keep")
	}
}

func TestBusy(t *testing.T) {
	a := newRegion(t)
	inside, hold := make(chan struct{}), make(chan struct{})
	a.answer(func(http.ResponseWriter, *http.Request) {
		close(inside)
		<-hold
	})
	rig := newRig(t, Options{MaxInFlight: 1}, a)
	var wg sync.WaitGroup
	wg.Go(func() { rig.send(t, "GET", "/", "") })
	<-inside
	if status, _, body := rig.send(t, "GET", "/", ""); status != 503 || !strings.Contains(body, "busy") {
		t.Errorf("%d %s", status, body)
	}
	close(hold)
	wg.Wait()
}

// upgrade opens a connection through the front that echoes what is written.
func (r *rig) upgrade(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", r.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	return conn, in
}

func TestWebSocket(t *testing.T) {
	a, b := newRegion(t), newRegion(t)
	echo := func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, rw)
	}
	a.answer(echo)
	b.answer(echo)
	for _, c := range []struct {
		name string
		end  func(*rig)
	}{
		{"its region is taken out", func(r *rig) { r.alive("b") }},
		{"the edge stops", func(r *rig) { r.Stop() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			rig := newRig(t, Options{Interval: time.Hour}, a, b)
			rig.Start()
			eventually(t, "life", func() bool { return rig.edge.Live(0) && rig.edge.Live(1) })
			conn, in := rig.upgrade(t)
			for _, text := range []string{"one\n", "two\n"} {
				fmt.Fprint(conn, text)
				if got, err := in.ReadString('\n'); got != text {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			c.end(rig)
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection goes on: %v", err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no edge, no error")
	}
	_, err := New(Options{Edge: newEdge(t, "kr.example.com", "http://ok", "https://x/path", "ftp://x")})
	for _, name := range []string{"regions[0].url", "regions[2].url", "regions[3].url"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "regions[1]") {
		t.Error(err)
	}
}

func TestClientLeaves(t *testing.T) {
	a := newRegion(t)
	inside, left := make(chan struct{}), make(chan struct{})
	a.answer(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(inside)
		<-r.Context().Done()
		close(left)
	})
	rig := newRig(t, Options{}, a)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-inside
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, rig.srv.URL, strings.NewReader("x"))
	if _, err := http.DefaultClient.Do(req); err == nil {
		t.Error("no error")
	}
	<-left
	if n := rig.backends[0].failures.Load(); n != 0 {
		t.Error("the region was blamed for the client's leaving")
	}
}

// A region that is silent is given its time once, and half of it when it is
// asked again: that long its users wait. One that was quick to answer is given
// less.
func TestSilentRegionIsLeft(t *testing.T) {
	t.Run("never heard", func(t *testing.T) { silence(t, 0, 1525*time.Millisecond) })
	t.Run("quick before", func(t *testing.T) { silence(t, 10, 250*time.Millisecond+resend+25*time.Millisecond+2*resend) })
}

// silence lets a region answer a few checks at once and hang then, and wants it
// to be left in time.
func silence(t *testing.T, answers int, want time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		f, err := New(Options{Edge: newEdge(t, "http://hangs.test", "http://b.test")})
		if err != nil {
			t.Fatal(err)
		}
		hung := make(chan time.Time, 1)
		f.via.DialContext = func(context.Context, string, string) (net.Conn, error) {
			mine, theirs := net.Pipe()
			go func() {
				in := bufio.NewReader(theirs)
				for ; answers > 0; answers-- {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					time.Sleep(time.Microsecond) // as quick as a look at the clock can tell
					_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					if answers == 1 {
						hung <- time.Now()
					}
				}
				_, _ = io.Copy(io.Discard, in) // until it is closed
			}()
			return mine, nil
		}
		for _, b := range f.backends {
			f.opts.Edge.Observe(b.name, edge.Ready, nil, time.Now())
		}
		began, changed := time.Now(), f.opts.Edge.Changed()
		ctx, cancel := context.WithCancel(t.Context())
		var checks sync.WaitGroup
		checks.Go(func() { f.check(ctx, f.backends[0]) })
		<-changed
		select {
		case began = <-hung:
		default:
		}
		if took := time.Since(began).Round(time.Millisecond); f.opts.Edge.Live(0) || took != want {
			t.Errorf("live: %v after %v, want it left after %v", f.opts.Edge.Live(0), took, want)
		}
		cancel()
		checks.Wait()
	})
}
