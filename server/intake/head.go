package intake

import (
	"bytes"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/postern/postern/host"
)

// wellFormed judges a head that fasthttp has accepted; if it is to be refused,
// code says for what. It lets through what every parser on the way must read the
// same, and nothing else: what one of them frames, routes or names differently
// is how a second request is smuggled past the first, or a signed header past
// its signature. docs/front-door.md lists what passes.
func wellFormed(h *fasthttp.RequestHeader) (code host.Code, ok bool) {
	protocol := string(h.Protocol())
	if protocol != "HTTP/1.1" && protocol != "HTTP/1.0" ||
		!slices.Contains(methods, string(h.Method())) || !goodTarget(string(h.RequestURI())) {
		return host.HeadMalformed, false
	}
	var seen fields
	for raw := h.RawHeaders(); !atEnd(raw); {
		name, value, rest, ok := field(raw)
		if !ok || !seen.add(string(name), string(value)) {
			return host.HeadMalformed, false
		}
		raw = rest
	}
	switch {
	case seen.count > maxFields:
		return host.HeadTooMany, false
	case seen.cut(h):
		return host.BodyTooLarge, false
	case seen.count == 0 || !seen.framed(h):
		// fasthttp shows no fields where an LF alone ends them.
		return host.HeadMalformed, false
	case !seen.decodable():
		return host.EncodingUnsupported, false
	}
	return 0, true
}

// methods are those that any endpoint may have. TRACE shows a request to
// whoever made a browser send it, CONNECT asks for a tunnel.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// pathPunctuation are the characters of a path beside letters, digits and
// slashes. There is no percent sign among them: names and tokens need none, and
// what decodes to a slash or a dot is one segment here and two elsewhere.
const pathPunctuation = "-._~!$&'()*+,=:@"

// goodTarget allows the origin form only, with a path that nothing can
// normalise to another one.
func goodTarget(target string) bool {
	path, query, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c != '/' && !alphanumeric(c) && strings.IndexByte(pathPunctuation, c) < 0 {
			return false
		}
	}
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return false
		}
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// headers are the fields in wire order, repeats included, names as sent. A
// trailer is none of them: it came after the body. The memory is their own.
func headers(raw []byte) []host.Header {
	out := make([]host.Header, 0, bytes.Count(raw, crlf))
	for !atEnd(raw) {
		name, value, rest, ok := field(raw)
		if !ok {
			break
		}
		out = append(out, host.Header{Name: string(name), Value: string(value)})
		raw = rest
	}
	return out
}

var crlf = []byte("\r\n")

// atEnd reports whether raw is at the empty line that ends a head. A head
// without fields has nothing.
func atEnd(raw []byte) bool { return len(raw) == 0 || bytes.Equal(raw, crlf) }

// field takes one field off a head: a name that is a token, a colon right after
// it, a value without control characters, CRLF. A line that goes on on the next
// one is no field.
func field(raw []byte) (name, value, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(raw, crlf)
	if !ok {
		return nil, nil, nil, false
	}
	name, value, ok = bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, nil, false
	}
	for _, c := range name {
		if !alphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return nil, nil, nil, false
		}
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, nil, nil, false
		}
	}
	return name, bytes.Trim(value, " \t"), rest, true
}
