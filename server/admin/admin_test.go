package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// ledger is a store of fixed content that remembers what it was asked.
type ledger struct {
	host.Reader
	page     host.Page
	events   []host.StoredEvent
	record   *host.Record
	letters  []host.DeadLetter
	redriven []string
	lag      host.Lag
	err      error

	// asked is what it was told to do, a line each.
	asked      []string
	subscribed []string
	rejected   []host.Rejected
	status     host.Status
}

func (l *ledger) Range(_ context.Context, p host.Page) ([]host.StoredEvent, host.Cursor, error) {
	l.page = p
	return l.events, host.CursorAt(9, 0), l.err
}

func (l *ledger) Event(_ context.Context, id string) (host.StoredEvent, error) {
	for _, e := range l.events {
		if e.Event.ID() == id {
			return e, nil
		}
	}
	return host.StoredEvent{}, errors.Join(host.ErrNotFound, l.err)
}

func (l *ledger) Callback(_ context.Context, seq uint64) (*host.Record, error) {
	if l.record == nil {
		return nil, fmt.Errorf("record %d is damaged", seq)
	}
	return l.record, nil
}

func (l *ledger) DeadLetters(_ context.Context, sink string, after host.Cursor, n int) ([]host.DeadLetter, host.Cursor, error) {
	if sink != "erp" {
		return nil, "", host.ErrNotFound
	}
	l.page = host.Page{After: after, Limit: n}
	return l.letters, "", l.err
}

func (l *ledger) Redrive(_ context.Context, sink string, ids ...string) (int, error) {
	if sink != "erp" {
		return 0, host.ErrNotFound
	}
	l.redriven = append([]string{sink}, ids...)
	return 7, l.err
}

func (l *ledger) Lag(_ context.Context, sink string) (host.Lag, error) {
	if sink != "erp" && sink != "left" {
		return host.Lag{}, host.ErrNotFound
	}
	return l.lag, l.err
}

func event() host.Event {
	return host.Event{
		Key: host.Hash{1}, Source: "/acme/pay", Type: "payment.succeeded", Subject: "a<b", Tenant: "acme", Provider: "ottu",
		Time: time.Unix(1, 0).UTC(), Received: time.Unix(2, 0).UTC(), VerifiedBy: host.HMACSHA256, Data: []byte(`{"a":1}`),
	}
}

func newLedger() *ledger {
	return &ledger{
		events: []host.StoredEvent{{Seq: 3, Cursor: host.CursorAt(3, 0), Event: event()}},
		record: &host.Record{
			Kind: host.Accepted, Detail: "d", Plugin: "ottu@1", Callback: host.Callback{
				Method: "POST", Target: "/in/acme/pay/[token:path]", Headers: []host.Header{{Name: "a", Value: "b"}},
				Body: []byte("<body>"), Received: time.Unix(2, 0), Remote: netip.MustParseAddr("192.0.2.1"),
			},
			Evidence: []host.Evidence{{Secret: "hmac-key", Algorithm: host.HMACSHA256, Covers: host.CoversBody}},
		},
		letters: []host.DeadLetter{{Sink: "erp", Event: event(), Attempts: 2, Reason: "gone"}},
		lag:     host.Lag{Records: 4, Dead: 1},
	}
}

func options(l *ledger) Options {
	return Options{
		Version: "1.2.3", Reader: l, Queue: l, Quarantine: l, Status: l.Status,
		Endpoints: func() []Endpoint {
			return []Endpoint{{Tenant: "acme", Name: "pay", URL: "/in/acme/pay", Plugin: "ottu@1", Methods: []string{"POST"}}}
		},
		Sinks: []Sink{{Name: "erp", Type: "webhook"}},
	}
}

// call makes a request and compares status and JSON body.
func call(t *testing.T, h http.Handler, request, body string, status int, want string) {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, target, strings.NewReader(body)))
	if rec.Code != status {
		t.Errorf("%s: status = %d, want %d: %s", request, rec.Code, status, rec.Body)
	}
	var got, expected any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v in %q", request, err, rec.Body)
	}
	if err := json.Unmarshal([]byte(want), &expected); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", request, diff)
	}
}

