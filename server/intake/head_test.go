package intake

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

func TestHead_refused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head   string
		status string
	}{
		"length and encoding":       {post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "400"},
		"encoding and length":       {post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "400"},
		"two lengths":               {post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"two encodings":             {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"identity":                  {post + "Transfer-Encoding: identity\r\n\r\n", "400"},
		"identity and length":       {post + "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"gzip, chunked":             {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"},
		"signed length":             {post + "Content-Length: +3\r\n\r\nabc", "400"},
		"protocol 9.9":              {"POST /in/acme/pay HTTP/9.9\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"protocol 2.0":              {"POST /in/acme/pay HTTP/2.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"no protocol":               {"POST /in/acme/pay\r\nHost: a\r\n\r\n", "400"},
		"absolute target":           {"POST http://a/in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"asterisk":                  {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"authority":                 {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"double slash":              {"POST /in//acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"double slash in front":     {"POST //in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"dot segment":               {"POST /in/./acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"dot dot segment":           {"POST /x/../in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"dot dot at the end":        {"POST /in/acme/.. HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"encoded dots":              {"POST /x/%2e%2e/in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"encoded letter":            {"POST /in/acme/%70ay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"backslash":                 {"POST /in\\acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"path parameter":            {"POST /in/acme;x=1/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"fragment":                  {"POST /in/acme/pay?a=1#b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"raw byte in the query":     {"POST /in/acme/pay?a=\xff HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"folded field":              {post + "X-Sig: a\r\n b\r\nContent-Length: 0\r\n\r\n", "400"},
		"folded with a tab":         {post + "X-Sig: a\r\n\tb\r\nContent-Length: 0\r\n\r\n", "400"},
		"space before the colon":    {post + "X-Sig : a\r\nContent-Length: 0\r\n\r\n", "400"},
		"space in a name":           {post + "X Sig: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"no name":                   {post + ": a\r\nContent-Length: 0\r\n\r\n", "400"},
		"no colon":                  {post + "X-Sig\r\nContent-Length: 0\r\n\r\n", "400"},
		"control in a value":        {post + "X-Sig: a\x01b\r\nContent-Length: 0\r\n\r\n", "400"},
		"no host":                   {"POST /in/acme/pay HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "400"},
		"two hosts":                 {post + "Host: b\r\nContent-Length: 0\r\n\r\n", "400"},
		"body on GET":               {"GET /in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"chunked body on HEAD":      {"HEAD /in/acme/pay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"unknown method":            {"BREW /in/acme/pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "400"},
		"encoding on HTTP/1.0":      {"POST /in/acme/pay HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"broken chunk":              {post + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", "400"},
		"head too large":            {post + "X-Sig: " + strings.Repeat("a", maxHead) + "\r\nContent-Length: 0\r\n\r\n", "431"},
		"body too large":            {post + "Content-Length: 1025\r\n\r\n", "413"},
		"chunked body too large":    {post + "Transfer-Encoding: chunked\r\n\r\n400\r\n" + strings.Repeat("a", 1024) + "\r\n1\r\n", "413"},
		"announced chunk too large": {post + "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", "413"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, testLimits, nil)
			got := f.raw(t, c.head+second)
			if !strings.HasPrefix(got, "HTTP/1.1 "+c.status+" ") {
				t.Fatalf("answer = %q, want status %s", got, c.status)
			}
			if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
				t.Errorf("%d answers, want the refusal alone:\n%s", n, got)
			}
			if !strings.Contains(got, "\r\nConnection: close\r\n") {
				t.Errorf("the connection is not closed:\n%s", got)
			}
			code := host.HeadMalformed
			switch c.status {
			case "413":
				code = host.BodyTooLarge
			case "431":
				code = host.HeadTooLarge
			}
			want := string(host.Failure(code).Body)
			if c.head[:4] == "HEAD" {
				want = ""
			}
			if _, body, _ := strings.Cut(got, "\r\n\r\n"); body != want {
				t.Errorf("body = %q, want %q", body, want)
			}
			if cbs := f.callbacks(); len(cbs) != 0 {
				t.Errorf("%d callbacks went through: %+v", len(cbs), cbs[0])
			}
			if f.log.Len() != 0 {
				t.Errorf("log = %s, want nothing", f.log)
			}
			if diff := cmp.Diff([]host.Code{code}, f.codes); diff != "" {
				t.Errorf("refused codes (-want +got):\n%s", diff)
			}
		})
	}
}
