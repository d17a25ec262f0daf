// Package first writes a first configuration, from what the plugins say of
// themselves.
package first

import (
	"bytes"
	"crypto/rand"
	_ "embed" // the template
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"unicode"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// firstConfig is the text of the first configuration.
//
//go:embed init.yaml.tmpl
var firstConfig string

// Config is what the first configuration is written from.
type Config struct {
	PublicURL, Plugins, Tenant string
	Providers                  []Provider
}

// Provider is one endpoint of it.
type Provider struct {
	Name, Summary string
	// Token is the URL's last segment; empty where each transaction has its own,
	// which Signed says.
	Token    string
	Signed   bool
	Secrets  []Secret
	Settings []Setting
}

// Needed reports whether a setting must be written.
func (f Provider) Needed() bool {
	return slices.ContainsFunc(f.Settings, func(s Setting) bool { return s.Required })
}

// Bound reports whether a secret must be written.
func (f Provider) Bound() bool {
	return slices.ContainsFunc(f.Secrets, func(s Secret) bool { return !s.Optional })
}

// Secret is a secret that the plugin declares.
type Secret struct {
	Name, Summary string
	// Env is the variable that the operator has to set.
	Env      string
	Optional bool
}

// Setting is a setting that the plugin declares.
type Setting struct {
	Name, Summary, Value string
	Required             bool
	// Partner is the secret that asks for one of Choices; empty if none does.
	Partner string
	Choices []string
}

// Listed are the choices in one line.
func (f Setting) Listed() string { return strings.Join(f.Choices, ", ") }

// Add takes a provider's endpoint in, by the plugin's name and manifest.
func (f *Config) Add(name string, m *wasm.Manifest) error {
	provider, err := describe(name, m)
	if err != nil {
		return err
	}
	f.Providers = append(f.Providers, provider)
	return nil
}

func describe(name string, m *wasm.Manifest) (Provider, error) {
	f := Provider{Name: name, Summary: oneLine(m.Summary)}
	var err error
	if f.Token, err = Token(); err != nil {
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
		out := Secret{Name: s.Name, Summary: describeSecret(s), Optional: s.Optional && verifies, Env: envName(name, s.Name)}
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
func describeSettings(schema []byte, partners map[string]string) ([]Setting, error) {
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
	var all []Setting
	for name, property := range s.Properties {
		f := Setting{Name: name, Summary: oneLine(property.Description), Value: `""`}
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
	slices.SortFunc(all, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// oneLine makes text fit for a comment: what is no printable character is left
// out.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.Join(strings.Fields(text), " "))
}

// envName is the variable proposed for a provider's secret.
func envName(provider, secret string) string {
	return strings.ToUpper(strings.ReplaceAll(provider+"_"+secret, "-", "_"))
}

// Token is 32 hexadecimal digits nobody can guess.
func Token() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// YAML is the configuration's text.
func (f *Config) YAML() ([]byte, error) {
	t, err := template.New("config").Parse(firstConfig)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, f)
	return b.Bytes(), err
}

// Path is the endpoint's own, token included: the one place that shows it, to
// whoever just made it.
func (f *Config) Path(p Provider) string {
	path := "/in/" + f.Tenant + "/" + p.Name
	switch {
	case p.Token != "":
		path += "/" + p.Token
	case p.Signed:
		path += "/{reference}.{mac}"
	}
	return path
}
