package intake

import (
	"bytes"
	"errors"
	"io"
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
