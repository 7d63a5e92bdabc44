// Package telemetry holds the node's metrics, by Prometheus' naming and the
// OpenTelemetry GenAI conventions (those in development, of 2026; docs/metrics.md
// lists them). Label values come from configuration, from what engines list or
// from fixed lists, never from users.
package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/parleyhq/parley/internal/event"
	"github.com/parleyhq/parley/internal/lm"
)

// Buckets as the GenAI conventions advise, in seconds and tokens.
var (
	ttftBuckets  = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	tokenBuckets = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5}
	quickBuckets = []float64{.00005, .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1}
	callBuckets  = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	usageBuckets = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
	waitBuckets  = []float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	fastBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
)

// Metrics of one node. It satisfies the observers that chat and the gateway
// declare.
type Metrics struct {
	reg  *prometheus.Registry
	here prometheus.Registerer // adds the region

	ttft, gap, call *prometheus.HistogramVec
	usage           *prometheus.HistogramVec
	cached          *prometheus.CounterVec
	turns           *prometheus.CounterVec
	resumed         *prometheus.CounterVec
	continued       *prometheus.CounterVec
	remembered      *prometheus.CounterVec
	kafka, aborted  *prometheus.CounterVec
	durable         prometheus.Histogram
	requests        *prometheus.HistogramVec
	readers         prometheus.Gauge
	understood      *prometheus.HistogramVec
	shadowed        *prometheus.CounterVec

	received, refused, posted *prometheus.CounterVec
	delivered                 *prometheus.HistogramVec
	connected                 *prometheus.GaugeVec

	routed, left, moved, ejected *prometheus.CounterVec
	inLine                       *prometheus.HistogramVec
	inFlight                     *prometheus.GaugeVec

	listened, listenedTokens   *prometheus.CounterVec
	listenedFirst, listenedFor *prometheus.HistogramVec

	started *prometheus.HistogramVec
	died    *prometheus.CounterVec

	given   *prometheus.HistogramVec
	botSaid *prometheus.CounterVec
}

