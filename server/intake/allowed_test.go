package intake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"

	"github.com/postern/postern/host"
)

// allowed is a form that docs/front-door.md lets through, and what the host gets
// of it: headers as sent, names and values in turn.
type allowed struct {
	name    string
	wire    string
	method  string
	target  string
	headers []string
	body    string
}

// plain is what the host gets of a request of which only the body matters.
func plain(name, wire, body string, headers ...string) allowed {
	return allowed{name, wire, "POST", "/in/acme/pay", append([]string{"Host", "a"}, headers...), body}
}

// called is a request by a method, without a body.
func called(method string) allowed {
	return allowed{
		"method " + method, method + " /in/acme/pay HTTP/1.1\r\nHost: a\r\n\r\n",
		method, "/in/acme/pay",
		[]string{"Host", "a"},
		"",
	}
}

// aimed is a request to a target.
func aimed(name, target string) allowed {
	return allowed{name, to(target), "POST", target, []string{"Host", "a", "Content-Length", "0"}, ""}
}

// hosted is a request with a Host.
func hosted(name string) allowed {
	return allowed{"host " + name, from(name), "POST", "/in/acme/pay", []string{"Host", name, "Content-Length", "0"}, ""}
}

// field3 is a request with a body of three bytes and fields before its length,
// names and values in turn.
func field3(name string, fields ...string) allowed {
	var wire strings.Builder
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&wire, "%s: %s\r\n", fields[i], fields[i+1])
	}
	return plain(name, post+wire.String()+fixed, "abc", append(fields, "Content-Length", "3")...)
}

// inChunks is a request with a body in chunks.
func inChunks(name, wire, body string) allowed {
	return plain(name, chunks+wire, body, "Transfer-Encoding", "chunked")
}

