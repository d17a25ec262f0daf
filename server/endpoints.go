package server

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/intake"
)

// pathToken is the name of the token that an endpoint's own "token" setting
// binds: it reads "[token:path]" once masked.
const pathToken = "path"

// loaded is a module as the endpoints need it.
type loaded struct {
	provider string
	version  string
	methods  []string
	unable   host.Unable
	ack      host.Answer
	// bind returns the plugin with an endpoint's secrets and settings. Its
	// error has a line for each problem, beginning with the place.
	bind func(secrets map[string][]string, settings map[string]any) (host.Plugin, []host.Token, error)
}

// bind loads the modules that endpoints name and makes a route of each
// endpoint. The error joins everything that is wrong.
func (s *Server) bind(ctx context.Context) error {
	var wrong []error
	type result struct {
		module *loaded
		err    error
	}
	modules := make(map[string]result)
	for _, tenant := range slices.Sorted(maps.Keys(s.cfg.Tenants)) {
		endpoints := s.cfg.Tenants[tenant].Endpoints
		for _, endpoint := range slices.Sorted(maps.Keys(endpoints)) {
			cfg := endpoints[endpoint]
			path := "tenants." + tenant + ".endpoints." + endpoint
			m, seen := modules[cfg.Plugin]
			if !seen {
				m.module, m.err = s.runtime.load(ctx, filepath.Join(s.cfg.Plugins.Path, cfg.Plugin+".wasm"))
				modules[cfg.Plugin] = m
			}
			if m.err != nil {
				wrong = append(wrong, &config.Problem{Path: path + ".plugin", Text: m.err.Error()})
				continue
			}
			ep, err := bindEndpoint(path, &cfg, m.module)
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			ep.Tenant, ep.Name = tenant, endpoint
			s.routes[name{tenant, endpoint}] = intake.Route{
				Endpoint: ep, Methods: m.module.methods, PublicURL: cfg.PublicURL,
			}
			s.endpoints = append(s.endpoints, describe(ep, &cfg, m.module.methods))
		}
	}
	return errors.Join(wrong...)
}

// bindEndpoint makes an endpoint of its configuration, all but its names.
func bindEndpoint(path string, cfg *config.Endpoint, m *loaded) (*host.Endpoint, error) {
	secrets := make(map[string][]string, len(cfg.Secrets))
	for secret, values := range cfg.Secrets {
		for _, v := range values {
			secrets[secret] = append(secrets[secret], v.Reveal())
		}
	}
	plugin, tokens, err := m.bind(secrets, cfg.Settings)
	if err != nil {
		return nil, under(path, err)
	}
	if len(cfg.Token) > 0 {
		i := slices.IndexFunc(tokens, func(t host.Token) bool { return t.In == host.InPath })
		if i >= 0 {
			return nil, &config.Problem{
				Path: path + ".token", Text: "the plugin takes the path's last segment as its secret " + tokens[i].Name,
				Fix: "set secrets." + tokens[i].Name + " alone",
			}
		}
		own := host.Token{Name: pathToken, In: host.InPath}
		for _, v := range cfg.Token {
			own.Values = append(own.Values, []byte(v.Reveal()))
		}
		tokens = append(tokens, own)
	}
	ep := &host.Endpoint{
		Provider: m.provider, Plugin: plugin, PluginVersion: m.version, Tokens: tokens,
		Unverified: cfg.Verification == config.None,
		Unable:     m.unable, Ack: m.ack, RejectStatus: cfg.RejectStatus,
	}
	override(ep, cfg)
	return ep, nil
}

// override puts the operator's word over the manifest's. A body and its type
// go together.
func override(ep *host.Endpoint, cfg *config.Endpoint) {
	switch cfg.Unable {
	case config.Keep:
		ep.Unable = host.Keep
	case config.Retry:
		ep.Unable = host.Retry
	}
	if cfg.Ack.Status != 0 {
		ep.Ack.Status = cfg.Ack.Status
	}
	if cfg.Ack.Body != "" || cfg.Ack.ContentType != "" {
		ep.Ack.Body, ep.Ack.ContentType = []byte(cfg.Ack.Body), cfg.Ack.ContentType
	}
}

// under makes a problem of each line of err, with its full path.
func under(path string, err error) error {
	var all []error
	for line := range strings.Lines(err.Error()) {
		place, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			all = append(all, &config.Problem{Path: path, Text: place})
			continue
		}
		all = append(all, &config.Problem{Path: path + "." + place, Text: text})
	}
	return errors.Join(all...)
}

func describe(ep *host.Endpoint, cfg *config.Endpoint, methods []string) admin.Endpoint {
	out := admin.Endpoint{
		Tenant: ep.Tenant, Name: ep.Name, URL: cfg.PublicURL + "/in/" + ep.Tenant + "/" + ep.Name,
		Plugin: ep.PluginVersion, Provider: ep.Provider, Methods: methods,
		Verification: cfg.Verification, Unable: config.Retry,
	}
	if ep.Unable == host.Keep {
		out.Unable = config.Keep
	}
	if slices.ContainsFunc(ep.Tokens, func(t host.Token) bool { return t.In == host.InPath }) {
		out.URL += "/{token}"
	}
	return out
}
