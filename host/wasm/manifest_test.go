package wasm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host/wasm/internal/manifest"
)

// chosen is a manifest whose settings say what the secret is.
const chosen = `{"name":"m","version":"0.1.0",
	"secrets":[{"name":"k","summary":"the key","use":"setting:padding","form":"setting:key_form","optional":true},
		{"name":"s","summary":"the MAC's key","use":"setting:mac","form":"utf8","optional":true}],
	"settings":{"type":"object","properties":{
		"padding":{"enum":["aes-128-cbc","aes-128-cbc-zero"]},
		"key_form":{"enum":["utf8","hex","md5"]},
		"mac":{"enum":["hmac-sha256","hmac-sha512"]},
		"checksum":{"enum":["require","off"],"default":"require"},
		"n":{"type":"integer","enum":[1,2]}},"additionalProperties":false},
	"unverified":{"checksum":["off"]},"calibrate":["key_form","padding"]}`

func TestManifest_choices(t *testing.T) {
	m, err := manifest.Parse([]byte(chosen), serves)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range m.Calibrate {
		if len(m.Choices(name)) < 2 {
			t.Errorf("choices of %s = %q", name, m.Choices(name))
		}
	}
	if diff := cmp.Diff([]string{"utf8", "hex", "md5"}, m.Choices("key_form")); diff != "" {
		t.Error(diff)
	}
	if got := m.Choices("n"); got != nil {
		t.Errorf("choices of numbers = %q, want none", got)
	}
}

func TestManifest_refusesWhatDoesNotFit(t *testing.T) {
	for name, tt := range map[string]struct{ old, change, want string }{
		"use of no setting":      {`setting:padding`, `setting:nothing`, `secret "k": use: settings has no "nothing" with an enum of strings`},
		"use of no strings":      {`setting:padding`, `setting:n`, `secret "k": use: settings has no "n" with an enum of strings`},
		"use of two families":    {`["hmac-sha256","hmac-sha512"]`, `["hmac-sha256","aes-128-cbc"]`, `secret "s": use: settings.mac has MACs and ciphers`},
		"use not served":         {`["hmac-sha256","hmac-sha512"]`, `["hmac-sha256","ed25519"]`, `secret "s": use: settings.mac has "ed25519", which is no MAC and no cipher`},
		"use of a token":         {`["hmac-sha256","hmac-sha512"]`, `["hmac-sha256","token"]`, `secret "s": use: settings.mac has "token"`},
		"use of none":            {`["hmac-sha256","hmac-sha512"]`, `[]`, `settings`},
		"form of no setting":     {`setting:key_form`, `setting:nothing`, `secret "k": form: settings has no "nothing"`},
		"form not served":        {`"hex","md5"`, `"hex","guess"`, `secret "k": form: settings.key_form has "guess"`},
		"unverified nothing":     {`"unverified":{"checksum"`, `"unverified":{"nothing"`, `unverified: settings has no "nothing" with an enum of strings`},
		"unverified value":       {`{"checksum":["off"]}`, `{"checksum":["of"]}`, `unverified: "of" is no value of settings.checksum`},
		"calibrate nothing":      {`["key_form","padding"]`, `["nothing"]`, `calibrate: settings has no "nothing"`},
		"calibrate numbers":      {`["key_form","padding"]`, `["n"]`, `calibrate: settings has no "n" with an enum of strings`},
		"place of no token":      {`"form":"utf8"`, `"form":"utf8","in":"path"`, `secret "s": in is for tokens only`},
		"unknown use":            {`"setting:mac"`, `"aes-256-cbc"`, `secret "s": use "aes-256-cbc" is not served`},
		"signed without form":    {`"use":"setting:mac","form":"utf8"`, `"use":"signed-token","in":"path"`, `secret "s": form "" must be one of`},
		"signed without a place": {`"use":"setting:mac"`, `"use":"signed-token"`, `secret "s": in "" must be`},
		"token with form":        {`"use":"setting:mac"`, `"use":"token","in":"path"`, `secret "s": a token has no form`},
		"respond of a token":     {`"use":"setting:mac","form":"utf8"`, `"use":"token","in":"path","respond":"a"`, `secret "s": a token has no respond`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(chosen, tt.old, tt.change, 1)
			if changed == chosen {
				t.Fatalf("%q does not stand in the manifest", tt.old)
			}
			if _, err := manifest.Parse([]byte(changed), serves); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestManifest_oneDialect: in another one a $ref would hide the enum beside it.
func TestManifest_oneDialect(t *testing.T) {
	const ours, old = "https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"
	for schema, taken := range map[string]bool{
		`{"$schema":"` + ours + `","type":"object"}`:                                                                    true,
		`{"type":"object","properties":{"$schema":{"enum":["a"]}}}`:                                                     true,
		`{"$schema":"` + old + `","$ref":"#/definitions/x","definitions":{"x":{}},"properties":{"f":{"enum":["hex"]}}}`: false,
		`{"properties":{"f":{"$id":"f","$schema":"` + old + `","enum":["hex"]}}}`:                                       false,
		`{"allOf":[{"$schema":"` + old + `"}]}`:                                                                         false,
	} {
		manifest := `{"name":"m","version":"0.1.0","settings":` + schema + `}`
		_, err := newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "counter", manifest)))
		if (err == nil) != taken {
			t.Errorf("%s: Load = %v, want it taken: %v", schema, err, taken)
		}
		if err != nil && !strings.Contains(err.Error(), "settings: $schema") {
			t.Errorf("%s: %v does not name the dialect", schema, err)
		}
	}
}

