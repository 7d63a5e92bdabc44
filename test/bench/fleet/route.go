package main

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/lm"
	"github.com/parleyhq/parley/internal/lm/fleet"
	"github.com/parleyhq/parley/internal/lm/gateway"
	"github.com/parleyhq/parley/internal/lm/openai"
	"github.com/parleyhq/parley/internal/lm/roster"
)

// route runs a router: Parley's gateway, or a reverse proxy with a simple rule.
func route(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:9300", "address")
	to := fs.String("to", "", "engines, by commas")
	rule := fs.String("rule", "parley", "parley, rr, least, or bounded")
	bound := fs.Float64("bound", 2, "bounded: times the fair share that an engine may have")
	slots := fs.Int("slots", 0, "parley: declared slots of each engine; 0 = not known")
	_ = fs.Parse(args)
	var h http.Handler
	var err error
	if *rule == "parley" {
		h, err = parley(strings.Split(*to, ","), *slots)
	} else {
		h, err = simple(strings.Split(*to, ","), *rule, *bound)
	}
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/", h)
	srv := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return srv.ListenAndServe()
}

func parley(urls []string, slots int) (http.Handler, error) {
	r := roster.New(fleet.Options{})
	for i, u := range urls {
		name := fmt.Sprint("engine-", i)
		e, err := openai.New(openai.Options{Name: name, BaseURL: u})
		if err != nil {
			return nil, err
		}
		r.Expect(name, "", []string{"mock"}).Serve(e, "", func(m lm.Model) lm.Model { m.Slots = slots; return m })
	}
	return gateway.New(gateway.Options{Catalog: r})
}

// backend is an engine of a simple rule.
type backend struct {
	url      *url.URL
	inflight atomic.Int64
}

type chosen struct{}

func simple(urls []string, rule string, bound float64) (http.Handler, error) {
	var all []*backend
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return nil, err
		}
		all = append(all, &backend{url: u})
	}
	var turn atomic.Uint64
	pick := func(key string) *backend {
		switch rule {
		case "rr":
			return all[turn.Add(1)%uint64(len(all))]
		case "bounded":
			return bounded(all, key, bound)
		}
		from := rand.IntN(len(all))
		best := all[from]
		for i := range all {
			if b := all[(from+i)%len(all)]; b.inflight.Load() < best.inflight.Load() {
				best = b
			}
		}
		return best
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(r.In.Context().Value(chosen{}).(*backend).url) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute, DisableCompression: true},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := pick(r.Header.Get("X-Conversation"))
		b.inflight.Add(1)
		defer b.inflight.Add(-1)
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chosen{}, b)))
	}), nil
}

// bounded is rendezvous hashing by conversation, where an engine that has bound
// times its fair share gives the request on to the next one.
func bounded(all []*backend, key string, bound float64) *backend {
	total := int64(1)
	order := slices.Clone(all)
	rank := map[*backend]uint64{}
	for _, b := range all {
		total += b.inflight.Load()
		h := fnv.New64a()
		_, _ = h.Write([]byte(key + b.url.Host))
		x := h.Sum64() // alone it spreads short, similar keys badly
		x = (x ^ x>>33) * 0xff51afd7ed558ccd
		rank[b] = x ^ x>>33
	}
	slices.SortFunc(order, func(a, b *backend) int {
		if rank[a] < rank[b] {
			return -1
		}
		return 1
	})
	room := math.Ceil(bound * float64(total) / float64(len(all)))
	for _, b := range order {
		if float64(b.inflight.Load()+1) <= room {
			return b
		}
	}
	return order[0]
}
