package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/admin"
)

// world stands for everything outside: its sandbox, store and sinks do as they
// are told and trace what happens to them.
type world struct {
	mu    sync.Mutex
	trace []string
	// version is that of every module there is, behind a space; empty at first.
	version string
	// loads are the modules that were loaded, in order.
	loads []string
	// subscribed are the sinks' subscriptions.
	subscribed map[string]host.Subscription

	mem      *mem.Store
	failed   chan struct{}
	appendAs error
	// mended has the plugin accept what it rejected before.
	mended atomic.Bool
	// full, if set, is why the store says that it is full.
	full atomic.Pointer[string]
	// out, if set, is why the plugins are out of service.
	out atomic.Pointer[string]
	// plugin and deliver, if set, are called within a plugin's and a sink's
	// work, with the key of the event.
	plugin  func(key string)
	deliver func(key string)
}

func newWorld() *world {
	return &world{mem: mem.New(mem.Options{}), failed: make(chan struct{}), subscribed: map[string]host.Subscription{}}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) traced() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.trace)
}

func (w *world) parts() parts {
	return parts{
		runtime: func(context.Context, *config.Config, *slog.Logger) (runtime, error) { return fakeRuntime{w}, nil },
		read:    func(*config.Config) read { return w.read },
		store: func(context.Context, *config.Config, *slog.Logger) (host.Store, error) {
			return fakeStore{w.mem, w}, nil
		},
		sink: func(c config.Sink) (host.Sink, error) {
			if c.Type != config.TypeFile {
				return nil, errors.New("type: \"" + c.Type + "\" is unknown\nurl: is missing")
			}
			return fakeSink{w}, nil
		},
	}
}

type fakeStore struct {
	*mem.Store
	w *world
}

func (s fakeStore) Append(ctx context.Context, rec *host.Record) (host.Receipt, error) {
	if s.w.appendAs != nil {
		return host.Receipt{}, s.w.appendAs
	}
	s.w.note("append %s", rec.Kind)
	return s.Store.Append(ctx, rec)
}

func (s fakeStore) Subscribe(ctx context.Context, sink string, want host.Subscription) error {
	s.w.mu.Lock()
	s.w.subscribed[sink] = want
	s.w.mu.Unlock()
	return s.Store.Subscribe(ctx, sink, want)
}

func (s fakeStore) Status(context.Context) (host.Status, error) {
	if why := s.w.full.Load(); why != nil {
		return host.Status{Engine: "fake", Full: *why}, nil
	}
	return host.Status{Engine: "fake", Segments: 1}, nil
}

func (s fakeStore) Failed() <-chan struct{} { return s.w.failed }

func (s fakeStore) Close() error {
	s.w.note("store closed")
	return nil
}

type fakeSink struct{ w *world }

func (s fakeSink) Deliver(_ context.Context, batch []host.Delivery) []error {
	for i := range batch {
		key := batch[i].Event.Subject
		if s.w.deliver != nil {
			s.w.deliver(key)
		}
		s.w.note("delivered %s", key)
	}
	return nil
}

func (s fakeSink) Close() error {
	s.w.note("sink closed")
	return nil
}

type fakeRuntime struct{ w *world }

func (r fakeRuntime) close(context.Context) error {
	r.w.note("runtime closed")
	return nil
}

