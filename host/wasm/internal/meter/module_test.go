package meter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// TestRenumbering calls every function of a module by every way to name one:
// each gives its own number.
func TestRenumbering(t *testing.T) {
	log := slices.Concat(text("env"), text("log"), []byte{0, 1})
	gives := func(n byte) []byte { return body(0, opI32Const, n) }
	indirect := func(table byte) []byte {
		return body(0, opLocalGet, 0, 0x11, 0, table)
	}
	elements := [][]byte{
		{0, opI32Const, 0, opEnd, 1, 1},                   // active: 1 at 0
		{1, 0, 1, 2},                                      // passive
		{2, 0, opI32Const, 1, opEnd, 0, 1, 2},             // active of a table: 2 at 1
		{3, 0, 1, 3},                                      // declarative
		{4, opI32Const, 2, opEnd, 1, opRefFunc, 3, opEnd}, // active, expressions: 3 at 2
		{5, typeFuncref, 2, opRefFunc, 1, opEnd, opRefNull, typeFuncref, opEnd},                          // passive, expressions
		{6, 1, opI32Const, 0, opEnd, typeFuncref, 2, opRefFunc, 3, opEnd, opRefNull, typeFuncref, opEnd}, // of a table: 3 at 0 of 1
		{7, typeFuncref, 1, opRefFunc, 2, opEnd},                                                         // declarative, expressions
	}
	code := assemble(
		vec(secType, typ("", "i"), typ("l", ""), typ("i", "i"), typ("", "")),
		vec(secImport, log),
		vec(secFunction, []byte{0}, []byte{0}, []byte{0}, []byte{2}, []byte{2}, []byte{0}, []byte{3}, []byte{0}),
		vec(secTable, []byte{typeFuncref, 0, 3}, []byte{typeFuncref, 0, 2}),
		vec(secGlobal, []byte{typeFuncref, 0, opRefFunc, 2, opEnd}, []byte{0x7f, 1, opI32Const, 1, opEnd}),
		vec(secExport, export("one", 0, 1), export("two", 0, 2), export("three", 0, 3), export("first", 0, 4), export("second", 0, 5),
			export("both", 0, 6), export("known", 0, 8), export("table", 1, 0), export("log", 0, 0)),
		section(secStart, 7),
		vec(secElement, elements...),
		vec(secCode, gives(11), gives(22), gives(33), indirect(0), indirect(1),
			body(0, opCall, 1, opCall, 2, 0x6a, opCall, 3, 0x6a),
			body(0, opI64Const, 5, opCall, 0),
			body(0, opRefFunc, 2, 0xd1, opGlobalGet, 0, 0xd1, 0x6a)),
		custom("name", slices.Concat(
			[]byte{nameModule, 5}, text("name"),
			[]byte{nameFunctions, 11, 2, 0}, text("log"), []byte{2}, text("two"),
			[]byte{nameLocals, 9, 1, 4, 1, 0}, text("where"[:4]),
			[]byte{9, 1, 0}, // a part that nobody knows
		)...),
		custom("other", 1, 2, 3),
	)
	for engine := range engines {
		g := start(t, engine, code, 1<<20, 0)
		if g.refused != nil {
			t.Fatal(g.refused)
		}
		for call, want := range map[string]uint64{
			"one": 11, "two": 22, "three": 33, "first 0": 11, "first 1": 22, "first 2": 33, "second 0": 33, "both": 66, "known": 0,
		} {
			name, arg, found := strings.Cut(call, " ")
			var args []uint64
			if found {
				args = []uint64{uint64(arg[0] - '0')}
			}
			if got, _, err := g.used(name, args...); err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("%s, %s = %v, err %v; want %d", engine, call, got, err, want)
			}
		}
		if _, _, err := g.used("second", 1); err == nil {
			t.Errorf("%s: a null element was called", engine)
		}
		if !slices.Equal(g.logged, []uint64{5}) {
			t.Errorf("%s: the start function logged %v, want 5 once", engine, g.logged)
		}
		if two := g.ExportedFunction("two").Definition(); two.DebugName() != "name.two" {
			t.Errorf("%s: the function is called %q, want name.two", engine, two.DebugName())
		}
	}
	m, err := Rewrite(code, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(m.Code, text("other")) || !bytes.Contains(m.Code, append([]byte{1, 5, 1, 0}, text("wher")...)) {
		t.Error("want the names of locals, and no other custom section")
	}
}

