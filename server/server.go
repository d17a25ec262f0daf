// Package server is the composition root: it makes the host, its store, sinks
// and plugins from a configuration, serves them, and takes them apart again in
// the right order. The command line starts it.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/dispatch"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/intake"
	"github.com/postern/postern/server/pause"
	"github.com/postern/postern/server/watch"
)

// Options are what the configuration does not say.
type Options struct {
	// Version of this program, for /admin/v1/version, the metrics and the
	// User-Agent of sinks.
	Version string
	// Log takes the logs; nil discards them.
	Log *slog.Logger
	// Stdout is what sinks of type stdout write to; nil means that of the process.
	Stdout io.Writer
	// Observe, if not nil, is told what became of each callback, before its
	// answer goes out. It must not block.
	Observe func(host.Observation)
	// Load reads the configuration again, as it was read for [Start]; nil means that
	// this server reads it once. Reloaded, if not nil, is told of each that was taken
	// then. Neither is called concurrently.
	Load     func() (*config.Config, error)
	Reloaded func(*config.Config)
	// Cursors, if not empty, starts also where the store has lost what it knew of
	// its sinks: they begin at the oldest event or after the newest. It changes
	// nothing for a store that is whole.
	Cursors host.From
}

// Server is a running Postern. Make one with [Start].
type Server struct {
	cfg     *config.Config
	log     *slog.Logger
	options Options

	runtime  runtime
	modules  *modules
	store    host.Store
	admin    *http.Server
	sinks    []namedSink
	dispatch *dispatch.Dispatch
	host     *host.Host
	intake   *intake.Server
	metrics  *admin.Metrics
	// table is what the intake looks up in and operators are shown.
	table atomic.Pointer[table]
	// reloading is held while a table is being made, and to close what it is
	// made of.
	reloading sync.Mutex
	// watcher is nil where nothing is watched. files are those of the configuration
	// that was read last.
	watcher *watch.Watcher
	files   atomic.Pointer[[]string]
	// refused is what was wrong with the configuration that was read last, a line
	// each.
	refused []string

	intakeListener net.Listener
	adminListeners []net.Listener
	// stopDispatch ends the dispatch, and dispatched is closed when it has
	// ended; both nil until it runs.
	stopDispatch context.CancelFunc
	dispatched   chan struct{}

	observeCallback func(host.Observation) // nil for none

	phase    atomic.Pointer[string] // why the intake is not ready; nil when it is
	fatal    chan error             // what makes the server stop by itself
	stopping chan struct{}
	stop     sync.Once
	done     chan struct{}
	err      error // valid once done is closed
}

// name is an endpoint's.
type name struct{ tenant, endpoint string }

func (n name) String() string { return n.tenant + "/" + n.endpoint }

// namedSink is a sink with its route.
type namedSink struct {
	name string
	cfg  config.Sink
	sink host.Sink
}

// Start makes and serves everything that cfg asks for. It returns once the
// ports are open, or with an error and everything closed again; the error joins
// all that is wrong with the endpoints and sinks, each with its path in the
// configuration. The server runs until ctx ends, Stop is called or the store
// fails; see [Server.Wait].
func Start(ctx context.Context, cfg *config.Config, o Options) (*Server, error) {
	return start(ctx, cfg, o, outside(o))
}

func start(ctx context.Context, cfg *config.Config, o Options, p parts) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, log: o.Log, options: o, metrics: admin.NewMetrics(o.Version), observeCallback: o.Observe,
		fatal: make(chan error, 4), stopping: make(chan struct{}), done: make(chan struct{}),
	}
	s.unready("starting")
	if err := s.open(ctx, o, p); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Intake.DrainTimeout)
		defer cancel()
		return nil, errors.Join(err, s.close(ctx))
	}
	go s.run(ctx)
	return s, nil
}