const eventJSON = `{"specversion":"1.0","id":"aeaaaaaaaaaaaaaaaaaaaaaaaa","source":"/acme/pay","type":"payment.succeeded",
	"subject":"a<b","time":"1970-01-01T00:00:01Z","datacontenttype":"application/json","tenant":"acme","provider":"ottu",
	"verifiedby":"hmac-sha256","covers":"none","receivedtime":"1970-01-01T00:00:02Z",
	"dedupkey":"01000000000000000000000000000000","data":{"a":1}}`

func TestRoutes(t *testing.T) {
	t.Parallel()
	cursor := `"cursor":"00000000000000030000"`
	for request, want := range map[string]string{
		"GET /admin/v1/version": `{"version":"1.2.3"}`,
		"GET /admin/v1/events":  `{"events":[{"seq":3,` + cursor + `,"event":` + eventJSON + `}],"next":"00000000000000090000"}`,
		"GET /admin/v1/events/aeaaaaaaaaaaaaaaaaaaaaaaaa": `{"seq":3,` + cursor + `,"event":` + eventJSON + `,"callback":{
			"kind":"accepted","detail":"d","plugin":"ottu@1","method":"POST","target":"/in/acme/pay/[token:path]",
			"headers":[{"name":"a","value":"b"}],"remote":"192.0.2.1","received":"1970-01-01T00:00:02Z","body":"<body>",
			"evidence":[{"secret":"hmac-key","value":0,"algorithm":"hmac-sha256","covers":"body"}]}}`,
		"GET /admin/v1/endpoints": `{"endpoints":[{"tenant":"acme","name":"pay","url":"/in/acme/pay","plugin":"ottu@1",
			"provider":"","methods":["POST"],"verification":"","unable":""}]}`,
		"GET /admin/v1/sinks": `{"sinks":[{"name":"erp","type":"webhook","filter":{},"configured":true,"lag":{"records":4,"leased":0,"retrying":0,"parked":0,"dead":1,"paused":false}}]}`,
		"GET /admin/v1/sinks/erp/deadletters": `{"deadletters":[{"sink":"erp","event":` + eventJSON + `,"attempts":2,
			"first_attempt":"0001-01-01T00:00:00Z","died":"0001-01-01T00:00:00Z","reason":"gone"}],"next":""}`,
	} {
		call(t, New(options(newLedger())).Handler(), request, "", 200, want)
	}
}

func TestRoutes_empty(t *testing.T) {
	t.Parallel()
	h := New(Options{Version: "1", Reader: &ledger{}, Queue: &ledger{}}).Handler()
	call(t, h, "GET /admin/v1/events", "", 200, `{"events":[],"next":"00000000000000090000"}`)
	call(t, h, "GET /admin/v1/endpoints", "", 200, `{"endpoints":[]}`)
	call(t, h, "GET /admin/v1/sinks", "", 200, `{"sinks":[]}`)
}

func TestEvents_page(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]host.Page{
		"": {Limit: 20, Filter: host.Filter{Unverified: true, Conflicts: true}},
		"?limit=500&newest=true&after=00000000000000030000&tenant=acme&provider=ottu&type=payment.*": {
			After: host.CursorAt(3, 0), Limit: 500, Newest: true, Filter: host.Filter{
				Tenants: []string{"acme"}, Providers: []string{"ottu"}, Types: []string{"payment.*"},
				Unverified: true, Conflicts: true,
			},
		},
		"?newest=false&after=": {Limit: 20, Filter: host.Filter{Unverified: true, Conflicts: true}},
	} {
		l := newLedger()
		rec := httptest.NewRecorder()
		New(options(l)).Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/admin/v1/events"+query, nil))
		if diff := cmp.Diff(want, l.page); diff != "" || rec.Code != 200 {
			t.Errorf("%q = %d, page (-want +got):\n%s", query, rec.Code, diff)
		}
	}
}

