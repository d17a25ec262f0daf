package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) serveCommand() *cobra.Command {
	var cursors string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Take callbacks in, keep them and hand them on",
		Long: `Serves until SIGINT or SIGTERM, then lets what is under way end; a second signal
ends it at once. Logs go to standard error.

When its files change, and on SIGHUP, the configuration is read again, with the
files that secrets are in and the plugins, and the tenants that it now has are
served: all of them or, if anything is wrong, none, which the log tells with
every problem. Callbacks under way end with the plugin that they began with.
Keys outside tenants need a restart, and so does another environment. "config
diff" says what would change.

Every key of the configuration's fixed sections is also a flag, which goes over
everything, and a variable, which goes over the file: intake.listen is
--intake.listen and POSTERN__INTAKE__LISTEN.`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			switch host.From(cursors) {
			case "", host.FromOldest, host.FromNow:
			default:
				return usageError{fmt.Errorf("--cursors %s: must be oldest or now", cursors)}
			}
			cfg, err := p.loadConfig(c)
			if err != nil {
				return err
			}
			return p.serve(c, cfg, host.From(cursors))
		},
	}
	config.AddFlags(c.Flags())
	c.Flags().VisitAll(func(f *pflag.Flag) {
		f.Usage = meanings[f.Name]
		if f.DefValue == "[]" {
			f.DefValue = "" // an empty list is no default to show
		}
	})
	c.Flags().StringVar(&cursors, "cursors", "", "where sinks begin if a damaged state.db lost it: `oldest` or now")
	return c
}

// meanings say what the keys are, in the help.
var meanings = map[string]string{
	"admin.listen":           "where operators reach it",
	"intake.drain_timeout":   "the longest that a stop waits for callbacks",
	"intake.idle_timeout":    "how long a connection waits for its next request",
	"intake.listen":          "where callbacks come in",
	"intake.max_body":        "the largest body of a callback",
	"intake.max_connections": "the most connections at once",
	"intake.public_url":      "how providers reach the intake",
	"intake.read_timeout":    "the longest that a callback takes to arrive",
	"intake.tls.cert":        "a PEM file: the certificate, to speak TLS",
	"intake.tls.client_ca":   "a PEM file: the roots of clients' certificates",
	"intake.tls.key":         "a PEM file: the certificate's private key",
	"intake.trusted_proxies": "whose X-Forwarded-For is believed",
	"intake.write_timeout":   "the longest that an answer takes to leave",
	"log.format":             "json or text",
	"log.level":              "debug, info, warn or error",
	"plugins.cache":          "compiled plugins; in store.path if empty",
	"plugins.cache_size":     "how much plugins.cache may hold",
	"plugins.fuel":           "what judging one callback may burn",
	"plugins.isolation":      "pristine, or reuse of what a callback left",
	"plugins.keys":           "minisign public keys that sign plugins",
	"plugins.max_fuel":       "the most fuel that an endpoint may ask for",
	"plugins.max_memory":     "the most memory of one plugin instance",
	"plugins.path":           "the plugins' directory",
	"plugins.pool":           "instances of each plugin; 0 for one a core",
	"plugins.wait":           "how long a callback waits for an instance",
	"reload.watch":           "whether changed files are read by themselves",
	"store.dedup_window":     "how long a repetition is known as a duplicate",
	"store.engine":           "bolt, or mem, which forgets",
	"store.max_kept":         "unjudged callbacks kept before the answer is 503",
	"store.path":             "the data directory",
	"store.queue_bytes":      "bytes that may wait for a commit",
	"store.queue_requests":   "callbacks that may wait for a commit",
	"store.reserve":          "free disk below which nothing is taken in",
	"store.retention":        "how long a closed segment stays",
	"store.segment_age":      "when a segment is closed, by age",
	"store.segment_size":     "when a segment is closed, by size",

	"plugins.require_signature": "refuse plugins that none of the keys signed",

	"store.quarantine.ring_bytes":   "bytes in each ring of what was refused",
	"store.quarantine.ring_entries": "callbacks in each ring of what was refused",
}

// warn logs what is notable of the configuration: each for machines, and for
// people where all of it is told.
func (p *program) warn(log *slog.Logger, cfg *config.Config) {
	warnings := cfg.Warnings()
	if cfg.Log.Format == "text" && len(warnings) > 1 {
		log.Warn("the configuration has "+show.Count(len(warnings), "warning"),
			"see", p.command(append([]string{"config", "check"}, p.sameConfig()...)...))
		return
	}
	for _, w := range warnings {
		log.Warn("configuration", "warning", w)
	}
}

// serve runs a server until ctx ends, and then until it has drained, or until
// it fails by itself.
func (p *program) serve(c *cobra.Command, cfg *config.Config, cursors host.From) error {
	ctx := c.Context()
	log := p.logger(cfg.Log)
	p.warn(log, cfg)
	// From here on, for the default is to end the process.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	srv, err := server.Start(ctx, cfg, server.Options{
		Version: p.version.Version, Log: log, Stdout: p.stdout, Cursors: cursors,
		Load:     func() (*config.Config, error) { return p.loadConfig(c) },
		Reloaded: func(cfg *config.Config) { p.warn(log, cfg) },
	})
	if err != nil {
		return err
	}
	p.announce(c, cfg, srv)
	defer context.AfterFunc(ctx, func() { log.Info("stopping: what is under way ends first") })()
	ended := make(chan struct{})
	var reloads sync.WaitGroup
	reloads.Go(func() {
		for {
			select {
			case <-hangups:
				_, _ = srv.Reread(ctx) // which logs what is wrong
			case <-ended:
				return
			}
		}
	})
	err = srv.Wait()
	close(ended)
	reloads.Wait()
	return err
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
	if writesToStdout(cfg) {
		s = screen.New(p.stderr, p.getenv)
	}
	base := outgoing.IntakeURL(&cfg.Intake, srv.Addr().String())
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

// writesToStdout says that the standard output is for events alone.
func writesToStdout(cfg *config.Config) bool {
	for _, s := range cfg.Sinks {
		if s.Type == config.TypeStdout {
			return true
		}
	}
	return false
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
	short, _, _ := strings.Cut(v, "+")
	return short
}
