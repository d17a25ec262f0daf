package main

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// The uses and forms of a secret; docs/plugin-abi.md §2.
var (
	macs    = []string{"hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"}
	publics = []string{
		"rsa-pkcs1v15-sha256", "ecdsa-p256-sha256", "ecdsa-p256-sha256-der", "ed25519",
	}
	ciphers = []string{"aes-128-cbc", "aes-128-cbc-zero"}
	tokens  = []string{"token", "signed-token"}
	uses    = slices.Concat(macs, publics, ciphers, tokens)

	texts = []string{"utf8", "hex", "base64", "whsec", "sha1", "md5", "sha256-16", "utf8-16"}
	forms = slices.Concat(texts, []string{"pem", "jwk"})
)

// bySetting begins a use or form that the operator's setting says.
const bySetting = "setting:"

func (c *checker) secrets(v any, properties *object) {
	var seen []string
	places := make(map[string]*object)
	for i, v := range c.list("secrets", v) {
		path := at("secrets", i)
		s, ok := v.(*object)
		if !ok {
			c.bad(path, "must be an object")
			continue
		}
		c.known(path+".", s, "name", "summary", "use", "form", "in", "respond", "optional")
		c.match(path+".name", s.get("name"), nameForm, "must be 1 to 63 of a-z, 0-9 and -")
		if name := s.text("name"); slices.Contains(seen, name) {
			c.bad(path+".name", "%q stands twice; give each secret its own name", name)
		} else {
			seen = append(seen, name)
		}
		if v := s.get("summary"); v != nil {
			c.match(path+".summary", v, summaryForm, "must be one line of text")
		}
		if v := s.get("optional"); v != nil && v != true && v != false {
			c.bad(path+".optional", "must be true or false")
		}
		c.secret(path, s, properties)
		c.place(path, s, places)
	}
}

// secret checks what goes with a use: a place for a token, a form for
// everything else, and both for a signed token.
func (c *checker) secret(path string, s, properties *object) {
	c.choice(path+".use", s.get("use"), uses, properties, macs, ciphers)
	use := s.text("use")
	if slices.Contains(tokens, use) {
		c.match(path+".in", s.get("in"), placeForm, "must be header:NAME, query:NAME or path")
	} else if s.get("in") != nil {
		c.bad(path+".in", "is only for a token; take it out")
	}
	if use != "token" {
		c.choice(path+".form", s.get("form"), forms, properties, texts)
	} else if s.get("form") != nil {
		c.bad(path+".form", "is not for a token; take it out")
	}
	v := s.get("respond")
	if v == nil {
		return
	}
	if slices.Contains(tokens, use) || slices.Contains(ciphers, use) {
		c.bad(path+".respond", "is only for a MAC; take it out")
	}
	text, ok := v.(string)
	if _, err := regexp.Compile(text); !ok || text == "" || err != nil {
		c.bad(path+".respond", "must be an RE2 pattern")
	}
}

// place refuses two tokens in one place unless an endpoint can bind one alone.
func (c *checker) place(path string, s *object, places map[string]*object) {
	in := s.text("in")
	if name, ok := strings.CutPrefix(in, "header:"); ok {
		in = "header:" + strings.ToLower(name)
	}
	if in == "" {
		return
	}
	other := places[in]
	if other != nil && (s.get("optional") != true || other.get("optional") != true) {
		c.bad(path+".in", "is the place of %q too; an endpoint binds one of them: make both optional", other.text("name"))
	}
	places[in] = s
}

// choice checks a word that stands in the manifest, or that a setting says:
// then each value of its enum must be one of the words of one group.
func (c *checker) choice(path string, v any, words []string, properties *object, groups ...[]string) {
	text, _ := v.(string)
	name, by := strings.CutPrefix(text, bySetting)
	if !by {
		c.need(path, v)
		c.oneOf(path, v, append(slices.Clone(words), bySetting+"NAME")...)
		return
	}
	values := c.enum(path, name, properties)
	if len(values) == 0 {
		return
	}
	for _, group := range groups {
		if !slices.ContainsFunc(values, func(v any) bool {
			text, _ := v.(string)
			return !slices.Contains(group, text)
		}) {
			return
		}
	}
	var rules []string
	for _, group := range groups {
		rules = append(rules, strings.Join(group, ", "))
	}
	c.bad("settings.properties."+name+".enum", "must be some of %s, for %s", strings.Join(rules, "; or of "), path)
}

// settings checks the schema as far as the manifest speaks of it and returns
// its properties.
func (c *checker) settings(v any) *object {
	none := &object{}
	if v == nil {
		return none
	}
	s, ok := v.(*object)
	if !ok || s.get("type") != "object" {
		c.bad("settings", `must be a JSON Schema of an object; add "type": "object"`)
		return none
	}
	properties, ok := s.get("properties").(*object)
	if !ok {
		if s.get("properties") != nil {
			c.bad("settings.properties", "must be an object")
		}
		return none
	}
	for i, name := range properties.names {
		if _, ok := properties.values[i].(*object); !ok {
			c.bad("settings.properties."+name, "must be a JSON Schema")
		}
	}
	return properties
}

// enum returns the values of a setting that path speaks of.
func (c *checker) enum(path, name string, properties *object) []any {
	if properties.get(name) == nil {
		c.bad(path, "speaks of the setting %q, which is not in settings.properties", name)
		return nil
	}
	property, _ := properties.get(name).(*object)
	if property == nil {
		return nil // settings has told
	}
	values, _ := property.get("enum").([]any)
	if len(values) == 0 {
		c.bad(path, "speaks of the setting %q, which has no enum; list its values there", name)
	}
	return values
}

// unverified checks the values that take events without evidence.
func (c *checker) unverified(v any, properties *object) {
	if v == nil {
		return
	}
	o, ok := v.(*object)
	if !ok {
		c.bad("unverified", "must be an object: a setting's name to an array of its values")
		return
	}
	for i, name := range o.names {
		path := "unverified." + name
		values, ok := o.values[i].([]any)
		if !ok || len(values) == 0 {
			c.bad(path, "must be an array of the setting's values")
			continue
		}
		property, _ := properties.get(name).(*object)
		if property == nil {
			c.bad(path, "is not in settings.properties")
			continue
		}
		enum, closed := property.get("enum").([]any)
		for j, value := range values {
			if closed && !contains(enum, value) {
				c.bad(at(path, j), "is not in the setting's enum")
			}
		}
	}
}

// calibrate checks the names of the settings that an operator finds out once.
func (c *checker) calibrate(v any, properties *object) {
	var seen []string
	for i, v := range c.list("calibrate", v) {
		path := at("calibrate", i)
		name, ok := v.(string)
		if !ok {
			c.bad(path, "must be the name of a setting")
			continue
		}
		if slices.Contains(seen, name) {
			c.bad(path, "%q stands twice; keep one", name)
			continue
		}
		seen = append(seen, name)
		c.enum(path, name, properties)
	}
}

// contains reports whether a list has a value; equal numbers are equal texts.
func contains(list []any, value any) bool {
	return slices.ContainsFunc(list, func(v any) bool { return reflect.DeepEqual(v, value) })
}