// New makes the node's metrics.
func New(version, region string) *Metrics {
	m := &Metrics{reg: prometheus.NewRegistry()}
	m.here = prometheus.WrapRegistererWith(prometheus.Labels{"region": region}, m.reg)
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.here.MustRegister(h)
		return h
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.here.MustRegister(c)
		return c
	}
	engine := []string{"gen_ai_provider_name", "gen_ai_request_model"}
	asked := []string{"gen_ai_operation_name", engine[0], engine[1]}
	m.ttft = histogram("gen_ai_server_time_to_first_token_seconds", "Time from handing a request to the engine to its first text.", ttftBuckets, asked...)
	m.gap = histogram("gen_ai_server_time_per_output_token_seconds", "Time between two pieces of an answer's text.", tokenBuckets, asked...)
	m.call = histogram("gen_ai_client_operation_duration_seconds", "Time from taking up an answer to its end; error_type is empty where it went well.", callBuckets, append(asked, "error_type")...)
	m.usage = histogram("gen_ai_client_token_usage", "Tokens of an answer, as the engine counts them.", usageBuckets, append(asked, "gen_ai_token_type")...)
	m.cached = counter("parley_engine_prompt_tokens_total", "Tokens of prompts, by whether the engine says that it took them from its cache: hit, miss.", append(engine, "cache")...)
	m.turns = counter("parley_turns_total", "Turns that ended, by their last state.", "state")
	m.continued = counter("parley_continuations_total", "Answers through /v1 that went on after their engine had failed, by policy.", append(engine, "policy")...)
	m.remembered = counter("parley_response_cache_requests_total", "Requests through /v1 that the response cache was asked about, by what it did: hit, miss, bypass (the client did not want it).", "gen_ai_request_model", "outcome")
	m.kafka = counter("parley_kafka_records_total", "Requests of a topic whose answers were put out, by outcome: answered, refused.", "kafka", "outcome")
	m.aborted = counter("parley_kafka_aborts_total", "Transactions that were not committed, as the partitions went to another node; their requests come again.", "kafka")
	m.resumed = counter("parley_turns_resumed_total", "Attempts that went on with a cut answer, by policy.", append(engine, "policy")...)
	m.durable = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "parley_checkpoint_durable_seconds",
		Help: "Time from sending a checkpoint to the log until it is durable.", Buckets: fastBuckets,
	})
	m.requests = histogram("http_server_request_duration_seconds", "Time to answer an HTTP request; event streams are left out.", fastBuckets,
		"http_request_method", "http_route", "http_response_status_code")
	m.understood = histogram("parley_understanding_duration_seconds", "Time to understand a message, by model and version.", quickBuckets, "app", "version")
	m.shadowed = counter("parley_understanding_shadowed_total", "Messages that a shadowing version read too, by what it understood otherwise: intent, entities, nothing.",
		"app", "version", "differs")
	m.received = counter("parley_channel_received_total", "Activities that came in by a channel and were taken.", "channel", "kind")
	m.refused = counter("parley_channel_refused_total", "Requests of a channel's clients that were refused, by reason.", "channel", "reason")
	m.posted = counter("parley_channel_posted_total", "Times that the other side of a channel was called with what a bot says, by what became of it: posted, refused, doubt, dead.", "channel", "outcome")
	m.delivered = histogram("parley_channel_delivery_seconds", "Time from an activity until it was written to a client that waited for it.", fastBuckets, "channel")
	m.connected = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_channel_connections_open", Help: "Connections that a channel's clients hold open."}, []string{"channel"})
	m.here.MustRegister(m.connected)
	m.routed = counter("parley_fleet_requests_total", "Requests that went to one of several engines with the same model, by why it was this one: affinity, fresh, spill, retry, probe, hedge, idle.", append(engine, "why")...)
	m.left = counter("parley_fleet_outcomes_total", "What became of them there: answered, failed, refused, dropped.", append(engine, "outcome")...)
	m.moved = counter("parley_fleet_retries_total", "Requests that another engine got because this one gave no answer.", engine...)
	m.ejected = counter("parley_fleet_ejections_total", "Times that an engine was left out for a while.", engine...)
	m.inLine = histogram("parley_fleet_wait_seconds", "Time that requests waited for an engine to be free.", waitBuckets, "gen_ai_request_model")
	m.inFlight = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_fleet_in_flight", Help: "Requests that an engine has now."}, engine)
	m.here.MustRegister(m.inFlight)
	m.listened = counter("parley_shadow_requests_total", "Requests that a model got too whose answers nobody gets, by what became of them: answered, failed, skipped (no idle slot), cut (people needed the slot), unfit.", append(engine, "outcome")...)
	m.listenedFirst = histogram("parley_shadow_time_to_first_token_seconds", "Time to the first text of such an answer.", ttftBuckets, engine...)
	m.listenedFor = histogram("parley_shadow_request_duration_seconds", "Time of such an answer.", callBuckets, engine...)
	m.listenedTokens = counter("parley_shadow_tokens_total", "Tokens of such answers.", append(engine, "gen_ai_token_type")...)
	m.started = histogram("parley_scale_start_seconds", "Time from the start of an engine's replica until it was ready, or had failed.", callBuckets, "engine", "outcome")
	m.died = counter("parley_scale_deaths_total", "Replicas that had been ready and ended by themselves.", "engine")
	m.given = histogram("parley_bot_delivery_seconds", "Time until a bot that runs elsewhere was through with an activity, by outcome: taken, or why not.", callBuckets, "bot", "outcome")
	m.botSaid = counter("parley_bot_activities_total", "Activities that bots sent which run elsewhere.", "bot", "kind")
	m.readers = prometheus.NewGauge(prometheus.GaugeOpts{Name: "parley_event_streams_open", Help: "Event streams that clients hold open."})
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "parley_build_info", Help: "Always 1."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	m.here.MustRegister(m.durable, m.readers, info)
	m.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Started notes that an engine's replica is ready, or has failed to start.
func (m *Metrics) Started(engine string, took time.Duration, err error) {
	outcome := "ready"
	if err != nil {
		outcome = "failed"
	}
	m.started.WithLabelValues(engine, outcome).Observe(took.Seconds())
}

// Died notes that a replica ended by itself.
func (m *Metrics) Died(engine string) { m.died.WithLabelValues(engine).Inc() }

