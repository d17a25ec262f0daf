package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
)

// with is a copy of cfg in which the endpoints of acme are changed.
func with(cfg *config.Config, change func(map[string]config.Endpoint)) *config.Config {
	c := *cfg
	t := cfg.Tenants["acme"]
	t.Endpoints = maps.Clone(t.Endpoints)
	change(t.Endpoints)
	c.Tenants = map[string]config.Tenant{"acme": t}
	return &c
}

// acked sets the body that an endpoint answers with.
func acked(body string) func(map[string]config.Endpoint) {
	return func(all map[string]config.Endpoint) {
		e := all["pay"]
		e.Ack = config.Ack{ContentType: "text/plain", Body: body}
		all["pay"] = e
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	var logs bytes.Buffer
	s, err := start(context.Background(), cfg, Options{Log: slog.New(slog.NewTextHandler(&logs, nil))}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(within(t)) })
	next := with(cfg, func(all map[string]config.Endpoint) {
		acked("new")(all)
		pay := all["pay"]
		pay.Secrets = secrets("hmac-key", "test-new", "hmac-key", "k")
		pay.RateLimit = config.RateLimit{PerSecond: 1000, Burst: 1000}
		all["pay"] = pay
		delete(all, "tok")
		other := all["pay"]
		other.Plugin = "wibmo"
		all["other"] = other
	})
	if err := s.Reload(t.Context(), next); err != nil {
		t.Fatalf("Reload = %v", err)
	}
	for _, c := range []struct {
		path   string
		status int
		answer string
	}{
		{"/in/acme/pay", 201, "new"},
		{"/in/acme/other", 201, "new"},
		{"/in/acme/tok/let-me-in", 404, `{"error":"endpoint.unknown"}`},
	} {
		if status, answer, err := post(s, c.path, "accept 1"); err != nil || status != c.status || answer != c.answer {
			t.Errorf("%s = %d %s (%v), want %d %s", c.path, status, answer, err, c.status, c.answer)
		}
	}
	if diff := cmp.Diff([]string{"ottu", "wibmo"}, w.loads); diff != "" {
		t.Errorf("modules loaded (-want +got):\n%s", diff)
	}
	_, body := overSocket(t, cfg.Store.Path, "GET", "/admin/v1/endpoints", "")
	if !strings.Contains(body, `"name":"other"`) || strings.Contains(body, `"name":"tok"`) ||
		!strings.Contains(body, `"limits":{"per_second":1000,"burst":1000}`) {
		t.Errorf("endpoints = %s", body)
	}
	if _, body := overSocket(t, cfg.Store.Path, "GET", "/metrics", ""); !strings.Contains(body, `postern_reloads_total{result="ok"} 1`) {
		t.Error("the reload is not counted")
	}
	want := `msg="configuration reloaded" added=[acme/other] removed=[acme/tok] ` +
		`changed="[acme/pay: secrets.hmac-key, ack.content_type, ack.body, rate_limit.per_second, rate_limit.burst]"`
	if !strings.Contains(logs.String(), want) || strings.Contains(logs.String(), "test-new") {
		t.Errorf("logged\n%s\nwant %s", &logs, want)
	}
}

func TestReload_allOrNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.running(t, cfg)
	next := with(cfg, func(all map[string]config.Endpoint) {
		acked("new")(all)
		all["bare"] = config.Endpoint{Plugin: "ottu", Settings: map[string]any{"colour": "red"}}
		all["gone"] = config.Endpoint{Plugin: "missing"}
		all["gone2"] = config.Endpoint{Plugin: "missing"}
	})
	next.Intake.Listen, next.Intake.TrustedProxies = "127.0.0.1:1", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	next.Log.Format = "text"
	next.Sinks = maps.Clone(cfg.Sinks)
	next.Sinks["far"] = config.Sink{Type: config.TypeFile}
	erp := next.Sinks["erp"]
	erp.Retry.Base, erp.File = time.Minute, &config.FileSink{Path: "elsewhere"}
	next.Sinks["erp"] = erp
	err := s.Reload(t.Context(), next)
	if err == nil {
		t.Fatal("Reload = nil")
	}
	want := []string{
		"changed, and taken by a restart only: intake.listen, intake.trusted_proxies, log.format, " +
			"sinks.erp.retry.base, sinks.erp, sinks.far",
		"tenants.acme.endpoints.bare.secrets.hmac-key: is not set",
		"tenants.acme.endpoints.bare.settings.colour: is unknown",
		"tenants.acme.endpoints.gone.plugin: load plugin: there is no such module",
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if status, answer, err := post(s, "/in/acme/pay", "accept 1"); err != nil || status != 201 || answer != "OK" {
		t.Errorf("after a refused reload = %d %s (%v), want 201 OK as before", status, answer, err)
	}
	for _, path := range []string{"/in/acme/bare", "/in/acme/gone"} {
		if status, _, err := post(s, path, "accept 1"); err != nil || status != 404 {
			t.Errorf("%s = %d (%v), want 404", path, status, err)
		}
	}
}

