package intake

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestGate_allows(t *testing.T) {
	t.Parallel()
	office := prefixes("192.0.2.0/24", "2001:db8::/32")
	one := prefixes("192.0.2.7/32")
	rows := []struct {
		name             string
		tenant, endpoint []netip.Prefix
		yes, no          []string
	}{
		{"no list", nil, nil, []string{"192.0.2.7", "198.51.100.1", "::1", ""}, nil},
		{"the tenant's", office, nil, []string{"192.0.2.7", "2001:db8::7"}, []string{"198.51.100.1", "2001:db9::7", ""}},
		{"the endpoint's", nil, one, []string{"192.0.2.7"}, []string{"192.0.2.8", "2001:db8::7", ""}},
		{"both", office, one, []string{"192.0.2.7"}, []string{"192.0.2.8", "198.51.100.1", ""}},
		{"two that share nobody", one, prefixes("198.51.100.0/24"), nil, []string{"192.0.2.7", "198.51.100.1", ""}},
		{"everybody that is known", prefixes("0.0.0.0/0"), nil, []string{"192.0.2.7"}, []string{"::1", ""}},
	}
	for _, r := range rows {
		g := NewGate(NewGate(nil, r.tenant, Limit{}), r.endpoint, Limit{})
		for want, list := range map[bool][]string{true: r.yes, false: r.no} {
			for _, s := range list {
				client, _ := netip.ParseAddr(s)
				if got := g.allows(client); got != want {
					t.Errorf("%s: %q allowed %t, want %t", r.name, s, got, want)
				}
			}
		}
	}
	var none *Gate
	if !none.allows(netip.Addr{}) || none.admit(known) != 0 || none.admit(stranger) != 0 {
		t.Error("no gate turned someone away")
	}
}

// waits draws from gates in turn and returns the seconds each was told to wait.
func waits(who caller, gates ...*Gate) []float64 {
	var out []float64
	for _, g := range gates {
		out = append(out, g.admit(who).Seconds())
	}
	return out
}

func TestGate_limits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant := NewGate(nil, nil, Limit{PerSecond: 0.5, Burst: 3})
		a := NewGate(tenant, nil, Limit{PerSecond: 1, Burst: 2})
		b := NewGate(tenant, nil, Limit{})
		steps := []struct {
			name  string
			after time.Duration
			gates []*Gate
			want  []float64
		}{
			{"the endpoint's burst, and then its second", 0, []*Gate{a, a, a, a}, []float64{0, 0, 1, 1}},
			{"what it was denied is left for the other", 0, []*Gate{b}, []float64{0}},
			{"the tenant's burst is gone, for both", 0, []*Gate{b, a}, []float64{2, 2}},
			{"what the tenant denied was not taken from the endpoint", 2 * time.Second, []*Gate{a, a}, []float64{0, 2}},
			{"and is back at its rate", 2 * time.Second, []*Gate{b, b}, []float64{0, 2}},
			{"never more than the burst", time.Hour, []*Gate{b, b, b, b}, []float64{0, 0, 0, 2}},
		}
		for _, s := range steps {
			<-time.After(s.after)
			if diff := cmp.Diff(s.want, waits(known, s.gates...)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", s.name, diff)
			}
		}
		// Who lacks the token has an own account.
		if diff := cmp.Diff([]float64{0, 0, 1}, waits(stranger, a, a, a)); diff != "" {
			t.Errorf("strangers (-want +got):\n%s", diff)
		}
	})
}

