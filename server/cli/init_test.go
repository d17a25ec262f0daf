package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/config"
)

// secretsSet is what the operator exports after "postern init".
var secretsSet = []string{
	"OTTU_HMAC_KEY=k", "WIBMO_CUSTOMER_ID=c", "WIBMO_CLIENT_ID=d", "WIBMO_BANK_ID=6060",
	"WOWPE_WEBHOOK_SECRET=test-key-16-byte", "WIBMO_ACME_GATEWAY_KEY=test-gateway-key", "WIBMO_ACME_CLIENT_ID=d",
}

// settingsChosen are what the operator finds out with "postern plugin
// calibrate", since Wowpe does not say it.
var settingsChosen = []string{
	"POSTERN__TENANTS__MAIN__ENDPOINTS__WOWPE__SETTINGS__CIPHER=aes-128-cbc",
	"POSTERN__TENANTS__MAIN__ENDPOINTS__WOWPE__SETTINGS__KEY_FORM=utf8",
}

var tokenText = regexp.MustCompile(`[0-9a-f]{32}`)

func TestInit(t *testing.T) {
	dir, out := plugins(t), filepath.Join(t.TempDir(), "postern.yaml")
	got := postern(t, nil, "init", "--plugins", dir, "--out", out)
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("init = code %d, stderr %q; want 0 and nothing", got.code, got.stderr)
	}
	golden(t, "init", tame(got.stdout, dir, out))
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "init-file", tame(string(text), dir, out))
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("init wrote with mode %v (%v), want 0600", info.Mode(), err)
	}
	tokens := tokenText.FindAllString(string(text), -1)
	slices.Sort(tokens)
	if len(slices.Compact(slices.Clone(tokens))) != 6 {
		t.Errorf("init wrote the tokens %q, want six that differ", tokens)
	}
	for _, token := range tokens {
		if !strings.Contains(got.stdout, token) {
			t.Error("init does not show the URL that a provider is given")
		}
	}

	cfg, err := config.Load(config.Options{File: out, Environ: secretsSet})
	if err != nil {
		t.Fatalf("Load of what init wrote = %v, want no problems", err)
	}
	if n := len(cfg.Tenants["main"].Endpoints); n != 6 {
		t.Errorf("init wrote %d endpoints, want 6", n)
	}
	environ := append(secretsSet, "POSTERN__PLUGINS__CACHE="+filepath.Join(dir, "cache"))
	// What must be chosen is asked for, and nothing else.
	got = postern(t, environ, "config", "check", out)
	want := "postern: tenants.main.endpoints.wowpe.settings.cipher: is not set; secrets.webhook-secret needs it (one of aes-128-cbc, aes-128-cbc-zero)\n" +
		"postern: tenants.main.endpoints.wowpe.settings.key_form: is not set; secrets.webhook-secret needs it (one of utf8, hex, base64, utf8-16, md5, sha256-16)\n" +
		"postern: " + out + ": 2 problems\n"
	if got.code != exitFailed || got.stderr != want {
		t.Errorf("config check of what init wrote = code %d\n%s\nwant 1 and\n%s", got.code, got.stderr, want)
	}
	got = postern(t, append(environ, settingsChosen...), "config", "check", out)
	if got.code != exitDone || strings.Contains(got.stdout, "warning") {
		t.Errorf("config check of what init wrote, settings chosen = %+v, want code 0 and no warning", got)
	}
}

// tame replaces what differs from run to run.
func tame(text, plugins, out string) string {
	text = strings.NewReplacer(plugins, "PLUGINS", out, "postern.yaml").Replace(text)
	return tokenText.ReplaceAllString(text, "TOKEN")
}

func TestInit_keepsWhatIsThere(t *testing.T) {
	dir, out := plugins(t), filepath.Join(t.TempDir(), "postern.yaml")
	write(t, out, "mine")
	if err := os.Chmod(out, 0o644); err != nil {
		t.Fatal(err)
	}
	got := postern(t, nil, "init", "ottu", "--plugins", dir, "--out", out)
	want := result{exitFailed, "", "postern: " + out + " exists; --force overwrites it, --out names another\n"}
	if got != want {
		t.Errorf("init = %+v, want %+v", got, want)
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q (%v), want it untouched", text, err)
	}

	got = postern(t, nil, "init", "ottu", "--plugins", dir, "--out", out, "--force")
	if got.code != exitDone {
		t.Fatalf("init --force = %+v, want code 0", got)
	}
	var info fs.FileInfo
	info, err := os.Stat(out)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("init --force left the mode %v (%v), want 0600: tokens are in it", info.Mode(), err)
	}
}

func TestInit_unknownProvider(t *testing.T) {
	dir := plugins(t)
	got := postern(t, nil, "init", "otu", "--plugins", dir, "--out", filepath.Join(t.TempDir(), "x"))
	want := result{exitUsage, "", `postern: there is no plugin "otu" in ` + dir + "; there are: ottu, paymentoptions, singleview, wibmo, wibmo-acme, wowpe\n"}
	if got != want {
		t.Errorf("init = %+v, want %+v", got, want)
	}
}

func TestInit_noPlugins(t *testing.T) {
	got := postern(t, nil, "init", "--plugins", "nowhere", "--out", filepath.Join(t.TempDir(), "x"))
	want := result{exitFailed, "", "postern: no plugins in nowhere: build them with \"make plugins\", or name their directory with --plugins\n"}
	if got != want {
		t.Errorf("init = %+v, want %+v", got, want)
	}
}

// A tenant that no configuration may have is refused before anything is
// written.
func TestInit_badTenant(t *testing.T) {
	dir, out := plugins(t), filepath.Join(t.TempDir(), "postern.yaml")
	for _, tenant := range []string{"", "Main", "a b", "-a", "a: b", strings.Repeat("a", 64)} {
		got := postern(t, nil, "init", "ottu", "--plugins", dir, "--out", out, "--tenant", tenant)
		if got.code != exitUsage || !strings.Contains(got.stderr, "is not the form of a name") {
			t.Errorf("init --tenant %q = %+v, want it refused", tenant, got)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("init wrote a file")
	}
}

func TestInit_namedTwice(t *testing.T) {
	out := filepath.Join(t.TempDir(), "postern.yaml")
	if got := postern(t, nil, "init", "wibmo", "ottu", "wibmo", "--plugins", plugins(t), "--out", out); got.code != exitDone {
		t.Fatalf("init = %+v, want code 0", got)
	}
	cfg, err := config.Load(config.Options{File: out, Environ: secretsSet})
	if err != nil || len(cfg.Tenants["main"].Endpoints) != 2 {
		t.Errorf("Load of what init wrote = %+v, %v; want two endpoints", cfg, err)
	}
}
