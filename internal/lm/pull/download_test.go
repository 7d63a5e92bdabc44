package pull

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func hash(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// noise is n bytes that are the same in every run.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func newDownload(t *testing.T, url string, content []byte) *download {
	t.Helper()
	return &download{
		client: newClient(), url: url, part: filepath.Join(t.TempDir(), "x.part"),
		size: int64(len(content)), sum: hash(content),
		stall: 30 * time.Second, backoff: time.Millisecond, done: func(int64) {},
	}
}

// script answers the n-th request with the n-th handler, later ones with the
// last, and keeps the requests.
type script struct {
	mu       sync.Mutex
	handlers []http.HandlerFunc
	seen     []*http.Request
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	h := s.handlers[min(len(s.seen), len(s.handlers)-1)]
	s.seen = append(s.seen, r)
	s.mu.Unlock()
	h(w, r)
}

func (s *script) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*http.Request(nil), s.seen...)
}

func TestDownload(t *testing.T) {
	content := noise(300_000, 1)
	serve := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	cutAfter := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:n])
			panic(http.ErrAbortHandler)
		}
	}
	noRange := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
	}
	other := bytes.Clone(content)
	other[200_000] ^= 1
	for _, tt := range []struct {
		name     string
		handlers []http.HandlerFunc
		before   []byte // what an earlier run left
		etag     string // and its ETag
		requests int
		wantErr  string
	}{
		{"whole", []http.HandlerFunc{serve}, nil, "", 1, ""},
		{"cut in the middle", []http.HandlerFunc{cutAfter(100_000), serve}, nil, "", 2, ""},
		{"cut without ranges", []http.HandlerFunc{cutAfter(100_000), noRange}, nil, "", 2, ""},
		{"cut again and again", []http.HandlerFunc{cutAfter(9), status(503), status(503), serve}, nil, "", 4, ""},
		{"always down", []http.HandlerFunc{status(503)}, nil, "", maxFruitless, "503"},
		{"not there", []http.HandlerFunc{status(404)}, nil, "", 1, "404"},
		{"not allowed", []http.HandlerFunc{status(401)}, nil, "", 1, "401"},
		{"refuses the range", []http.HandlerFunc{status(416), serve}, content[:5000], "", 2, ""},
		{"resumed from an earlier run", []http.HandlerFunc{serve}, content[:250_000], `"v1"`, 1, ""},
		{"another version since then", []http.HandlerFunc{serve}, other[:250_000], `"v0"`, 1, ""},
		{"earlier bytes were wrong", []http.HandlerFunc{serve}, other[:250_000], "", 2, ""},
		{"earlier file too long", []http.HandlerFunc{serve}, append(bytes.Clone(content), 1), "", 1, ""},
		{"earlier file is whole", []http.HandlerFunc{status(500)}, content, "", 0, ""},
		{"wrong bytes", []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }}, nil, "", 1, errWrongHash.Error()},
		{"wrong size", []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content[:77]) }}, nil, "", 1, "has 77 bytes"},
		{"endless", []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(other); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		}}, nil, "", 1, errWrongHash.Error()},
		{"odd range", []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 7-9/10")
			w.WriteHeader(http.StatusPartialContent)
		}, serve}, content[:100], "", 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{handlers: tt.handlers}
			srv := httptest.NewServer(s)
			defer srv.Close()
			d := newDownload(t, srv.URL, content)
			if tt.before != nil {
				if err := os.WriteFile(d.part, tt.before, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.etag != "" {
				resp := &http.Response{Header: http.Header{"Etag": {tt.etag}}}
				if err := d.writeOrigin(resp); err != nil {
					t.Fatal(err)
				}
			}
			err := d.run(t.Context())
			if n := len(s.requests()); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("run = %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("run: %v", err)
			}
			if got, err := os.ReadFile(d.part); err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %d bytes, %v; want the %d of the server", len(got), err, len(content))
			}
		})
	}
}

// A resumed download asks for the rest only, and only of the same version.
func TestDownloadAsksForTheRest(t *testing.T) {
	content := noise(300_000, 2)
	s := &script{handlers: []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:120_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		},
	}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	if err := newDownload(t, srv.URL, content).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := s.requests()[1].Header
	if second.Get("Range") != "bytes=120000-" || second.Get("If-Range") != `"v1"` {
		t.Errorf("second request: Range %q, If-Range %q", second.Get("Range"), second.Get("If-Range"))
	}
}

// A connection that goes silent is given up and the rest asked for anew.
func TestDownloadStall(t *testing.T) {
	content := noise(100_000, 3)
	s := &script{handlers: []http.HandlerFunc{
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			_, _ = w.Write(content[:50_000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		},
	}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	d := newDownload(t, srv.URL, content)
	d.stall = 50 * time.Millisecond
	if err := d.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.requests()[1].Header.Get("Range"); r != "bytes=50000-" {
		t.Errorf("second request: Range %q", r)
	}
}

func TestDownloadCanceled(t *testing.T) {
	content := noise(100_000, 4)
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:50_000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	d := newDownload(t, srv.URL, content)
	d.done = func(n int64) {
		if n == 50_000 {
			cancel()
		}
	}
	if err := d.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v, want canceled", err)
	}
	if n := d.have(); n != 50_000 {
		t.Errorf("%d bytes are kept for the next run, want 50000", n)
	}
}

// Nobody listens: one attempt, a sentence, no retries.
func TestDownloadUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	d := newDownload(t, "http://"+addr, []byte("x"))
	d.backoff = time.Hour // a retry would hang the test
	if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "can't connect") {
		t.Errorf("run = %v, want can't connect", err)
	}
	d = newDownload(t, "https://nowhere.invalid/x", []byte("x"))
	d.client.Transport.(*http.Transport).Proxy = nil
	d.backoff = time.Hour
	if err := d.run(t.Context()); err == nil || err.Error() != "no address is known for nowhere.invalid" {
		t.Errorf("run = %v", err)
	}
}

func TestDownloadDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	content := noise(100_000, 5)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	defer srv.Close()
	d := newDownload(t, srv.URL, content)
	if err := os.Symlink("/dev/full", d.part); err != nil {
		t.Fatal(err)
	}
	if err := d.run(t.Context()); !errors.Is(err, syscall.ENOSPC) || !diskFull(err) {
		t.Errorf("run = %v, want ENOSPC", err)
	}
}

// A redirect must not leave https.
func TestDownloadRedirectDown(t *testing.T) {
	var reached atomic.Bool
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer plain.Close()
	srv := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer srv.Close()
	d := newDownload(t, srv.URL, []byte("x"))
	d.client = srv.Client()
	d.client.CheckRedirect = newClient().CheckRedirect
	if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "plain http") || reached.Load() {
		t.Errorf("run = %v, followed = %v", err, reached.Load())
	}
}

func TestOriginGarbage(t *testing.T) {
	d := newDownload(t, "http://x", nil)
	if err := os.WriteFile(d.originPath(), []byte(`{"url":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := d.readOrigin(); o != (origin{}) {
		t.Errorf("origin = %+v", o)
	}
	d.discard()
	if _, err := os.Stat(d.originPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("origin is still there: %v", err)
	}
}
