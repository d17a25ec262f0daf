package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"github.com/postern/postern/host"
)

// parseRequest reads a request as editors and HTTP clients write it to a .http
// file: lines beginning with # first, if any, then the request line, the
// headers, an empty line, and the body byte for byte.
func parseRequest(file []byte) (*host.Callback, error) {
	rest := file
	line := ""
	for line == "" || strings.HasPrefix(line, "#") {
		var ok bool
		if line, rest, ok = nextLine(rest); !ok {
			return nil, fmt.Errorf("it has no request line")
		}
	}
	words := strings.Fields(line)
	if len(words) < 2 || len(words) > 3 || !strings.HasPrefix(words[1], "/") {
		return nil, fmt.Errorf("its request line %q is not METHOD /path", line)
	}
	cb := &host.Callback{Method: words[0], Target: words[1]}
	for {
		var ok bool
		line, rest, ok = nextLine(rest)
		if !ok || line == "" {
			cb.Body = bytes.Clone(rest)
			return cb, nil
		}
		h, err := parseHeader(line)
		if err != nil {
			return nil, err
		}
		if !fromTransport(h.Name) {
			cb.Headers = append(cb.Headers, h)
		}
	}
}

// nextLine cuts off a line; ok is false at the end.
func nextLine(b []byte) (line string, rest []byte, ok bool) {
	if len(b) == 0 {
		return "", nil, false
	}
	before, after, _ := bytes.Cut(b, []byte("\n"))
	return strings.TrimRight(string(before), "\r"), after, true
}

// parseHeader reads "Name: value".
func parseHeader(line string) (host.Header, error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return host.Header{}, fmt.Errorf("header %q is not \"Name: value\"", line)
	}
	return host.Header{Name: name, Value: strings.TrimSpace(value)}, nil
}

// fromTransport reports whether a header is the HTTP client's own business.
func fromTransport(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Connection", "Transfer-Encoding":
		return true
	}
	return false
}
