// Package manifest reads what a packed module says of itself, without running
// it, and checks it: its secrets, the schema of its settings, and how the two
// go together. Its form is docs/plugin-abi.md §2.
package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/manifest/secret"
)

// Manifest is what a module says of itself, readable without running it.
type Manifest struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Summary string   `json:"summary"`
	Methods []string `json:"methods"`
	Secrets []Secret `json:"secrets"`
	// Settings is the JSON Schema of the settings, as it stands.
	Settings   jsontext.Value `json:"settings"`
	UnableText string         `json:"unable"`
	AckDecl    AckDecl        `json:"ack"`
	// Unverified are the values of settings that take events without evidence,
	// by the setting's name.
	Unverified map[string][]string `json:"unverified"`
	// Calibrate names the settings, each with [Manifest.Choices], that the
	// provider does not document and an operator finds out once.
	Calibrate []string `json:"calibrate"`
	Requires  []string `json:"requires"`
	// Guard says that the module judges events of other modules, and is no
	// provider's plugin.
	Guard       bool   `json:"guard"`
	MemoryPages uint32 `json:"memory_pages"`
	Fuel        uint64 `json:"fuel"`

	schema   *jsonschema.Schema
	defaults map[string]jsontext.Value
	choices  map[string][]string
}

// AckDecl is the answer that a provider wants to hear.
type AckDecl struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type"`
	Body        string `json:"body"`
}

// Secret is a secret that a plugin uses, by name.
type Secret struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	// Use is the one algorithm it serves, "token" or "signed-token"; or
	// "setting:NAME", where the operator's setting says it.
	Use string `json:"use"`
	// Form says how the operator's text becomes the key; or "setting:NAME".
	Form string `json:"form"`
	// In is a token's place: "header:NAME", "query:NAME" or "path".
	In string `json:"in"`
	// Respond is the pattern of the texts that it may be made to sign.
	Respond  string `json:"respond"`
	Optional bool   `json:"optional"`

	respond *regexp.Regexp
}

// Unable is what the manifest says to do when the plugin fails.
func (m *Manifest) Unable() host.Unable {
	if m.UnableText == "keep" {
		return host.Keep
	}
	return host.Retry
}

// Ack is the answer that the provider wants to hear.
func (m *Manifest) Ack() host.Answer {
	return host.Answer{Status: m.AckDecl.Status, ContentType: m.AckDecl.ContentType, Body: []byte(m.AckDecl.Body)}
}

// Token returns where a token stands, a signed one too; ok is false for any
// other secret.
func (s *Secret) Token() (in host.Place, key string, ok bool) {
	if !secret.Use(s.Use).IsToken() {
		return 0, "", false
	}
	place, key, _ := strings.Cut(s.In, ":")
	switch place {
	case "header":
		return host.InHeader, key, key != ""
	case "query":
		return host.InQuery, key, key != ""
	case "path":
		return host.InPath, "", key == ""
	}
	return 0, "", false
}

// Signed reports whether the secret makes signed tokens.
func (s *Secret) Signed() bool { return secret.Use(s.Use) == secret.SignedToken }

// Allows reports whether the manifest has the secret's MAC of text given away
// in a challenge's answer.
func (s *Secret) Allows(text []byte) bool { return s.respond != nil && s.respond.Match(text) }

// Of reads the manifest of a packed module; see [Parse].
func Of(module []byte, serves func(function string) bool) (*Manifest, error) {
	text, err := Section(module, ManifestSection)
	if err != nil {
		return nil, err
	}
	return Parse(text, serves)
}

