package wasm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/host"
)

// Binding is what an operator gives a plugin for one endpoint.
type Binding struct {
	// Secrets are the values by secret name, the newest first.
	Secrets map[string][]string
	// Settings are as decoded from the configuration.
	Settings map[string]any
	// Signing grants the functions of postern_sign. Never in serve.
	Signing bool
}

// Plugin is a module bound to one endpoint. It implements [host.Plugin].
type Plugin struct {
	module   *Module
	secrets  map[string]*boundSecret
	settings map[string]string
	signing  bool
}

var _ host.Plugin = (*Plugin)(nil)

// Bind checks the secrets and settings of an endpoint against the manifest.
// The error joins every problem, each line beginning with its place
// ("secrets.hmac-key: …", "settings.ack_status: …").
func (m *Module) Bind(b Binding) (*Plugin, error) {
	p := &Plugin{module: m, secrets: make(map[string]*boundSecret), signing: b.Signing}
	var wrong []error
	for i := range m.manifest.Secrets {
		s := &m.manifest.Secrets[i]
		values := b.Secrets[s.Name]
		if len(values) == 0 {
			if !s.Optional {
				wrong = append(wrong, fmt.Errorf("secrets.%s: is not set (%s)", s.Name, s.Summary))
			}
			continue
		}
		bound, err := s.bind(values)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		p.secrets[s.Name] = bound
	}
	wrong = append(wrong, m.undeclared(b.Secrets)...)
	var err error
	if p.settings, err = m.manifest.settle(b.Settings); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return p, nil
}

func (m *Module) undeclared(given map[string][]string) []error {
	var wrong []error
	var known []string
	for i := range m.manifest.Secrets {
		known = append(known, m.manifest.Secrets[i].Name)
	}
	for _, name := range sortedKeys(given) {
		if !slices.Contains(known, name) {
			wrong = append(wrong, fmt.Errorf("secrets.%s: the plugin %s does not use it (it uses %s)",
				name, m.manifest.Name, strings.Join(known, ", ")))
		}
	}
	return wrong
}

// Tokens are the static tokens, for the endpoint to compare before the plugin
// runs. Those that are declared and not bound are there to be masked.
func (p *Plugin) Tokens() []host.Token {
	var tokens []host.Token
	for i := range p.module.manifest.Secrets {
		s := &p.module.manifest.Secrets[i]
		in, key, ok := s.Token()
		if !ok {
			continue
		}
		t := host.Token{Name: s.Name, In: in, Key: key}
		if bound := p.secrets[s.Name]; bound != nil {
			t.Values = bound.values
		} else if in == host.InPath {
			continue // an endpoint without a token has no such segment
		}
		tokens = append(tokens, t)
	}
	return tokens
}
