// Package proof keeps the modules that proved themselves, as they were metered, so
// that the next start need not ask again.
package proof

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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

// section is the last section of a module that is kept: about it.
const section = "postern.metered"

// about is the rest of [meter.Module], and the SHA-256 of the code before it.
type about struct {
	Fuel    string   `json:"fuel"`
	Globals []string `json:"globals"`
	Sum     string   `json:"sum"`
}

var errDamaged = errors.New("it is damaged")

// In looks for a module in dir, a directory for it alone (see [Key]). Without an
// error it is there, and proven. Else what it returns is good for [Metered.Keep],
// once it has a Module; an empty dir keeps nothing. The error is [fs.ErrNotExist]
// if it is not there.
func In(dir string) (*Metered, error) {
	m := &Metered{}
	if dir == "" {
		return m, os.ErrNotExist
	}
	m.file = filepath.Join(dir, "metered.wasm")
	kept, err := os.ReadFile(m.file)
	if err != nil {
		return m, err
	}
	if m.Module, err = parse(kept); err != nil {
		return m, fmt.Errorf("%s: %w", m.file, err)
	}
	m.Proven = true
	return m, nil
}

func parse(kept []byte) (*meter.Module, error) {
	text, err := manifest.Section(kept, section)
	if err != nil {
		return nil, err
	}
	code, last := bytes.CutSuffix(kept, manifest.AppendSection(nil, section, text))
	var a about
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(code); !last || a.Sum != hex.EncodeToString(sum[:]) {
		return nil, errDamaged
	}
	return &meter.Module{Code: code, Fuel: a.Fuel, Globals: a.Globals}, nil
}

// Key names all that a proof is of, and what is compiled depends on: the module,
// the meter, the engine, the kind of machine and what the host offers.
func Key(code []byte, offered string) string {
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
	sum := sha256.Sum256(m.Code)
	text, err := json.Marshal(about{m.Fuel, m.Globals, hex.EncodeToString(sum[:])})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(m.file), "new-")
	if err != nil {
		return err
	}
	_, err = f.Write(manifest.AppendSection(slices.Clip(m.Code), section, text))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), m.file)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
