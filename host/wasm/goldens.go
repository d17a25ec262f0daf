package wasm

import (
	"fmt"
	"os"

	"github.com/postern/postern/host/wasm/internal/golden"
)

// Golden is a callback that a module carries, and what the plugin must make of
// it; docs/goldens.md.
type Golden = golden.Golden

// ReadGoldens reads the goldens of a packed module, sorted by name, without
// compiling or running it. One without any has none.
func ReadGoldens(file string) ([]Golden, error) {
	module, err := os.ReadFile(file) //nolint:gosec // the operator names the plugin
	if err != nil {
		return nil, fmt.Errorf("read plugin: %w", err)
	}
	goldens, err := Goldens(module)
	if err != nil {
		return nil, fmt.Errorf("plugin %s: %w", file, err)
	}
	return goldens, nil
}

// Goldens is [ReadGoldens] of a module that has been read.
func Goldens(code []byte) ([]Golden, error) { return golden.Of(code) }
