package webhook

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/host/sink/sinktest"
)

// envEverywhere is set in a process in which every address there is leads to
// its own loopback interface; see TestSSRF_everyAddressListens.
const envEverywhere = "POSTERN_TEST_EVERYWHERE"

// Nobody's addresses, of each range that is not public.
var (
	private4 = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.9.8.7 168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.254 " +
		"192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.254 198.51.100.1 203.0.113.1 " +
		"224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255"
	private6 = ":: ::1 64:ff9b:1::1 100::1 2001::1 2001:10::1 2001:20::1 2001:db8::1 2620:4f:8000::1 3fff::1 4000::1 5f00::1 " +
		"fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1"
	public4 = netip.MustParseAddr("8.8.8.8")
	public6 = netip.MustParseAddr("2606:4700::1111")
)

// target is one way to name an address that is not public.
type target struct {
	kind string
	addr netip.Addr
	// host is as it stands in a URL.
	host string
	// answers are what the name server has for it; none if it is no name.
	answers [][]netip.Addr
	// undialled says that no attempt to connect comes of it even where
	// everything is allowed: Go takes it neither for an address nor for a name.
	undialled bool
	// times is how often it is delivered to; zero means once.
	times int
}

// targets are all of them.
func targets() (out []target) {
	for text := range strings.FieldsSeq(private4) {
		out = append(out, spelt4(netip.MustParseAddr(text))...)
	}
	for text := range strings.FieldsSeq(private6) {
		out = append(out, spelt6(netip.MustParseAddr(text))...)
	}
	for text := range strings.FieldsSeq(private4 + " " + private6) {
		out = append(out, named(netip.MustParseAddr(text), len(out))...)
	}
	return out
}

// spelt4 are the spellings of an IPv4 address. What a C library would take for
// one, and Go for a name, the name server answers with the address.
func spelt4(a netip.Addr) []target {
	b := a.As4()
	n := binary.BigEndian.Uint32(b[:])
	wide := strings.NewReplacer(pairs('0', '０', 10)...)
	circled := strings.NewReplacer(append(pairs('1', '①', 9), "0", "⓪")...)
	percent := ""
	for _, c := range a.String() {
		percent += fmt.Sprintf("%%%02x", c)
	}
	spellings := []struct {
		kind, host string
		undialled  bool
	}{
		{"dotted", a.String(), false},
		{"trailing dot", a.String() + ".", true},
		{"decimal", strconv.FormatUint(uint64(n), 10), true},
		{"octal", fmt.Sprintf("0%o.0%o.0%o.0%o", b[0], b[1], b[2], b[3]), true},
		{"octal, one number", fmt.Sprintf("0%o", n), true},
		{"hex", fmt.Sprintf("0x%08x", n), false},
		{"hex, upper case", fmt.Sprintf("0X%08X", n), false},
		{"hex by bytes", fmt.Sprintf("0x%x.0x%x.0x%x.0x%x", b[0], b[1], b[2], b[3]), false},
		{"two numbers", fmt.Sprintf("%d.%d", b[0], n&0xffffff), true},
		{"three numbers", fmt.Sprintf("%d.%d.%d", b[0], b[1], n&0xffff), true},
		{"leading zeros", fmt.Sprintf("%04d.%04d.%04d.%04d", b[0], b[1], b[2], b[3]), true},
		{"full-width digits", wide.Replace(a.String()), false},
		{"full-width, ideographic stops", wide.Replace(strings.ReplaceAll(a.String(), ".", "。")), false},
		{"circled digits", circled.Replace(a.String()), false},
		{"percent-encoded", percent, true},
		{"behind a user", "8.8.8.8@" + a.String(), true},
		{"behind a backslash", `8.8.8.8\@` + a.String(), true},
		{"mapped", "[::ffff:" + a.String() + "]", false},
		{"mapped, hex", fmt.Sprintf("[::ffff:%x:%x]", n>>16, n&0xffff), false},
		{"mapped, long, upper case", fmt.Sprintf("[0000:0000:0000:0000:0000:FFFF:%04X:%04X]", n>>16, n&0xffff), false},
		{"mapped, with a zone", "[::ffff:" + a.String() + "%25lo]", false},
		{"compatible", "[::" + a.String() + "]", false},
		{"translated", "[::ffff:0:" + a.String() + "]", false},
		{"NAT64", "[64:ff9b::" + a.String() + "]", false},
		{"NAT64, local", "[64:ff9b:1::" + a.String() + "]", false},
		{"6to4", fmt.Sprintf("[2002:%x:%x::1]", n>>16, n&0xffff), false},
		{"Teredo", fmt.Sprintf("[2001:0:%x:%x::1]", n>>16, n&0xffff), false},
	}
	out := make([]target, len(spellings))
	for i, s := range spellings {
		out[i] = target{kind: s.kind, addr: a, host: s.host, undialled: s.undialled}
		if !strings.ContainsAny(s.host, "[%@") {
			out[i].answers = [][]netip.Addr{{a}}
		}
	}
	return out
}

