// Package intake is the open side of Postern: the HTTP server that providers
// call. It judges the head of each request, finds the endpoint, makes a
// [host.Callback] that owns its memory, hands it to the host and writes the
// answer. Package server puts it together with the rest.
//
// It trusts nothing that arrives: what two parsers could read differently is
// refused with 400 and a closed connection, and neither an answer nor a log
// quotes a request. Paths, queries and header values may be credentials; a
// tenant and an endpoint are named only once they are known to exist.
package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/postern/postern/host"
)

// maxHead is the largest request line and header block taken, in bytes.
const maxHead = 16 << 10

// Limits bound what one client can take up. None may be zero: a server without
// one of them can be held up by anybody.
type Limits struct {
	// Body is the largest body, in bytes on the wire.
	Body int
	// Read bounds reading a request, head and body together; Write bounds
	// writing an answer; Idle is how long a connection may wait for its next
	// request.
	Read, Write, Idle time.Duration
	// Connections is how many are served at once.
	Connections int
}

func (l Limits) check() error {
	if l.Body <= 0 || l.Read <= 0 || l.Write <= 0 || l.Idle <= 0 || l.Connections <= 0 {
		return fmt.Errorf("intake limits %+v: none may be zero", l)
	}
	return nil
}

// Route is an endpoint as the intake sees it.
type Route struct {
	Endpoint *host.Endpoint
	// Methods are those the provider may use; all others are refused.
	Methods []string
	// PublicURL is what stands before the target in the URL that the provider
	// knows, without a slash at its end; empty means unknown.
	PublicURL string
	// Gate says who may call and how often; nil lets everyone in.
	Gate *Gate
	// Begin is asked before a callback is judged, and End told when it is answered:
	// in between the endpoint stays as it is. If Begin says no it has gone, and is
	// looked up again. Both nil means that it stays for ever.
	Begin func() bool
	End   func()
}

// hasPathToken says that the route's path ends in a token.
func (r *Route) hasPathToken() bool {
	return slices.ContainsFunc(r.Endpoint.Tokens, func(t host.Token) bool { return t.In == host.InPath })
}

// caller tells who has the path token that the route asks for, if it asks for
// one. Whether a callback is refused for it is the host's to say.
func (r *Route) caller(segment string) caller {
	for i := range r.Endpoint.Tokens {
		if t := &r.Endpoint.Tokens[i]; t.In == host.InPath && len(t.Values) > 0 && !t.Matches(segment) {
			return stranger
		}
	}
	return known
}

// Options say what a Server needs. Every field but TrustedProxies and Refused is
// required.
type Options struct {
	Limits Limits
	// TrustedProxies are the machines whose X-Forwarded-For is believed. Without
	// any the client is who connects.
	TrustedProxies []netip.Prefix
	// Lookup finds an endpoint. It is called concurrently and must neither
	// block nor keep the names, whose memory is used again.
	Lookup func(tenant, endpoint string) (Route, bool)
	// Ingest takes a callback to its answer; see [host.Host.Ingest]. Its
	// context ends when a drain runs out of time.
	Ingest func(ctx context.Context, ep *host.Endpoint, cb *host.Callback) host.Answer
	Log    *slog.Logger
	// Refused is told of each request that never became a callback. It must
	// not block.
	Refused func(host.Code)
}

// Server takes callbacks in. Make one with [New].
type Server struct {
	o   Options
	app *fiber.App
	// judge takes a request through the front and the router.
	judge fasthttp.RequestHandler

	draining atomic.Bool
	// underway is held for reading while a callback is with Ingest.
	underway sync.RWMutex
	ctx      context.Context
	cancel   context.CancelFunc
}

// New makes a server that does nothing until Serve. It fails if a limit is not
// set.
func New(o Options) (*Server, error) {
	if err := o.Limits.check(); err != nil {
		return nil, err
	}
	if o.Refused == nil {
		o.Refused = func(host.Code) {}
	}
	s := &Server{o: o}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.app = fiber.New(fiber.Config{
		BodyLimit:                    o.Limits.Body,
		StreamRequestBody:            true, // see readBody
		ReadTimeout:                  o.Limits.Read,
		WriteTimeout:                 o.Limits.Write,
		IdleTimeout:                  o.Limits.Idle,
		Concurrency:                  o.Limits.Connections,
		ReadBufferSize:               maxHead,
		CaseSensitive:                true,
		StrictRouting:                true,
		ErrorHandler:                 s.unrouted,
		DisableHeaderNormalizing:     false, // see headers: names come from the raw head
		DisablePreParseMultipartForm: true,  // the body stays as sent
		DisableDefaultContentType:    true,
		DisableStartupMessage:        true,
	})
	handle := s.handle
	if poisoned {
		handle = poisonParams(handle)
	}
	s.app.All("/in/:tenant/:endpoint", handle)
	s.app.All("/in/:tenant/:endpoint/:token", handle)
	srv := s.app.Server()
	s.judge = s.front(srv.Handler)
	srv.Handler = s.judge
	if poisoned {
		srv.Handler = poison(srv.Handler)
	}
	srv.HeaderReceived = s.unannounce
	srv.ExpectHandler = s.expected
	srv.ErrorHandler = s.unread
	return s, nil
}

