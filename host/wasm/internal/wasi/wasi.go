// Package wasi is the part of WASI that guests get whose toolchain cannot do
// without: sealed, so that nothing of the machine is in it. docs/plugin-abi.md §10.
package wasi

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/abi"
)

// Module is the import module of WASI.
const Module = "wasi_snapshot_preview1"

// MaxSaid is how much is kept of what a guest writes, in bytes. maxList bounds the
// lists that it gives.
const (
	MaxSaid = 1024
	maxList = 16
)

// Errors of WASI.
const (
	errnoSuccess = 0
	errnoBadf    = 8
	errnoFault   = 21
	errnoInval   = 28
	errnoNosys   = 52
)

// World is all that one call of a guest sees of the machine, and what it left
// there.
type World struct {
	// Received is the only clock.
	Received time.Time
	// Said is what the guest wrote to its standard output and error.
	Said []byte
	// Spend burns fuel for work done for the guest. It may panic.
	Spend func(n int)
	// Memory and Stack are those of the function under way.
	Memory api.Memory
	Stack  []uint64

	waited uint64 // how far the guest moved its clock, in nanoseconds
}

// Next is the world of the next call. It uses the memory of this one.
func (w *World) Next(received time.Time) World {
	return World{Received: received, Said: w.Said[:0], Spend: w.Spend}
}

// u32 is the i-th argument. The upper half of the slot may hold anything.
func (w *World) u32(i int) uint32 { return api.DecodeU32(w.Stack[i]) }

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

func ints(n int) []api.ValueType {
	types := make([]api.ValueType, n)
	for i := range types {
		types[i] = i32
	}
	return types
}

// sealed are the functions of WASI that do anything at all, with the signature
// that a guest must import. Each works on the guest's memory and returns an
// error number.
//
// Invariant 11: there is nothing here by which the same callback could be
// judged otherwise tomorrow.
var sealed = map[string]Function{
	"args_sizes_get":    errno(ints(2), (*World).noStrings),
	"environ_sizes_get": errno(ints(2), (*World).noStrings),
	"args_get":          errno(ints(2), func(*World) uint32 { return errnoSuccess }),
	"environ_get":       errno(ints(2), func(*World) uint32 { return errnoSuccess }),
	"clock_time_get":    errno([]api.ValueType{i32, i64, i32}, (*World).clockTime),
	"clock_res_get":     errno(ints(2), (*World).clockResolution),
	"random_get":        errno(ints(2), (*World).fixedRandom),
	"fd_write":          errno(ints(4), (*World).standardError),
	"poll_oneoff":       errno(ints(4), (*World).waitVirtually),
	"sched_yield":       errno(nil, func(*World) uint32 { return errnoSuccess }),
	"proc_exit": {abi.Signature{Params: ints(1)}, func(w *World) uint32 {
		panic(fmt.Errorf("it exited with status %d", w.u32(0)))
	}},
}

// Function is a function of WASI as a guest gets it.
type Function struct {
	abi.Signature

	// Do does what the function does and returns an error number.
	Do func(w *World) uint32
}

// errno is a function that returns an error number.
func errno(params []api.ValueType, call func(w *World) uint32) Function {
	return Function{abi.Signature{Params: params, Results: ints(1)}, call}
}

// For is what a guest gets that imports name: a sealed function with its own
// signature, and of any other, whatever it takes, an error number.
func For(name string, params []api.ValueType) Function {
	if served, ok := sealed[name]; ok {
		return served
	}
	return errno(params, refusal(name))
}

func refusal(name string) func(*World) uint32 {
	if strings.HasPrefix(name, "fd_") {
		return func(*World) uint32 { return errnoBadf }
	}
	return func(*World) uint32 { return errnoNosys }
}

func (w *World) noStrings() uint32 {
	if !w.Memory.WriteUint32Le(w.u32(0), 0) || !w.Memory.WriteUint32Le(w.u32(1), 0) {
		return errnoFault
	}
	return errnoSuccess
}

// clock is the guest's time in nanoseconds: that of receipt, and what it has
// waited since.
func (w *World) clock() uint64 {
	// Before any callback it is one second past 1970: Go refuses to start at
	// zero.
	received := uint64(time.Second)
	if !w.Received.IsZero() {
		received = uint64(w.Received.UnixNano())
	}
	return received + w.waited
}

func (w *World) clockTime() uint32 {
	if !w.Memory.WriteUint64Le(w.u32(2), w.clock()) {
		return errnoFault
	}
	return errnoSuccess
}

func (w *World) clockResolution() uint32 {
	if !w.Memory.WriteUint64Le(w.u32(1), 1) {
		return errnoFault
	}
	return errnoSuccess
}

// fixedRandom gives the same bytes every time: enough for a toolchain that
// seeds its hash tables, and no randomness.
func (w *World) fixedRandom() uint32 {
	b, ok := w.Memory.Read(w.u32(0), w.u32(1))
	if !ok {
		return errnoFault
	}
	w.Spend(len(b))
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
func (w *World) standardError() uint32 {
	fd, list, n := w.u32(0), w.u32(1), w.u32(2)
	if fd != 1 && fd != 2 {
		return errnoBadf
	}
	written := uint32(0)
	for i := range min(n, maxList) {
		at, ok := w.Memory.Read(list+8*i, 8)
		if !ok {
			return errnoFault
		}
		text, ok := w.Memory.Read(binary.LittleEndian.Uint32(at), binary.LittleEndian.Uint32(at[4:]))
		if !ok {
			return errnoFault
		}
		written += uint32(len(text)) //nolint:gosec // inside a 32-bit memory
		w.Said = append(w.Said, text[:min(len(text), MaxSaid-len(w.Said))]...)
	}
	if !w.Memory.WriteUint32Le(w.u32(3), written) {
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
func (w *World) waitVirtually() uint32 {
	in, out, n := w.u32(0), w.u32(1), w.u32(2)
	if n == 0 || n > maxList {
		return errnoInval
	}
	var user, shortest uint64
	found := false
	for i := range n {
		s, ok := w.Memory.Read(in+i*subscriptionSize, subscriptionSize)
		if !ok {
			return errnoFault
		}
		if s[8] != eventClock {
			continue
		}
		wait := binary.LittleEndian.Uint64(s[24:])
		if binary.LittleEndian.Uint16(s[40:])&absoluteTime != 0 {
			wait -= min(wait, w.clock())
		}
		if !found || wait < shortest {
			found, shortest, user = true, wait, binary.LittleEndian.Uint64(s)
		}
	}
	if !found {
		return errnoNosys
	}
	w.waited += shortest
	e, ok := w.Memory.Read(out, eventSize)
	if !ok || !w.Memory.WriteUint32Le(w.u32(3), 1) {
		return errnoFault
	}
	clear(e)
	binary.LittleEndian.PutUint64(e, user)
	return errnoSuccess
}
