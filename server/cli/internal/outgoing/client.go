package outgoing

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"
)

// timeout bounds one callback with its answer.
const timeout = 30 * time.Second

// Client is a client that sends where it is told to, and follows nobody
// elsewhere: the token is in the path, and a redirect hands it on.
// A nil transport is the default one.
func Client(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Timeout: timeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Trusting is a [Client] that takes the server on this machine for what its
// certificate's file says it is, whatever name or address it was called by.
func Trusting(certFile string) (*http.Client, error) {
	text, err := os.ReadFile(certFile) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	// The private key may stand before it.
	block, rest := pem.Decode(text)
	for block != nil && block.Type != "CERTIFICATE" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, fmt.Errorf("read the server's certificate: %s holds none", certFile)
	}
	want := block.Bytes
	return Client(&http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Not the usual checks: the very certificate is asked for, and the
		// handshake proves that its key is there.
		InsecureSkipVerify: true, //nolint:gosec // see above, and VerifyConnection
		VerifyConnection: func(c tls.ConnectionState) error {
			if !bytes.Equal(c.PeerCertificates[0].Raw, want) {
				return fmt.Errorf("it shows another certificate than the one in %s", certFile)
			}
			return nil
		},
	}}), nil
}

// Here says that a URL leads to this machine.
func Here(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}
