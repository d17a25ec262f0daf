package webhook

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/host"
)

// say answers 500 with a body.
func say(kind, text string, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", kind)
		status(http.StatusInternalServerError, header...)(w, nil)
		_, _ = io.WriteString(w, text)
		return false
	}
}

func TestSink_keepsTheAnswer(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	s := open(t, c)
	long := strings.Repeat("ü", 3000)
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		"done":              {take, ""},
		"status alone":      {status(http.StatusConflict), "409 Conflict"},
		"status of nobody":  {status(599), "599"},
		"gone":              {status(http.StatusGone), "410 Gone"},
		"text":              {say("text/plain; charset=utf-8", " no\r\nsuch\t ledger \n"), "500 Internal Server Error: no such ledger"},
		"json":              {say("application/json", "{\n  \"a\": 1\n}"), `500 Internal Server Error: { "a": 1 }`},
		"problem":           {say("application/problem+json", `{"a":1}`), `500 Internal Server Error: {"a":1}`},
		"no type":           {say("", "plain"), "500 Internal Server Error: plain"},
		"no type, no text":  {say("", "\x00\x01\x02"), "500 Internal Server Error"},
		"a picture":         {say("image/png", "text all the same"), "500 Internal Server Error"},
		"compressed":        {say("text/plain", "text all the same", "Content-Encoding", "gzip"), "500 Internal Server Error"},
		"what moves cursor": {say("text/plain", "a\x1b[2Jb\u202ec\u2028d\x85e\xfff\u200bg"), "500 Internal Server Error: a [2Jb c d e f g"},
		"long":              {say("text/plain", long), "500 Internal Server Error: " + long[:2*((host.MaxReason-27)/2)]},
	} {
		r.set(tc.answer)
		got := host.AnswerOf(deliver(t, s))
		if got != tc.want {
			t.Errorf("%s: answer = %q, want %q", name, got, tc.want)
		}
		if len(got) > host.MaxReason || !utf8.ValidString(got) {
			t.Errorf("%s: the answer has %d bytes, or is no UTF-8", name, len(got))
		}
	}
}

// TestInvariant8_answersHoldNoSecret has servers that send the request back, in
// all the ways in which those do that exist.
func TestInvariant8_answersHoldNoSecret(t *testing.T) {
	t.Parallel()
	_, seed, whole := privateKey()
	basic := base64.StdEncoding.EncodeToString([]byte("user-canary:pass/canary+9"))
	c := Config{
		Secrets: []string{secret(0), seed, whole},
		Headers: map[string]string{
			"Authorization": "Bearer canary/token+with=signs&<x>", "X-Api-Key": "canary key, 2 words", "X-Short": "s3cr", "X-Basic": "Basic " + basic,
		},
		AllowPrivate: true,
	}
	canaries := []string{
		"path-8d2e", "second piece", "query-41c7", "/canary", "pass/canary+9", "user-canary", basic, "token+with", "canary key", "s3cr",
		secret(0)[6:], seed[5:], whole[5:],
	}
	everything := strings.Join(append(append([]string{c.Headers["Authorization"]}, canaries...), c.Secrets...), " ; ")
	echo := func(change func(string) string) func(net.Conn, []byte) {
		return func(conn net.Conn, request []byte) {
			body := change(string(request) + everything)
			_, _ = io.WriteString(conn, "HTTP/1.1 400 "+strings.ReplaceAll(everything, "\n", "")+"\r\nContent-Type: text/plain\r\n\r\n"+body)
		}
	}
	for name, change := range map[string]func(string) string{
		"as it came":  func(s string) string { return s },
		"upper case":  strings.ToUpper,
		"lower case":  strings.ToLower,
		"JSON":        func(s string) string { b, _ := json.Marshal(s); return string(b) },
		"JSON of PHP": func(s string) string { b, _ := json.Marshal(s); return strings.ReplaceAll(string(b), "/", `\/`) },
		"HTML":        html.EscapeString,
		"percent":     url.QueryEscape,
		"path":        url.PathEscape,
		"hex":         func(s string) string { return hex.EncodeToString([]byte(s)) },
		"base64":      func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"base64, 1":   func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("x" + s)) },
		"base64, 2":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("xx" + s)) },
		"cut short":   func(s string) string { return strings.Repeat(" ", 4096-120) + s },
		"behind much": func(s string) string { return strings.Repeat("x", 1024-200) + s },
		"in pieces":   func(s string) string { return strings.ReplaceAll(s, "; ", "\x00\n") },
		"twice":       func(s string) string { return s[len(s)/2:] + s },
		"dumped in go": func(s string) string {
			req, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://x/", strings.NewReader(s))
			b, _ := httputil.DumpRequestOut(req, true)
			return string(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c
			c.URL = strings.TrimSuffix(rawServer(t, echo(change)).URL, "/"+canaryPath+"?key="+canaryQuery) +
				"/canary-path-8d2e/second%20piece?key=canary-query-41c7&other"
			err := deliver(t, open(t, c))
			answer := host.AnswerOf(err)
			if !strings.HasPrefix(answer, "400 Bad Request: ") || !strings.Contains(answer, masked) {
				t.Fatalf("answer = %q, want one with stars", answer)
			}
			for i, canary := range canaries {
				for _, form := range forms(canary) {
					if strings.Contains(strings.ToLower(answer+err.Error()), strings.ToLower(form)) {
						t.Errorf("the answer holds canary %d", i)
					}
				}
			}
			if i := strings.IndexFunc(answer, unicode.IsControl); i >= 0 {
				t.Errorf("the answer has a control character at %d", i)
			}
		})
	}
}

func TestHidden_mask(t *testing.T) {
	t.Parallel()
	h := hide([]string{"abcdefghijkl", "1234", "xyz", "a/b+c=d&ef"})
	for text, want := range map[string]string{
		"":                           "",
		"nothing":                    "nothing",
		"<abcdefghijkl>":             "<***>",
		"<ABCDEFghijkl>":             "<***>",
		"<abcdefgh|efghijkl>":        "<***|***>",
		"<abcdefg>":                  "<abcdefg>",
		"12345123412":                "***5***12",
		"xyz is too short to be one": "xyz is too short to be one",
		`a\/b+c=d&ef`:                masked,
		"a%2Fb%2bc%3Dd%26ef":         masked,
		"a/b+c=d&amp;ef":             masked,
		"ü1234ü":                     "ü***ü",
	} {
		if got := h.mask(text); got != want {
			t.Errorf("mask(%q) = %q, want %q", text, got, want)
		}
	}
}