// open does what close undoes, in the opposite order.
func (s *Server) open(ctx context.Context, o Options, p parts) error {
	// Invariant 13: the store mends what an unclean end left before the port
	// opens. It is the first, for its lock keeps a second server from touching
	// what the sinks of this one write to.
	store, err := p.store(ctx, s.cfg, s.log)
	if err != nil {
		return err
	}
	s.store = store
	rt, err := p.runtime(ctx, s.cfg, s.log)
	if err != nil {
		return err
	}
	s.runtime = rt
	// What an operator may have to mend is told at once.
	s.modules = newModules(rt, p.read(s.cfg), s.log)
	first, err := s.modules.newTable(ctx, s.cfg, nil)
	s.table.Store(first)
	if err := errors.Join(err, s.makeSinks(p)); err != nil {
		return err
	}
	s.tellUnable(difference(&table{}, first).Unable)
	s.dispatch = dispatch.New(s.store, s.log, s.observe, s.deliveries()...)
	s.host = s.newHost(o)
	if err := s.serveAdmin(ctx, o.Version); err != nil {
		return err
	}
	if err := s.subscribe(ctx); err != nil {
		return err
	}
	if err := s.serveIntake(ctx); err != nil {
		return err
	}
	s.startDispatch(ctx)
	s.startWatching(ctx)
	return nil
}

// deliveries are the sinks as the dispatch knows them.
func (s *Server) deliveries() []dispatch.Route {
	var routes []dispatch.Route
	for _, n := range s.sinks {
		routes = append(routes, dispatch.Route{Name: n.name, Sink: n.sink, Policy: dispatch.Policy{
			Concurrency: n.cfg.Concurrency, Batch: n.cfg.Batch, Timeout: n.cfg.Timeout,
			Retry:   dispatch.Backoff{Base: n.cfg.Retry.Base, Max: n.cfg.Retry.Max, Over: n.cfg.Retry.Over},
			Rate:    dispatch.Rate{PerSecond: n.cfg.Rate.PerSecond, Burst: n.cfg.Rate.Burst},
			Breaker: dispatch.Breaker{Failures: n.cfg.Breaker.Failures, OpenFor: n.cfg.Breaker.OpenFor},
		}})
	}
	return routes
}

func (s *Server) observe(o dispatch.Observation) {
	s.metrics.Delivery(o.Sink, o.Outcome, o.Took, o.Age)
}

func (s *Server) sinkStates() []admin.SinkState {
	var states []admin.SinkState
	for _, c := range s.dispatch.Conditions() {
		states = append(states, admin.SinkState{Name: c.Sink, Failing: c.Failing, Breaker: c.Breaker})
	}
	return states
}

func (s *Server) subscribe(ctx context.Context) error {
	for _, n := range s.sinks {
		want := host.Subscription{Filter: n.cfg.Want(s.unjudged(n.name)), From: n.cfg.From, Order: n.cfg.Order}
		if err := s.store.Subscribe(ctx, n.name, want); err != nil {
			return fmt.Errorf("subscribe sink %s: %w", n.name, err)
		}
	}
	return nil
}

// unjudged counts the events that a sink's expression does not fit, and logs the
// first.
func (s *Server) unjudged(sink string) func(error) {
	var once sync.Once
	return func(err error) {
		s.metrics.Unjudged(sink)
		once.Do(func() {
			s.log.Warn("an event does not fit the sink's filter.where and is delivered; further ones are only counted",
				"sink", sink, "error", err)
		})
	}
}

func (s *Server) startDispatch(ctx context.Context) {
	// Not ctx itself: when that ends the intake is drained first.
	ctx, s.stopDispatch = context.WithCancel(context.WithoutCancel(ctx))
	s.dispatched = make(chan struct{})
	go func() {
		defer close(s.dispatched)
		s.dispatch.Run(ctx)
	}()
}

