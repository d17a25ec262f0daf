package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
)

// safe turns an error of the HTTP client into one whose text, and that of
// everything it wraps, holds no secret. It is put together from the kinds known
// here and never from the client's own text: that names the URL, and quotes an
// answer that is not HTTP, which may be the request sent back.
//
// Invariant 8: path, query and secrets stay out of error texts.
func safe(err error) error {
	var (
		refused *addressError
		dns     *net.DNSError
		op      *net.OpError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		wrapped *url.Error
	)
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("not finished: %w", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	case errors.As(err, &dns):
		return fmt.Errorf("look up the host: %s", dns.Err)
	case errors.As(err, &cert):
		return errors.New("the certificate " + certificate(cert.Err))
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return errors.New("the other side does not speak TLS")
	case errors.As(err, &alert):
		return fmt.Errorf("the TLS handshake: %w", alert)
	case errors.As(err, &op):
		return op
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection ended without an answer")
	case errors.As(err, &wrapped) && ended[wrapped.Err.Error()] != "":
		return errors.New(ended[wrapped.Err.Error()])
	}
	return errors.New("the other side did not answer in HTTP")
}

// ended are errors of HTTP/2 that the client knows by their text alone. What ends
// one at its beginning is most often TLS 1.3 refusing the client, which it does
// after the handshake.
var ended = map[string]string{
	"http2: client conn could not be established": "the connection was ended at once, as if a client certificate were wanted (tls.cert)",
	"http2: client connection lost":               "the connection was lost",
}

// certificate says what is wrong with one, without a word out of it.
func certificate(err error) string {
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return "is for another host"
	case errors.As(err, &unknown):
		return "is signed by an authority that is not trusted here"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "has expired or is not valid yet"
	}
	return "is not valid"
}
