package wasm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/admit"
	"github.com/postern/postern/host/wasm/internal/fuel"
	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/manifest/secret"
)

// Binding is what an operator gives a plugin for one endpoint.
type Binding struct {
	// Secrets are the values by secret name, the newest first.
	Secrets map[string][]string
	// Settings are as decoded from the configuration.
	Settings map[string]any
	// Unverified says that the endpoint takes events without evidence
	// (verification: none), and with it the settings that need that.
	Unverified bool
	// Fuel is what a call may burn, in units; zero leaves it to the manifest and the
	// runtime. See [Options].Fuel.
	Fuel int64
	// Limit bounds the calls at a time together with other plugins; nil does not.
	Limit Limit
	// Where names the endpoint in logs.
	Where string
	// Signing grants the functions of postern_sign. Never in serve.
	Signing bool
}

// Plugin is a module bound to one endpoint. It implements [host.Plugin].
type Plugin struct {
	module   *Module
	secrets  map[string]*boundSecret
	settings map[string]string
	signing  bool
	fuel     int64
	limit    Limit
	breaker  *admit.Breaker
	mute     bool // what it says to operators is of no callback
}

var _ host.Plugin = (*Plugin)(nil)

// Limit bounds how many calls of the plugins that share it run at the same time,
// whatever modules they are of: a tenant's. A nil Limit bounds nothing.
type Limit = admit.Slots

// NewLimit makes a limit of n calls; n is at least 1.
func NewLimit(n int) Limit { return make(Limit, n) }

// boundSecret is a declared secret with the operator's values, the newest
// first. One of the three lists has them, by its use.
type boundSecret struct {
	decl *Secret
	// use is the declared one or the setting's.
	use     secret.Use
	macs    []secret.MAC
	ciphers []secret.Cipher
	// values are a token's texts, a signed token's keys.
	values [][]byte
}

// Bind checks the secrets and settings of an endpoint against the manifest.
// The error joins every problem, each line beginning with its place
// ("secrets.hmac-key: …", "settings.ack_status: …"). It never quotes a secret.
func (m *Module) Bind(b Binding) (*Plugin, error) {
	p := &Plugin{module: m, secrets: make(map[string]*boundSecret), signing: b.Signing, limit: b.Limit, breaker: m.newBreaker(b.Where)}
	var err, fuelErr error
	p.settings, err = m.manifest.Settle(b.Settings)
	p.fuel, fuelErr = fuel.Budget(b.Fuel, int64(m.manifest.Fuel), m.opts.Fuel, m.opts.MaxFuel) //nolint:gosec // Load has compared it with the cap
	wrong := []error{err, fuelErr}
	if !b.Unverified {
		wrong = append(wrong, m.manifest.CheckVerified(p.settings))
	}
	for i := range m.manifest.Secrets {
		s := &m.manifest.Secrets[i]
		bound, err := p.bindSecret(s, b.Secrets[s.Name])
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if bound != nil {
			p.secrets[s.Name] = bound
		}
	}
	wrong = append(wrong, m.manifest.CheckSecrets(b.Secrets))
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return p, nil
}

func (m *Module) newBreaker(where string) *admit.Breaker {
	return admit.NewBreaker(m.version, func(out bool, lastTrap string) {
		if out {
			m.opts.Log.Error("plugin taken out after repeated traps", "plugin", m.version, "endpoint", where, "err", lastTrap)
			return
		}
		m.opts.Log.Info("plugin is back in service", "plugin", m.version, "endpoint", where)
	})
}

// Out says why the plugin is out of service: it trapped too often. Nil means that
// it is in service. It comes back by itself when a later call goes well.
func (p *Plugin) Out() error { return p.breaker.Out() }

