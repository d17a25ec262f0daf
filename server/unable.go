package server

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/server/intake"
)

// missing stands for a plugin that names a version which this node does not have.
type missing struct{ why error }

// Handle implements [host.Plugin].
func (m missing) Handle(context.Context, *host.Callback) (host.Result, error) {
	return host.Result{}, host.Errorf(host.PluginFailed, "%w", m.why)
}

// Out says why it is out of service.
func (m missing) Out() error { return m.why }

// isMissing reports whether err means that a node lacks what a plugin is pinned to:
// that takes out its endpoint, and not the others.
func isMissing(plugin string, err error) bool {
	return strings.Contains(plugin, "@") && errors.Is(err, fs.ErrNotExist)
}

// absent is why an endpoint cannot be served: its plugin, for which err came, or one
// of its guards is pinned to a version that is not there.
func (t *table) absent(ctx context.Context, e *config.Endpoint, err error) error {
	if isMissing(e.Plugin, err) {
		return err
	}
	for i := range e.Guards {
		if _, err := t.module(ctx, e.Guards[i].Plugin); isMissing(e.Guards[i].Plugin, err) {
			return err
		}
	}
	return nil
}

// missing is why an endpoint has no plugin; nil if it has one.
func (t *table) missing(of name) error {
	if m, ok := t.routes[of].Endpoint.Plugin.(missing); ok {
		return m.why
	}
	return nil
}

// unable makes the route of an endpoint whose plugin is not there: whatever comes
// is answered as what could not be judged. Nobody can say which methods it has, or
// where its tokens stand.
//
// Invariant 1: that is our failure, so nothing is refused for either.
//
// Invariant 8: what is bound to the endpoint is masked wherever it stands.
func (t *table) unable(of name, e *config.Endpoint, why error) {
	provider, _, _ := strings.Cut(e.Plugin, "@")
	ep := &host.Endpoint{
		Tenant: of.tenant, Name: of.endpoint, Provider: provider, Plugin: missing{why}, PluginVersion: e.Plugin,
		Unverified: e.Verification == config.None, RejectStatus: e.RejectStatus,
		Tokens: []host.Token{{Name: ownPathToken, In: host.InPath}},
	}
	if len(e.Token) > 0 {
		for _, v := range reveal(e.Token) {
			ep.Tokens[0].Values = append(ep.Tokens[0].Values, []byte(v))
		}
	}
	for _, secret := range slices.Sorted(maps.Keys(e.Secrets)) {
		token := host.Token{Name: secret, In: host.InAny}
		for _, v := range reveal(e.Secrets[secret]) {
			token.Values = append(token.Values, []byte(v))
		}
		ep.Tokens = append(ep.Tokens, token)
	}
	override(ep, e)
	t.routes[of] = intake.Route{Endpoint: ep, Methods: []string{
		http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodDelete,
	}}
}
