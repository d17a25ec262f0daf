package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/outgoing"
)

// sender makes callbacks as an endpoint's provider would and posts them.
type sender struct {
	// where is "tenant/name".
	where    string
	endpoint *config.Endpoint
	// plugin signs; nil leaves a callback as it is.
	plugin outgoing.Signer
	// base is scheme and authority of the server.
	base string
	http *http.Client
}

// answer is what the server said.
type answer struct {
	Status int
	Body   []byte
	Took   time.Duration
}

// maxAnswer bounds what is read of an answer; Postern's own are shorter.
const maxAnswer = 64 << 10

// send addresses, signs and posts a callback. cb is not changed. It blocks
// until the answer is there.
func (s *sender) send(ctx context.Context, cb *host.Callback) (answer, error) {
	out := s.address(cb)
	if s.plugin != nil {
		var err error
		if out, err = outgoing.Sign(ctx, s.plugin, out); err != nil {
			return answer{}, fmt.Errorf("the plugin %s cannot sign this callback: %w\n"+
				"give one of the form that it signs, or post it as it is with --unsigned", s.endpoint.Plugin, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, out.Method, s.base+out.Target, bytes.NewReader(out.Body))
	if err != nil {
		return answer{}, fmt.Errorf("make the request: %w", err)
	}
	for _, h := range out.Headers {
		req.Header[h.Name] = append(req.Header[h.Name], h.Value)
	}
	start := time.Now()
	resp, err := s.http.Do(req)
	if err != nil {
		// Invariant 8: not the error itself, which holds the URL and with it the
		// token.
		return answer{}, fmt.Errorf("post to %s/in/%s: %w", s.base, s.where, cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", s.base, err)
	}
	return answer{resp.StatusCode, body, time.Since(start)}, nil
}

// address returns a copy of cb with the endpoint's own path and the query that
// cb has. The newest token is in it, unless the plugin puts in one when it signs.
func (s *sender) address(cb *host.Callback) *host.Callback {
	out := *cb
	_, query, has := strings.Cut(cb.Target, "?")
	out.Target = "/in/" + s.where
	if len(s.endpoint.Token) > 0 && !s.putsToken() {
		out.Target += "/" + s.endpoint.Token[0].Reveal()
	}
	if has {
		out.Target += "?" + query
	}
	out.PublicURL = s.endpoint.PublicURL + out.Target
	out.Received = time.Now()
	if _, ok := out.Header("Content-Type", 0); !ok && len(out.Body) > 0 {
		out.Headers = append([]host.Header{{Name: "Content-Type", Value: "application/json"}}, cb.Headers...)
	}
	return &out
}

// putsToken says that signing ends the path with a token of the plugin's.
func (s *sender) putsToken() bool {
	p, ok := s.plugin.(*wasm.Plugin)
	return ok && slices.ContainsFunc(p.Tokens(), func(t host.Token) bool {
		return t.In == host.InPath && len(t.Values) > 0
	})
}

// intakeURL is the URL of the intake where it listens on that address.
func intakeURL(in *config.Intake, listen string) string {
	base := baseOf(listen)
	if in.TLS.On() {
		return "https" + strings.TrimPrefix(base, "http")
	}
	return base
}

// baseOf is the URL of a listener, as one reaches it from this machine.
func baseOf(listen string) string {
	at, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "http://" + listen
	}
	if addr, err := netip.ParseAddr(at); at == "" || err == nil && addr.IsUnspecified() {
		at = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(at, port)
}

// openRuntime makes a runtime for a command that runs plugins for a moment. It
// takes what the server has compiled already, where that is, and leaves nothing
// behind where it is not.
func openRuntime(ctx context.Context, cfg *config.Config) (*wasm.Runtime, error) {
	o := wasm.Options{Instances: 1, MemoryPages: cfg.Plugins.MemoryPages()}
	if info, err := os.Stat(cfg.Plugins.Cache); err == nil && info.IsDir() {
		o.CacheDir = cfg.Plugins.Cache
	}
	return wasm.New(ctx, o)
}

// signerFor loads the endpoint's plugin and binds it for signing. The caller
// closes the runtime.
func signerFor(ctx context.Context, cfg *config.Config, e *config.Endpoint) (*wasm.Runtime, *wasm.Plugin, error) {
	rt, err := openRuntime(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	plugin, err := bindSigner(ctx, rt, cfg, e)
	if err != nil {
		return nil, nil, errors.Join(err, rt.Close(ctx))
	}
	return rt, plugin, nil
}

func bindSigner(ctx context.Context, rt *wasm.Runtime, cfg *config.Config, e *config.Endpoint) (*wasm.Plugin, error) {
	m, err := rt.Load(ctx, pluginFile(cfg.Plugins.Path, e.Plugin))
	if err != nil {
		return nil, err
	}
	b, err := server.Binding(m.Manifest(), e)
	if err != nil {
		return nil, err
	}
	b.Signing = true
	return m.Bind(b)
}
