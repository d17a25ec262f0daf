// Package nats publishes events to NATS, in core or to a JetStream stream.
//
// # When a delivery is done
//
// In [JetStream] mode, when the stream has acknowledged it. What that is worth
// is the stream's to say: its replicas, and whether its servers sync each write
// (sync_interval: always) or, as by default, some time later. Each event carries
// its id as Nats-Msg-Id, so that one which comes again within the stream's
// duplicate window is stored once; a replay within it is dropped too. A batch is
// published in its order without waiting in between, each event with an answer
// of its own.
//
// In [Core] mode, when the server has it: it has answered a PING that was sent
// behind the batch on the same connection. Core NATS gives no more than that.
// The server stores nothing; who is not subscribed and connected at that moment
// never sees the event, and a server that ends between the PONG and passing it
// on has lost it.
//
// # The subject
//
// [Config.Subject] is a template of {tenant}, {endpoint}, {provider} and {type};
// the dots of a type become levels of the subject. See [Config.Subject] for what
// is escaped.
//
// # The other side
//
// Nothing is buffered while there is no connection: deliveries then fail, after
// a moment in which the connection may come back, and are retried. What is too
// large for the server or the stream is dead at once. Everything else may be
// mended over there and is retried: a stream that is not there or full, a
// refused login, a subject that may not be published to.
package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postern/postern/host"
)

// Mode says who answers for an event.
type Mode string

// The modes.
const (
	JetStream Mode = "jetstream" // a stream has stored it
	Core      Mode = "core"      // a server has received it
)

// Format says how an event is laid out, in the words of the CloudEvents NATS
// binding.
type Format string

// The formats.
const (
	// Structured has the whole event, in JSON, as the body.
	Structured Format = "structured"
	// Binary has the data as the body and each attribute in a header "ce-…",
	// percent-encoded where it is not printable ASCII.
	Binary Format = "binary"
)

// Config is a NATS sink's settings.
type Config struct {
	// Servers are the URLs of one cluster, nats://host:port, or tls://host:port
	// for TLS. At least one; others are learnt from the one that answers. They
	// hold no user or password.
	Servers []string
	// Mode is JetStream if empty.
	Mode Mode
	// Subject is the template of the subject; empty means DefaultSubject. What
	// stands for a placeholder is escaped: every byte but A-Z, a-z, 0-9, "-" and
	// "_" becomes "%" and two hexadecimal digits, and an empty text becomes "%"
	// alone, so that a value is one token, matches no wildcard, and two values
	// are never one. The dots of {type} stay.
	Subject string
	// Format is Structured if empty.
	Format Format
	// Stream, if set, is the stream that must take the events; another one that
	// does is an error. JetStream only.
	Stream string
	// Create makes Stream if it is not there. The zero Create makes nothing: the
	// stream must exist.
	Create Create

	// At most one of the four is set: the text of a credentials file, a user
	// with a password, a token, the seed of an nkey. They are secrets.
	Credentials    string
	User, Password string
	Token          string
	NKey           string

	// TLS names the files for it. The zero TLS speaks it where a server asks for
	// it, as for tls://, and trusts the system's roots.
	TLS TLS
	// Timeout bounds one delivery, within the deadline that Deliver is given;
	// zero means 30 s.
	Timeout time.Duration
}

// TLS names the files by which both sides know each other, PEM each. They are
// read by New, and again for each connection.
type TLS struct {
	// CA, if set, holds the only roots that are trusted.
	CA string
	// Cert is the certificate that is shown, Key its private key. Both are set or
	// neither is.
	Cert, Key string
}

// Create is a stream to be made. One that exists is left as it is.
type Create struct {
	// Subjects are what it takes; none means that no stream is made.
	Subjects []string
	// Replicas is 1 if zero.
	Replicas int
	// MaxAge and MaxBytes are when it drops its oldest; zero means never.
	MaxAge   time.Duration
	MaxBytes int64
	// DuplicateWindow is how long an id is remembered; zero means 2 minutes.
	DuplicateWindow time.Duration
}

// Sink is a [host.Sink]. Make one with [New].
type Sink struct {
	servers []string
	mode    Mode
	format  Format
	subject template
	stream  string
	create  jetstream.StreamConfig
	options []nats.Option
	timeout time.Duration

	// underWay counts the calls of Deliver, for Close.
	underWay sync.WaitGroup

	mu sync.Mutex
	// link is the connection last made, nil before the first.
	link *link
	// dialing is closed when the dial under way has ended; nil without one.
	dialing chan struct{}
	// refused is why the last dial failed.
	refused error

	// making holds a token while the stream is looked after; made says that it
	// was there.
	making chan struct{}
	made   bool
}

var _ host.Sink = (*Sink)(nil)

