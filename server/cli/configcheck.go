package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/cli/internal/screen"
)

func (p *program) configCommand() *cobra.Command {
	return group("config", "Check the configuration", p.configCheck())
}

// checked is the answer of "config check" for programs.
type checked struct {
	File     string   `json:"file"`
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings"`
}

func (p *program) configCheck() *cobra.Command {
	var noPlugins bool
	c := &cobra.Command{
		Use:   "check [file]",
		Short: "Say everything that is wrong with the configuration",
		Long: `Reads the configuration as serve would, with the environment's overrides and
secrets, loads the plugins that its endpoints name and binds their secrets and
settings. Nothing is served and no data directory is touched.`,
		Args: takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				p.configFile = args[0]
			}
			cfg, err := p.loadConfig(c)
			if err == nil && !noPlugins {
				err = checkPlugins(c.Context(), cfg)
			}
			return p.printChecked(cfg, err)
		},
	}
	c.Flags().BoolVar(&noPlugins, "no-plugins", false, "do not load the plugins")
	return c
}

func (p *program) printChecked(cfg *config.Config, problems error) error {
	out := checked{File: p.configFile, Problems: []string{}, Warnings: []string{}}
	if problems != nil {
		out.Problems = linesOf(problems)
	}
	if cfg != nil {
		out.Warnings = append(out.Warnings, cfg.Warnings()...)
	}
	if p.asJSON {
		if err := jsonLine(p.stdout, out); err != nil {
			return err
		}
		if problems != nil {
			return silentError{problems}
		}
		return nil
	}
	s := p.screen()
	for _, w := range out.Warnings {
		s.Printf("%s %s\n", s.Paint(screen.Odd, "warning:"), w)
	}
	if problems != nil {
		printError(p.stderr, problems)
		return fmt.Errorf("%s: %s", p.configFile, count(len(out.Problems), "problem"))
	}
	endpoints := 0
	for _, t := range cfg.Tenants {
		endpoints += len(t.Endpoints)
	}
	s.Printf("%s: %s (%s, %s)\n", p.configFile, s.Paint(screen.Good, "no problems"),
		count(endpoints, "endpoint"), count(len(cfg.Sinks), "sink"))
	return nil
}

// checkPlugins loads each plugin that an endpoint names, once, and binds it to
// each of its endpoints. The error joins every problem.
func checkPlugins(ctx context.Context, cfg *config.Config) error {
	rt, err := openRuntime(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close(ctx) }()
	modules := map[string]*wasm.Module{}
	failed := map[string]bool{}
	var wrong []error
	for path, e := range endpointsOf(cfg) {
		m := modules[e.Plugin]
		if m == nil {
			if m, err = rt.Load(ctx, pluginFile(cfg.Plugins.Path, e.Plugin)); err != nil {
				if !failed[e.Plugin] {
					wrong = append(wrong, &config.Problem{Path: path + ".plugin", Text: err.Error()})
				}
				failed[e.Plugin] = true
				continue
			}
			modules[e.Plugin] = m
		}
		wrong = append(wrong, checkBinding(path, m, e)...)
	}
	return errors.Join(wrong...)
}

// checkBinding binds a plugin to an endpoint and returns what is wrong, each
// with its path.
func checkBinding(path string, m *wasm.Module, e *config.Endpoint) []error {
	plugin, err := m.Bind(binding(e, false))
	if err != nil {
		var wrong []error
		for line := range strings.Lines(err.Error()) {
			wrong = append(wrong, errors.New(path+"."+strings.TrimSpace(line)))
		}
		return wrong
	}
	for _, t := range plugin.Tokens() {
		if t.In == host.InPath && len(e.Token) > 0 {
			return []error{fmt.Errorf("%s.token: the plugin takes the URL's last part as its secret %q (set secrets.%s alone)",
				path, t.Name, t.Name)}
		}
	}
	return nil
}

// endpointsOf yields all endpoints by their paths in the configuration, in
// order.
func endpointsOf(cfg *config.Config) func(yield func(string, *config.Endpoint) bool) {
	return func(yield func(string, *config.Endpoint) bool) {
		for _, tenant := range slices.Sorted(maps.Keys(cfg.Tenants)) {
			of := cfg.Tenants[tenant].Endpoints
			for _, name := range slices.Sorted(maps.Keys(of)) {
				e := of[name]
				if !yield("tenants."+tenant+".endpoints."+name, &e) {
					return
				}
			}
		}
	}
}

func pluginFile(dir, plugin string) string { return filepath.Join(dir, plugin+".wasm") }

// binding is what the endpoint gives its plugin.
func binding(e *config.Endpoint, signing bool) wasm.Binding {
	b := wasm.Binding{Secrets: map[string][]string{}, Settings: e.Settings, Signing: signing}
	for name, values := range e.Secrets {
		for _, v := range values {
			b.Secrets[name] = append(b.Secrets[name], v.Reveal())
		}
	}
	return b
}