func allowedForms() []allowed {
	all := []allowed{
		plain("length", post+fixed, "abc", "Content-Length", "3"),
		plain("length 0", post+none, "", "Content-Length", "0"),
		plain("no length: no body", post+"\r\n", ""),
		{"length 0 on GET", "GET /in/acme/pay HTTP/1.1\r\nHost: a\r\n" + none, "GET", "/in/acme/pay", []string{"Host", "a", "Content-Length", "0"}, ""},
		{"HTTP/1.0", "POST /in/acme/pay HTTP/1.0\r\nHost: a\r\n" + fixed, "POST", "/in/acme/pay", []string{"Host", "a", "Content-Length", "3"}, "abc"},
		{"HTTP/1.0 without a host", "POST /in/acme/pay HTTP/1.0\r\n" + fixed, "POST", "/in/acme/pay", []string{"Content-Length", "3"}, "abc"},
		inChunks("one chunk", "3\r\nabc\r\n0\r\n\r\n", "abc"),
		inChunks("several chunks", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
		inChunks("no data", "0\r\n\r\n", ""),
		inChunks("chunk size in lower case", "a\r\nabcdefghij\r\n0\r\n\r\n", "abcdefghij"),
		inChunks("chunk size in upper case", "A\r\nabcdefghij\r\n0\r\n\r\n", "abcdefghij"),
		inChunks("chunk size with zeros in front", "0003\r\nabc\r\n000\r\n\r\n", "abc"),
		inChunks("chunk size before spaces", "3 \t\r\nabc\r\n0 \r\n\r\n", "abc"),
		inChunks("chunk extension", "3;a=b;c=\"d e\"\r\nabc\r\n0;z\r\n\r\n", "abc"),
		inChunks("chunks ended by LF alone", "3\r\nabc\r\n0\r\n\n", "abc"),
		inChunks("line ends inside a chunk", "6\r\na\r\n\nb\r\r\n0\r\n\r\n", "a\r\n\nb\r"),
		plain("chunked in another case", post+"Transfer-Encoding: ChunKed\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", "Transfer-Encoding", "ChunKed"),
		plain("empty lines in front", "\r\n\r\n\n"+post+none, "", "Content-Length", "0"),
		plain("LF after the request line", "POST /in/acme/pay HTTP/1.1\nHost: a\r\n"+none, "", "Content-Length", "0"),
		aimed("a query of anything printable", "/in/acme/pay?a=%2f%00&b[]={}|^`\"<>\\;?/../"),
		aimed("an empty query", "/in/acme/pay?"),
		aimed("a token", "/in/acme/tok/-._~!$&'()*+,=:@"),
		aimed("a token of dots", "/in/acme/tok/..."),
		hosted("hooks.example.com"),
		hosted("HOOKS.example.com:8443"),
		hosted("my_service:80"),
		hosted("127.0.0.1:0"),
		hosted("[::1]"),
		hosted("[2001:db8::1]:65535"),
		plain("spaces around a value", post+"X-Sig: \t a b \t\r\n"+none, "", "X-Sig", "a b", "Content-Length", "0"),
		plain("no space before a value", post+"X-Sig:a\r\n"+none, "", "X-Sig", "a", "Content-Length", "0"),
		field3("a tab inside a value", "X-Sig", "a\tb"),
		field3("bytes beyond ASCII in a value", "X-Name", "M\xc3\xbcller \xff\x80"),
		field3("any character of a token in a name", "X!#$%&'*+-.^_`|~9", "a"),
		field3("an underscore in a name", "X_Sig", "a"),
		field3("an empty value", "X-Sig", ""),
		field3("names differ by more than case", "X-Sig", "a", "XSig", "b", "X-Sig2", "c"),
		field3("an upgrade that is not followed", "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
		field3("a wish to close", "Connection", "close"),
		field3("a wish to close in capitals", "Connection", "CLOSE"),
		field3("a wish to close behind another", "Connection", "keep-alive ,\t Close"),
		field3("a wish to close before another", "Connection", "close,Upgrade"),
		field3("a wish to close and one to go on", "Connection", "close", "connection", "keep-alive"),
		field3("a wish to go on and one to close", "Connection", "keep-alive", "connection", "close"),
		field3("no wish to close", "Connection", "closed, x-close, \"close\", close;q=1", "X-Connection", "close"),
		{"HTTP/1.0 that goes on", "POST /in/acme/pay HTTP/1.0\r\nConnection: Keep-Alive\r\n" + fixed, "POST", "/in/acme/pay", []string{"Connection", "Keep-Alive", "Content-Length", "3"}, "abc"},
		{"HTTP/1.0 that goes on and closes", "POST /in/acme/pay HTTP/1.0\r\nConnection: Keep-Alive, close\r\n" + fixed, "POST", "/in/acme/pay", []string{"Connection", "Keep-Alive, close", "Content-Length", "3"}, "abc"},
		field3("a method in a field", "X-HTTP-Method-Override", "DELETE"),
		field3("a body of parts", "Content-Type", "multipart/form-data; boundary=x"),
		plain("100 fields", post+numbered(98)+none, "", append(pairs(98), "Content-Length", "0")...),
		field3("a head of nearly 16 KiB", "X-Sig", strings.Repeat("a", maxHead-100)),
	}
	for name := range lists {
		all = append(all, field3("repeated "+name, name, "a", strings.ToUpper(name), "b"))
	}
	for _, coding := range []string{"gzip", "GZip", "deflate", "identity"} {
		all = append(all, field3("content coding "+coding, "Content-Encoding", coding))
	}
	for _, method := range methods {
		if method != "HEAD" { // its answer has no body to read the next one behind
			all = append(all, called(method))
		}
	}
	return all
}

func pairs(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("X-%d", i), "y")
	}
	return out
}

func (a *allowed) want() *host.Callback {
	cb := &host.Callback{Method: a.method, Target: a.target, Body: []byte(a.body)}
	for i := 0; i < len(a.headers); i += 2 {
		cb.Headers = append(cb.Headers, host.Header{Name: a.headers[i], Value: a.headers[i+1]})
	}
	return cb
}

// asSent compares what a request said, byte for byte.
func asSent(want, got *host.Callback) string {
	said := func(c *host.Callback) []any {
		return []any{c.Method, c.Target, c.Headers, string(c.Body)}
	}
	return cmp.Diff(said(want), said(got))
}

// What is let through reaches Ingest with exactly the bytes that were sent, and
// a request behind it is one of its own.
func TestHead_allowed(t *testing.T) {
	t.Parallel()
	for _, a := range allowedForms() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, testLimits, nil)
			got := f.raw(t, a.wire+second)
			answers, callbacks := 2, f.callbacks()
			// The connection ends with a request in chunks, and where net/http
			// ends it.
			r, _, err := readByGo(strings.TrimLeft(a.wire, "\r\n"))
			if r == nil {
				t.Fatal(err)
			}
			if strings.Contains(a.wire, "Transfer-Encoding") || r.Close {
				answers = 1
			}
			if n := strings.Count(got, "HTTP/1.1 200 OK\r\n"); n != answers || len(callbacks) != answers {
				t.Fatalf("%d callbacks, want %d; answers %q", len(callbacks), answers, got)
			}
			if diff := asSent(a.want(), callbacks[0]); diff != "" {
				t.Errorf("callback (-want +got):\n%s", diff)
			}
			if answers == 2 && string(callbacks[1].Body) != "SECOND" {
				t.Errorf("the second body = %q", callbacks[1].Body)
			}
		})
	}
}

