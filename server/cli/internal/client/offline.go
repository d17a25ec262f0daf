package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt"
	"github.com/postern/postern/server/admin"
)

// openDirectory opens a data directory that no server has. Other processes are
// kept out until the client is closed.
func openDirectory(at Place) (*Client, error) {
	// Opening makes what is not there, and looking must not.
	if _, err := os.Stat(filepath.Join(at.Dir, "LOCK")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no data in %s; --data or store.path names the directory", at.Dir)
	}
	// Nothing may expire by another retention than the server's.
	store, err := bolt.Open(at.Dir, bolt.Options{Retention: forEver, Window: forEver})
	if errors.Is(err, bolt.ErrLocked) {
		return nil, fmt.Errorf("%w, and does not answer on its admin socket: it is just starting or ending, or serves from elsewhere", err)
	}
	if err != nil {
		return nil, err
	}
	return overStore(store, at), nil
}

// forEver is longer than any retention.
const forEver = time.Duration(math.MaxInt64)

// readable is what the admin routes need of a store.
type readable interface {
	host.Appender
	host.Reader
	admin.Queue
	host.Quarantine
	Status(ctx context.Context) (host.Status, error)
	Close() error
}

// overStore is a client of the admin routes over a store that this process has
// open; closing it closes the store.
func overStore(store readable, at Place) *Client {
	releases := &host.Host{Store: store, Log: slog.New(slog.DiscardHandler)}
	o := admin.Options{
		Version: at.Version, Reader: store, Queue: store, Quarantine: store, Status: store.Status,
		Sinks: at.Sinks, SinksUnknown: at.SinksUnknown, Release: releases.Release,
	}
	return &Client{
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
