package webhook

import (
	"net/http"
	"strings"
	"testing"
)

func TestSink_sendsHeaders(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	c.Headers = map[string]string{"authorization": "Bearer abc", "X_Tenant-Id": "a, b", "User-Agent": "own/1"}
	var got http.Header
	r.set(func(_ http.ResponseWriter, req *http.Request) bool { got = req.Header; return true })
	if err := deliver(t, open(t, c)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer abc", "X_tenant-Id": "a, b", "User-Agent": "own/1", "Content-Type": "application/cloudevents+json",
	} {
		if values := got.Values(name); len(values) != 1 || values[0] != want {
			t.Errorf("%s = %q, want once %q", name, values, want)
		}
	}
	if values, sent := got["Idempotency-Key"]; sent {
		t.Errorf("Idempotency-Key = %q, want none", values)
	}
}

func TestParseHeaders_refuses(t *testing.T) {
	t.Parallel()
	const canary = "canary-value-77e1"
	for _, name := range []string{
		"Host", "hOST", "Content-Length", "content-type", "Content-Encoding", "Transfer-Encoding", "transfer-encoding", "Connection",
		"TE", "te", "Upgrade", "HTTP2-Settings", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Trailer", "Expect",
		"Accept-Encoding", "webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "webhook-anything", "ce-id", "Idempotency-Key",
	} {
		if _, _, err := parseHeaders(map[string]string{name: canary}); err == nil || !strings.Contains(err.Error(), "headers."+name+": is set by the sink itself") {
			t.Errorf("%s: error = %v, want that the sink sets it", name, err)
		}
	}
	for _, name := range []string{"", " Host", "Host ", "Host:", "X\r\nHost", "X Y", "-x", "ß", "x.y", ":authority"} {
		if _, _, err := parseHeaders(map[string]string{name: canary}); err == nil || !strings.Contains(err.Error(), "is no name of a header") {
			t.Errorf("%q: error = %v, want that it is no name", name, err)
		}
	}
	for _, value := range []string{"", " ", "x ", "\tx", "x\r\nHost: y", "x\x00", "x\x7f", "x\ny", "ü"} {
		_, _, err := parseHeaders(map[string]string{"X": value})
		if err == nil || !strings.Contains(err.Error(), "headers.X: has a") {
			t.Errorf("%q: error = %v, want one of the value", value, err)
		}
	}
	_, _, err := parseHeaders(map[string]string{"X-a": canary, "x-A": canary, "Host": canary, "Y": canary + "\n"})
	for _, want := range []string{"headers.x-A: stands twice", "headers.Host: ", "headers.Y: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Error("the error text holds a value")
	}
}
