package wasm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/abi"
	"github.com/postern/postern/host/wasm/internal/codec"
	"github.com/postern/postern/host/wasm/internal/fuel"
	"github.com/postern/postern/host/wasm/internal/pristine"
)

// instance is one running module. One call at a time owns it. It is the
// context of its calls, so that a host function finds it without allocating.
type instance struct {
	context.Context
	module *Module
	guest  guest
	tank   fuel.Tank
	api    api.Module
	memory *pristine.Memory // nil where it is wazero's own
	// globals are all that the guest can change, but for its fuel.
	globals []fuel.Gauge
	handle  api.Function
	sign    api.Function
	stack   [1]uint64
}

// Value finds the instance itself.
func (in *instance) Value(key any) any {
	if key == (instanceKey{}) {
		return in
	}
	return in.Context.Value(key)
}

// instantiate starts an instance. The first one of a module runs its start
// function and _initialize and is asked for the ABI that it speaks; the others
// take over what that one came to hold.
func (m *Module) instantiate(ctx context.Context) (*instance, error) {
	in := &instance{Context: context.Background(), module: m}
	in.guest.call = newCall(m, &in.tank)
	in.tank.Slice = m.slice()
	in.tank.Begin(startFuel)
	err := in.start()
	if err == nil && m.state == nil {
		err = in.begin()
	} else if err == nil {
		err = in.adopt()
	}
	if err != nil {
		err = in.trap(err)
		in.close(ctx)
		return nil, host.Errorf(host.PluginFailed, "start an instance: %w", err)
	}
	in.find()
	return in, nil
}

// start has wazero make the instance.
func (in *instance) start() error {
	m, ctx := in.module, context.Context(in)
	if m.finder != nil {
		var err error
		if in.memory, err = m.finder.Reserve(m.pages()); err != nil {
			return err
		}
		ctx = experimental.WithMemoryAllocator(in, in.memory)
	}
	in.tank.Yield = in.memory.Unwatch // see RATIONALE: Why is only a short call kept on its thread?
	var err error
	in.api, err = m.runtime.InstantiateModule(ctx, m.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return err
	}
	in.guest.memory, in.tank.Gauge = in.api.Memory(), in.global(in.api, m.metered.Fuel)
	for _, name := range m.metered.Globals {
		in.globals = append(in.globals, in.global(in.api, name))
	}
	return nil
}

// pages is the most memory that an instance may have, in pages of 64 KiB.
func (m *Module) pages() uint32 { return cmp.Or(m.manifest.MemoryPages, m.opts.MemoryPages) }

func (m *Module) slice() int64 {
	if m.opts.off.slices {
		return 1 << 62
	}
	return fuel.Slice
}

func (in *instance) global(of api.Module, name string) fuel.Gauge {
	if in.module.opts.off.metering {
		return new(fuel.Unmetered)
	}
	return of.ExportedGlobal(name).(api.MutableGlobal) //nolint:forcetypeassert // the meter made it one
}

// meet learns of what the guest calls from. A start function does so before the
// engine has given the instance out.
func (in *instance) meet(from api.Module) {
	if in.guest.memory == nil {
		in.guest.memory, in.tank.Gauge = from.Memory(), in.global(from, in.module.metered.Fuel)
	}
}

// called begins a call from the guest into the host.
func (in *instance) called(from api.Module, stack []uint64) *guest {
	in.meet(from)
	in.guest.stack = stack
	in.guest.spend(fuelForCall)
	return &in.guest
}

// wasmPage is what linear memory is counted in, in bytes.
const wasmPage = 64 << 10

// adopt takes over the state of the module.
func (in *instance) adopt() error {
	memory, size := in.api.Memory(), in.module.state.memory.Size()
	if _, grown := memory.Grow(uint32((size - uint64(memory.Size())) / wasmPage)); !grown { //nolint:gosec // below 4 GiB
		return fmt.Errorf("its memory cannot grow to the %d bytes it had after the start", size)
	}
	if err := in.memory.Adopt(in.module.state.memory); err != nil {
		return err
	}
	in.restoreGlobals()
	return nil
}

func (in *instance) restoreGlobals() {
	if in.module.opts.off.globals {
		return
	}
	for i, g := range in.globals {
		g.Set(in.module.state.globals[i])
	}
}

// find looks the entry points up. Each has a stack of its own, which a deep
// recursion leaves large: looked up again it is small.
func (in *instance) find() {
	entry, _ := in.module.judges()
	in.handle = in.api.ExportedFunction(entry)
	in.sign = in.api.ExportedFunction(abi.ExportSign)
}

// deep is what a call must burn, at least, to have made the stack large.
const deep = 100_000

