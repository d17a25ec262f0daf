package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	goruntime "runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/intake"
)

// table is what one configuration serves. Nobody changes it: a reload makes
// another one, and a callback ends with the one it began with.
type table struct {
	tenants   map[string]config.Tenant
	routes    map[name]intake.Route
	endpoints []admin.Endpoint
	// gates are the endpoints' own, and under an empty name the tenants'.
	gates map[name]*intake.Gate
	// held are the modules, by the name of the plugin in the configuration, and uses
	// those of the endpoints: the plugin's, and its guards'.
	held map[string]*module
	uses map[name][]*module
	from *modules
	// begun counts the callbacks that began with the table, and one more while it is
	// served. At zero nothing begins any more, and the modules are let go.
	begun atomic.Int64
}

// begin keeps what the table is made of until [table.end]. It says no once all of
// that is gone.
func (t *table) begin() bool {
	for {
		n := t.begun.Load()
		if n == 0 {
			return false
		}
		if t.begun.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (t *table) end() {
	if t.begun.Add(-1) == 0 {
		t.from.release(t.held)
	}
}

// newTable makes a route of each endpoint of cfg. Gates of the table before that
// they and those above them are the same still go on in it; before is nil at the
// start. The error joins everything that is wrong, each with its path in the
// configuration. Who does not serve the table ends it, also after an error.
func (ms *modules) newTable(ctx context.Context, cfg *config.Config, before *table) (*table, error) {
	t := &table{
		tenants: cfg.Tenants, routes: make(map[name]intake.Route), gates: make(map[name]*intake.Gate),
		held: make(map[string]*module), uses: make(map[name][]*module), from: ms,
	}
	t.begun.Store(1)
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
			of, e := name{tenant, endpoint}, endpoints[endpoint]
			if failed[e.Plugin] {
				continue // said at the first endpoint that names it
			}
			m, err := t.module(ctx, e.Plugin)
			switch why := t.absent(ctx, &e, err); {
			// What is served must not be taken out by what is not there.
			case why != nil && before.uses[of] == nil:
				t.unable(of, &e, why)
			case err != nil:
				wrong = append(wrong, &config.Problem{Path: path(of) + ".plugin", Text: err.Error()})
				failed[e.Plugin] = why == nil
				continue
			default:
				if err := t.serve(ctx, of, &e, m, limit); err != nil {
					wrong = append(wrong, err)
					continue
				}
			}
			t.finish(of, &e, t.gate(before, of, all, e.AllowFrom, e.RateLimit))
		}
	}
	return t, errors.Join(wrong...)
}

// path is where an endpoint stands in the configuration.
func path(of name) string { return "tenants." + of.tenant + ".endpoints." + of.endpoint }

// module returns a plugin's module, which the table holds from then on.
func (t *table) module(ctx context.Context, plugin string) (*module, error) {
	if m := t.held[plugin]; m != nil {
		return m, nil
	}
	m, err := t.from.hold(ctx, plugin)
	if err != nil {
		return nil, err
	}
	t.held[plugin] = m
	return m, nil
}

// serve makes the route of an endpoint that has its plugin.
func (t *table) serve(ctx context.Context, of name, e *config.Endpoint, m *module, limit wasm.Limit) error {
	ep, err := bindEndpoint(of, e, m.loaded, limit)
	guards, using, guardErr := t.guards(ctx, of, e, limit)
	if err := errors.Join(err, guardErr); err != nil {
		return err
	}
	ep.Guards = guards
	t.uses[of] = append([]*module{m}, using...)
	t.routes[of] = intake.Route{Endpoint: ep, Methods: m.manifest.Methods}
	return nil
}

// finish gives a route what it has whatever its plugin, and tells operators of it.
func (t *table) finish(of name, e *config.Endpoint, gate *intake.Gate) {
	r := t.routes[of]
	r.PublicURL, r.Gate, r.Begin, r.End = e.PublicURL, gate, t.begin, t.end
	t.routes[of] = r
	d := describe(r.Endpoint, e, r.Methods)
	tenant := t.tenants[of.tenant]
	d.Tenantwide = limits(tenant.AllowFrom, tenant.RateLimit)
	t.endpoints = append(t.endpoints, d)
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
// configuration; also an endpoint that would be there without its plugin. The
// caller closes rt.
func Check(ctx context.Context, cfg *config.Config, rt *wasm.Runtime) error {
	ms := newModules(sandbox{rt}, onShelf(&cfg.Plugins), slog.New(slog.DiscardHandler))
	t, err := ms.newTable(ctx, cfg, nil)
	wrong := []error{err, checkSinks(cfg)}
	for i := range t.endpoints {
		e := &t.endpoints[i]
		if why := t.missing(name{e.Tenant, e.Name}); why != nil {
			wrong = append(wrong, &config.Problem{Path: path(name{e.Tenant, e.Name}) + ".plugin", Text: why.Error()})
		}
	}
	t.end()
	ms.freeing.Wait()
	return errors.Join(wrong...)
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
	if m.manifest.Guard {
		wrong = errors.Join(wrong, fmt.Errorf("plugin: %s is a guard: name it under guards, beside a provider's plugin", cfg.Plugin))
	}
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
		Provider: cmp.Or(cfg.Provider, m.manifest.Name), Plugin: plugin, PluginVersion: m.version, Tokens: tokens,
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
	for i := range ep.Guards {
		out.Guards = append(out.Guards, ep.Guards[i].Version)
	}
	if hasPathToken(ep) {
		out.URL += "/{token}"
	}
	return out
}
