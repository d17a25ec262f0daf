// Package abi compares what a module imports and exports with the ABI postern1
// (docs/plugin-abi.md §1), by its bytes alone: nothing is compiled.
package abi

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/meter"
)

// Module is the import module of the ABI; its number is the major version.
const Module = "postern1"

// Version is what postern_abi returns.
const Version = 1

// The exports of a guest.
const (
	ExportABI        = "postern_abi"
	ExportHandle     = "postern_handle"
	ExportGuard      = "postern_guard"
	ExportSign       = "postern_sign"
	ExportInitialize = "_initialize"
	ExportMemory     = "memory"
)

// Signature is a function's.
type Signature struct{ Params, Results []api.ValueType }

// String is "[i32 i64] -> [i32]".
func (s Signature) String() string { return fmt.Sprintf("%v -> %v", names(s.Params), names(s.Results)) }

func names(types []api.ValueType) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = api.ValueTypeName(t)
	}
	return out
}

// Equal reports whether both are the same.
func (s Signature) Equal(o Signature) bool {
	return slices.Equal(s.Params, o.Params) && slices.Equal(s.Results, o.Results)
}

var answer = []api.ValueType{api.ValueTypeI32}

// Exports are the functions that a guest may export for the host to call.
var Exports = map[string]Signature{
	ExportABI:        {Results: answer},
	ExportHandle:     {Results: answer},
	ExportGuard:      {Results: answer},
	ExportSign:       {Results: answer},
	ExportInitialize: {},
}

// Step is one of those that a module passes before it is served, in their order.
type Step string

// The steps that read a module; the others run it.
const (
	Size     Step = "size"
	Format   Step = "format"
	Exported Step = "ABI"
	Imported Step = "imports"
	Manifest Step = "manifest"
	Metering Step = "metering"
	Goldens  Step = "goldens"
)

// Fault is what keeps a module from passing a step.
type Fault struct {
	Step Step
	Err  error
}

func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the reason.
func (f *Fault) Unwrap() error { return f.Err }

// At is the fault of a step; nil if err is.
func At(s Step, err error) error {
	if err == nil {
		return nil
	}
	return &Fault{s, err}
}

// Offer says which signature a guest must import a function with, or why it
// cannot.
type Offer func(module, name string, got Signature) (want Signature, err error)

// Check looks at a module's form, at names and signatures of all that it exports,
// and then imports. The error is a [*Fault] of the first of these that is wrong,
// and says all that is wrong with exports and imports.
func Check(code []byte, offered Offer) error {
	m, err := meter.Look(code)
	if err != nil {
		return At(stepOf(err), err)
	}
	out, in := checkExports(m), checkImports(m, offered)
	step := Imported
	if len(out) > 0 {
		step = Exported
	}
	return At(step, errors.Join(append(out, in...)...))
}

// Imports are the functions that a module imports, "postern1.read".
func Imports(code []byte) []string {
	m, err := meter.Look(code)
	if err != nil {
		return nil
	}
	var names []string
	for _, i := range m.Imports {
		names = append(names, i.Module+"."+i.Name)
	}
	return names
}

func stepOf(err error) Step {
	var refused *meter.Refused
	switch {
	case !errors.As(err, &refused):
		return Format
	case refused.Class == meter.ImportedState || refused.Class == meter.Reserved:
		return Imported
	}
	return Metering
}

func checkExports(m *meter.Outline) []error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(Exports)) {
		got, ok := m.Exports[name]
		_, guards := m.Exports[ExportGuard]
		switch want := Exports[name]; {
		case !ok && (name == ExportABI || name == ExportHandle && !guards):
			wrong = append(wrong, fmt.Errorf("it does not export %s: it is no plugin for the ABI %s", name, Module))
		case ok && !Signature(got).Equal(want):
			wrong = append(wrong, fmt.Errorf("its export %s is %v, must be %v", name, Signature(got), want))
		}
	}
	if len(m.Memories) != 1 || m.Memories[0] != ExportMemory {
		wrong = append(wrong, fmt.Errorf("it must export one memory, called %s", ExportMemory))
	}
	return wrong
}

// checkImports keeps a host function from looking for arguments that the guest
// never gave.
func checkImports(m *meter.Outline, offered Offer) []error {
	var wrong []error
	for _, i := range m.Imports {
		got := Signature(i.Signature)
		want, err := offered(i.Module, i.Name, got)
		if err == nil && !got.Equal(want) {
			err = fmt.Errorf("its import %s.%s is %v, must be %v", i.Module, i.Name, got, want)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}
