package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// guards are those of an endpoint, bound, in their order. The error joins
// everything that is wrong with any, each with its path in the configuration.
func (t *table) guards(ctx context.Context, of name, e *config.Endpoint, limit wasm.Limit) ([]host.BoundGuard, []*module, error) {
	var out []host.BoundGuard
	var using []*module
	var wrong []error
	for i := range e.Guards {
		path := path(of) + ".guards." + strconv.Itoa(i)
		c := &e.Guards[i]
		m, err := t.module(ctx, c.Plugin)
		if err == nil && !m.manifest.Guard {
			err = fmt.Errorf("%s is a provider's plugin and no guard: name it as the endpoint's plugin", c.Plugin)
		}
		if err != nil {
			wrong = append(wrong, &config.Problem{Path: path + ".plugin", Text: err.Error()})
			continue
		}
		plugin, _, err := m.bind(wasm.Binding{
			Settings: c.Settings, Fuel: int64(c.Fuel), Limit: limit, Where: "/" + of.tenant + "/" + of.endpoint,
		})
		if err != nil {
			wrong = append(wrong, under(path, err))
			continue
		}
		guard, ok := plugin.(host.Guard)
		if !ok {
			wrong = append(wrong, &config.Problem{Path: path + ".plugin", Text: c.Plugin + " cannot guard"})
			continue
		}
		out, using = append(out, host.BoundGuard{Name: m.manifest.Name, Version: m.version, Guard: guard}), append(using, m)
	}
	return out, using, errors.Join(wrong...)
}

// out says why the plugin of an endpoint, or one of its guards, is out of service;
// empty if none is.
func out(ep *host.Endpoint) string {
	parts := []any{ep.Plugin}
	for i := range ep.Guards {
		parts = append(parts, ep.Guards[i].Guard)
	}
	for _, p := range parts {
		if b, ok := p.(interface{ Out() error }); ok && b.Out() != nil {
			return b.Out().Error()
		}
	}
	return ""
}
