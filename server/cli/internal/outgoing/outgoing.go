// Package outgoing makes the callbacks that the command line sends or tries: from
// a file, from what a plugin carries, signed and posted.
package outgoing

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server"
)

// Read reads a callback from a .http file; see [Parse].
func Read(file string) (*host.Callback, error) {
	text, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read the callback: %w", err)
	}
	cb, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return cb, nil
}

// Captured reads callbacks that were received at some time. A file is a .http
// file by its name; any other is the body alone, posted to "/".
func Captured(files []string, received time.Time) ([]*host.Callback, error) {
	var all []*host.Callback
	for _, file := range files {
		cb := &host.Callback{Method: http.MethodPost, Target: "/"}
		var err error
		if strings.HasSuffix(file, ".http") {
			cb, err = Read(file)
		} else if cb.Body, err = os.ReadFile(file); err != nil { //nolint:gosec // the operator names the file
			err = fmt.Errorf("read the callback: %w", err)
		}
		if err != nil {
			return nil, err
		}
		cb.Received = received
		all = append(all, cb)
	}
	return all, nil
}

// Parse reads a request as editors and HTTP clients write it to a .http
// file: lines beginning with # first, if any, then the request line, the
// headers, an empty line, and the body byte for byte.
func Parse(file []byte) (*host.Callback, error) {
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
		h, err := Header(line)
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

// Header reads "Name: value".
func Header(line string) (host.Header, error) {
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

// Accepted is a callback that the plugin's own tests expect it to accept: the
// first whose name is one word, since those are the ordinary cases, else the
// first; one that needs no settings before one that does. It may carry a
// signature that is not the endpoint's, see [Sign].
func Accepted(c *config.Plugins, plugin string) (*host.Callback, error) {
	found, err := server.ReadPlugin(c, plugin)
	if err != nil {
		return nil, err
	}
	goldens, err := wasm.Goldens(found.Code)
	if err != nil {
		return nil, err
	}
	var best *wasm.Golden
	for i := range goldens {
		g := &goldens[i]
		if g.Verdict == host.Accept.String() && (best == nil || rank(g) < rank(best)) {
			best = g
		}
	}
	if best == nil {
		return nil, fmt.Errorf("the plugin %s carries no callback that it accepts: give one with --data or as a .http file", found)
	}
	return Parse(best.Request)
}

// rank is lower for more ordinary cases.
func rank(g *wasm.Golden) int {
	r := 0
	if len(g.Settings) > 0 {
		r += 2
	}
	if strings.Contains(g.Name, "-") {
		r++
	}
	return r
}
