package meter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/postern/postern/host/wasm/internal/meter"
)

// engines are those that this machine has.
func engines(tb testing.TB) map[string]wazero.RuntimeConfig {
	all := map[string]wazero.RuntimeConfig{"interpreter": wazero.NewRuntimeConfigInterpreter()}
	if runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64" {
		all["compiler"] = wazero.NewRuntimeConfigCompiler()
	} else {
		tb.Logf("wazero has no compiler for %s: only its interpreter is tested", runtime.GOARCH)
	}
	for name, c := range all {
		all[name] = c.WithCoreFeatures(api.CoreFeaturesV2)
	}
	return all
}

// errSpent ends a call whose tank is empty.
var errSpent = errors.New("the fuel is spent")

// tank is what the host holds of the fuel of metered modules. It travels in
// the context of their calls.
type tank struct {
	names  []string // of their fuel globals
	slice  int64    // what one yield gives
	left   int64    // what the yields to come may give
	yields int
	calls  []uint64 // of the host functions that generated modules have
}

type tankKey struct{}

func (k *tank) context() context.Context {
	return context.WithValue(context.Background(), tankKey{}, k)
}

// fuel is the fuel global of an instance.
func (k *tank) fuel(mod api.Module) api.MutableGlobal {
	for _, name := range k.names {
		if g, ok := mod.ExportedGlobal(name).(api.MutableGlobal); ok {
			return g
		}
	}
	return nil
}

// yield gives the next slice, and more if the guest owes more: what a run burns
// is then exactly what it needs to be given.
func (k *tank) yield(mod api.Module) {
	k.yields++
	fuel := k.fuel(mod)
	now := int64(fuel.Get())
	give := min(max(k.slice, -now), k.left)
	if now >= 0 || now+give < 0 {
		panic(errSpent)
	}
	k.left -= give
	fuel.Set(uint64(now + give))
}

// linkMeter gives a runtime what metered modules import.
func linkMeter(r wazero.Runtime) error {
	_, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, _ []uint64) {
			ctx.Value(tankKey{}).(*tank).yield(mod)
		}), nil, nil).Export(meter.ImportYield).Instantiate(context.Background())
	return err
}

// outcome is what became of a call.
type outcome struct {
	results []uint64
	err     string
}

// startName is how an error names the start function.
var startName = regexp.MustCompile(`^start .* failed:`)

// outcomeOf keeps of an error its kind: the trace below it has indices, which
// metering moves.
func outcomeOf(results []uint64, err error, types []api.ValueType) outcome {
	if err != nil {
		kind, _, _ := strings.Cut(err.Error(), "\n")
		return outcome{err: startName.ReplaceAllString(kind, "start:")}
	}
	all := make([]uint64, len(results))
	for i, t := range slots(types) {
		all[i] = settled(t, results[i])
	}
	return outcome{results: all}
}

func (o outcome) equal(p outcome) bool { return o.err == p.err && slices.Equal(o.results, p.results) }

func (o outcome) String() string {
	if o.err != "" {
		return o.err
	}
	return fmt.Sprintf("%#x", o.results)
}

// memoryOf is the linear memory of an instance, nil if it has none.
func memoryOf(mod api.Module) []byte {
	m := mod.Memory()
	if m == nil || reflect.ValueOf(m).IsNil() {
		return nil
	}
	all, _ := m.Read(0, m.Size())
	return all
}

// differ says where the state of a metered instance is not that of the
// original's; empty if it is the same.
func differ(plain, metered api.Module) string {
	if p, m := memoryOf(plain), memoryOf(metered); len(p) != len(m) {
		return fmt.Sprintf("a memory of %d bytes, want %d", len(m), len(p))
	} else if !bytes.Equal(p, m) {
		for i := range p {
			if p[i] != m[i] {
				return fmt.Sprintf("the memory has %#x at %#x, want %#x", m[i], i, p[i])
			}
		}
	}
	p, m := plain.(experimental.InternalModule), metered.(experimental.InternalModule)
	if p.NumGlobal() > m.NumGlobal() {
		return fmt.Sprintf("%d globals, want %d", m.NumGlobal(), p.NumGlobal())
	}
	for i := range p.NumGlobal() {
		want, got := p.Global(i), m.Global(i)
		if got.Type() != want.Type() {
			return fmt.Sprintf("global %d is %v, want %v", i, got, want)
		}
		if w, g := settled(want.Type(), want.Get()), settled(got.Type(), got.Get()); w != g {
			return fmt.Sprintf("global %d = %#x, want %#x", i, g, w)
		}
	}
	return ""
}
