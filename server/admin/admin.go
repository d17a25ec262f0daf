// Package admin is the operators' side of Postern over HTTP: probes, metrics
// and the routes of /admin/v1. Package server serves them; the command line
// speaks to them through the socket in the data directory, or runs the same
// handler over a store it opened itself.
package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/postern/postern/host"
)

// Queue is the part of [host.Queue] that operators use; the contract of the
// methods stands there.
type Queue interface {
	Sinks(ctx context.Context) ([]string, error)
	Unsubscribe(ctx context.Context, sink string) error
	Pause(ctx context.Context, sink string) error
	Resume(ctx context.Context, sink string) error
	DeadLetters(ctx context.Context, sink string, after host.Cursor, n int) ([]host.DeadLetter, host.Cursor, error)
	Redrive(ctx context.Context, sink string, ids ...string) (int, error)
	Discard(ctx context.Context, sink string, ids ...string) (int, error)
	Replay(ctx context.Context, sink string, from, to host.Cursor) error
	StopReplay(ctx context.Context, sink string) error
	Lag(ctx context.Context, sink string) (host.Lag, error)
}

// Quarantine is the part of [host.Quarantine] that operators use; the contract
// of the methods stands there.
type Quarantine interface {
	List(ctx context.Context, want host.Wanted, after host.Cursor, n int) ([]host.Rejected, host.Cursor, error)
	Get(ctx context.Context, id string) (*host.Rejected, error)
	Drop(ctx context.Context, id string) error
}

// Endpoint describes an endpoint to operators.
type Endpoint struct {
	Tenant string `json:"tenant"`
	Name   string `json:"name"`
	// URL is what the provider is given; only its path where the public URL is
	// unknown. A token at its end reads "{token}".
	URL string `json:"url"`
	// Plugin is the version of the module, "ottu@0.1.0+sha256:…".
	Plugin   string `json:"plugin"`
	Provider string `json:"provider"`
	// Guards are the versions of their modules, in the order they are asked.
	Guards       []string `json:"guards,omitempty"`
	Methods      []string `json:"methods"`
	Verification string   `json:"verification"`
	Unable       string   `json:"unable"`
	// Out says why the plugin is out of service here, until a call goes well again;
	// empty if it is not.
	Out string `json:"out_of_service,omitempty"`
	// Limits are the endpoint's own, Tenantwide those that all endpoints of its
	// tenant share; nil means that there are none.
	Limits     *Limits `json:"limits,omitempty"`
	Tenantwide *Limits `json:"tenant_limits,omitempty"`
}

// Limits say who may call and how often.
type Limits struct {
	// AllowFrom is empty if any address may.
	AllowFrom []netip.Prefix `json:"allow_from,omitempty"`
	// PerSecond is 0 if there is no limit.
	PerSecond float64 `json:"per_second,omitempty"`
	Burst     int     `json:"burst,omitempty"`
}

// Sink describes a sink to operators.
type Sink struct {
	Name   string      `json:"name"`
	Type   string      `json:"type"`
	Filter host.Filter `json:"filter"`
}

// Options say what an Admin shows. Reader, Queue and Version are required; the
// zero value of each other field means that there is nothing of its kind.
type Options struct {
	Version string
	Reader  host.Reader
	Queue   Queue
	// Quarantine is what was refused, kept or held, Status how the store is doing; nil
	// answers that the engine does not support it.
	Quarantine Quarantine
	Status     func(context.Context) (host.Status, error)
	// Reprocess runs one callback in quarantine through its endpoint's plugin again:
	// [host.Host.Reprocess]. Nil, where no plugin is loaded, refuses every retry.
	Reprocess func(ctx context.Context, r *host.Rejected) (host.Reprocessed, error)
	// Release has what a guard holds delivered: [host.Host.Release]. Required with
	// a Quarantine that can hold.
	Release func(ctx context.Context, r *host.Rejected) (host.Receipt, error)
	// Endpoints are what is served now, and Plugins what is loaded for it; they are
	// asked each time.
	Endpoints func() []Endpoint
	Plugins   func() []Plugin
	// Reloader reads the configuration again; nil where no server runs.
	Reloader Reloader
	Sinks    []Sink
	// SinksUnknown says that nobody here has the configuration: Sinks is empty
	// for that, and nothing is forgotten.
	SinksUnknown bool
	// Wake is called after something was made due.
	Wake func()
	// Checks are asked at every /readyz: nil means good, an error says what is
	// missing.
	Checks map[string]func() error
	// Metrics are served on /metrics.
	Metrics *Metrics
}

// Admin is the operators' handlers. Make one with [New]. It is safe for
// concurrent use.
type Admin struct {
	o      Options
	probes *http.ServeMux
	all    *http.ServeMux
}

