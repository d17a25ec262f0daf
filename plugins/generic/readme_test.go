package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestReadme_isTheSchema compares the table of settings with plugin.json.
func TestReadme_isTheSchema(t *testing.T) {
	readme := string(read(t, "README.md"))
	var manifest struct {
		Settings struct {
			Required   []string
			Properties map[string]struct {
				Description string
				Default     any
				Enum        []string
			}
		}
	}
	if err := json.Unmarshal(read(t, "plugin.json"), &manifest); err != nil {
		t.Fatal(err)
	}
	for name, p := range manifest.Settings.Properties {
		standard := "none"
		switch {
		case slices.Contains(manifest.Settings.Required, name):
			standard = "required"
		case p.Default != nil:
			standard = fmt.Sprintf("`%v`", p.Default)
		}
		row := fmt.Sprintf("| `%s` | %s | %s", name, standard, p.Description)
		if len(p.Enum) > 0 {
			row += ": `" + strings.Join(p.Enum, "`, `") + "`"
		}
		if !strings.Contains(readme, "\n"+row+" |\n") {
			t.Errorf("README.md has no row\n%s |", row)
		}
	}
}

// TestTokens_areAll: a token that is bound and that the plugin does not ask for
// would give no evidence.
func TestTokens_areAll(t *testing.T) {
	var manifest struct {
		Secrets []struct{ Name, Use string }
	}
	if err := json.Unmarshal(read(t, "plugin.json"), &manifest); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range manifest.Secrets {
		if s.Use == "token" {
			want = append(want, s.Name)
		}
	}
	if !slices.Equal(tokens[:], want) {
		t.Errorf("tokens = %q, plugin.json has %q", tokens, want)
	}
}