// pairs replaces n digits from one by those from the other.
func pairs(from, to rune, n int) (out []string) {
	for i := range rune(n) {
		out = append(out, string(from+i), string(to+i))
	}
	return out
}

func spelt6(a netip.Addr) []target {
	return []target{
		{kind: "IPv6", addr: a, host: "[" + a.String() + "]"},
		{kind: "IPv6, long", addr: a, host: "[" + a.StringExpanded() + "]"},
		{kind: "IPv6, upper case", addr: a, host: "[" + strings.ToUpper(a.StringExpanded()) + "]"},
		{kind: "IPv6, with a zone", addr: a, host: "[" + a.String() + "%25lo]"},
	}
}

// named are the ways in which a name leads to an address.
func named(a netip.Addr, n int) []target {
	public := public4
	if a.Is6() {
		public = public6
	}
	ways := []target{
		{kind: "name", answers: [][]netip.Addr{{a}}},
		{kind: "public first", answers: [][]netip.Addr{{public, a}}},
		{kind: "public last", answers: [][]netip.Addr{{a, public}}},
		{kind: "rebinding", answers: [][]netip.Addr{{public}, {a}}, times: 2},
	}
	if a.Is4() {
		ways = append(ways, target{kind: "mapped in the answer", answers: [][]netip.Addr{{netip.AddrFrom16(a.As16())}}})
	} else {
		ways = append(ways, target{kind: "public IPv4 beside it", answers: [][]netip.Addr{{public4, a}}})
	}
	for i := range ways {
		ways[i].addr, ways[i].host = a, fmt.Sprintf("host-%d-%d.Example.TEST", n, i)
	}
	return ways
}

// trap is a listener that counts, and the dialer of a sink that is to fall into
// it.
type trap struct {
	port  string
	zone  *zone
	seen  atomic.Int64 // connections
	front string       // an address that is let through, as an allowed one

	mu     sync.Mutex
	passed []netip.Addr // what the sink's own guard let through
}

var errElsewhere = errors.New("let through by the guard, and not connected to by the test")

func newTrap(t *testing.T) *trap {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	tr := &trap{port: port, zone: newZone(t)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tr.seen.Add(1)
			_ = c.Close() // whoever reads from it knows by that that it is counted
		}
	}()
	return tr
}

// dialer is the sink's own, with the name server of the test, and with a guard
// of the test's behind its guard: what that lets through is noted, and connected
// to only where it leads to the listener.
func (tr *trap) dialer(allowPrivate bool) *net.Dialer {
	d := newDialer(allowPrivate)
	guard := d.Control
	d.Resolver = tr.zone.resolver()
	d.Control = func(network, address string, c syscall.RawConn) error {
		if address == tr.front {
			return nil
		}
		if guard != nil {
			if err := guard(network, address, c); err != nil {
				return err
			}
		}
		host, _, _ := net.SplitHostPort(address)
		host, _, _ = strings.Cut(host, "%")
		addr := netip.MustParseAddr(host).Unmap()
		tr.mu.Lock()
		tr.passed = append(tr.passed, addr)
		tr.mu.Unlock()
		here := addr.IsLoopback() || addr.IsUnspecified() || os.Getenv(envEverywhere) != ""
		if addr == public4 || addr == public6 || !here {
			return errElsewhere
		}
		return nil
	}
	return d
}