// Parse reads a manifest and reports everything wrong with it. serves says
// which functions of the ABI a module may require.
func Parse(text []byte, serves func(function string) bool) (*Manifest, error) {
	m := &Manifest{Methods: []string{"POST"}, UnableText: "retry", AckDecl: AckDecl{Status: 200}}
	if err := json.Unmarshal(text, m, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	wrong := m.check()
	for _, name := range m.Requires {
		if !serves(name) {
			wrong = append(wrong, fmt.Errorf("requires %q, which this version of Postern does not serve", name))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	methodForm = regexp.MustCompile(`^[A-Z]{3,10}$`)
)

func (m *Manifest) check() []error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !nameForm.MatchString(m.Name) {
		bad("name %q must be 1 to 63 of a-z, 0-9 and -", m.Name)
	}
	if !host.IsVersion(m.Version) {
		bad("version %q must be a semantic version such as 1.2.3", m.Version)
	}
	for _, method := range m.Methods {
		if !methodForm.MatchString(method) {
			bad("methods: %q is no HTTP method", method)
		}
	}
	if m.UnableText != "retry" && m.UnableText != "keep" {
		bad("unable %q must be retry or keep", m.UnableText)
	}
	if s := m.AckDecl.Status; s < 200 || s > 299 {
		bad("ack.status %d must be 200 to 299", s)
	}
	if !HeaderText(m.AckDecl.ContentType) {
		bad("ack.content_type %q must be one line of visible ASCII", m.AckDecl.ContentType)
	}
	if err := m.compileSettings(); err != nil {
		wrong = append(wrong, err)
	}
	if m.Guard {
		wrong = append(wrong, m.checkGuard()...)
	}
	wrong = append(wrong, m.checkSecrets()...)
	return append(wrong, m.checkChoices()...)
}

var attributeForm = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// IsAttribute reports whether a guard can give an attribute this name, behind its
// [Manifest.Prefix].
func IsAttribute(name string) bool { return attributeForm.MatchString(name) }

// Prefix is what the names of a guard's attributes begin with: its own name
// without "-".
func (m *Manifest) Prefix() string { return strings.ReplaceAll(m.Name, "-", "") }

// checkGuard refuses what only a provider's plugin has.
func (m *Manifest) checkGuard() []error {
	var wrong []error
	if !IsAttribute(m.Prefix()) {
		wrong = append(wrong, fmt.Errorf("name %q: a guard's has at most 20 letters and digits, for it begins the names of attributes", m.Name))
	}
	for name, has := range map[string]bool{
		"secrets": len(m.Secrets) > 0, "unverified": len(m.Unverified) > 0, "calibrate": len(m.Calibrate) > 0,
		"unable": m.UnableText != "retry", "ack": m.AckDecl != AckDecl{Status: 200},
		"methods": !slices.Equal(m.Methods, []string{"POST"}),
	} {
		if has {
			wrong = append(wrong, fmt.Errorf("%s: a guard has none; they are the provider's plugin's", name))
		}
	}
	return wrong
}

func (m *Manifest) checkSecrets() []error {
	var wrong []error
	seen := make(map[string]bool)
	for i := range m.Secrets {
		s := &m.Secrets[i]
		bad := func(err error) { wrong = append(wrong, fmt.Errorf("secret %q: %w", s.Name, err)) }
		if !nameForm.MatchString(s.Name) || seen[s.Name] {
			wrong = append(wrong, fmt.Errorf("secrets[%d].name %q must be 1 to 63 of a-z, 0-9 and -, and stand once", i, s.Name))
		}
		seen[s.Name] = true
		for j := range i {
			// Of two bound tokens the first would be masked before the second
			// is compared; an endpoint that binds one of them has one.
			if other := &m.Secrets[j]; s.SharesPlace(other) && (!s.Optional || !other.Optional) {
				bad(fmt.Errorf("in %q is the place of %q: both must be optional", s.In, other.Name))
			}
		}
		if err := m.checkSecret(s); err != nil {
			bad(err)
		}
	}
	return wrong
}

// SharesPlace reports whether both are tokens that stand in the same place.
func (s *Secret) SharesPlace(other *Secret) bool {
	in, key, ok := s.Token()
	otherIn, otherKey, otherOK := other.Token()
	if !ok || !otherOK || in != otherIn {
		return false
	}
	return key == otherKey || in == host.InHeader && strings.EqualFold(key, otherKey)
}

func (m *Manifest) checkSecret(s *Secret) error {
	use := secret.Use(s.Use)
	if use.IsToken() {
		return m.checkToken(s)
	}
	if s.In != "" {
		return errors.New("in is for tokens only")
	}
	if name, by := BySetting(s.Use); by {
		if err := m.checkUses(name); err != nil {
			return err
		}
	} else if !use.IsMAC() && !use.IsCipher() {
		return fmt.Errorf("use %q is not served by this version of Postern; it serves %s", s.Use, strings.Join(secret.Uses(), ", "))
	}
	if err := m.checkForms(s.Form); err != nil {
		return err
	}
	return s.compileRespond()
}

func (m *Manifest) checkToken(s *Secret) error {
	if _, _, ok := s.Token(); !ok {
		return fmt.Errorf("in %q must be header:NAME, query:NAME or path", s.In)
	}
	if s.Respond != "" {
		return errors.New("a token has no respond")
	}
	if s.Signed() {
		return m.checkForms(s.Form)
	}
	if s.Form != "" {
		return errors.New("a token has no form")
	}
	return nil
}

// BySetting returns the name of the setting that says a use or a form, if one
// does.
func BySetting(text string) (name string, by bool) { return strings.CutPrefix(text, "setting:") }

// checkUses compares the values of a setting that says a use: all are MACs or
// all are ciphers, since the plugin calls other functions for each.
func (m *Manifest) checkUses(name string) error {
	choices := m.Choices(name)
	if len(choices) == 0 {
		return fmt.Errorf("use: settings has no %q with an enum of strings", name)
	}
	ciphers := secret.Use(choices[0]).IsCipher()
	for _, choice := range choices {
		switch use := secret.Use(choice); {
		case !use.IsMAC() && !use.IsCipher():
			return fmt.Errorf("use: settings.%s has %q, which is no MAC and no cipher that this version of Postern serves", name, choice)
		case use.IsCipher() != ciphers:
			return fmt.Errorf("use: settings.%s has MACs and ciphers; it must have one of the two", name)
		}
	}
	return nil
}

func (m *Manifest) checkForms(form string) error {
	name, by := BySetting(form)
	if !by {
		if !secret.IsForm(form) {
			return fmt.Errorf("form %q must be one of %s", form, strings.Join(secret.Forms(), ", "))
		}
		return nil
	}
	choices := m.Choices(name)
	if len(choices) == 0 {
		return fmt.Errorf("form: settings has no %q with an enum of strings", name)
	}
	for _, choice := range choices {
		if !secret.IsForm(choice) {
			return fmt.Errorf("form: settings.%s has %q, which is none of %s", name, choice, strings.Join(secret.Forms(), ", "))
		}
	}
	return nil
}

func (s *Secret) compileRespond() error {
	if s.Respond == "" {
		return nil
	}
	// Alone first: "a)|(?:b" would close the group and match parts of a text.
	if _, err := regexp.Compile(s.Respond); err != nil {
		return fmt.Errorf("respond: %w", err)
	}
	var err error
	if s.respond, err = regexp.Compile("^(?:" + s.Respond + ")$"); err != nil {
		return fmt.Errorf("respond: %w", err)
	}
	return nil
}

// HeaderText reports whether s can stand in a header field as it is.
func HeaderText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
