package wasm

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postern/postern/host"
)

// Manifest is what a module says of itself, readable without running it. Its
// form is docs/plugin-abi.md §2.
type Manifest struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Summary string   `json:"summary"`
	Methods []string `json:"methods"`
	Secrets []Secret `json:"secrets"`
	// Settings is the JSON Schema of the settings, as it stands.
	Settings    jsontext.Value `json:"settings"`
	UnableText  string         `json:"unable"`
	AckDecl     AckDecl        `json:"ack"`
	Requires    []string       `json:"requires"`
	MemoryPages uint32         `json:"memory_pages"`
	Fuel        uint64         `json:"fuel"`

	schema   *jsonschema.Schema
	defaults map[string]jsontext.Value
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
	// Use is the one algorithm it serves, or "token".
	Use string `json:"use"`
	// Form says how the operator's text becomes the key.
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

// Token returns where a token stands; ok is false for any other secret.
func (s *Secret) Token() (in host.Place, key string, ok bool) {
	if s.Use != string(useToken) {
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

// ReadManifest reads the manifest of a packed module without compiling or
// running it.
func ReadManifest(file string) (*Manifest, error) {
	module, err := os.ReadFile(file) //nolint:gosec // the operator names the plugin
	if err != nil {
		return nil, fmt.Errorf("read plugin: %w", err)
	}
	m, err := manifestOf(module)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", file, err)
	}
	return m, nil
}

func manifestOf(module []byte) (*Manifest, error) {
	text, err := customSection(module, sectionManifest)
	if err != nil {
		return nil, err
	}
	return ParseManifest(text)
}

// ParseManifest reads a manifest and reports everything wrong with it.
func ParseManifest(text []byte) (*Manifest, error) {
	m := &Manifest{Methods: []string{"POST"}, UnableText: "retry", AckDecl: AckDecl{Status: 200}}
	if err := json.Unmarshal(text, m, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if err := errors.Join(m.check()...); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	methodForm  = regexp.MustCompile(`^[A-Z]{3,10}$`)
)

func (m *Manifest) check() []error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !nameForm.MatchString(m.Name) {
		bad("name %q must be 1 to 63 of a-z, 0-9 and -", m.Name)
	}
	if !versionForm.MatchString(m.Version) {
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
	if !headerText(m.AckDecl.ContentType) {
		bad("ack.content_type %q must be one line of visible ASCII", m.AckDecl.ContentType)
	}
	for _, name := range m.Requires {
		if f, ok := functions[name]; !ok || f.call == nil {
			bad("requires %q, which this version of Postern does not serve", name)
		}
	}
	wrong = append(wrong, m.checkSecrets()...)
	if err := m.compileSettings(); err != nil {
		wrong = append(wrong, err)
	}
	return wrong
}

func (m *Manifest) checkSecrets() []error {
	var wrong []error
	seen, taken := make(map[string]bool), make(map[string]bool)
	for i := range m.Secrets {
		s := &m.Secrets[i]
		if !nameForm.MatchString(s.Name) || seen[s.Name] {
			wrong = append(wrong, fmt.Errorf("secrets[%d].name %q must be 1 to 63 of a-z, 0-9 and -, and stand once", i, s.Name))
		}
		seen[s.Name] = true
		// The first of two tokens would be masked before the second is compared.
		place := s.In
		if in, _, _ := s.Token(); in == host.InHeader {
			place = strings.ToLower(place)
		}
		if place != "" && taken[place] {
			wrong = append(wrong, fmt.Errorf("secret %q: in %q is the place of another token", s.Name, s.In))
		}
		taken[place] = true
		if err := s.check(); err != nil {
			wrong = append(wrong, fmt.Errorf("secret %q: %w", s.Name, err))
		}
	}
	return wrong
}

func (s *Secret) check() error {
	switch use := use(s.Use); {
	case use == useToken:
		if _, _, ok := s.Token(); !ok {
			return fmt.Errorf("in %q must be header:NAME, query:NAME or path", s.In)
		}
		if s.Form != "" || s.Respond != "" {
			return errors.New("a token has neither form nor respond")
		}
		return nil
	case macs[use] == nil:
		return fmt.Errorf("use %q is not served by this version of Postern; it serves %s", s.Use, strings.Join(servedUses(), ", "))
	}
	if keyForms[s.Form] == nil {
		return fmt.Errorf("form %q must be one of %s", s.Form, strings.Join(sortedKeys(keyForms), ", "))
	}
	if s.In != "" {
		return errors.New("in is for tokens only")
	}
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

func servedUses() []string {
	uses := []string{string(useToken)}
	for u := range macs {
		uses = append(uses, string(u))
	}
	slices.Sort(uses)
	return uses
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// headerText reports whether s can stand in a header field as it is.
func headerText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
