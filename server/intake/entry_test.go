package intake

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// What the head decides is answered before the body is there, and the rest of
// it is not waited for.
func TestEnter_beforeTheBody(t *testing.T) {
	t.Parallel()
	limits := testLimits
	limits.Body, limits.Read = 2<<20, time.Minute
	for name, c := range map[string]struct {
		line string
		code host.Code
		gate *Gate
	}{
		"unknown path":     {"POST /", host.EndpointUnknown, nil},
		"unknown endpoint": {"POST /in/acme/other", host.EndpointUnknown, nil},
		"unbound token":    {"POST /in/acme/pay/abc", host.EndpointUnknown, nil},
		"address":          {"POST /in/acme/pay", host.AddressRefused, NewGate(nil, prefixes("192.0.2.0/24"), Limit{})},
		"method":           {"DELETE /in/acme/pay", host.MethodNotAllowed, nil},
		"rate":             {"POST /in/acme/pay", host.RateLimited, NewGate(nil, nil, Limit{PerSecond: 1e-6})},
	} {
		c.gate.admit(known)
		for kind, rest := range map[string]string{
			"a length":   "Content-Length: 1048576\r\n\r\na",
			"chunks":     "Transfer-Encoding: chunked\r\n\r\n100000\r\na",
			"no chunks":  "Transfer-Encoding: chunked\r\n\r\n",
			"asked for":  "Expect: 100-continue\r\nContent-Length: 1048576\r\n\r\n",
			"and chunks": "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				f := start(t, limits, func(f *fixture) {
					f.methods = []string{"POST"}
					lookup := f.o.Lookup
					f.o.Lookup = func(tenant, name string) (Route, bool) {
						r, ok := lookup(tenant, name)
						r.Gate = c.gate
						return r, ok
					}
				})
				got := f.raw(t, c.line+" HTTP/1.1\r\nHost: a\r\n"+rest) // returns when the server closes
				status := fmt.Sprintf("HTTP/1.1 %d ", c.code.Status())
				if !strings.HasPrefix(got, status) || !strings.HasSuffix(got, string(host.Failure(c.code).Body)) || !strings.Contains(got, "\r\nConnection: close\r\n") {
					t.Errorf("answer = %q, want %s and a closed connection", got, c.code)
				}
				if diff := cmp.Diff([]host.Code{c.code}, f.codes); diff != "" || len(f.callbacks()) != 0 {
					t.Errorf("%d callbacks, codes (-want +got):\n%s", len(f.callbacks()), diff)
				}
			})
		}
	}
}

// Whoever waits to be asked for the body is counted once.
func TestEnter_expectationIsCountedOnce(t *testing.T) {
	t.Parallel()
	f := gated(t, NewGate(nil, nil, Limit{PerSecond: 1e-6, Burst: 2}), nil)
	c := f.dial(t)
	in := bufio.NewReader(c)
	var got []int
	for range 3 {
		fmt.Fprint(c, post+"Expect: 100-continue\r\n"+fixed)
		res, err := http.ReadResponse(in, nil)
		for err == nil && res.StatusCode == http.StatusContinue {
			res, err = http.ReadResponse(in, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		got = append(got, res.StatusCode)
	}
	if diff := cmp.Diff([]int{200, 200, 429}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if cbs := f.callbacks(); len(cbs) != 2 || string(cbs[1].Body) != "abc" {
		t.Errorf("callbacks = %+v, want two with their bodies", cbs)
	}
}
