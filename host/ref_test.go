package host

import (
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	for text, want := range map[string]Ref{
		"ottu":                  {Name: "ottu"},
		"ottu@1.2.0":            {Name: "ottu", Version: "1.2.0"},
		"0-a@0.0.0-rc.1-x.0":    {Name: "0-a", Version: "0.0.0-rc.1-x.0"},
		"ottu@sha256:" + sum:    {Name: "ottu", Sum: sum},
		strings.Repeat("a", 63): {Name: strings.Repeat("a", 63)},
	} {
		got, err := ParseRef(text)
		if err != nil || got != want || got.String() != text || got.Pinned() != (text != want.Name) {
			t.Errorf("ParseRef(%q) = %+v (%s), %v; want %+v", text, got, got, err, want)
		}
	}
	// Nothing of the file system can be spelt.
	for text, want := range map[string]string{
		"": "form of a name", "..": "form of a name", "../ottu": "form of a name", "/etc/ottu": "form of a name", `a\b`: "form of a name",
		"a/b": "form of a name", "-a": "form of a name", "Ottu": "form of a name", "ottu\x00": "form of a name", "ottu\n": "form of a name",
		"ottu.wasm": "leave out .wasm", "ottu.wasm@1.0.0": "leave out .wasm", strings.Repeat("a", 64): "form of a name", "versions/ottu": "form of a name",
		"%2e%2e%2fottu": "form of a name", "ottu@": "neither a semantic version", "ottu@1": "neither a semantic version", "ottu@1.2": "neither a semantic version",
		"ottu@v1.2.0": "neither a semantic version", "ottu@01.2.0": "neither a semantic version", "ottu@1.2.0+build": "neither a semantic version", "ottu@1.2.0-": "neither a semantic version",
		"ottu@1.2.0-..": "neither a semantic version", "ottu@1.2.0-../../x": "neither a semantic version", "ottu@../1.2.0": "neither a semantic version", "ottu@1.2.0\n": "neither a semantic version",
		"ottu@1.2.0-01": "neither a semantic version", "ottu@1.2.0-" + strings.Repeat("a", 64): "neither a semantic version", "ottu@latest": "neither a semantic version",
		"ottu@sha256:": "no SHA-256", "ottu@sha256:" + sum[1:]: "no SHA-256", "ottu@sha256:" + strings.ToUpper(sum): "no SHA-256",
		"ottu@sha256:" + sum + "0": "no SHA-256", "ottu@1.2.0@sha256:" + sum: "neither a semantic version", "ottu@md5:" + sum: "neither a semantic version",
	} {
		if got, err := ParseRef(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRef(%q) = %+v, %v; want an error with %q", text, got, err, want)
		}
	}
}