// A restart is asked for where a secret's value differs, and no value is told.
func TestReload_secretOfASink(t *testing.T) {
	t.Parallel()
	at := func(secret string) *config.Config {
		cfg := testConfig(t)
		cfg.Store.Path = "same"
		cfg.Sinks["far"] = config.Sink{Type: config.TypeWebhook, Webhook: &config.WebhookSink{Secrets: []config.Secret{config.NewSecret(secret)}}}
		return cfg
	}
	if keys := needsRestart(at("test-one"), at("test-one")); keys != nil {
		t.Errorf("of the same = %v, want none", keys)
	}
	if diff := cmp.Diff([]string{"sinks.far.secrets"}, needsRestart(at("test-one"), at("test-two"))); diff != "" {
		t.Errorf("of another secret (-want +got):\n%s", diff)
	}
}

// Every field of the fixed sections is compared: none is unexported or without
// a key.
func TestReload_comparesEveryKey(t *testing.T) {
	t.Parallel()
	a, b := config.Default(), config.Default()
	b.Intake = config.Intake{TLS: config.TLS{Cert: "c", Key: "k", ClientCA: "r"}, PublicURL: "https://a", TrustedProxies: []netip.Prefix{{}}}
	b.Admin, b.Log = config.Admin{}, config.Log{Level: slog.LevelDebug}
	b.Store, b.Plugins = config.Store{Reserve: 1}, config.Plugins{Cache: "c", Pool: 3}
	b.Reload = config.Reload{}
	got := needsRestart(a, b)
	want := []string{
		"intake.listen", "intake.public_url", "intake.max_body", "intake.read_timeout", "intake.write_timeout",
		"intake.idle_timeout", "intake.max_connections", "intake.drain_timeout", "intake.tls.cert", "intake.tls.key",
		"intake.tls.client_ca", "intake.trusted_proxies", "admin.listen", "log.level", "log.format",
		"store.engine", "store.path", "store.max_kept", "store.segment_size", "store.segment_age", "store.retention",
		"store.dedup_window", "store.reserve", "store.queue_requests", "store.queue_bytes",
		"store.quarantine.ring_entries", "store.quarantine.ring_bytes", "plugins.path", "plugins.cache", "plugins.cache_size", "plugins.max_memory",
		"plugins.fuel", "plugins.max_fuel", "plugins.isolation",
		"plugins.pool", "plugins.wait", "reload.watch",
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// A callback under way ends with the endpoint that it began with.
func TestReload_underWay(t *testing.T) {
	t.Parallel()
	w := newWorld()
	inside, leave := make(chan struct{}), make(chan struct{})
	w.plugin = func(key string) {
		if key == "1" {
			close(inside)
			<-leave
		}
	}
	cfg := testConfig(t)
	s := w.running(t, cfg)
	type answer struct {
		status int
		body   string
	}
	first := make(chan answer, 1)
	go func() {
		status, body, _ := post(s, "/in/acme/pay", "accept 1")
		first <- answer{status, body}
	}()
	<-inside
	if err := s.Reload(t.Context(), with(cfg, acked("new"))); err != nil {
		t.Errorf("Reload = %v", err)
	}
	if _, body, err := post(s, "/in/acme/pay", "accept 2"); err != nil || body != "new" {
		t.Errorf("after the reload = %s (%v), want new", body, err)
	}
	close(leave)
	if got, want := <-first, (answer{201, "OK"}); got != want {
		t.Errorf("the callback under way = %v, want %v", got, want)
	}
}

// Reloads, refused ones among them, while many clients send: every answer is
// that of one configuration, whole, and everything is stored once.
func TestReload_inTheStormOfCallbacks(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.running(t, cfg)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	sent := make([]int, 8)
	for c := range sent {
		clients.Go(func() {
			for ; ; sent[c]++ {
				select {
				case <-stop:
					return
				default:
				}
				status, body, err := post(s, "/in/acme/pay", fmt.Sprintf("accept %d-%d", c, sent[c]))
				if err != nil || status != 201 || body != "OK" && body != "one" && body != "two" {
					t.Errorf("answer %d %s (%v)", status, body, err)
					return
				}
			}
		})
	}
	broken := with(cfg, func(all map[string]config.Endpoint) { all["pay"] = config.Endpoint{Plugin: "ottu"} })
	for range 50 {
		for _, body := range []string{"one", "two"} {
			if err := s.Reload(t.Context(), with(cfg, acked(body))); err != nil {
				t.Errorf("Reload = %v", err)
			}
			if err := s.Reload(t.Context(), broken); err == nil {
				t.Error("Reload of what is broken = nil")
			}
		}
	}
	close(stop)
	clients.Wait()
	want := 0
	for _, n := range sent {
		want += n
	}
	got := 0
	for _, line := range w.traced() {
		if strings.HasPrefix(line, "append accepted") {
			got++
		}
	}
	if got != want || want == 0 {
		t.Errorf("%d records for %d callbacks with 2xx", got, want)
	}
	if n := len(w.loads); n != 1 {
		t.Errorf("%d modules loaded, want 1", n)
	}
}

func TestReload_whileStopping(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := newWorld().running(t, cfg)
	if err := s.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context(), cfg); err == nil || err.Error() != "reload: the server is draining" {
		t.Errorf("Reload of a stopped server = %v, want that it is draining", err)
	}
}

// What the gates turn away never reaches a plugin; a tenant's endpoints draw on
// one bucket.
func TestServer_gates(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.plugin = func(key string) {
		if key == "turned-away" {
			t.Error("a plugin was asked about what was turned away")
		}
	}
	cfg := testConfig(t)
	acme := cfg.Tenants["acme"]
	acme.RateLimit = config.RateLimit{PerSecond: 0.001, Burst: 2}
	pay := acme.Endpoints["pay"]
	pay.AllowFrom = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	acme.Endpoints["near"] = acme.Endpoints["pay"]
	acme.Endpoints["pay"] = pay
	cfg.Tenants["acme"] = acme
	s := w.running(t, cfg)
	for _, c := range []struct {
		path, body string
		status     int
		answer     string
	}{
		{"/in/acme/pay", "accept turned-away", 403, `{"error":"address.refused"}`},
		{"/in/acme/near", "accept 1", 201, "OK"},
		{"/in/acme/tok/let-me-in", "accept 2", 202, "{}"},
		{"/in/acme/near", "accept turned-away", 429, `{"error":"rate.limited"}`},
		{"/in/acme/tok/let-me-in", "accept turned-away", 429, `{"error":"rate.limited"}`},
	} {
		if status, answer, err := post(s, c.path, c.body); err != nil || status != c.status || answer != c.answer {
			t.Errorf("%s = %d %s (%v), want %d %s", c.path, status, answer, err, c.status, c.answer)
		}
	}
	_, body := overSocket(t, cfg.Store.Path, "GET", "/admin/v1/endpoints", "")
	for _, want := range []string{`"limits":{"allow_from":["192.0.2.0/24"]}`, `"tenant_limits":{"per_second":0.001,"burst":2}`} {
		if !strings.Contains(body, want) {
			t.Errorf("endpoints = %s, want %s in it", body, want)
		}
	}
}

// What has been let in counts still after a reload, unless the limits are other
// ones.
func TestReload_limitsGoOn(t *testing.T) {
	t.Parallel()
	limit := config.RateLimit{PerSecond: 1e-6, Burst: 2}
	base := testConfig(t)
	configured := func(tenant, pay, tok config.RateLimit) *config.Config {
		cfg := with(base, func(all map[string]config.Endpoint) {
			for name, r := range map[string]config.RateLimit{"pay": pay, "tok": tok} {
				e := all[name]
				e.RateLimit = r
				all[name] = e
			}
		})
		acme := cfg.Tenants["acme"]
		acme.RateLimit = tenant
		cfg.Tenants["acme"] = acme
		return cfg
	}
	none := config.RateLimit{}
	more := config.RateLimit{PerSecond: 1e-6, Burst: 1}
	s := newWorld().running(t, configured(none, limit, none))
	for _, step := range []struct {
		name             string
		tenant, pay, tok config.RateLimit
		wantPay, wantTok bool
	}{
		{"the first of two", none, limit, none, true, true},
		{"the second", none, limit, none, true, true},
		{"no more", none, limit, none, false, true},
		{"another limit", none, more, none, true, true},
		{"the tenant's", limit, none, none, true, true},
		{"is used up", limit, none, none, false, false},
		{"and stays so beside other limits", limit, more, none, false, false},
		{"the tenant's is gone", none, more, none, true, true},
		{"each has its own, though as the tenant's was", none, limit, limit, true, true},
		{"the second of each", none, limit, limit, true, true},
		{"no more of each", none, limit, limit, false, false},
		{"none", none, none, none, true, true},
	} {
		if err := s.Reload(t.Context(), configured(step.tenant, step.pay, step.tok)); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]bool{"/in/acme/pay": step.wantPay, "/in/acme/tok/let-me-in": step.wantTok} {
			if status, _, err := post(s, path, "accept 1"); err != nil || (status != 429) != want {
				t.Errorf("%s: %s = %d (%v), want let in %t", step.name, path, status, err, want)
			}
		}
	}
}

