package admin

import (
	"context"
	"net/http"
	"runtime"
	"slices"
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
	fuel       *prometheus.HistogramVec
	lost       *prometheus.CounterVec
	guards     *prometheus.CounterVec
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
		fuel: histogram("plugin_fuel", "What judging a callback burnt, in units of about one simple instruction.",
			prometheus.ExponentialBuckets(10_000, 2, 14), "provider"),
		reloads:  counter("reloads_total", "Reloads of the configuration, by result: ok or refused.", "result"),
		unjudged: counter("filter_errors_total", "Events that did not fit the expression of a sink's filter, and that it gets.", "sink"),
		lost:     counter("quarantine_lost_total", "Refused callbacks that there was no room for in the quarantine.", "tenant", "endpoint"),
		guards:   counter("guard_verdicts_total", "What guards said: pass, hold, reject, or failed.", "tenant", "endpoint", "guard", "verdict"),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "postern_build_info", Help: "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.callbacks, m.refused, m.ingest, m.events, m.conflicts, m.settled, m.deliveries, m.age, m.reloads, m.unjudged, m.lost, m.fuel, m.guards, build,
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
	if o.Verdict != 0 {
		m.fuel.WithLabelValues(ep.Provider).Observe(float64(o.Fuel))
	}
	for _, g := range o.Guards {
		m.guards.WithLabelValues(ep.Tenant, ep.Name, g.Name, g.Verdict.String()).Inc()
	}
	if o.Lost {
		m.lost.WithLabelValues(ep.Tenant, ep.Name).Inc()
	}
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

// WatchLag adds how far each of these sinks is behind, and each that the store
// knows beside them, read from the queue when asked. Call it once.
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
	sinkFailing = desc("sink_failing", "1 if the last attempt at a delivery failed, other than for good.", "sink")
	sinkBreaker = desc("sink_breaker", "1 for the state the sink's breaker is in, 0 for the others.", "sink", "state")
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
	for _, s := range c() {
		gauge(ch, sinkFailing, oneIf(s.Failing), s.Name)
		for _, state := range breakerStates {
			gauge(ch, sinkBreaker, oneIf(s.Breaker == state), s.Name, state)
		}
	}
}

// WatchPlugins adds which endpoints' plugins are out of service, as read says when
// asked. Call it once.
func (m *Metrics) WatchPlugins(read func() []Endpoint) {
	m.registry.MustRegister(pluginCollector(read))
}

type pluginCollector func() []Endpoint

// Describe implements [prometheus.Collector].
func (c pluginCollector) Describe(ch chan<- *prometheus.Desc) { ch <- pluginOut }

// Collect implements [prometheus.Collector].
func (c pluginCollector) Collect(ch chan<- prometheus.Metric) {
	for _, e := range c() {
		gauge(ch, pluginOut, oneIf(e.Out != ""), e.Tenant, e.Name)
	}
}

// WatchStore adds how the store is doing, read from status when asked. Call it
// once.
func (m *Metrics) WatchStore(status func(context.Context) (host.Status, error)) {
	m.registry.MustRegister(storeCollector(status))
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postern_"+name, help, labels, nil)
}

var (
	lagRecords    = desc("sink_lag_records", "Records the sink has not yet looked at, at most.", "sink")
	lagDeliveries = desc("sink_deliveries",
		"Deliveries that are leased, waiting for a retry, parked behind an earlier one of their subject, or dead.", "sink", "state")
	lagPaused = desc("sink_paused", "1 while nothing is leased to the sink until it is resumed.", "sink")
	lagReplay = desc("sink_replay_records", "Records that the replay under way has not yet looked at, at most; 0 without one.", "sink")

	pluginOut = desc("plugin_out_of_service", "1 while the endpoint's plugin is out of service after repeated traps.", "tenant", "endpoint")

	storeBytes       = desc("store_bytes", "What the store takes up on the disk.")
	storeFree        = desc("store_free_bytes", "What the disk has left for the store.")
	storeFull        = desc("store_full", "1 while nothing can be appended and callbacks are answered 503.")
	storeSegments    = desc("store_segments", "The parts of the log.")
	storeKept        = desc("store_kept_callbacks", "Callbacks kept as they came, waiting to be run again.")
	storeHeld        = desc("store_held_callbacks", "Callbacks that a guard holds, waiting to be released.")
	storeQuarantined = desc("store_quarantined_callbacks", "Refused callbacks in quarantine.")
	storeDamaged     = desc("store_damaged", "Files found damaged and moved aside.")
)

// watchTimeout bounds one reading of the store.
const watchTimeout = 2 * time.Second

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

type lagCollector struct {
	queue Queue
	sinks []string
}

// Describe implements [prometheus.Collector].
func (c *lagCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagRecords, lagDeliveries, lagPaused, lagReplay} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. It asks the queue.
func (c *lagCollector) Collect(ch chan<- prometheus.Metric) {
	for _, sink := range c.all() {
		ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
		lag, err := c.queue.Lag(ctx, sink)
		cancel()
		if err != nil {
			// A gap in the series says it; zero would be a lie.
			continue
		}
		gauge(ch, lagRecords, float64(lag.Records), sink)
		gauge(ch, lagDeliveries, float64(lag.Leased), sink, "leased")
		gauge(ch, lagDeliveries, float64(lag.Retrying), sink, "retrying")
		gauge(ch, lagDeliveries, float64(lag.Parked), sink, "parked")
		gauge(ch, lagDeliveries, float64(lag.Dead), sink, "dead")
		gauge(ch, lagPaused, oneIf(lag.Paused), sink)
		if n, ok := remaining(lag.Replay); ok {
			gauge(ch, lagReplay, n, sink)
		}
	}
}

// all are the sinks of the configuration, and those that are only subscribed.
func (c *lagCollector) all() []string {
	ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
	defer cancel()
	// Without an answer those of the configuration are still shown.
	subscribed, _ := c.queue.Sinks(ctx)
	all := slices.Concat(c.sinks, subscribed)
	slices.Sort(all)
	return slices.Compact(all)
}

// remaining is how many records are between a replay's place and its end, where
// the engine's cursors tell.
func remaining(r *host.Replay) (records float64, known bool) {
	if r == nil {
		return 0, true
	}
	at, _, errAt := r.At.At()
	to, _, errTo := r.To.At()
	if errAt != nil || errTo != nil || r.To == "" {
		return 0, false
	}
	return float64(to) - float64(min(at, to)), true
}

// storeCollector reads the status of a store.
type storeCollector func(context.Context) (host.Status, error)

// Describe implements [prometheus.Collector].
func (storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		storeBytes, storeFree, storeFull, storeSegments, storeKept, storeHeld, storeQuarantined, storeDamaged,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. It asks the store.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
	defer cancel()
	status, err := c(ctx)
	if err != nil {
		return
	}
	// Zero is what an engine says that does not know.
	if status.Bytes > 0 {
		gauge(ch, storeBytes, float64(status.Bytes))
	}
	if status.Free > 0 || status.Full != "" {
		gauge(ch, storeFree, float64(status.Free))
	}
	gauge(ch, storeFull, oneIf(status.Full != ""))
	gauge(ch, storeSegments, float64(status.Segments))
	gauge(ch, storeKept, float64(status.Kept))
	gauge(ch, storeHeld, float64(status.Held))
	gauge(ch, storeQuarantined, float64(status.Quarantined))
	gauge(ch, storeDamaged, float64(len(status.Damaged)))
}
