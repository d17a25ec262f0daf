package wasm

import (
	"fmt"
	"os"

	"github.com/postern/postern/host/wasm/internal/manifest"
)

// Manifest is what a module says of itself, readable without running it. Its
// form is docs/plugin-abi.md §2.
type Manifest = manifest.Manifest

// Secret is a secret that a manifest declares.
type Secret = manifest.Secret

// AckDecl is the answer that a manifest says its provider wants to hear.
type AckDecl = manifest.AckDecl

// ReadManifest reads the manifest of a packed module without compiling or
// running it.
func ReadManifest(file string) (*Manifest, error) {
	module, err := os.ReadFile(file) //nolint:gosec // the operator names the plugin
	if err != nil {
		return nil, fmt.Errorf("read plugin: %w", err)
	}
	m, err := manifest.Of(module, serves)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", file, err)
	}
	return m, nil
}

// ParseManifest reads a manifest and reports everything wrong with it.
func ParseManifest(text []byte) (*Manifest, error) { return manifest.Parse(text, serves) }

// serves reports whether this version of Postern has the function.
func serves(name string) bool {
	_, ok := functions[name]
	return ok
}
