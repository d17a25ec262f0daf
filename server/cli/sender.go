package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
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

// sendTimeout bounds one callback with its answer.
const sendTimeout = 30 * time.Second

// maxAnswer bounds what is read of an answer; Postern's own are shorter.
const maxAnswer = 64 << 10

// send addresses, signs and posts a callback. cb is not changed. It blocks
// until the answer is there.
func (s *sender) send(ctx context.Context, cb *host.Callback) (answer, error) {
	out := s.address(cb)
	if s.plugin != nil {
		var err error
		if out, err = outgoing.Sign(ctx, s.plugin, out); err != nil {
			return answer{}, err
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

// direct is a client that sends where it is told to, and follows nobody
// elsewhere: the token is in the path, and a redirect hands it on.
func direct(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Timeout: sendTimeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// trusting is a client that takes the server on this machine for what its
// certificate's file says it is, whatever name or address it was called by.
func trusting(certFile string) (*http.Client, error) {
	text, err := os.ReadFile(certFile) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("read the server's certificate: %s does not begin with one", certFile)
	}
	want := block.Bytes
	return direct(&http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Not the usual checks: the very certificate is asked for, and the
		// handshake proves that its key is there.
		InsecureSkipVerify: true, //nolint:gosec // see above, and VerifyConnection
		VerifyConnection: func(c tls.ConnectionState) error {
			if !bytes.Equal(c.PeerCertificates[0].Raw, want) {
				return fmt.Errorf("it shows another certificate than the one in %s", certFile)
			}
			return nil
		},
	}}), nil
}

// intakeURL is the URL of the intake where it listens on that address.
func intakeURL(in *config.Intake, listen string) string {
	base := baseOf(listen)
	if in.TLS.On() {
		return "https" + strings.TrimPrefix(base, "http")
	}
	return base
}

// here says that a URL leads to this machine.
func here(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
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
