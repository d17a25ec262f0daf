package intake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

var testLimits = Limits{Body: 1024, Read: 5 * time.Second, Write: 5 * time.Second, Idle: 5 * time.Second, Connections: 64}

// fixture is a served intake with one plain endpoint, one with a path token,
// and a fake Ingest.
type fixture struct {
	*Server
	addr    string
	log     *bytes.Buffer
	mu      sync.Mutex
	seen    []*host.Callback
	ingest  func(*host.Callback) host.Answer
	codes   []host.Code
	methods []string
	served  chan error
	wrap    func(net.Listener) net.Listener
}

func (f *fixture) callbacks() []*host.Callback {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func start(t *testing.T, limits Limits, mend func(*fixture)) *fixture {
	t.Helper()
	f := &fixture{log: &bytes.Buffer{}, methods: methods, served: make(chan error, 1)}
	f.ingest = func(*host.Callback) host.Answer {
		return host.Answer{ContentType: "application/json", Body: []byte(`{"status":"OK"}`)}
	}
	plain := &host.Endpoint{Tenant: "acme", Name: "pay"}
	token := &host.Endpoint{Tenant: "acme", Name: "tok", Tokens: []host.Token{{Name: "path", In: host.InPath}}}
	var err error
	f.Server, err = New(Options{
		Limits: limits,
		Lookup: func(tenant, name string) (Route, bool) {
			for _, ep := range []*host.Endpoint{plain, token} {
				if ep.Tenant == tenant && ep.Name == name {
					return Route{Endpoint: ep, Methods: f.methods, PublicURL: "https://hooks.example.com"}, true
				}
			}
			return Route{}, false
		},
		Ingest: func(_ context.Context, _ *host.Endpoint, cb *host.Callback) host.Answer {
			f.mu.Lock()
			f.seen = append(f.seen, cb)
			f.mu.Unlock()
			return f.ingest(cb)
		},
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: f.log}, nil)),
		Refused: func(c host.Code) {
			f.mu.Lock()
			f.codes = append(f.codes, c)
			f.mu.Unlock()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if mend != nil {
		mend(f)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	served := ln
	if f.wrap != nil {
		served = f.wrap(ln)
	}
	go func() { f.served <- f.Serve(served) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := f.Drain(ctx); err != nil {
			t.Error(err)
		}
		_ = ln.Close()
	})
	return f
}

func (f *fixture) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// raw writes wire and reads until the server closes.
func (f *fixture) raw(t *testing.T, wire string) string {
	t.Helper()
	c := f.dial(t)
	if _, err := io.WriteString(c, wire); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil && len(got) == 0 {
		t.Fatalf("read the answer: %v", err)
	}
	return string(got)
}

const post = "POST /in/acme/pay HTTP/1.1\r\nHost: a\r\n"

// The second request must never be answered after a refused first one.
const second = "POST /in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nConnection: close\r\n\r\nSECOND"

// A refusal must not depend on the body's arrival.
func TestBody_tooLargeWithoutReading(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	c := f.dial(t)
	fmt.Fprintf(c, "%sContent-Length: 1073741824\r\n\r\n", post)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("status = %d, want 413", res.StatusCode)
	}
}

func TestBody_atTheLimit(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	body := strings.Repeat("a", testLimits.Body)
	got := f.raw(t, post+"Connection: close\r\nContent-Length: 1024\r\n\r\n"+body)
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") || len(f.callbacks()) != 1 || string(f.callbacks()[0].Body) != body {
		t.Errorf("answer = %q, want the callback taken", got)
	}
}

func TestRead_slowIsClosed(t *testing.T) {
	t.Parallel()
	limits := testLimits
	limits.Read = 50 * time.Millisecond
	for name, wire := range map[string]string{
		"head":      "POST /in/acme/pay HTT",
		"body":      post + "Content-Length: 10\r\n\r\nabc",
		"bare LFs":  "POST /in/acme/pay HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
		"no ending": post,
		"chunk":     chunks + "a\r\nabc",
		"end":       chunks + "3\r\nabc\r\n0\r\n",
		"CRs":       "POST /in/acme/pay HTTP/1.1\rHost: a\r\r",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, limits, nil)
			got := f.raw(t, wire) // returns when the server closes
			status := "408"
			if name == "end" {
				status = "400" // fasthttp does not say that it waited
			}
			if !strings.HasPrefix(got, "HTTP/1.1 "+status+" ") || strings.Contains(got, "acme") {
				t.Errorf("answer = %q, want %s without the request", got, status)
			}
			if len(f.callbacks()) != 0 {
				t.Error("a callback went through")
			}
		})
	}
}

