package meter_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/postern/postern/host/wasm/internal/meter"
)

// plenty is more fuel than any generated module burns.
const plenty = 1 << 50

// FuzzMetered makes a valid module out of its input and runs it as it is and
// metered, in each engine: with enough fuel, results, traps, calls of the host,
// memory and globals are the same, and both engines burn as much, which is no
// less than what was executed; with less it is ended for that, and gives no
// other result before.
func FuzzMetered(f *testing.F) {
	minimizeBriefly(f)
	for seed := range uint64(300) {
		f.Add(randomBytes(seed, 4000))
	}
	hosts := newHosts(f)
	taken := takenNames(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		choices := &generator{data: data}
		slice, share := int64(choices.n(100)), choices.n(256)
		g := generate(choices.data, taken)
		burnt := make(map[string]int64)
		for engine, r := range hosts {
			plain := start(t, r, g, g.code, &tank{})
			m, err := meter.Rewrite(g.code, meter.Options{Slice: slice})
			if err != nil {
				t.Fatalf("%v, want it metered\n%x", err, g.code)
			}
			full := start(t, r, g, m.Code, &tank{names: []string{m.Fuel}, slice: slice, left: plenty})
			compare(t, engine, g, m, plain, full)
			burnt[engine] = plenty - full.tank.left
			if full.mod != nil {
				burnt[engine] += slice - int64(full.tank.fuel(full.mod).Get())
				if least := full.executed(g); burnt[engine] < least {
					t.Errorf("%s: it burns %d, and executes more than %d instructions", engine, burnt[engine], least)
				}
			}
			starve(t, engine, r, g, m, full, slice, burnt[engine], share)
			plain.close(t)
			full.close(t)
		}
		if spread := slices.Compact(slices.Collect(maps.Values(burnt))); len(spread) > 1 {
			t.Errorf("burnt %v, want as much in each engine", burnt)
		}
		if t.Failed() {
			t.Logf("%x", g.code)
		}
	})
}

// minimizeBriefly bounds what the fuzzer tries to make an input shorter. The
// engine's own code, which is not the same twice, counts as covered, so it would
// take the minute that it has by default for each.
func minimizeBriefly(f *testing.F) {
	const name, byDefault = "test.fuzzminimizetime", "1m0s"
	if given := flag.Lookup(name); given != nil && given.Value.String() == byDefault {
		if err := flag.Set(name, "10x"); err != nil {
			f.Fatal(err)
		}
	}
}

func randomBytes(seed uint64, most int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, r.IntN(most))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// newHosts are runtimes with all that modules import, one for each engine.
func newHosts(tb testing.TB) map[string]wazero.Runtime {
	hosts := make(map[string]wazero.Runtime)
	for engine, config := range engines(tb) {
		r := wazero.NewRuntimeWithConfig(context.Background(), config.WithMemoryLimitPages(4))
		tb.Cleanup(func() { r.Close(context.Background()) })
		if err := linkMeter(r); err != nil {
			tb.Fatal(err)
		}
		env := r.NewHostModuleBuilder("env")
		for i, s := range hostFunctions {
			env.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
				k := ctx.Value(tankKey{}).(*tank)
				k.calls = append(k.calls, uint64(i))
				for p, t := range s.params {
					k.calls = append(k.calls, settled(t, stack[p]))
				}
				if len(s.results) > 0 {
					stack[0] = uint64(uint32(len(k.calls)) << 20)
				}
			}), s.params, s.results).Export(fmt.Sprintf("h%d", i))
		}
		if _, err := env.Instantiate(context.Background()); err != nil {
			tb.Fatal(err)
		}
		hosts[engine] = r
	}
	return hosts
}