// TestBind_aChoiceThatIsNone is refused, whatever a schema let through.
func TestBind_aChoiceThatIsNone(t *testing.T) {
	manifest := `{"name":"m","version":"0.1.0","secrets":[{"name":"k","use":"hmac-sha256","form":"setting:f","optional":true}],
		"settings":{"type":"object","properties":{"f":{"enum":["hex","utf8"]}}}}`
	m, err := newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "counter", manifest)))
	if err != nil {
		t.Fatal(err)
	}
	p := &Plugin{module: m, secrets: map[string]*boundSecret{}, settings: map[string]string{"f": "other"}}
	_, err = p.bindSecret(&m.manifest.Secrets[0], []string{"test-key"})
	if want := `settings.f: "other" is none of hex, utf8`; err == nil || err.Error() != want {
		t.Errorf("bindSecret = %v, want %q", err, want)
	}
}

func TestManifest_onePlaceForOptionalTokensOnly(t *testing.T) {
	for place, secrets := range map[string]string{
		"path":         `{"name":"a","use":"token","in":"path"},{"name":"b","use":"signed-token","form":"utf8","in":"path","optional":true}`,
		"header:x-key": `{"name":"a","use":"token","in":"header:X-Key","optional":true},{"name":"b","use":"token","in":"header:x-key"}`,
		"query:k":      `{"name":"a","use":"token","in":"query:k"},{"name":"b","use":"token","in":"query:k"}`,
	} {
		_, err := manifest.Parse([]byte(`{"name":"m","version":"0.1.0","secrets":[`+secrets+`]}`), serves)
		if want := `secret "b": in "` + place + `" is the place of "a": both must be optional`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse = %v, want %q", err, want)
		}
	}
	if _, err := manifest.Parse([]byte(`{"name":"m","version":"0.1.0","secrets":[
		{"name":"a","use":"token","in":"query:k"},{"name":"b","use":"token","in":"query:K"}]}`), serves); err != nil {
		t.Errorf("the names of parameters are case-sensitive: %v", err)
	}
}

func TestBind_secretAndSettingGoTogether(t *testing.T) {
	m, err := newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "counter", chosen)))
	if err != nil {
		t.Fatal(err)
	}
	key := map[string][]string{"k": {"test-key-current"}}
	both := map[string]any{"padding": "aes-128-cbc", "key_form": "utf8"}
	off := map[string]any{"checksum": "off"}
	for name, tt := range map[string]struct {
		b    Binding
		want []string
	}{
		"neither": {Binding{}, nil},
		"both":    {Binding{Secrets: key, Settings: both}, nil},
		"secret alone": {Binding{Secrets: key}, []string{
			"settings.padding: is not set; secrets.k needs it (one of aes-128-cbc, aes-128-cbc-zero)",
			"settings.key_form: is not set; secrets.k needs it (one of utf8, hex, md5)",
		}},
		"setting alone": {Binding{Settings: both}, []string{
			"secrets.k: is not set, and settings.padding asks for it",
			"secrets.k: is not set, and settings.key_form asks for it",
		}},
		"one of two settings": {Binding{Secrets: key, Settings: map[string]any{"padding": "aes-128-cbc"}}, []string{
			"settings.key_form: is not set; secrets.k needs it (one of utf8, hex, md5)",
		}},
		"settings are wrong": {Binding{Secrets: key, Settings: map[string]any{"padding": "rot13"}}, []string{
			"settings.padding: value must be one of 'aes-128-cbc', 'aes-128-cbc-zero'",
		}},
		"key of another length": {Binding{Secrets: map[string][]string{"k": {"test-key-current", "test"}}, Settings: both}, []string{
			"secrets.k[1]: is a key of 4 bytes, aes-128-cbc takes 16 (its form is utf8)",
		}},
		"unverified, endpoint verifies": {Binding{Settings: off}, []string{
			`settings.checksum: "off" takes events that nobody verified; set verification: none, or another value`,
		}},
		"unverified, endpoint does not": {Binding{Settings: off, Unverified: true}, nil},
		"verified, endpoint does not":   {Binding{Settings: map[string]any{"checksum": "require"}, Unverified: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := m.Bind(tt.b)
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Bind (-want +got):\n%s", diff)
			}
			if name == "both" && (p == nil || len(p.secrets["k"].ciphers) != 1) {
				t.Error("the setting does not say the use")
			}
		})
	}
}

// TestBind_defaultsAskForTheirSecret: a default is a setting too.
func TestBind_defaultsAskForTheirSecret(t *testing.T) {
	manifest := strings.Replace(chosen, `{"enum":["hmac-sha256","hmac-sha512"]}`, `{"enum":["hmac-sha256","hmac-sha512"],"default":"hmac-sha512"}`, 1)
	m, err := newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "counter", manifest)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Bind(Binding{}); err == nil || err.Error() != "secrets.s: is not set, and settings.mac asks for it" {
		t.Errorf("Bind = %v", err)
	}
	// A default that takes unverified events is no way around.
	manifest = strings.Replace(chosen, `"default":"require"`, `"default":"off"`, 1)
	if m, err = newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "counter", manifest))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Bind(Binding{}); err == nil || !strings.Contains(err.Error(), `"off" takes events that nobody verified`) {
		t.Errorf("Bind = %v", err)
	}
}
