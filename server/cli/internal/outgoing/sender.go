package outgoing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server"
)

// Sender makes callbacks as an endpoint's provider would and posts them.
type Sender struct {
	// Where is "tenant/name".
	Where    string
	Endpoint *config.Endpoint
	// Plugin signs; nil leaves a callback as it is.
	Plugin Signer
	// Base is scheme and authority of the server.
	Base string
	HTTP *http.Client
}

// Answer is what the server said.
type Answer struct {
	Status int
	Body   []byte
	Took   time.Duration
}

// maxAnswer bounds what is read of an answer; Postern's own are shorter.
const maxAnswer = 64 << 10

// Send addresses, signs and posts a callback. cb is not changed. It blocks
// until the answer is there.
func (s *Sender) Send(ctx context.Context, cb *host.Callback) (Answer, error) {
	out := s.address(cb)
	if s.Plugin != nil {
		var err error
		if out, err = Sign(ctx, s.Plugin, out); err != nil {
			return Answer{}, fmt.Errorf("the plugin %s cannot sign this callback: %w\n"+
				"give one of the form that it signs, or post it as it is with --unsigned", s.Endpoint.Plugin, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, out.Method, s.Base+out.Target, bytes.NewReader(out.Body))
	if err != nil {
		return Answer{}, fmt.Errorf("make the request: %w", err)
	}
	for _, h := range out.Headers {
		req.Header[h.Name] = append(req.Header[h.Name], h.Value)
	}
	start := time.Now()
	resp, err := s.HTTP.Do(req)
	if err != nil {
		// Invariant 8: not the error itself, which holds the URL and with it the
		// token.
		return Answer{}, fmt.Errorf("post to %s/in/%s: %w", s.Base, s.Where, cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer of %s: %w", s.Base, err)
	}
	return Answer{resp.StatusCode, body, time.Since(start)}, nil
}

// address returns a copy of cb with the endpoint's own path and the query that
// cb has. The newest token is in it, unless the plugin puts in one when it signs.
func (s *Sender) address(cb *host.Callback) *host.Callback {
	out := *cb
	_, query, has := strings.Cut(cb.Target, "?")
	out.Target = "/in/" + s.Where
	if len(s.Endpoint.Token) > 0 && !s.putsToken() {
		out.Target += "/" + s.Endpoint.Token[0].Reveal()
	}
	if has {
		out.Target += "?" + query
	}
	out.PublicURL = s.Endpoint.PublicURL + out.Target
	out.Received = time.Now()
	if _, ok := out.Header("Content-Type", 0); !ok && len(out.Body) > 0 {
		out.Headers = append([]host.Header{{Name: "Content-Type", Value: "application/json"}}, cb.Headers...)
	}
	return &out
}

// putsToken says that signing ends the path with a token of the plugin's.
func (s *Sender) putsToken() bool {
	p, ok := s.Plugin.(*wasm.Plugin)
	return ok && slices.ContainsFunc(p.Tokens(), func(t host.Token) bool {
		return t.In == host.InPath && len(t.Values) > 0
	})
}

// IntakeURL is the URL of the intake where it listens on that address.
func IntakeURL(in *config.Intake, listen string) string {
	base := BaseOf(listen)
	if in.TLS.On() {
		return "https" + strings.TrimPrefix(base, "http")
	}
	return base
}

// BaseOf is the URL of a listener, as one reaches it from this machine.
func BaseOf(listen string) string {
	at, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "http://" + listen
	}
	if addr, err := netip.ParseAddr(at); at == "" || err == nil && addr.IsUnspecified() {
		at = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(at, port)
}

// OpenRuntime makes a runtime for a command that runs plugins for a moment. It
// takes what the server has compiled already, where that is, and leaves nothing
// behind where it is not.
func OpenRuntime(ctx context.Context, cfg *config.Config) (*wasm.Runtime, error) {
	o := wasm.Options{
		Instances: 1, MemoryPages: cfg.Plugins.MemoryPages(), Fuel: int64(cfg.Plugins.Fuel), MaxFuel: int64(cfg.Plugins.MaxFuel),
	}
	if info, err := os.Stat(cfg.Plugins.Cache); err == nil && info.IsDir() {
		o.CacheDir = cfg.Plugins.Cache
	}
	return wasm.New(ctx, o)
}

// SignerFor loads the endpoint's plugin and binds it for signing. The caller
// closes the runtime.
func SignerFor(ctx context.Context, cfg *config.Config, e *config.Endpoint) (*wasm.Runtime, *wasm.Plugin, error) {
	rt, err := OpenRuntime(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	plugin, err := BindSigner(ctx, rt, cfg, e)
	if err != nil {
		return nil, nil, errors.Join(err, rt.Close(ctx))
	}
	return rt, plugin, nil
}

// BindSigner loads the endpoint's plugin and binds it for signing.
func BindSigner(ctx context.Context, rt *wasm.Runtime, cfg *config.Config, e *config.Endpoint) (*wasm.Plugin, error) {
	found, err := server.ReadPlugin(&cfg.Plugins, e.Plugin)
	if err != nil {
		return nil, err
	}
	m, err := rt.LoadCode(ctx, found.Code)
	if err != nil {
		return nil, fmt.Errorf("load plugin %s: %w", found.Path, err)
	}
	b, err := server.Binding(m.Manifest(), e)
	if err != nil {
		return nil, err
	}
	b.Signing = true
	return m.Bind(b)
}

// cause is the reason of a failed request without its URL.
func cause(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}
