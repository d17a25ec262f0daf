package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/first"
	"github.com/postern/postern/server/cli/internal/screen"
)

// publicPlaceholder stands where the operator's own name belongs.
const publicPlaceholder = "https://hooks.example.com"

// defaultPlugins is where "make plugins" puts them.
const defaultPlugins = "./plugins/dist"

func (p *program) initCommand() *cobra.Command {
	var out, plugins, tenant string
	var force bool
	c := &cobra.Command{
		Use:   "init [provider…]",
		Short: "Write a first configuration",
		Long: `Writes a commented configuration with one endpoint for each provider, by what
its plugin says of itself: which secrets it needs (as environment variables) and
which settings it takes. Every endpoint gets a random token as the last part of
its URL.`,
		RunE: func(_ *cobra.Command, names []string) error {
			if err := config.CheckName(tenant); err != nil {
				return usageError{fmt.Errorf("--tenant: %w", err)}
			}
			f := &first.Config{PublicURL: publicPlaceholder, Plugins: plugins, Tenant: tenant}
			if err := readManifests(f, names); err != nil {
				return err
			}
			text, err := f.YAML()
			if err != nil {
				return err
			}
			if err := writeNew(out, text, force); err != nil {
				return err
			}
			p.nextSteps(f, out)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", defaultConfig, "the `file` to write")
	c.Flags().StringVar(&plugins, "plugins", defaultPlugins, "the `directory` of the plugins")
	c.Flags().StringVar(&tenant, "tenant", "main", "the tenant's `name`")
	c.Flags().BoolVar(&force, "force", false, "overwrite the file")
	return c
}

// readManifests takes the providers' manifests; no names means all there are.
func readManifests(f *first.Config, names []string) error {
	there, err := available(f.Plugins)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = there
	}
	var wrong []error
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		if !slices.Contains(there, name) {
			wrong = append(wrong, noPlugin(name, f.Plugins, there))
			continue
		}
		found, err := server.ReadPlugin(&config.Plugins{Path: f.Plugins}, name)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		m, err := wasm.Inspect(found.Code)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if err := f.Add(name, m); err != nil {
			return err
		}
	}
	return errors.Join(wrong...)
}

// available are the names of the providers' plugins in a directory. Guards are
// none; a file that cannot be read is left for whoever needs it.
func available(dir string) ([]string, error) {
	plugins := &config.Plugins{Path: dir}
	s, err := server.OpenShelf(plugins)
	if err != nil {
		return nil, err
	}
	names, err := s.Names()
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no plugins in %s: build them with \"make plugins\", or name their directory with --plugins", dir)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		found, err := server.ReadPlugin(plugins, name)
		if err != nil {
			return false
		}
		m, err := wasm.Inspect(found.Code)
		return err == nil && m.Guard
	}), err
}

func noPlugin(name, dir string, there []string) error {
	return usageError{fmt.Errorf("there is no plugin %q in %s; there are: %s", name, dir, strings.Join(there, ", "))}
}

// writeNew writes a file that only its owner can read, since tokens are in it.
func writeNew(file string, text []byte, force bool) error {
	how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(file, how, 0o600) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; --force overwrites it, --out names another", file)
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	// An overwritten file keeps its old mode.
	_, werr := f.Write(text)
	if err := errors.Join(f.Chmod(0o600), werr, f.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// nextSteps says what is left to do.
func (p *program) nextSteps(f *first.Config, file string) {
	s := p.screen()
	s.Printf("wrote %s (only you can read it: the URLs' tokens are in it)\n", file)
	s.Printf("\n%s\n", s.Paint(screen.Bold, "1. Set what the providers gave you"))
	for _, from := range f.Providers {
		for _, secret := range from.Secrets {
			if !secret.Optional {
				s.Printf("   export %s=…\n", secret.Env)
			}
		}
	}
	for _, from := range f.Providers {
		for _, setting := range from.Settings {
			if i := slices.IndexFunc(from.Secrets, func(s first.Secret) bool { return s.Name == setting.Partner }); i >= 0 && !from.Secrets[i].Optional {
				s.Printf("   %s: settings.%s, one of %s\n", from.Name, setting.Name, setting.Listed())
			}
		}
	}
	s.Printf("\n%s\n", s.Paint(screen.Bold, "2. Put your own name in the place of "+f.PublicURL))
	s.Printf("   intake.public_url in %s\n", file)
	s.Printf("\n%s\n", s.Paint(screen.Bold, "3. Give each provider its URL"))
	for _, from := range f.Providers {
		s.Printf("   %s\n", f.PublicURL+f.Path(from))
	}
	s.Printf("\n%s\n", s.Paint(screen.Bold, "4. Check and start"))
	p.configFile = file
	for _, words := range [][]string{{"config", "check"}, {"serve"}} {
		s.Command("   ", p.command(append(words, p.sameConfig()...)...))
	}
}
