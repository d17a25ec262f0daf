// Package webhook delivers events to an HTTP endpoint: one POST for each event,
// as CloudEvents in structured JSON, signed by Standard Webhooks.
//
// # The request
//
// The body is the event (application/cloudevents+json). webhook-id is the
// event's id, the same at every attempt: the receiver's idempotency key.
// webhook-timestamp is the time of the attempt, webhook-signature one signature
// for each secret, separated by spaces; with two secrets a receiver can change
// from one to the other at its leisure. Events of a batch are sent one after
// the other, and those after a failed one are still sent: as they share one
// deadline, a batch of 1 suits this sink best.
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
// body are read, and nothing of it is used.
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
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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
	// Secrets sign every request, in this form: "whsec_" and the base64 of 24
	// to 64 random bytes. At least one; several while a receiver changes over.
	Secrets []string
	// Timeout bounds one request, within the deadline that Deliver is given;
	// zero means 30 s.
	Timeout time.Duration
	// AllowPrivate lets requests go to loopback, private and other addresses
	// that are not public.
	AllowPrivate bool
	// Version stands in the User-Agent, "Postern/<Version>"; empty means
	// "Postern" alone.
	Version string
}

// Sink is a [host.Sink]. Make one with [New].
type Sink struct {
	url     string
	host    string
	agent   string
	timeout time.Duration
	signers []*standardwebhooks.Webhook
	client  *http.Client

	// underWay counts the calls of Deliver, for Close.
	underWay sync.WaitGroup
}

var _ host.Sink = (*Sink)(nil)

// New checks the configuration and makes the sink; it does not connect. All
// problems are reported at once, each with its field and what to do.
func New(c Config) (*Sink, error) {
	u, urlErr := parseURL(c.URL)
	signers, secretErr := parseSecrets(c.Secrets)
	if err := errors.Join(urlErr, secretErr); err != nil {
		return nil, err
	}
	s := &Sink{
		url: u.String(), host: u.Host, agent: "Postern",
		timeout: c.Timeout, signers: signers, client: newClient(c.AllowPrivate),
	}
	if c.Version != "" {
		s.agent += "/" + c.Version
	}
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

const (
	secretPrefix = "whsec_"
	minSecret    = 24
	maxSecret    = 64
)

func parseSecrets(secrets []string) (signers []*standardwebhooks.Webhook, err error) {
	if len(secrets) == 0 {
		return nil, errors.New("secrets: at least one is needed; requests are signed with it")
	}
	var errs []error
	for i, s := range secrets {
		encoded, found := strings.CutPrefix(s, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !found || err != nil || len(key) < minSecret || len(key) > maxSecret {
			errs = append(errs, fmt.Errorf("secrets[%d]: must be %q and the base64 of %d to %d random bytes",
				i, secretPrefix, minSecret, maxSecret))
			continue
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			errs = append(errs, fmt.Errorf("secrets[%d]: cannot be used to sign", i))
			continue
		}
		signers = append(signers, signer)
	}
	return signers, errors.Join(errs...)
}

// newClient shares nothing with the process's default client.
func newClient(allowPrivate bool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if !allowPrivate {
		dialer.Control = refusePrivate
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would dial for us, past the guard
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaders,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
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
	s.client.CloseIdleConnections()
	return nil
}

func (s *Sink) send(ctx context.Context, ev *host.Event) error {
	body, err := ev.MarshalJSON()
	if err != nil {
		return host.Permanent(fmt.Errorf("encode event: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := s.request(ctx, ev.ID(), body)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("post to %s: %w", s.host, safe(err))
	}
	defer func() { _ = resp.Body.Close() }()
	drain(resp.Body, cancel)
	return judge(s.host, resp)
}

func (s *Sink) request(ctx context.Context, id string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("post to %s: cannot make a request of the configured url", s.host)
	}
	now := time.Now()
	var signatures []string
	for _, signer := range s.signers {
		signature, err := signer.Sign(id, now, body)
		if err != nil {
			return nil, fmt.Errorf("post to %s: cannot sign", s.host)
		}
		signatures = append(signatures, signature)
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", s.agent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return req, nil
}

// drain reads the little that is needed to use the connection again. An answer
// that trickles in does not hold up the delivery, which is decided by now.
func drain(body io.Reader, cancel context.CancelFunc) {
	t := time.AfterFunc(drainTime, cancel)
	defer t.Stop()
	_, _ = io.CopyN(io.Discard, body, maxAnswer)
}

// judge turns an answer into Deliver's error.
func judge(name string, resp *http.Response) error {
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil
	}
	err := fmt.Errorf("post to %s: answered %d", name, resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusGone:
		return host.Permanent(err)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if d := retryAfter(resp.Header.Get("Retry-After"), time.Now()); d > 0 {
			return host.RetryAfter(err, d)
		}
	}
	return err
}

// retryAfter reads a number of seconds or an HTTP date; zero means neither, or
// a time already past.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(maxAsked/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxAsked)
}