// serveAdmin opens the operators' two ways in. There is no authentication yet,
// so the TCP port has the probes and metrics alone; /admin/v1 stands behind the
// permissions of the socket.
func (s *Server) serveAdmin(ctx context.Context, version string) error {
	var sinks []admin.Sink
	var names []string
	for _, n := range s.sinks {
		sinks = append(sinks, admin.Sink{Name: n.name, Type: n.cfg.Type, Filter: n.cfg.Filter})
		names = append(names, n.name)
	}
	s.metrics.WatchLag(s.store, names...)
	s.metrics.WatchSinks(s.sinkStates)
	s.metrics.WatchStore(s.store.Status)
	s.metrics.WatchPlugins(s.Endpoints)
	a := admin.New(admin.Options{
		Version: version, Reader: s.store, Queue: s.store, Quarantine: s.store, Status: s.store.Status,
		Reprocess: s.reprocess, Release: s.host.Release,
		Endpoints: s.Endpoints, Plugins: s.Plugins, Reloader: s, Sinks: sinks, Wake: s.dispatch.Wake, Metrics: s.metrics,
		Checks: map[string]func() error{"store": s.checkStore, "intake": s.checkIntake},
	})
	socket, err := admin.ListenSocket(ctx, s.cfg.Store.Path)
	if err != nil {
		return err
	}
	s.adminListeners = append(s.adminListeners, socket)
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", s.cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("listen for operators: %w", err)
	}
	s.adminListeners = append(s.adminListeners, tcp)
	s.admin = admin.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local != nil && local.Network() == "unix" {
			a.Handler().ServeHTTP(w, r)
			return
		}
		a.Probes().ServeHTTP(w, r)
	}), s.log)
	for _, ln := range s.adminListeners {
		go func() {
			if err := s.admin.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				s.fatal <- fmt.Errorf("serve operators on %s: %w", ln.Addr(), err)
			}
		}()
	}
	return nil
}

// refusal is how long a rejection takes at the least. Judging takes well under
// a millisecond, however far it gets: below this floor nobody can measure at
// which step a forgery failed.
const refusal = 2 * time.Millisecond

func (s *Server) newHost(o Options) *host.Host {
	h := &host.Host{Store: s.store, Log: s.log, Wake: s.dispatch.Wake, Observe: s.metrics.Callback, Refusal: refusal, Pause: pause.For}
	if o.Observe != nil {
		h.Observe = func(seen host.Observation) {
			s.metrics.Callback(seen)
			o.Observe(seen)
		}
	}
	return h
}

// reprocess runs a callback in quarantine through the plugin of its endpoint, as
// that is served now.
func (s *Server) reprocess(ctx context.Context, r *host.Rejected) (host.Reprocessed, error) {
	t := s.table.Load()
	for !t.begin() { // it was replaced, and is gone
		t = s.table.Load()
	}
	defer t.end()
	route, ok := t.routes[name{r.Tenant, r.Endpoint}]
	if !ok {
		return host.Reprocessed{}, host.Errorf(host.EndpointUnknown, "endpoint %s/%s is not configured any more; configure it to run its callbacks again", r.Tenant, r.Endpoint)
	}
	return s.host.Reprocess(ctx, route.Endpoint, r)
}

func (s *Server) serveIntake(ctx context.Context) error {
	c := &s.cfg.Intake
	in, err := intake.New(intake.Options{
		Limits: intake.Limits{
			Body: int(c.MaxBody), Read: c.ReadTimeout, Write: c.WriteTimeout,
			Idle: c.IdleTimeout, Connections: c.MaxConnections,
		},
		TrustedProxies: c.TrustedProxies,
		Lookup:         s.lookup, Ingest: s.host.Ingest, Log: s.log, Refused: s.metrics.Refused,
	})
	if err != nil {
		return err
	}
	if s.intakeListener, err = s.listen(ctx); err != nil {
		return fmt.Errorf("listen for callbacks: %w", err)
	}
	s.intake = in
	s.phase.Store(nil)
	go func() {
		if err := in.Serve(s.intakeListener); err != nil {
			s.fatal <- err
		}
	}()
	return nil
}

// listen opens the intake's port, with TLS where it is configured.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	c := &s.cfg.Intake
	if !c.TLS.On() {
		return lc.Listen(ctx, "tcp", c.Listen)
	}
	// Before the port is open: a certificate that cannot be used must not take
	// it from whoever has one that can.
	files, err := intake.TLS(c.TLS.Cert, c.TLS.Key, c.TLS.ClientCA, s.log)
	if err != nil {
		return nil, err
	}
	ln, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(ln, files), nil
}

func (s *Server) unready(why string) { s.phase.Store(&why) }

