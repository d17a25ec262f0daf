package abi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/meter"
)

// guests are the modules that this repository has: the plugins, where they are
// built, the attacks and the small ones.
func guests(t testing.TB) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, pattern := range []string{"../../../../plugins/dist/*.wasm", "../../testdata/*.wasm", "../../testdata/zoo/*.wasm"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all[file] = code
		}
	}
	if len(all) < 80 {
		t.Fatalf("%d guests found, want at least 80", len(all))
	}
	return all
}

// anything offers whatever is asked for, and notes it.
func anything(seen *[]string) Offer {
	return func(module, name string, got Signature) (Signature, error) {
		*seen = append(*seen, fmt.Sprint(module, ".", name, " ", got))
		return got, nil
	}
}

// outlined is what the engine says of a module, or nil if it does not take it.
func outlined(t testing.TB, r wazero.Runtime, code []byte) (imports []string, faults func() string) {
	t.Helper()
	m, err := r.CompileModule(context.Background(), code)
	if err != nil {
		return nil, nil
	}
	defer func() { _ = m.Close(context.Background()) }()
	imports = []string{}
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		imports = append(imports, fmt.Sprint(module, ".", name, " ", Signature{f.ParamTypes(), f.ResultTypes()}))
	}
	exports, memories := m.ExportedFunctions(), m.ExportedMemories()
	return imports, func() string {
		var b strings.Builder
		for _, name := range []string{ExportInitialize, ExportABI, ExportHandle, ExportSign} {
			f, ok := exports[name]
			if !ok && (name == ExportABI || name == ExportHandle) {
				fmt.Fprintf(&b, "it does not export %s: it is no plugin for the ABI postern1\n", name)
			} else if got := (Signature{}); ok {
				got = Signature{f.ParamTypes(), f.ResultTypes()}
				if !got.Equal(Exports[name]) {
					fmt.Fprintf(&b, "its export %s is %v, must be %v\n", name, got, Exports[name])
				}
			}
		}
		if _, ok := memories[ExportMemory]; !ok || len(memories) != 1 {
			fmt.Fprintf(&b, "it must export one memory, called memory\n")
		}
		return strings.TrimSuffix(b.String(), "\n")
	}
}

// agree compares what is read from the bytes with what the engine says, where the
// meter lets it come that far.
func agree(t testing.TB, r wazero.Runtime, code []byte) (compared bool) {
	t.Helper()
	var seen []string
	err := Check(code, anything(&seen))
	var fault *Fault
	if err != nil && !errors.As(err, &fault) {
		t.Fatalf("Check = %v, which is no fault", err)
	}
	if _, err := meter.Rewrite(code, meter.Options{}); err != nil {
		return false
	}
	if err != nil && fault.Step != Exported {
		t.Fatalf("Check = %s: %v, and the meter takes it", fault.Step, err)
	}
	imports, faults := outlined(t, r, code)
	if imports == nil {
		return false
	}
	if !slices.Equal(seen, imports) {
		t.Errorf("imports:\n%q\nthe engine says:\n%q", seen, imports)
	}
	got := ""
	if err != nil {
		got = err.Error()
	}
	if want := faults(); got != want {
		t.Errorf("Check = %q\nthe engine says %q", got, want)
	}
	return true
}

func engine(t testing.TB) wazero.Runtime {
	t.Helper()
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2)
	r := wazero.NewRuntimeWithConfig(context.Background(), config)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

func TestCheck_asTheEngineSays(t *testing.T) {
	r := engine(t)
	compared := 0
	for file, code := range guests(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if agree(t, r, code) {
				compared++
			}
		})
	}
	if compared < 50 {
		t.Errorf("%d modules were compared, want at least 50", compared)
	}
}

// A module that ends before its last byte is refused for its format wherever that
// is within a section, and by what is missing between two.
func TestCheck_truncated(t *testing.T) {
	code, err := os.ReadFile("../../testdata/zoo/puppet.wasm")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	if err := Check(code, anything(&seen)); err != nil {
		t.Fatalf("Check of the whole = %v", err)
	}
	short := 0
	for n := range len(code) {
		err := Check(code[:n], anything(&seen))
		var fault *Fault
		if !errors.As(err, &fault) {
			// Whole sections are left: what stood in the others is missed by
			// whoever reads them.
			if _, err := meter.Rewrite(code[:n], meter.Options{}); err == nil && n < len(code)-200 {
				t.Errorf("the first %d bytes of %d are taken by the check and the meter", n, len(code))
			}
			continue
		}
		if strings.Contains(err.Error(), "it was cut short, copy or build it again") {
			short++
		}
	}
	if short < len(code)*9/10 {
		t.Errorf("%d of %d are said to be cut short, want nearly all", short, len(code))
	}
}

// FuzzCheck reads the outline of any bytes: it never fails otherwise than with a
// fault, and where the engine takes the module too they agree about it.
func FuzzCheck(f *testing.F) {
	for _, code := range guests(f) {
		if len(code) < 1<<16 {
			f.Add(code)
		} else {
			f.Add(code[:1<<12]) // a plugin's sections up to its code
		}
	}
	r := engine(f)
	f.Fuzz(func(t *testing.T, code []byte) { agree(t, r, code) })
}
