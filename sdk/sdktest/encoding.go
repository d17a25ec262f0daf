package sdktest

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strings"
)

// What a body may be without its Content-Encoding; docs/plugin-abi.md §5.
const (
	plainFree  = 512 << 10
	plainTimes = 16
	plainMost  = 1 << 20
)

// plain is the body without its Content-Encoding.
func (r *request) plain() ([]byte, error) {
	var codings []string
	for _, h := range r.headers {
		if strings.EqualFold(h.name, "Content-Encoding") {
			codings = append(codings, strings.ToLower(h.value))
		}
	}
	if len(codings) == 0 {
		return r.body, nil
	}
	body := bytes.NewReader(r.body)
	var from io.Reader
	var err error
	switch strings.Join(codings, ",") {
	case "identity":
		return r.body, nil
	case "gzip":
		from, err = oneMember(body)
	case "deflate":
		from, err = zlib.NewReader(body)
	default:
		return nil, errMalformed
	}
	if err != nil {
		return nil, errMalformed
	}
	most := max(len(r.body), plainFree, min(plainTimes*len(r.body), plainMost))
	plain, err := io.ReadAll(io.LimitReader(from, int64(most)+1))
	if err != nil || len(plain) > most || body.Len() > 0 {
		return nil, errMalformed
	}
	return plain, nil
}

// oneMember reads one layer of gzip: what follows its end is not of it.
func oneMember(from io.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(from)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return z, nil
}
