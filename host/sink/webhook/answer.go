package webhook

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/host"
)

// read reads the little that is kept of an answer's body, which is all that is
// needed to use the connection again. An answer that trickles in does not hold
// up the delivery, which is decided by now.
func read(body io.Reader, cancel context.CancelFunc) []byte {
	t := time.AfterFunc(drainTime, cancel)
	defer t.Stop()
	b, _ := io.ReadAll(io.LimitReader(body, maxAnswer))
	return b
}

// judge turns an answer into Deliver's error.
func (s *Sink) judge(resp *http.Response, body []byte) error {
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil
	}
	err := fmt.Errorf("post to %s: answered %d", s.host, resp.StatusCode)
	err = host.WithAnswer(err, s.answer(resp, body))
	switch resp.StatusCode {
	case http.StatusGone:
		return host.Permanent(err)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if d := retryAfter(resp.Header.Get("Retry-After"), time.Now()); d > 0 {
			return host.RetryAfter(err, d)
		}
	}
	return err
}

// answer is what the other side said, as one line: the status, and of a body
// that is text the beginning.
//
// Invariant 8: an answer may send back the request, so whatever is secret in
// that is masked, before anything is cut off that could leave half of it.
func (s *Sink) answer(resp *http.Response, body []byte) string {
	line := strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode))
	if !textual(resp.Header, body) {
		return line
	}
	if text := clean(s.hidden.mask(clean(s.hidden.mask(string(body))))); text != "" {
		line += ": " + text
	}
	if len(line) <= host.MaxReason {
		return line
	}
	cut := host.MaxReason
	for !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut]
}

// textual says that a body is meant to be read. One that came compressed, though
// nobody asked for that, is not.
func textual(h http.Header, body []byte) bool {
	if h.Get("Content-Encoding") != "" {
		return false
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = http.DetectContentType(body)
	}
	for _, end := range []string{"/json", "+json", "/xml", "+xml", "/x-www-form-urlencoded"} {
		if strings.HasSuffix(kind, end) {
			return true
		}
	}
	return strings.HasPrefix(kind, "text/")
}

// clean puts one space for each run of what is no visible character: line ends,
// control characters, marks that turn the direction of writing, bytes that are
// not UTF-8.
func clean(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, " "), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == utf8.RuneError
	}), " ")
}

// retryAfter reads a number of seconds or an HTTP date; zero means neither, or
// a time already past.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(maxAsked/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxAsked)
}