// Bytes that keep coming do not put the end off.
func TestRead_endlessIsClosed(t *testing.T) {
	t.Parallel()
	limits := testLimits
	limits.Read, limits.Body = 50*time.Millisecond, 1<<30
	for name, wire := range map[string]string{
		"body":  post + "Content-Length: 1000000000\r\n\r\n",
		"chunk": chunks + "3fffffff\r\n",
		"lines": "", // in front of a request
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, limits, nil)
			c := f.dial(t)
			fmt.Fprint(c, wire)
			go func() {
				for {
					if _, err := c.Write([]byte("\n")); err != nil {
						return
					}
				}
			}()
			got, _ := io.ReadAll(c) // returns when the server closes
			if len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 4") {
				t.Errorf("answer = %q, want a refusal", got)
			}
			if len(f.callbacks()) != 0 {
				t.Error("a callback went through")
			}
		})
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, func(f *fixture) { f.methods = []string{"POST", "PUT"} })
	for name, c := range map[string]struct {
		line   string
		status int
		code   host.Code
		allow  string
	}{
		"endpoint":            {"POST /in/acme/pay", 200, 0, ""},
		"with a query":        {"PUT /in/acme/pay?a=%2f", 200, 0, ""},
		"with a token":        {"POST /in/acme/tok/abc=+", 200, 0, ""},
		"token left out":      {"POST /in/acme/tok", 200, 0, ""},
		"unknown tenant":      {"POST /in/other/pay", 404, host.EndpointUnknown, ""},
		"unknown endpoint":    {"POST /in/acme/other", 404, host.EndpointUnknown, ""},
		"unbound token":       {"POST /in/acme/pay/abc", 404, host.EndpointUnknown, ""},
		"slash at the end":    {"POST /in/acme/pay/", 404, host.EndpointUnknown, ""},
		"slash for a token":   {"POST /in/acme/tok/", 404, host.EndpointUnknown, ""},
		"too deep":            {"POST /in/acme/tok/a/b", 404, host.EndpointUnknown, ""},
		"other case":          {"POST /IN/acme/pay", 404, host.EndpointUnknown, ""},
		"root":                {"POST /", 404, host.EndpointUnknown, ""},
		"method not in there": {"DELETE /in/acme/pay", 405, host.MethodNotAllowed, "POST, PUT"},
		"GET of an unknown":   {"GET /in/acme/other", 404, host.EndpointUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := f.raw(t, c.line+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			want := `{"status":"OK"}`
			if c.status != 200 {
				want = string(host.Failure(c.code).Body)
			}
			if res.StatusCode != c.status || string(body) != want {
				t.Errorf("answer = %d %s, want %d %s", res.StatusCode, body, c.status, want)
			}
			if got := res.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("content type = %q", got)
			}
			if got := res.Header.Get("Allow"); got != c.allow {
				t.Errorf("allow = %q, want %q", got, c.allow)
			}
			if res.Header.Get("Server") != "" {
				t.Error("the server names itself")
			}
		})
	}
}

func TestAnswer_written(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	for name, c := range map[string]struct {
		answer host.Answer
		want   []string
		not    string
	}{
		"empty":       {host.Answer{Status: 201}, []string{"HTTP/1.1 201 ", "Content-Length: 0\r\n"}, "Content-Type"},
		"exact":       {host.Answer{ContentType: "text/plain", Body: []byte("OK\n")}, []string{"HTTP/1.1 200 ", "Content-Type: text/plain\r\n", "\r\n\r\nOK\n"}, "Retry-After"},
		"retry after": {host.Answer{Status: 503, RetryAfter: 1500 * time.Millisecond}, []string{"HTTP/1.1 503 ", "Retry-After: 2\r\n"}, ""},
		"too soon":    {limited(time.Nanosecond), []string{"HTTP/1.1 429 ", "Retry-After: 1\r\n", `{"error":"rate.limited"}`}, "Content-Length: 0"},
		"close":       {host.Answer{Close: true}, []string{"Connection: close\r\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f.ingest = func(*host.Callback) host.Answer { return c.answer }
			got := f.raw(t, post+"Connection: close\r\nContent-Length: 0\r\n\r\n")
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("answer = %q, want %q in it", got, w)
				}
			}
			if c.not != "" && strings.Contains(got, c.not) {
				t.Errorf("answer = %q, want no %q", got, c.not)
			}
		})
	}
}