// read finds a module that is its own name and, if set, its version.
func (w *world) read(ref string) (string, []byte, error) {
	if strings.HasPrefix(ref, "missing") {
		return "", nil, fmt.Errorf("there is no such module%w", none{})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return ref + ".wasm", []byte(ref + w.version), nil
}

// none is fs.ErrNotExist without its text.
type none struct{}

func (none) Error() string   { return "" }
func (none) Is(e error) bool { return e == fs.ErrNotExist }

func (r fakeRuntime) load(_ context.Context, code []byte) (*loaded, error) {
	text := string(code)
	r.w.mu.Lock()
	r.w.loads = append(r.w.loads, text)
	r.w.mu.Unlock()
	version := "ottu@0.1.0+sha256:000000000000"
	if _, v, ok := strings.Cut(text, " "); ok {
		version = "ottu@" + v
	}
	return &loaded{
		version: version, instances: func() int { return 1 },
		close: func(context.Context) error {
			r.w.note("freed %s", text)
			return nil
		},
		manifest: &wasm.Manifest{
			Name: "ottu", Methods: []string{"POST"}, UnableText: "keep",
			AckDecl: wasm.AckDecl{Status: 201, ContentType: "text/plain", Body: "OK"},
			Secrets: []wasm.Secret{{Name: "hmac-key", Use: "hmac-sha256", Form: "utf8"}},
		},
		bind: func(b wasm.Binding) (host.Plugin, []host.Token, error) {
			var wrong []error
			if len(b.Secrets["hmac-key"]) == 0 {
				wrong = append(wrong, errors.New("secrets.hmac-key: is not set"))
			}
			if len(b.Settings) > 0 {
				wrong = append(wrong, errors.New("settings.colour: is unknown"))
			}
			return fakePlugin(r), nil, errors.Join(wrong...)
		},
	}, nil
}

// fakePlugin does as the body says: "accept KEY", "reject" or anything else,
// which it fails on.
type fakePlugin struct{ w *world }

func (p fakePlugin) Handle(_ context.Context, cb *host.Callback) (host.Result, error) {
	verb, key, _ := strings.Cut(string(cb.Body), " ")
	if p.w.plugin != nil {
		p.w.plugin(key)
	}
	if verb == "reject" && p.w.mended.Load() {
		verb = "accept"
	}
	switch verb {
	case "accept":
		return host.Result{
			Verdict:  host.Accept,
			Evidence: []host.Evidence{{Secret: "hmac-key", Algorithm: host.HMACSHA256, Covers: host.CoversBody}},
			Events:   []host.Draft{{Type: "payment.succeeded", Status: "succeeded", Subject: key, Key: []string{key}}},
		}, nil
	case "reject":
		return host.Result{Verdict: host.Reject, Reason: host.NotVerified}, nil
	}
	return host.Result{}, host.Errorf(host.PluginFailed, "trapped")
}

func (p fakePlugin) Out() error {
	if why := p.w.out.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

// testConfig serves /in/acme/pay and /in/acme/tok/let-me-in, to one sink.
func testConfig(t *testing.T) *config.Config {
	t.Helper()
	c := config.Default()
	c.Intake.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Intake.MaxBody = 1024
	c.Intake.DrainTimeout = 10 * time.Second
	c.Intake.PublicURL = "https://hooks.example.com"
	c.Store.Path = t.TempDir()
	key := map[string][]config.Secret{"hmac-key": {config.NewSecret("k")}}
	c.Tenants = map[string]config.Tenant{"acme": {Endpoints: map[string]config.Endpoint{
		"pay": {Plugin: "ottu", Verification: config.Required, Secrets: key, PublicURL: c.Intake.PublicURL},
		"tok": {
			Plugin: "ottu", Verification: config.Required, Secrets: key, Token: []config.Secret{config.NewSecret("let-me-in")},
			Unable: config.Retry, RejectStatus: 403, Ack: config.Ack{Status: 202, ContentType: "application/json", Body: "{}"},
		},
	}}}
	c.Sinks = map[string]config.Sink{"erp": {
		Type: config.TypeFile, Concurrency: 1, Batch: 1, Timeout: 10 * time.Second, From: host.FromNow,
	}}
	return c
}

// running starts a server in w; it is stopped at the end of the test.
func (w *world) running(t *testing.T, cfg *config.Config) *Server {
	t.Helper()
	s, err := start(context.Background(), cfg, Options{Version: "1.2.3"}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(within(t)) })
	return s
}

// within is a context that ends long after everything here should have.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// post sends a callback on a connection of its own and returns the answer.
func post(s *Server, path, body string) (status int, answer string, err error) {
	return request(http.MethodPost, "http://"+s.Addr().String()+path, body)
}

func request(method, url, body string) (int, string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	req, err := http.NewRequest(method, url, bytes.NewBufferString(body))
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// overSocket asks the admin socket of a data directory.
func overSocket(t *testing.T, dir, method, route, body string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, admin.SocketName))
	}}}
	req, err := http.NewRequest(method, "http://localhost"+route, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// until waits for what is so sooner or later.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	ctx := within(t)
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("in vain waited until %s", what)
		}
	}
}
