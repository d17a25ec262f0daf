package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certified writes a certificate for a public name, and its key.
func certified(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return cert, key
}

// writeCertificate writes a certificate and returns its file.
func writeCertificate(t *testing.T, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cert.pem")
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return file
}

// A server that speaks TLS says so, and send knows it by its certificate,
// which is for another name than the one it is called by, and by no other.
func TestServe_tls(t *testing.T) {
	dir, err := os.MkdirTemp("", "tls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert, key := certified(t, dir, "hooks.example.com")
	other, otherKey := certified(t, dir, "other.example.com")
	file := filepath.Join(dir, "postern.yaml")
	text := `
intake: {listen: "127.0.0.1:0", tls: {cert: CERT, key: KEY}}
admin: {listen: "127.0.0.1:0"}
store: {path: ` + filepath.Join(dir, "data") + `}
plugins: {path: ` + plugins(t) + `, cache: ` + plugins(t) + `/cache}
tenants: {main: {endpoints: {ottu: {plugin: ottu, secrets: {hmac-key: "value:` + testKey + `"}}}}}
`
	with := func(cert, key string) {
		write(t, file, strings.NewReplacer("CERT", cert, "KEY", key).Replace(text))
	}
	with(cert, key)
	out, _ := serveFile(t, file)
	url := "https://" + between(out.String(), "in on https://", "\n")
	send := func(url string) result {
		return posternIn(t, testBody, []string{}, "send", "ottu", "--config", file, "--data", "-", "--url", url)
	}
	if got := send(url); got.code != exitDone || !strings.HasPrefix(got.stdout, "200 OK  "+url) {
		t.Errorf("send = %+v, want 200 from %s", got, url)
	}
	with(other, otherKey)
	if got := send(url); got.code != exitFailed || !strings.Contains(got.stderr, "it shows another certificate than the one in "+other) {
		t.Errorf("send with another certificate = %+v, want that it is another", got)
	}
	with(filepath.Join(dir, "none"), key)
	if got := send(url); got.code != exitFailed || !strings.Contains(got.stderr, "read the server's certificate: ") {
		t.Errorf("send without the certificate = %+v, want what is missing", got)
	}
	with(cert, key)
	if got := send("http" + strings.TrimPrefix(url, "https")); got.code != exitFailed {
		t.Errorf("send without TLS = %+v, want a failure", got)
	}
}

// A server that asks for a client's certificate gets none from send, which says
// so.
func TestSend_clientCA(t *testing.T) {
	dir, err := os.MkdirTemp("", "tls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert, key := certified(t, dir, "hooks.example.com")
	file := filepath.Join(dir, "postern.yaml")
	write(t, file, `
intake: {listen: "127.0.0.1:0", tls: {cert: `+cert+`, key: `+key+`, client_ca: `+cert+`}}
admin: {listen: "127.0.0.1:0"}
store: {path: `+filepath.Join(dir, "data")+`}
plugins: {path: `+plugins(t)+`, cache: `+plugins(t)+`/cache}
tenants: {main: {endpoints: {ottu: {plugin: ottu, secrets: {hmac-key: "value:`+testKey+`"}}}}}
`)
	out, _ := serveFile(t, file)
	url := "https://" + between(out.String(), "in on https://", "\n")
	got := posternIn(t, testBody, []string{}, "send", "ottu", "--config", file, "--data", "-", "--url", url)
	if got.code != exitFailed || !strings.Contains(got.stderr, "client's certificate (intake.tls.client_ca) and send has none to show: ") {
		t.Errorf("send = %+v, want what is asked for", got)
	}
}
