package meter

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

var errSpent = errors.New("the fuel is spent")

// guest is a metered module in one of the engines, and the host that refills
// its fuel.
type guest struct {
	api.Module
	fuel    string
	slice   int64
	slices  int // that the host still gives
	yields  int
	logged  []uint64 // what the guest gave to env.log
	refused error    // by instantiation
}

var engines = map[string]func() wazero.RuntimeConfig{
	"compiler":    wazero.NewRuntimeConfigCompiler,
	"interpreter": wazero.NewRuntimeConfigInterpreter,
}

// start rewrites a module and instantiates it in an engine. The host gives so
// many slices and panics then.
func start(t testing.TB, engine string, code []byte, size int64, gives int) *guest {
	t.Helper()
	m, err := Rewrite(code, Options{Slice: size})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	original := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	if _, err := original.CompileModule(ctx, code); err != nil {
		t.Fatalf("the test's own module: %v", err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, engines[engine]())
	t.Cleanup(func() { original.Close(ctx); r.Close(ctx) })
	g := &guest{fuel: m.Fuel, slice: size, slices: gives}
	host := func(module, name string, params []api.ValueType, f func(api.Module, []uint64)) {
		_, err := r.NewHostModuleBuilder(module).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(_ context.Context, m api.Module, stack []uint64) { f(m, stack) }), params, nil).Export(name).Instantiate(ctx)
		if err != nil {
			t.Fatal(err)
		}
	}
	host("env", "log", []api.ValueType{api.ValueTypeI64}, func(_ api.Module, stack []uint64) { g.logged = append(g.logged, stack[0]) })
	host(ImportModule, ImportYield, nil, func(in api.Module, _ []uint64) {
		g.yields++
		global := in.ExportedGlobal(g.fuel).(api.MutableGlobal)
		for int64(global.Get()) < 0 {
			if g.slices--; g.slices < 0 {
				panic(errSpent)
			}
			global.Set(uint64(int64(global.Get()) + g.slice))
		}
	})
	g.Module, g.refused = r.InstantiateWithConfig(ctx, m.Code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	return g
}

func (g *guest) set(fuel int64) { g.ExportedGlobal(g.fuel).(api.MutableGlobal).Set(uint64(fuel)) }

func (g *guest) left() int64 { return int64(g.ExportedGlobal(g.fuel).Get()) }

// used calls an export with plenty of fuel and says what it cost.
func (g *guest) used(export string, args ...uint64) (results []uint64, units int64, err error) {
	const plenty = 1 << 50
	g.set(plenty)
	results, err = g.ExportedFunction(export).Call(context.Background(), args...)
	return results, plenty - g.left(), err
}

