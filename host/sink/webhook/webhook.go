// Package webhook delivers events to an HTTP endpoint: one POST for each event,
// as CloudEvents, signed by Standard Webhooks.
//
// # The request
//
// The body is the event (application/cloudevents+json), or its data; see
// [Format]. webhook-id is the
// event's id, the same at every attempt: the receiver's idempotency key.
// webhook-timestamp is the time of the attempt, webhook-signature one signature
// for each secret, separated by spaces: v1 (HMAC-SHA256) or v1a (Ed25519), as
// the secret is; with two secrets a receiver can change from one to the other at
// its leisure. [Config.Headers] come with it. Events of a batch are sent one
// after the other, and those after a failed one are still sent: as they share
// one deadline, a batch of 1 suits this sink best.
//
// # The answer
//
// A status of 2xx is done, whatever the body says. Everything else is a
// failure, and retried: an event is about money, and an endpoint that answers
// 400 or 404 today is mended tomorrow. The one exception is 410 Gone, by which
// Standard Webhooks lets a receiver switch an endpoint off: the delivery is
// dead at once and waits to be redriven. Redirects are not followed, 3xx is a
// failure: a signed event goes where the operator said, and nowhere else.
// Retry-After of a 429, 502, 503 or 504 is kept. At most 4 KiB of the answer's
// body are read. Of one that is text the beginning goes, with the status, into
// the error as its answer (see [host.WithAnswer]): on one line, and with every
// secret, header value and part of the URL's path and query masked.
//
// # Where it connects to
//
// Only to public addresses, unless [Config.AllowPrivate] is set. The address
// judged is the one dialled, after DNS and at every connection, so that a name
// that changes its mind gains nothing. Proxy variables of the environment are
// not looked at.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/postern/postern/host"
)

const (
	maxAnswer  = 4 << 10         // bytes of an answer's body that are read
	maxHeaders = 16 << 10        // bytes of an answer's head
	drainTime  = 1 * time.Second // for an answer's body, once its status is known
	maxAsked   = 365 * 24 * time.Hour
)

// Config is a webhook sink's settings.
type Config struct {
	// URL is where to POST: http or https, without user or password. Its path
	// and query may be secret; they are in no error text.
	URL string
	// Secrets sign every request, in the forms of Standard Webhooks: "whsec_"
	// and the base64 of 24 to 64 random bytes signs v1, "whsk_" and that of an
	// Ed25519 key (32 bytes, or 64 with the public key) signs v1a. At least one;
	// several, of either kind, while a receiver changes over.
	Secrets []string
	// Headers are sent with every request, a value each, which may be secret: it
	// is in no error text. What frames or signs a request is not theirs to set.
	Headers map[string]string
	// TLS is for an https URL; zero means none of it.
	TLS TLS
	// Format is how an event stands in a request; empty means Structured.
	Format Format
	// Timeout bounds one request, within the deadline that Deliver is given;
	// zero means 30 s.
	Timeout time.Duration
	// AllowPrivate lets requests go to loopback, private and other addresses
	// that are not public.
	AllowPrivate bool
	// Version stands in the User-Agent, "Postern/<Version>"; empty means
	// "Postern" alone.
	Version string
	// Log is told when the files of TLS have changed; nil discards that.
	Log *slog.Logger
}

// Sink is a [host.Sink]. Make one with [New].
type Sink struct {
	url     string
	host    string
	header  http.Header // of every request
	format  Format
	timeout time.Duration
	signers []signer
	hidden  hidden
	clients clients

	// underWay counts the calls of Deliver, for Close.
	underWay sync.WaitGroup
}

var _ host.Sink = (*Sink)(nil)

// New checks the configuration, reads the files of TLS and makes the sink; it
// does not connect. All problems are reported at once, each with its field and
// what to do.
func New(c Config) (*Sink, error) { return newSink(c, newDialer(c.AllowPrivate)) }

func newSink(c Config, d *net.Dialer) (*Sink, error) {
	u, err := parseURL(c.URL)
	errs := []error{err}
	signers, keys, err := parseSecrets(c.Secrets)
	errs = append(errs, err)
	header, values, err := parseHeaders(c.Headers)
	errs = append(errs, err, c.Format.check())
	s := &Sink{
		header: header, format: c.Format, timeout: c.Timeout, signers: signers,
		clients: clients{dialer: d, tls: c.TLS, log: c.Log},
	}
	if s.clients.log == nil {
		s.clients.log = slog.New(slog.DiscardHandler)
	}
	if err = c.TLS.check(u == nil || u.Scheme == "https"); err == nil {
		err = s.clients.look()
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	s.url, s.host = u.String(), u.Host
	s.hidden = hide(slices.Concat(keys, values, ofURL(u)))
	if _, set := header["User-Agent"]; !set {
		header.Set("User-Agent", strings.TrimSuffix("Postern/"+c.Version, "/"))
	}
	// Not sent, as it has no value: it tells the client that the event's id
	// makes a second sending harmless, so that a connection which the other side
	// closed just now, being idle, costs no failed attempt.
	header["Idempotency-Key"] = nil
	if s.timeout <= 0 {
		s.timeout = 30 * time.Second
	}
	return s, nil
}

// parseURL never shows the URL: any part of it may be a secret.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("url: is not a URL; write it as https://host/path")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("url: must begin with https:// or http://")
	case u.Hostname() == "":
		return nil, errors.New("url: has no host; write it as https://host/path")
	case u.User != nil:
		return nil, errors.New("url: must not hold a user or password; requests are signed, the receiver checks that")
	case u.Fragment != "":
		return nil, errors.New("url: must not have a fragment (#…); it would never be sent")
	}
	return u, nil
}

// Deliver implements [host.Sink].
func (s *Sink) Deliver(ctx context.Context, batch []host.Delivery) []error {
	s.underWay.Add(1)
	defer s.underWay.Done()
	errs := make([]error, len(batch))
	failed := false
	for i := range batch {
		errs[i] = s.send(ctx, &batch[i].Event)
		failed = failed || errs[i] != nil
	}
	if !failed {
		return nil
	}
	return errs
}

// Close waits for what is under way and closes idle connections.
func (s *Sink) Close() error {
	s.underWay.Wait()
	s.clients.get().CloseIdleConnections()
	return nil
}

func (s *Sink) send(ctx context.Context, ev *host.Event) error {
	header := s.header.Clone()
	body, err := s.format.write(ev, header)
	if err != nil {
		return host.Permanent(fmt.Errorf("encode event: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := s.request(ctx, header, ev.ID(), body)
	if err != nil {
		return err
	}
	resp, err := s.clients.get().Do(req)
	if err != nil {
		return fmt.Errorf("post to %s: %w", s.host, safe(err))
	}
	defer func() { _ = resp.Body.Close() }()
	return s.judge(resp, read(resp.Body, cancel))
}

func (s *Sink) request(ctx context.Context, header http.Header, id string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("post to %s: cannot make a request of the configured url", s.host)
	}
	now := time.Now()
	var signatures []string
	for _, sign := range s.signers {
		signature, err := sign(id, now, body)
		if err != nil {
			return nil, fmt.Errorf("post to %s: cannot sign", s.host)
		}
		signatures = append(signatures, signature)
	}
	req.Header = header
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return req, nil
}
