package meter

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"golang.org/x/sys/unix"
)

// slice is what the host of the tests refills the fuel with.
const slice = 200_000

// BenchmarkCost runs the same work plain and metered, in turns, and compares
// the time that the thread had: the median of both, and of their ratios.
func BenchmarkCost(b *testing.B) {
	code, err := os.ReadFile("testdata/bench.wasm")
	if err != nil {
		b.Fatal(err)
	}
	for _, work := range []struct {
		name string
		n    uint64
	}{{"loop", 50_000}, {"fib", 18}, {"matrix", 32}, {"text", 50_000}, {"tree", 200}, {"branches", 20_000}} {
		b.Run(work.name, func(b *testing.B) { compare(b, code, work.name, work.n) })
	}
	b.Run("Go with encoding-json", func(b *testing.B) {
		file := filepath.Join(b.TempDir(), "guest.wasm")
		build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "./testdata/guest")
		build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		code, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		compare(b, code, "work", 3)
	})
}

// BenchmarkRewrite is the pass itself over the guests of the plugins, if they
// are built.
func BenchmarkRewrite(b *testing.B) {
	files, err := filepath.Glob("../../../../plugins/dist/*.wasm")
	if err != nil || len(files) == 0 {
		b.Skip("no plugins: make plugins")
	}
	for _, file := range files {
		b.Run(filepath.Base(file), func(b *testing.B) {
			code, err := os.ReadFile(file)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var m *Module
			for b.Loop() {
				if m, err = Rewrite(code, Options{Slice: slice}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(m.Code))/float64(len(code)), "size-ratio")
		})
	}
}

func compare(b *testing.B, code []byte, export string, n uint64) {
	metered, err := Rewrite(code, Options{Slice: slice})
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	in := instantiate(b, metered.Code, metered.Fuel)
	plain, paid := run(b, instantiate(b, code, ""), export, n), run(b, in, export, n)
	plain()
	paid()
	const plenty = 1 << 50
	fuel := in.ExportedGlobal(metered.Fuel).(api.MutableGlobal)
	fuel.Set(plenty)
	paid()
	units := plenty - int64(fuel.Get())
	fuel.Set(slice)
	var plains, paids, ratios []float64
	for b.Loop() {
		p, m := cpu(b, plain), cpu(b, paid)
		plains, paids, ratios = append(plains, p), append(paids, m), append(ratios, m/p)
	}
	median := func(of []float64) float64 {
		slices.Sort(of)
		return of[len(of)/2]
	}
	b.ReportMetric(median(plains), "plain-ns")
	b.ReportMetric(median(paids), "metered-ns")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(paids[0]/plains[0], "ratio-of-best")
	b.ReportMetric(float64(units)/paids[0], "units/ns")
	b.ReportMetric(0, "ns/op")
}

// cpu is how many nanoseconds of the thread a function takes.
func cpu(b *testing.B, f func()) float64 {
	now := func() int64 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			b.Fatal(err)
		}
		return t.Nano()
	}
	start := now()
	f()
	return float64(now() - start)
}

func run(b *testing.B, in api.Module, export string, n uint64) func() {
	f := in.ExportedFunction(export)
	stack := []uint64{0}
	return func() {
		stack[0] = n
		if err := f.CallWithStack(context.Background(), stack); err != nil {
			b.Fatal(err)
		}
	}
}

// instantiate has the host give a slice at each yield, without an end.
func instantiate(b *testing.B, code []byte, fuel string) api.Module {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	b.Cleanup(func() { r.Close(ctx) })
	_, err := r.NewHostModuleBuilder(ImportModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
		func(_ context.Context, m api.Module, _ []uint64) {
			g := m.ExportedGlobal(fuel).(api.MutableGlobal)
			g.Set(g.Get() + slice)
		}), nil, nil).Export(ImportYield).Instantiate(ctx)
	if err != nil {
		b.Fatal(err)
	}
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	in, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		b.Fatal(err)
	}
	return in
}