// count is how many connections the listener has seen, after one of the test's
// own that stands behind all of them in its queue.
func (tr *trap) count(t *testing.T) int64 {
	t.Helper()
	c, err := net.Dial("tcp", "127.0.0.1:"+tr.port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return tr.seen.Add(-1)
}

// tried are the addresses that the guard let through since the last call.
func (tr *trap) tried() []netip.Addr {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	out := tr.passed
	tr.passed = nil
	return out
}

// fire delivers to a target as a sink would. Addresses that are not public may
// be refused at any step.
func (tr *trap) fire(t *testing.T, d *net.Dialer, tg target) {
	t.Helper()
	if tg.answers != nil {
		tr.zone.set(tg.host, tg.answers...)
	}
	c := Config{URL: "http://" + tg.host + ":" + tr.port + "/", Secrets: []string{secret(0)}, Timeout: 5 * time.Second}
	s, err := newSink(c, d)
	if err != nil {
		return
	}
	for range max(tg.times, 1) {
		if errs := s.Deliver(t.Context(), sinktest.Batch(0, 1)); len(errs) == 0 {
			t.Errorf("%s %s: delivered", tg.kind, tg.host)
		}
	}
	_ = s.Close()
}

// isPublic is what the test takes for public.
func isPublic(a netip.Addr) bool { return a == public4 || a == public6 }

// TestSSRF_proxy has every variable that some program takes a proxy from. The
// proxy is at an address that is let through, as a public one would be. It stands
// before the others: net/http reads those variables once in a process.
func TestSSRF_proxy(t *testing.T) {
	tr := newTrap(t)
	tr.front = "127.0.0.1:" + tr.port
	for _, scheme := range []string{"http://", "https://", "socks5://", "socks5h://", ""} {
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "SOCKS_PROXY"} {
			t.Setenv(name, scheme+"127.0.0.1:"+tr.port)
			t.Setenv(strings.ToLower(name), scheme+"127.0.0.1:"+tr.port)
		}
		t.Setenv("NO_PROXY", "")
		t.Setenv("no_proxy", "")
		t.Setenv("REQUEST_METHOD", "")
		for _, url := range []string{"http://8.8.8.8:", "https://8.8.8.8:", "http://10.0.0.1:", "http://named.test:"} {
			tr.zone.set("named.test", []netip.Addr{netip.MustParseAddr("10.0.0.1")})
			s, err := newSink(Config{URL: url + tr.port, Secrets: []string{secret(0)}}, tr.dialer(false))
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Deliver(t.Context(), sinktest.Batch(0, 1))) == 0 {
				t.Errorf("%s was delivered to through %s", url, scheme)
			}
		}
	}
	if got := tr.count(t); got != 0 {
		t.Errorf("the listener saw %d connections as a proxy, want 0", got)
	}
	// With a proxy the guard sees the proxy's address alone.
	s, err := newSink(Config{URL: "http://10.0.0.1:1", Secrets: []string{secret(0)}}, tr.dialer(false))
	if err != nil {
		t.Fatal(err)
	}
	s.clients.current.Transport.(*http.Transport).Proxy = func(*http.Request) (*url.URL, error) {
		return url.Parse("http://127.0.0.1:" + tr.port)
	}
	s.Deliver(t.Context(), sinktest.Batch(0, 1))
	if got := tr.count(t); got == 0 {
		t.Error("with a proxy the listener saw nothing")
	}
}