// Serve takes callbacks in on ln until Drain, and closes ln. It returns nil
// after a drain.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.app.Listener(&watched{ln, s.crowded()}); err != nil {
		return fmt.Errorf("serve callbacks on %s: %w", ln.Addr(), err)
	}
	return nil
}

// crowded logs connections that are turned away because enough are served, once
// a minute: each costs whoever opens it nothing.
func (s *Server) crowded() func() {
	var last time.Time
	since := 0
	return func() {
		since++
		if now := time.Now(); now.Sub(last) >= time.Minute {
			s.o.Log.Warn("connections turned away: as many are served as intake.max_connections allows", "count", since)
			last, since = now, 0
		}
	}
}

// Drain stops taking callbacks in: new ones are answered 503, those under way
// end. It returns once none is under way and the connections are closed, or
// when ctx ends; it is an error only if callbacks were then still under way,
// and the store must not be closed.
//
// Invariant 12: nothing behind the intake is stopped before this has returned.
func (s *Server) Drain(ctx context.Context) error {
	defer s.cancel()
	s.draining.Store(true)
	// A client that is slow to read its answer is left behind: its callback is
	// durable already.
	_ = s.app.ShutdownWithContext(ctx)
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	ended := make(chan struct{})
	go func() {
		s.underway.Lock()
		defer s.underway.Unlock()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	// Those that only wait for their turn have been told to give up.
	last := time.NewTimer(time.Second)
	defer last.Stop()
	select {
	case <-ended:
		return nil
	case <-last.C:
		return errors.New("drain the intake: callbacks are still under way")
	}
}

// front stands before the router: what it refuses no router sees, and whatever
// panics behind it is answered.
func (s *Server) front(route fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer s.recovered(ctx)
		h := &ctx.Request.Header
		if code, ok := wellFormed(h); !ok {
			s.refuse(ctx, code)
			return
		}
		// fasthttp takes an end of the chunks by LF alone and tells nobody; what
		// follows them is no request, then.
		if chunked(h) || closes(h.RawHeaders()) {
			ctx.SetConnectionClose()
		}
		route(ctx)
	}
}

// recovered answers a request whose handler has panicked. It is deferred.
func (s *Server) recovered(ctx *fasthttp.RequestCtx) {
	if r := recover(); r != nil {
		// Not r itself: its text may hold anything.
		s.o.Log.Error("intake panicked", "type", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
		s.refuse(ctx, host.Internal)
	}
}

// expected judges a request whose sender waits to be asked for the body. One
// that is refused is not asked.
func (s *Server) expected(ctx *fasthttp.RequestCtx) (status int) {
	ctx.SetUserValue(askedKey{}, true)
	s.judge(ctx)
	ctx.RemoveUserValue(askedKey{})
	if ctx.UserValue(entryKey{}) == nil {
		return ctx.Response.StatusCode()
	}
	return fasthttp.StatusContinue
}

// unrouted answers what the router has no route for. Its error quotes the
// request and goes nowhere.
func (s *Server) unrouted(c *fiber.Ctx, err error) error {
	code := host.Internal
	var routing *fiber.Error
	if errors.As(err, &routing) {
		code = host.EndpointUnknown
	}
	s.turnAway(c.Context(), code, host.Failure(code))
	return nil
}

// turnAway answers a request by its head alone. If it has a body, that is not
// read, and the connection is closed.
func (s *Server) turnAway(ctx *fasthttp.RequestCtx, code host.Code, a host.Answer) {
	s.o.Refused(code)
	length := ctx.Request.Header.ContentLength()
	a.Close = a.Close || length > 0 || length == -1
	write(ctx, a)
}

// unread answers a request that could not be read. The error quotes it and goes
// nowhere. The connection is closed after it.
func (s *Server) unread(ctx *fasthttp.RequestCtx, err error) {
	var (
		small   *fasthttp.ErrSmallBuffer
		timeout net.Error
	)
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.refuse(ctx, host.BodyTooLarge)
	case errors.As(err, &small):
		s.refuse(ctx, host.HeadTooLarge)
	case errors.As(err, &timeout) && timeout.Timeout():
		// Many providers retry on 408, none on 400.
		s.refuse(ctx, host.RequestTimeout)
	default:
		s.refuse(ctx, host.HeadMalformed)
	}
}

// refuse answers with a code and closes the connection: what follows on it
// cannot be trusted to be a request.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, code host.Code) {
	s.o.Refused(code)
	a := host.Failure(code)
	a.Close = true
	if code == host.EncodingUnsupported {
		ctx.Response.Header.Set(fasthttp.HeaderAcceptEncoding, strings.Join(codings, ", "))
	}
	write(ctx, a)
}
