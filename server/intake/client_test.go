package intake

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestClient(t *testing.T) {
	t.Parallel()
	s := &Server{o: Options{TrustedProxies: prefixes("10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32")}}
	const proxy = "10.0.0.1"
	rows := []struct {
		name, peer string
		fields     []string
		want       string
	}{
		{"nobody between", "192.0.2.7", nil, "192.0.2.7"},
		{"a stranger names another", "192.0.2.7", []string{"X-Forwarded-For: 198.51.100.1"}, "192.0.2.7"},
		{"mapped to IPv6", "::ffff:192.0.2.7", nil, "192.0.2.7"},
		{"a proxy", proxy, []string{"X-Forwarded-For: 192.0.2.7"}, "192.0.2.7"},
		{"a proxy, mapped to IPv6", "::ffff:10.0.0.1", []string{"X-Forwarded-For: 192.0.2.7"}, "192.0.2.7"},
		{"in another case", proxy, []string{"x-forwarded-FOR: 192.0.2.7"}, "192.0.2.7"},
		{"what the client wrote stands on the left", proxy, []string{"X-Forwarded-For: 198.51.100.1, 192.0.2.7"}, "192.0.2.7"},
		{"proxies behind proxies", proxy, []string{"X-Forwarded-For: 198.51.100.1, 192.0.2.7, 10.0.0.2, 2001:db8::2"}, "192.0.2.7"},
		{"over several fields", proxy, []string{"X-Forwarded-For: 198.51.100.1", "X: y", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 10.0.0.2"}, "192.0.2.7"},
		{"the first field is the left one", proxy, []string{"X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 198.51.100.1"}, "198.51.100.1"},
		{"rubbish on the left does not matter", proxy, []string{"X-Forwarded-For: rubbish,, 192.0.2.7"}, "192.0.2.7"},
		{"rubbish on the way", proxy, []string{"X-Forwarded-For: 192.0.2.7, rubbish"}, ""},
		{"rubbish behind a proxy", proxy, []string{"X-Forwarded-For: 192.0.2.7, rubbish, 10.0.0.2"}, ""},
		{"an empty entry", proxy, []string{"X-Forwarded-For: 192.0.2.7,"}, ""},
		{"an empty field", proxy, []string{"X-Forwarded-For:"}, ""},
		{"an empty field on the right", proxy, []string{"X-Forwarded-For: 192.0.2.7", "X-Forwarded-For:"}, ""},
		{"unknown", proxy, []string{"X-Forwarded-For: unknown"}, ""},
		{"no field", proxy, nil, ""},
		{"proxies only", proxy, []string{"X-Forwarded-For: 10.0.0.3, 10.0.0.2"}, ""},
		{"no other field counts", proxy, []string{"X-Real-IP: 192.0.2.7", "Forwarded: for=192.0.2.7", "X_Forwarded_For: 192.0.2.7"}, ""},
		{"with a port", proxy, []string{"X-Forwarded-For: 192.0.2.7:4711"}, "192.0.2.7"},
		{"IPv6", proxy, []string{"X-Forwarded-For: 2001:db9::7"}, "2001:db9::7"},
		{"IPv6 in brackets", proxy, []string{"X-Forwarded-For: [2001:db9::7]"}, "2001:db9::7"},
		{"IPv6 with a port", proxy, []string{"X-Forwarded-For: [2001:db9::7]:4711"}, "2001:db9::7"},
		{"IPv4 as IPv6", proxy, []string{"X-Forwarded-For: ::ffff:192.0.2.7"}, "192.0.2.7"},
		{"a proxy as IPv6", proxy, []string{"X-Forwarded-For: 192.0.2.7, ::ffff:10.0.0.2"}, "192.0.2.7"},
		{"with a zone", proxy, []string{"X-Forwarded-For: fe80::1%eth0"}, ""},
		{"in brackets with a zone", proxy, []string{"X-Forwarded-For: [fe80::1%eth0]:1"}, ""},
		{"IPv4 in brackets", proxy, []string{"X-Forwarded-For: [192.0.2.7]"}, ""},
		{"half a bracket", proxy, []string{"X-Forwarded-For: [2001:db9::7"}, ""},
		{"a port of letters", proxy, []string{"X-Forwarded-For: 192.0.2.7:http"}, ""},
		{"an octet with a zero in front", proxy, []string{"X-Forwarded-For: 192.0.2.007"}, ""},
		{"a number", proxy, []string{"X-Forwarded-For: 3221225991"}, ""},
		{"a range", proxy, []string{"X-Forwarded-For: 192.0.2.0/24"}, ""},
		{"in quotes", proxy, []string{`X-Forwarded-For: "192.0.2.7"`}, ""},
		{"tabs and spaces", proxy, []string{"X-Forwarded-For: \t198.51.100.1 ,\t192.0.2.7 \t"}, "192.0.2.7"},
	}
	for _, r := range rows {
		raw := strings.Join(append(r.fields, "", ""), "\r\n")
		if len(r.fields) == 0 {
			raw = "\r\n"
		}
		want, _ := netip.ParseAddr(r.want)
		peer := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(r.peer), 1))
		if got := s.client(peer, []byte(raw)); got != want {
			t.Errorf("%s: client = %s, want %s", r.name, got, want)
		}
	}
	if got := s.client(&net.UnixAddr{}, []byte("\r\n")); got.IsValid() {
		t.Errorf("client on a socket without addresses = %s, want unknown", got)
	}
}

// The callback says who called, and a gate judges the same address.
func TestClient_behindAProxy(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, func(f *fixture) {
		f.o.TrustedProxies = prefixes("127.0.0.1/32")
		lookup := f.o.Lookup
		f.o.Lookup = func(tenant, name string) (Route, bool) {
			r, ok := lookup(tenant, name)
			r.Gate = NewGate(nil, prefixes("192.0.2.0/24"), Limit{})
			return r, ok
		}
	})
	for entry, status := range map[string]string{
		"192.0.2.7":                     "200",
		"198.51.100.1, 192.0.2.7":       "200",
		"192.0.2.7, 198.51.100.1":       "403",
		"192.0.2.7, 127.0.0.1, rubbish": "403",
	} {
		if got := f.raw(t, with("Connection: close\r\nX-Forwarded-For: "+entry)); !strings.HasPrefix(got, "HTTP/1.1 "+status+" ") {
			t.Errorf("%s: answer = %q, want %s", entry, got, status)
		}
	}
	got := f.callbacks()
	if len(got) != 2 {
		t.Fatalf("%d callbacks, want 2", len(got))
	}
	for _, cb := range got {
		if cb.Remote != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("remote = %s, want the client's", cb.Remote)
		}
	}
}
