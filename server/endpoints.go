package server

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/intake"
)

// loaded is a module as the endpoints need it.
type loaded struct {
	manifest *wasm.Manifest
	version  string
	// bind returns the plugin with an endpoint's secrets and settings, and its
	// tokens. Its error has a line for each problem, beginning with the place.
	bind func(wasm.Binding) (host.Plugin, []host.Token, error)
}

// table is what one configuration serves. Nobody changes it: a reload makes
// another one, and a callback ends with the one it began with.
type table struct {
	tenants   map[string]config.Tenant
	routes    map[name]intake.Route
	endpoints []admin.Endpoint
	// modules by the name of the plugin in the configuration.
	modules map[string]*loaded
	// gates are the endpoints' own, and under an empty name the tenants'.
	gates map[name]*intake.Gate
}

// newTable makes a route of each endpoint of cfg. Modules that the table before
// has are taken from there, as are its gates where they and those above them are
// the same still; before is nil at the start. The error joins everything that
// is wrong, each with its path in the configuration.
func newTable(ctx context.Context, cfg *config.Config, rt runtime, before *table) (*table, error) {
	t := &table{
		tenants: cfg.Tenants, routes: make(map[name]intake.Route), modules: make(map[string]*loaded),
		gates: make(map[name]*intake.Gate),
	}
	if before == nil {
		before = &table{}
	}
	failed := make(map[string]bool)
	var wrong []error
	for _, tenant := range slices.Sorted(maps.Keys(cfg.Tenants)) {
		endpoints := cfg.Tenants[tenant].Endpoints
		limit := tenantLimit(cfg, tenant)
		all := t.gate(before, name{tenant, ""}, nil, cfg.Tenants[tenant].AllowFrom, cfg.Tenants[tenant].RateLimit)
		for _, endpoint := range slices.Sorted(maps.Keys(endpoints)) {
			e := endpoints[endpoint]
			path := "tenants." + tenant + ".endpoints." + endpoint
			if failed[e.Plugin] {
				continue // said at the first endpoint that names it
			}
			m, err := t.module(ctx, e.Plugin, rt, before.modules)
			if err != nil {
				wrong = append(wrong, &config.Problem{Path: path + ".plugin", Text: err.Error()})
				failed[e.Plugin] = true
				continue
			}
			ep, err := bindEndpoint(name{tenant, endpoint}, &e, m, limit)
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			t.routes[name{tenant, endpoint}] = intake.Route{
				Endpoint: ep, Methods: m.manifest.Methods, PublicURL: e.PublicURL,
				Gate: t.gate(before, name{tenant, endpoint}, all, e.AllowFrom, e.RateLimit),
			}
			d := describe(ep, &e, m.manifest.Methods)
			d.Tenantwide = limits(cfg.Tenants[tenant].AllowFrom, cfg.Tenants[tenant].RateLimit)
			t.endpoints = append(t.endpoints, d)
		}
	}
	return t, errors.Join(wrong...)
}

// module returns a plugin's module: one that this table has already, one that
// is ready, or a new one.
func (t *table) module(ctx context.Context, plugin string, rt runtime, ready map[string]*loaded) (*loaded, error) {
	m := t.modules[plugin]
	if m == nil {
		m = ready[plugin]
	}
	if m == nil {
		var err error
		if m, err = rt.load(ctx, plugin); err != nil {
			return nil, err
		}
	}
	t.modules[plugin] = m
	return m, nil
}

// gate is above itself where there is nothing to add to it.
// One that the table before has goes on: whoever reloads gives nobody a new burst.
func (t *table) gate(before *table, of name, above *intake.Gate, allowed []netip.Prefix, r config.RateLimit) *intake.Gate {
	if limits(allowed, r) == nil {
		return above
	}
	l := intake.Limit{PerSecond: r.PerSecond, Burst: r.Burst}
	g := before.gates[of]
	if !g.Is(above, allowed, l) {
		g = intake.NewGate(above, allowed, l)
	}
	t.gates[of] = g
	return g
}

// limits are a gate's for operators; nil if it has none.
func limits(allowed []netip.Prefix, r config.RateLimit) *admin.Limits {
	if len(allowed) == 0 && r.PerSecond == 0 {
		return nil
	}
	return &admin.Limits{AllowFrom: allowed, PerSecond: r.PerSecond, Burst: r.Burst}
}

// lookup is [intake.Options.Lookup].
func (s *Server) lookup(tenant, endpoint string) (intake.Route, bool) {
	r, ok := s.table.Load().routes[name{tenant, endpoint}]
	return r, ok
}

// Check loads the plugins that the endpoints of cfg name and binds them, and
// looks at the sinks as far as that touches nothing, as [Start] would. The error
// joins everything that is wrong with any of them, each with its path in the
// configuration. The caller closes rt.
func Check(ctx context.Context, cfg *config.Config, rt *wasm.Runtime) error {
	_, err := newTable(ctx, cfg, &sandbox{rt, &cfg.Plugins, make(map[string]*loaded)}, nil)
	return errors.Join(err, checkSinks(cfg))
}

// tenantLimit bounds how many of a tenant's callbacks are judged at the same time:
// one whose plugin is slow must leave the others a processor.
func tenantLimit(cfg *config.Config, tenant string) wasm.Limit {
	n := cfg.Tenants[tenant].Concurrency
	if n == 0 {
		if len(cfg.Tenants) < 2 {
			return nil
		}
		n = max(1, goruntime.GOMAXPROCS(0)-1)
	}
	return wasm.NewLimit(n)
}

// bindEndpoint makes an endpoint of its configuration.
func bindEndpoint(of name, cfg *config.Endpoint, m *loaded, limit wasm.Limit) (*host.Endpoint, error) {
	b, wrong := Binding(m.manifest, cfg)
	b.Limit, b.Where = limit, "/"+of.tenant+"/"+of.endpoint
	plugin, tokens, err := m.bind(b)
	if err := errors.Join(wrong, err); err != nil {
		return nil, under("tenants."+of.tenant+".endpoints."+of.endpoint, err)
	}
	if own := ownToken(m.manifest, cfg); own != nil {
		tokens = append(tokens, *own)
	}
	ep := &host.Endpoint{
		Tenant: of.tenant, Name: of.endpoint,
		Provider: m.manifest.Name, Plugin: plugin, PluginVersion: m.version, Tokens: tokens,
		Unverified: cfg.Verification == config.None,
		Unable:     m.manifest.Unable(), Ack: m.manifest.Ack(), RejectStatus: cfg.RejectStatus,
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
		Verification: cfg.Verification, Unable: config.Retry, Limits: limits(cfg.AllowFrom, cfg.RateLimit),
	}
	if ep.Unable == host.Keep {
		out.Unable = config.Keep
	}
	if hasPathToken(ep) {
		out.URL += "/{token}"
	}
	return out
}
