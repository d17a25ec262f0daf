package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

const (
	dialTimeout = 2 * time.Second
	// stall is how long a write may stand still before the connection is given
	// up: a publish waits for it.
	stall = 5 * time.Second
	// patience is how long a delivery waits for a broken connection to come
	// back before it fails, and is retried.
	patience = 2 * time.Second
	// maxWaiting is more than can be under way: the caller bounds that.
	maxWaiting = 1 << 20
)

// link is one connection and its place in the cluster. It comes back by itself
// when it breaks, until it is closed.
type link struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// mark is where a connection stands.
type mark struct {
	// connection counts those made, complaint is the last thing that the server
	// had against what it was sent.
	connection uint64
	complaint  error
}

func (l *link) mark() mark { return mark{l.nc.Stats().Reconnects, l.nc.LastError()} }

// confirm waits until the server has read, without complaint, all that was
// published since begun.
func (l *link) confirm(ctx context.Context, begun mark) error {
	if err := l.nc.FlushWithContext(ctx); err != nil {
		return err
	}
	now := l.mark()
	if now.connection != begun.connection {
		// The PONG came from another connection than the one published on: it
		// says nothing.
		return nats.ErrDisconnected
	}
	// What the server has against an event comes before the PONG, and does not
	// say against which.
	if now.complaint != nil && !errors.Is(now.complaint, begun.complaint) {
		return now.complaint
	}
	return nil
}

// checkServers never shows a URL: one with a password in it is refused here.
func checkServers(servers []string) error {
	const form = "write it as nats://host:4222"
	if len(servers) == 0 {
		return errors.New("servers: at least one is needed; " + form)
	}
	var errs []error
	for i, text := range servers {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Hostname() == "":
			errs = append(errs, fmt.Errorf("servers[%d]: is not a URL with a host; %s", i, form))
		case u.Scheme != "nats" && u.Scheme != "tls":
			errs = append(errs, fmt.Errorf("servers[%d]: must begin with nats:// or tls://", i))
		case u.User != nil:
			errs = append(errs, fmt.Errorf("servers[%d]: must not hold a user, password or token; they have settings of their own", i))
		case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			errs = append(errs, fmt.Errorf("servers[%d]: must end with the port; %s", i, form))
		}
	}
	return errors.Join(errs...)
}

// login is the option of whichever credential is set.
func (c *Config) login() ([]nats.Option, error) {
	var options []nats.Option
	if c.Credentials != "" {
		text := []byte(c.Credentials)
		_, jwtErr := nkeys.ParseDecoratedJWT(text)
		key, err := nkeys.ParseDecoratedUserNKey(text)
		if err != nil || jwtErr != nil {
			return nil, errors.New("credentials: is not the text of a credentials file (a JWT and the seed of a user)")
		}
		key.Wipe()
		options = append(options, nats.UserCredentialBytes(text))
	}
	if c.User != "" || c.Password != "" {
		if c.User == "" {
			return nil, errors.New("user: is missing beside a password")
		}
		options = append(options, nats.UserInfo(c.User, c.Password))
	}
	if c.Token != "" {
		options = append(options, nats.Token(c.Token))
	}
	if c.NKey != "" {
		key, err := nkeys.FromSeed([]byte(c.NKey))
		if err != nil {
			return nil, errors.New("nkey: is not the seed of an nkey (SU…)")
		}
		public, err := key.PublicKey()
		if err != nil {
			return nil, errors.New("nkey: has no public key")
		}
		options = append(options, nats.Nkey(public, key.Sign))
	}
	if len(options) > 1 {
		return nil, errors.New("credentials, user, token, nkey: set one of them")
	}
	return options, nil
}

// options are those of TLS, whose files are there and can be used.
func (c TLS) options() ([]nats.Option, error) {
	if (c.Cert == "") != (c.Key == "") {
		return nil, errors.New("tls: cert and key belong together; name both files or neither")
	}
	var options []nats.Option
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		options = append(options, nats.ClientCert(c.Cert, c.Key))
	}
	// The client reads the files when an option is set, and is asked now.
	probe := nats.GetDefaultOptions()
	for _, set := range options {
		if err := set(&probe); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	return options, nil
}

func connection() []nats.Option {
	return []nats.Option{
		nats.Name("postern"),
		nats.Timeout(dialTimeout),
		nats.SetCustomDialer(dialer{}),
		nats.FlusherTimeout(stall),
		nats.PingInterval(20 * time.Second),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		// Nothing is kept for a connection that is not there: it would be
		// published after its delivery has failed.
		nats.ReconnectBufSize(-1),
		// Errors are seen where they matter, by LastError.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
}

// dialer makes connections that a failed write ends. The client drops what it
// could not write, and would go on with a connection that lacks it.
type dialer struct{}

// Dial implements [nats.CustomDialer].
func (dialer) Dial(network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return strict{c}, nil
}

type strict struct{ net.Conn }

func (c strict) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// ready is a connection that is up, which it waits for a little.
func (s *Sink) ready(ctx context.Context) (*link, error) {
	l, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if l.nc.IsConnected() {
		return l, nil
	}
	up := l.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer l.nc.RemoveStatusListener(up)
	t := time.NewTimer(patience)
	defer t.Stop()
	for !l.nc.IsConnected() {
		select {
		case <-up:
			if l.nc.IsClosed() {
				return nil, nats.ErrConnectionClosed
			}
		case <-t.C:
			return nil, nats.ErrNoServers
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return l, nil
}

// connect is the connection there is, or a new one where there is none or the
// client has given it up (it does when the credentials are refused).
func (s *Sink) connect(ctx context.Context) (*link, error) {
	s.mu.Lock()
	if s.link != nil && !s.link.nc.IsClosed() {
		defer s.mu.Unlock()
		return s.link, nil
	}
	if s.dialing == nil {
		s.dialing = make(chan struct{})
		go s.dial(s.dialing)
	}
	dialing := s.dialing
	s.mu.Unlock()
	select {
	case <-dialing:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link, s.refused
}

// dial takes no context: the client has none, and bounds it by dialTimeout for
// each server.
func (s *Sink) dial(ended chan struct{}) {
	l := &link{}
	var err error
	l.nc, err = nats.Connect(strings.Join(s.servers, ","), s.options...)
	if err == nil {
		l.js, err = jetstream.New(l.nc,
			jetstream.WithPublishAsyncTimeout(s.timeout), jetstream.WithPublishAsyncMaxPending(maxWaiting))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused, s.dialing = err, nil
	if err == nil {
		s.link = l
	}
	close(ended)
}

// makeStream makes the stream, once, if that is wanted and it is not there.
func (s *Sink) makeStream(ctx context.Context, l *link) error {
	if len(s.create.Subjects) == 0 {
		return nil
	}
	select {
	case s.making <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.making }()
	if s.made {
		return nil
	}
	_, err := l.js.CreateStream(ctx, s.create)
	// One of that name and other settings is the operator's.
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return &createError{err}
	}
	s.made = true
	return nil
}

// forgetStream has the stream looked after again at the next delivery.
func (s *Sink) forgetStream() {
	s.making <- struct{}{}
	s.made = false
	<-s.making
}