func (s *Server) checkIntake() error {
	if why := s.phase.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

var errStoreFailed = errors.New("the store has failed and takes nothing more; this process must be started again")

func (s *Server) checkStore() error {
	select {
	case <-s.store.Failed():
		return errStoreFailed
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	status, err := s.store.Status(ctx)
	switch {
	case errors.Is(err, host.ErrUnsupported):
		return nil
	case err != nil:
		return fmt.Errorf("read the store's status: %w", err)
	case status.Full != "":
		// It heals by itself; until then callbacks are better sent elsewhere.
		return fmt.Errorf("nothing is taken in: %s", status.Full)
	}
	return nil
}

// statusTimeout bounds a look at the store's status, which waits for no disk.
const statusTimeout = 2 * time.Second

// failedDrain bounds the end after the store has failed: nothing under way can
// become durable any more.
const failedDrain = 2 * time.Second

// run waits for a reason to stop, and stops.
func (s *Server) run(ctx context.Context) {
	defer close(s.done)
	var cause error
	limit := s.cfg.Intake.DrainTimeout
	select {
	case <-ctx.Done():
	case <-s.stopping:
	case cause = <-s.fatal:
	// Invariant 13: after the first failed write the process ends.
	case <-s.store.Failed():
		cause, limit = errStoreFailed, min(limit, failedDrain)
	}
	s.unready("draining")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	s.err = errors.Join(cause, s.close(ctx))
}

// close takes apart what is there, from the outside in. It stops half way if
// something is still in use when ctx ends: what lies behind it must not be
// closed then, and the end of the process does it.
//
// Invariant 12: intake, dispatch, sinks, store, host.
func (s *Server) close(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.closeIntake, s.closeDispatch, s.closeSinks, s.closeAdmin, s.closeStore, s.closeRuntime,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("stop the server: %w", err)
		}
	}
	return nil
}

func (s *Server) closeIntake(ctx context.Context) error {
	if s.intake == nil {
		return nil
	}
	err := s.intake.Drain(ctx)
	// Drain has closed it, unless Serve had not yet begun.
	_ = s.intakeListener.Close()
	return err
}

func (s *Server) closeDispatch(ctx context.Context) error {
	if s.dispatched == nil {
		return nil
	}
	s.stopDispatch()
	select {
	case <-s.dispatched:
		return nil
	case <-ctx.Done():
		return errors.New("deliveries are still under way")
	}
}

func (s *Server) closeSinks(context.Context) error {
	var wrong []error
	for _, n := range s.sinks {
		if err := n.sink.Close(); err != nil {
			wrong = append(wrong, fmt.Errorf("close sink %s: %w", n.name, err))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		// A sink in disorder is no reason to leave the store open.
		s.log.Error("close sinks", "err", err)
	}
	return nil
}

// closeAdmin ends the operators' requests: they read from the store.
func (s *Server) closeAdmin(ctx context.Context) error {
	if s.admin != nil {
		if err := s.admin.Shutdown(ctx); err != nil {
			return fmt.Errorf("an operator's request is still under way: %w", err)
		}
	}
	for _, ln := range s.adminListeners {
		_ = ln.Close()
	}
	return nil
}

func (s *Server) closeStore(context.Context) error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

func (s *Server) closeRuntime(ctx context.Context) error {
	if s.runtime == nil {
		return nil
	}
	if s.watcher != nil {
		s.watcher.Close()
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.modules != nil {
		s.modules.freeing.Wait()
	}
	return s.runtime.close(ctx)
}

// Addr is where callbacks are taken in.
func (s *Server) Addr() net.Addr { return s.intakeListener.Addr() }

// AdminAddr is the TCP address of the probes and metrics.
func (s *Server) AdminAddr() net.Addr { return s.adminListeners[1].Addr() }

// Endpoints describes what is served, ordered by tenant and name. The slice is
// the caller's.
func (s *Server) Endpoints() []admin.Endpoint {
	t := s.table.Load()
	all := slices.Clone(t.endpoints)
	for i := range all {
		all[i].Out = out(t.routes[name{all[i].Tenant, all[i].Name}].Endpoint)
	}
	return all
}

// Wait returns when the server has stopped: nil when it was told to and could
// stop in order, else why. After an error the process must end (invariant 13).
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// Stop drains the server and waits until it has stopped, or ctx ends. What is
// under way gets intake.drain_timeout. The error is that of [Server.Wait]. It
// may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() { close(s.stopping) })
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