// Whoever waits to be asked for the body is asked.
func TestHead_expectation(t *testing.T) {
	t.Parallel()
	f := start(t, testLimits, nil)
	c := f.dial(t)
	answers := bufio.NewReader(c)
	fmt.Fprint(c, post+"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if line, err := answers.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("first line = %q, %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "abc")
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := f.callbacks(); res.StatusCode != 200 || len(got) != 1 || string(got[0].Body) != "abc" {
		t.Errorf("status %d, callbacks %+v", res.StatusCode, got)
	}
}

// sender is a connection of which only the reading side is used.
type sender struct {
	net.Conn
	io.Reader
}

func (s sender) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// judged is what the host gets of wire, if it is let through, without a socket.
func judged(wire []byte) (*host.Callback, bool) {
	var r fasthttp.Request
	h := &r.Header
	sent := &plainConn{Conn: sender{Reader: bytes.NewReader(wire)}}
	in := bufio.NewReaderSize(sent, maxHead)
	if err := h.Read(in); err != nil {
		return nil, false
	}
	if _, ok := wellFormed(h); !ok {
		return nil, false
	}
	if err := r.ContinueReadBodyStream(in, testLimits.Body, false); err != nil {
		return nil, false
	}
	body, err := readBody(r.BodyStream(), h.ContentLength(), testLimits.Body)
	if err != nil || cutOff(sent) {
		return nil, false
	}
	if _, ok := wellFormed(h); !ok || chunked(h) && trailed(h) {
		return nil, false
	}
	return &host.Callback{
		Method: string(h.Method()), Target: string(h.RequestURI()), Headers: headers(h.RawHeaders()), Body: body,
	}, true
}

// readByGo is what net/http reads of wire. The headers have no order and the
// Host none of them.
func readByGo(wire string) (*http.Request, []byte, error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(wire)))
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(r.Body)
	return r, body, err
}

// disagreement says where net/http reads a request differently.
func disagreement(cb *host.Callback, wire string) string {
	r, body, err := readByGo(strings.TrimLeft(wire, "\r\n")) // see docs/front-door.md
	if err != nil {
		return "net/http refuses it: " + err.Error()
	}
	if r.Method != cb.Method || r.RequestURI != cb.Target || !bytes.Equal(body, cb.Body) {
		return fmt.Sprintf("net/http reads %s %s %q", r.Method, r.RequestURI, body)
	}
	want := make(http.Header)
	for _, h := range cb.Headers {
		switch key := http.CanonicalHeaderKey(h.Name); key {
		case "Host":
			if r.Host != h.Value {
				return fmt.Sprintf("net/http reads the host %q, not %q", r.Host, h.Value)
			}
		case "Transfer-Encoding":
			if len(r.TransferEncoding) != 1 {
				return "net/http sees no chunks"
			}
		default:
			want.Add(h.Name, h.Value)
		}
	}
	// It makes a Cache-Control of this Pragma.
	if want.Get("Pragma") == "no-cache" && want.Get("Cache-Control") == "" {
		r.Header.Del("Cache-Control")
	}
	return cmp.Diff(want, r.Header)
}

func TestHead_allowedIsReadAlikeByGo(t *testing.T) {
	t.Parallel()
	for _, a := range allowedForms() {
		if got := disagreement(a.want(), a.wire+second); got != "" {
			t.Errorf("%s: %s", a.name, got)
		}
	}
}

// What net/http refuses is refused here.
func TestHead_refusesWhatGoRefuses(t *testing.T) {
	t.Parallel()
	both, ours := 0, 0
	for _, v := range vectors() {
		_, taken := judged([]byte(v.wire + second))
		_, _, err := readByGo(v.wire + second)
		switch {
		case taken:
			t.Errorf("%s is taken; net/http: %v", v.name, err)
		case err != nil:
			both++
		default:
			ours++
		}
	}
	t.Logf("of %d vectors net/http refuses %d and takes %d", both+ours, both, ours)
}
