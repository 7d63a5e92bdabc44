package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/lm/demo"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/roster"
)

// A request for an engine that is starting is held, as long as it would wait
// for a free one.
func TestStarting(t *testing.T) {
	for _, c := range []struct {
		name   string
		takes  time.Duration // for the engine to be there
		prefer string
		status int
		after  time.Duration // from when it answers
	}{
		{"it is there in time", 20 * time.Second, "", http.StatusOK, 20 * time.Second},
		{"it is late", time.Hour, "", http.StatusServiceUnavailable, 30 * time.Second},
		{"it is late for this client", 20 * time.Second, "wait=3", http.StatusServiceUnavailable, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := roster.New(fleet.Options{})
				defer func() { _ = r.Close() }()
				p := r.Expect("one", "loading the model, 40 %", nil)
				start := time.AfterFunc(c.takes, func() { p.Serve(demo.Echo("one"), "", nil) })
				defer start.Stop()
				g, err := gateway.New(gateway.Options{Catalog: r, Wait: 30 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				ask := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"messages":[{"role":"user","content":"hello"}]}`))
				if c.prefer != "" {
					ask.Header.Set("Prefer", c.prefer)
				}
				began, w := time.Now(), httptest.NewRecorder()
				g.ServeHTTP(w, ask)
				if took := time.Since(began); w.Code != c.status || took < c.after || took > c.after+10*time.Second {
					t.Errorf("status %d after %s, want %d after %s: %s", w.Code, took, c.status, c.after, w.Body)
				}
				if w.Code == http.StatusOK {
					return
				}
				if !strings.Contains(w.Body.String(), "40 %") || w.Header().Get("Retry-After") == "" {
					t.Errorf("it is not told how far the engine is, or when to come back: %v %s", w.Header(), w.Body)
				}
			})
		})
	}
}