// takenNames are those that the meter gives to exports: of a guest that has
// them already it must choose others.
func takenNames(tb testing.TB) []string {
	g := generate(nil, nil)
	m, err := meter.Rewrite(g.code, meter.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return append(slices.Clone(m.Globals), m.Fuel)
}

// started is a module that was instantiated and whose functions were called.
type started struct {
	compiled wazero.CompiledModule
	mod      api.Module // nil if it did not start
	tank     *tank
	outcomes []outcome // of the start, and of each function
}

func (s *started) close(t *testing.T) {
	if s.mod != nil {
		if err := s.mod.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if err := s.compiled.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func (s *started) spent() bool {
	return slices.ContainsFunc(s.outcomes, func(o outcome) bool { return strings.Contains(o.err, errSpent.Error()) })
}

// executed is how many instructions it executed at least, by its own count.
func (s *started) executed(g *generated) int64 {
	if g.ticks < 0 {
		return 0
	}
	return tickCost * int64(s.mod.(experimental.InternalModule).Global(g.ticks).Get())
}

// start runs a form of a generated module: its start, and then each of its
// functions twice, unless the fuel is spent before.
func start(t *testing.T, r wazero.Runtime, g *generated, code []byte, k *tank) *started {
	t.Helper()
	ctx := k.context()
	compiled, err := r.CompileModule(ctx, code)
	if err != nil {
		t.Fatalf("compile: %v\n%x\nof\n%x", err, code, g.code)
	}
	s := &started{compiled: compiled, tank: k}
	s.mod, err = r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	s.outcomes = append(s.outcomes, outcomeOf(nil, err, nil))
	if err != nil {
		s.mod = nil
		return s
	}
	for round := range 2 {
		for i := range g.calls {
			s.outcomes = append(s.outcomes, s.call(g, i, uint64(round*len(g.calls)+i)))
			if s.spent() {
				return s
			}
		}
	}
	return s
}

// call calls a function with arguments that the seed chooses.
func (s *started) call(g *generated, i int, seed uint64) outcome {
	sig := g.calls[i]
	args := slots(sig.params)
	in := make([]uint64, len(args))
	for p, t := range args {
		in[p] = argument(t, seed+uint64(p))
	}
	s.mod.ExportedGlobal("steps").(api.MutableGlobal).Set(maxSteps)
	results, err := s.mod.ExportedFunction(fmt.Sprintf("f%d", i)).Call(s.tank.context(), in...)
	return outcomeOf(results, err, sig.results)
}

// argument is a number of any bits, or a reference to nothing.
func argument(t byte, n uint64) uint64 {
	if t == tFunc {
		return 0
	}
	return settled(t, (n+1)*0x9e3779b97f4a7c15)
}

// compare holds a metered run with enough fuel against the run as it is.
func compare(t *testing.T, engine string, g *generated, m *meter.Module, plain, full *started) {
	t.Helper()
	if !slices.EqualFunc(full.outcomes, plain.outcomes, outcome.equal) {
		t.Errorf("%s: metered %v, want %v", engine, full.outcomes, plain.outcomes)
	}
	if !slices.Equal(full.tank.calls, plain.tank.calls) {
		t.Errorf("%s: metered it calls the host with %#x, want %#x", engine, full.tank.calls, plain.tank.calls)
	}
	if plain.mod == nil || full.mod == nil {
		return
	}
	if d := differ(plain.mod, full.mod); d != "" {
		t.Errorf("%s: metered it ends with %s", engine, d)
	}
	if len(m.Globals) != len(g.mutable) {
		t.Fatalf("%d names of globals, want %d", len(m.Globals), len(g.mutable))
	}
	for i, name := range m.Globals {
		got, ok := full.mod.ExportedGlobal(name).(api.MutableGlobal)
		want := plain.mod.(experimental.InternalModule).Global(g.mutable[i])
		if !ok || got.Type() != want.Type() || settled(got.Type(), got.Get()) != settled(want.Type(), want.Get()) {
			t.Errorf("%s: the global %s is %v, want %v", engine, name, got, want)
		}
	}
}

// starve runs a module with less fuel than it burns. Behind the last place where
// the fuel is looked at, it may end as if it had enough, and owes the rest.
func starve(t *testing.T, engine string, r wazero.Runtime, g *generated, m *meter.Module, full *started, slice, burnt int64, share int) {
	t.Helper()
	if burnt <= slice || full.mod == nil {
		return
	}
	lacking := 1 + (burnt-slice-1)*int64(share)/256
	few := start(t, r, g, m.Code, &tank{names: []string{m.Fuel}, slice: slice, left: burnt - slice - lacking})
	defer few.close(t)
	last := len(few.outcomes)
	if few.spent() {
		last--
	}
	if !slices.EqualFunc(few.outcomes[:last], full.outcomes[:last], outcome.equal) {
		t.Errorf("%s: lacking %d of %d: %v, want the fuel spent during %v", engine, lacking, burnt, few.outcomes, full.outcomes)
	}
	if few.spent() {
		return
	}
	if got := few.tank.left + int64(few.tank.fuel(few.mod).Get()); got != -lacking {
		t.Errorf("%s: lacking %d of %d it ends with %d", engine, lacking, burnt, got)
	}
	few.tank.left = 0
	for i := range g.calls {
		if o := few.call(g, i, 0); o.err == "" {
			t.Errorf("%s: function %d = %v without fuel", engine, i, o)
		}
	}
}

// FuzzRewrite gives the meter bytes that are a module or nearly one. It takes
// memory in proportion, and says what it refuses; what it takes, and was valid,
// is valid afterwards.
func FuzzRewrite(f *testing.F) {
	minimizeBriefly(f)
	for _, code := range smallModules(f) {
		f.Add(code)
	}
	for seed := range uint64(50) {
		f.Add(generate(randomBytes(seed, 3000), nil).code)
	}
	for section := range byte(13) { // with so many entries that they cannot be there
		f.Add([]byte{0, 'a', 's', 'm', 1, 0, 0, 0, section, 7, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0})
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	f.Cleanup(func() { r.Close(ctx) })
	f.Fuzz(func(t *testing.T, code []byte) {
		before := allocated()
		m, err := meter.Rewrite(code, meter.Options{Slice: 1})
		if grown, most := allocated()-before, 1<<20+100*uint64(len(code)); grown > most {
			t.Errorf("%d bytes took %d of memory, want at most %d", len(code), grown, most)
		}
		var refused *meter.Refused
		if err != nil && !errors.Is(err, meter.ErrMalformed) && (!errors.As(err, &refused) || !slices.Contains(classes, refused.Class)) {
			t.Fatalf("an error of no known kind: %v", err)
		}
		if err != nil {
			return // and not for the engine: what it allocates, the counts in the module say
		}
		original, err := r.CompileModule(ctx, code)
		if err != nil {
			return
		}
		defer original.Close(ctx)
		metered, err := r.CompileModule(ctx, m.Code)
		if err != nil {
			t.Fatalf("metered it is invalid: %v\n%x", err, code)
		}
		metered.Close(ctx)
	})
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// smallModules are real ones: of the host's tests, and of each spec test the
// first that is small.
func smallModules(f *testing.F) [][]byte {
	files, err := filepath.Glob("../../testdata/*.wasm")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d modules, err %v", len(files), err)
	}
	spec, err := filepath.Glob(filepath.Join(specDir(f), "v2", "testdata", "*.0.wasm"))
	if err != nil || len(spec) == 0 {
		f.Fatalf("%d modules of the spec tests, err %v", len(spec), err)
	}
	var all [][]byte
	for _, file := range append(files, spec...) {
		code, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(code) < 4096 {
			all = append(all, code)
		}
	}
	return all
}
