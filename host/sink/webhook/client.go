package webhook

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// TLS says who the sink is to the receiver, and who the receiver must be; PEM
// files. The zero TLS shows no certificate and trusts the roots of the system.
type TLS struct {
	// Cert is a client certificate, with what leads to its root, and Key its
	// private key. Both are set or neither is.
	Cert string
	Key  string
	// CA, if set, holds the only roots that are trusted.
	CA string
	// ServerName is the name that the receiver's certificate must be for; empty
	// means the URL's host.
	ServerName string
}

// check reports what is missing; https is whether the URL is.
func (t TLS) check(https bool) error {
	switch {
	case t.Cert != "" && t.Key == "":
		return errors.New("tls.key: is missing beside tls.cert; name the file of the certificate's private key")
	case t.Cert == "" && t.Key != "":
		return errors.New("tls.cert: is missing beside tls.key; name the file of the certificate")
	case t != TLS{} && !https:
		return errors.New("tls: needs an https url; over http nobody shows a certificate")
	}
	return nil
}

// lookEvery bounds how often the files are looked at.
const lookEvery = time.Second

// clients makes the HTTP client, and another when the files of its TLS have
// changed, so that no connection goes on under a certificate or a root that was
// replaced.
type clients struct {
	dialer *net.Dialer
	tls    TLS
	log    *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	pem     [3][]byte // what the current client was made of
	current *http.Client
	wrong   string // what was wrong when the files were last read
}

// get is the client for a new request. What is wrong with changed files is
// logged, once, and the old client kept: they may be replaced one by one.
func (c *clients) get() *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tls.Cert == "" && c.tls.CA == "" || time.Since(c.looked) < lookEvery {
		return c.current
	}
	if err := c.look(); err != nil && c.wrong != err.Error() {
		c.wrong = err.Error()
		c.log.Error("the certificates are still the old ones", "err", err)
	}
	return c.current
}

// look reads the files and makes a client if they are not those of the current
// one.
func (c *clients) look() error {
	c.looked = time.Now()
	var pem [3][]byte
	same := c.current != nil
	for i, path := range []string{c.tls.Cert, c.tls.Key, c.tls.CA} {
		if path == "" {
			continue
		}
		var err error
		if pem[i], err = os.ReadFile(filepath.Clean(path)); err != nil {
			return fmt.Errorf("tls.%s: %w", []string{"cert", "key", "ca"}[i], err)
		}
		same = same && bytes.Equal(pem[i], c.pem[i])
	}
	if same {
		c.wrong = ""
		return nil
	}
	config, err := c.tls.config(pem)
	if err != nil {
		return err
	}
	if c.current != nil {
		c.current.CloseIdleConnections()
		c.log.Info("the certificates were read again")
	}
	c.pem, c.wrong, c.current = pem, "", newClient(c.dialer, config)
	return nil
}

// config is made of the contents of the files.
func (t TLS) config(pem [3][]byte) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.Cert != "" {
		pair, err := tls.X509KeyPair(pem[0], pem[1])
		if err != nil {
			return nil, fmt.Errorf("tls.cert: use %s with private key %s: %w", t.Cert, t.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem[2]) {
			return nil, fmt.Errorf("tls.ca: %s holds no certificate", t.CA)
		}
	}
	return c, nil
}

// newDialer makes what connects, to public addresses only unless allowPrivate
// says otherwise.
func newDialer(allowPrivate bool) *net.Dialer {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if !allowPrivate {
		d.Control = refusePrivate
	}
	return d
}

// newClient shares nothing with the process's default client.
func newClient(d *net.Dialer, c *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would dial for us, past the guard
			DialContext:            d.DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			TLSClientConfig:        c,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaders,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        90 * time.Second,
			// One HTTP/2 connection carries all deliveries: one that died
			// unnoticed would fail them all until the kernel gives it up.
			HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second, WriteByteTimeout: 30 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
