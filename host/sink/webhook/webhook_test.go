package webhook

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

// The canaries: what must be in no error text.
const (
	canaryPath  = "canary-path-8d2e"
	canaryQuery = "canary-query-41c7"
	canaryToken = "canary-token-b90a"
)

// secret is the i-th signing secret of the tests.
func secret(i int) string {
	return sharedPrefix + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "canary signing secret of a test, %d", i))
}

func canaries() []string {
	return []string{canaryPath, canaryQuery, canaryToken, secret(0), secret(0)[len(sharedPrefix):]}
}

// receiver is an endpoint that checks every request and answers as it is told.
type receiver struct {
	t      *testing.T
	verify *standardwebhooks.Webhook

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request) (take bool)
	bodies [][]byte
}

func take(http.ResponseWriter, *http.Request) bool { return true }

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return code/100 == 2
	}
}

// refuseAndEcho sends back what came, as whoever debugs an endpoint does.
func refuseAndEcho(w http.ResponseWriter, r *http.Request) bool {
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = fmt.Fprintf(w, "%s %s %v\n%s", r.Method, r.URL, r.Header, secret(0))
	return false
}

func (r *receiver) set(answer func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) received(*testing.T) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.bodies...)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	if err := r.verify.Verify(body, req.Header); err != nil {
		r.t.Errorf("verify a request: %v", err)
	}
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if !answer(w, req) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, body)
}

// newReceiver starts one and returns a configuration that reaches it.
func newReceiver(t *testing.T) (*receiver, Config) {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(secret(0))
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, verify: verify, answer: take}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return r, configFor(srv.URL)
}

func configFor(base string) Config {
	return Config{
		URL:     base + "/" + canaryPath + "?key=" + canaryQuery,
		Secrets: []string{secret(0)}, AllowPrivate: true, Version: "1.2.3",
	}
}

func open(t *testing.T, c Config) *Sink {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// deliver delivers one event and returns its error, which holds no canary.
func deliver(t *testing.T, s *Sink) error {
	t.Helper()
	errs := s.Deliver(t.Context(), sinktest.Batch(0, 1))
	if len(errs) == 0 {
		return nil
	}
	for _, c := range canaries() {
		if strings.Contains(fmt.Sprintf("%v %#v", errs[0], errs[0]), c) {
			t.Error("the error text holds a canary")
		}
	}
	return errs[0]
}

func TestSink_conforms(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Kit{
		Secrets: canaries(),
		New: func(t *testing.T) (host.Sink, sinktest.Probe) {
			r, c := newReceiver(t)
			c.Headers = map[string]string{"Authorization": "Bearer " + canaryToken}
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			return s, sinktest.Probe{
				Received:      r.received,
				Refuse:        func(*testing.T) { r.set(refuseAndEcho) },
				Mend:          func(*testing.T) { r.set(take) },
				RefuseForGood: func(*testing.T) { r.set(status(http.StatusGone)) },
				Throttle: func(_ *testing.T, wait time.Duration) {
					r.set(status(http.StatusTooManyRequests, "Retry-After", strconv.Itoa(int(wait/time.Second))))
				},
				Hang: func(*testing.T) (<-chan struct{}, func()) {
					arrived, released := make(chan struct{}), make(chan struct{})
					var once, first sync.Once
					r.set(func(http.ResponseWriter, *http.Request) bool {
						first.Do(func() { close(arrived) })
						<-released
						return true
					})
					return arrived, func() { once.Do(func() { close(released) }) }
				},
			}
		},
	})
}

