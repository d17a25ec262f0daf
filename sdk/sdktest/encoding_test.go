package sdktest

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"slices"
	"strings"
	"testing"

	postern "github.com/postern/postern/sdk"
	"github.com/postern/postern/sdk/internal/abi"
)

// pressed writes plain through a compressor.
func pressed(t *testing.T, plain string, wrap func(w io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var b bytes.Buffer
	w := wrap(&b)
	if _, err := io.WriteString(w, plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asGzip(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
func asZlib(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }

func TestPlain(t *testing.T) {
	const doc = `{"id":"1"}`
	zipped, deflated := pressed(t, doc, asGzip), pressed(t, doc, asZlib)
	raw := pressed(t, doc, func(w io.Writer) io.WriteCloser {
		f, err := flate.NewWriter(w, flate.DefaultCompression)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
	for name, c := range map[string]struct {
		headers []field
		body    []byte
		ok      bool
	}{
		"none":                {nil, []byte(doc), true},
		"identity":            {[]field{{"Content-Encoding", "identity"}}, []byte(doc), true},
		"gzip":                {[]field{{"content-encoding", "GZIP"}}, zipped, true},
		"deflate":             {[]field{{"Content-Encoding", "deflate"}}, deflated, true},
		"not said":            {nil, zipped, false},
		"said and not done":   {[]field{{"Content-Encoding", "gzip"}}, []byte(doc), false},
		"the other one":       {[]field{{"Content-Encoding", "gzip"}}, deflated, false},
		"deflate, raw":        {[]field{{"Content-Encoding", "deflate"}}, raw, false},
		"cut":                 {[]field{{"Content-Encoding", "gzip"}}, zipped[:len(zipped)-1], false},
		"wrong checksum":      {[]field{{"Content-Encoding", "gzip"}}, append(slices.Clone(zipped[:len(zipped)-8]), 0, 0, 0, 0, 10, 0, 0, 0), false},
		"gzip and more":       {[]field{{"Content-Encoding", "gzip"}}, append(slices.Clone(zipped), ' '), false},
		"gzip twice, one row": {[]field{{"Content-Encoding", "gzip"}}, slices.Concat(zipped, pressed(t, "", asGzip)), false},
		"deflate and more":    {[]field{{"Content-Encoding", "deflate"}}, append(slices.Clone(deflated), ' '), false},
		"two layers":          {[]field{{"Content-Encoding", "gzip, gzip"}}, pressed(t, string(zipped), asGzip), false},
		"two headers":         {[]field{{"Content-Encoding", "gzip"}, {"Content-Encoding", "identity"}}, zipped, false},
		"unknown":             {[]field{{"Content-Encoding", "br"}}, []byte(doc), false},
		"empty":               {[]field{{"Content-Encoding", ""}}, []byte(doc), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, string(c.body))
			h.req.headers = c.headers
			abi.Use(h)
			cb := &postern.Callback{}
			view, err := cb.JSON()
			if got := view.Text("/id"); (err == nil) != c.ok || (got == "1") != c.ok {
				t.Errorf("JSON = %v with id %q, want it taken: %v", err, got, c.ok)
			}
			if got := cb.Body().Read(); !bytes.Equal(got, c.body) {
				t.Errorf("the body reads %q, want it as sent", got)
			}
			// Only a view of the body is without the encoding.
			if copied, err := cb.Decode(string(c.body), postern.Raw); err != nil {
				t.Error(err)
			} else if _, err := copied.JSON(); (err == nil) != (string(c.body) == doc) {
				t.Errorf("JSON of the same bytes in another handle: %v", err)
			}
		})
	}
}

// TestPlain_limits: 512 KiB for any body, 16 times a larger one, 1 MiB at most,
// and what was taken as a body may be as large decoded.
func TestPlain_limits(t *testing.T) {
	noise := make([]byte, 1_200_000)
	state := uint32(1)
	for i := range noise {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	// Two encodings of one length let the plain text's length vary alone.
	stored := func(plain int, head []byte) *request {
		text := string(head) + strings.Repeat(" ", plain-len(head))
		return &request{headers: []field{{"Content-Encoding", "gzip"}}, body: pressed(t, text, asGzip)}
	}
	for name, c := range map[string]struct {
		plain func(head int) int
		head  []byte
		ok    bool
	}{
		"small, 512 KiB":       {func(int) int { return 512 << 10 }, nil, true},
		"small, one more":      {func(int) int { return 512<<10 + 1 }, nil, false},
		"medium, 15 times":     {func(int) int { return 15 * 60_000 }, noise[:60_000], true},
		"medium, 17 times":     {func(int) int { return 17 * 60_000 }, noise[:60_000], false},
		"large, 1 MiB":         {func(int) int { return 1 << 20 }, noise[:300_000], true},
		"large, one over that": {func(int) int { return 1<<20 + 1 }, noise[:300_000], false},
		"larger than 1 MiB":    {func(head int) int { return head }, noise, true},
		"larger, and grows":    {func(head int) int { return head + 10_000 }, noise, false},
	} {
		r := stored(c.plain(len(c.head)), c.head)
		plain, err := r.plain()
		if (err == nil) != c.ok || (c.ok && len(plain) != c.plain(len(c.head))) {
			t.Errorf("%s: a body of %d bytes gives %d, %v, want it taken: %v", name, len(r.body), len(plain), err, c.ok)
		}
	}
}
