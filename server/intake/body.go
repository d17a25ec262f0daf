package intake

import (
	"errors"
	"io"

	"github.com/valyala/fasthttp"
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

// bodyKey is where a request carries its body from the front to its handler.
type bodyKey struct{}

// unannounce has fasthttp read nothing of a body that is too large: it would
// wait for the first of it to arrive. The head says still what was announced,
// and is refused for it.
func (s *Server) unannounce(h *fasthttp.RequestHeader) (none fasthttp.RequestConfig) {
	if h.ContentLength() > s.o.Limits.Body {
		h.SetContentLength(0)
	}
	return none
}
