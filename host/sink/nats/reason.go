package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postern/postern/host"
)

// headerTooLarge is JetStream's code for headers above 64 KiB; the client has
// no name for it.
const headerTooLarge jetstream.ErrorCode = 10097

// createError says that the stream could not be made; whatever the reason, it
// is none of the event.
type createError struct{ error }

func (e *createError) Unwrap() error { return e.error }

// judge turns the client's error into Deliver's.
func judge(subject string, err error) error {
	var encoding encodeError
	if errors.As(err, &encoding) {
		return host.Permanent(encoding.error)
	}
	var create *createError
	if errors.As(err, &create) {
		return host.WithAnswer(fmt.Errorf("create the stream: %w", safe(err)), answer(err))
	}
	told := host.WithAnswer(fmt.Errorf("publish to %s: %w", subject, safe(err)), answer(err))
	var api *jetstream.APIError
	tooLarge := errors.Is(err, nats.ErrMaxPayload) ||
		errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum || api.ErrorCode == headerTooLarge)
	if tooLarge {
		return host.Permanent(told)
	}
	return told
}

// answer is what the server said, if it did.
func answer(err error) string {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return plain(api.Description)
}

// plain is the other side's text in one line, bounded.
func plain(text string) string {
	const limit = 200
	text = strings.ToValidUTF8(text[:min(len(text), limit)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// kinds are the client's errors that say something to an operator, in our
// words.
var kinds = []struct {
	err  error
	text string
}{
	{jetstream.ErrNoStreamResponse, "no stream takes this subject, or it has no leader; create one, or check its subjects"},
	{nats.ErrNoResponders, "JetStream does not answer; it may not be enabled"},
	{nats.ErrMaxPayload, "the event is larger than the server's max_payload"},
	{nats.ErrNoServers, "no server can be reached"},
	{nats.ErrDisconnected, "the connection ended before the answer"},
	{nats.ErrReconnectBufExceeded, "the connection ended before the answer"},
	{nats.ErrConnectionClosed, "the connection ended before the answer"},
	{nats.ErrConnectionReconnecting, "the connection ended before the answer"},
	{nats.ErrStaleConnection, "the connection ended before the answer"},
	{nats.ErrPermissionViolation, "the server does not permit it to this user"},
	{nats.ErrAuthorization, "the server refuses the credentials"},
	{nats.ErrAuthExpired, "the credentials have expired"},
	{nats.ErrAccountAuthExpired, "the credentials have expired"},
	{nats.ErrAuthRevoked, "the credentials are revoked"},
	{nats.ErrNkeysNotSupported, "the server takes no nkeys"},
	{nats.ErrMaxConnectionsExceeded, "the server has its most connections"},
	{nats.ErrMaxAccountConnectionsExceeded, "the account has its most connections"},
	{nats.ErrSecureConnRequired, "the server asks for TLS; write tls:// or set tls"},
	{nats.ErrSecureConnWanted, "the server does not speak TLS"},
	{nats.ErrHeadersNotSupported, "the server takes no headers; it is older than 2.2"},
	{jetstream.ErrInvalidJSAck, "who answered is no stream"},
}

// safe turns an error of the client into one whose text, and that of everything
// it wraps, holds no secret. It is put together from the kinds known here and
// never from the client's own text.
//
// Invariant 8: credentials stay out of error texts.
func safe(err error) error {
	var (
		api  *jetstream.APIError
		dns  *net.DNSError
		op   *net.OpError
		cert *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("not finished: %w", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	case errors.As(err, &api):
		return fmt.Errorf("answered %d (%s)", api.ErrorCode, plain(api.Description))
	case errors.As(err, &dns):
		return fmt.Errorf("look up the host: %s", dns.Err)
	case errors.As(err, &cert):
		return errors.New("the certificate is not accepted: " + plain(cert.Err.Error()))
	case errors.As(err, &op):
		return op
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return errors.New(k.text)
		}
	}
	return errors.New("the server did not answer as expected")
}
