package admin

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postern/postern/host"
)

// Metrics counts what happens. Make one with [NewMetrics]. Its methods do not
// block and are safe for concurrent use. No label holds anything of a
// callback (invariant 8).
type Metrics struct {
	registry   *prometheus.Registry
	callbacks  *prometheus.CounterVec
	refused    *prometheus.CounterVec
	ingest     *prometheus.HistogramVec
	events     *prometheus.CounterVec
	conflicts  *prometheus.CounterVec
	settled    *prometheus.CounterVec
	deliveries *prometheus.HistogramVec
	age        *prometheus.HistogramVec
	reloads    *prometheus.CounterVec
	unjudged   *prometheus.CounterVec
}

// NewMetrics makes metrics in a registry of their own.
func NewMetrics(version string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, label string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Name: "postern_" + name, Help: help, Buckets: buckets}, []string{label})
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		callbacks: counter("callbacks_total", "Callbacks judged, by verdict (none if the plugin failed) and error code (none if there was no error).",
			"tenant", "endpoint", "provider", "verdict", "code", "kept"),
		refused:   counter("requests_refused_total", "Requests that never became a callback, by error code.", "code"),
		ingest:    histogram("ingest_duration_seconds", "From the callback read to its answer.", prometheus.ExponentialBuckets(0.0005, 2, 14), "provider"),
		events:    counter("events_total", "Events, by what the store did with them.", "tenant", "endpoint", "provider", "disposition"),
		conflicts: counter("conflicts_total", "Events whose dedup key was seen before with other content.", "tenant", "endpoint", "provider"),
		settled:   counter("deliveries_settled_total", "Attempts at deliveries, by outcome.", "sink", "outcome"),
		deliveries: histogram("delivery_duration_seconds", "One attempt at a delivery, with its whole batch.",
			prometheus.ExponentialBuckets(0.001, 2, 16), "sink"),
		age: histogram("delivery_age_seconds", "From the callback received to its event delivered.",
			prometheus.ExponentialBuckets(0.001, 4, 12), "sink"),
		reloads:  counter("reloads_total", "Reloads of the configuration, by result: ok or refused.", "result"),
		unjudged: counter("filter_errors_total", "Events that did not fit the expression of a sink's filter, and that it gets.", "sink"),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "postern_build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.callbacks, m.refused, m.ingest, m.events, m.conflicts, m.settled, m.deliveries, m.age, m.reloads, m.unjudged, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics, in the OpenMetrics format to those who ask.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Callback counts what [host.Host] observed of a callback.
func (m *Metrics) Callback(o host.Observation) {
	ep := o.Endpoint
	verdict, code := "none", "none"
	if o.Verdict != 0 {
		verdict = o.Verdict.String()
	}
	if o.Failed {
		code = o.Code.String()
	}
	m.callbacks.WithLabelValues(ep.Tenant, ep.Name, ep.Provider, verdict, code, strconv.FormatBool(o.Kept)).Inc()
	m.ingest.WithLabelValues(ep.Provider).Observe(o.Took.Seconds())
	for _, d := range o.Receipt.Events {
		m.events.WithLabelValues(ep.Tenant, ep.Name, ep.Provider, d.String()).Inc()
		if d == host.Conflicted {
			m.conflicts.WithLabelValues(ep.Tenant, ep.Name, ep.Provider).Inc()
		}
	}
	for _, d := range o.Receipt.Aside {
		m.events.WithLabelValues(ep.Tenant, ep.Name, ep.Provider, d.String()).Inc()
	}
}

// Refused counts a request that never became a callback.
func (m *Metrics) Refused(c host.Code) { m.refused.WithLabelValues(c.String()).Inc() }

// Reloaded counts a reload of the configuration: one that was taken, or one that
// was refused and changed nothing.
func (m *Metrics) Reloaded(taken bool) {
	result := "refused"
	if taken {
		result = "ok"
	}
	m.reloads.WithLabelValues(result).Inc()
}

// Unjudged counts an event that the expression of a sink's filter does not fit.
func (m *Metrics) Unjudged(sink string) { m.unjudged.WithLabelValues(sink).Inc() }

// Delivery counts an attempt at a delivery: how long it took, and how long ago
// its callback was received.
func (m *Metrics) Delivery(sink string, outcome host.Outcome, took, age time.Duration) {
	m.settled.WithLabelValues(sink, outcome.String()).Inc()
	m.deliveries.WithLabelValues(sink).Observe(took.Seconds())
	if outcome == host.Done {
		m.age.WithLabelValues(sink).Observe(age.Seconds())
	}
}

// WatchLag adds how far each sink is behind, read from the queue when asked.
// Call it once.
func (m *Metrics) WatchLag(q Queue, sinks ...string) {
	m.registry.MustRegister(&lagCollector{queue: q, sinks: sinks})
}

// SinkState is how delivery to a sink is doing.
type SinkState struct {
	Name string
	// Failing says that the last attempt failed, other than for good.
	Failing bool
	// Breaker is off, closed, open or half-open.
	Breaker string
}

// breakerStates are the values of SinkState.Breaker, each a series.
var breakerStates = []string{"off", "closed", "open", "half-open"}

var (
	sinkFailing = prometheus.NewDesc("postern_sink_failing",
		"1 if the last attempt at a delivery failed, other than for good.", []string{"sink"}, nil)
	sinkBreaker = prometheus.NewDesc("postern_sink_breaker",
		"1 for the state the sink's breaker is in, 0 for the others.", []string{"sink", "state"}, nil)
)

// WatchSinks adds how delivery to each sink is doing, as read says when asked.
// Call it once.
func (m *Metrics) WatchSinks(read func() []SinkState) {
	m.registry.MustRegister(sinkCollector(read))
}

type sinkCollector func() []SinkState

// Describe implements [prometheus.Collector].
func (c sinkCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- sinkFailing
	ch <- sinkBreaker
}

// Collect implements [prometheus.Collector].
func (c sinkCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, on bool, labels ...string) {
		v := 0.0
		if on {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range c() {
		gauge(sinkFailing, s.Failing, s.Name)
		for _, state := range breakerStates {
			gauge(sinkBreaker, s.Breaker == state, s.Name, state)
		}
	}
}

var (
	lagRecords = prometheus.NewDesc("postern_sink_lag_records",
		"Records the sink has not yet looked at, at most.", []string{"sink"}, nil)
	lagDeliveries = prometheus.NewDesc("postern_sink_deliveries",
		"Deliveries that are leased, waiting for a retry, or dead.", []string{"sink", "state"}, nil)
)

// lagTimeout bounds the reading of one sink's lag.
const lagTimeout = 2 * time.Second

type lagCollector struct {
	queue Queue
	sinks []string
}

// Describe implements [prometheus.Collector].
func (c *lagCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- lagRecords
	ch <- lagDeliveries
}

// Collect implements [prometheus.Collector]. It asks the queue.
func (c *lagCollector) Collect(ch chan<- prometheus.Metric) {
	for _, sink := range c.sinks {
		ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
		lag, err := c.queue.Lag(ctx, sink)
		cancel()
		if err != nil {
			// A gap in the series says it; zero would be a lie.
			continue
		}
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
		}
		gauge(lagRecords, float64(lag.Records), sink)
		gauge(lagDeliveries, float64(lag.Leased), sink, "leased")
		gauge(lagDeliveries, float64(lag.Retrying), sink, "retrying")
		gauge(lagDeliveries, float64(lag.Dead), sink, "dead")
	}
}
