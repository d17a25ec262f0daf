package intake

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/host"
)

func TestCallback_asSent(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	gzipped := "\x1f\x8b\x08not really gzip"
	f.raw(t, "POST /in/acme/pay?b=2&a=%20 HTTP/1.1\r\nhOST: a\r\nx-sig:  one \r\nContent-Type: multipart/form-data; boundary=x\r\n"+
		"VIA: two\r\nvia: three\r\nContent-Encoding: gzip\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\nX-Empty:\r\n"+
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(gzipped), gzipped))
	want := &host.Callback{
		Method: "POST", Target: "/in/acme/pay?b=2&a=%20",
		PublicURL: "https://hooks.example.com/in/acme/pay?b=2&a=%20",
		Headers: []host.Header{
			{Name: "hOST", Value: "a"},
			{Name: "x-sig", Value: "one"},
			{Name: "Content-Type", Value: "multipart/form-data; boundary=x"},
			{Name: "VIA", Value: "two"},
			{Name: "via", Value: "three"},
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