// bindSecret is the secret with its values; nil if it has none and needs none,
// or if the settings that say what it is are wrong, which is reported already.
func (p *Plugin) bindSecret(s *Secret, values []string) (*boundSecret, error) {
	use, useErr := p.said(s, s.Use, len(values) > 0)
	form, formErr := p.said(s, s.Form, len(values) > 0)
	if err := errors.Join(useErr, formErr); err != nil {
		return nil, err
	}
	if len(values) == 0 {
		if s.Optional {
			return nil, nil
		}
		return nil, fmt.Errorf("secrets.%s: is not set (%s)", s.Name, s.Summary)
	}
	if use == "" || form == "" && secret.Use(use) != secret.Token {
		return nil, nil
	}
	b := &boundSecret{decl: s, use: secret.Use(use)}
	var wrong []error
	for i, text := range values {
		if err := b.add(form, text); err != nil {
			at := "secrets." + s.Name
			if len(values) > 1 {
				at = fmt.Sprintf("%s[%d]", at, i)
			}
			wrong = append(wrong, fmt.Errorf("%s: %w", at, err))
		}
	}
	return b, errors.Join(wrong...)
}

// said is a declared use or form, or what the operator's setting says it is;
// empty if the settings are wrong, or if neither setting nor secret is there.
// Secret and setting go together: one without the other would verify nothing
// that the operator believes to be verified.
func (p *Plugin) said(s *Secret, declared string, bound bool) (string, error) {
	name, by := manifest.BySetting(declared)
	if !by || p.settings == nil {
		if by {
			declared = ""
		}
		return declared, nil
	}
	value, set := p.settings[name]
	choices := p.module.manifest.Choices(name)
	switch {
	case set && !slices.Contains(choices, value):
		// The schema says so too, or is meant to.
		return "", fmt.Errorf("settings.%s: %q is none of %s", name, value, strings.Join(choices, ", "))
	case bound && !set:
		return "", fmt.Errorf("settings.%s: is not set; secrets.%s needs it (one of %s)",
			name, s.Name, strings.Join(choices, ", "))
	case set && !bound:
		return "", fmt.Errorf("secrets.%s: is not set, and settings.%s asks for it", s.Name, name)
	}
	return value, nil
}

// add decodes one of the operator's values.
func (b *boundSecret) add(form, text string) error {
	if b.use == secret.Token {
		in, _, _ := b.decl.Token()
		if err := secret.CheckToken(text, in == host.InPath); err != nil {
			return err
		}
		b.values = append(b.values, []byte(text))
		return nil
	}
	key, err := secret.Key(b.use, form, text)
	switch {
	case err != nil:
		return err
	case b.use.IsMAC():
		b.macs = append(b.macs, secret.NewMAC(b.use, key))
	case b.use.IsCipher():
		c, err := secret.NewCipher(b.use, key)
		if err != nil {
			return err
		}
		b.ciphers = append(b.ciphers, c)
	default:
		b.values = append(b.values, key)
	}
	return nil
}

// Tokens are the tokens, static and signed, for the endpoint to compare before
// the plugin runs. Those that are declared and not bound are there to be masked.
func (p *Plugin) Tokens() []host.Token {
	var tokens []host.Token
	for i := range p.module.manifest.Secrets {
		s := &p.module.manifest.Secrets[i]
		in, key, ok := s.Token()
		if !ok {
			continue
		}
		t := host.Token{Name: s.Name, In: in, Key: key, Signed: s.Signed()}
		if bound := p.secrets[s.Name]; bound != nil {
			t.Values = bound.values
		} else if in == host.InPath || p.masksPlaceOf(i) {
			// An endpoint without a token has no such segment, and what another
			// token's place holds is that token's to mask.
			continue
		}
		tokens = append(tokens, t)
	}
	return tokens
}

// masksPlaceOf reports whether another token is there for the place of the i-th
// secret: a bound one, or one declared before it.
func (p *Plugin) masksPlaceOf(i int) bool {
	all := p.module.manifest.Secrets
	for j := range all {
		if j != i && all[j].SharesPlace(&all[i]) && (j < i || p.secrets[all[j].Name] != nil) {
			return true
		}
	}
	return false
}
