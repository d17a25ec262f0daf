// Package meter rewrites a WebAssembly module so that all it executes is paid
// for: it counts down a fuel global and calls the host when that is spent.
package meter

import (
	"errors"
	"fmt"
)

// The one import that a metered module has besides its own: a function without
// parameters and results, called whenever the fuel global has fallen below
// zero. The host either adds to the global until it is zero or more and returns,
// or panics, which ends the call. What it adds is what it grants: what the
// guest has burnt is the sum of that less what is left.
const (
	ImportModule = "postern.meter"
	ImportYield  = "yield"
)

// Options say what Rewrite cannot know from the module.
type Options struct {
	// Slice is the initial value of the fuel global: what the module's start
	// function may burn before it first yields.
	Slice int64
}

// Module is a metered module.
type Module struct {
	// Code is the module; the caller owns it. It holds no custom section but
	// the names of functions and locals.
	Code []byte
	// Fuel is the export name of the fuel global, a mutable i64.
	Fuel string
	// Globals are the export names of all other mutable globals in the order
	// of their indices: with the memory, all the state that a guest has.
	Globals []string
}

// Class says for which property a module was refused.
type Class string

// Classes of properties that a sandboxed module must not have.
const (
	Threads         Class = "threads"
	Exceptions      Class = "exceptions"
	Memory64        Class = "memory64"
	TailCalls       Class = "tail calls"
	RelaxedSIMD     Class = "relaxed SIMD"
	References      Class = "typed references" // typed function references and garbage collection
	SeveralMemories Class = "several memories"
	Reserved        Class = "reserved import"   // of the host's function for metering
	ImportedState   Class = "imported state"    // a memory, table or global that is not the guest's own
	TableMutation   Class = "table mutation"    // a snapshot of memory and numbers does not hold it
	DroppedData     Class = "dropped data"      // likewise
	ReferenceGlobal Class = "reference globals" // likewise, if mutable
	VectorGlobal    Class = "vector globals"    // likewise: the engine's globals move 64 bits
	Unknown         Class = "unknown feature"
	Oversize        Class = "oversize"     // more of something than any real guest has
	CompileBomb     Class = "compile bomb" // what takes the compiler more than linear time
)

// Refused is the error for a module that may be valid and is not taken.
type Refused struct {
	Class Class
	// What names the thing: a section, a function by its index, an import.
	What string
}

func (r *Refused) Error() string { return fmt.Sprintf("refused for %s: %s", r.Class, r.What) }

// ErrMalformed is returned, wrapped, for bytes that are no valid module.
var ErrMalformed = errors.New("malformed module")

// Rewrite returns the metered form of a module. It is a pure function: equal
// arguments give equal bytes.
//
// Each instruction that is executed has been paid for. A function and a loop
// look at the fuel where they begin, what lies between is taken from it without
// a look: the fuel may fall below zero by what one function body executes. Bulk
// memory instructions and memory.grow pay by their length, before they begin.
// The charge is the same in every engine and for every run.
//
// Use the result only if the engine takes the original too. Rewrite does not
// check types; it does refuse every index beyond the module's own, so that no
// body reaches the fuel or a function of ours. Call it before the engine sees the
// original: on any bytes at all it returns a module or an error within time and
// memory linear in their length, and what it refuses would cost the engine
// more. An error is a [*Refused], or wraps [ErrMalformed].
func Rewrite(module []byte, o Options) (*Module, error) {
	return rewrite(module, o)
}

// Version changes whenever Rewrite makes something else of the same module.
const Version = "2"
