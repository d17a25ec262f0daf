// Package content takes the Content-Encoding off a body, once and under a hard
// cap: a small body must not become a large one.
package content

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"

	"github.com/postern/postern/host"
)

// Most is what a body decodes to at most, unless it is larger itself. A guest has
// 16 MiB and copies a value several times over: what it cannot hold would be a
// failure of the plugin, and an unsigned body must not cause one.
const Most = 1 << 20

// A body decodes to 512 KiB at least, or to 16 times itself.
const (
	always = 512 << 10
	ratio  = 16
)

// ErrMalformed is returned for an encoding that is not taken off: an unknown
// one, more than one, a body that is not of it, or one too large.
var ErrMalformed = errors.New("malformed content encoding")

// Of is [Decode] of a callback: as a provider that signs its body sends it, what was
// verified is the body with the encoding.
func Of(cb *host.Callback) ([]byte, error) {
	var fields []string
	for i := range cb.Headers {
		if strings.EqualFold(cb.Headers[i].Name, "Content-Encoding") {
			fields = append(fields, cb.Headers[i].Value)
		}
	}
	return Decode(fields, cb.Body)
}

// Decode returns the body without its encoding, which the fields of its
// Content-Encoding header name. No field, or "identity", gives the body itself.
// It takes one field with one of gzip and deflate (zlib, RFC 9110 §8.4.1), in
// any case. What was taken as a body may be as large decoded. It reads twice, first to count: what is refused takes no memory but
// a decoder's, what is taken exactly its length.
func Decode(fields []string, body []byte) ([]byte, error) {
	if len(fields) == 0 {
		return body, nil
	}
	if len(fields) > 1 {
		return nil, ErrMalformed
	}
	var open func(io.Reader) (io.Reader, error)
	switch strings.ToLower(strings.Trim(fields[0], " \t")) {
	case "identity":
		return body, nil
	case "gzip":
		open = openGzip
	case "deflate":
		open = func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }
	default:
		return nil, ErrMalformed
	}
	// It gives single bytes too, so that the decoders read no further than
	// their end and need no buffer of their own.
	source := bytes.NewReader(body)
	from, err := open(source)
	if err != nil {
		return nil, ErrMalformed
	}
	limit := int64(max(min(max(always, ratio*len(body)), Most), len(body)))
	n, err := io.Copy(io.Discard, io.LimitReader(from, limit+1))
	// What stands behind the end is a second body that nobody read.
	if err != nil || n > limit || source.Len() > 0 {
		return nil, ErrMalformed
	}
	source.Reset(body)
	if from, err = open(source); err != nil {
		return nil, ErrMalformed
	}
	out := make([]byte, n)
	if _, err := io.ReadFull(from, out); err != nil {
		return nil, ErrMalformed
	}
	return out, nil
}

// openGzip reads one member, not what is put behind it.
func openGzip(r io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return z, nil
}
