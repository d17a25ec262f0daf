package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/dispatch"
	"github.com/postern/postern/server/admin"
)

func TestServer_answers(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := w.running(t, testConfig(t))
	for _, c := range []struct {
		name, path, body string
		status           int
		answer           string
	}{
		{"accepted, the manifest's ack", "/in/acme/pay", "accept 1", 201, "OK"},
		{"duplicate, answered like the first", "/in/acme/pay", "accept 1", 201, "OK"},
		{"rejected", "/in/acme/pay", "reject", 401, `{"error":"callback.not-verified"}`},
		{"unable, kept as the manifest says", "/in/acme/pay", "trap", 201, "OK"},
		{"accepted, the operator's ack", "/in/acme/tok/let-me-in", "accept 2", 202, "{}"},
		{"rejected with the operator's status", "/in/acme/tok/let-me-in", "reject", 403, `{"error":"callback.not-verified"}`},
		{"wrong token", "/in/acme/tok/let-me-out", "accept 3", 403, `{"error":"callback.not-verified"}`},
		{"no token", "/in/acme/tok", "accept 3", 403, `{"error":"callback.not-verified"}`},
		{"unable, to be sent again as the operator says", "/in/acme/tok/let-me-in", "trap", 503, `{"error":"plugin.failed"}`},
		{"unknown", "/in/acme/other", "accept 3", 404, `{"error":"endpoint.unknown"}`},
		{"too large", "/in/acme/pay", strings.Repeat("a", 1025), 413, `{"error":"body.too-large"}`},
	} {
		status, answer, err := post(s, c.path, c.body)
		if err != nil || status != c.status || answer != c.answer {
			t.Errorf("%s: %d %s (%v), want %d %s", c.name, status, answer, err, c.status, c.answer)
		}
	}
	status, answer, err := request(http.MethodGet, "http://"+s.Addr().String()+"/in/acme/pay", "")
	if err != nil || status != 405 || answer != `{"error":"method.not-allowed"}` {
		t.Errorf("GET = %d %s (%v), want 405", status, answer, err)
	}
	until(t, "both events are delivered", func() bool {
		return slices.Contains(w.traced(), "delivered 1") && slices.Contains(w.traced(), "delivered 2")
	})
	if err := s.Stop(within(t)); err != nil {
		t.Errorf("Stop = %v", err)
	}
	n := 0
	for _, line := range w.traced() {
		if strings.HasPrefix(line, "delivered") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d deliveries, want 2: %v", n, w.traced())
	}
}

func TestServer_adminSocket(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.running(t, cfg)
	if _, _, err := post(s, "/in/acme/tok/let-me-in", "accept 1"); err != nil {
		t.Fatal(err)
	}
	until(t, "the event is delivered", func() bool { return slices.Contains(w.traced(), "delivered 1") })

	for route, want := range map[string]string{
		"/admin/v1/version":                  `{"version":"1.2.3"}`,
		"/admin/v1/events":                   `"subject":"1"`,
		"/admin/v1/endpoints":                `"url":"https://hooks.example.com/in/acme/pay","plugin":"ottu@0.1.0+sha256:000000000000","provider":"ottu","methods":["POST"],"verification":"required","unable":"keep"`,
		"/admin/v1/sinks":                    `"name":"erp","type":"file"`,
		"/admin/v1/sinks/erp/deadletters":    `{"deadletters":[],"next":""}`,
		"/readyz":                            `{"ready":true,"checks":{"intake":"ok","store":"ok"}}`,
		"/metrics":                           `postern_deliveries_settled_total{outcome="done",sink="erp"} 1`,
		"/admin/v1/events?type=other.family": `{"events":[]`,
	} {
		if status, body := overSocket(t, cfg.Store.Path, "GET", route, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("GET %s = %d %s, want %s in it", route, status, body, want)
		}
	}
	if status, body := overSocket(t, cfg.Store.Path, "POST", "/admin/v1/sinks/erp/deadletters/redrive", ""); status != 200 || body != "{\"redriven\":0}\n" {
		t.Errorf("redrive = %d %s", status, body)
	}

	tcp := "http://" + s.AdminAddr().String()
	if status, _, err := request("GET", tcp+"/readyz", ""); err != nil || status != 200 {
		t.Errorf("GET /readyz over TCP = %d (%v)", status, err)
	}
	// Nobody is asked there who they are.
	if status, body, err := request("GET", tcp+"/admin/v1/events", ""); err != nil || status != 404 {
		t.Errorf("GET /admin/v1/events over TCP = %d %s (%v), want 404", status, body, err)
	}
}

