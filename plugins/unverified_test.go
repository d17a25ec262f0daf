package plugins_test

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestUnverified_isDeclared: where an operator has bound a secret, an event
// without evidence comes from a setting that the manifest names. So the host
// refuses that setting at an endpoint that verifies, and not one callback at a
// time.
func TestUnverified_isDeclared(t *testing.T) {
	for _, name := range folders(t) {
		var m struct {
			Unverified map[string][]string
		}
		readJSON(t, filepath.Join(name, "plugin.json"), &m)
		shown := make(map[string]bool)
		files, err := filepath.Glob(filepath.Join(name, "testdata", "*.golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			var g struct {
				Secrets  map[string][]string
				Settings map[string]any
				Expect   struct{ Events []struct{ Evidence int } }
			}
			readJSON(t, file, &g)
			declared := false
			for setting, values := range m.Unverified {
				if value, ok := g.Settings[setting].(string); ok && slices.Contains(values, value) {
					declared, shown[setting+" "+value] = true, true
				}
			}
			if len(g.Secrets) > 0 && !declared && len(g.Expect.Events) > 0 && g.Expect.Events[0].Evidence < 0 {
				t.Errorf("%s: an event without evidence, and no setting of plugin.json's unverified", file)
			}
		}
		for setting, values := range m.Unverified {
			for _, value := range values {
				if !shown[setting+" "+value] {
					t.Errorf("%s: no golden has %s: %s", name, setting, value)
				}
			}
		}
	}
}