// TestFuel has what small functions cost: 16 for a call that is entered, one
// for each local and parameter and result, and what they execute.
func TestFuel(t *testing.T) {
	const get, tee, set = opLocalGet, 0x22, 0x21
	many := func(n int, op ...byte) []byte { return slices.Repeat(op, n) }
	for name, tt := range map[string]struct {
		typ    []byte
		locals int
		code   []byte
		arg    uint64
		want   int64
	}{
		"nothing":         {typ("i", ""), 0, nil, 0, 17},
		"locals":          {typ("i", ""), 100, nil, 0, 117},
		"one":             {typ("i", ""), 0, []byte{0x01}, 0, 18},
		"division":        {typ("i", "i"), 0, []byte{get, 0, opI32Const, 3, 0x6e}, 9, 18 + 2 + weightDivide},
		"blocks are free": {typ("i", ""), 0, []byte{opBlock, emptyBlock, opBlock, emptyBlock, opEnd, opEnd}, 0, 17},
		"a long body": {
			typ("i", ""), 0, many(400, 0x01), 0, 17 + 400 + 402/32,
		},
		"what is short is paid before it is known": {
			typ("i", ""), 0, []byte{get, 0, opIf, emptyBlock, 0x01, 0x01, opElse, 0x01, opEnd}, 1, 17 + 2 + 2 + 1,
		},
		"what is long is paid where it is executed": {
			typ("i", ""), 0, slices.Concat([]byte{get, 0, opIf, emptyBlock}, many(17, 0x01), []byte{opElse}, many(18, 0x01), []byte{opEnd}), 1,
			17 + 2 + 17 + 42/32,
		},
		"the other half": {
			typ("i", ""), 0, slices.Concat([]byte{get, 0, opIf, emptyBlock}, many(17, 0x01), []byte{opElse}, many(18, 0x01), []byte{opEnd}), 0,
			17 + 2 + 18 + 42/32,
		},
		"what follows in any case is paid with what leads there": {
			typ("i", ""), 0, slices.Concat([]byte{get, 0, opIf, emptyBlock}, many(17, 0x01), []byte{opEnd}, many(20, 0x01)), 0,
			17 + 2 + 20 + 43/32,
		},
		"what follows a way out is not": {
			typ("i", ""), 0, slices.Concat([]byte{get, 0, opIf, emptyBlock, opReturn, opEnd}, many(20, 0x01)), 1, 17 + 2 + 1,
		},
		"what follows a branch is not": {
			typ("i", ""), 0, slices.Concat([]byte{get, 0, opBrIf, 0}, many(20, 0x01)), 1, 17 + 2,
		},
		"dead code is free": {typ("i", ""), 0, slices.Concat([]byte{opReturn}, many(20, 0x01)), 0, 17 + 1},
		"each pass of a loop": {
			typ("i", ""), 0, []byte{opLoop, emptyBlock, get, 0, opI32Const, 1, 0x6b, tee, 0, opBrIf, 0, opEnd}, 10, 17 + 10*(1+5),
		},
		"no loop": {typ("i", ""), 0, []byte{opLoop, emptyBlock, 0x01, opEnd}, 0, 17 + 1 + 1},
		"fill": {
			typ("i", ""), 0, []byte{opI32Const, 0, opI32Const, 7, get, 0, opMisc, 11, 0}, 1000, 17 + 3 + weightBulk + 1000/8,
		},
		"copy": {
			typ("i", ""), 0, []byte{opI32Const, 0, opI32Const, 8, get, 0, opMisc, 10, 0, 0}, 801, 17 + 3 + weightBulk + 100,
		},
		"grow":       {typ("i", "i"), 0, []byte{get, 0, opMemoryGrow, 0}, 3, 18 + 1 + weightGrow + 3*weightPage},
		"grow a lot": {typ("i", "i"), 0, []byte{get, 0, opMemoryGrow, 0}, 1<<32 - 1, 18 + 1 + weightGrow + (1<<32-1)*weightPage},
		"call itself": {
			typ("i", ""), 0,
			[]byte{get, 0, opIf, emptyBlock, get, 0, opI32Const, 1, 0x6b, opCall, 0, opEnd},
			4,
			5 * (17 + 2 + 3 + weightCall),
		},
		"ref.func":   {typ("i", ""), 0, []byte{opRefFunc, 0, opDrop}, 0, 17 + weightHost + 1},
		"vector":     {typ("i", ""), 0, slices.Concat([]byte{opVector, vecConst}, make([]byte, 16), []byte{opDrop}), 0, 17 + weightVector + 1},
		"set twice":  {typ("i", ""), 1, []byte{opI64Const, 1, set, 1, opI64Const, 2, set, 1}, 0, 18 + 4},
		"br_table":   {typ("i", ""), 0, []byte{opBlock, emptyBlock, get, 0, opBrTable, 1, 0, 0, opEnd}, 0, 17 + 1 + weightTable},
		"way inside": {typ("i", ""), 0, slices.Concat([]byte{opBlock, emptyBlock, get, 0, opBrIf, 0}, many(18, 0x01), []byte{opEnd}, many(20, 0x01)), 1, 17 + 2 + 20 + 48/32},
	} {
		code := one(tt.typ, body(tt.locals, tt.code...))
		for engine := range engines {
			got, err := int64(0), error(nil)
			if _, got, err = start(t, engine, code, 1000, 0).used("run", tt.arg); err != nil {
				t.Errorf("%s, %s: %v", name, engine, err)
			}
			if got != tt.want {
				t.Errorf("%s, %s: %d units, want %d", name, engine, got, tt.want)
			}
		}
	}
}

// TestResults has the benchmarks' work give the same, metered or not, in both
// engines, for the same fuel.
func TestResults(t *testing.T) {
	code := read(t, "bench.wasm")
	for work, n := range map[string]uint64{"loop": 100, "fib": 10, "matrix": 8, "text": 1000, "tree": 3, "branches": 500} {
		ctx := context.Background()
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
		plain, err := r.Instantiate(ctx, code)
		if err != nil {
			t.Fatal(err)
		}
		want, err := plain.ExportedFunction(work).Call(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		r.Close(ctx)
		units := make(map[string]int64)
		for engine := range engines {
			g := start(t, engine, code, 100, 1<<30)
			got, used, err := g.used(work, n)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s, %s: %v, err %v; want %v", work, engine, got, err, want)
			}
			units[engine] = used
			g.set(0)
			if got, err := g.ExportedFunction(work).Call(ctx, n); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s in slices, %s: %v, err %v; want %v", work, engine, got, err, want)
			}
			if most := int(used/100) + 1; g.yields == 0 || g.yields > most {
				t.Errorf("%s, %s: %d yields for %d units, want up to %d", work, engine, g.yields, used, most)
			}
		}
		if units["compiler"] != units["interpreter"] || units["compiler"] == 0 {
			t.Errorf("%s: units %v, want the same in both", work, units)
		}
	}
}

