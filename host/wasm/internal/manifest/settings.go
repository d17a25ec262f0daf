package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// closedLoader refuses every reference out of a manifest: a schema must not
// make the host read files or addresses.
type closedLoader struct{}

// Load refuses.
func (closedLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("a settings schema must stand alone, it refers to %s", url)
}

func (m *Manifest) compileSettings() error {
	if len(m.Settings) == 0 {
		m.Settings = []byte(`{"type":"object","additionalProperties":false}`)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(m.Settings))
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if err := checkDialect(doc); err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(closedLoader{})
	if err := c.AddResource("settings", doc); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if m.schema, err = c.Compile("settings"); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	var declared struct {
		Properties map[string]struct {
			Default jsontext.Value `json:"default"`
			Enum    jsontext.Value `json:"enum"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(m.Settings, &declared); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	m.defaults, m.choices = make(map[string]jsontext.Value), make(map[string][]string)
	for name, property := range declared.Properties {
		if len(property.Default) > 0 {
			m.defaults[name] = property.Default
		}
		// An enum of anything but strings is a setting like any other.
		var choices []string
		if len(property.Enum) > 0 && json.Unmarshal(property.Enum, &choices) == nil {
			m.choices[name] = choices
		}
	}
	return nil
}

const dialect = "https://json-schema.org/draft/2020-12/schema"

// checkDialect refuses every dialect but the ABI's, at any depth: in an older one
// a $ref hides the enum beside it, and with it what was checked of the choices.
func checkDialect(schema any) error {
	switch v := schema.(type) {
	case map[string]any:
		if named, isText := v["$schema"].(string); isText && strings.TrimSuffix(named, "#") != dialect {
			return fmt.Errorf("settings: $schema %q must be %s", named, dialect)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := checkDialect(v[name]); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range v {
			if err := checkDialect(element); err != nil {
				return err
			}
		}
	}
	return nil
}

// Choices are the values of a setting whose schema has an enum of strings, in
// its order; nil for any other. They must not be changed.
func (m *Manifest) Choices(setting string) []string { return m.choices[setting] }

// checkChoices compares what the manifest says of its settings by name with
// their schema.
func (m *Manifest) checkChoices() []error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(m.Unverified)) {
		choices := m.Choices(name)
		if choices == nil {
			wrong = append(wrong, fmt.Errorf("unverified: settings has no %q with an enum of strings", name))
			continue
		}
		for _, value := range m.Unverified[name] {
			if !slices.Contains(choices, value) {
				wrong = append(wrong, fmt.Errorf("unverified: %q is no value of settings.%s", value, name))
			}
		}
	}
	for _, name := range m.Calibrate {
		if m.Choices(name) == nil {
			wrong = append(wrong, fmt.Errorf("calibrate: settings has no %q with an enum of strings", name))
		}
	}
	return wrong
}

// CheckVerified reports the settings, as [Manifest.Settle] returns them, that
// take events without evidence. An endpoint that verifies has none.
func (m *Manifest) CheckVerified(settings map[string]string) error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(m.Unverified)) {
		if value, set := settings[name]; set && slices.Contains(m.Unverified[name], value) {
			wrong = append(wrong, fmt.Errorf(
				"settings.%s: %q takes events that nobody verified; set verification: none, or another value", name, value))
		}
	}
	return errors.Join(wrong...)
}

// Settle applies the defaults, checks the operator's settings against the
// schema and returns them as the texts that a plugin reads: a string as it is,
// anything else as JSON.
func (m *Manifest) Settle(given map[string]any) (map[string]string, error) {
	all := maps.Clone(m.defaults)
	for name, v := range given {
		text, err := json.Marshal(v, json.Deterministic(true))
		if err != nil {
			return nil, fmt.Errorf("settings.%s: %w", name, err)
		}
		all[name] = text
	}
	text, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if err := m.schema.Validate(doc); err != nil {
		return nil, settingsError(err)
	}
	texts := make(map[string]string, len(all))
	for name, v := range all {
		texts[name] = string(v)
		if v.Kind() != '"' {
			continue
		}
		var text string
		if err := json.Unmarshal(v, &text); err != nil {
			return nil, fmt.Errorf("settings.%s: %w", name, err)
		}
		texts[name] = text
	}
	return texts, nil
}

// settingsError turns the library's tree of causes into one line for each
// setting that is wrong.
func settingsError(err error) error {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("settings: %w", err)
	}
	english := message.NewPrinter(language.English)
	var lines []error
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) == 0 {
			at := strings.Join(append([]string{"settings"}, e.InstanceLocation...), ".")
			lines = append(lines, fmt.Errorf("%s: %s", at, e.ErrorKind.LocalizedString(english)))
		}
	}
	walk(invalid)
	return errors.Join(lines...)
}

// CheckSecrets reports, a line each, what is wrong with which secrets an operator
// gives, whatever their values: those that the plugin does not use, and tokens of
// one place that are both set, of which the first would be masked before the second
// is compared.
func (m *Manifest) CheckSecrets(given map[string][]string) error {
	var wrong []error
	var known []string
	for i := range m.Secrets {
		s := &m.Secrets[i]
		known = append(known, s.Name)
		for j := range i {
			other := &m.Secrets[j]
			if s.SharesPlace(other) && len(given[s.Name]) > 0 && len(given[other.Name]) > 0 {
				wrong = append(wrong, fmt.Errorf("secrets.%s: stands in the same place as secrets.%s; set one of the two", s.Name, other.Name))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(known, name) {
			wrong = append(wrong, fmt.Errorf("secrets.%s: the plugin %s does not use it (it uses %s)",
				name, m.Name, strings.Join(known, ", ")))
		}
	}
	return errors.Join(wrong...)
}