// renew makes the instance as it was after its start, whatever the call did to
// it, and reports whether it is.
//
// Invariant 7: whoever comes next finds nothing of this call, or another instance.
func (in *instance) renew(err error) bool {
	if in.module.finder == nil {
		return err == nil
	}
	if err != nil && (errors.As(err, new(*sys.ExitError)) || errors.As(err, new(enginePanic))) {
		return false
	}
	if err != nil || in.tank.Used() > deep {
		in.find()
	}
	in.restoreGlobals()
	// A memory that has grown cannot shrink: that is no failure, and the instance
	// is not as it was.
	switch restored := in.memory.Restore(); {
	case restored == nil:
		return true
	case !errors.Is(restored, pristine.ErrGrown):
		in.module.opts.Log.Error("restore an instance", "plugin", in.module.version, "err", restored)
	}
	return false
}

// trap is the end of a call that did not return: what the engine says, without
// its trace of the stack, and what the guest said last.
type trap struct {
	error
	said string
}

func (t trap) Error() string {
	first, _, _ := strings.Cut(t.error.Error(), "\n")
	first = strings.TrimSuffix(first, " (recovered by wazero)")
	if t.said == "" {
		return first
	}
	return first + ": " + t.said
}

func (t trap) Unwrap() error { return t.error }

func (in *instance) trap(err error) error {
	said := strings.Join(strings.Fields(string(in.guest.world.Said)), " ")
	return trap{err, codec.Cut([]byte(said), maxLine)}
}

func (in *instance) begin() error {
	if initialize := in.api.ExportedFunction(abi.ExportInitialize); initialize != nil {
		if _, err := in.run(initialize); err != nil {
			return fmt.Errorf("%s: %w", abi.ExportInitialize, err)
		}
	}
	speaks, err := in.run(in.api.ExportedFunction(abi.ExportABI))
	if err != nil {
		return err
	}
	if speaks != abi.Version {
		return fmt.Errorf("%s returned %d, must be %d", abi.ExportABI, speaks, abi.Version)
	}
	return nil
}

// enginePanic is a panic of the engine itself: nothing is known of the instance.
type enginePanic struct{ cause any }

func (e enginePanic) Error() string { return fmt.Sprintf("the engine panicked: %v", e.cause) }

// run calls an export and returns its i32. A panic of the engine itself counts
// as a trap.
func (in *instance) run(f api.Function) (result int32, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = enginePanic{r}
		}
	}()
	if err := f.CallWithStack(in, in.stack[:]); err != nil {
		return 0, err
	}
	return api.DecodeI32(in.stack[0]), in.tank.Err()
}

// close frees the instance, also one that did not come up.
func (in *instance) close(ctx context.Context) {
	if in.api != nil {
		if err := in.api.Close(ctx); err != nil {
			in.module.opts.Log.Error("close an instance", "plugin", in.module.version, "err", err)
		}
	}
	if in.memory != nil {
		in.memory.Free()
	}
}

// Handle judges one callback in an instance of its own for the time of the
// call; see [host.Plugin].
func (p *Plugin) Handle(ctx context.Context, cb *host.Callback) (host.Result, error) {
	return p.breaker.Run(func() (res host.Result, err error) {
		err = p.enter(ctx, cb, func(in *instance) error {
			res, err = in.judge()
			return err
		})
		return res, err
	})
}

// judge runs the plugin on the callback that the call has begun with.
func (in *instance) judge() (host.Result, error) {
	verdict, err := in.run(in.handle)
	if err != nil {
		return host.Result{}, err
	}
	res, err := in.guest.finish(verdict)
	res.Fuel, res.Memory = in.tank.Used(), int64(in.guest.memory.Size())
	return res, err
}

// begins makes the instance ready for a call.
func (in *instance) begins(p *Plugin, cb *host.Callback) {
	in.guest.start(p, cb)
	in.tank.Fill(p.fuel + fuelForByte*int64(len(cb.Body)))
}

// enter runs one call on an instance and sees to what becomes of it.
func (p *Plugin) enter(ctx context.Context, cb *host.Callback, run func(*instance) error) error {
	m := p.module
	if err := p.limit.Take(ctx, m.opts.Wait, "calls that the tenant may make at a time"); err != nil {
		return err
	}
	defer p.limit.Give()
	in, err := m.pool.Take(ctx)
	if err != nil {
		return err
	}
	in.memory.Watch()
	in.begins(p, cb)
	err = run(in)
	cause := err
	switch said := in.guest.world.Said; {
	case err != nil:
		err = in.trap(err)
	case len(said) > 0:
		in.guest.line(slog.LevelWarn, said)
	}
	in.guest.end()
	renewed := in.renew(cause)
	in.memory.Unwatch()
	m.pool.Give(ctx, in, renewed)
	if err != nil {
		err = host.Errorf(host.PluginFailed, "plugin %s: %w", m.version, err)
		p.breaker.Trapped(trap{error: cause}) // without what the guest said: anybody may read it
	}
	return err
}