// TestSites counts where code is added: it costs time and bytes.
func TestSites(t *testing.T) {
	for name, tt := range map[string]struct {
		code            []byte
		charges, checks int
	}{
		"a function":          {nil, 1, 1},
		"a loop":              {[]byte{opLoop, emptyBlock, opI32Const, 0, opBrIf, 0, opEnd}, 2, 1},
		"behind a call":       {[]byte{opCall, 0, opLoop, emptyBlock, opI32Const, 0, opBrIf, 0, opEnd}, 2, 2},
		"what is no loop":     {[]byte{opLoop, emptyBlock, opEnd}, 1, 1},
		"behind short halves": {slices.Concat([]byte{opI32Const, 0, opIf, emptyBlock, 0x01, opElse, 0x01, opEnd}, slices.Repeat([]byte{0x01}, 100)), 1, 1},
		"behind a way out":    {slices.Concat([]byte{opI32Const, 0, opIf, emptyBlock, opReturn, opEnd}, slices.Repeat([]byte{0x01}, 100)), 2, 1},
	} {
		m, err := Rewrite(instructions(tt.code...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		// Two functions of ours charge and look too.
		charges, checks := bytes.Count(m.Code, []byte{opI64Sub, opGlobalSet, 0})-2, bytes.Count(m.Code, []byte{opI64LtS, opIf, emptyBlock, opCall, 2, opEnd})-2
		if charges != tt.charges || checks != tt.checks {
			t.Errorf("%s: %d charges and %d checks, want %d and %d", name, charges, checks, tt.charges, tt.checks)
		}
	}
}

// TestFuel_calls: a call of the host costs what it takes, through a table too.
func TestFuel_calls(t *testing.T) {
	for name, tt := range map[string]struct {
		element byte
		want    int64
	}{
		"own":  {1, 16 + 2 + weightHost + 1 + weightIndirect + 1 + 16 + 1},
		"host": {0, 16 + 2 + weightHost + 1 + weightIndirect + weightHost + 1},
	} {
		code := assemble(vec(secType, typ("l", ""), typ("", "")), vec(secImport, slices.Concat(text("env"), text("log"), []byte{0, 0})),
			vec(secFunction, []byte{0}, []byte{1}), vec(secTable, []byte{typeFuncref, 0, 1}), vec(secExport, export("run", 0, 2)),
			vec(secElement, []byte{0, opI32Const, 0, opEnd, 1, tt.element}),
			vec(secCode, body(0), body(0, opI64Const, 1, opCall, 0, opI64Const, 2, opI32Const, 0, 0x11, 0, 0, 0x01)))
		for engine := range engines {
			if _, got, err := start(t, engine, code, 100, 0).used("run"); err != nil || got != tt.want {
				t.Errorf("%s, %s: %d units, err %v; want %d", name, engine, got, err, tt.want)
			}
		}
	}
}

// TestExhaustion has endless work end in the same place in both engines.
func TestExhaustion(t *testing.T) {
	logging := func(types [][]byte, b []byte) []byte {
		return assemble(vec(secType, types...), vec(secImport, slices.Concat(text("env"), text("log"), []byte{0, 1})),
			vec(secFunction, []byte{0}), vec(secMemory, []byte{0, 1}),
			vec(secGlobal, []byte{0x7e, 1, opI64Const, 0, opEnd}),
			vec(secExport, export("run", 0, 1)), vec(secCode, b))
	}
	count := []byte{opGlobalGet, 0, opI64Const, 1, opI64Add, opGlobalSet, 0, opGlobalGet, 0, opCall, 0}
	fill := []byte{opI32Const, 0, opI32Const, 7, opI32Const, 0x80, 0x80, 4, opMisc, 11, 0}
	types := [][]byte{typ("", ""), typ("l", "")}
	for name, code := range map[string][]byte{
		"loop":                             logging(types, body(0, slices.Concat([]byte{opLoop, emptyBlock}, count, []byte{opBr, 0, opEnd})...)),
		"recursion out of what is no loop": logging(types, body(0, slices.Concat([]byte{opLoop, emptyBlock}, count, []byte{opCall, 1, opEnd})...)),
		"recursion before a loop":          logging(types, body(0, slices.Concat(count, []byte{opCall, 1, opLoop, emptyBlock, opBr, 0, opEnd})...)),
		"recursion behind a loop":          logging(types, body(0, slices.Concat([]byte{opLoop, emptyBlock, opI32Const, 0, opBrIf, 0, opEnd}, count, []byte{opCall, 1})...)),
		"recursion":                        logging(types, body(0, append(slices.Clone(count), opCall, 1)...)),
		"tree":                             logging(types, body(0, append(slices.Clone(count), opCall, 1, opCall, 1)...)),
		"fill":                             logging(types, body(0, slices.Concat([]byte{opLoop, emptyBlock}, count, fill, []byte{opBr, 0, opEnd})...)),
	} {
		var want []uint64
		for engine := range engines {
			g := start(t, engine, code, 1000, 20)
			_, err := g.ExportedFunction("run").Call(context.Background())
			if !errors.Is(err, errSpent) {
				t.Errorf("%s, %s: err %v, want %v", name, engine, err, errSpent)
			}
			if g.yields < 3 || len(g.logged) < 3 {
				t.Errorf("%s, %s: %d yields, %d rounds, want some", name, engine, g.yields, len(g.logged))
			}
			if want == nil {
				want = g.logged
			} else if !slices.Equal(g.logged, want) {
				t.Errorf("%s: %d rounds in one engine, %d in the other", name, len(g.logged), len(want))
			}
		}
	}
}

// TestBulk_chargesBeforeItMoves: what cannot be paid is not done.
func TestBulk_chargesBeforeItMoves(t *testing.T) {
	for name, code := range map[string][]byte{
		"fill": {opI32Const, 0, opI32Const, 7, opI32Const, 0x80, 0x80, 4, opMisc, 11, 0},
		"copy": {opI32Const, 0, opI32Const, 0x80, 8, opI32Const, 0x80, 0x80, 3, opMisc, 10, 0, 0},
		"init": {opI32Const, 0, opI32Const, 0, opI32Const, 0x80, 0x20, opMisc, 8, 0, 0},
		"grow": {opI32Const, 2, opMemoryGrow, 0, opDrop},
	} {
		module := assemble(vec(secType, typ("", "")), vec(secFunction, []byte{0}), vec(secMemory, []byte{0, 1}),
			vec(secExport, export("run", 0, 0), export("memory", 2, 0)), section(secDataCount, 2),
			vec(secCode, body(0, code...)),
			vec(secData, slices.Concat([]byte{1}, uleb(nil, 4096), make([]byte, 4096)), []byte{0, opI32Const, 0, opEnd, 1, 42}))
		for engine := range engines {
			g := start(t, engine, module, 300, 0)
			g.set(300)
			_, err := g.ExportedFunction("run").Call(context.Background())
			first, _ := g.ExportedMemory("memory").ReadByte(0)
			if !errors.Is(err, errSpent) || first != 42 || g.ExportedMemory("memory").Size() != 1<<16 {
				t.Errorf("%s, %s: err %v, byte %d, size %d; want %v and memory as it was", name, engine, err, first, g.ExportedMemory("memory").Size(), errSpent)
			}
		}
	}
}

// TestStart_isFuelled: code runs before anybody could set the fuel.
func TestStart_isFuelled(t *testing.T) {
	endless := assemble(vec(secType, typ("", "")), vec(secFunction, []byte{0}, []byte{0}),
		section(secStart, 1), vec(secCode, body(0, opUnreachable), body(0, opLoop, emptyBlock, opBr, 0, opEnd)))
	short := assemble(vec(secType, typ("", "")), vec(secFunction, []byte{0}, []byte{0}),
		section(secStart, 1), vec(secCode, body(0, opUnreachable), body(0, 0x01)))
	for engine := range engines {
		if g := start(t, engine, endless, 1000, 5); !errors.Is(g.refused, errSpent) || g.slices != -1 {
			t.Errorf("endless start, %s: err %v with %d slices left, want %v", engine, g.refused, g.slices, errSpent)
		}
		if g := start(t, engine, short, 1000, 0); g.refused != nil || g.left() != 1000-weightEntry-1 {
			t.Errorf("short start, %s: err %v, want what it did to be paid", engine, g.refused)
		}
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