// New checks the configuration and makes the sink; it does not connect. All
// problems are reported at once, each with its field and what to do.
func New(c Config) (*Sink, error) {
	subject, subjectErr := parseTemplate(c.Subject)
	login, loginErr := c.login()
	secure, tlsErr := c.TLS.options()
	if err := errors.Join(checkServers(c.Servers), c.checkWords(), subjectErr, c.checkStream(), loginErr, tlsErr); err != nil {
		return nil, err
	}
	s := &Sink{
		servers: slices.Clone(c.Servers), mode: c.Mode, format: c.Format, subject: subject,
		stream: c.Stream, create: c.streamConfig(), timeout: c.Timeout,
		making: make(chan struct{}, 1),
	}
	if s.timeout <= 0 {
		s.timeout = 30 * time.Second
	}
	s.options = slices.Concat(connection(), login, secure)
	return s, nil
}

func (c *Config) checkWords() error {
	var errs []error
	if c.Mode != "" && c.Mode != JetStream && c.Mode != Core {
		errs = append(errs, fmt.Errorf("mode: %q is unknown; write jetstream or core", string(c.Mode)))
	}
	if c.Format != "" && c.Format != Structured && c.Format != Binary {
		errs = append(errs, fmt.Errorf("format: %q is unknown; write structured or binary", string(c.Format)))
	}
	return errors.Join(errs...)
}

func (c *Config) checkStream() error {
	switch {
	case c.Mode == Core && c.Stream != "":
		return errors.New("stream: core NATS has no streams; set mode jetstream, or leave it out")
	case len(c.Create.Subjects) > 0 && c.Stream == "":
		return errors.New("stream: is missing; name the stream to be made")
	}
	return nil
}

func (c *Config) streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: c.Stream, Subjects: slices.Clone(c.Create.Subjects), Replicas: max(c.Create.Replicas, 1),
		MaxAge: c.Create.MaxAge, MaxBytes: orNone(c.Create.MaxBytes), Duplicates: c.Create.DuplicateWindow,
		Storage: jetstream.FileStorage,
	}
}

// orNone is how JetStream writes "no limit".
func orNone(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}

// Deliver implements [host.Sink]. The first call connects, which may take it
// 2 s for each server that does not answer.
func (s *Sink) Deliver(ctx context.Context, batch []host.Delivery) []error {
	s.underWay.Add(1)
	defer s.underWay.Done()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	errs := make([]error, len(batch))
	l, err := s.ready(ctx)
	switch {
	case err != nil:
		fill(errs, err)
	case s.mode == Core:
		s.send(ctx, l, batch, errs)
	default:
		s.store(ctx, l, batch, errs)
	}
	failed := false
	for i, err := range errs {
		if err != nil {
			errs[i] = judge(s.subject.of(&batch[i].Event), err)
			failed = true
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// fill gives err to every delivery that has no error of its own.
func fill(errs []error, err error) {
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
}

// send publishes the batch and waits until the server has read it all.
func (s *Sink) send(ctx context.Context, l *link, batch []host.Delivery, errs []error) {
	begun := l.mark()
	for i := range batch {
		m, err := s.encode(&batch[i].Event)
		if err == nil {
			err = l.nc.PublishMsg(m)
		}
		errs[i] = err
	}
	fill(errs, l.confirm(ctx, begun))
}

// store publishes the batch and waits for the stream's answer to each event.
func (s *Sink) store(ctx context.Context, l *link, batch []host.Delivery, errs []error) {
	if err := s.makeStream(ctx, l); err != nil {
		fill(errs, err)
		return
	}
	answers := make([]jetstream.PubAckFuture, len(batch))
	for i := range batch {
		m, err := s.encode(&batch[i].Event)
		if err == nil {
			// No retries: they would change the order of the batch.
			opts := []jetstream.PublishOpt{jetstream.WithMsgID(batch[i].Event.ID()), jetstream.WithRetryAttempts(0)}
			if s.stream != "" {
				opts = append(opts, jetstream.WithExpectStream(s.stream))
			}
			answers[i], err = l.js.PublishMsgAsync(m, opts...)
		}
		errs[i] = err
	}
	for i, answer := range answers {
		if answer == nil {
			continue
		}
		select {
		case <-answer.Ok():
		case errs[i] = <-answer.Err():
		case <-ctx.Done():
			errs[i] = ctx.Err()
		}
		if errors.Is(errs[i], jetstream.ErrNoStreamResponse) {
			s.forgetStream()
		}
	}
}

// Close waits for what is under way and ends the connection.
func (s *Sink) Close() error {
	s.underWay.Wait()
	s.mu.Lock()
	dialing := s.dialing
	s.mu.Unlock()
	if dialing != nil {
		<-dialing
	}
	if s.link != nil {
		s.link.nc.Close()
	}
	return nil
}
