package wasm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/postern/postern/host/wasm/internal/golden"
	about "github.com/postern/postern/host/wasm/internal/manifest"
)

// FuzzModule reads the sections of any bytes, and any bytes as a manifest and as
// goldens: what an operator's file says is read before any of it is run.
func FuzzModule(f *testing.F) {
	const header = "\x00asm\x01\x00\x00\x00"
	const carried = `[{"name":"g","http":"UE9TVCAvIEhUVFAvMS4xCgo=","golden":{"about":"a","received":"2026-01-02T03:04:05Z",
		"public_url":"https://x.example","secrets":{"k":["v"]},"settings":{"zone":"+05:30"},"unverified":true,"expect":{"verdict":"accept"}}}]`
	seeds := []string{"", header, header + "\x00\xff\xff\xff\xff\x0f", chosen, tokenManifest, zooManifest, puppetManifest, carried, "[]", "{}"}
	files, err := filepath.Glob("../../plugins/*/plugin.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, string(text))
	}
	for _, s := range seeds {
		f.Add([]byte(s))
		f.Add([]byte(header + string(section(about.ManifestSection, s)) + string(section(about.GoldensSection, carried))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{about.ManifestSection, about.GoldensSection} {
			if contents, err := about.Section(b, name); err == nil && !bytes.Contains(b, contents) {
				t.Errorf("section %s has bytes that the module has not", name)
			}
			whole := append([]byte(header), section(name, string(b))...)
			if contents, err := about.Section(whole, name); err != nil || !bytes.Equal(contents, b) {
				t.Errorf("section %s = %q, %v; want %q", name, contents, err, b)
			}
		}
		if m, err := about.Of(b, serves); err == nil {
			readable(t, m)
		}
		if m, err := about.Parse(b, serves); err == nil {
			readable(t, m)
		}
		goldens, err := golden.Of(append([]byte(header), section(about.GoldensSection, string(b))...))
		for i := range goldens {
			g := &goldens[i]
			if cb, wrong := g.Callback(); err != nil || (wrong == nil) != (cb != nil) || !utf8.ValidString(g.Name+g.About+g.PublicURL+g.Verdict) {
				t.Errorf("golden %+v is taken (%v): %+v, %v", g, err, cb, wrong)
			}
		}
	})
}

// readable asks a manifest everything that is asked before a plugin runs.
func readable(t *testing.T, m *Manifest) {
	t.Helper()
	if m.Name == "" || m.Version == "" || !utf8.ValidString(m.Name+m.Version+m.Summary) {
		t.Errorf("manifest %q %q is taken", m.Name, m.Version)
	}
	module := &Module{manifest: m}
	// An endpoint with nothing set binds, or says what it lacks.
	if p, err := module.Bind(Binding{}); err == nil {
		p.Tokens()
	}
	for _, name := range m.Calibrate {
		if len(m.Choices(name)) == 0 {
			t.Errorf("calibrate has %q, which has no choices", name)
		}
	}
}
