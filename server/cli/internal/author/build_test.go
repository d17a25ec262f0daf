package author

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGo puts a command named go on the PATH, alone; none if script is empty.
func fakeGo(t *testing.T, script string) *Toolchain {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return &Toolchain{Environ: os.Environ(), Errors: &bytes.Buffer{}}
}

func TestBuild_saysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	path, err := New(dir, "acme")
	if err != nil {
		t.Fatal(err)
	}
	gomod := filepath.Join(path, "go.mod")
	for _, tt := range []struct{ about, dir, script, want, shown string }{
		{"no folder", filepath.Join(dir, "none"), "", "there is no plugin.json in it", ""},
		{"no Go", path, "", "go is not on the PATH: a plugin is compiled with Go, see https://go.dev/dl", ""},
		{"an old Go", path, "echo go1.21.3; echo " + gomod, "the Go that is on the PATH is 1.21.3, and " + gomod + " asks for 1.26.0 or newer", ""},
		{"a Go that cannot fetch another", path, "echo go: download go1.26.0: no network >&2; exit 1", "cannot be built with the Go that is on the PATH: go: download go1.26.0: no network", ""},
		{"no module", path, "echo go1.99.0; echo /dev/null/none", "is in no Go module: there is no go.mod in it or above it", ""},
		{
			"no compilation", path,
			"case $1 in env) echo go1.99.0; echo " + gomod + ";; *) printf 'pack: .: go build: exit status 1\\n# acme\\n./provider.go:3:1: no\\nexit status 1\\n' >&2; exit 1;; esac",
			path + " does not compile", "# acme\n./provider.go:3:1: no\n",
		},
		{
			"a manifest", path,
			"case $1 in env) echo go1.99.0; echo " + gomod + ";; *) printf 'pack: .: plugin.json:\\n  version: is missing\\nexit status 1\\n' >&2; exit 1;; esac",
			"build " + path + ": plugin.json:\n  version: is missing", "",
		},
	} {
		t.Run(tt.about, func(t *testing.T) {
			tools := fakeGo(t, tt.script)
			_, err := tools.Build(t.Context(), tt.dir, t.TempDir(), false)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "exit status") {
				t.Errorf("Build: %v, want %q", err, tt.want)
			}
			if shown := tools.Errors.(*bytes.Buffer).String(); shown != tt.shown {
				t.Errorf("Build shows %q, want %q", shown, tt.shown)
			}
		})
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	path, err := New(dir, "acme-2")
	if err != nil || path != filepath.Join(dir, "acme-2") {
		t.Fatalf("New = %s, %v", path, err)
	}
	for _, file := range []string{"go.mod", "provider.go", "plugin.json", "README.md", ".gitignore", "testdata/paid.http", "testdata/paid.golden.json", "sdk/go.mod", "sdk/cmd/pack/main.go"} {
		text, err := os.ReadFile(filepath.Join(path, file))
		if err != nil || bytes.Contains(text, []byte("__")) {
			t.Errorf("%s: %v:\n%s", file, err, text)
		}
	}
	for _, name := range []string{"", "Acme", "-acme", "a/b", "..", "a b", strings.Repeat("a", 64)} {
		if _, err := New(dir, name); err == nil || !strings.Contains(err.Error(), "name the plugin") {
			t.Errorf("New(%q): %v", name, err)
		}
	}
	mine := filepath.Join(dir, "mine", "provider.go")
	if err := put(mine, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir, "mine"); err == nil || !strings.Contains(err.Error(), "exists and is left alone") {
		t.Errorf("New over a folder: %v", err)
	}
	if text, err := os.ReadFile(mine); string(text) != "mine" {
		t.Errorf("New over a folder left %q, %v", text, err)
	}
	if _, err := New(filepath.Join(dir, "none"), "acme"); err == nil {
		t.Error("New where there is no directory: no error")
	}
}
