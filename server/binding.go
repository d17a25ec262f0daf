package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// ownPathToken is the name of an endpoint's token where its plugin declares
// none in the path: it reads "[token:path]" once masked.
const ownPathToken = "path"

// Binding is what an endpoint's configuration gives its plugin: its secrets, its
// settings and fuel, and its token, where the manifest declares a static one in the path
// under whatever name. The error joins what the two together make wrong, a line
// each that begins with its place in the endpoint ("token: …"); the rest is for
// [wasm.Module.Bind] to find, which the binding is good for in any case.
func Binding(m *wasm.Manifest, e *config.Endpoint) (wasm.Binding, error) {
	b := wasm.Binding{
		Secrets: make(map[string][]string, len(e.Secrets)+1), Settings: e.Settings,
		Unverified: e.Verification == config.None, Fuel: int64(e.Fuel),
	}
	for secret, values := range e.Secrets {
		b.Secrets[secret] = reveal(values)
	}
	if len(e.Token) == 0 {
		return b, unbound(m, e)
	}
	for i := range m.Secrets {
		s := &m.Secrets[i]
		if in, _, ok := s.Token(); ok && in == host.InPath && len(e.Secrets[s.Name]) > 0 {
			return b, fmt.Errorf("token: the path's last segment is the secret %s already (leave token or secrets.%s out)", s.Name, s.Name)
		}
	}
	if declared := pathToken(m); declared != "" {
		b.Secrets[declared] = reveal(e.Token)
	}
	return b, nil
}

// unbound is the problem of an endpoint that asks for evidence and has nothing
// to make it with.
func unbound(m *wasm.Manifest, e *config.Endpoint) error {
	if e.Verification == config.None || len(e.Secrets) > 0 {
		return nil
	}
	var names []string
	for i := range m.Secrets {
		if !m.Secrets[i].Optional && m.Secrets[i].Name != pathToken(m) {
			return nil // Bind asks for it by name
		}
		names = append(names, m.Secrets[i].Name)
	}
	const text = "nothing is bound to verify with (set token"
	if len(names) == 0 {
		return errors.New(text + ")")
	}
	return errors.New(text + ", or one of secrets " + strings.Join(names, ", ") + ")")
}

// pathToken is the name of the static token of the path that a manifest
// declares; empty if there is none.
func pathToken(m *wasm.Manifest) string {
	for i := range m.Secrets {
		s := &m.Secrets[i]
		if in, _, ok := s.Token(); ok && in == host.InPath && !s.Signed() {
			return s.Name
		}
	}
	return ""
}

// ownToken is the endpoint's token where its plugin declares none of the kind;
// nil if there is none.
func ownToken(m *wasm.Manifest, e *config.Endpoint) *host.Token {
	if len(e.Token) == 0 || pathToken(m) != "" {
		return nil
	}
	t := &host.Token{Name: ownPathToken, In: host.InPath}
	for _, v := range reveal(e.Token) {
		t.Values = append(t.Values, []byte(v))
	}
	return t
}

func reveal(values []config.Secret) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.Reveal()
	}
	return texts
}

// hasPathToken says that an endpoint's URL ends in a token.
func hasPathToken(ep *host.Endpoint) bool {
	return slices.ContainsFunc(ep.Tokens, func(t host.Token) bool { return t.In == host.InPath })
}
