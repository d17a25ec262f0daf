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
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/valyala/fasthttp"

	"github.com/postern/postern/host"
)

var testLimits = Limits{Body: 1024, Read: 5 * time.Second, Write: 5 * time.Second, Idle: 5 * time.Second, Connections: 64}

// fixture is a served intake with one plain endpoint, one with a path token,
// and a fake Ingest.
type fixture struct {
	*Server
	addr   string
	log    *bytes.Buffer
	mu     sync.Mutex
	seen   []*host.Callback
	ingest func(*host.Callback) host.Answer
	codes  []host.Code
	served chan error
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
	f := &fixture{log: &bytes.Buffer{}, served: make(chan error, 1)}
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
					return Route{Endpoint: ep, Methods: []string{"POST", "PUT"}, PublicURL: "https://hooks.example.com"}, true
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
	go func() { f.served <- f.Serve(ln) }()
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

func TestHead_refused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head   string
		status string
	}{
		"length and encoding":       {post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "400"},
		"encoding and length":       {post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "400"},
		"two lengths":               {post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"two encodings":             {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"identity":                  {post + "Transfer-Encoding: identity\r\n\r\n", "400"},
		"identity and length":       {post + "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"gzip, chunked":             {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"},
		"signed length":             {post + "Content-Length: +3\r\n\r\nabc", "400"},
		"protocol 9.9":              {"POST /in/acme/pay HTTP/9.9\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"protocol 2.0":              {"POST /in/acme/pay HTTP/2.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"no protocol":               {"POST /in/acme/pay\r\nHost: a\r\n\r\n", "400"},
		"absolute target":           {"POST http://a/in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"asterisk":                  {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"authority":                 {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"double slash":              {"POST /in//acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"double slash in front":     {"POST //in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"dot segment":               {"POST /in/./acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"dot dot segment":           {"POST /x/../in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"dot dot at the end":        {"POST /in/acme/.. HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"encoded dots":              {"POST /x/%2e%2e/in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"encoded letter":            {"POST /in/acme/%70ay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"backslash":                 {"POST /in\\acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"path parameter":            {"POST /in/acme;x=1/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"fragment":                  {"POST /in/acme/pay?a=1#b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"raw byte in the query":     {"POST /in/acme/pay?a=\xff HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"folded field":              {post + "X-Sig: a\r\n b\r\nContent-Length: 0\r\n\r\n", "400"},
		"folded with a tab":         {post + "X-Sig: a\r\n\tb\r\nContent-Length: 0\r\n\r\n", "400"},
		"space before the colon":    {post + "X-Sig : a\r\nContent-Length: 0\r\n\r\n", "400"},
		"space in a name":           {post + "X Sig: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"no name":                   {post + ": a\r\nContent-Length: 0\r\n\r\n", "400"},
		"no colon":                  {post + "X-Sig\r\nContent-Length: 0\r\n\r\n", "400"},
		"control in a value":        {post + "X-Sig: a\x01b\r\nContent-Length: 0\r\n\r\n", "400"},
		"no host":                   {"POST /in/acme/pay HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "400"},
		"two hosts":                 {post + "Host: b\r\nContent-Length: 0\r\n\r\n", "400"},
		"body on GET":               {"GET /in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"chunked body on HEAD":      {"HEAD /in/acme/pay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"unknown method":            {"BREW /in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"encoding on HTTP/1.0":      {"POST /in/acme/pay HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"broken chunk":              {post + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", "400"},
		"head too large":            {post + "X-Sig: " + strings.Repeat("a", maxHead) + "\r\nContent-Length: 0\r\n\r\n", "431"},
		"body too large":            {post + "Content-Length: 1025\r\n\r\n", "413"},
		"chunked body too large":    {post + "Transfer-Encoding: chunked\r\n\r\n400\r\n" + strings.Repeat("a", 1024) + "\r\n1\r\n", "413"},
		"announced chunk too large": {post + "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", "413"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, testLimits, nil)
			got := f.raw(t, c.head+second)
			if !strings.HasPrefix(got, "HTTP/1.1 "+c.status+" ") {
				t.Fatalf("answer = %q, want status %s", got, c.status)
			}
			if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
				t.Errorf("%d answers, want the refusal alone:\n%s", n, got)
			}
			if !strings.Contains(got, "\r\nConnection: close\r\n") {
				t.Errorf("the connection is not closed:\n%s", got)
			}
			code := host.HeadMalformed
			if c.status == "413" {
				code = host.BodyTooLarge
			}
			want := string(host.Failure(code).Body)
			if c.head[:4] == "HEAD" {
				want = ""
			}
			if _, body, _ := strings.Cut(got, "\r\n\r\n"); body != want {
				t.Errorf("body = %q, want %q", body, want)
			}
			if cbs := f.callbacks(); len(cbs) != 0 {
				t.Errorf("%d callbacks went through: %+v", len(cbs), cbs[0])
			}
			if f.log.Len() != 0 {
				t.Errorf("log = %s, want nothing", f.log)
			}
			if diff := cmp.Diff([]host.Code{code}, f.codes); diff != "" {
				t.Errorf("refused codes (-want +got):\n%s", diff)
			}
		})
	}
}

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
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, limits, nil)
			got := f.raw(t, wire) // returns when the server closes
			if !strings.HasPrefix(got, "HTTP/1.1 408 ") || strings.Contains(got, "acme") {
				t.Errorf("answer = %q, want 408 without the request", got)
			}
			if len(f.callbacks()) != 0 {
				t.Error("a callback went through")
			}
		})
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
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

func TestCallback_asSent(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	gzipped := "\x1f\x8b\x08not really gzip"
	f.raw(t, "POST /in/acme/pay?b=2&a=%20 HTTP/1.1\r\nhOST: a\r\nx-sig:  one \r\nContent-Type: multipart/form-data; boundary=x\r\n"+
		"X-SIG: two\r\nContent-Encoding: gzip\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\nX-Empty:\r\n"+
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(gzipped), gzipped))
	want := &host.Callback{
		Method: "POST", Target: "/in/acme/pay?b=2&a=%20",
		PublicURL: "https://hooks.example.com/in/acme/pay?b=2&a=%20",
		Headers: []host.Header{
			{Name: "hOST", Value: "a"},
			{Name: "x-sig", Value: "one"},
			{Name: "Content-Type", Value: "multipart/form-data; boundary=x"},
			{Name: "X-SIG", Value: "two"},
			{Name: "Content-Encoding", Value: "gzip"},
			{Name: "X-Forwarded-For", Value: "10.0.0.1"},
			{Name: "Connection", Value: "close"},
			{Name: "X-Empty", Value: ""},
			{Name: "Content-Length", Value: fmt.Sprint(len(gzipped))},
		},
		Body:   []byte(gzipped),
		Remote: netip.MustParseAddr("127.0.0.1"),
	}
	got := f.callbacks()
	if len(got) != 1 {
		t.Fatalf("%d callbacks, want 1", len(got))
	}
	if diff := cmp.Diff(want, got[0], cmpopts.IgnoreFields(host.Callback{}, "Received"),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("callback (-want +got):\n%s", diff)
	}
	if d := time.Since(got[0].Received); d < 0 || d > time.Minute {
		t.Errorf("received %v ago", d)
	}
}

// A form with parts must not be taken apart on the way.
func TestCallback_multipartAsSent(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	body := "--x\r\nContent-Disposition: form-data;  name=a\r\n\r\n1\r\n--x--\r\ntail"
	f.raw(t, post+"Connection: close\r\nContent-Type: multipart/form-data; boundary=x\r\n"+
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
	if got := f.callbacks(); len(got) != 1 || string(got[0].Body) != body {
		t.Errorf("callbacks = %+v, want the body as sent", got)
	}
}

func TestCallback_trailerIsNoHeader(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	f.raw(t, post+"Connection: close\r\nTrailer: X-Sig\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sig: forged\r\n\r\n")
	got := f.callbacks()
	if len(got) != 1 || string(got[0].Body) != "abc" {
		t.Fatalf("callbacks = %+v, want the body abc", got)
	}
	if v, ok := got[0].Header("X-Sig", 0); ok {
		t.Errorf("X-Sig = %q, want none: it stood in the trailer", v)
	}
}

// poison overwrites everything in the server's buffers once the handler is
// through, as the next request would.
func poison(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	fill := func(b []byte) {
		for i := range b {
			b[i] = '#'
		}
	}
	return func(ctx *fasthttp.RequestCtx) {
		next(ctx)
		h := &ctx.Request.Header
		fill(h.RawHeaders())
		fill(h.Peek("X-Sig"))
		fill(h.Host())
		fill(h.Method())
		fill(h.RequestURI())
		fill(ctx.URI().PathOriginal())
		fill(ctx.Request.Body())
	}
}

func TestCallback_ownsItsMemory(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, func(f *fixture) {
		srv := f.app.Server()
		srv.Handler = poison(srv.Handler)
	})
	const n = 20
	for i := range n {
		f.raw(t, fmt.Sprintf("POST /in/acme/tok/secret%d?q=%d HTTP/1.1\r\nHost: a\r\nX-Sig: sig-%d\r\nConnection: close\r\nContent-Length: 7\r\n\r\nbody-%02d", i, i, i, i))
	}
	got := f.callbacks()
	if len(got) != n {
		t.Fatalf("%d callbacks, want %d", len(got), n)
	}
	for i, cb := range got {
		want := []string{"POST", fmt.Sprintf("/in/acme/tok/secret%d?q=%d", i, i), "X-Sig", fmt.Sprintf("sig-%d", i), fmt.Sprintf("body-%02d", i)}
		have := []string{cb.Method, cb.Target, cb.Headers[1].Name, cb.Headers[1].Value, string(cb.Body)}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("callback %d (-want +got):\n%s", i, diff)
		}
		if !strings.HasSuffix(cb.PublicURL, want[1]) {
			t.Errorf("public URL = %q", cb.PublicURL)
		}
	}
}

// Many connections that stay open share the server's buffers; nothing of one
// callback may show up in another.
func TestCallback_noCrossTalk(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, func(f *fixture) {
		srv := f.app.Server()
		srv.Handler = poison(srv.Handler)
	})
	const connections, requests = 16, 25
	var all sync.WaitGroup
	for i := range connections {
		c := f.dial(t)
		all.Go(func() {
			answers := bufio.NewReader(c)
			for j := range requests {
				id := fmt.Sprintf("%d-%d", i, j)
				fmt.Fprintf(c, "POST /in/acme/tok/%s HTTP/1.1\r\nHost: a\r\nX-Sig: %s\r\nContent-Length: %d\r\n\r\n%s", id, id, len(id), id)
				res, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
			}
		})
	}
	all.Wait()
	seen := make(map[string]bool)
	for _, cb := range f.callbacks() {
		id := string(cb.Body)
		sig, _ := cb.Header("X-Sig", 0)
		if sig != id || cb.Target != "/in/acme/tok/"+id {
			t.Errorf("target %q, X-Sig %q and body %q are of different callbacks", cb.Target, sig, id)
		}
		seen[id] = true
	}
	if len(seen) != connections*requests {
		t.Errorf("%d callbacks, want %d", len(seen), connections*requests)
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
