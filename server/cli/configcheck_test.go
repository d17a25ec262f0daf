package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// withPlugins writes a configuration with the plugins of this repository.
func withPlugins(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "postern.yaml")
	write(t, file, "plugins:\n  path: "+plugins(t)+"\n  cache: "+plugins(t)+"/cache\n"+text)
	return file
}

func TestConfigCheck_all(t *testing.T) {
	file := withPlugins(t, `
tenants:
  main:
    endpoints:
      one:
        plugin: ottu
        secrets: {hmac-kye: value:x}
        settings: {ack_status: 299}
      two:
        plugin: nothere
      three:
        plugin: wibmo
        secrets: {customer-id: value:a, client-id: value:b, bank-id: value:c}
`)
	got := postern(t, []string{}, "config", "check", file)
	if got.code != exitFailed {
		t.Errorf("config check = code %d, want 1", got.code)
	}
	for _, want := range []string{
		"postern: tenants.main.endpoints.one.secrets.hmac-key: ",
		"postern: tenants.main.endpoints.one.secrets.hmac-kye: ",
		"postern: tenants.main.endpoints.one.settings.ack_status: ",
		"postern: tenants.main.endpoints.two.plugin: ",
		"postern: " + file + ": 4 problems",
	} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("config check wrote\n%s\nwant a line with %q", got.stderr, want)
		}
	}
	if strings.Contains(got.stderr, "endpoints.three") {
		t.Errorf("config check wrote\n%s\nwant nothing of what is in order", got.stderr)
	}

	got = postern(t, []string{}, "config", "check", file, "--no-plugins")
	if got.code != exitDone {
		t.Errorf("config check --no-plugins = %+v, want code 0", got)
	}
}

func TestConfigCheck_json(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postern.yaml")
	write(t, file, "log:\n  format: xml\nstore:\n  engine: tape\n")
	got := postern(t, []string{}, "config", "check", file, "--json")
	var answer checked
	if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil {
		t.Fatalf("config check --json = %q: %v", got.stdout, err)
	}
	if got.code != exitFailed || got.stderr != "" || len(answer.Problems) != 2 {
		t.Errorf("config check --json = %+v, want code 1, two problems and nothing else", got)
	}
}

func TestConfigCheck_warnings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postern.yaml")
	write(t, file, "store:\n  engine: mem\n")
	got := postern(t, []string{}, "config", "check", file)
	if got.code != exitDone || !strings.HasPrefix(got.stdout, "warning: store.engine: ") ||
		!strings.HasSuffix(got.stdout, "postern.yaml: no problems (0 endpoints, 0 sinks)\n") {
		t.Errorf("config check = %+v, want a warning, and no problems", got)
	}
}
