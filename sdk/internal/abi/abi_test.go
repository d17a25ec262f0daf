package abi

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// table is sdk/testdata/abi.json.
type table struct {
	Module    string
	Exports   []function
	Functions []function
	Codes     map[string]int32
	Verdicts  map[string]int32
	Guards    map[string]int32
	Reasons   map[string]int32
	Encodings map[string]int32
	Hashes    map[string]int32
	Views     map[string]int32
	Kinds     map[string]int32
	Fields    map[string]int32
}

type function struct {
	Name    string
	Params  []string
	Results []string
	Served  bool
}

func readTable(t *testing.T) *table {
	t.Helper()
	text, err := os.ReadFile("../../testdata/abi.json")
	if err != nil {
		t.Fatal(err)
	}
	var tab table
	if err := json.Unmarshal(text, &tab); err != nil {
		t.Fatal(err)
	}
	return &tab
}

// saidByTell are the functions of the host that tell calls for this SDK.
var saidByTell = map[string]bool{"event_begin": true, "set": true, "set_i64": true, "map": true}

// TestImports holds the declarations in imports_wasip1.go to the table: a
// wrong one would otherwise show only when a host refuses the module.
func TestImports(t *testing.T) {
	tab := readTable(t)
	got := directives(t, "imports_wasip1.go", "//go:wasmimport "+tab.Module+" ")
	for _, want := range tab.Functions {
		f, declared := got[want.Name]
		delete(got, want.Name)
		if !declared {
			if want.Served && !saidByTell[want.Name] {
				t.Errorf("%s is served and not declared", want.Name)
			}
			continue
		}
		compare(t, want, f)
	}
	for name := range got {
		t.Errorf("%s is declared and not in the table", name)
	}
}

func TestRefused(t *testing.T) {
	for place := range 4096 {
		for code := Invalid; code <= Absent; code++ {
			at, why := Refused(code - Told*int32(place))
			if at != place || why != code {
				t.Fatalf("Refused(%d) = %d, %d, want %d, %d", code-Told*int32(place), at, why, place, code)
			}
		}
	}
}

// TestField has a record where docs/plugin-abi.md §6 has it.
func TestField(t *testing.T) {
	var f Field
	if got := unsafe.Sizeof(f); got != 32 {
		t.Errorf("a record has %d bytes, want 32", got)
	}
	for name, c := range map[string][2]uintptr{
		"Field": {unsafe.Offsetof(f.Field), 0}, "Of": {unsafe.Offsetof(f.Of), 4}, "Text": {unsafe.Offsetof(f.Text), 8}, "Number": {unsafe.Offsetof(f.Number), 24},
	} {
		if c[0] != c[1] {
			t.Errorf("%s stands at %d, want %d", name, c[0], c[1])
		}
	}
}

func TestExports(t *testing.T) {
	got := directives(t, "../../export_wasip1.go", "//go:wasmexport ")
	if names, want := slices.Sorted(maps.Keys(got)), []string{"postern_abi", "postern_guard", "postern_handle", "postern_sign"}; !slices.Equal(names, want) {
		t.Errorf("exports = %v, want %v", names, want)
	}
	for _, want := range readTable(t).Exports {
		if f, declared := got[want.Name]; declared {
			compare(t, want, f)
		}
	}
}

func compare(t *testing.T, want function, got *ast.FuncType) {
	t.Helper()
	if params := wasmTypes(t, got.Params); !slices.Equal(params, want.Params) {
		t.Errorf("%s takes %v, want %v", want.Name, params, want.Params)
	}
	if results := wasmTypes(t, got.Results); !slices.Equal(results, want.Results) {
		t.Errorf("%s gives %v, want %v", want.Name, results, want.Results)
	}
}

// directives returns the functions of a file that carry a directive, by the
// name that follows it.
func directives(t *testing.T, file, directive string) map[string]*ast.FuncType {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*ast.FuncType)
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Doc == nil {
			continue
		}
		for _, line := range f.Doc.List {
			if name, ok := strings.CutPrefix(line.Text, directive); ok {
				found[name] = f.Type
			}
		}
	}
	return found
}

// wasmTypes are the value types that Go's compiler makes of a signature.
func wasmTypes(t *testing.T, list *ast.FieldList) []string {
	t.Helper()
	types := []string{}
	if list == nil {
		return types
	}
	for _, f := range list.List {
		var one []string
		switch x := f.Type.(type) {
		case *ast.Ident:
			one = map[string][]string{"int32": {"i32"}, "int64": {"i64"}, "string": {"i32", "i32"}}[x.Name]
		case *ast.SelectorExpr: // unsafe.Pointer
			one = []string{"i32"}
		}
		if one == nil {
			t.Fatalf("a parameter of type %v cannot cross", f.Type)
		}
		for range max(1, len(f.Names)) {
			types = append(types, one...)
		}
	}
	return types
}

func TestConstants(t *testing.T) {
	tab := readTable(t)
	for _, c := range []struct {
		what      string
		got, want map[string]int32
	}{
		{"codes", map[string]int32{"ABSENT": Absent, "MALFORMED": Malformed, "DENIED": Denied, "UNVERIFIED": Unverified, "LIMIT": Limit, "INVALID": Invalid}, tab.Codes},
		{"verdicts", map[string]int32{"accept": VerdictAccept, "ignore": VerdictIgnore, "respond": VerdictRespond, "reject": VerdictReject}, tab.Verdicts},
		{"guards", map[string]int32{"pass": GuardPass, "hold": GuardHold, "reject": GuardReject}, tab.Guards},
		{"reasons", map[string]int32{"not-verified": ReasonNotVerified, "malformed": ReasonMalformed, "not-understood": ReasonNotUnderstood}, tab.Reasons},
		{"encodings", map[string]int32{"raw": Raw, "hex": Hex, "base64": Base64, "base64url": Base64URL}, tab.Encodings},
		{"hashes", map[string]int32{"sha256": SHA256, "sha512": SHA512, "crc32": CRC32}, tab.Hashes},
		{"views", map[string]int32{"json": ViewJSON, "form": ViewForm}, tab.Views},
		{"kinds", map[string]int32{
			"absent": KindAbsent, "null": KindNull, "boolean": KindBoolean, "number": KindNumber,
			"string": KindString, "array": KindArray, "object": KindObject,
		}, tab.Kinds},
		{"fields", map[string]int32{
			"type": FieldType, "subject": FieldSubject, "time": FieldTime, "key": FieldKey, "status": FieldStatus,
			"provider_status": FieldProviderStatus, "amount": FieldAmount, "currency": FieldCurrency, "minor": FieldMinor,
			"ref_merchant": FieldRefMerchant, "ref_provider": FieldRefProvider, "ref_bank": FieldRefBank,
			"method": FieldMethod, "party": FieldParty, "confirm": FieldConfirm, "sandbox": FieldSandbox,
			"provider_data": FieldProviderData,
		}, tab.Fields},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s = %v, want %v", c.what, c.got, c.want)
		}
	}
}
