package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/author"
	"github.com/postern/postern/server/cli/internal/calibrate"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/stock"
)

func (p *program) pluginCommand() *cobra.Command {
	stocked := &stock.Program{
		Stdin: p.stdin, Stdout: p.stdout, Stderr: p.stderr, Getenv: p.getenv, Screen: p.screen, Now: p.now, Takes: takes,
		JSON:    func() bool { return p.asJSON },
		Command: func(words ...string) string { return p.command(append(words, p.sameConfig()...)...) },
		Config:  p.lookConfig,
		Usage:   func(err error) error { return usageError{err} },
	}
	desk := &author.Desk{
		Stdout: p.stdout, Stderr: p.stderr, Environ: p.environ, Screen: p.screen,
		JSON: func() bool { return p.asJSON }, Command: p.command, Now: p.now,
	}
	const installing = "install"
	stocks := stocked.Commands()
	for _, c := range stocks {
		c.GroupID = installing
	}
	c := group("plugin", "Write, install and sign plugins; find out how a provider signs",
		slices.Concat(desk.Commands(), stocks, []*cobra.Command{p.pluginCalibrate()})...)
	c.Long = `A plugin is the WebAssembly module that understands a provider. Begin one with
new, edit it, look at what it makes of callbacks with test, build it and install
it: a running server takes it at once, and rollback takes it back.`
	c.AddGroup(&cobra.Group{ID: author.Writing, Title: "Write one:"}, &cobra.Group{ID: installing, Title: "Install one:"})
	return c
}

// calibrateFlags are what "plugin calibrate" takes beside the plugin.
type calibrateFlags struct {
	callbacks, secrets []string
	plugins, cache     string
	verbose            bool
}

func (p *program) pluginCalibrate() *cobra.Command {
	var f calibrateFlags
	c := &cobra.Command{
		Use:   "calibrate <plugin>",
		Short: "Find the settings that verify a captured callback",
		Long: `Tries every combination of the settings that a provider does not document on one
captured callback and its secret, and prints those that verify it. No server is
asked and nothing is sent or kept.

The callback is a .http file (a request line, headers, an empty line, the body)
or the body alone, byte for byte as it came. The secret is read from a variable,
from a file, or with - from the standard input, and never shown.`,
		Example: `  ` + p.command("plugin", "calibrate", "wowpe", "--callback", "captured.http") + ` \
    --secret webhook-secret=env:SECRET`,
		Args: takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error { return p.calibrate(c, args[0], &f) },
	}
	c.Flags().StringArrayVar(&f.callbacks, "callback", nil, "the captured `file`; with several, all must be verified")
	c.Flags().StringArrayVar(&f.secrets, "secret", nil, "a secret, as `name=env:NAME`, name=file:/path or name=-")
	c.Flags().StringVar(&f.plugins, "plugins", "", "the `directory` of the plugins, if not plugins.path of the configuration")
	c.Flags().StringVar(&f.cache, "cache", "", "a `directory` of compiled plugins to use and to leave behind")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "name each combination that cannot be tried, and why")
	_ = c.Flags().MarkHidden("cache")
	return c
}

func (p *program) calibrate(c *cobra.Command, plugin string, f *calibrateFlags) error {
	if f.plugins == "" {
		cfg, err := p.lookConfig(c)
		if err != nil {
			return err
		}
		f.plugins = cfg.Plugins.Path
	}
	there, err := available(f.plugins)
	if err != nil {
		return err
	}
	if ref, err := host.ParseRef(plugin); err != nil || !slices.Contains(there, ref.Name) {
		return noPlugin(plugin, f.plugins, there)
	}
	found, err := server.ReadPlugin(&config.Plugins{Path: f.plugins}, plugin)
	if err != nil {
		return err
	}
	manifest, err := wasm.Inspect(found.Code)
	if err != nil {
		return err
	}
	if len(f.callbacks) == 0 {
		return usageError{errors.New("give the captured callback: --callback FILE")}
	}
	values, err := calibrate.Sources{Getenv: p.getenv, Stdin: p.stdin}.Secrets(manifest, f.secrets)
	if misuse := (calibrate.Misuse{}); errors.As(err, &misuse) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	callbacks, err := outgoing.Captured(f.callbacks, p.now())
	if err != nil {
		return err
	}
	report, err := calibrate.Module(c.Context(), found.Code, f.cache, callbacks, values)
	if err != nil {
		return err
	}
	return p.printCalibrated(report, f.verbose)
}

func (p *program) printCalibrated(r *calibrate.Report, verbose bool) error {
	var failed error
	tone := screen.Good
	if len(r.Fits) == 0 {
		failed, tone = silentError{errors.New(r.Title())}, screen.Bad
	}
	if p.asJSON {
		return errors.Join(jsonLine(p.stdout, r), failed)
	}
	s := p.screen()
	s.Printf("%s\n", s.Paint(tone, screen.Clean(r.Title())))
	for line := range strings.Lines(r.Text(verbose)) {
		s.Printf("%s\n", screen.Clean(strings.TrimSuffix(line, "\n")))
	}
	if failed != nil {
		return failed
	}
	which := "this"
	if len(r.Fits) > 1 {
		which = "one of them"
	}
	s.Printf("\n")
	s.Command("Put "+which+" into the endpoint, beside its secret, and: ", p.command("config", "check"))
	return nil
}
