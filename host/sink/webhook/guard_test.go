package webhook

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern/postern/host"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for want, addrs := range map[bool]string{
		true: "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 " +
			"168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 " +
			"192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 ::ffff:1.1.1.1 " +
			"2001:200:: 2606:4700::1111 2a00:1450::8888 2003::1 3ffe::1",
		false: "0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 " +
			"168.63.129.16 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 " +
			"192.168.0.1 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 " +
			"239.255.255.255 240.0.0.1 255.255.255.255 " +
			":: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::a00:1 64:ff9b::1.1.1.1 " +
			"64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1:: " +
			"3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 2003::1%eth0 fec0::1 ff02::1 4000::1",
	} {
		for _, text := range strings.Fields(addrs) {
			if got := public(netip.MustParseAddr(text)); got != want {
				t.Errorf("public(%s) = %v, want %v", text, got, want)
			}
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}

func TestSink_refusesPrivateAddresses(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	c.AllowPrivate = false
	port := c.URL[strings.LastIndex(c.URL, ":"):]
	for _, name := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1.2.3"} {
		c.URL = "http://" + name + port
		err := deliver(t, open(t, c))
		var refused *addressError
		if !errors.As(err, &refused) || host.IsPermanent(err) {
			t.Errorf("%s: error = %v, want a transient refusal of the address", name, err)
		}
	}
	if got := len(r.received(t)); got != 0 {
		t.Errorf("%d requests arrived at a private address", got)
	}
}

func TestSink_client(t *testing.T) {
	t.Parallel()
	tr, ok := open(t, configFor("http://example.com")).clients.get().Transport.(*http.Transport)
	if !ok || tr == http.DefaultTransport {
		t.Fatal("the client has no transport of its own")
	}
	if tr.Proxy != nil {
		t.Error("the client may use a proxy: that would connect for it, past the guard")
	}
	if h := tr.HTTP2; h == nil || h.SendPingTimeout <= 0 || h.PingTimeout <= 0 || h.WriteByteTimeout <= 0 {
		t.Error("nothing tells the client that a connection of HTTP/2 is dead")
	}
	if tr.MaxResponseHeaderBytes != maxHeaders {
		t.Errorf("an answer's head may have %d bytes, want %d", tr.MaxResponseHeaderBytes, maxHeaders)
	}
}