func TestSink_request(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	// The receiver knows the first secret only: the newest stands in front.
	c.Secrets = []string{secret(1), secret(0)}
	var got *http.Request
	r.set(func(_ http.ResponseWriter, req *http.Request) bool { got = req; return true })
	s := open(t, c)
	before := time.Now().Unix()
	if err := deliver(t, s); err != nil {
		t.Fatal(err)
	}
	ev := sinktest.Event(0)
	for name, want := range map[string]string{
		"Content-Type": "application/cloudevents+json",
		"User-Agent":   "Postern/1.2.3",
		"webhook-id":   ev.ID(),
	} {
		if values := got.Header.Values(name); len(values) != 1 || values[0] != want {
			t.Errorf("%s = %q, want once %q", name, values, want)
		}
	}
	if at, err := strconv.ParseInt(got.Header.Get("webhook-timestamp"), 10, 64); err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("webhook-timestamp = %q, want the time of the request", got.Header.Get("webhook-timestamp"))
	}
	if signatures := strings.Split(got.Header.Get("webhook-signature"), " "); len(signatures) != 2 || signatures[0] == signatures[1] {
		t.Errorf("webhook-signature = %q, want one for each of 2 secrets", signatures)
	}
	if got.Method != http.MethodPost || got.URL.Path != "/"+canaryPath || got.URL.RawQuery != "key="+canaryQuery {
		t.Errorf("requested %s %s", got.Method, got.URL)
	}
	verify, err := standardwebhooks.NewWebhook(secret(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify.Verify(r.received(t)[0], got.Header); err != nil {
		t.Errorf("verify with the other secret: %v", err)
	}
}

func TestSink_onlyGoneIsPermanent(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	s := open(t, c)
	for code := 200; code <= 599; code++ {
		r.set(status(code))
		err := deliver(t, s)
		if got, want := err == nil, code <= 299; got != want {
			t.Errorf("%d: error = %v, want success %v", code, err, want)
		}
		if got, want := host.IsPermanent(err), code == http.StatusGone; got != want {
			t.Errorf("%d: permanent = %v, want %v", code, got, want)
		}
		if err != nil && (!strings.Contains(err.Error(), fmt.Sprint(code)) || !strings.Contains(err.Error(), s.host)) {
			t.Errorf("%d: error %q does not name status and host", code, err)
		}
	}
}

func TestSink_followsNoRedirect(t *testing.T) {
	t.Parallel()
	elsewhere, other := newReceiver(t)
	r, c := newReceiver(t)
	s := open(t, c)
	for _, code := range []int{301, 302, 303, 307, 308} {
		r.set(status(code, "Location", other.URL))
		if err := deliver(t, s); err == nil || host.IsPermanent(err) {
			t.Errorf("%d: error = %v, want a transient one", code, err)
		}
	}
	if got := len(elsewhere.received(t)); got != 0 {
		t.Errorf("%d events went where the redirects point", got)
	}
}

func TestSink_keepsRetryAfter(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	s := open(t, c)
	for code, want := range map[int]time.Duration{
		429: time.Minute, 502: time.Minute, 503: time.Minute, 504: time.Minute,
		400: 0, 404: 0, 500: 0, 307: 0,
	} {
		r.set(status(code, "Retry-After", "60"))
		if got := host.AskedWait(deliver(t, s)); got != want {
			t.Errorf("%d: asked to wait %v, want %v", code, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"120":                           2 * time.Minute,
		"0":                             0,
		"":                              0,
		"-5":                            0,
		"soon":                          0,
		"1.5":                           0,
		"18446744073709551615":          maxAsked,
		"99999999999999999999999":       0,
		"Wed, 06 May 2026 07:09:09 GMT": time.Minute,
		"Wed, 06 May 2026 07:08:08 GMT": 0,
		"Fri, 06 May 2126 07:08:08 GMT": maxAsked,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestSink_batchGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	s := open(t, c)
	batch := sinktest.Batch(0, 3)
	bad := batch[1].Event.ID()
	r.set(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Header.Get("webhook-id") == bad {
			return status(http.StatusConflict)(w, req)
		}
		return true
	})
	errs := s.Deliver(t.Context(), batch)
	if len(errs) != 3 || errs[0] != nil || errs[1] == nil || errs[2] != nil {
		t.Errorf("errors = %v, want one for the second of three", errs)
	}
}

func TestSink_timeoutOfItsOwn(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	c.Timeout = 50 * time.Millisecond
	s := open(t, c)
	release := make(chan struct{})
	defer close(release)
	r.set(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	if err := deliver(t, s); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want a deadline", err)
	}
}

// TestSink_deadlineOfASlowHead has a server that never stops sending the head of
// its answer, a byte at a time.
func TestSink_deadlineOfASlowHead(t *testing.T) {
	t.Parallel()
	c := rawServer(t, func(c net.Conn, _ []byte) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for _, b := range []byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10000)) {
			<-tick.C
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
	})
	c.Timeout = 100 * time.Millisecond
	if err := deliver(t, open(t, c)); !errors.Is(err, context.DeadlineExceeded) || host.IsPermanent(err) {
		t.Errorf("error = %v, want a deadline", err)
	}
}

// body is an answer's body that is read through a function.
type body func([]byte) (int, error)

func (b body) Read(p []byte) (int, error) { return b(p) }

func TestRead_readsLittle(t *testing.T) {
	t.Parallel()
	n := 0
	got := read(body(func(p []byte) (int, error) { n += len(p); return len(p), nil }), func() {})
	if n > maxAnswer || len(got) != maxAnswer {
		t.Errorf("read %d bytes of an endless answer and kept %d, want %d", n, len(got), maxAnswer)
	}
}

func TestRead_waitsLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		read(body(func([]byte) (int, error) { <-ctx.Done(); return 0, ctx.Err() }), cancel)
		if took := time.Since(begun); took != drainTime {
			t.Errorf("waited %v for an answer that never ends, want %v", took, drainTime)
		}
	})
}

