package intake

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery bounds how often the files are looked at.
const lookEvery = time.Second

// TLS makes the configuration of a listener from the files of its certificate
// (with what leads to the root), of its private key and, if clientCA is not
// empty, of the roots of the certificates that clients must show; PEM each. The
// server does the listening.
//
// The files are read at once, and again when they have changed, which is looked
// at when somebody connects, at most once a second. What is wrong with new files
// is logged, once, the old ones are kept, and the new ones tried again until
// they can be read and fit together. The errors name the file.
func TLS(cert, key, clientCA string, log *slog.Logger) (*tls.Config, error) {
	p := &pair{cert: cert, key: key, clientCA: clientCA, log: log}
	p.stamp = p.look()
	p.looked = time.Now()
	var err error
	if p.current, err = p.read(); err != nil {
		return nil, err
	}
	c := p.current.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return p.get(), nil }
	return c, nil
}

// pair is a certificate with its key, and the roots of its clients.
type pair struct {
	cert, key, clientCA string
	log                 *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	stamp   [3]stamp // of the files that were last read well
	current *tls.Config
	wrong   string // what was wrong when they were last read
}

// stamp tells a file from one that was put in its place.
type stamp struct {
	file     os.FileInfo
	modified time.Time
	size     int64
}

func (s stamp) same(other stamp) bool {
	return s.size == other.size && s.modified.Equal(other.modified) &&
		(s.file == nil) == (other.file == nil) && (s.file == nil || os.SameFile(s.file, other.file))
}

// get is the configuration for a new connection.
func (p *pair) get() *tls.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.looked) < lookEvery {
		return p.current
	}
	p.looked = now
	// Looked at before reading: what is written meanwhile is seen next time.
	seen := p.look()
	if seen[0].same(p.stamp[0]) && seen[1].same(p.stamp[1]) && seen[2].same(p.stamp[2]) {
		return p.current
	}
	c, err := p.read()
	if err != nil {
		if p.wrong != err.Error() {
			p.wrong = err.Error()
			p.log.Error("the certificate is still the old one", "err", err)
		}
		return p.current
	}
	p.stamp, p.wrong = seen, ""
	p.log.Info("the certificate was read again", "cert", p.cert)
	p.current = c
	return c
}

func (p *pair) look() (seen [3]stamp) {
	for i, path := range []string{p.cert, p.key, p.clientCA} {
		if path == "" {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			seen[i] = stamp{file: info, modified: info.ModTime(), size: info.Size()}
		}
	}
	return seen
}

// read makes a configuration of the files.
func (p *pair) read() (*tls.Config, error) {
	certPEM, err := os.ReadFile(p.cert)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(p.key)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("use certificate %s with private key %s: %w", p.cert, p.key, err)
	}
	c := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"},
	}
	if p.clientCA == "" {
		return c, nil
	}
	roots, err := os.ReadFile(p.clientCA)
	if err != nil {
		return nil, fmt.Errorf("read the clients' roots: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("read the clients' roots: %w", errors.New(p.clientCA+" holds no certificate"))
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	// A session that is taken up again would not be asked for a certificate
	// under roots that have changed meanwhile.
	c.SessionTicketsDisabled = true
	return c, nil
}
