package intake

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/valyala/fasthttp"
)

// metered is a stream that knows how much more memory was ready for it than had
// arrived.
type metered struct {
	io.Reader
	arrived, ahead int
}

func (m *metered) Read(p []byte) (int, error) {
	m.ahead = max(m.ahead, len(p)-m.arrived)
	n, err := m.Reader.Read(p)
	m.arrived += n
	return n, err
}

func TestReadBody(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	gone := errors.New("gone")
	rows := []struct {
		name               string
		arrives, announced int
		after              error
		want               error
	}{
		{"nothing", 0, 0, io.EOF, nil},
		{"no chunks", 0, -1, io.EOF, nil},
		{"a byte", 1, 1, io.EOF, nil},
		{"what fits at once", firstRead, firstRead, io.EOF, nil},
		{"a byte more", firstRead + 1, firstRead + 1, io.EOF, nil},
		{"the limit", limit, limit, io.EOF, nil},
		{"chunks up to the limit", limit, -1, io.EOF, nil},
		{"a chunk beyond the limit", limit + 1, -1, io.EOF, fasthttp.ErrBodyTooLarge},
		{"chunks without an end", limit * 2, -1, io.EOF, fasthttp.ErrBodyTooLarge},
		{"cut off", 3, limit, io.EOF, io.ErrUnexpectedEOF},
		{"cut off before anything", 0, limit, io.EOF, io.ErrUnexpectedEOF},
		{"broken off", 3, limit, gone, gone},
		{"broken off in chunks", 3, -1, gone, gone},
	}
	for _, r := range rows {
		sent := bytes.Repeat([]byte("abcdefg"), r.arrives/7+1)[:r.arrives]
		for _, pace := range []func(io.Reader) io.Reader{iotest.HalfReader, iotest.DataErrReader, iotest.OneByteReader} {
			m := &metered{Reader: pace(io.MultiReader(bytes.NewReader(sent), iotest.ErrReader(r.after)))}
			got, err := readBody(m, r.announced, limit)
			if !errors.Is(err, r.want) {
				t.Fatalf("%s: error = %v, want %v", r.name, err, r.want)
			}
			if err == nil && !bytes.Equal(got, sent) {
				t.Errorf("%s: %d bytes, want the %d that were sent", r.name, len(got), len(sent))
			}
			// Memory follows what has arrived, whatever was announced.
			if m.ahead > firstRead {
				t.Errorf("%s: %d bytes were ready for what had not arrived", r.name, m.ahead)
			}
		}
	}
	if got, err := readBody(nil, -2, limit); got != nil || err != nil {
		t.Errorf("no stream: %q, %v", got, err)
	}
}

// A body that ends with its connection is not whole.
func TestBody_cutOff(t *testing.T) {
	t.Parallel()
	ca, id := newAuthority(t), newIdentity(t)
	cert, key := ca.issue(t, 7)
	id.put(t, cert, key)
	cfg, err := TLS(id.cert, id.key, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	for name, row := range map[string]struct {
		wire  string
		whole bool
	}{
		"length":                     {post + "Content-Length: 4\r\n\r\nabc", false},
		"length beyond the first":    {post + "Content-Length: 1024\r\n\r\n" + strings.Repeat("a", 1023), false},
		"before any chunk":           {chunks, false},
		"inside a size":              {chunks + "3", false},
		"behind a size":              {chunks + "3\r\n", false},
		"inside a chunk":             {chunks + "3\r\nab", false},
		"behind a chunk's data":      {chunks + "3\r\nabc", false},
		"behind a chunk":             {chunks + "3\r\nabc\r\n", false},
		"behind the last size":       {chunks + "3\r\nabc\r\n0", false},
		"behind the last chunk":      {chunks + "3\r\nabc\r\n0\r\n", false},
		"inside the last line end":   {chunks + "3\r\nabc\r\n0\r\n\r", false},
		"LF for the last line end":   {chunks + "3\r\nabc\r\n0\r\n\n", false},
		"inside a trailer":           {chunks + "3\r\nabc\r\n0\r\nX-Sig: a", false},
		"behind a trailer":           {chunks + "3\r\nabc\r\n0\r\nX-Sig: a\r\n", false},
		"behind a body of a length":  {post + fixed, true},
		"behind a body in chunks":    {chunks + "3\r\nabc\r\n0\r\n\r\n", true},
		"behind a body of no length": {post + "\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range []*fixture{start(t, testLimits, nil), over(t, testLimits, cfg)} {
				var c interface {
					io.ReadWriter
					CloseWrite() error
				} = f.dial(t).(*net.TCPConn)
				if f.wrap != nil {
					c = tls.Client(c.(*net.TCPConn), client)
				}
				if _, err := io.WriteString(c, row.wire); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(c)
				if whole := len(f.callbacks()) == 1; whole != row.whole || strings.HasPrefix(string(got), "HTTP/1.1 200 ") != row.whole {
					t.Errorf("%d callbacks, answer %q, want it taken %t", len(f.callbacks()), got, row.whole)
				}
			}
		})
	}
}

// An end that comes with the last bytes was not waited for.
func TestEnd_note(t *testing.T) {
	t.Parallel()
	var e end
	if n, err := e.note(3, io.EOF); n != 3 || err != nil || e.ended() {
		t.Errorf("3 bytes and the end = %d, %v, ended %t", n, err, e.ended())
	}
	if n, err := e.note(0, io.EOF); n != 0 || !errors.Is(err, io.EOF) || !e.ended() {
		t.Errorf("the end = %d, %v, ended %t", n, err, e.ended())
	}
}