func TestRoutes_refused(t *testing.T) {
	t.Parallel()
	const redrive = "POST /admin/v1/sinks/erp/deadletters/redrive"
	for _, c := range []struct {
		request, body string
		status        int
		code, message string
	}{
		{"GET /admin/v1/events?limit=0", "", 400, "request.invalid", `limit is "0"; use a number from 1 to 500`},
		{"GET /admin/v1/events?limit=501", "", 400, "request.invalid", `limit is "501"; use a number from 1 to 500`},
		{"GET /admin/v1/events?limit=x", "", 400, "request.invalid", `limit is "x"; use a number from 1 to 500`},
		{"GET /admin/v1/events?newest=1", "", 400, "request.invalid", `newest is "1"; use true or false`},
		{"GET /admin/v1/events?after=3", "", 400, "request.invalid", `after is no cursor; take one from an earlier answer`},
		{"GET /admin/v1/events?limits=3", "", 400, "request.invalid", `parameter "limits" is unknown; known here: after, limit, newest, provider, tenant, type`},
		{"GET /admin/v1/events?limit=3&limit=4", "", 400, "request.invalid", `parameter "limit" stands there twice; give it once`},
		{"GET /admin/v1/events?limit=%zz", "", 400, "request.invalid", `the query cannot be parsed; encode it as a form`},
		{"GET /admin/v1/events/aaaaaaaaaaaaaaaaaaaaaaaaaa", "", 404, "not-found", `no event has this id`},
		{"GET /admin/v1/events/x?raw=1", "", 400, "request.invalid", `this route takes no parameters`},
		{"GET /admin/v1/sinks/other/deadletters", "", 404, "not-found", `no sink has this name`},
		{"GET /admin/v1/sinks/erp/deadletters?after=" + strings.Repeat("a", maxCursor+1), "", 400, "request.invalid", `after is no cursor; take one from an earlier answer`},
		{"GET /admin/v1/sinks/erp/deadletters?type=a", "", 400, "request.invalid", `parameter "type" is unknown; known here: after, limit`},
		{"POST /admin/v1/sinks/other/deadletters/redrive", "", 404, "not-found", `no sink has this name`},
		{redrive, `{"id":"a"}`, 400, "request.invalid", `the body is not of the form {"ids":["…"]}`},
		{redrive, `[]`, 400, "request.invalid", `the body is not of the form {"ids":["…"]}`},
		{redrive, `{"ids":["` + strings.Repeat("a", maxRequest) + `"]}`, 400, "request.invalid", `the body is not of the form {"ids":["…"]}`},
		{redrive, `{"ids":[]}{}`, 400, "request.invalid", `more than one JSON value stands in the body`},
		{redrive, `{"ids":["x"]}`, 400, "request.invalid", `ids: event id "x" is not 26 characters of a-z and 2-7`},
		{"GET /admin/v1/other", "", 404, "not-found", `there is no such route`},
		{"DELETE /admin/v1/events", "", 404, "not-found", `there is no such route`},
	} {
		l := newLedger()
		want, _ := json.Marshal(map[string]any{"error": map[string]string{"code": c.code, "message": c.message}})
		call(t, New(options(l)).Handler(), c.request, c.body, c.status, string(want))
		if l.redriven != nil {
			t.Errorf("%s %s redrove %v", c.request, c.body, l.redriven)
		}
	}
}

func TestRoutes_ownFailure(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.record = nil
	call(t, New(options(l)).Handler(), "GET /admin/v1/events/aeaaaaaaaaaaaaaaaaaaaaaaaa", "", 503,
		`{"error":{"code":"internal","message":"read callback 3: record 3 is damaged"}}`)
	l.err = host.ErrUnsupported
	call(t, New(options(l)).Handler(), "GET /admin/v1/events", "", 501,
		`{"error":{"code":"unsupported","message":"read events: not supported by this store"}}`)
	l.err = host.Errorf(host.StoreUnavailable, "disk gone")
	call(t, New(options(l)).Handler(), "GET /admin/v1/sinks", "", 503,
		`{"error":{"code":"store.unavailable","message":"list the sinks: disk gone"}}`)
}