// New makes the handlers.
func New(o Options) *Admin {
	if o.Wake == nil {
		o.Wake = func() {}
	}
	if o.Endpoints == nil {
		o.Endpoints = func() []Endpoint { return nil }
	}
	if o.Plugins == nil {
		o.Plugins = func() []Plugin { return nil }
	}
	if o.Quarantine == nil {
		o.Quarantine = host.Unsupported{}
	}
	if o.Status == nil {
		o.Status = host.Unsupported{}.Status
	}
	a := &Admin{o: o, probes: http.NewServeMux(), all: http.NewServeMux()}
	a.probes.HandleFunc("GET /healthz", a.healthz)
	a.probes.HandleFunc("GET /readyz", a.readyz)
	if o.Metrics != nil {
		a.probes.Handle("GET /metrics", o.Metrics.Handler())
	}
	a.all.Handle("/", a.probes)
	for pattern, route := range a.routes() {
		a.all.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			// Not the body of a GET, and of a POST no more than ids need.
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
			answer, err := route(r)
			if err != nil {
				writeError(w, err)
				return
			}
			writeJSON(w, http.StatusOK, answer)
		})
	}
	return a
}

// routes are those of /admin/v1.
func (a *Admin) routes() map[string]func(*http.Request) (any, error) {
	return map[string]func(*http.Request) (any, error){
		"GET /admin/v1/version":     a.version,
		"GET /admin/v1/endpoints":   a.endpoints,
		"GET /admin/v1/store":       a.status,
		"GET /admin/v1/plugins":     a.plugins,
		"GET /admin/v1/reload":      a.preview,
		"POST /admin/v1/reload":     a.reload,
		"GET /admin/v1/events":      a.events,
		"GET /admin/v1/events/{id}": a.event,

		"GET /admin/v1/sinks":                             a.sinks,
		"DELETE /admin/v1/sinks/{sink}":                   a.forget,
		"POST /admin/v1/sinks/{sink}/pause":               a.pause,
		"POST /admin/v1/sinks/{sink}/resume":              a.resume,
		"POST /admin/v1/sinks/{sink}/replay":              a.replay,
		"DELETE /admin/v1/sinks/{sink}/replay":            a.stopReplay,
		"GET /admin/v1/sinks/{sink}/deadletters":          a.deadLetters,
		"GET /admin/v1/sinks/{sink}/deadletters/{id}":     a.deadLetter,
		"POST /admin/v1/sinks/{sink}/deadletters/redrive": a.redrive,
		"POST /admin/v1/sinks/{sink}/deadletters/discard": a.discardLetters,

		"GET /admin/v1/quarantine":          a.quarantine,
		"GET /admin/v1/quarantine/{id}":     a.rejected,
		"DELETE /admin/v1/quarantine/{id}":  a.dropRejected,
		"POST /admin/v1/quarantine/retry":   a.retryRejected,
		"POST /admin/v1/quarantine/release": a.releaseHeld,
		"POST /admin/v1/quarantine/discard": a.discardRejected,

		"/admin/v1/": func(*http.Request) (any, error) {
			return nil, notFound("there is no such route")
		},
	}
}

// maxRequest is the largest body of a request, in bytes.
const maxRequest = 1 << 20

// Handler serves everything: for the socket that only its owner can open, and
// for use in process.
func (a *Admin) Handler() http.Handler { return a.all }

// Probes serves /healthz, /readyz and /metrics alone: for a TCP port, since
// nothing here asks who is calling.
func (a *Admin) Probes() http.Handler { return a.probes }

// NewServer is an http.Server for one of the handlers, with a limit on
// everything a client could draw out.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// healthz says that the process answers, and no more: restarting it cures
// nothing that /readyz complains of.
func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Ready  bool              `json:"ready"`
		Checks map[string]string `json:"checks"`
		// Plugins are those out of service, by endpoint. They do not make the node
		// unready: what one tenant's plugin does must not take the others' away.
		Plugins map[string]string `json:"plugins_out_of_service,omitempty"`
	}{Ready: true, Checks: map[string]string{}, Plugins: map[string]string{}}
	for _, e := range a.o.Endpoints() {
		if e.Out != "" {
			answer.Plugins["/"+e.Tenant+"/"+e.Name] = e.Out
		}
	}
	for name, check := range a.o.Checks {
		answer.Checks[name] = "ok"
		if err := check(); err != nil {
			answer.Ready = false
			answer.Checks[name] = err.Error()
		}
	}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	// Nothing can be said any more to a client that has gone.
	_ = enc.Encode(v)
}
