package alone

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/edge"
	"github.com/parleyhq/parley/internal/fault"
)

// statusHandler answers for the edge itself. It is for operators: bind it where
// only they come.
func (p *Program) statusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { sayText(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		for i := range p.edge.Regions() {
			if p.edge.Live(i) {
				sayText(w, http.StatusOK, "ok")
				return
			}
		}
		sayText(w, http.StatusServiceUnavailable, "no region lives")
	})
	mux.HandleFunc("GET /regions", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string][]edge.State{"regions": p.edge.States()}) // the client has gone
	})
	mux.Handle("GET /metrics", p.metrics.Handler())
	return mux
}

func sayText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the client has gone
}

// certificate is what the edge shows, read anew when its file changes, so that
// a renewal needs no restart.
type certificate struct {
	cert, key string
	changed   time.Time // of the file, as read
	now       atomic.Pointer[tls.Certificate]
}

func readCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
	if err := c.read(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the edge's certificate can't be used")
	}
	return c, nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// read takes the files as they are, if they fit each other.
func (c *certificate) read() error {
	info, err := os.Stat(c.cert)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.changed = info.ModTime()
	c.now.Store(&pair)
	return nil
}

// renewal is how soon a changed certificate is noticed.
const renewal = 10 * time.Second

// follow reads the certificate anew when it changes; one that can't be used is
// reported, and the old one stays.
func (c *certificate) follow(ctx context.Context, lg *slog.Logger) {
	tick := time.NewTicker(renewal)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		info, err := os.Stat(c.cert)
		if err == nil && info.ModTime().Equal(c.changed) {
			continue
		}
		if err == nil {
			err = c.read()
		}
		switch {
		case err == nil:
			lg.Info("a new certificate is in use", "file", c.cert)
		case !failing: // once, not every time: it may be half written
			lg.Warn("the certificate changed but can't be used; the old one stays", "file", c.cert, "problem", err)
		}
		failing = err != nil
	}
}
