package pristine

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// guestCode is a module with a memory of 1 page, at most 4, that holds "kept"
// at 8, and the functions
//
//	poke(at, byte)         writes a byte
//	fail(at, byte)         writes a byte and traps
//	peek(at) -> byte       reads a byte
//	grow(pages) -> pages   grows the memory
var guestCode = slices.Concat(
	[]byte("\x00asm\x01\x00\x00\x00"),
	section(1, "\x02\x60\x02\x7f\x7f\x00\x60\x01\x7f\x01\x7f"),
	section(3, "\x04\x00\x00\x01\x01"),
	section(5, "\x01\x01\x01\x04"),
	section(7, "\x05\x06memory\x02\x00\x04poke\x00\x00\x04fail\x00\x01\x04peek\x00\x02\x04grow\x00\x03"),
	section(10, "\x04"+
		"\x09\x00\x20\x00\x20\x01\x3a\x00\x00\x0b"+
		"\x0a\x00\x20\x00\x20\x01\x3a\x00\x00\x00\x0b"+
		"\x07\x00\x20\x00\x2d\x00\x00\x0b"+
		"\x06\x00\x20\x00\x40\x00\x0b"),
	section(11, "\x01\x00\x41\x08\x0b\x04kept"),
)

func section(id byte, content string) []byte {
	return append([]byte{id, byte(len(content))}, content...)
}

// running is a guest over a memory of ours.
type running struct {
	t   *testing.T
	m   *Memory
	api api.Module
}

func (g running) call(name string, args ...uint64) (uint64, error) {
	g.t.Helper()
	res, err := g.api.ExportedFunction(name).Call(g.t.Context(), args...)
	if err != nil || len(res) == 0 {
		return 0, err
	}
	return uint64(api.DecodeU32(res[0])), nil
}

// must calls a function and wants its result.
func (g running) must(want uint64, name string, args ...uint64) {
	g.t.Helper()
	if got, err := g.call(name, args...); err != nil || got != want {
		g.t.Fatalf("%s%v: got %d, %v, want %d", name, args, got, err, want)
	}
}

// everyEngine gives a test a way to start guests of one module.
func everyEngine(t *testing.T, f *Finder, test func(t *testing.T, start func(pages uint32) running)) {
	for name, config := range map[string]wazero.RuntimeConfig{
		"default":     wazero.NewRuntimeConfig(),
		"interpreter": wazero.NewRuntimeConfigInterpreter(),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			r := wazero.NewRuntimeWithConfig(ctx, config)
			defer r.Close(ctx)
			module, err := r.CompileModule(ctx, guestCode)
			if err != nil {
				t.Fatal(err)
			}
			test(t, func(pages uint32) running {
				m, err := f.Reserve(pages)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(m.Free)
				guest, err := r.InstantiateModule(experimental.WithMemoryAllocator(ctx, m), module,
					wazero.NewModuleConfig().WithName(""))
				if err != nil {
					t.Fatal(err)
				}
				return running{t, m, guest}
			})
		})
	}
}

// Invariant 7: a guest that trapped with its memory half written goes on as if
// nothing had been.
func TestInvariant7_guest(t *testing.T) {
	everyWay(t, func(t *testing.T, f *Finder) {
		everyEngine(t, f, func(t *testing.T, start func(uint32) running) {
			g := start(4)
			g.must(0, "poke", 5000, 42)
			s := frozen(t, g.m)
			for range 10 {
				g.must(0, "poke", 5000, 1)
				g.must(0, "poke", 60000, 2)
				if _, err := g.call("fail", 8, 3); err == nil {
					t.Fatal("the guest did not trap")
				}
				g.must(3, "peek", 8)
				restore(t, g.m)
				g.must(42, "peek", 5000)
				g.must(0, "peek", 60000)
				g.must('k', "peek", 8)
			}
			other := start(4)
			other.must(0, "peek", 5000)
			if err := other.m.Adopt(s); err != nil {
				t.Fatal(err)
			}
			other.must(42, "peek", 5000)
			other.must(0, "poke", 5000, 9)
			g.must(42, "peek", 5000)
			restore(t, other.m)
			other.must(42, "peek", 5000)
			if err := other.api.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if other.m.Restore() == nil {
				t.Error("a memory outlived its instance")
			}
		})
	})
}

// A guest grows to what its module and its reservation allow, whichever is
// less; one that grew is not pristine.
func TestGuest_grow(t *testing.T) {
	const refused = 0xffffffff
	f := finder(t, Compare)
	everyEngine(t, f, func(t *testing.T, start func(uint32) running) {
		g := start(4)
		frozen(t, g.m)
		g.must(1, "grow", 0)
		restore(t, g.m)
		g.must(1, "grow", 3)
		g.must(0, "poke", 4*wasmPage-1, 7)
		g.must(7, "peek", 4*wasmPage-1)
		g.must(refused, "grow", 1)
		if err := g.m.Restore(); !errors.Is(err, ErrGrown) {
			t.Errorf("got %v, want %v", err, ErrGrown)
		}
		small := start(2)
		small.must(refused, "grow", 2)
		small.must(1, "grow", 1)
		small.must(refused, "grow", 1)
	})
}
