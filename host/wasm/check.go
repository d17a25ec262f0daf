package wasm

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// The exports of a guest.
const (
	exportABI        = "postern_abi"
	exportHandle     = "postern_handle"
	exportSign       = "postern_sign"
	exportInitialize = "_initialize"
	exportMemory     = "memory"
)

// abiVersion is what postern_abi returns.
const abiVersion = 1

type signature struct{ params, results []api.ValueType }

func (s signature) String() string {
	return fmt.Sprintf("%v -> %v", names(s.params), names(s.results))
}

func names(types []api.ValueType) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = api.ValueTypeName(t)
	}
	return out
}

func signatureOf(f api.FunctionDefinition) signature {
	return signature{f.ParamTypes(), f.ResultTypes()}
}

func (s signature) equal(o signature) bool {
	return slices.Equal(s.params, o.params) && slices.Equal(s.results, o.results)
}

var (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64

	exports = map[string]signature{
		exportABI:        {results: []api.ValueType{i32}},
		exportHandle:     {results: []api.ValueType{i32}},
		exportSign:       {results: []api.ValueType{i32}},
		exportInitialize: {},
	}
)

// checkModule compares names and signatures of everything the module imports
// and exports with the ABI, and reports all that is wrong.
func checkModule(m wazero.CompiledModule) error {
	var wrong []error
	exported := m.ExportedFunctions()
	for _, name := range slices.Sorted(maps.Keys(exports)) {
		want := exports[name]
		f, ok := exported[name]
		switch {
		case !ok && (name == exportABI || name == exportHandle):
			wrong = append(wrong, fmt.Errorf("it does not export %s: it is no plugin for the ABI %s", name, abiModule))
		case ok && !signatureOf(f).equal(want):
			wrong = append(wrong, fmt.Errorf("its export %s is %v, must be %v", name, signatureOf(f), want))
		}
	}
	if _, ok := m.ExportedMemories()[exportMemory]; !ok || len(m.ExportedMemories()) != 1 {
		wrong = append(wrong, fmt.Errorf("it must export one memory, called %s", exportMemory))
	}
	if len(m.ImportedMemories()) > 0 {
		wrong = append(wrong, errors.New("it imports a memory; a guest owns its memory"))
	}
	for _, f := range m.ImportedFunctions() {
		if err := checkImport(f); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

func checkImport(f api.FunctionDefinition) error {
	module, name, _ := f.Import()
	switch module {
	case wasiModule:
		return checkSignature(f, wasiFor(name, f).signature)
	case abiModule:
	default:
		return fmt.Errorf("it imports %s.%s: only %s and the sealed %s are offered", module, name, abiModule, wasiModule)
	}
	known, ok := functions[name]
	if !ok {
		return fmt.Errorf("it imports %s.%s, which the ABI does not have", module, name)
	}
	if known.call == nil {
		return fmt.Errorf("it imports %s.%s, which this version of Postern does not serve yet", module, name)
	}
	return checkSignature(f, known.signature)
}

// checkSignature keeps a host function from looking for arguments that the
// guest never gave.
func checkSignature(f api.FunctionDefinition, want signature) error {
	if got := signatureOf(f); !got.equal(want) {
		module, name, _ := f.Import()
		return fmt.Errorf("its import %s.%s is %v, must be %v", module, name, got, want)
	}
	return nil
}