func TestInvariant1_panicIsOurFailure(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	f.ingest = func(cb *host.Callback) host.Answer { panic("text of " + string(cb.Body)) }
	got := f.raw(t, post+"X-Sig: hunter2\r\nContent-Length: 7\r\n\r\nhunter3"+second)
	if !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Retry-After: 5\r\n") || !strings.HasSuffix(got, `{"error":"internal"}`) {
		t.Errorf("answer = %q, want the uniform 503", got)
	}
	if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
		t.Errorf("%d answers, want 1", n)
	}
	if log := f.log.String(); !strings.Contains(log, "intake panicked") || strings.Contains(log, "hunter") || strings.Contains(log, "acme") {
		t.Errorf("log = %s, want the panic without the request", log)
	}
}

// Neither an answer nor the log quotes anything of a request that could not be
// read or routed.
func TestInvariant8_nothingIsQuoted(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string]string{
		"path":     "POST /in/acme/hunter2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"route":    "POST /hunter2?hunter2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"encoding": post + "Transfer-Encoding: hunter2\r\n\r\n",
		"header":   post + "hunter2\r\n\r\n",
		"line":     "hunter2 hunter2 hunter2\r\n\r\n",
		"uri":      "POST hunter2 HTTP/1.1\r\nHost: a\r\n\r\n",
		"host":     "POST / HTTP/1.1\r\nHost: hunter2[\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"chunk":    post + "Transfer-Encoding: chunked\r\n\r\nhunter2\r\n",
		"length":   post + "Content-Length: hunter2\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, testLimits, nil)
			got := f.raw(t, wire)
			if !strings.Contains(got, `{"error":"`) || strings.Contains(got, "hunter2") {
				t.Errorf("answer = %q, want a uniform one", got)
			}
			if strings.Contains(f.log.String(), "hunter2") {
				t.Errorf("log = %s", f.log)
			}
		})
	}
}

func TestInvariant12_drain(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	inside, release := make(chan struct{}), make(chan struct{})
	f.ingest = func(*host.Callback) host.Answer {
		close(inside)
		<-release
		return host.Answer{Body: []byte("durable")}
	}
	late := f.dial(t)
	fmt.Fprintf(late, "POST /in/acme/pay HTTP/1.1\r\n") // a head that has begun keeps its connection
	first := f.dial(t)
	fmt.Fprintf(first, "%sContent-Length: 0\r\n\r\n", post)
	<-inside

	drained := make(chan error, 1)
	go func() { drained <- f.Drain(t.Context()) }()
	if err := <-f.served; err != nil { // the listener is closed: the drain has begun
		t.Errorf("Serve = %v, want nil after a drain", err)
	}
	fmt.Fprintf(late, "Host: a\r\nContent-Length: 0\r\n\r\n")
	got, _ := io.ReadAll(late)
	if !strings.HasPrefix(string(got), "HTTP/1.1 503 ") || !strings.Contains(string(got), "server.draining") || !strings.Contains(string(got), "Connection: close") {
		t.Errorf("a new callback = %q, want 503 and a closed connection", got)
	}
	select {
	case err := <-drained:
		t.Fatalf("Drain = %v while a callback is under way", err)
	default:
	}
	close(release)
	if got, _ := io.ReadAll(first); !strings.HasSuffix(string(got), "durable") {
		t.Errorf("the callback under way = %q, want its answer", got)
	}
	if err := <-drained; err != nil {
		t.Errorf("Drain = %v", err)
	}
	if _, err := net.Dial("tcp", f.addr); err == nil {
		t.Error("the port is still open")
	}
}

func TestInvariant12_drainOutOfTime(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	f := start(t, testLimits, nil)
	inside := make(chan struct{})
	f.ingest = func(*host.Callback) host.Answer {
		close(inside)
		<-release
		return host.Answer{}
	}
	fmt.Fprintf(f.dial(t), "%sContent-Length: 0\r\n\r\n", post)
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := f.Drain(ctx); err == nil {
		t.Error("Drain = nil with a callback under way: the store would be closed under it")
	}
	if !errors.Is(f.ctx.Err(), context.Canceled) {
		t.Error("the callback was not told to give up")
	}
	close(release)
}

func TestNew_zeroLimits(t *testing.T) {
	t.Parallel()
	for name, zero := range map[string]func(*Limits){
		"body":        func(l *Limits) { l.Body = 0 },
		"read":        func(l *Limits) { l.Read = 0 },
		"write":       func(l *Limits) { l.Write = 0 },
		"idle":        func(l *Limits) { l.Idle = 0 },
		"connections": func(l *Limits) { l.Connections = 0 },
	} {
		limits := testLimits
		zero(&limits)
		if _, err := New(Options{Limits: limits}); err == nil {
			t.Errorf("New with %s at zero = nil", name)
		}
	}
}
