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
)

// Bounds of a decoded body: 512 KiB, or 16 times the body and at most 4 MiB.
const (
	always = 512 << 10
	ratio  = 16
	most   = 4 << 20
)

// ErrMalformed is returned for an encoding that is not taken off: an unknown
// one, more than one, a body that is not of it, or one too large.
var ErrMalformed = errors.New("malformed content encoding")

// Decode returns the body without its encoding, which the fields of its
// Content-Encoding header name. No field, or "identity", gives the body itself.
// It takes one field with one of gzip and deflate (zlib, RFC 9110 §8.4.1), in
// any case. The memory it takes is at most the cap and what is decoded.
func Decode(fields []string, body []byte) ([]byte, error) {
	if len(fields) == 0 {
		return body, nil
	}
	if len(fields) > 1 {
		return nil, ErrMalformed
	}
	var from io.Reader
	var err error
	// It gives single bytes too, so that the decoders read no further than
	// their end and need no buffer of their own.
	source := bytes.NewReader(body)
	switch strings.ToLower(strings.Trim(fields[0], " \t")) {
	case "identity":
		return body, nil
	case "gzip":
		var z *gzip.Reader
		if z, err = gzip.NewReader(source); err == nil {
			z.Multistream(false)
			from = z
		}
	case "deflate":
		from, err = zlib.NewReader(source)
	default:
		return nil, ErrMalformed
	}
	if err != nil {
		return nil, ErrMalformed
	}
	out, err := read(from, min(max(always, ratio*len(body)), most))
	// What stands behind the end is a second body that nobody read.
	if err != nil || source.Len() > 0 {
		return nil, ErrMalformed
	}
	return out, nil
}

// read reads all, at most limit bytes, and never keeps more than it has read
// twice.
func read(from io.Reader, limit int) ([]byte, error) {
	out := make([]byte, 0, min(4<<10, limit))
	for {
		if len(out) == cap(out) {
			if len(out) == limit {
				return out, ended(from)
			}
			grown := make([]byte, len(out), min(2*cap(out), limit))
			copy(grown, out)
			out = grown
		}
		n, err := from.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
	}
}

// ended reports whether nothing is left, which a reader says only when it is
// asked for more.
func ended(from io.Reader) error {
	var one [1]byte
	for {
		n, err := from.Read(one[:])
		switch {
		case n > 0:
			return ErrMalformed
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
