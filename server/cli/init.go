package cli

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/cli/internal/screen"
)

// firstConfig is the text of the first configuration.
//
//go:embed init.yaml.tmpl
var firstConfig string

// publicPlaceholder stands where the operator's own name belongs.
const publicPlaceholder = "https://hooks.example.com"

// defaultPlugins is where "make plugins" puts them.
const defaultPlugins = "./plugins/dist"

// first is what the first configuration is written from.
type first struct {
	PublicURL, Plugins, Tenant string
	Providers                  []firstProvider
}

// firstProvider is one endpoint of it.
type firstProvider struct {
	Name, Summary string
	// Token is the URL's last segment; empty where each transaction has its own,
	// which Signed says.
	Token    string
	Signed   bool
	Secrets  []firstSecret
	Settings []firstSetting
}

// Needed reports whether a setting must be written.
func (f firstProvider) Needed() bool {
	return slices.ContainsFunc(f.Settings, func(s firstSetting) bool { return s.Required })
}

// Bound reports whether a secret must be written.
func (f firstProvider) Bound() bool {
	return slices.ContainsFunc(f.Secrets, func(s firstSecret) bool { return !s.Optional })
}

// firstSecret is a secret that the plugin declares.
type firstSecret struct {
	Name, Summary string
	// Env is the variable that the operator has to set.
	Env      string
	Optional bool
}

// firstSetting is a setting that the plugin declares.
type firstSetting struct {
	Name, Summary, Value string
	Required             bool
	// Partner is the secret that asks for one of Choices; empty if none does.
	Partner string
	Choices []string
}

// Listed are the choices in one line.
func (f firstSetting) Listed() string { return strings.Join(f.Choices, ", ") }

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
			f := &first{PublicURL: publicPlaceholder, Plugins: plugins, Tenant: tenant}
			if err := f.read(names); err != nil {
				return err
			}
			text, err := f.yaml()
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

// read takes the providers' manifests; no names means all there are.
func (f *first) read(names []string) error {
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
		m, err := wasm.ReadManifest(pluginFile(f.Plugins, name))
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		provider, err := describe(name, m)
		if err != nil {
			return err
		}
		f.Providers = append(f.Providers, provider)
	}
	return errors.Join(wrong...)
}

// available are the names of the plugins in a directory.
func available(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.wasm"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no plugins in %s: build them with \"make plugins\", or name their directory with --plugins", dir)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".wasm")
	}
	return files, nil
}

func noPlugin(name, dir string, there []string) error {
	return usageError{fmt.Errorf("there is no plugin %q in %s; there are: %s", name, dir, strings.Join(there, ", "))}
}

func describe(name string, m *wasm.Manifest) (firstProvider, error) {
	f := firstProvider{Name: name, Summary: oneLine(m.Summary)}
	var err error
	if f.Token, err = randomHex(); err != nil {
		return f, err
	}
	// What the operator must bind: what is required, or else the first that
	// can verify; the endpoint's token may be that.
	verifies := false
	for i := range m.Secrets {
		s := &m.Secrets[i]
		verifies = verifies || !s.Optional || isPathToken(s)
	}
	partners := map[string]string{}
	for i := range m.Secrets {
		s := &m.Secrets[i]
		if isPathToken(s) {
			continue // the endpoint's token is bound as it
		}
		out := firstSecret{Name: s.Name, Summary: describeSecret(s), Optional: s.Optional && verifies, Env: envName(name, s.Name)}
		verifies = true
		if in, _, ok := s.Token(); ok && in == host.InPath {
			if out.Optional {
				out.Summary += "; then leave token out"
			} else {
				f.Token, f.Signed = "", true
			}
		}
		for _, how := range []string{s.Use, s.Form} {
			if setting, ok := strings.CutPrefix(how, "setting:"); ok {
				partners[setting] = s.Name
			}
		}
		f.Secrets = append(f.Secrets, out)
	}
	f.Settings, err = describeSettings(m.Settings, partners)
	return f, err
}

