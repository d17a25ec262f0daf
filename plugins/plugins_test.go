// Package plugins_test holds every plugin's folder to the form that adding a
// provider takes.
package plugins_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLines is how long a provider.go may be: one that is longer does work that
// belongs into the host or the SDK.
const maxLines = 200

// golden is what this test reads of a golden.
type golden struct {
	About   string
	Secrets map[string][]string
	Events  []json.RawMessage
	Expect  struct {
		Verdict, Reason string
		Evidence        []struct {
			Value  int
			Covers string
		}
		Events []struct {
			Type string
			Key  []string
		}
	}
}

func folders(t *testing.T) []string {
	t.Helper()
	manifests, err := filepath.Glob("*/plugin.json")
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no plugin's folder: %v", err)
	}
	var names []string
	for _, m := range manifests {
		names = append(names, filepath.Dir(m))
	}
	return names
}

// isGuard says that a folder is a guard's and no provider's.
func isGuard(t *testing.T, folder string) bool {
	t.Helper()
	var m struct{ Guard bool }
	readJSON(t, filepath.Join(folder, "plugin.json"), &m)
	return m.Guard
}

// TestFolders_areWhole finds folders that lack a part, plugin.json included.
func TestFolders_areWhole(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "dist" {
			continue
		}
		for _, part := range []string{"plugin.json", "provider.go", "provider_test.go", "README.md", "testdata"} {
			if _, err := os.Stat(filepath.Join(e.Name(), part)); err != nil {
				t.Errorf("%s has no %s", e.Name(), part)
			}
		}
	}
}

func TestProviders_areShort(t *testing.T) {
	for _, name := range folders(t) {
		text, err := os.ReadFile(filepath.Join(name, "provider.go"))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s/provider.go has %d lines, at most %d", name, n, maxLines)
		}
	}
}

// TestGoldens_coverWhatGoesWrong asks each plugin for at least one golden of
// every kind that every provider has, and each guard for one that passes, one
// that does not, and one without events.
func TestGoldens_coverWhatGoesWrong(t *testing.T) {
	kinds := map[string]func(g *golden) bool{
		"an accepted event":         func(g *golden) bool { return g.Expect.Verdict == "accept" && len(g.Expect.Events) > 0 },
		"a callback not verified":   func(g *golden) bool { return g.Expect.Reason == "not-verified" },
		"a malformed callback":      func(g *golden) bool { return g.Expect.Reason == "malformed" },
		"one not understood":        func(g *golden) bool { return g.Expect.Reason == "not-understood" },
		"a rotated secret":          func(g *golden) bool { return rotated(g) },
		"an event with a dedup key": func(g *golden) bool { return len(g.Expect.Events) > 0 && len(g.Expect.Events[0].Key) > 0 },
	}
	guards := map[string]func(g *golden) bool{
		"events that pass":       func(g *golden) bool { return g.Expect.Verdict == "pass" && len(g.Events) > 0 },
		"events that do not":     func(g *golden) bool { return g.Expect.Verdict == "hold" || g.Expect.Verdict == "reject" },
		"several events":         func(g *golden) bool { return len(g.Events) > 1 },
		"a callback without any": func(g *golden) bool { return len(g.Events) == 0 },
	}
	providers := kinds
	for _, name := range folders(t) {
		goldens := readGoldens(t, name)
		if kinds = providers; isGuard(t, name) {
			kinds = guards
		}
		for what, is := range kinds {
			found := false
			for _, g := range goldens {
				found = found || is(g)
			}
			if !found {
				t.Errorf("%s has no golden of %s", name, what)
			}
		}
	}
}

func rotated(g *golden) bool {
	for _, e := range g.Expect.Evidence {
		if e.Value > 0 {
			return true
		}
	}
	return false
}

// TestReadmes_nameEverything keeps the READMEs' tables honest: every type that
// a golden shows, every setting and every secret stands there.
func TestReadmes_nameEverything(t *testing.T) {
	for _, name := range folders(t) {
		readme, err := os.ReadFile(filepath.Join(name, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, g := range readGoldens(t, name) {
			for _, e := range g.Expect.Events {
				if !bytes.Contains(readme, []byte("`"+e.Type+"`")) {
					t.Errorf("%s/README.md does not name the type `%s`", name, e.Type)
				}
			}
		}
		for _, word := range manifestNames(t, name) {
			if !bytes.Contains(readme, []byte("`"+word+"`")) {
				t.Errorf("%s/README.md does not name `%s` of plugin.json", name, word)
			}
		}
	}
}

func manifestNames(t *testing.T, folder string) []string {
	t.Helper()
	var m struct {
		Secrets  []struct{ Name string }
		Settings struct {
			Properties map[string]json.RawMessage
		}
	}
	readJSON(t, filepath.Join(folder, "plugin.json"), &m)
	var names []string
	for _, s := range m.Secrets {
		names = append(names, s.Name)
	}
	for name := range m.Settings.Properties {
		names = append(names, name)
	}
	return names
}

// TestSecrets_areObviouslyFalse: a key in a golden must not look like one that
// opens something.
func TestSecrets_areObviouslyFalse(t *testing.T) {
	for _, name := range folders(t) {
		for _, g := range readGoldens(t, name) {
			for secret, values := range g.Secrets {
				for _, v := range values {
					if !isFalse(v) {
						t.Errorf("%s: %q: a value of %s does not begin with test-", name, g.About, secret)
					}
				}
			}
		}
	}
}

// published are the keys of vectors in the providers' own documentation and tests:
// GitHub's, Coinbase Commerce's, Square's and those of Standard Webhooks.
var published = []string{
	"It's a Secret to Everybody", "30291a20-0bd1-4267-9b0f-e6e7b123c0bf", "Ibxx_5AKakO-3qeNVR61Dw",
	"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}

// isFalse takes a text that says so, the base64 of one, and digits.
func isFalse(value string) bool {
	if slices.Contains(published, value) {
		return true
	}
	value = strings.TrimPrefix(value, "whsec_")
	decoded, err := base64.StdEncoding.DecodeString(value)
	return strings.HasPrefix(value, "test-") || strings.Trim(value, "0123456789") == "" ||
		err == nil && strings.HasPrefix(string(decoded), "test-")
}

// TestSignatures_areOpenssls checks that no golden's signature was made by the
// code that it examines.
func TestSignatures_areOpenssls(t *testing.T) {
	for _, tool := range []string{"sh", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("the script needs " + tool + ", which is not installed here")
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "sign-goldens.sh", "--check").CombinedOutput(); err != nil {
		t.Errorf("sign-goldens.sh --check: %v\n%s", err, out)
	}
}

func readGoldens(t *testing.T, folder string) []*golden {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "testdata", "*.golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var goldens []*golden
	for _, file := range files {
		g := &golden{}
		readJSON(t, file, g)
		goldens = append(goldens, g)
	}
	return goldens
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
