// Package wasm is the sandbox: it loads a provider's module, checks that it
// keeps to the ABI postern1 (docs/plugin-abi.md), binds it to an endpoint's
// secrets and settings, and runs it on one callback at a time as a
// [host.Plugin].
//
// The guest asks and says everything by host functions; nothing is
// serialised. Secrets stay here: a guest names one and the host computes. What
// a guest verified is what this package saw it verify.
//
// A module is metered when it is loaded (internal/meter), proves itself on its
// goldens in the compiler and in the interpreter, and judges every callback on an
// instance that is as it was after its start (internal/pristine). What it may burn
// is bounded, how many calls run at once is, and one that traps again and again is
// taken out of service.
package wasm
