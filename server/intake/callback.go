package intake

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/postern/postern/host"
)

// entry is what a head alone decides of a callback: where it goes, and whose it
// is.
type entry struct {
	route  Route
	client netip.Addr
}

// A request carries its entry from when its sender was asked for the body to
// when that is there, and until then that its sender waits.
type (
	entryKey struct{}
	askedKey struct{}
)

// handle takes one callback from the router to its answer.
func (s *Server) handle(c *fiber.Ctx) error {
	ctx := c.Context()
	e, asked := ctx.UserValue(entryKey{}).(*entry)
	if !asked {
		if e = s.enter(c, true); e == nil {
			return nil
		}
		if ctx.UserValue(askedKey{}) != nil {
			ctx.SetUserValue(entryKey{}, e)
			return nil
		}
	}
	body, ok := s.body(ctx)
	if !ok {
		return nil
	}
	s.underway.RLock()
	defer s.underway.RUnlock()
	// Asked under the lock: once Drain has had it, nothing is begun.
	if s.draining.Load() {
		s.refuse(ctx, host.Draining)
		return nil
	}
	// While the body came the endpoint may have become another one.
	for e.route.Begin != nil && !e.route.Begin() {
		if e = s.enter(c, false); e == nil {
			return nil
		}
	}
	if e.route.End != nil {
		defer e.route.End()
	}
	write(ctx, s.o.Ingest(s.ctx, e.route.Endpoint, callback(ctx, e, body)))
	return nil
}

// enter lets a request in by its head, or answers it and returns nil. One that was
// let in already counts no second time.
func (s *Server) enter(c *fiber.Ctx, counts bool) *entry {
	ctx := c.Context()
	refuse := func(code host.Code) *entry {
		s.turnAway(ctx, code, host.Failure(code))
		return nil
	}
	route, ok := s.o.Lookup(c.Params("tenant"), c.Params("endpoint"))
	// A segment that is no token would be stored as it is, and it may well be
	// a credential that nobody has bound.
	if !ok || c.Params("token") != "" && !route.hasPathToken() {
		return refuse(host.EndpointUnknown)
	}
	client := s.client(ctx.RemoteAddr(), ctx.Request.Header.RawHeaders())
	if !route.Gate.allows(client) {
		return refuse(host.AddressRefused)
	}
	if !slices.Contains(route.Methods, c.Method()) {
		c.Set(fiber.HeaderAllow, strings.Join(route.Methods, ", "))
		return refuse(host.MethodNotAllowed)
	}
	if counts {
		if wait := route.Gate.admit(route.caller(c.Params("token"))); wait > 0 {
			s.turnAway(ctx, host.RateLimited, limited(wait))
			return nil
		}
	}
	return &entry{route, client}
}

// callback copies the request: every byte of it but the body, which is its own,
// lies in buffers that the server uses again after the handler.
func callback(ctx *fasthttp.RequestCtx, e *entry, body []byte) *host.Callback {
	h := &ctx.Request.Header
	cb := &host.Callback{
		Method:   string(h.Method()),
		Target:   string(h.RequestURI()),
		Headers:  headers(h.RawHeaders()),
		Body:     body,
		Received: time.Now().UTC(),
		Remote:   e.client,
	}
	if e.route.PublicURL != "" {
		cb.PublicURL = e.route.PublicURL + cb.Target
	}
	return cb
}

// write sends an answer as it is.
func write(ctx *fasthttp.RequestCtx, a host.Answer) {
	if a.Status == 0 {
		a.Status = fasthttp.StatusOK
	}
	ctx.Response.SetStatusCode(a.Status)
	if a.ContentType != "" {
		ctx.Response.Header.SetContentType(a.ContentType)
	}
	if a.RetryAfter > 0 {
		seconds := int((a.RetryAfter + time.Second - 1) / time.Second)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(seconds))
	}
	if a.Close {
		ctx.Response.SetConnectionClose()
	}
	ctx.Response.SetBody(a.Body)
}