// A full store is not ready, and ready again by itself once there is room.
func TestServer_fullStore(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := w.running(t, testConfig(t))
	ready := "http://" + s.AdminAddr().String() + "/readyz"
	why := "the disk is full"
	w.full.Store(&why)
	status, body, err := request("GET", ready, "")
	if want := `"store":"nothing is taken in: the disk is full"`; err != nil || status != 503 || !strings.Contains(body, want) {
		t.Errorf("readyz = %d %s (%v), want 503 and %s", status, body, err, want)
	}
	if status, body := overSocket(t, s.cfg.Store.Path, "GET", "/admin/v1/store", ""); status != 200 || !strings.Contains(body, why) {
		t.Errorf("GET store = %d %s, want %q in it", status, body, why)
	}
	if _, body, err := request("GET", "http://"+s.AdminAddr().String()+"/healthz", ""); err != nil || !strings.Contains(body, "ok") {
		t.Errorf("healthz = %s (%v), want ok: a restart frees no disk", body, err)
	}
	w.full.Store(nil)
	if status, body, err := request("GET", ready, ""); err != nil || status != 200 {
		t.Errorf("readyz with room again = %d %s (%v), want 200", status, body, err)
	}
}

// TestServer_namesPluginsOutOfService has the sandbox take the plugins out: every
// way of looking says so, and the node stays ready.
func TestServer_namesPluginsOutOfService(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := w.running(t, testConfig(t))
	base := "http://" + s.AdminAddr().String()
	why := "out after repeated traps"
	w.out.Store(&why)
	status, body, err := request("GET", base+"/readyz", "")
	want := `"plugins_out_of_service":{"/acme/pay":"out after repeated traps","/acme/tok":"out after repeated traps"}`
	if err != nil || status != 200 || !strings.Contains(body, want) {
		t.Errorf("readyz = %d %s (%v), want 200 and %s", status, body, err, want)
	}
	if _, body, err := request("GET", base+"/metrics", ""); err != nil || !strings.Contains(body, `postern_plugin_out_of_service{endpoint="pay",tenant="acme"} 1`) {
		t.Errorf("the metric does not say that the plugin is out (%v)", err)
	}
	if all := s.Endpoints(); len(all) != 2 || all[0].Out != why {
		t.Errorf("endpoints %+v, want each out", all)
	}
	w.out.Store(nil)
	if _, body, err := request("GET", base+"/readyz", ""); err != nil || strings.Contains(body, "plugins_out_of_service") {
		t.Errorf("readyz once they are back = %s (%v)", body, err)
	}
	if _, body, err := request("GET", base+"/metrics", ""); err != nil || !strings.Contains(body, `postern_plugin_out_of_service{endpoint="pay",tenant="acme"} 0`) {
		t.Errorf("the metric does not say that the plugin is back (%v)", err)
	}
}

// TestTenantLimit leaves the others a processor, and nobody waits where there are
// none.
func TestTenantLimit(t *testing.T) {
	t.Parallel()
	all := max(1, goruntime.GOMAXPROCS(0)-1)
	for name, tt := range map[string]struct {
		tenants map[string]config.Tenant
		want    int
	}{
		"alone":           {map[string]config.Tenant{"a": {}}, 0},
		"alone, bounded":  {map[string]config.Tenant{"a": {Concurrency: 3}}, 3},
		"among others":    {map[string]config.Tenant{"a": {}, "b": {}}, all},
		"others, bounded": {map[string]config.Tenant{"a": {Concurrency: 7}, "b": {}}, 7},
	} {
		if got := cap(tenantLimit(&config.Config{Tenants: tt.tenants}, "a")); got != tt.want {
			t.Errorf("%s: %d calls at a time, want %d", name, got, tt.want)
		}
	}
}

