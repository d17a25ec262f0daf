package server

import (
	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/shelf"
	"github.com/postern/postern/host/wasm"
)

// OpenShelf opens the plugins' directory that the configuration names.
func OpenShelf(c *config.Plugins) (*shelf.Shelf, error) {
	return shelf.Open(shelf.Options{
		Dir: c.Path, Keys: c.Keys, RequireSignature: c.RequireSignature, MaxSize: wasm.MaxSize,
		Inspect: func(code []byte) (name, version string, err error) {
			m, err := wasm.Inspect(code)
			if err != nil {
				return "", "", err
			}
			return m.Name, m.Version, nil
		},
	})
}

// ReadPlugin finds the version that an endpoint's plugin stands for, and verifies
// it. The error is [fs.ErrNotExist] if the shelf has none.
func ReadPlugin(c *config.Plugins, plugin string) (*shelf.Plugin, error) {
	s, err := OpenShelf(c)
	if err != nil {
		return nil, err
	}
	ref, err := host.ParseRef(plugin)
	if err != nil {
		return nil, err
	}
	return s.Read(ref)
}
