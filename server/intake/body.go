package intake

import (
	"errors"
	"io"

	"github.com/valyala/fasthttp"

	"github.com/postern/postern/host"
)

// firstRead is the memory that a body has before any of it has arrived.
const firstRead = 4 << 10

// readBody reads a body whole: announced bytes, or chunks if that is negative,
// limit at most. The memory is the caller's. It grows with what arrives, never
// with what was announced: many who announce much and send nothing would
// otherwise take up all there is.
func readBody(stream io.Reader, announced, limit int) ([]byte, error) {
	if stream == nil {
		return nil, nil
	}
	most := limit + 1
	if announced >= 0 {
		most = min(announced, most)
	}
	body := make([]byte, 0, min(most, firstRead))
	for {
		if len(body) == cap(body) {
			// Twice of what there is: append would round up.
			more := make([]byte, len(body), len(body)+max(min(len(body), most-len(body)), 1))
			copy(more, body)
			body = more
		}
		n, err := stream.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case len(body) > limit:
			return nil, fasthttp.ErrBodyTooLarge
		case errors.Is(err, io.EOF) && announced >= 0 && len(body) < announced:
			return nil, io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, err
		}
	}
}

// body reads a request's body, all of it, or answers it and closes the
// connection: what is left over would be the next request.
func (s *Server) body(ctx *fasthttp.RequestCtx) (body []byte, ok bool) {
	h := &ctx.Request.Header
	body, err := readBody(ctx.RequestBodyStream(), h.ContentLength(), s.o.Limits.Body)
	if err == nil && cutOff(ctx.Conn()) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		s.unread(ctx, err)
		return nil, false
	}
	ctx.SetUserValue(bodyKey{}, true)
	if chunked(h) && trailed(h) {
		s.refuse(ctx, host.HeadMalformed)
		return nil, false
	}
	return body, true
}

// bodyKey is where a request notes that its body was read.
type bodyKey struct{}

// unannounce keeps fasthttp from reading the body: of one that is too large
// nothing, since it would wait for the first of it to arrive, and of any other
// no more than a byte, the least that it can be told. The head says still what
// was announced, and is judged by it.
func (s *Server) unannounce(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() > s.o.Limits.Body {
		h.SetContentLength(0)
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: 1}
}
