package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// readManifest reads a folder's plugin.json, strictly, and returns it compact
// with the plugin's name.
func readManifest(folder string) (compact []byte, name string, err error) {
	text, err := os.ReadFile(filepath.Join(folder, "plugin.json")) //nolint:gosec // the caller names the folder
	if err != nil {
		return nil, "", err
	}
	m, err := parse(text)
	if err != nil {
		return nil, "", fmt.Errorf("plugin.json: %w", err)
	}
	c := &checker{}
	c.manifest(m)
	name, _ = m.get("name").(string)
	if absolute, err := filepath.Abs(folder); err == nil && filepath.Base(absolute) != name {
		c.bad("name", "is %q but the folder is %s; give both one name", name, filepath.Base(absolute))
	}
	if err := errors.Join(c.wrong...); err != nil {
		return nil, "", fmt.Errorf("plugin.json:\n%w", err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return nil, "", err
	}
	return b.Bytes(), name, nil
}

// object is a JSON object whose members keep their order and case.
type object struct {
	names  []string
	values []any
}

func (o *object) get(name string) any {
	if i := slices.Index(o.names, name); i >= 0 {
		return o.values[i]
	}
	return nil
}

// parse reads a manifest. Package encoding/json would take a name in any case
// and the last of two equal ones; the host takes neither.
func parse(text []byte) (*object, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := value(d)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*object)
	if !ok {
		return nil, errors.New("must be a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("must hold one JSON object and nothing behind it")
	}
	return o, nil
}

func value(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return members(d)
	case json.Delim('['):
		return elements(d)
	}
	return t, nil
}

func members(d *json.Decoder) (*object, error) {
	o := &object{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if slices.Contains(o.names, name) {
			return nil, fmt.Errorf("member %q stands twice; keep one", name)
		}
		v, err := value(d)
		if err != nil {
			return nil, err
		}
		o.names, o.values = append(o.names, name), append(o.values, v)
	}
	_, err := d.Token()
	return o, err
}

func elements(d *json.Decoder) ([]any, error) {
	list := []any{}
	for d.More() {
		v, err := value(d)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

// checker gathers everything wrong with a manifest; docs/plugin-abi.md §2.
type checker struct{ wrong []error }

func (c *checker) bad(path, format string, args ...any) {
	c.wrong = append(c.wrong, errors.New("  "+path+": "+fmt.Sprintf(format, args...)))
}

var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	methodForm  = regexp.MustCompile(`^[A-Z]{3,10}$`)
	summaryForm = regexp.MustCompile(`^[^\x00-\x1f]+$`)
	placeForm   = regexp.MustCompile(`^(header:[!#$%&'*+.^_|~0-9A-Za-z-]+|query:.+|path)$`)
	typeForm    = regexp.MustCompile(`^[ -~]*$`)
)

func (c *checker) manifest(m *object) {
	c.known("", m, "name", "version", "summary", "methods", "secrets", "settings", "unable",
		"ack", "unverified", "calibrate", "requires", "memory_pages", "fuel", "guard")
	c.match("name", m.get("name"), nameForm, "must be 1 to 63 of a-z, 0-9 and -")
	c.match("version", m.get("version"), versionForm, "must be a semantic version such as 0.1.0")
	c.match("summary", m.get("summary"), summaryForm, "must be one line of text")
	for i, v := range c.list("methods", m.get("methods")) {
		c.match(at("methods", i), v, methodForm, "must be a method in capitals such as POST")
	}
	properties := c.settings(m.get("settings"))
	c.secrets(m.get("secrets"), properties)
	c.unverified(m.get("unverified"), properties)
	c.calibrate(m.get("calibrate"), properties)
	c.guard(m)
	c.oneOf("unable", m.get("unable"), "retry", "keep")
	c.ack(m.get("ack"))
	for i, v := range c.list("requires", m.get("requires")) {
		c.match(at("requires", i), v, summaryForm, "must be the name of a function of the host")
	}
	c.number("memory_pages", m.get("memory_pages"), 1, 65536)
	c.number("fuel", m.get("fuel"), 1, 1<<62)
}

// guard refuses what only a provider's plugin has.
func (c *checker) guard(m *object) {
	switch is := m.get("guard"); is {
	case nil, false:
		return
	case true:
	default:
		c.bad("guard", "must be true or false")
		return
	}
	const most = 20
	if name := m.text("name"); len(strings.ReplaceAll(name, "-", "")) > most {
		c.bad("name", "of a guard has at most %d letters and digits: it begins the names of attributes", most)
	}
	for _, name := range []string{"methods", "secrets", "unable", "ack", "unverified", "calibrate"} {
		if m.get(name) != nil {
			c.bad(name, "is a provider's plugin's; a guard has none")
		}
	}
}

func (c *checker) ack(v any) {
	if v == nil {
		return
	}
	a, ok := v.(*object)
	if !ok {
		c.bad("ack", "must be an object with status, content_type and body")
		return
	}
	c.known("ack.", a, "status", "content_type", "body")
	c.number("ack.status", a.get("status"), 200, 299)
	if v := a.get("content_type"); v != nil {
		c.match("ack.content_type", v, typeForm, "must be one line of visible ASCII")
	}
	if v := a.get("body"); v != nil {
		if _, ok := v.(string); !ok {
			c.bad("ack.body", "must be text: write JSON inside a string")
		}
	}
}

// known refuses members that the ABI does not name.
func (c *checker) known(prefix string, o *object, names ...string) {
	for _, name := range o.names {
		if !slices.Contains(names, name) {
			c.bad(prefix+name, "is not a member; there are %s", strings.Join(names, ", "))
		}
	}
}

func (c *checker) need(path string, v any) {
	if v == nil {
		c.bad(path, "is missing")
	}
}

func (c *checker) match(path string, v any, form *regexp.Regexp, rule string) {
	text, ok := v.(string)
	switch {
	case v == nil:
		c.bad(path, "is missing; it %s", rule)
	case !ok || !form.MatchString(text):
		c.bad(path, "%s", rule)
	}
}

func (c *checker) oneOf(path string, v any, words ...string) {
	if v == nil {
		return
	}
	if text, ok := v.(string); !ok || !slices.Contains(words, text) {
		c.bad(path, "must be one of %s", strings.Join(words, ", "))
	}
}

func (c *checker) list(path string, v any) []any {
	list, ok := v.([]any)
	if !ok && v != nil {
		c.bad(path, "must be an array")
	}
	return list
}

func (c *checker) number(path string, v any, least, most int64) {
	if v == nil {
		return
	}
	text, _ := v.(json.Number)
	if n, err := strconv.ParseInt(text.String(), 10, 64); err != nil || n < least || n > most {
		c.bad(path, "must be a whole number from %d to %d", least, most)
	}
}

// text returns a member that is text, "" for anything else.
func (o *object) text(name string) string {
	text, _ := o.get(name).(string)
	return text
}

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