// Scaled is what is told of a scaled engine whenever somebody asks.
type Scaled struct {
	Engine                    string
	Requests, Expected        float64
	Target                    float64
	Wanted                    int
	Starting, Ready, Draining int
}

// Scales has the metrics of the engines that are scaled read when they are asked
// for.
func (m *Metrics) Scales(read func() []Scaled) { m.here.MustRegister(scales{read}) }

type scales struct{ read func() []Scaled }

func (s scales) desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"engine"}, labels...), nil)
}

// Describe says nothing: what is collected is known when it is.
func (s scales) Describe(chan<- *prometheus.Desc) {}

func (s scales) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, x := range s.read() {
		gauge(s.desc("parley_scale_requests", "Requests that run on an engine's replicas or wait for one."), x.Requests, x.Engine)
		gauge(s.desc("parley_scale_requests_expected", "Requests that there will be when a replica that starts now is ready."), x.Expected, x.Engine)
		gauge(s.desc("parley_scale_target", "Requests that one replica shall have."), x.Target, x.Engine)
		gauge(s.desc("parley_scale_replicas_wanted", "Replicas that there shall be."), float64(x.Wanted), x.Engine)
		replicas := s.desc("parley_scale_replicas", "Replicas that there are, by state: starting, ready, draining.", "state")
		gauge(replicas, float64(x.Starting), x.Engine, "starting")
		gauge(replicas, float64(x.Ready), x.Engine, "ready")
		gauge(replicas, float64(x.Draining), x.Engine, "draining")
	}
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4})
}

// Gauge adds a gauge that is read when asked for.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.here.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// Chat is the operation of conversations.
const Chat = "chat"

// FirstToken notes the time to the first text of a conversation's answer.
func (m *Metrics) FirstToken(engine, model string, after time.Duration) {
	m.First(Chat, engine, model, after)
}

// First notes the time to the first text of an operation's answer.
func (m *Metrics) First(operation, engine, model string, after time.Duration) {
	m.ttft.WithLabelValues(operation, engine, model).Observe(after.Seconds())
}

// NextToken notes the time between two pieces of a conversation's answer.
func (m *Metrics) NextToken(engine, model string, gap time.Duration) {
	m.Next(Chat, engine, model, gap)
}

// Next notes the time between two pieces of an operation's answer.
func (m *Metrics) Next(operation, engine, model string, gap time.Duration) {
	m.gap.WithLabelValues(operation, engine, model).Observe(gap.Seconds())
}

// TurnEnded notes a turn's end.
func (m *Metrics) TurnEnded(engine, model string, state event.State, took time.Duration, usage lm.Usage) {
	m.turns.WithLabelValues(string(state)).Inc()
	failed := ""
	if state == event.Failed {
		failed = string(state)
	}
	m.Answered(Chat, engine, model, failed, took, usage)
}

// Answered notes an engine's answer; failed is a fault's code, "" = it went well.
func (m *Metrics) Answered(operation, engine, model, failed string, took time.Duration, usage lm.Usage) {
	m.call.WithLabelValues(operation, engine, model, failed).Observe(took.Seconds())
	if usage.Prompt > 0 {
		m.usage.WithLabelValues(operation, engine, model, "input").Observe(float64(usage.Prompt))
		hit := min(max(usage.Cached, 0), usage.Prompt)
		m.cached.WithLabelValues(engine, model, "hit").Add(float64(hit))
		m.cached.WithLabelValues(engine, model, "miss").Add(float64(usage.Prompt - hit))
	}
	if usage.Completion > 0 {
		m.usage.WithLabelValues(operation, engine, model, "output").Observe(float64(usage.Completion))
	}
}

// Resumed notes an attempt that goes on with a cut answer.
func (m *Metrics) Resumed(engine, model string, policy lm.Policy) {
	m.resumed.WithLabelValues(engine, model, string(policy)).Inc()
}

// Continued notes that an answer through /v1 went on after its engine had failed.
func (m *Metrics) Continued(engine, model string, policy lm.Policy) {
	m.continued.WithLabelValues(engine, model, string(policy)).Inc()
}

