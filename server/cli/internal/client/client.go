// Package client asks the admin routes: those of the running server, through
// its socket, or the same ones over a data directory that no server has.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server/admin"
)

// Client asks the admin routes. Make one with [Open] or [Socket] and close it.
// It is safe for concurrent use. The texts it answers with come from outside:
// they are not safe for a terminal as they are.
type Client struct {
	http  *http.Client
	close func() error
	live  bool
}

// Place is where a store is.
type Place struct {
	// Dir is the data directory, Engine the store's.
	Dir, Engine string
	// Sinks are the configured ones, for an answer without a server; SinksUnknown
	// says that there is no configuration to know them from.
	Sinks        []admin.Sink
	SinksUnknown bool
	// Version is what an answer without a server calls this program.
	Version string
}

// Open finds who can speak for the store: the server that has it or, if none
// runs, this process, which then keeps others out until the client is closed.
// It makes nothing that is not there.
func Open(ctx context.Context, at Place) (*Client, error) {
	c := Socket(at.Dir)
	err := c.get(ctx, "/version", nil, &json.RawMessage{})
	if err == nil {
		return c, nil
	}
	if !Absent(err) {
		return nil, errors.Join(err, c.Close())
	}
	if at.Engine == config.EngineMem {
		return nil, fmt.Errorf("no server is running on %s, and what engine %q holds goes with it", at.Dir, at.Engine)
	}
	if at.Engine == config.EnginePostgres {
		return nil, fmt.Errorf("no server is running on %s, and only one reaches what engine %q holds: ask one that runs", at.Dir, at.Engine)
	}
	return openDirectory(at)
}

// Socket is a client of the server that has the data directory. It is not asked
// whether there is one.
func Socket(dir string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(dir, admin.SocketName))
		},
	}
	return &Client{
		http: &http.Client{Transport: transport, Timeout: 30 * time.Second},
		close: func() error {
			transport.CloseIdleConnections()
			return nil
		},
		live: true,
	}
}

// Close lets go of the connection, or of the data directory.
func (c *Client) Close() error { return c.close() }

// Live says that a server answers, and not this process.
func (c *Client) Live() bool { return c.live }

// Absent reports whether err means that nobody listens on the socket, as
// opposed to somebody who does not answer. EINVAL is a path too long for any
// socket: no server can have made one.
func Absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EINVAL)
}

// NotFound reports whether err means that what was asked for is not there.
func NotFound(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.status == http.StatusNotFound
}

// get asks for a route below /admin/v1 and decodes the answer.
func (c *Client) get(ctx context.Context, route string, query url.Values, into any) error {
	if len(query) > 0 {
		route += "?" + query.Encode()
	}
	return c.do(ctx, http.MethodGet, route, nil, into)
}

// do sends body, if not nil, as JSON.
func (c *Client) do(ctx context.Context, method, route string, body, into any) error {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	// The authority is never resolved: the connection is the socket's.
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost/admin/v1"+route, &sent)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) {
			// Not the URL, which nobody typed.
			err = outer.Err
		}
		return fmt.Errorf("ask the server: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return refused(resp.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("understand the server's answer: %w", err)
	}
	return nil
}

// statusError is an answer that is no success.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// refused reads the body of an error answer.
func refused(status int, body []byte) error {
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
		Problems []string `json:"problems"`
	}
	text := strings.ToLower(http.StatusText(status))
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		text = said.Error.Message
	}
	if len(said.Problems) > 0 {
		text = strings.Join(said.Problems, "\n")
	}
	return &statusError{status, text}
}
