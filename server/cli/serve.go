package cli

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/cli/internal/screen"
)

func (p *program) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take callbacks in, keep them and hand them on",
		Long: `Serves until SIGINT or SIGTERM, then lets what is under way end; a second signal
ends it at once. Every key of the configuration's fixed sections is also a flag
and an environment variable; see the flags below. Logs go to standard error.`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := p.loadConfig(c)
			if err != nil {
				return err
			}
			return p.serve(c, cfg)
		},
	}
	config.AddFlags(c.Flags())
	return c
}

// serve runs a server until ctx ends, and then until it has drained, or until
// it fails by itself.
func (p *program) serve(c *cobra.Command, cfg *config.Config) error {
	ctx := c.Context()
	log := p.logger(cfg.Log)
	for _, w := range cfg.Warnings() {
		log.Warn("configuration", "warning", w)
	}
	srv, err := server.Start(ctx, cfg, server.Options{Version: p.version.Version, Log: log})
	if err != nil {
		return err
	}
	p.announce(c, cfg, srv)
	defer context.AfterFunc(ctx, func() { log.Info("stopping: what is under way ends first") })()
	return srv.Wait()
}

// logger writes to the standard error as the configuration says.
func (p *program) logger(l config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(p.stderr, o))
	}
	return slog.New(slog.NewJSONHandler(p.stderr, o))
}

// announce says where everything is and what to type next.
func (p *program) announce(c *cobra.Command, cfg *config.Config, srv *server.Server) {
	s := p.screen()
	base := baseOf(srv.Addr().String())
	s.Printf("%s on %s\n\n", s.Paint(screen.Bold, "postern takes callbacks in"), base)
	t := screen.Table{Columns: []screen.Column{{Title: "ENDPOINT"}, {Title: "PLUGIN", Least: 8}, {Title: "URL"}}}
	for _, e := range srv.Endpoints() {
		t.Add(screen.Text(e.Tenant+"/"+e.Name), screen.Text(shortVersion(e.Plugin)), screen.Text(e.URL))
	}
	t.Print(s)
	s.Printf("\n")
	s.Field("data", screen.Text(cfg.Store.Path))
	s.Field("admin", screen.Text(filepath.Join(cfg.Store.Path, admin.SocketName)))
	if ends := srv.Endpoints(); len(ends) > 0 {
		s.Command(fmt.Sprintf("  %-12s", "try"), p.trial(c, cfg, &ends[0], base))
	}
	s.Field("stop", screen.Text("ctrl-c"))
}

// trial is the command that sends something to the endpoint, wherever this
// server's configuration came from.
func (p *program) trial(c *cobra.Command, cfg *config.Config, e *admin.Endpoint, base string) string {
	words := append([]string{"send", e.Provider, "--endpoint", e.Tenant + "/" + e.Name}, p.sameConfig()...)
	if p.overridden(c, "intake.listen") {
		words = append(words, "--url", base)
	}
	line := p.command(words...)
	if p.overridden(c, "store.path") {
		line = config.EnvName("store.path") + "=" + quoted(cfg.Store.Path) + " " + line
	}
	if p.overridden(c, "plugins.path") {
		line = config.EnvName("plugins.path") + "=" + quoted(cfg.Plugins.Path) + " " + line
	}
	return line
}

// shortVersion is "ottu@0.1.0" of "ottu@0.1.0+sha256:…".
func shortVersion(v string) string {
	for i := range v {
		if v[i] == '+' {
			return v[:i]
		}
	}
	return v
}