// TestExports has all mutable globals exported, under names that no export of
// the module has.
func TestExports(t *testing.T) {
	code := assemble(
		vec(secGlobal, []byte{0x7f, 1, opI32Const, 7, opEnd}, []byte{0x7e, 0, opI64Const, 8, opEnd}, []byte{0x7e, 1, opI64Const, 9, opEnd}),
		vec(secExport, export("postern.meter.fuel", 3, 0), export("postern.meter.0", 3, 1), export("postern.meter", 3, 1),
			export("postern.meter...2", 3, 1), export("postern.meter2....", 3, 2)),
	)
	m, err := Rewrite(code, Options{Slice: 77})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"postern.meter....0", "postern.meter....2"}; m.Fuel != "postern.meter....fuel" || !slices.Equal(m.Globals, want) {
		t.Errorf("fuel %q, globals %q; want four dots", m.Fuel, m.Globals)
	}
	g := start(t, "compiler", code, 77, 0)
	if got := []uint64{g.ExportedGlobal(m.Fuel).Get(), g.ExportedGlobal(m.Globals[0]).Get(), g.ExportedGlobal(m.Globals[1]).Get()}; !slices.Equal(got, []uint64{77, 7, 9}) {
		t.Errorf("globals %v, want the fuel and what they begin with", got)
	}
}

func TestRewrite_emptyModule(t *testing.T) {
	if g := start(t, "compiler", []byte(header), 5, 0); g.refused != nil || g.left() != 5 {
		t.Errorf("err %v, want an instance with its fuel", g.refused)
	}
}

// TestRewrite_isPure: the same bytes again, and the module is left alone.
func TestRewrite_isPure(t *testing.T) {
	code := read(t, "bench.wasm")
	kept := slices.Clone(code)
	one, err := Rewrite(code, Options{Slice: 5})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Rewrite(code, Options{Slice: 5})
	if err != nil || !bytes.Equal(one.Code, two.Code) || !bytes.Equal(code, kept) {
		t.Errorf("err %v; want the same bytes twice", err)
	}
}

func instructions(code ...byte) []byte { return one(typ("", ""), body(0, code...)) }