// What was refused is run again by the plugins of the running server, becomes an
// event once they are mended, and is delivered.
func TestServer_retry(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.running(t, cfg)
	if status, _, err := post(s, "/in/acme/pay", "reject 7"); err != nil || status != 401 {
		t.Fatalf("a forgery = %d (%v), want 401", status, err)
	}
	retry := func() string {
		t.Helper()
		status, body := overSocket(t, cfg.Store.Path, "POST", "/admin/v1/quarantine/retry", `{"filter":{"endpoint":"pay"}}`)
		if status != 200 {
			t.Fatalf("retry = %d %s", status, body)
		}
		return body
	}
	if got, want := retry(), `"result":"left","detail":"not-verified"`; !strings.Contains(got, want) {
		t.Errorf("retry before anything is mended = %s, want %s in it", got, want)
	}
	w.mended.Store(true)
	if got, want := retry(), `"result":"accepted","detail":"1 stored","events":["`; !strings.Contains(got, want) {
		t.Errorf("retry = %s, want %s in it", got, want)
	}
	until(t, "the event is delivered", func() bool { return slices.Contains(w.traced(), "delivered 7") })
	if got, want := retry(), "{\"next\":\"\",\"results\":[]}\n"; got != want {
		t.Errorf("another retry = %s, want %s", got, want)
	}
}

// An endpoint that is gone has no plugin to run its callbacks.
func TestServer_retryOfNoEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.running(t, cfg)
	if _, _, err := post(s, "/in/acme/pay", "reject 7"); err != nil {
		t.Fatal(err)
	}
	without := with(cfg, func(all map[string]config.Endpoint) { delete(all, "pay") })
	if err := s.Reload(t.Context(), without); err != nil {
		t.Fatal(err)
	}
	status, body := overSocket(t, cfg.Store.Path, "POST", "/admin/v1/quarantine/retry", `{"all":true}`)
	if want := `"result":"failed","detail":"endpoint acme/pay is not configured any more; configure it to run its callbacks again"`; status != 200 || !strings.Contains(body, want) {
		t.Errorf("retry = %d %s, want %s in it", status, body, want)
	}
}

