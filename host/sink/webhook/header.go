package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// headerForm is narrower than HTTP's: what every proxy on the way passes on.
var headerForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// ours are the headers that say how a request is framed or how its connection
// is used: whoever could set one would speak for the client, up to hiding a
// second request in the first. And a fixed Idempotency-Key would make a receiver
// that heeds it drop every event but the first.
var ours = []string{
	"Host", "Connection", "Proxy-Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
	"Http2-Settings", "Expect", "Proxy-Authorization", "Proxy-Authenticate", "Accept-Encoding", "Idempotency-Key",
}

// oursBy are the beginnings of names that describe the body or sign it.
var oursBy = []string{"Content-", "Webhook-", "Ce-"}

// parseHeaders checks the fixed headers and returns them, with what of their
// values must be shown nowhere.
func parseHeaders(headers map[string]string) (out http.Header, hidden []string, err error) {
	out = make(http.Header)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, canonical := headers[name], http.CanonicalHeaderKey(name)
		if err := checkHeader(canonical, value); err != nil {
			errs = append(errs, fmt.Errorf("headers.%s: %w", name, err))
			continue
		}
		if _, twice := out[canonical]; twice {
			errs = append(errs, fmt.Errorf("headers.%s: stands twice, in other letters; keep one", name))
			continue
		}
		out[canonical] = []string{value}
		hidden = append(hidden, parts(value)...)
	}
	return out, hidden, errors.Join(errs...)
}

func checkHeader(name, value string) error {
	begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	switch {
	case !headerForm.MatchString(name):
		return errors.New("is no name of a header; write letters, digits, - and _")
	case slices.ContainsFunc(ours, func(o string) bool { return strings.EqualFold(o, name) }),
		slices.ContainsFunc(oursBy, begins):
		return errors.New("is set by the sink itself; leave it out")
	case value == "" || strings.TrimSpace(value) != value:
		return errors.New("has an empty value, or one with space around it; write the value alone")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		return errors.New("has a value with characters that are not printable ASCII; write it without line ends and the like")
	}
	return nil
}

// parts are a value and the pieces by which an answer may name it: the token
// behind "Bearer", user and password of "Basic".
func parts(value string) []string {
	out := append([]string{value}, strings.Fields(value)...)
	if encoded, ok := strings.CutPrefix(value, "Basic "); ok {
		if pair, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			user, password, _ := strings.Cut(string(pair), ":")
			out = append(out, string(pair), user, password)
		}
	}
	return out
}
