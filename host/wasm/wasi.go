package wasm

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

const wasiModule = "wasi_snapshot_preview1"

// Errors of WASI.
const (
	errnoSuccess = 0
	errnoBadf    = 8
	errnoFault   = 21
	errnoInval   = 28
	errnoNosys   = 52
)

// sealed are the functions of WASI that do anything at all, with the signature
// that a guest must import. Each works on the guest's memory and returns an
// error number.
//
// Invariant 11: there is nothing here by which the same callback could be
// judged otherwise tomorrow.
var sealed = map[string]wasiFunction{
	"args_sizes_get":    errno(ints(2), (*guest).noStrings),
	"environ_sizes_get": errno(ints(2), (*guest).noStrings),
	"args_get":          errno(ints(2), func(*guest) uint32 { return errnoSuccess }),
	"environ_get":       errno(ints(2), func(*guest) uint32 { return errnoSuccess }),
	"clock_time_get":    errno([]api.ValueType{i32, i64, i32}, (*guest).clockTime),
	"clock_res_get":     errno(ints(2), (*guest).clockResolution),
	"random_get":        errno(ints(2), (*guest).fixedRandom),
	"fd_write":          errno(ints(4), (*guest).standardError),
	"poll_oneoff":       errno(ints(4), (*guest).waitVirtually),
	"sched_yield":       errno(nil, func(*guest) uint32 { return errnoSuccess }),
	"proc_exit": {signature{Params: ints(1)}, func(g *guest) uint32 {
		panic(fmt.Errorf("it exited with status %d", g.u32(0)))
	}},
}

type wasiFunction struct {
	signature
	call func(g *guest) uint32
}

// errno is a function that returns an error number.
func errno(params []api.ValueType, call func(g *guest) uint32) wasiFunction {
	return wasiFunction{signature{Params: params, Results: ints(1)}, call}
}

// wasiFor is what a guest gets that imports name: a sealed function with its own
// signature, and of any other, whatever it takes, an error number.
func wasiFor(name string, params []api.ValueType) wasiFunction {
	if served, ok := sealed[name]; ok {
		return served
	}
	return errno(params, refusal(name))
}

// linkWASI offers a guest the functions of WASI that it imports: the sealed
// ones, and for any other an error. [Inspect] has compared the signatures.
func linkWASI(ctx context.Context, r wazero.Runtime, m wazero.CompiledModule) error {
	b := r.NewHostModuleBuilder(wasiModule)
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		if module != wasiModule {
			continue
		}
		offered := wasiFor(name, f.ParamTypes())
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(ctx context.Context, m api.Module, stack []uint64) {
				in := callerOf(ctx)
				stack[0] = uint64(offered.call(in.called(m, stack)))
				in.tank.Settle()
			}), offered.Params, offered.Results).Export(name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("offer the sealed WASI: %w", err)
	}
	return nil
}

func refusal(name string) func(*guest) uint32 {
	if strings.HasPrefix(name, "fd_") {
		return func(*guest) uint32 { return errnoBadf }
	}
	return func(*guest) uint32 { return errnoNosys }
}

func (g *guest) noStrings() uint32 {
	if !g.memory.WriteUint32Le(g.u32(0), 0) || !g.memory.WriteUint32Le(g.u32(1), 0) {
		return errnoFault
	}
	return errnoSuccess
}

// clock is the guest's time in nanoseconds: that of receipt, and what it has
// waited since.
func (c *call) clock() uint64 {
	// Before any callback it is one second past 1970: Go refuses to start at
	// zero.
	received := uint64(time.Second)
	if !c.cb.Received.IsZero() {
		received = uint64(c.cb.Received.UnixNano())
	}
	return received + c.waited
}

func (g *guest) clockTime() uint32 {
	if !g.memory.WriteUint64Le(g.u32(2), g.clock()) {
		return errnoFault
	}
	return errnoSuccess
}

func (g *guest) clockResolution() uint32 {
	if !g.memory.WriteUint64Le(g.u32(1), 1) {
		return errnoFault
	}
	return errnoSuccess
}

// fixedRandom gives the same bytes every time: enough for a toolchain that
// seeds its hash tables, and no randomness.
func (g *guest) fixedRandom() uint32 {
	b, ok := g.memory.Read(g.u32(0), g.u32(1))
	if !ok {
		return errnoFault
	}
	g.spend(len(b))
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x & 0xff)
	}
	return errnoSuccess
}

// standardError keeps the first of what a guest writes to its standard output
// and error; it is logged when the call ends, and named if it ended in a trap.
func (g *guest) standardError() uint32 {
	fd, list, n := g.u32(0), g.u32(1), g.u32(2)
	if fd != 1 && fd != 2 {
		return errnoBadf
	}
	written := uint32(0)
	for i := range min(n, maxLines) {
		at, ok := g.memory.Read(list+8*i, 8)
		if !ok {
			return errnoFault
		}
		text, ok := g.memory.Read(binary.LittleEndian.Uint32(at), binary.LittleEndian.Uint32(at[4:]))
		if !ok {
			return errnoFault
		}
		written += uint32(len(text)) //nolint:gosec // inside a 32-bit memory
		g.said = append(g.said, text[:min(len(text), maxSaid-len(g.said))]...)
	}
	if !g.memory.WriteUint32Le(g.u32(3), written) {
		return errnoFault
	}
	return errnoSuccess
}

// Layout of WASI's subscriptions and events.
const (
	subscriptionSize = 48
	eventSize        = 32
	eventClock       = 0
	absoluteTime     = 1
)

// waitVirtually ends the shortest wait at once and moves the guest's clock.
func (g *guest) waitVirtually() uint32 {
	in, out, n := g.u32(0), g.u32(1), g.u32(2)
	if n == 0 || n > maxLines {
		return errnoInval
	}
	var user, shortest uint64
	found := false
	for i := range n {
		s, ok := g.memory.Read(in+i*subscriptionSize, subscriptionSize)
		if !ok {
			return errnoFault
		}
		if s[8] != eventClock {
			continue
		}
		wait := binary.LittleEndian.Uint64(s[24:])
		if binary.LittleEndian.Uint16(s[40:])&absoluteTime != 0 {
			wait -= min(wait, g.clock())
		}
		if !found || wait < shortest {
			found, shortest, user = true, wait, binary.LittleEndian.Uint64(s)
		}
	}
	if !found {
		return errnoNosys
	}
	g.waited += shortest
	e, ok := g.memory.Read(out, eventSize)
	if !ok || !g.memory.WriteUint32Le(g.u32(3), 1) {
		return errnoFault
	}
	clear(e)
	binary.LittleEndian.PutUint64(e, user)
	return errnoSuccess
}
