package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server/admin"
)

// client asks the admin routes: those of the running server, or the same ones
// over a data directory opened here.
type client struct {
	http  *http.Client
	close func() error
	// live says that a server answers.
	live bool
}

// connect finds who can speak for the store. The caller closes the client.
func (at *place) connect(ctx context.Context, version string) (*client, error) {
	c := atSocket(at.dir)
	err := c.get(ctx, "/version", nil, &json.RawMessage{})
	if err == nil || !absent(err) {
		return c, err
	}
	if at.engine == config.EngineMem {
		return nil, fmt.Errorf("no server is running on %s, and what engine %q holds goes with it", at.dir, at.engine)
	}
	return openDirectory(at.dir, version, at.sinks)
}

// atSocket is a client of the server that has the data directory.
func atSocket(dir string) *client {
	c := dialled(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, admin.SocketName))
	})
	c.live = true
	return c
}

// absent reports whether err means that nobody listens on the socket, as
// opposed to somebody who does not answer. EINVAL is a path too long for any
// socket: no server can have made one.
func absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EINVAL)
}

// dialled is a client over connections made by dial.
func dialled(dial func(context.Context) (net.Conn, error)) *client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	return &client{
		http: &http.Client{Transport: transport, Timeout: 30 * time.Second},
		close: func() error {
			transport.CloseIdleConnections()
			return nil
		},
	}
}

// get asks for a route below /admin/v1 and decodes the answer.
func (c *client) get(ctx context.Context, route string, query url.Values, into any) error {
	if len(query) > 0 {
		route += "?" + query.Encode()
	}
	return c.do(ctx, http.MethodGet, route, nil, into)
}

// post sends body as JSON.
func (c *client) post(ctx context.Context, route string, body, into any) error {
	return c.do(ctx, http.MethodPost, route, body, into)
}

func (c *client) do(ctx context.Context, method, route string, body, into any) error {
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
		return fmt.Errorf("ask the server: %w", cause(err))
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
	}
	text := strings.ToLower(http.StatusText(status))
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		text = said.Error.Message
	}
	return &statusError{status, clean(text)}
}

func isNotFound(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.status == http.StatusNotFound
}

// loadConfig reads the configuration; extra is environment beside the
// program's own.
func (p *program) loadConfig(c *cobra.Command, extra ...string) (*config.Config, error) {
	return config.Load(config.Options{
		File: p.configFile, Flags: c.Flags(), Environ: append(p.environ[:len(p.environ):len(p.environ)], extra...),
	})
}

// unneeded stands for a secret that a command has no use for; it has the form
// of all of them.
const unneeded = "value:whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// problemsIn are all problems that err joins.
func problemsIn(err error) []*config.Problem {
	var several interface{ Unwrap() []error }
	var one *config.Problem
	var all []*config.Problem
	switch {
	case errors.As(err, &several):
		for _, e := range several.Unwrap() {
			all = append(all, problemsIn(e)...)
		}
	case errors.As(err, &one):
		all = append(all, one)
	}
	return all
}

// index is the end of the path of one value of several.
var index = regexp.MustCompile(`\.[0-9]+$`)

// place is where the store is, and which sinks it has.
type place struct {
	dir, engine string
	sinks       []string
}

// place finds the store. Looking at what is stored needs no secrets, so those
// that this shell does not have are no problem here.
func (p *program) place(c *cobra.Command) (place, error) {
	if dir, err := c.Flags().GetString("data"); err == nil && dir != "" {
		return place{dir: dir, engine: config.EngineBolt}, nil
	}
	if _, err := os.Stat(p.configFile); errors.Is(err, fs.ErrNotExist) && !c.Flags().Changed("config") {
		p.configFile = ""
	}
	cfg, err := p.loadConfig(c)
	if err != nil {
		cfg, err = p.loadConfig(c, withoutSecrets(err)...)
	}
	if err != nil {
		return place{}, err
	}
	return place{cfg.Store.Path, cfg.Store.Engine, slices.Sorted(maps.Keys(cfg.Sinks))}, nil
}

// withoutSecrets returns the environment that overrides each secret that err
// complains of.
func withoutSecrets(err error) []string {
	var environ []string
	for _, problem := range problemsIn(err) {
		key := index.ReplaceAllString(problem.Path, "")
		if strings.Contains(key, ".secrets") || strings.HasSuffix(key, ".token") {
			environ = append(environ, config.EnvName(key)+"="+unneeded)
		}
	}
	return environ
}

// client connects for a command that looks at what is stored.
func (p *program) client(c *cobra.Command) (*client, error) {
	at, err := p.place(c)
	if err != nil {
		return nil, err
	}
	return at.connect(c.Context(), p.version.Version)
}

// dataFlag lets a command do without a configuration.
func dataFlag(c *cobra.Command) {
	c.PersistentFlags().String("data", "", "the data `directory`, instead of the configuration's store.path")
}
