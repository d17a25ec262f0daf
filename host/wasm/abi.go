package wasm

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/abi"
	"github.com/postern/postern/host/wasm/internal/wasi"
)

// code is a result code of the ABI.
type code int32

const (
	absent     code = -1
	malformed  code = -2
	denied     code = -3
	unverified code = -4
	overLimit  code = -5
	invalid    code = -6
)

func (c code) result() uint64 { return api.EncodeI32(int32(c)) }

// ok and count are results of a call that succeeded.
const ok = code(0)

func count(n int) code { return code(n) } //nolint:gosec // counts and lengths are far below 2 GiB

// function is one function of the ABI.
type function struct {
	signature
	call func(g *guest)
}

// guest is one call from a guest into the host: who calls, with what.
type guest struct {
	*call
	memory api.Memory
	stack  []uint64
	// digests is room for a signature and for the MAC that it is compared with.
	digests [2 * maxDigest]byte
}

// maxDigest is the longest MAC, in bytes: SHA-512's.
const maxDigest = 64

// errBadPointer is the trap for a range outside the guest's memory.
var errBadPointer = errors.New("a pointer and length outside the guest's memory")

// u32 is the i-th argument. The upper half of the slot may hold anything: Go
// guests leave garbage there.
func (g *guest) u32(i int) uint32 { return api.DecodeU32(g.stack[i]) }
func (g *guest) i32(i int) int32  { return api.DecodeI32(g.stack[i]) }

// in returns the guest's bytes at the pointer and length in arguments i and
// i+1, valid only during the call. A range outside the memory is a trap.
func (g *guest) in(i int) []byte { return g.bytes(g.u32(i), g.u32(i+1)) }

// bytes is in of a pointer and a length.
func (g *guest) bytes(ptr, size uint32) []byte {
	b, inside := g.memory.Read(ptr, size)
	if !inside {
		panic(errBadPointer)
	}
	g.moves(len(b))
	return b
}

// text is in, copied.
func (g *guest) text(i int) string { return string(g.in(i)) }

// out writes what fits of b at the pointer and capacity in arguments i and
// i+1, and returns the length of b.
func (g *guest) out(i int, b []byte) code {
	ptr, room := g.u32(i), g.u32(i+1)
	space, ok := g.memory.Read(ptr, room)
	if !ok {
		panic(errBadPointer)
	}
	copy(space, b)
	g.moves(len(b))
	return count(len(b))
}

// give is the result of the call.
func (g *guest) give(c code) { g.stack[0] = c.result() }

// instanceKey finds the instance in the context of a call.
type instanceKey struct{}

// callerOf is the instance whose call into the host this is. The engine hands
// the context of the call on as it is, and the instance is that context.
func callerOf(ctx context.Context) *instance {
	if in, ok := ctx.(*instance); ok {
		return in
	}
	in, _ := ctx.Value(instanceKey{}).(*instance)
	return in
}

// linkABI offers every function to the guests of a runtime. Those that are
// for the other of plugin and guard answer that they are not granted.
func linkABI(ctx context.Context, r wazero.Runtime, guard bool) error {
	b := r.NewHostModuleBuilder(abi.Module)
	for name, f := range functions {
		run := f.call
		if !granted(name, guard) {
			run = (*guest).deny
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(ctx context.Context, m api.Module, stack []uint64) {
				run(callerOf(ctx).called(m, stack))
			}), f.Params, f.Results).Export(name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("offer the ABI: %w", err)
	}
	return nil
}

// linkWASI offers a guest the functions of WASI that it imports: the sealed
// ones, and for any other an error. [Inspect] has compared the signatures.
func linkWASI(ctx context.Context, r wazero.Runtime, m wazero.CompiledModule) error {
	b := r.NewHostModuleBuilder(wasi.Module)
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		if module != wasi.Module {
			continue
		}
		offered := wasi.For(name, f.ParamTypes())
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(ctx context.Context, m api.Module, stack []uint64) {
				g := callerOf(ctx).called(m, stack)
				g.world.Memory, g.world.Stack = g.memory, stack
				stack[0] = uint64(offered.Do(&g.world))
			}), offered.Params, offered.Results).Export(name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("offer the sealed WASI: %w", err)
	}
	return nil
}

func ints(n int) []api.ValueType {
	types := make([]api.ValueType, n)
	for i := range types {
		types[i] = i32
	}
	return types
}

// takes is a function of n i32 that returns an i32.
func takes(n int, call func(g *guest)) function {
	return function{signature{Params: ints(n), Results: ints(1)}, call}
}

// functions is the ABI: docs/plugin-abi.md §4 to §9, in its order.
var functions = map[string]function{
	"read":      takes(4, (*guest).read),
	"method":    takes(2, (*guest).method),
	"target":    takes(2, (*guest).target),
	"url":       takes(2, (*guest).url),
	"query":     takes(5, (*guest).query),
	"header":    takes(5, (*guest).header),
	"header_at": takes(4, (*guest).headerAt),
	"setting":   takes(4, (*guest).setting),
	"now":       {signature{Results: []api.ValueType{i64}}, (*guest).now},
	"log":       {signature{Params: ints(3)}, (*guest).log},

	"bytes":   takes(3, (*guest).bytesOf),
	"hash":    takes(4, (*guest).hash),
	"view":    takes(2, (*guest).view),
	"kind":    takes(3, (*guest).kind),
	"get":     takes(5, (*guest).get),
	"len":     takes(3, (*guest).length),
	"name_at": takes(6, (*guest).nameAt),

	"reason":      takes(3, (*guest).reason),
	"event_begin": takes(1, (*guest).eventBegin),
	"set":         takes(3, (*guest).set),
	"set_i64":     {signature{Params: []api.ValueType{i32, i64}, Results: ints(1)}, (*guest).setInt},
	"map":         takes(4, (*guest).mapField),
	"tell":        takes(2, (*guest).tell),
	"set_aside":   takes(5, (*guest).setAside),
	"ack":         takes(5, (*guest).ack),
	"respond":     takes(5, (*guest).respond),
	"respond_mac": takes(5, (*guest).respondMAC),

	"token":        takes(2, (*guest).token),
	"signed_begin": takes(2, (*guest).signedBegin),
	"signed_bytes": takes(3, (*guest).signedBytes),
	"signed_body":  takes(1, (*guest).signedBody),
	"signed_check": takes(4, (*guest).signedCheck),
	"covers_body":  takes(5, (*guest).coversBody),
	"token_text":   takes(4, (*guest).tokenText),
	"decrypt":      takes(5, (*guest).decrypt),
	"same":         takes(4, (*guest).same),
	"same_bytes":   takes(2, (*guest).sameBytes),

	"sign":       takes(4, (*guest).sign),
	"encrypt":    takes(5, (*guest).encrypt),
	"out_token":  takes(4, (*guest).outToken),
	"out_header": takes(4, (*guest).outHeader),
	"out_body":   takes(2, (*guest).outBody),

	"events":     {signature{Results: ints(1)}, (*guest).eventCount},
	"event_view": takes(1, (*guest).eventView),
	"annotate":   takes(5, (*guest).annotate),
}