// Behind a trusted proxy the client is whom the proxy names.
func TestServer_trustedProxies(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	cfg.Intake.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s := w.running(t, cfg)
	if status, _, err := post(s, "/in/acme/pay", "accept 1"); err != nil || status != 201 {
		t.Fatalf("post = %d (%v)", status, err)
	}
	rec, err := w.mem.Callback(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	// The proxy, for it is our own connection, names nobody.
	if rec.Callback.Remote.IsValid() {
		t.Errorf("remote = %v, want unknown", rec.Callback.Remote)
	}
}

func TestStart_badCertificate(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Intake.TLS = config.TLS{Cert: filepath.Join(t.TempDir(), "none.pem"), Key: "none.key"}
	_, err := start(t.Context(), cfg, Options{}, newWorld().parts())
	if err == nil || !strings.Contains(err.Error(), "read the certificate: ") {
		t.Errorf("start = %v, want what is wrong with the certificate", err)
	}
}

// A rejection takes as long wherever it fails, and no less than the floor.
func TestServer_refusalHasAFloor(t *testing.T) {
	t.Parallel()
	s := newWorld().running(t, testConfig(t))
	for _, path := range []string{"/in/acme/pay", "/in/acme/tok/let-me-out"} {
		began := time.Now()
		status, _, err := post(s, path, "reject")
		if took := time.Since(began); err != nil || status/100 != 4 || took < refusal {
			t.Errorf("%s = %d (%v) after %v, want a rejection and no sooner than %v", path, status, err, took, refusal)
		}
	}
}

func TestOptions_observe(t *testing.T) {
	t.Parallel()
	var seen []host.Verdict
	w := newWorld()
	s, err := start(context.Background(), testConfig(t), Options{Observe: func(o host.Observation) { seen = append(seen, o.Verdict) }}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"accept 1", "reject"} {
		if _, _, err := post(s, "/in/acme/pay", body); err != nil {
			t.Error(err)
		}
	}
	if err := s.Stop(within(t)); err != nil {
		t.Errorf("Stop = %v", err)
	}
	if diff := cmp.Diff([]host.Verdict{host.Accept, host.Reject}, seen); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// A compiled expression compares as its text.
func TestReload_conditionOfASink(t *testing.T) {
	t.Parallel()
	at := func(where string) *config.Config {
		cfg := testConfig(t)
		cfg.Store.Path = "same"
		cfg.Sinks["far"] = sinkWith(t, where)
		return cfg
	}
	const one = `type == "a"`
	if keys := needsRestart(at(one), at(one)); keys != nil {
		t.Errorf("of the same = %v, want none", keys)
	}
	if diff := cmp.Diff([]string{"sinks.far.filter.where"}, needsRestart(at(one), at(`type == "b"`))); diff != "" {
		t.Errorf("of another expression (-want +got):\n%s", diff)
	}
}

// sinkWith is a sink as it is loaded with an expression.
func sinkWith(t *testing.T, where string) config.Sink {
	t.Helper()
	text := fmt.Sprintf("sinks: {s: {type: file, path: a, from: oldest, filter: {where: %q}}}", where)
	cfg, err := config.Load(config.Options{Text: []byte(text), Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Sinks["s"]
}