// rawServer hands every connection to serve, after one read of the request.
func rawServer(t *testing.T, serve func(c net.Conn, request []byte)) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				request := make([]byte, 64<<10)
				n, _ := c.Read(request)
				serve(c, request[:n])
			}()
		}
	}()
	return configFor("http://" + l.Addr().String())
}

func TestInvariant8_errorTextsHoldNoSecret(t *testing.T) {
	t.Parallel()
	tls := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, tc := range map[string]struct {
		c    Config
		want string
	}{
		"echo": {rawServer(t, func(c net.Conn, request []byte) { _, _ = c.Write(request) }), "did not answer in HTTP"},
		"echo in the head": {rawServer(t, func(c net.Conn, request []byte) {
			_, _ = c.Write(append([]byte("HTTP/1.1 200 OK\r\n"), request...))
		}), "did not answer in HTTP"},
		"echo as the reason": {rawServer(t, func(c net.Conn, request []byte) {
			line, _, _ := strings.Cut(string(request), "\r\n")
			_, _ = c.Write([]byte("HTTP/1.1 500 " + line + "\r\nContent-Length: 0\r\n\r\n"))
		}), "answered 500"},
		"endless head": {rawServer(t, func(c net.Conn, _ []byte) {
			_, err := c.Write([]byte("HTTP/1.1 200 OK\r\n"))
			for err == nil {
				_, err = c.Write([]byte("X-More: " + strings.Repeat("x", 1000) + "\r\n"))
			}
		}), "did not answer in HTTP"},
		"early hints without end": {rawServer(t, func(c net.Conn, _ []byte) {
			var err error
			for err == nil {
				_, err = c.Write([]byte("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"))
			}
		}), "did not answer in HTTP"},
		"silent end":         {rawServer(t, func(net.Conn, []byte) {}), ""},
		"refused":            {configFor(closed.URL), "connection refused"},
		"unknown authority":  {configFor(tls.URL), "the certificate is signed by an authority that is not trusted here"},
		"TLS to a plain one": {configFor(strings.Replace(plain.URL, "http:", "https:", 1)), "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := deliver(t, open(t, tc.c))
			if err == nil || host.IsPermanent(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want a transient one with %q", err, tc.want)
			}
		})
	}
}

func TestNew_refuses(t *testing.T) {
	t.Parallel()
	const canary = "canary-c0f3"
	good := Config{URL: "https://example.com/" + canary, Secrets: []string{secret(0)}}
	if _, err := New(good); err != nil {
		t.Fatalf("New of a good configuration: %v", err)
	}
	short := sharedPrefix + base64.StdEncoding.EncodeToString([]byte(canary))
	for name, tc := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"no url":         {func(c *Config) { c.URL = "" }, "url: must begin with"},
		"other scheme":   {func(c *Config) { c.URL = "ftp://example.com/" + canary }, "url: must begin with"},
		"no host":        {func(c *Config) { c.URL = "https:///" + canary }, "url: has no host"},
		"port only":      {func(c *Config) { c.URL = "https://:443/" + canary }, "url: has no host"},
		"userinfo":       {func(c *Config) { c.URL = "https://u:" + canary + "@example.com/" }, "url: must not hold a user"},
		"fragment":       {func(c *Config) { c.URL = "https://example.com/#" + canary }, "url: must not have a fragment"},
		"not a url":      {func(c *Config) { c.URL = "https://exa mple/" + canary }, "url: is not a URL"},
		"no secret":      {func(c *Config) { c.Secrets = nil }, "secrets: at least one"},
		"empty secret":   {func(c *Config) { c.Secrets = []string{""} }, "secrets[0]: must be"},
		"no prefix":      {func(c *Config) { c.Secrets = []string{strings.TrimPrefix(secret(0), sharedPrefix)} }, "secrets[0]: must be"},
		"short secret":   {func(c *Config) { c.Secrets = []string{secret(0), short} }, "secrets[1]: must be"},
		"not base64":     {func(c *Config) { c.Secrets = []string{sharedPrefix + canary + "!"} }, "secrets[0]: must be"},
		"two at a time":  {func(c *Config) { c.URL = ""; c.Secrets = nil }, "secrets: at least one"},
		"two, the other": {func(c *Config) { c.URL = ""; c.Secrets = nil }, "url: must begin with"},
	} {
		c := good
		tc.change(&c)
		_, err := New(c)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want %q", name, err, tc.want)
			continue
		}
		for _, secret := range append(canaries(), canary, short) {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error text holds a canary", name)
			}
		}
	}
}
