package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/host/sink/sinktest"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue makes a certificate for a name, with its serial number, and its key.
func (a *authority) issue(t *testing.T, serial int64, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &private.PublicKey, a.key)
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

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// guardedServer asks for certificates of the authority and says whose it saw.
func guardedServer(t *testing.T, a *authority, name string, seen *[]int64) string {
	t.Helper()
	pair, err := tls.X509KeyPair(a.issue(t, 2, name))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the sink speaks %s, want HTTP/2", r.Proto)
		}
		*seen = append(*seen, r.TLS.PeerCertificates[0].SerialNumber.Int64())
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestSink_showsItsCertificate(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	files := TLS{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "ca"), ServerName: "ledger.test"}
	renew := func(serial int64) {
		cert, key := a.issue(t, serial, "postern.test")
		write(t, files.Cert, cert)
		write(t, files.Key, key)
	}
	renew(7)
	write(t, files.CA, a.pem)
	var seen []int64
	c := configFor(guardedServer(t, a, "ledger.test", &seen))
	c.TLS = files
	var logged bytes.Buffer
	c.Log = slog.New(slog.NewTextHandler(&logged, nil))
	s := open(t, c)
	later := func() { s.clients.looked = time.Time{} }
	must := func() {
		t.Helper()
		if err := deliver(t, s); err != nil {
			t.Errorf("Deliver: %v", err)
		}
	}
	must()
	renew(8)
	s.clients.looked = time.Now().Add(time.Hour)
	must() // not looked at again yet
	later()
	must()
	// The key does not fit: it is to be replaced in a moment.
	newer, key := a.issue(t, 9, "postern.test")
	write(t, files.Cert, newer)
	later()
	must()
	later()
	must()
	write(t, files.Key, key)
	later()
	must()
	if err := os.Remove(files.CA); err != nil {
		t.Fatal(err)
	}
	later()
	must()
	// Another root: the receiver is not trusted any more, on no connection.
	write(t, files.CA, newAuthority(t).pem)
	later()
	if err := deliver(t, s); err == nil || !strings.Contains(err.Error(), "authority that is not trusted") {
		t.Errorf("error under another root = %v, want that it is not trusted", err)
	}
	if got, want := len(seen), 7; got != want {
		t.Fatalf("%d requests arrived, want %d", got, want)
	}
	for i, want := range []int64{7, 7, 8, 8, 8, 9, 9} {
		if seen[i] != want {
			t.Errorf("request %d showed certificate %d, want %d", i, seen[i], want)
		}
	}
	text := logged.String()
	for want, n := range map[string]int{"were read again": 3, "still the old ones": 2, "tls.cert": 1, "tls.ca": 1} {
		if got := strings.Count(text, want); got != n {
			t.Errorf("logged %q %d times, want %d:\n%s", want, got, n, text)
		}
	}
}

func TestSink_checksTheServer(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	files := TLS{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "ca")}
	cert, key := a.issue(t, 7, "postern.test")
	write(t, files.Cert, cert)
	write(t, files.Key, key)
	write(t, files.CA, a.pem)
	var seen []int64
	url := guardedServer(t, a, "ledger.test", &seen)
	for name, tc := range map[string]struct {
		files TLS
		want  string
	}{
		"another name":    {TLS{files.Cert, files.Key, files.CA, "bank.test"}, "is for another host"},
		"the URL's host":  {files, "is for another host"},
		"no root":         {TLS{files.Cert, files.Key, "", "ledger.test"}, "authority that is not trusted"},
		"no certificate":  {TLS{"", "", files.CA, "ledger.test"}, "post to "},
		"everything fits": {TLS{files.Cert, files.Key, files.CA, "ledger.test"}, ""},
	} {
		c := configFor(url)
		c.TLS = tc.files
		err := deliver(t, open(t, c))
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want %q", name, err, tc.want)
		}
	}
	if len(seen) != 1 {
		t.Errorf("%d requests arrived, want 1", len(seen))
	}
}

func TestNew_refusesTLS(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	cert, key, empty := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "empty")
	certPEM, _ := a.issue(t, 7, "a.test")
	_, keyPEM := a.issue(t, 8, "b.test")
	write(t, cert, certPEM)
	write(t, key, keyPEM)
	write(t, empty, nil)
	for name, tc := range map[string]struct {
		url   string
		files TLS
		want  string
	}{
		"no key":         {"https://x", TLS{Cert: cert}, "tls.key: is missing"},
		"no certificate": {"https://x", TLS{Key: key}, "tls.cert: is missing"},
		"http":           {"http://x", TLS{ServerName: "x"}, "tls: needs an https url"},
		"another's key":  {"https://x", TLS{Cert: cert, Key: key}, "tls.cert: use " + cert},
		"no file":        {"https://x", TLS{CA: filepath.Join(dir, "none")}, "tls.ca: open " + dir},
		"no roots":       {"https://x", TLS{CA: empty}, "tls.ca: " + empty + " holds no certificate"},
	} {
		_, err := New(Config{URL: tc.url, Secrets: []string{secret(0)}, TLS: tc.files})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want %q", name, err, tc.want)
		}
	}
}

// TestSink_outlivesAnIdleConnection has a server that closes the connection
// when the second request on it has just been sent, which no client can know.
func TestSink_outlivesAnIdleConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var mu sync.Mutex
	connections := 0
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			connections++
			mu.Unlock()
			go func() {
				defer c.Close()
				buf := make([]byte, 64<<10)
				if _, err := c.Read(buf); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				}
				_, _ = c.Read(buf)
			}()
		}
	}()
	s := open(t, configFor("http://"+l.Addr().String()))
	for i, err := range append(s.Deliver(t.Context(), sinktest.Batch(0, 4)), nil) {
		if err != nil {
			t.Errorf("delivery %d: %v", i, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if connections < 2 {
		t.Errorf("%d connections: none was closed", connections)
	}
}
