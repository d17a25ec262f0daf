package intake

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// crowd serves one connection at a time, by TLS or without, and returns who can
// call it.
func crowd(t *testing.T, secure bool) (*fixture, func(net.Conn) net.Conn) {
	t.Helper()
	limits := testLimits
	limits.Connections, limits.Read = 1, 100*time.Millisecond
	if !secure {
		return start(t, limits, nil), func(c net.Conn) net.Conn { return c }
	}
	ca, id := newAuthority(t), newIdentity(t)
	cert, key := ca.issue(t, 7)
	id.put(t, cert, key)
	cfg, err := TLS(id.cert, id.key, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	return over(t, limits, cfg), func(c net.Conn) net.Conn { return tls.Client(c, client) }
}

// What is not served is closed at once, even if its client says nothing, and
// whoever comes when there is room again is served.
func TestConnections_surplus(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, by := crowd(t, secure)
			silent, surplus := f.dial(t), f.dial(t)
			if got, err := io.ReadAll(surplus); err != nil || secure && len(got) > 0 {
				t.Fatalf("the second silent one read %q, %v, want it closed", got, err)
			}
			_, _ = io.ReadAll(silent) // returns when the server closes
			// fasthttp closes it a moment before it takes the next one.
			for status := 0; status != 200; {
				c := by(f.dial(t))
				if _, err := io.WriteString(c, with("Connection: close")); err != nil {
					continue
				}
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					continue
				}
				status = res.StatusCode
				_ = res.Body.Close()
			}
			if log := f.log.String(); strings.Count(log, "connections turned away") != 1 {
				t.Errorf("log = %s, want the connections that were turned away, once", log)
			}
		})
	}
}

// A silent connection that is not served does not hold up a drain.
func TestConnections_surplusAndDrain(t *testing.T) {
	t.Parallel()
	f, _ := crowd(t, true)
	f.dial(t)
	if _, err := io.ReadAll(f.dial(t)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := f.Drain(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("Drain = %v, its time: %v; want it to end before its time", err, ctx.Err())
	}
}
