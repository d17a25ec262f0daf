// Package proof keeps the modules that proved themselves, as they were metered, so
// that the next start need not ask again.
package proof

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/meter"
)

// Metered is a module as it is compiled.
type Metered struct {
	*meter.Module
	// Proven says that it has proved itself here before.
	Proven bool
	// file is where that is noted; empty for nowhere.
	file string
}

// section is a custom section of a module that is kept: the rest of
// [meter.Module].
const section = "postern.metered"

// In looks for a module in the folder dir of a cache, by its code and by what the
// host offers it. Without an error it is there, and proven. Else what it returns
// is good for [Metered.Keep], once it has a Module; an empty dir keeps nothing. The
// error is [fs.ErrNotExist] if it is not there.
func In(dir string, code []byte, offered string) (*Metered, error) {
	m := &Metered{}
	if dir == "" {
		return m, os.ErrNotExist
	}
	m.file = filepath.Join(dir, key(code, offered)+".wasm")
	kept, err := os.ReadFile(m.file)
	if err != nil {
		return m, err
	}
	about, err := manifest.Section(kept, section)
	if err != nil {
		return m, err
	}
	found := &meter.Module{}
	if err := json.Unmarshal(about, found); err != nil {
		return m, err
	}
	found.Code = kept
	m.Module, m.Proven = found, true
	return m, nil
}

// key names all that a proof is of: the module, the meter, the engine, the kind of
// machine and what the host offers.
func key(code []byte, offered string) string {
	h := sha256.New()
	h.Write(code)
	for _, part := range []string{meter.Version, engine(), runtime.GOOS, runtime.GOARCH, offered} {
		h.Write([]byte("\n" + part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// engine is the version of wazero, as this program was built.
func engine() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				return dep.Version
			}
		}
	}
	return "unknown"
}

// Keep notes that the module has proved itself. What is there is whole or not
// there.
func (m *Metered) Keep() error {
	if m.file == "" {
		return nil
	}
	about, err := json.Marshal(&meter.Module{Fuel: m.Fuel, Globals: m.Globals})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(m.file), "new-")
	if err != nil {
		return err
	}
	_, err = f.Write(manifest.AppendSection(slices.Clip(m.Code), section, about))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), m.file)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
