package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInvariant8_nothingPrintsASecret tries what a careless line would.
func TestInvariant8_nothingPrintsASecret(t *testing.T) {
	t.Parallel()
	const planted = "planted-secret-0123"
	cfg := mustLoad(t, "tenants: {t: {endpoints: {e: {plugin: p, token: "+planted+", secrets: {k: ["+planted+", "+planted+"]}}}}}")
	s := cfg.Tenants["t"].Endpoints["e"].Token[0]
	if s.Reveal() != planted {
		t.Fatalf("Reveal = %q", s.Reveal())
	}
	hidden := struct{ inner Secret }{s}
	for _, v := range []any{s, &s, []Secret{s}, map[string]Secret{"k": s}, hidden, &hidden, *cfg, cfg} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v"} {
			refuse(t, verb, fmt.Sprintf(verb, v), planted)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		refuse(t, "json", string(b), planted)
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v, slog.Group("g", "v", v))
		refuse(t, "slog", out.String(), planted)
		refuse(t, "error", fmt.Errorf("load %v: %w", v, os.ErrNotExist).Error(), planted)
	}
	if b, err := json.Marshal(s); string(b) != `"***"` || err != nil {
		t.Errorf("Marshal = %s, %v", b, err)
	}
	if got := fmt.Sprintf("%v %+v %#v %s", s, s, s, s.LogValue()); got != "*** *** *** ***" {
		t.Errorf("Sprintf = %s", got)
	}
	for _, w := range cfg.Warnings() {
		refuse(t, "a warning", w, planted)
	}
}

func refuse(t *testing.T, how, got, planted string) {
	t.Helper()
	for _, form := range []string{planted, fmt.Sprintf("%x", planted), fmt.Sprintf("%X", planted), fmt.Sprintf("%d", []byte(planted))} {
		if strings.Contains(got, form) {
			t.Errorf("%s prints the secret: %s", how, got)
		}
	}
}

func TestSecret_zero(t *testing.T) {
	t.Parallel()
	var s Secret
	if s.Reveal() != "" || s.String() != "***" || !s.Equal(NewSecret("")) || s.Equal(NewSecret("x")) {
		t.Errorf("zero Secret: %q %s", s.Reveal(), s)
	}
}

func TestLoad_secretFromFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rows := []struct{ content, want string }{
		{"key\n", "key"},
		{"key\r\n", "key"},
		{"key", "key"},
		{" two words \n\n", " two words \n"},
	}
	for i, r := range rows {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(r.content), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := mustLoad(t, strings.Replace(inEndpoint, "%", "secrets: {k: 'file:"+path+"'}", 1))
		if got := cfg.Tenants["t"].Endpoints["e"].Secrets["k"][0].Reveal(); got != r.want {
			t.Errorf("secret of file %q = %q, want %q", r.content, got, r.want)
		}
	}
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, bytes.Repeat([]byte("x"), maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	got := mustFail(t, strings.Replace(inEndpoint, "%", "secrets: {k: 'file:"+huge+"'}", 1))
	if !strings.Contains(got, "is larger than a secret can be") {
		t.Errorf("error = %s", got)
	}
	if got := mustFail(t, strings.Replace(inEndpoint, "%", "secrets: {k: 'file:"+dir+"'}", 1)); !strings.Contains(got, "cannot be read") {
		t.Errorf("error = %s", got)
	}
}

func TestWarnings_readableFileWithSecrets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.yaml")
	for mode, want := range map[os.FileMode]bool{0o644: true, 0o640: true, 0o600: false} {
		if err := os.WriteFile(path, Demo(), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(Options{File: path, Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Contains(strings.Join(cfg.Warnings(), "\n"), fmt.Sprintf("its mode is %04o", mode))
		if got != want {
			t.Errorf("mode %o: warned %t, want %t", mode, got, want)
		}
	}
}

// What "postern init" writes is in order where it writes it; a provider's
// secret never is.
func TestWarnings_plainToken(t *testing.T) {
	t.Parallel()
	const token, secret = "tenants.t.endpoints.e.token: is written", "tenants.t.endpoints.e.secrets.token: is written"
	text := []byte("tenants: {t: {endpoints: {e: {plugin: p, token: 0123456789abcdef, secrets: {token: value:x}}}}}\n")
	path := filepath.Join(t.TempDir(), "postern.yaml")
	for _, tt := range []struct {
		name string
		mode os.FileMode
		o    Options
		want bool
	}{
		{"the owner's alone", 0o600, Options{File: path}, false},
		{"the owner may only read", 0o400, Options{File: path}, false},
		{"the group may read", 0o640, Options{File: path}, true},
		{"no file", 0o600, Options{File: path, Text: text}, true},
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		tt.o.Environ = []string{}
		cfg, err := Load(tt.o)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		all := strings.Join(cfg.Warnings(), "\n")
		if got := strings.Contains(all, token); got != tt.want {
			t.Errorf("%s: warned of the token %t, want %t", tt.name, got, tt.want)
		}
		if !strings.Contains(all, secret) {
			t.Errorf("%s: no warning of the secret in\n%s", tt.name, all)
		}
	}
}