// TestRefused has a module for each class.
func TestRefused(t *testing.T) {
	const i32 = 0x7f
	imports := func(kind ...byte) []byte {
		return assemble(vec(secType, typ("", "")), vec(secImport, slices.Concat(text("env"), text("it"), kind)))
	}
	locals := func(n int) []byte { return one(typ("", ""), body(n)) }
	functions := func(bodies ...[]byte) []byte {
		return assemble(vec(secType, typ("", "")), vec(secFunction, slices.Repeat([][]byte{{0}}, len(bodies))...), vec(secCode, bodies...))
	}
	for name, tt := range map[string]struct {
		code  []byte
		class Class
		what  string
	}{
		"atomic":               {instructions(0xfe, 0x03, 0), Threads, "function 0"},
		"shared memory":        {assemble(vec(secMemory, []byte{3, 1, 1})), Threads, "memory 0"},
		"throw":                {instructions(0x08, 0), Exceptions, "function 0"},
		"try_table":            {instructions(0x1f, emptyBlock, 0), Exceptions, "function 0"},
		"legacy try":           {instructions(0x06, emptyBlock), Exceptions, "function 0"},
		"tag":                  {assemble(section(secTag, 1, 0, 0)), Exceptions, "tag section"},
		"imported tag":         {imports(4, 0, 0), Exceptions, "import 0"},
		"exnref":               {assemble(vec(secType, []byte{0x60, 1, 0x69, 0})), Exceptions, "exnref"},
		"memory of 64 bits":    {assemble(vec(secMemory, []byte{4, 1})), Memory64, "memory 0"},
		"return_call":          {instructions(0x12, 0), TailCalls, "function 0"},
		"return_call_indirect": {instructions(0x13, 0, 0), TailCalls, "function 0"},
		"relaxed":              {instructions(opVector, 0x80, 2), RelaxedSIMD, "function 0"},
		"call_ref":             {instructions(0x14, 0), References, "function 0"},
		"struct.new":           {instructions(0xfb, 0), References, "function 0"},
		"a struct":             {assemble(vec(secType, []byte{0x5f, 0})), References, "type 0"},
		"typed reference":      {assemble(vec(secType, []byte{0x60, 1, 0x64, 0x70, 0})), References, "0x64"},
		"typed table":          {assemble(vec(secTable, []byte{0x40, 0, 0x70, 0, 1})), References, "table 0"},
		"two memories":         {assemble(vec(secMemory, []byte{0, 1}, []byte{0, 1})), SeveralMemories, "memory 1"},
		"load of another":      {instructions(opI32Const, 0, 0x28, 0x42, 1, 0, opDrop), SeveralMemories, "function 0"},
		"imported memory":      {imports(2, 0, 1), ImportedState, "memory"},
		"imported table":       {imports(1, typeFuncref, 0, 1), ImportedState, "table"},
		"imported global":      {imports(3, i32, 0), ImportedState, "global"},
		"import of ours":       {assemble(vec(secType, typ("", "")), vec(secImport, slices.Concat(text(ImportModule), text("x"), []byte{0, 0}))), Reserved, ImportModule},
		"table.set":            {instructions(0x26, 0), TableMutation, "table.set"},
		"table.init":           {instructions(opMisc, 12, 0, 0), TableMutation, "table.init"},
		"elem.drop":            {instructions(opMisc, 13, 0), TableMutation, "elem.drop"},
		"table.copy":           {instructions(opMisc, 14, 0, 0), TableMutation, "table.copy"},
		"table.grow":           {instructions(opMisc, 15, 0), TableMutation, "table.grow"},
		"table.fill":           {instructions(opMisc, 17, 0), TableMutation, "table.fill"},
		"data.drop":            {instructions(opMisc, 9, 0), DroppedData, "data.drop"},
		"funcref global":       {assemble(vec(secGlobal, []byte{typeFuncref, 1, opRefNull, typeFuncref, opEnd})), ReferenceGlobal, "global 0"},
		"vector global":        {assemble(vec(secGlobal, slices.Concat([]byte{typeV128, 1, opVector, vecConst}, make([]byte, 16), []byte{opEnd}))), VectorGlobal, "global 0"},
		"unknown opcode":       {instructions(0x27), Unknown, "0x27"},
		"unknown of 0xfc":      {instructions(opMisc, 18), Unknown, "18"},
		"unknown vector":       {instructions(opVector, 0x9a, 1), Unknown, "0x9a"},
		"other spelling":       {instructions(opVector, 0x8c, 0), Unknown, "0x8c"},
		"component":            {[]byte("\x00asm\x0d\x00\x01\x00"), Unknown, "component"},
		"pages of another":     {assemble(vec(secMemory, []byte{8, 1, 0})), Unknown, "memory 0"},
		"memory":               {assemble(vec(secMemory, append([]byte{0}, uleb(nil, maxPages+1)...))), Oversize, "memory 0"},
		"table":                {assemble(vec(secTable, append([]byte{typeFuncref, 0}, uleb(nil, maxElements+1)...))), Oversize, "table 0"},
		"types":                {assemble(vec(secType, slices.Repeat([][]byte{typ("", "")}, maxTypes+1)...)), Oversize, "type section"},
		"parameters":           {assemble(vec(secType, typ(strings.Repeat("i", maxParams+1), ""))), CompileBomb, "type 0"},
		"locals":               {locals(maxLocals + 1), CompileBomb, "function 0"},
		"nesting":              {instructions(slices.Repeat([]byte{opBlock, emptyBlock}, maxNesting)...), CompileBomb, "function 0"},
		"body":                 {instructions(make([]byte, maxBody)...), CompileBomb, "function 0"},
		"targets in all":       {functions(slices.Repeat([][]byte{body(0, slices.Concat([]byte{opI32Const, 0, opBrTable}, uleb(nil, maxWays-1), make([]byte, maxWays))...)}, 40)...), CompileBomb, "in all"},
		"branches to one":      {instructions(slices.Repeat([]byte{opI32Const, 0, opBrIf, 0}, maxWays+1)...), CompileBomb, "one label"},
		"ifs in ifs":           {instructions(slices.Repeat([]byte{opI32Const, 0, opIf, emptyBlock}, maxIfs+1)...), CompileBomb, "function 0"},
		"else if":              {instructions(slices.Repeat([]byte{opI32Const, 0, opIf, emptyBlock, opElse}, maxIfs+1)...), CompileBomb, "function 0"},
		"loops in loops":       {instructions(slices.Repeat([]byte{opLoop, emptyBlock}, maxLoopsInLoops+1)...), CompileBomb, "function 0"},
		"loops":                {instructions(slices.Repeat([]byte{opLoop, emptyBlock, opI32Const, 0, opBrIf, 0, opEnd}, maxLoops+1)...), CompileBomb, "loops"},
		"flow":                 {one(typ("", ""), body(maxLocals, slices.Repeat([]byte{opI32Const, 0, opBrIf, 0}, 100)...)), CompileBomb, "product"},
		"flow in all":          {functions(slices.Repeat([][]byte{body(maxLocals/2, slices.Repeat([]byte{opI32Const, 0, opBrIf, 0}, 100)...)}, 20)...), CompileBomb, "in all"},
		"mutable globals":      {assemble(vec(secGlobal, slices.Repeat([][]byte{{i32, 1, opI32Const, 0, opEnd}}, maxMutable+1)...)), CompileBomb, "mutable"},
		"locals in all":        {functions(slices.Repeat([][]byte{body(maxLocals)}, maxAllLocals/maxLocals+1)...), CompileBomb, "in all"},
	} {
		m, err := Rewrite(tt.code, Options{})
		var refused *Refused
		if !errors.As(err, &refused) || m != nil {
			t.Errorf("%s: err %v, want a refusal", name, err)
			continue
		}
		if refused.Class != tt.class || !strings.Contains(refused.What, tt.what) || !strings.Contains(err.Error(), string(tt.class)) {
			t.Errorf("%s: %v; want class %s, naming %s", name, err, tt.class, tt.what)
		}
	}
}