// Invariant 8: the token in the path is in nothing that is kept or shown.
func TestInvariant8_pathTokenIsMasked(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.running(t, cfg)
	if _, _, err := post(s, "/in/acme/tok/let-me-in", "accept 1"); err != nil {
		t.Fatal(err)
	}
	rec, err := w.mem.Callback(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := rec.Callback.Target, "/in/acme/tok/[token:path]"; got != want {
		t.Errorf("target = %q, want %q", got, want)
	}
	_, body := overSocket(t, cfg.Store.Path, "GET", "/admin/v1/endpoints", "")
	if strings.Contains(body, "let-me-in") || !strings.Contains(body, `"/in/acme/tok/{token}"`) {
		t.Errorf("endpoints = %s", body)
	}
}

func TestInvariant12_drainInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld()
	inPlugin, leavePlugin := make(chan struct{}), make(chan struct{})
	inSink, leaveSink := make(chan string, 8), make(chan struct{})
	w.plugin = func(key string) {
		if key == "3" {
			close(inPlugin)
			<-leavePlugin
		}
	}
	w.deliver = func(key string) {
		inSink <- key
		<-leaveSink
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := start(ctx, testConfig(t), Options{}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	stopDispatch, stopping := s.stopDispatch, make(chan struct{})
	s.stopDispatch = func() {
		close(stopping)
		stopDispatch()
	}
	for _, body := range []string{"accept 1", "accept 2"} {
		if status, _, err := post(s, "/in/acme/pay", body); err != nil || status != 201 {
			t.Fatalf("%s = %d (%v)", body, status, err)
		}
	}
	third := make(chan int, 1)
	go func() {
		status, _, _ := post(s, "/in/acme/pay", "accept 3")
		third <- status
	}()
	<-inPlugin
	if key := <-inSink; key != "1" {
		t.Fatalf("event %s is delivered first", key)
	}

	stopped := make(chan error, 1)
	go func() { stopped <- s.Wait() }()
	cancel()
	until(t, "the port is closed", func() bool {
		c, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, body, err := request("GET", "http://"+s.AdminAddr().String()+"/readyz", ""); err != nil || !strings.Contains(body, `"intake":"draining"`) {
		t.Errorf("readyz while draining = %s (%v)", body, err)
	}
	// The intake is not through, so the dispatch goes on with the next event.
	leaveSink <- struct{}{}
	select {
	case key := <-inSink:
		if key != "2" {
			t.Errorf("event %s is delivered second", key)
		}
	case <-within(t).Done():
		t.Fatal("the dispatch stopped before the intake")
	}
	// What was under way becomes durable and is answered.
	close(leavePlugin)
	if status := <-third; status != 201 {
		t.Errorf("the callback under way = %d, want 201", status)
	}
	<-stopping
	if got := w.traced(); slices.Contains(got, "sink closed") || slices.Contains(got, "store closed") {
		t.Errorf("closed while a delivery is under way: %v", got)
	}
	close(leaveSink)
	if err := <-stopped; err != nil {
		t.Errorf("Wait = %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("Stop once more = %v", err)
	}
	got := w.traced()
	want := []string{"append accepted", "append accepted", "delivered 1", "append accepted", "delivered 2"}
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Errorf("before the end (-want +got):\n%s", diff)
	}
	// Event 3 may go out before the dispatch ends, or wait for the next start.
	end := slices.DeleteFunc(got[len(want):], func(line string) bool { return line == "delivered 3" })
	if diff := cmp.Diff([]string{"sink closed", "store closed", "runtime closed"}, end); diff != "" {
		t.Errorf("the end (-want +got):\n%s", diff)
	}
}

func TestServer_contextEnds(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := start(ctx, cfg, Options{}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Wait(); err != nil {
		t.Errorf("Wait = %v", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Store.Path, admin.SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind (%v)", err)
	}
	if diff := cmp.Diff([]string{"sink closed", "store closed", "runtime closed"}, w.traced()); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func TestInvariant13_storeFailureEndsTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld()
	inside, leave := make(chan struct{}), make(chan struct{})
	w.plugin = func(string) {
		close(inside)
		<-leave
	}
	s := w.running(t, testConfig(t))
	answered := make(chan int, 1)
	go func() {
		status, _, _ := post(s, "/in/acme/pay", "accept 1")
		answered <- status
	}()
	<-inside
	w.appendAs = host.Errorf(host.StoreUnavailable, "the disk is gone")
	close(w.failed)
	until(t, "the port is closed", func() bool {
		c, err := net.Dial("tcp", s.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(leave)
	if status := <-answered; status != 503 {
		t.Errorf("the callback under way = %d, want 503", status)
	}
	if err := s.Wait(); !errors.Is(err, errStoreFailed) {
		t.Errorf("Wait = %v, want %v: the process must end with a failure", err, errStoreFailed)
	}
}

func TestStart_allProblemsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	endpoints := cfg.Tenants["acme"].Endpoints
	endpoints["pay"] = config.Endpoint{Plugin: "ottu", Settings: map[string]any{"colour": "red"}}
	endpoints["gone"] = config.Endpoint{Plugin: "missing"}
	cfg.Sinks["odd"] = config.Sink{Type: "carrier-pigeon"}
	_, err := start(t.Context(), cfg, Options{}, w.parts())
	if err == nil {
		t.Fatal("start = nil")
	}
	want := []string{
		"tenants.acme.endpoints.gone.plugin: load plugin: there is no such module",
		"tenants.acme.endpoints.pay.secrets.hmac-key: is not set",
		"tenants.acme.endpoints.pay.settings.colour: is unknown",
		`sinks.odd.type: "carrier-pigeon" is unknown`,
		"sinks.odd.url: is missing",
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"sink closed", "store closed", "runtime closed"}, w.traced()); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func TestStart_closesWhatItOpened(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	for name, set := range map[string]func(*config.Config){
		"intake port": func(c *config.Config) { c.Intake.Listen = taken.Addr().String() },
		"admin port":  func(c *config.Config) { c.Admin.Listen = taken.Addr().String() },
		"socket":      func(c *config.Config) { c.Store.Path = "/nowhere/at/all" },
		"limit":       func(c *config.Config) { c.Intake.ReadTimeout = 0 },
		"subscribe": func(c *config.Config) {
			sink := c.Sinks["erp"]
			sink.From = "yesterday"
			c.Sinks["erp"] = sink
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			cfg := testConfig(t)
			set(cfg)
			if _, err := start(t.Context(), cfg, Options{}, w.parts()); err == nil {
				t.Fatal("start = nil")
			}
			if diff := cmp.Diff([]string{"sink closed", "store closed", "runtime closed"}, w.traced()); diff != "" {
				t.Errorf("trace (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(cfg.Store.Path, admin.SocketName)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left behind (%v)", err)
			}
		})
	}
}

// What a sink wants, and how it is delivered to, reaches those who see to it.
func TestStart_sinkAsConfigured(t *testing.T) {
	t.Parallel()
	w, cfg := newWorld(), testConfig(t)
	cfg.Sinks["erp"] = config.Sink{
		Type: config.TypeFile, Concurrency: 2, Batch: 3, Timeout: 4 * time.Second, From: host.FromOldest,
		Order: host.OrderSubject, Filter: host.Filter{VerifiedBy: []string{"hmac-*"}},
		Retry: config.Backoff{Base: 5 * time.Second, Max: 6 * time.Second, Over: 7 * time.Second},
		Rate:  config.RateLimit{PerSecond: 8, Burst: 9}, Breaker: config.Breaker{Failures: 10, OpenFor: 11 * time.Second},
	}
	s := w.running(t, cfg)
	want := host.Subscription{Filter: cfg.Sinks["erp"].Filter, From: host.FromOldest, Order: host.OrderSubject}
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(want, w.subscribed["erp"]); diff != "" {
		t.Errorf("subscription (-want +got):\n%s", diff)
	}
	policy := dispatch.Policy{
		Concurrency: 2, Batch: 3, Timeout: 4 * time.Second,
		Retry: dispatch.Backoff{Base: 5 * time.Second, Max: 6 * time.Second, Over: 7 * time.Second},
		Rate:  dispatch.Rate{PerSecond: 8, Burst: 9}, Breaker: dispatch.Breaker{Failures: 10, OpenFor: 11 * time.Second},
	}
	if diff := cmp.Diff(policy, s.deliveries()[0].Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	if got := s.sinkStates(); !slices.Equal(got, []admin.SinkState{{Name: "erp", Breaker: "closed"}}) {
		t.Errorf("states = %v", got)
	}
}

// An event that a sink's expression does not fit reaches the sink, is counted,
// and is logged the first time.
func TestServer_deliversWhatAnExpressionDoesNotFit(t *testing.T) {
	t.Parallel()
	w, cfg := newWorld(), testConfig(t)
	cfg.Sinks["erp"] = sinkWith(t, `provider == "nobody" || data.no.such == 1`)
	var logs bytes.Buffer
	s, err := start(t.Context(), cfg, Options{Log: slog.New(slog.NewTextHandler(&logs, nil))}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(within(t)) })
	for _, key := range []string{"1", "2", "3"} {
		if status, _, err := post(s, "/in/acme/pay", "accept "+key); err != nil || status != 201 {
			t.Fatalf("post = %d, %v", status, err)
		}
		until(t, "the event is delivered", func() bool { return slices.Contains(w.traced(), "delivered "+key) })
	}
	if _, body := overSocket(t, cfg.Store.Path, "GET", "/metrics", ""); !strings.Contains(body, `postern_filter_errors_total{sink="erp"} 3`) {
		t.Error("the events are not counted")
	}
	if err := s.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(logs.String(), "does not fit the sink's filter.where"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, &logs)
	}
}

// The parts of production, as far as they go without a plugin.
func TestCheckSinks(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	hook := func(change func(w *config.WebhookSink)) config.Sink {
		w := &config.WebhookSink{
			URL: "https://hooks.example.com/", Secrets: []config.Secret{config.NewSecret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")},
		}
		change(w)
		return config.Sink{Type: config.TypeWebhook, Webhook: w}
	}
	path := filepath.Join(t.TempDir(), "events.ndjson")
	cfg.Sinks = map[string]config.Sink{
		"file": {Type: config.TypeFile, File: &config.FileSink{Path: path}},
		"good": hook(func(w *config.WebhookSink) {
			w.Headers = map[string]config.Secret{"Authorization": config.NewSecret("Bearer abc")}
		}),
		"host": hook(func(w *config.WebhookSink) {
			w.Headers = map[string]config.Secret{"host": config.NewSecret("canary-value"), "X-Y": config.NewSecret("canary\nvalue")}
		}),
		"root": hook(func(w *config.WebhookSink) { w.TLS = config.ClientTLS{CA: "/nowhere/ca.pem"} }),
	}
	err := checkSinks(cfg)
	if err == nil {
		t.Fatal("checkSinks = nil")
	}
	want := []string{
		"sinks.host.headers.X-Y: has a value with characters that are not printable ASCII; write it without line ends and the like",
		"sinks.host.headers.host: is set by the sink itself; leave it out",
		"sinks.root.tls.ca: open /nowhere/ca.pem: no such file or directory",
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file of a sink was made by checking")
	}
}

func TestStart_outside(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{config.EngineBolt, config.EngineMem} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			cfg.Store.Engine, cfg.Store.Path = engine, filepath.Join(t.TempDir(), "data")
			cfg.Plugins.Path = t.TempDir()
			cfg.Plugins.Cache = filepath.Join(cfg.Store.Path, "cache")
			file := cfg.Sinks["erp"]
			file.File = &config.FileSink{Path: filepath.Join(t.TempDir(), "events.jsonl")}
			cfg.Sinks["erp"] = file
			cfg.Sinks["far"] = config.Sink{Type: config.TypeWebhook, From: host.FromNow, Webhook: &config.WebhookSink{
				URL: "https://hooks.example.com/", Secrets: []config.Secret{config.NewSecret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")},
			}}
			cfg.Sinks["pipe"] = config.Sink{Type: config.TypeStdout, From: host.FromNow, Stdout: &config.StdoutSink{}}
			tenants := cfg.Tenants
			cfg.Tenants = nil
			s, err := Start(t.Context(), cfg, Options{Version: "1"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Start(t.Context(), cfg, Options{}); err == nil {
				t.Error("a second Start on the data directory = nil")
			}
			if status, body := overSocket(t, cfg.Store.Path, "GET", "/admin/v1/sinks", ""); status != 200 || !strings.Contains(body, `"name":"far"`) {
				t.Errorf("sinks = %d %s", status, body)
			}
			if err := s.Stop(within(t)); err != nil {
				t.Errorf("Stop = %v", err)
			}
			cfg.Tenants = tenants
			_, err = Start(t.Context(), cfg, Options{})
			if err == nil || !strings.Contains(err.Error(), "tenants.acme.endpoints.pay.plugin: ") {
				t.Errorf("Start without the module = %v, want its place", err)
			}
		})
	}
	cfg := testConfig(t)
	cfg.Store.Engine = "paper"
	if _, err := Start(t.Context(), cfg, Options{}); err == nil || !strings.Contains(err.Error(), "store.engine") {
		t.Errorf("Start with an unknown engine = %v", err)
	}
}
