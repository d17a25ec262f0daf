package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host/wasm"
)

// genericManifest is what the built plugin that settings describe says of itself.
func genericManifest(t *testing.T) *wasm.Manifest {
	t.Helper()
	code, err := os.ReadFile(filepath.Join("plugins", "dist", "generic.wasm"))
	if err != nil {
		t.Fatalf("%v (build it with: make plugins)", err)
	}
	m, err := wasm.Inspect(code)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var fromEnv = regexp.MustCompile(`\benv:([A-Z_]+)`)

// endpointOf is the endpoint whose part of a configuration text is.
func endpointOf(t *testing.T, text string) config.Endpoint {
	t.Helper()
	var environ []string
	for _, m := range fromEnv.FindAllStringSubmatch(text, -1) {
		environ = append(environ, m[1]+"=test-value")
	}
	whole := "tenants:\n  t:\n    endpoints:\n      e:\n        " + strings.ReplaceAll(text, "\n", "\n        ")
	cfg, err := config.Load(config.Options{Text: []byte(whole), Environ: environ})
	if err != nil {
		t.Fatalf("%v in\n%s", err, whole)
	}
	return cfg.Tenants["t"].Endpoints["e"]
}

func fileText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sameSettings compares as JSON: YAML and JSON have other types of numbers.
func sameSettings(t *testing.T, a, b map[string]any) bool {
	t.Helper()
	var plain [2]any
	for i, settings := range []map[string]any{a, b} {
		text, err := json.Marshal(settings)
		if err == nil {
			err = json.Unmarshal(text, &plain[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return reflect.DeepEqual(plain[0], plain[1])
}

// TestGeneric_providersAreTheGoldens: what an operator copies is what the goldens
// prove, and each type that a file makes is shown by one of them.
func TestGeneric_providersAreTheGoldens(t *testing.T) {
	m := genericManifest(t)
	goldens, err := wasm.ReadGoldens(filepath.Join("plugins", "dist", "generic.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("plugins/generic/providers/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files of providers, err %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			e := endpointOf(t, fileText(t, file))
			if _, err := m.Settle(e.Settings); err != nil {
				t.Error(err)
			}
			if e.Plugin != "generic" || e.Unable == "" {
				t.Errorf("plugin %q, unable %q", e.Plugin, e.Unable)
			}
			shown := make(map[string]bool)
			for i := range goldens {
				if !strings.HasPrefix(goldens[i].Name, name+"-") {
					continue
				}
				g, err := readGolden(&goldens[i])
				if err != nil {
					t.Fatal(err)
				}
				if !sameSettings(t, g.Settings, e.Settings) {
					t.Errorf("the golden %s has other settings than %s:\n%v\n%v", g.Name, file, g.Settings, e.Settings)
				}
				if got, want := slices.Sorted(maps.Keys(g.Secrets)), slices.Sorted(maps.Keys(e.Secrets)); !slices.Equal(got, want) {
					t.Errorf("the golden %s binds %v, %s binds %v", g.Name, got, file, want)
				}
				for _, event := range g.expect.Events {
					shown[event.Type] = true
				}
				shown["ignore"] = shown["ignore"] || g.expect.Verdict == "ignore"
			}
			for word, kind := range e.Settings["events"].(map[string]any) {
				if !shown[kind.(string)] && !strings.HasSuffix(kind.(string), "{word}") {
					t.Errorf("no golden shows %s, which %s makes of %q", kind, file, word)
				}
			}
		})
	}
}

// TestGeneric_exampleIsOne: the example of the plugin's page is the file that the
// goldens prove, and what the demo serves.
func TestGeneric_exampleIsOne(t *testing.T) {
	want := endpointOf(t, fileText(t, "plugins/generic/providers/zahlwerk.yaml"))
	_, block, _ := strings.Cut(fileText(t, "plugins/generic/README.md"), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	demo, err := config.Load(config.Options{Text: config.Demo(), Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	for where, got := range map[string]config.Endpoint{
		"the page": endpointOf(t, block), "config/demo.yaml": demo.Tenants["demo"].Endpoints["zahlwerk"],
	} {
		if got.Plugin != want.Plugin || got.Unable != want.Unable || !sameSettings(t, got.Settings, want.Settings) {
			t.Errorf("%s:\n%v\nproviders/zahlwerk.yaml:\n%v", where, got.Settings, want.Settings)
		}
	}
}

// TestGeneric_tokensAreNoOtherHeader: the host masks a token's header, bound or
// not, so that nothing else could be read there.
func TestGeneric_tokensAreNoOtherHeader(t *testing.T) {
	m := genericManifest(t)
	seen := 0
	for i := range m.Secrets {
		header, ok := strings.CutPrefix(m.Secrets[i].In, "header:")
		if !ok {
			continue
		}
		seen++
		for _, as := range []string{header, strings.ToLower(header)} {
			for name, change := range map[string]any{
				"hmac_header": as, "signed_header": as, "timestamp": "header:" + as, "word": "header:" + as,
			} {
				refusedByName(t, m, name, withSettings(name, change))
			}
		}
	}
	if seen == 0 {
		t.Error("no token stands in a header")
	}
}

// wholeSettings are some with everything that depends on something else.
func wholeSettings() map[string]any {
	return map[string]any{
		"hmac_algorithm": "hmac-sha256", "hmac_key_form": "utf8", "hmac_header": "X-Signature", "hmac_separator": ",",
		"hmac_prefix": "v1=", "signed": "{header}.{timestamp}.{body}", "signed_header": "X-Id", "timestamp": "part:t=",
		"word": "/type", "events": map[string]any{"paid": "payment.succeeded", "*": "ignore"},
		"key": []any{"word", "header", "subject"}, "subject": []any{"/id", "/other/0"},
		"amount": "/amount", "amount_form": "minor", "amount_scale": 2, "amount_scales": map[string]any{"JPY": 0}, "currency": "EUR",
		"sandbox": "/live=false",
	}
}

// withSettings are wholeSettings with one changed, or taken out where value is nil.
func withSettings(changes ...any) map[string]any {
	s := wholeSettings()
	for i := 0; i < len(changes); i += 2 {
		if name := changes[i].(string); changes[i+1] == nil {
			delete(s, name)
		} else {
			s[name] = changes[i+1]
		}
	}
	return s
}

// refusedByName wants settings to be refused in words that have the name.
func refusedByName(t *testing.T, m *wasm.Manifest, name string, settings map[string]any) {
	t.Helper()
	_, err := m.Settle(settings)
	if err == nil {
		t.Errorf("%s: taken: %v", name, settings)
		return
	}
	if !regexp.MustCompile(`\b` + name + `\b`).MatchString(err.Error()) {
		t.Errorf("the error does not name %s: %v", name, err)
	}
}

func TestGeneric_wrongSettingsAreRefusedByName(t *testing.T) {
	m := genericManifest(t)
	if _, err := m.Settle(wholeSettings()); err != nil {
		t.Fatalf("whole settings: %v", err)
	}
	events := func(word, kind string) map[string]any { return withSettings("events", map[string]any{word: kind}) }
	for _, tt := range []struct {
		about, name string
		settings    map[string]any
	}{
		{"unknown", "subjekt", withSettings("subjekt", "/id")},
		{"no word", "word", withSettings("word", nil)},
		{"no events", "events", withSettings("events", nil)},
		{"no event", "events", withSettings("events", map[string]any{})},
		{"unknown algorithm", "hmac_algorithm", withSettings("hmac_algorithm", "hmac-md5")},
		{"no algorithm", "hmac_algorithm", withSettings("hmac_algorithm", nil)},
		{"no key form", "hmac_key_form", withSettings("hmac_key_form", nil)},
		{"no header", "hmac_header", withSettings("hmac_header", nil)},
		{"a header that is none", "hmac_header", withSettings("hmac_header", "X Signature")},
		{"a prefix that can stand in no header", "hmac_prefix", withSettings("hmac_prefix", "v1\n")},
		{"parts without what begins a signature", "hmac_prefix", withSettings("hmac_prefix", nil)},
		{"no body", "signed", withSettings("signed", "{header}.{timestamp}")},
		{"the body twice", "signed", withSettings("signed", "{header}.{timestamp}.{body}{body}")},
		{"an unknown placeholder", "signed", withSettings("signed", "{header}.{timestamp}.{nonce}.{body}")},
		{"a brace", "signed", withSettings("signed", "{header}.{timestamp}.{body}}")},
		{"no timestamp", "timestamp", withSettings("timestamp", nil)},
		{"a timestamp that is not signed", "timestamp", withSettings("signed", "{header}.{body}")},
		{"a timestamp from nowhere", "timestamp", withSettings("timestamp", "/t")},
		{"a part of no parts", "hmac_separator", withSettings("hmac_separator", nil)},
		{"no signed header", "signed_header", withSettings("signed_header", nil)},
		{"a header that is not signed", "signed_header", withSettings("signed", "{timestamp}.{body}", "key", []any{"/id"})},
		{"an unsigned header in the key", "key", withSettings("signed", "{timestamp}.{body}", "signed_header", nil)},
		{"an unsigned word in the key", "key", withSettings("word", "header:X-Event")},
		{"the URL beside a header", "signed", withSettings("signed", "{url}{header}.{timestamp}.{body}")},
		{"no tolerance", "tolerance", withSettings("tolerance", 0)},
		{"days of it", "tolerance", withSettings("tolerance", 86401)},
		{"a tolerance in words", "tolerance", withSettings("tolerance", "5m")},
		{"no pointer", "subject", withSettings("subject", "id")},
		{"a pointer with a bad escape", "subject", withSettings("subject", "/a~2")},
		{"no pointers", "subject", withSettings("subject", []any{})},
		{"a header where the body must be", "subject", withSettings("subject", "header:X-Id")},
		{"a word that is no place", "word", withSettings("word", "type")},
		{"an unknown fact", "events", events("paid", "payment.paid")},
		{"the provider's word for money", "events", events("*", "payment.{word}")},
		{"a fact of transfers only", "events", events("in", "payment.credited")},
		{"no family", "events", events("paid", "succeeded")},
		{"a type in capitals", "events", events("paid", "Acme.paid")},
		{"no word", "events", events("", "acme.paid")},
		{"no components", "key", withSettings("key", []any{})},
		{"a component twice", "key", withSettings("key", []any{"/id", "/id"})},
		{"a component that is none", "key", withSettings("key", []any{"id"})},
		{"a subject in the key only", "subject", withSettings("subject", nil)},
		{"a reference in the key only", "bank_ref", withSettings("key", []any{"bank_ref"})},
		{"an amount without a currency", "currency", withSettings("currency", nil)},
		{"a currency without an amount", "amount", withSettings("amount", nil, "amount_form", "decimal", "amount_scale", nil, "amount_scales", nil)},
		{"a currency that is none", "currency", withSettings("currency", "euro")},
		{"minor units without a scale", "amount_scale", withSettings("amount_scale", nil, "amount_scales", nil)},
		{"a scale without minor units", "amount_scale", withSettings("amount_form", "decimal")},
		{"scales without a scale", "amount_scale", withSettings("amount_form", "decimal", "amount_scale", nil)},
		{"a scale that is none", "amount_scale", withSettings("amount_scale", 13)},
		{"a scale of no currency", "amount_scales", withSettings("amount_scales", map[string]any{"yen": 0})},
		{"an unknown form of time", "time_form", withSettings("time_form", "unix")},
		{"a sandbox without a text", "sandbox", withSettings("sandbox", "/live")},
		{"no key, and nothing that covers the body", "key", map[string]any{"word": "/type", "events": map[string]any{"*": "ignore"}}},
		{"what is signed, by nobody", "signed", map[string]any{
			"word": "/type", "events": map[string]any{"*": "ignore"}, "key": []any{"/id"}, "signed": "v0:{body}",
		}},
	} {
		t.Run(tt.about, func(t *testing.T) { refusedByName(t, m, tt.name, tt.settings) })
	}
}
