package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	_ "net/http/pprof" //nolint:gosec // on an address of its own, only if asked for
	"net/url"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
)

// serve runs nothing but the gateway, with a request id, a key check and an
// observer in the way, as in the product.
func serve(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:9201", "address")
	to := fs.String("to", "http://127.0.0.1:9100", "engine")
	prof := fs.String("pprof", "", "address of net/http/pprof")
	gc := fs.Int("gogc", 400, "GOGC; the yardstick runs with Go's default of 100")
	_ = fs.Parse(args)
	debug.SetGCPercent(*gc)
	engine, err := openai.New(openai.Options{BaseURL: *to})
	if err != nil {
		return err
	}
	gw, err := gateway.New(gateway.Options{Catalog: gateway.Engines(engine), Observer: &counts{}})
	if err != nil {
		return err
	}
	if *prof != "" {
		go func() { fmt.Println(http.ListenAndServe(*prof, nil)) }() //nolint:gosec // a benchmark
	}
	return listenAndServe(*listen, guard(gw))
}

// plain is the smallest useful reverse proxy: the standard library's.
func plain(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:9200", "address")
	to := fs.String("to", "http://127.0.0.1:9100", "engine")
	_ = fs.Parse(args)
	u, err := url.Parse(*to)
	if err != nil {
		return err
	}
	return listenAndServe(*listen, &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(u) },
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // thousands of lines in the run whose engine dies
		Transport:     &http.Transport{MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute, DisableCompression: true},
	})
}

func listenAndServe(addr string, h http.Handler) error {
	srv := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
	return srv.ListenAndServe()
}

// guard has the shape of the product's middleware: an id for each request, and
// a key compared in constant time if one is sent.
func guard(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte("Bearer " + benchKey))
	var last atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Request-Id"] = []string{strconv.FormatInt(last.Add(1), 36)}
		if key := r.Header.Get("Authorization"); key != "" {
			got := sha256.Sum256([]byte(key))
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// counts is an observer as the product's metrics are: histograms of counters.
type counts struct {
	first, gap [32]atomic.Int64
	ended      atomic.Int64
	tokens     atomic.Int64
}

func bucket(d time.Duration) int {
	n := 0
	for d > time.Microsecond && n < 31 {
		d /= 2
		n++
	}
	return n
}

func (c *counts) First(_ *gateway.Record, d time.Duration) { c.first[bucket(d)].Add(1) }
func (c *counts) Next(_ *gateway.Record, d time.Duration)  { c.gap[bucket(d)].Add(1) }
func (c *counts) End(r *gateway.Record) {
	c.ended.Add(1)
	c.tokens.Add(int64(r.Usage.Completion))
}
