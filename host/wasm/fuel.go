package wasm

import (
	"context"
	"fmt"
	"runtime"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/meter"
)

// Fuel, in units of about one simple instruction; docs/plugin-abi.md §11.
const (
	defaultFuel    = 2_000_000
	defaultMaxFuel = 10 * defaultFuel
	// fuelForByte is what a call gets on top for each byte of the body.
	fuelForByte = 512
	// startFuel is what start functions and _initialize may burn.
	startFuel = 1 << 30
	// slice is how much a guest burns before it lets Go's scheduler have the
	// thread: at most 100 µs of machine time. Running WebAssembly holds up the
	// garbage collector, and with it everybody.
	slice = 100_000
)

// What the host does for a guest is burnt from its fuel: 20 units a call, one for
// each 16 bytes that are moved, and for each byte that is
const (
	fuelForCall = 20
	moved       = 16
	hashed      = 2
	read        = 4
	ciphered    = 4
)

// spent is the trap of a guest that used up its fuel.
type spent int64

func (s spent) Error() string { return fmt.Sprintf("it spent its fuel of %d units", int64(s)) }

// tank is the fuel of an instance for one call.
type tank struct {
	// gauge is the global that the guest counts down: what is left of its slice,
	// below zero what it owes.
	gauge gauge
	// rest is what it may have beyond the slice, all what it was given.
	rest, all int64
	slice     int64
}

// gauge is a mutable global of a guest.
type gauge interface {
	Get() uint64
	Set(uint64)
}

// unmetered is the gauge of a module that is not metered.
type unmetered uint64

func (c *unmetered) Get() uint64  { return uint64(*c) }
func (c *unmetered) Set(v uint64) { *c = unmetered(v) }

// fill gives n units for a call.
func (t *tank) fill(n int64) {
	first := min(n, t.slice)
	t.all, t.rest = n, n-first
	t.gauge.Set(api.EncodeI64(first))
}

// left is what it has not burnt; below zero if it tried to burn more.
func (t *tank) left() int64 { return t.rest + int64(t.gauge.Get()) } //nolint:gosec // an i64 of the ABI

// used is what it has burnt of what it was given.
func (t *tank) used() int64 { return min(t.all-t.left(), t.all) }

// grant gives n units more.
func (t *tank) grant(n int64) {
	t.all += n
	t.rest += n
}

// next begins the next slice, or is the trap.
func (t *tank) next() {
	left := t.left()
	if left < 0 {
		panic(spent(t.all))
	}
	first := min(left, t.slice)
	t.rest = left - first
	t.gauge.Set(api.EncodeI64(first))
}

// spend burns n units for what the host does.
func (t *tank) spend(n int) {
	left := int64(t.gauge.Get()) - int64(n) //nolint:gosec // an i64 of the ABI
	t.gauge.Set(api.EncodeI64(left))
	if left < 0 {
		t.next()
	}
}

// spend burns fuel for work that the host does for the guest. It may trap.
func (c *call) spend(n int) {
	if !c.module.opts.off.charges {
		c.tank.spend(n)
	}
}

// moves burns fuel for n bytes that are copied or compared.
func (c *call) moves(n int) { c.spend(n / moved) }

// linkMeter offers the import that metered code calls at the end of a slice.
func linkMeter(ctx context.Context, r wazero.Runtime, name string) error {
	b := r.NewHostModuleBuilder(meter.ImportModule)
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
		func(ctx context.Context, m api.Module, _ []uint64) {
			t := &callerOf(ctx).tank
			if t.gauge == nil { // a start function: the instance is not there yet
				t.gauge = m.ExportedGlobal(name).(api.MutableGlobal) //nolint:forcetypeassert // the meter made it one
			}
			t.next()
			runtime.Gosched()
		}), nil, nil).Export(meter.ImportYield)
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("offer the meter: %w", err)
	}
	return nil
}

// budget is what a plugin may burn on a callback.
func (p *Plugin) budget(cb *host.Callback) int64 {
	return p.fuel + fuelForByte*int64(len(cb.Body))
}

// fuelOf is what a call may burn: what the endpoint says, or the manifest, or the
// runtime, within the cap. The error begins with its place.
func (m *Module) fuelOf(endpoint int64) (int64, error) {
	switch {
	case endpoint < 0:
		return 0, fmt.Errorf("fuel: %d is negative", endpoint)
	case endpoint > m.opts.MaxFuel:
		return 0, fmt.Errorf("fuel: %d is above the cap of %d (plugins.max_fuel)", endpoint, m.opts.MaxFuel)
	case endpoint > 0:
		return endpoint, nil
	case m.manifest.Fuel > 0:
		return int64(m.manifest.Fuel), nil //nolint:gosec // Load has compared it with the cap
	}
	return m.opts.Fuel, nil
}
