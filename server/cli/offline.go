package cli

import (
	"bytes"
	"io"
	"net/http"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/admin"
)

// readable is what the admin routes need of a store.
type readable interface {
	host.Reader
	admin.Queue
	Close() error
}

// overStore is a client of the admin routes over a store that this process has
// open; closing it closes the store.
func overStore(store readable, version string, sinks []string) *client {
	o := admin.Options{Version: version, Reader: store, Queue: store}
	for _, name := range sinks {
		o.Sinks = append(o.Sinks, admin.Sink{Name: name})
	}
	return &client{
		http:  &http.Client{Transport: inProcess{admin.New(o).Handler()}},
		close: store.Close,
	}
}

// inProcess answers requests by calling a handler, without a network. The
// answer is held in memory whole: the routes bound their size.
type inProcess struct{ handler http.Handler }

// RoundTrip implements [http.RoundTripper].
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	t.handler.ServeHTTP(rec, r)
	return &http.Response{
		StatusCode: rec.status, Header: rec.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&rec.body), ContentLength: int64(rec.body.Len()),
	}, nil
}

// recorder is the ResponseWriter of [inProcess].
type recorder struct {
	header http.Header
	body   bytes.Buffer
	status int
}

// Header implements [http.ResponseWriter].
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements [http.ResponseWriter].
func (r *recorder) WriteHeader(status int) { r.status = status }

// Write implements [http.ResponseWriter].
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
