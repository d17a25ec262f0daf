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

// handle takes one callback from the router to its answer.
func (s *Server) handle(c *fiber.Ctx) error {
	route, ok := s.o.Lookup(c.Params("tenant"), c.Params("endpoint"))
	// A segment that is no token would be stored as it is, and it may well be
	// a credential that nobody has bound.
	if !ok || c.Params("token") != "" && !route.hasPathToken() {
		return s.answer(c, host.EndpointUnknown)
	}
	client := s.client(c.Context().RemoteAddr(), c.Context().Request.Header.RawHeaders())
	if !route.Gate.allows(client) {
		return s.answer(c, host.AddressRefused)
	}
	if !slices.Contains(route.Methods, c.Method()) {
		c.Set(fiber.HeaderAllow, strings.Join(route.Methods, ", "))
		return s.answer(c, host.MethodNotAllowed)
	}
	s.underway.RLock()
	defer s.underway.RUnlock()
	// Asked under the lock: once Drain has had it, nothing is begun.
	if s.draining.Load() {
		s.refuse(c.Context(), host.Draining)
		return nil
	}
	if wait := route.Gate.admit(route.caller(c.Params("token"))); wait > 0 {
		s.o.Refused(host.RateLimited)
		write(c.Context(), limited(wait))
		return nil
	}
	write(c.Context(), s.o.Ingest(s.ctx, route.Endpoint, callback(c, route.PublicURL, client)))
	return nil
}

func (s *Server) answer(c *fiber.Ctx, code host.Code) error {
	s.o.Refused(code)
	write(c.Context(), host.Failure(code))
	return nil
}

// callback copies the request: every byte of it but the body, which is its own,
// lies in buffers that the server uses again after the handler.
func callback(c *fiber.Ctx, publicURL string, client netip.Addr) *host.Callback {
	h := &c.Context().Request.Header
	body, _ := c.Context().UserValue(bodyKey{}).([]byte)
	cb := &host.Callback{
		Method:   string(h.Method()),
		Target:   string(h.RequestURI()),
		Headers:  headers(h.RawHeaders()),
		Body:     body,
		Received: time.Now().UTC(),
		Remote:   client,
	}
	if publicURL != "" {
		cb.PublicURL = publicURL + cb.Target
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