// Cached notes what the response cache did about a request.
func (m *Metrics) Cached(model, outcome string) { m.remembered.WithLabelValues(model, outcome).Inc() }

// KafkaAnswered notes answers that are in their topic.
func (m *Metrics) KafkaAnswered(name string, well, bad int) {
	m.kafka.WithLabelValues(name, "answered").Add(float64(well))
	m.kafka.WithLabelValues(name, "refused").Add(float64(bad))
}

// KafkaAborted notes a transaction that was not committed.
func (m *Metrics) KafkaAborted(name string) { m.aborted.WithLabelValues(name).Inc() }

// Durable notes how long a checkpoint took.
func (m *Metrics) Durable(took time.Duration) { m.durable.Observe(took.Seconds()) }

// Understood notes that a message was understood.
func (m *Metrics) Understood(app, version string, took time.Duration) {
	m.understood.WithLabelValues(app, version).Observe(took.Seconds())
}

// Shadowed notes in what a version that only listens differs from the live one.
func (m *Metrics) Shadowed(app, version, differs string) {
	if differs == "" {
		differs = "nothing"
	}
	m.shadowed.WithLabelValues(app, version, differs).Inc()
}

// Request notes an HTTP request; route is a pattern, not a path.
func (m *Metrics) Request(method, route, status string, took time.Duration) {
	m.requests.WithLabelValues(method, route, status).Observe(took.Seconds())
}

// Reader counts open event streams: +1 and -1.
func (m *Metrics) Reader(change int) { m.readers.Add(float64(change)) }

// Given notes what became of an activity for a bot that runs elsewhere.
func (m *Metrics) Given(bot, outcome string, took time.Duration) {
	m.given.WithLabelValues(bot, outcome).Observe(took.Seconds())
}

// BotSaid notes an activity that such a bot sent.
func (m *Metrics) BotSaid(bot, kind string) { m.botSaid.WithLabelValues(bot, kind).Inc() }

// Received notes an activity that came in by a channel.
func (m *Metrics) Received(channel, kind string) { m.received.WithLabelValues(channel, kind).Inc() }

// Posted notes that the other side of a channel was called.
func (m *Metrics) Posted(channel, outcome string) { m.posted.WithLabelValues(channel, outcome).Inc() }

// Refused notes a request that a channel refused.
func (m *Metrics) Refused(channel, reason string) { m.refused.WithLabelValues(channel, reason).Inc() }

// Delivered notes how long after it was said an activity was sent out.
func (m *Metrics) Delivered(channel string, after time.Duration) {
	m.delivered.WithLabelValues(channel).Observe(after.Seconds())
}

// Connected notes that a client came or went.
func (m *Metrics) Connected(channel string, change int) {
	m.connected.WithLabelValues(channel).Add(float64(change))
}

// Routed notes a request that went to one of several engines.
func (m *Metrics) Routed(engine, model, why string, waited time.Duration) {
	m.routed.WithLabelValues(engine, model, why).Inc()
	m.inLine.WithLabelValues(model).Observe(waited.Seconds())
	m.inFlight.WithLabelValues(engine, model).Inc()
}

// Left notes that its stay there is over.
func (m *Metrics) Left(engine, model, outcome string, retried, out bool) {
	m.inFlight.WithLabelValues(engine, model).Dec()
	m.left.WithLabelValues(engine, model, outcome).Inc()
	if retried {
		m.moved.WithLabelValues(engine, model).Inc()
	}
	if out {
		m.ejected.WithLabelValues(engine, model).Inc()
	}
}

// Listened notes a request that a model got too whose answer nobody gets.
func (m *Metrics) Listened(engine, model, outcome string, first, took time.Duration, usage lm.Usage) {
	m.listened.WithLabelValues(engine, model, outcome).Inc()
	if first > 0 {
		m.listenedFirst.WithLabelValues(engine, model).Observe(first.Seconds())
	}
	if outcome == "answered" {
		m.listenedFor.WithLabelValues(engine, model).Observe(took.Seconds())
		m.listenedTokens.WithLabelValues(engine, model, "input").Add(float64(max(usage.Prompt, 0)))
		m.listenedTokens.WithLabelValues(engine, model, "output").Add(float64(max(usage.Completion, 0)))
	}
}
