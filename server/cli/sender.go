package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// sender makes callbacks as an endpoint's provider would and posts them.
type sender struct {
	// where is "tenant/name".
	where    string
	endpoint *config.Endpoint
	// plugin signs; nil leaves a callback as it is.
	plugin *wasm.Plugin
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
		signed, err := s.plugin.Sign(ctx, out)
		if err != nil {
			return answer{}, err
		}
		out = signed
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
		// Not the error itself: it holds the URL, and the URL the token.
		return answer{}, fmt.Errorf("post to %s/in/%s: %w", s.base, s.where, cause(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", s.base, err)
	}
	return answer{resp.StatusCode, body, time.Since(start)}, nil
}

// address returns a copy of cb with the endpoint's own path, its newest token
// included, and the query that cb has.
func (s *sender) address(cb *host.Callback) *host.Callback {
	out := *cb
	_, query, has := strings.Cut(cb.Target, "?")
	out.Target = "/in/" + s.where
	if len(s.endpoint.Token) > 0 {
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

// signerFor loads the endpoint's plugin and binds it for signing. The caller
// closes the runtime.
func signerFor(ctx context.Context, cfg *config.Config, e *config.Endpoint) (*wasm.Runtime, *wasm.Plugin, error) {
	rt, err := wasm.New(ctx, wasm.Options{MemoryPages: cfg.Plugins.MemoryPages(), Instances: 1})
	if err != nil {
		return nil, nil, err
	}
	m, err := rt.Load(ctx, pluginFile(cfg.Plugins.Path, e.Plugin))
	if err == nil {
		var p *wasm.Plugin
		if p, err = m.Bind(binding(e, true)); err == nil {
			return rt, p, nil
		}
	}
	_ = rt.Close(ctx)
	return nil, nil, err
}