// isPathToken tells the secret that is bound by the endpoint's own "token".
func isPathToken(s *wasm.Secret) bool {
	in, _, ok := s.Token()
	return ok && in == host.InPath && !s.Signed()
}

func describeSecret(s *wasm.Secret) string {
	how := s.Use
	switch in, key, ok := s.Token(); {
	case s.Signed():
		how = "its MAC of a reference ends the token of each URL"
	case strings.HasPrefix(s.Use, "setting:"):
		how = "settings say how it is used"
	case ok && in == host.InHeader:
		how = "sent as it is in the header " + key
	case ok && in == host.InQuery:
		how = "sent as it is in the query parameter " + key
	case ok:
		how = "the last part of the URL"
	case s.Form != "" && s.Form != "utf8":
		how += " key, written as " + s.Form
	default:
		how += " key"
	}
	if s.Summary == "" {
		return how
	}
	return oneLine(s.Summary) + " (" + how + ")"
}

// describeSettings reads the properties of a manifest's settings schema.
// Partners are the secrets that settings say something of: with such a secret
// the setting must be chosen, and no value is as good as another.
func describeSettings(schema []byte, partners map[string]string) ([]firstSetting, error) {
	if len(schema) == 0 {
		return nil, nil
	}
	var s struct {
		Required   []string `json:"required"`
		Properties map[string]struct {
			Description string            `json:"description"`
			Default     json.RawMessage   `json:"default"`
			Enum        []json.RawMessage `json:"enum"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("read the plugin's settings: %w", err)
	}
	var all []firstSetting
	for name, property := range s.Properties {
		f := firstSetting{Name: name, Summary: oneLine(property.Description), Value: `""`}
		if len(property.Enum) > 0 {
			f.Value = string(property.Enum[0])
		}
		if secret := partners[name]; secret != "" && property.Default == nil {
			f.Value, f.Partner = `""`, secret
			for _, choice := range property.Enum {
				f.Choices = append(f.Choices, strings.Trim(string(choice), `"`))
			}
		}
		if property.Default != nil {
			f.Value = string(property.Default)
		}
		f.Required = slices.Contains(s.Required, name) && property.Default == nil
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b firstSetting) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// oneLine makes text fit for a comment.
func oneLine(text string) string { return screen.Clean(strings.Join(strings.Fields(text), " ")) }

// envName is the variable proposed for a provider's secret.
func envName(provider, secret string) string {
	return strings.ToUpper(strings.ReplaceAll(provider+"_"+secret, "-", "_"))
}

// randomHex is 32 hexadecimal digits nobody can guess.
func randomHex() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

func (f *first) yaml() ([]byte, error) {
	t, err := template.New("config").Parse(firstConfig)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, f)
	return b.Bytes(), err
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
func (p *program) nextSteps(f *first, file string) {
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
			if i := slices.IndexFunc(from.Secrets, func(s firstSecret) bool { return s.Name == setting.Partner }); i >= 0 && !from.Secrets[i].Optional {
				s.Printf("   %s: settings.%s, one of %s\n", from.Name, setting.Name, setting.Listed())
			}
		}
	}
	s.Printf("\n%s\n", s.Paint(screen.Bold, "2. Put your own name in the place of "+f.PublicURL))
	s.Printf("   intake.public_url in %s\n", file)
	s.Printf("\n%s\n", s.Paint(screen.Bold, "3. Give each provider its URL"))
	for _, from := range f.Providers {
		s.Printf("   %s\n", f.PublicURL+f.path(from))
	}
	s.Printf("\n%s\n", s.Paint(screen.Bold, "4. Check and start"))
	p.configFile = file
	for _, words := range [][]string{{"config", "check"}, {"serve"}} {
		s.Command("   ", p.command(append(words, p.sameConfig()...)...))
	}
}

// path is the endpoint's own, token included: the one place that shows it, to
// whoever just made it.
func (f *first) path(p firstProvider) string {
	path := "/in/" + f.Tenant + "/" + p.Name
	switch {
	case p.Token != "":
		path += "/" + p.Token
	case p.Signed:
		path += "/{reference}.{mac}"
	}
	return path
}