// TestMalformed has bytes that no engine takes; those that name something of
// the meter's would be dangerous if they were taken.
func TestMalformed(t *testing.T) {
	for name, code := range map[string][]byte{
		"nothing":               nil,
		"text":                  []byte("(module)"),
		"the fuel is read":      instructions(opGlobalGet, 0, opDrop),
		"the fuel is set":       instructions(opI64Const, 1, opGlobalSet, 0),
		"ours is called":        instructions(opCall, 1),
		"ours is exported":      assemble(vec(secExport, export("x", 0, 0))),
		"the fuel is exported":  assemble(vec(secExport, export("x", 3, 0))),
		"our type is used":      assemble(vec(secFunction, []byte{0}), vec(secCode, body(0))),
		"a block of our type":   instructions(opBlock, 1, opEnd),
		"call_indirect of ours": instructions(opI32Const, 0, 0x11, 1, 0),
		"a local too far":       instructions(opLocalGet, 0, opDrop),
		"a label too far":       instructions(opBr, 1),
		"bytes behind the end":  one(typ("", ""), body(0, opEnd)),
		"no end":                assemble(vec(secType, typ("", "")), vec(secFunction, []byte{0}), vec(secCode, []byte{2, 0, 1})),
		"else without if":       instructions(opElse),
		"sections twice":        assemble(vec(secType), vec(secType)),
		"sections out of order": assemble(vec(secFunction), vec(secType)),
		"count behind the code": assemble(vec(secCode), section(secDataCount, 0)),
		"an unknown section":    assemble(section(14)),
		"an empty section":      assemble(section(secType)),
		"a longer section":      assemble(section(secType, 0, 0)),
		"a section cut short":   assemble([]byte{1, 9, 0}),
		"a huge vector":         assemble(section(secType, 0xff, 0xff, 0xff, 0xff, 0x0f)),
		"33 bits":               assemble(section(secType, 0xff, 0xff, 0xff, 0xff, 0x1f)),
		"a padded number":       assemble(section(secType, 0x80, 0x80, 0x80, 0x80, 0x80, 0)),
		"a constant of 33 bits": instructions(opI32Const, 0xff, 0xff, 0xff, 0xff, 0x0f, opDrop),
		"a constant of 65 bits": instructions(opI64Const, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, opDrop),
		"a body too few":        assemble(vec(secType, typ("", "")), vec(secFunction, []byte{0}), vec(secCode)),
		"a body too many":       assemble(vec(secCode, body(0))),
		"data miscounted":       assemble(vec(secMemory, []byte{0, 1}), section(secDataCount, 1), vec(secData)),
		"init without a count":  instructions(opMisc, 8, 0, 0),
		"names without an end":  assemble(custom("name", nameFunctions, 2, 9, 0)),
		"names twice":           assemble(custom("name"), custom("name")),
	} {
		if m, err := Rewrite(code, Options{}); !errors.Is(err, ErrMalformed) || m != nil {
			t.Errorf("%s: err %v, want %v", name, err, ErrMalformed)
		}
	}
}

// TestRewrite_cutAndChanged: on any bytes there is an answer, and what the
// engine takes metered it took before.
func TestRewrite_cutAndChanged(t *testing.T) {
	code := read(t, "bench.wasm")
	for i := range code {
		if _, err := Rewrite(code[:i], Options{}); err == nil && i != len(header) {
			// Cut behind a section it may still be a module.
			if _, err := compiled(t, code[:i]); err != nil {
				t.Errorf("cut at %d: taken, the engine says %v", i, err)
			}
		}
		changed := slices.Clone(code)
		changed[i] ^= byte(1 << (i % 8))
		_, _ = Rewrite(changed, Options{})
	}
}

func compiled(t *testing.T, code []byte) (wazero.CompiledModule, error) {
	ctx := experimental.WithCompilationWorkers(context.Background(), 1)
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { r.Close(ctx) })
	m, err := r.CompileModule(ctx, code)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	return m, nil
}