// TestSSRF names addresses that are not public in every way there is. It is
// judged by a listener, and by what the guard let through where no listener can
// be; and for every target the same is done once more with everything allowed,
// which must arrive.
func TestSSRF(t *testing.T) {
	tr := newTrap(t)
	all := targets()
	if len(all) < 200 {
		t.Fatalf("%d targets, want at least 200", len(all))
	}
	guarded := tr.dialer(false)
	for _, tg := range all {
		tr.fire(t, guarded, tg)
		if tried := tr.tried(); slices.ContainsFunc(tried, func(a netip.Addr) bool { return !isPublic(a) }) {
			t.Errorf("%s %s: the guard let %v through", tg.kind, tg.host, tried)
		} else if tg.kind == "rebinding" && len(tried) == 0 {
			t.Errorf("%s %s: the first answer was not dialled", tg.kind, tg.host)
		}
	}
	if got := tr.count(t); got != 0 {
		t.Errorf("the listener saw %d connections of %d targets, want 0", got, len(all))
	}

	arrived, open, has6 := int64(0), tr.dialer(true), hasIPv6()
	for _, tg := range all {
		if !has6 && (tg.addr.Is6() || strings.HasPrefix(tg.host, "[")) {
			continue
		}
		tr.fire(t, open, tg)
		got := tr.count(t) - arrived
		arrived += got
		reached := slices.ContainsFunc(tr.tried(), func(a netip.Addr) bool { return !isPublic(a) })
		if reached == tg.undialled {
			t.Errorf("%s %s: with everything allowed dialled = %v, want %v", tg.kind, tg.host, reached, !tg.undialled)
		}
		if reached && got == 0 && listens(tg) {
			t.Errorf("%s %s: with everything allowed the listener saw nothing", tg.kind, tg.host)
		}
	}
	t.Logf("%d targets: 0 connections under guard, %d without", len(all), arrived)
}

// hasIPv6 says whether this machine speaks it.
func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// listens says that a connection to the target can be made from here at all.
func listens(tg target) bool {
	a := tg.addr
	if strings.HasPrefix(tg.host, "[") {
		literal, _ := url.PathUnescape(strings.Trim(tg.host, "[]"))
		a = netip.MustParseAddr(literal).Unmap()
	}
	switch {
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return false
	case a.IsLinkLocalUnicast() && a.Is6() && a.Zone() == "":
		return false
	}
	return os.Getenv(envEverywhere) != "" || a.IsLoopback() || a.IsUnspecified()
}

// TestSSRF_redirect has an allowed server that sends the sink elsewhere.
func TestSSRF_redirect(t *testing.T) {
	tr := newTrap(t)
	var location atomic.Value
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location.Load().(string))
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	t.Cleanup(front.Close)
	tr.front = front.Listener.Addr().String()
	redirected := func(s *Sink) (n int) {
		for _, tg := range targets() {
			if tg.answers != nil {
				tr.zone.set(tg.host, tg.answers...)
			}
			if tg.kind == "percent-encoded" {
				continue // no URL, nor Location
			}
			location.Store("http://" + tg.host + ":" + tr.port + "/")
			if len(s.Deliver(t.Context(), sinktest.Batch(0, 1))) == 0 {
				t.Errorf("%s %s: a redirect was taken for done", tg.kind, tg.host)
			}
			n++
		}
		return n
	}
	c := Config{URL: front.URL, Secrets: []string{secret(0)}}
	guarded, err := newSink(c, tr.dialer(false))
	if err != nil {
		t.Fatal(err)
	}
	n := redirected(guarded)
	if got, tried := tr.count(t), tr.tried(); got != 0 || len(tried) != 0 {
		t.Errorf("the listener saw %d connections after %d redirects, dialled %v; want none", got, n, tried)
	}
	// Followed, and guarded still: the second wall.
	guarded.clients.current.CheckRedirect = nil
	redirected(guarded)
	if got := tr.count(t); got != 0 {
		t.Errorf("with redirects followed the listener saw %d connections past the guard, want 0", got)
	}
	open, err := newSink(c, tr.dialer(true))
	if err != nil {
		t.Fatal(err)
	}
	open.clients.current.CheckRedirect = nil
	redirected(open)
	if got := tr.count(t); got == 0 {
		t.Errorf("with redirects followed and everything allowed the listener saw nothing")
	} else {
		t.Logf("%d redirects: 0 connections under guard, %d without", n, got)
	}
}
