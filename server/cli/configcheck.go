package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) configCommand() *cobra.Command {
	return group("config", "Check the configuration", p.configCheck(), p.configDiff())
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
		out.Problems = config.Lines(problems)
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
		return fmt.Errorf("%s: %s", p.configFile, show.Count(len(out.Problems), "problem"))
	}
	endpoints := 0
	for _, t := range cfg.Tenants {
		endpoints += len(t.Endpoints)
	}
	s.Printf("%s: %s (%s, %s)\n", p.configFile, s.Paint(screen.Good, "no problems"),
		show.Count(endpoints, "endpoint"), show.Count(len(cfg.Sinks), "sink"))
	return nil
}

// checkPlugins loads each plugin that an endpoint names, once, and binds it to
// each of its endpoints. The error joins every problem.
func checkPlugins(ctx context.Context, cfg *config.Config) error {
	rt, err := outgoing.OpenRuntime(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close(ctx) }()
	return server.Check(ctx, cfg, rt)
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