func TestGate_waitIsBounded(t *testing.T) {
	t.Parallel()
	g := NewGate(nil, nil, Limit{PerSecond: 1e-12})
	if diff := cmp.Diff([]float64{0, longest.Seconds()}, waits(known, g, g)); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

func TestGate_concurrent(t *testing.T) {
	t.Parallel()
	const burst = 50
	tenant := NewGate(nil, nil, Limit{PerSecond: 1e-6, Burst: burst})
	gates := []*Gate{
		NewGate(tenant, nil, Limit{PerSecond: 1e-6, Burst: burst - 10}),
		NewGate(tenant, nil, Limit{PerSecond: 1e-6, Burst: burst - 10}),
	}
	var in [2]atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				if gates[i%2].admit(known) == 0 {
					in[i%2].Add(1)
				}
			}
		})
	}
	all.Wait()
	a, b := in[0].Load(), in[1].Load()
	if a+b != burst || a > burst-10 || b > burst-10 {
		t.Errorf("let in %d and %d, want %d together and at most %d each", a, b, burst, burst-10)
	}
}

// gated serves a plain endpoint and one with a path token behind gates.
func gated(t *testing.T, plain, token *Gate) *fixture {
	t.Helper()
	return start(t, testLimits, func(f *fixture) {
		lookup := f.o.Lookup
		f.o.Lookup = func(tenant, name string) (Route, bool) {
			r, ok := lookup(tenant, name)
			r.Gate = plain
			if name == "tok" {
				r.Gate = token
				ep := *r.Endpoint
				ep.Tokens = []host.Token{{Name: "path", In: host.InPath, Values: [][]byte{[]byte("test-token-right")}}}
				r.Endpoint = &ep
			}
			return r, ok
		}
	})
}

// answers sends a request to each path in turn on one connection, and returns
// status and Retry-After of each.
func (f *fixture) answers(t *testing.T, paths ...string) []string {
	t.Helper()
	c := f.dial(t)
	in := bufio.NewReader(c)
	var out []string
	for _, path := range paths {
		fmt.Fprint(c, to(path))
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("Retry-After"))))
	}
	return out
}

func TestGate_refusesAnAddress(t *testing.T) {
	t.Parallel()
	f := gated(t, NewGate(nil, prefixes("192.0.2.0/24"), Limit{}), NewGate(nil, prefixes("127.0.0.0/8"), Limit{}))
	got := f.raw(t, "DELETE /in/acme/pay HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 403 ") || !strings.HasSuffix(got, `{"error":"address.refused"}`) {
		t.Errorf("answer = %q, want 403 address.refused", got)
	}
	// Nobody may name an address of their own.
	got = f.raw(t, with("Connection: close\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1"))
	if !strings.HasPrefix(got, "HTTP/1.1 403 ") {
		t.Errorf("answer with a header = %q, want 403", got)
	}
	if diff := cmp.Diff([]host.Code{host.AddressRefused, host.AddressRefused}, f.codes); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if n := len(f.callbacks()); n != 0 {
		t.Errorf("%d callbacks went through", n)
	}
	if diff := cmp.Diff([]string{"200"}, f.answers(t, "/in/acme/tok/test-token-right")); diff != "" {
		t.Errorf("the other endpoint (-want +got):\n%s", diff)
	}
}

func TestGate_limitsCallbacks(t *testing.T) {
	t.Parallel()
	f := gated(t, NewGate(nil, nil, Limit{PerSecond: 1e-6, Burst: 2}), nil)
	if diff := cmp.Diff([]string{"200", "200", "429 3600", "200"}, f.answers(t, "/in/acme/pay", "/in/acme/pay", "/in/acme/pay", "/in/acme/tok")); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if n := len(f.callbacks()); n != 3 {
		t.Errorf("%d callbacks, want 3", n)
	}
	if diff := cmp.Diff([]host.Code{host.RateLimited}, f.codes); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

// A flood of guesses at a path token must not lock out who knows it.
func TestGate_strangersDoNotUseItUp(t *testing.T) {
	t.Parallel()
	f := gated(t, nil, NewGate(nil, nil, Limit{PerSecond: 1e-6, Burst: 2}))
	guess, right := "/in/acme/tok/test-token-wrong", "/in/acme/tok/test-token-right"
	got := f.answers(t, guess, "/in/acme/tok", guess, guess, right, right, right)
	if diff := cmp.Diff([]string{"200", "200", "429 3600", "429 3600", "200", "200", "429 3600"}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}