func TestEvent_binaryBody(t *testing.T) {
	t.Parallel()
	got := describe(&host.Record{Kind: host.Kept, Callback: host.Callback{Body: []byte{0xff, 0}}})
	if got.Body != nil || string(got.Base64) != "\xff\x00" {
		t.Errorf("body = %v, base64 = %q, want it in base64 alone", got.Body, got.Base64)
	}
}

func TestRedrive(t *testing.T) {
	t.Parallel()
	id := host.Hash{1}.ID()
	for body, want := range map[string][]string{
		"":                       {"erp"},
		`{}`:                     {"erp"},
		`{"ids":[]}`:             {"erp"},
		`{"ids":["` + id + `"]}`: {"erp", id},
	} {
		l, woken := newLedger(), 0
		o := options(l)
		o.Wake = func() { woken++ }
		call(t, New(o).Handler(), "POST /admin/v1/sinks/erp/deadletters/redrive", body, 200, `{"redriven":7}`)
		if diff := cmp.Diff(want, l.redriven); diff != "" || woken != 1 {
			t.Errorf("body %q: woken %d times, redriven (-want +got):\n%s", body, woken, diff)
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	var broken error
	o := options(newLedger())
	o.Metrics = NewMetrics("1.2.3")
	o.Checks = map[string]func() error{"store": func() error { return broken }, "intake": func() error { return nil }}
	h := New(o).Probes()
	call(t, h, "GET /healthz", "", 200, `{"status":"ok"}`)
	call(t, h, "GET /readyz", "", 200, `{"ready":true,"checks":{"store":"ok","intake":"ok"}}`)
	broken = errors.New("it has failed")
	call(t, h, "GET /readyz", "", 503, `{"ready":false,"checks":{"store":"it has failed","intake":"ok"}}`)
	call(t, h, "GET /healthz", "", 200, `{"status":"ok"}`)
	// Nobody is asked who they are there.
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/admin/v1/events", nil))
	if rec.Code != 404 {
		t.Errorf("GET /admin/v1/events among the probes = %d, want 404", rec.Code)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3")
	l := newLedger()
	l.subscribed = []string{"erp", "left"}
	l.lag = host.Lag{Records: 4, Dead: 1, Parked: 2, Paused: true, Replay: &host.Replay{
		From: host.CursorAt(2, 0), At: host.CursorAt(4, 1), To: host.CursorAt(9, 0),
	}}
	l.status = host.Status{Full: "the disk is full", Bytes: 4096, Segments: 3, Kept: 1, Quarantined: 12, Damaged: []string{"a"}}
	m.WatchLag(l, "erp")
	m.WatchStore(l.Status)
	ep := &host.Endpoint{Tenant: "acme", Name: "pay", Provider: "ottu"}
	m.Callback(host.Observation{Endpoint: ep, Verdict: host.Accept, Took: time.Millisecond, Receipt: host.Receipt{
		Events: []host.Disposition{host.Stored, host.Conflicted}, Aside: []host.Disposition{host.SetAside},
	}})
	m.Callback(host.Observation{Endpoint: ep, Failed: true, Code: host.PluginFailed, Kept: true})
	m.Refused(host.BodyTooLarge)
	m.Delivery("erp", host.Done, time.Millisecond, time.Second)
	m.Delivery("erp", host.Again, time.Millisecond, time.Second)
	m.WatchSinks(func() []SinkState { return []SinkState{{Name: "erp", Failing: true, Breaker: "half-open"}} })
	got := scrape(t, m)
	for _, want := range []string{
		`postern_sink_failing{sink="erp"} 1`,
		`postern_sink_breaker{sink="erp",state="half-open"} 1`,
		`postern_sink_breaker{sink="erp",state="open"} 0`,
		`postern_callbacks_total{code="none",endpoint="pay",kept="false",provider="ottu",tenant="acme",verdict="accept"} 1`,
		`postern_callbacks_total{code="plugin.failed",endpoint="pay",kept="true",provider="ottu",tenant="acme",verdict="none"} 1`,
		`postern_requests_refused_total{code="body.too-large"} 1`,
		`postern_events_total{disposition="stored",endpoint="pay",provider="ottu",tenant="acme"} 1`,
		`postern_events_total{disposition="conflict",endpoint="pay",provider="ottu",tenant="acme"} 1`,
		`postern_events_total{disposition="set-aside",endpoint="pay",provider="ottu",tenant="acme"} 1`,
		`postern_conflicts_total{endpoint="pay",provider="ottu",tenant="acme"} 1`,
		`postern_deliveries_settled_total{outcome="done",sink="erp"} 1`,
		`postern_deliveries_settled_total{outcome="retry",sink="erp"} 1`,
		`postern_delivery_duration_seconds_count{sink="erp"} 2`,
		`postern_delivery_age_seconds_count{sink="erp"} 1`,
		`postern_ingest_duration_seconds_count{provider="ottu"} 2`,
		`postern_sink_lag_records{sink="erp"} 4`,
		`postern_sink_deliveries{sink="erp",state="dead"} 1`,
		`postern_sink_deliveries{sink="erp",state="parked"} 2`,
		`postern_sink_paused{sink="erp"} 1`,
		`postern_sink_replay_records{sink="erp"} 5`,
		`postern_sink_lag_records{sink="left"} 4`,
		`postern_store_bytes 4096`,
		`postern_store_free_bytes 0`,
		`postern_store_full 1`,
		`postern_store_segments 3`,
		`postern_store_kept_callbacks 1`,
		`postern_store_quarantined_callbacks 12`,
		`postern_store_damaged 1`,
		`postern_build_info{goversion="`,
		`go_goroutines `,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	l.err = errors.New("the store is closed")
	if got := scrape(t, m); strings.Contains(got, "postern_sink_lag_records{") || strings.Contains(got, "\npostern_store_full") || !strings.Contains(got, "postern_callbacks_total{") {
		t.Error("an unknown lag must be a gap, and nothing else be missing")
	}
}

// What an engine does not know is a gap.
func TestMetrics_unknown(t *testing.T) {
	t.Parallel()
	m, l := NewMetrics("1"), newLedger()
	m.WatchLag(l, "erp")
	m.WatchStore(l.Status)
	l.lag.Replay = &host.Replay{At: "17", To: "23"}
	got := scrape(t, m)
	l.lag.Replay = &host.Replay{At: host.CursorAt(4, 0)}
	got += scrape(t, m)
	for _, unknown := range []string{"postern_sink_replay_records{", "\npostern_store_bytes ", "\npostern_store_free_bytes "} {
		if strings.Contains(got, unknown) {
			t.Errorf("%q is among the metrics", unknown)
		}
	}
	if !strings.Contains(got, "\npostern_store_full 0\n") {
		t.Error("no postern_store_full 0 in the metrics")
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("metrics = %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func TestListenSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	// What a dead process leaves behind.
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()

	ln, err := ListenSocket(t.Context(), dir)
	if err != nil {
		t.Fatalf("ListenSocket over a dead socket = %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v (%v), want 0600", info.Mode(), err)
	}
	srv := NewServer(New(options(newLedger())).Handler(), slog.New(slog.DiscardHandler))
	go srv.Serve(ln)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
	res, err := client.Get("http://postern/admin/v1/version")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(body) != `{"version":"1.2.3"}`+"\n" {
		t.Errorf("version over the socket = %s", body)
	}
	if _, err := ListenSocket(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "answers on") {
		t.Errorf("a second ListenSocket = %v, want an error: the first one answers", err)
	}
	client.CloseIdleConnections()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there (%v)", err)
	}
}

func TestListenSocket_refused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SocketName), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("ListenSocket over a file = %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, SocketName)); string(b) != "mine" {
		t.Error("the file was touched")
	}
	if _, err := ListenSocket(t.Context(), "/"+strings.Repeat("a", 100)); err == nil || !strings.Contains(err.Error(), "shorter store.path") {
		t.Errorf("ListenSocket with a long path = %v", err)
	}
}

func TestNewServer_limits(t *testing.T) {
	t.Parallel()
	s := NewServer(nil, slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
}
