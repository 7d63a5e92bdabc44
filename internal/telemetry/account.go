package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parleyhq/parley/internal/lm"
)

// Accounts are the metrics of what callers spend. Who spends it is in no label:
// the books say that.
type Accounts struct {
	admitted, tokens, money *prometheus.CounterVec
	drawn                   *prometheus.HistogramVec
}

// Accounts adds them to the node's metrics; it is called once.
func (m *Metrics) Accounts() *Accounts {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.here.MustRegister(c)
		return c
	}
	a := &Accounts{
		admitted: counter("parley_account_requests_total", "Requests and turns that budgets were asked about, by what came of it: admitted, limited, unavailable.", "outcome"),
		tokens:   counter("parley_account_tokens_total", "Tokens that were booked, by model and kind: input, cached (of input), output.", "gen_ai_request_model", "gen_ai_token_type"),
		money:    counter("parley_account_money_total", "Money that was booked, in the configuration's currency.", "gen_ai_request_model"),
		drawn: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "parley_account_draw_seconds", Help: "Time to get a part of a budget from its ledger, by outcome: drawn, short, failed.", Buckets: fastBuckets,
		}, []string{"outcome"}),
	}
	m.here.MustRegister(a.drawn)
	return a
}

// Admitted notes that a request was let in, or not.
func (a *Accounts) Admitted(outcome string) { a.admitted.WithLabelValues(outcome).Inc() }

// Drawn notes that a ledger was asked.
func (a *Accounts) Drawn(outcome string, took time.Duration) {
	a.drawn.WithLabelValues(outcome).Observe(took.Seconds())
}

// Spent notes what an answer took; money is in billionths.
func (a *Accounts) Spent(model string, u lm.Usage, money int64) {
	a.tokens.WithLabelValues(model, "input").Add(float64(u.Prompt))
	a.tokens.WithLabelValues(model, "cached").Add(float64(u.Cached))
	a.tokens.WithLabelValues(model, "output").Add(float64(u.Completion))
	if money > 0 {
		a.money.WithLabelValues(model).Add(float64(money) / 1e9)
	}
}
