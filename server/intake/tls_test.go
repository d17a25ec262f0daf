package intake

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// far bounds the certificates on both sides, for the clock of a bubble as well.
var farPast, farFuture = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: farPast, NotAfter: farFuture,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate for 127.0.0.1 with a serial number, and its key.
func (a *authority) issue(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: farPast, NotAfter: farFuture,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// identity is the files of a listener.
type identity struct{ cert, key, clientCA string }

func newIdentity(t *testing.T) identity {
	dir := t.TempDir()
	return identity{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "clients.pem")}
}

// put puts a file in another's place, as whoever renews certificates does.
func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func (id identity) put(t *testing.T, cert, key []byte) {
	t.Helper()
	put(t, id.cert, cert)
	put(t, id.key, key)
}

// over serves an intake by TLS.
func over(t *testing.T, limits Limits, cfg *tls.Config) *fixture {
	t.Helper()
	f := start(t, limits, func(f *fixture) { f.wrap = func(ln net.Listener) net.Listener { return tls.NewListener(ln, cfg) } })
	return f
}

// call sends a request by TLS and returns the answer and what was negotiated.
func (f *fixture) call(t *testing.T, cfg *tls.Config) (string, tls.ConnectionState, error) {
	t.Helper()
	c := tls.Client(f.dial(t), cfg)
	if _, err := io.WriteString(c, with("Connection: close")); err != nil {
		return "", tls.ConnectionState{}, err
	}
	got, err := io.ReadAll(c)
	return string(got), c.ConnectionState(), err
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, id := newAuthority(t), newIdentity(t)
	cert, key := ca.issue(t, 7)
	id.put(t, cert, key)
	cfg, err := TLS(id.cert, id.key, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := over(t, testLimits, cfg)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	got, state, err := f.call(t, client)
	if err != nil || !strings.HasPrefix(got, "HTTP/1.1 200 ") || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("answer = %q, %v by %q", got, err, state.NegotiatedProtocol)
	}
	if cbs := f.callbacks(); len(cbs) != 1 || cbs[0].Remote.String() != "127.0.0.1" {
		t.Errorf("callbacks = %+v, want one from 127.0.0.1", cbs)
	}
	for name, change := range map[string]func(*tls.Config){
		"TLS 1.1":       func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"HTTP/2 alone":  func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"no TLS at all": nil,
	} {
		if change == nil {
			if got := f.raw(t, with("Connection: close")); strings.Contains(got, " 200 ") {
				t.Errorf("%s: answer = %q", name, got)
			}
			continue
		}
		other := client.Clone()
		change(other)
		if got, _, err := f.call(t, other); err == nil {
			t.Errorf("%s: answer = %q, want none", name, got)
		}
	}
	if n := len(f.callbacks()); n != 1 {
		t.Errorf("%d callbacks, want no more than the first", n)
	}
}

