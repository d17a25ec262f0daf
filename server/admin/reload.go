package admin

import (
	"context"
	"net/http"
	"strings"
)

// Plugin describes a module that is loaded to operators.
type Plugin struct {
	Name string `json:"name"`
	// Version is "ottu@0.1.0+sha256:…", SHA256 the whole of that, in hexadecimal.
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
	// Endpoints are those that it serves, "acme/pay".
	Endpoints []string `json:"endpoints"`
	// Instances is how many it has at the moment.
	Instances int `json:"instances"`
	// State is Live or Draining.
	State string `json:"state"`
}

// States of a Plugin.
const (
	Live     = "live"     // an endpoint is served by it
	Draining = "draining" // callbacks that began with it are still under way
)

// Difference is what a reload changes. It names keys, and never a value, which
// may be a secret.
type Difference struct {
	// Added and Removed are tenants, "acme", and endpoints, "acme/pay".
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []Change `json:"changed"`
	// Switched are the endpoints whose plugin becomes another version.
	Switched []Switch `json:"switched"`
	// Unable are endpoints of which the node lacks the plugin, and says so.
	Unable []string `json:"unable"`
	// Restart are keys that only a restart takes: while there is one, a reload
	// is refused.
	Restart []string `json:"restart"`
	// Problems are why it is refused, a line each; those of Restart are not among
	// them.
	Problems []string `json:"problems"`
}

// Change is a tenant or an endpoint with the keys that differ.
type Change struct {
	Name string   `json:"name"`
	Keys []string `json:"keys"`
}

// Switch is an endpoint with the versions of its plugin before and after.
type Switch struct {
	Endpoint string `json:"endpoint"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// Line says the change in one line.
func (c Change) Line() string { return c.Name + ": " + strings.Join(c.Keys, ", ") }

// Line says the switch in one line.
func (s Switch) Line() string { return s.Endpoint + ": " + s.From + " -> " + s.To }

// Lines say what changes, a line each; none if nothing does.
func (d *Difference) Lines() []string {
	lines := []string{} // a list also in JSON
	for _, name := range d.Added {
		lines = append(lines, "added "+name)
	}
	for _, name := range d.Removed {
		lines = append(lines, "removed "+name)
	}
	for _, c := range d.Changed {
		lines = append(lines, "changed "+c.Line())
	}
	for _, s := range d.Switched {
		lines = append(lines, "switched "+s.Line())
	}
	for _, text := range d.Unable {
		lines = append(lines, "unable "+text)
	}
	return lines
}

// Reloader reads the configuration and the plugins again.
type Reloader interface {
	// Reread serves them, all or nothing, and returns what that changed. The error
	// says that nothing has changed; its problems stand in the difference.
	Reread(ctx context.Context) (Difference, error)
	// Preview returns what Reread would change, or why it would be refused. The
	// error says that neither could be found out.
	Preview(ctx context.Context) (Difference, error)
}

func (a *Admin) reload(r *http.Request) (any, error) {
	if err := bare(r); err != nil {
		return nil, err
	}
	if a.o.Reloader == nil {
		return nil, noReloader()
	}
	// A caller who goes away half way must not make it a refusal.
	d, err := a.o.Reloader.Reread(context.WithoutCancel(r.Context()))
	if err != nil {
		problems := d.Problems
		if len(d.Restart) > 0 {
			problems = append([]string{RestartProblem(d.Restart)}, problems...)
		}
		return nil, &refusal{
			status: http.StatusUnprocessableEntity, code: "reload.refused",
			text: "nothing has changed: " + strings.Join(problems, "; "), problems: problems,
		}
	}
	return map[string]any{"changes": d.Lines()}, nil
}

func (a *Admin) preview(r *http.Request) (any, error) {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if a.o.Reloader == nil {
		return nil, noReloader()
	}
	d, err := a.o.Reloader.Preview(r.Context())
	if err != nil {
		return nil, err
	}
	d.Added, d.Removed, d.Changed, d.Switched = list(d.Added), list(d.Removed), list(d.Changed), list(d.Switched)
	d.Unable, d.Restart, d.Problems = list(d.Unable), list(d.Restart), list(d.Problems)
	return d, nil
}

// RestartProblem says that keys which only a restart takes keep a reload from
// being one.
func RestartProblem(keys []string) string {
	return "changed, and taken by a restart only: " + strings.Join(keys, ", ")
}

func noReloader() error {
	return conflict("reload.impossible", "no server is running that could reload")
}

func (a *Admin) plugins(r *http.Request) (any, error) {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	all := a.o.Plugins()
	for i := range all {
		all[i].Endpoints = list(all[i].Endpoints)
	}
	return map[string]any{"plugins": list(all)}, nil
}
