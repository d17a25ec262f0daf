// Package wasm is the sandbox: it loads a provider's module, checks that it
// keeps to the ABI postern1 (docs/plugin-abi.md), binds it to an endpoint's
// secrets and settings, and runs it on one callback at a time as a
// [host.Plugin].
//
// The guest asks and says everything by host functions; nothing is
// serialised. Secrets stay here: a guest names one and the host computes. What
// a guest verified is what this package saw it verify.
//
// A module is not metered yet and an instance serves many callbacks: until the
// next step of the sandbox a plugin must be trusted not to loop and not to
// carry state. An instance that trapped is never used again.
package wasm