func TestTLS_clientCertificate(t *testing.T) {
	t.Parallel()
	ca, clients, id := newAuthority(t), newAuthority(t), newIdentity(t)
	cert, key := ca.issue(t, 7)
	id.put(t, cert, key)
	put(t, id.clientCA, clients.pem)
	cfg, err := TLS(id.cert, id.key, id.clientCA, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := over(t, testLimits, cfg)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for name, row := range map[string]struct {
		from *authority
		ok   bool
	}{"none": {nil, false}, "another's": {ca, false}, "the right one": {clients, true}} {
		client := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
		if row.from != nil {
			own, err := tls.X509KeyPair(row.from.issue(t, 8))
			if err != nil {
				t.Fatal(err)
			}
			// Shown whatever the server asks for.
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
		}
		got, _, err := f.call(t, client)
		if ok := err == nil && strings.HasPrefix(got, "HTTP/1.1 200 "); ok != row.ok {
			t.Errorf("%s: answer = %q, %v, want let in %t", name, got, err, row.ok)
		}
	}
	if n := len(f.callbacks()); n != 1 {
		t.Errorf("%d callbacks, want 1", n)
	}
}

// serials asks a listener's configuration for its certificate.
func serial(t *testing.T, cfg *tls.Config) int64 {
	t.Helper()
	now, err := cfg.GetConfigForClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	return now.Certificates[0].Leaf.SerialNumber.Int64()
}

func TestTLS_reload(t *testing.T) {
	t.Parallel()
	ca, id := newAuthority(t), newIdentity(t)
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		cert, key := ca.issue(t, 1)
		id.put(t, cert, key)
		cfg, err := TLS(id.cert, id.key, "", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		cert2, key2 := ca.issue(t, 2)
		steps := []struct {
			name   string
			change func()
			after  time.Duration
			want   int64
			errors int
		}{
			{"looked at less than a second ago", func() { id.put(t, cert2, key2) }, time.Second - 1, 1, 0},
			{"a second later", func() {}, 1, 2, 0},
			{"nothing new", func() {}, time.Second, 2, 0},
			{"a key of another certificate", func() { put(t, id.key, key) }, time.Second, 2, 1},
			{"still, and logged already", func() {}, time.Hour, 2, 1},
			{"half a file", func() { put(t, id.key, key2[:50]) }, time.Second, 2, 2},
			{"no file", func() { _ = os.Remove(id.cert) }, time.Second, 2, 3},
			{"mended", func() { id.put(t, cert, key) }, time.Second, 1, 3},
			{"written in place", func() {
				longer := append([]byte("# the second\n"), cert2...)
				if err := os.WriteFile(id.cert, longer, 0o600); err != nil {
					t.Fatal(err)
				}
				put(t, id.key, key2)
			}, time.Second, 2, 3},
		}
		for _, s := range steps {
			s.change()
			<-time.After(s.after)
			for range 3 { // asked again at once, nothing changes
				if got := serial(t, cfg); got != s.want {
					t.Errorf("%s: certificate %d, want %d", s.name, got, s.want)
				}
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != s.errors {
				t.Errorf("%s: %d errors logged, want %d:\n%s", s.name, n, s.errors, &log)
			}
		}
		if strings.Contains(log.String(), "PRIVATE") {
			t.Errorf("the log shows a file: %s", &log)
		}
	})
}

// Files that could not be read once, and are the same ones still, are read when
// they can be.
func TestTLS_reloadTriesAgain(t *testing.T) {
	t.Parallel()
	ca, id := newAuthority(t), newIdentity(t)
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		cert, key := ca.issue(t, 1)
		id.put(t, cert, key)
		cfg, err := TLS(id.cert, id.key, "", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		cert2, key2 := ca.issue(t, 2)
		id.put(t, cert2, key2)
		// One that cannot be read looks the same as when it can; a test that
		// runs as root needs another way to have such a file.
		keep := func(content []byte) {
			if err := os.WriteFile(id.key, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(id.key, farPast, farPast); err != nil {
				t.Fatal(err)
			}
		}
		keep(bytes.Repeat([]byte("?"), len(key2)))
		for range 3 {
			<-time.After(time.Second)
			if got := serial(t, cfg); got != 1 {
				t.Errorf("with a key that cannot be read: certificate %d, want the old one", got)
			}
		}
		keep(key2)
		<-time.After(time.Second)
		if got := serial(t, cfg); got != 2 {
			t.Errorf("once the key can be read: certificate %d, want 2", got)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors logged, want 1:\n%s", n, &log)
		}
	})
}

func TestTLS_clientRootsReload(t *testing.T) {
	t.Parallel()
	ca, id := newAuthority(t), newIdentity(t)
	synctest.Test(t, func(t *testing.T) {
		cert, key := ca.issue(t, 1)
		id.put(t, cert, key)
		put(t, id.clientCA, ca.pem)
		cfg, err := TLS(id.cert, id.key, id.clientCA, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		before, _ := cfg.GetConfigForClient(nil)
		put(t, id.clientCA, newAuthority(t).pem)
		<-time.After(time.Second)
		after, _ := cfg.GetConfigForClient(nil)
		if before.ClientCAs.Equal(after.ClientCAs) {
			t.Error("the clients' roots are still the old ones")
		}
		if after.ClientAuth != tls.RequireAndVerifyClientCert || !after.SessionTicketsDisabled {
			t.Errorf("client certificates: %v, tickets off: %t", after.ClientAuth, after.SessionTicketsDisabled)
		}
	})
}

func TestTLS_errorsNameTheFile(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.issue(t, 1)
	_, other := ca.issue(t, 2)
	for name, row := range map[string]struct {
		cert, key, clientCA []byte
		want                string
	}{
		"no certificate":  {nil, key, ca.pem, "cert.pem"},
		"no key":          {cert, nil, ca.pem, "key.pem"},
		"no roots":        {cert, key, nil, "clients.pem"},
		"rubbish":         {[]byte("rubbish"), key, ca.pem, "cert.pem"},
		"another's key":   {cert, other, ca.pem, "key.pem"},
		"roots of no use": {cert, key, []byte("rubbish"), "clients.pem"},
	} {
		id := newIdentity(t)
		for path, content := range map[string][]byte{id.cert: row.cert, id.key: row.key, id.clientCA: row.clientCA} {
			if content != nil {
				put(t, path, content)
			}
		}
		_, err := TLS(id.cert, id.key, id.clientCA, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error = %v, want one that names %s", name, err, row.want)
		}
	}
}

// A handshake that is never finished is given up like a request.
func TestTLS_slowHandshakeIsClosed(t *testing.T) {
	t.Parallel()
	ca, id := newAuthority(t), newIdentity(t)
	cert, key := ca.issue(t, 1)
	id.put(t, cert, key)
	cfg, err := TLS(id.cert, id.key, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	limits := testLimits
	limits.Read = 50 * time.Millisecond
	f := over(t, limits, cfg)
	for name, wire := range map[string]string{
		"nothing":        "",
		"a byte":         "\x16",
		"half a hello":   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"a record begun": "\x16\x03\x01\x40\x00",
	} {
		if got := f.raw(t, wire); strings.Contains(got, "HTTP/1.1 200") { // returns when the server closes
			t.Errorf("%s: answer = %q", name, got)
		}
	}
	if len(f.callbacks()) != 0 {
		t.Error("a callback went through")
	}
}
