package wasm

import (
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/abi"
	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/wasi"
)

// MaxSize is how large a module may be, in bytes: compiling costs about 0.3 s a
// MiB.
const MaxSize = 32 << 20

type signature = abi.Signature

var (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

// Fault is the error of a module that did not pass a step: its size, format, ABI,
// imports, manifest, metering or goldens.
type Fault = abi.Fault

// Inspect checks a module as far as that goes without compiling it and returns
// what it says of itself: its size, its format, what it exports and imports, and
// its manifest, in this order. The error is a [*Fault], and joins what is wrong
// with one step.
func Inspect(code []byte) (*Manifest, error) {
	if len(code) > MaxSize {
		return nil, abi.At(abi.Size, fmt.Errorf("it has %d bytes, the limit is %d: build it smaller, without debugging information", len(code), MaxSize))
	}
	if err := abi.Check(code, offer); err != nil {
		return nil, err
	}
	m, err := manifest.Of(code, serves)
	return m, abi.At(abi.Manifest, err)
}

// Imports are the functions that a module imports, "postern1.read", in its order.
// It is for one that [Inspect] takes; of another there may be none.
func Imports(code []byte) []string { return abi.Imports(code) }

// offer is [abi.Offer]: the functions of the ABI and the sealed ones of WASI.
func offer(module, name string, got signature) (signature, error) {
	switch module {
	case wasi.Module:
		return wasi.For(name, got.Params).Signature, nil
	case abi.Module:
	default:
		return signature{}, fmt.Errorf("it imports %s.%s: only %s and the sealed %s are offered", module, name, abi.Module, wasi.Module)
	}
	known, ok := functions[name]
	if !ok {
		return signature{}, fmt.Errorf("it imports %s.%s, which the ABI does not have", module, name)
	}
	return known.signature, nil
}
