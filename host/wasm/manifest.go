package wasm

import "github.com/postern/postern/host/wasm/internal/manifest"

// Manifest is what a module says of itself, readable without running it. Its
// form is docs/plugin-abi.md §2.
type Manifest = manifest.Manifest

// Secret is a secret that a manifest declares.
type Secret = manifest.Secret

// AckDecl is the answer that a manifest says its provider wants to hear.
type AckDecl = manifest.AckDecl

// serves reports whether this version of Postern has the function.
func serves(name string) bool {
	_, ok := functions[name]
	return ok
}
