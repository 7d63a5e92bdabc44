package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Edge are the metrics of an edge that runs by itself. It satisfies the
// observers of its DNS and HTTP parts.
type Edge struct {
	reg *prometheus.Registry

	answers, stale, dropped *prometheus.CounterVec
	tried                   *prometheus.HistogramVec
	moved                   *prometheus.HistogramVec
	probes                  *prometheus.CounterVec
}

// NewEdge makes the edge's metrics.
func NewEdge(version string) *Edge {
	e := &Edge{reg: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		e.reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		e.reg.MustRegister(h)
		return h
	}
	e.answers = counter("parley_edge_dns_answers_total", "DNS answers, by transport, response code and whether they were truncated.", "transport", "rcode", "truncated")
	e.stale = counter("parley_edge_dns_stale_total", "DNS answers given while no region was known to live.", "transport")
	e.dropped = counter("parley_edge_dns_dropped_total", "DNS packets without an answer.", "reason")
	e.tried = histogram("parley_edge_attempt_duration_seconds", "Time until a region answered an attempt; status 0 is no answer.", fastBuckets, "region", "status")
	e.moved = histogram("parley_edge_stream_gap_seconds", "Time that event streams were interrupted before they went on in another region.", callBuckets, "from", "to")
	e.probes = counter("parley_edge_probes_total", "Checks of regions.", "region", "ok")
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_build_info", Help: "Always 1."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	e.reg.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return e
}

// Handler answers GET /metrics.
func (e *Edge) Handler() http.Handler {
	return promhttp.HandlerFor(e.reg, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4})
}

// Region adds a region's gauge, which is read when asked for: 1 while it lives.
func (e *Edge) Region(name string, live func() bool) {
	e.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_edge_region_live", Help: "1 while clients are sent there.", ConstLabels: prometheus.Labels{"region": name},
	}, func() float64 {
		if live() {
			return 1
		}
		return 0
	}))
}

// Answered notes a DNS answer.
func (e *Edge) Answered(tcp bool, rcode int, truncated, stale bool) {
	transport := "udp"
	if tcp {
		transport = "tcp"
	}
	e.answers.WithLabelValues(transport, strconv.Itoa(rcode), strconv.FormatBool(truncated)).Inc()
	if stale {
		e.stale.WithLabelValues(transport).Inc()
	}
}

// Dropped notes a DNS packet without an answer.
func (e *Edge) Dropped(reason string) { e.dropped.WithLabelValues(reason).Inc() }

// Tried notes one attempt at a region.
func (e *Edge) Tried(region string, status int, took time.Duration) {
	if status < 100 || status > 599 { // a region may say anything; a label may not
		status = 0
	}
	e.tried.WithLabelValues(region, strconv.Itoa(status)).Observe(took.Seconds())
}

// Moved notes an event stream that went on in another region.
func (e *Edge) Moved(from, to string, gap time.Duration) {
	e.moved.WithLabelValues(from, to).Observe(gap.Seconds())
}

// Probed notes a check of a region.
func (e *Edge) Probed(region string, ok bool, _ time.Duration) {
	e.probes.WithLabelValues(region, strconv.FormatBool(ok)).Inc()
}
