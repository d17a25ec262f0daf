package wasm

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/meter"
)

// Fuel, in units of about one simple instruction; docs/plugin-abi.md §11.
const (
	defaultFuel    = 2_000_000
	defaultMaxFuel = 10 * defaultFuel
	// fuelForByte is what a call gets on top for each byte of the body.
	fuelForByte = 512
	// startFuel is what start functions, _initialize and postern_abi may burn
	// together: sixty times what Go's runtime does.
	startFuel = 1 << 26
)

// What the host does for a guest is burnt from its fuel: so many units a call, one
// for so many bytes that are moved, and so many for each byte that is hashed, read as
// JSON or a form, or enciphered.
const (
	fuelForCall = 20
	moved       = 16
	hashed      = 2
	read        = 4
	ciphered    = 4
)

// spend burns fuel for work that the host does for the guest. It may trap.
func (c *call) spend(n int) {
	if !c.module.opts.off.charges {
		c.tank.Spend(n)
	}
}

// moves burns fuel for n bytes that are copied or compared.
func (c *call) moves(n int) { c.spend(n / moved) }

// linkMeter offers the import that metered code calls at the end of a slice.
func linkMeter(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(meter.ImportModule)
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
		func(ctx context.Context, m api.Module, _ []uint64) {
			in := callerOf(ctx)
			in.meet(m)
			// To be in Go is to yield: whoever waits for this goroutine to stop, the
			// garbage collector or the scheduler, finds it here. More would be worse,
			// see RATIONALE: Why does a slice not end in Gosched?
			in.tank.Next()
		}), nil, nil).Export(meter.ImportYield)
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("offer the meter: %w", err)
	}
	return nil
}
