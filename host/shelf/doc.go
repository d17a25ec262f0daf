// Package shelf is the plugins' directory: it finds the version of a plugin that a
// reference names, verifies it and hands over its bytes, and puts versions in, back
// and away. It runs nothing.
//
//	NAME.wasm                     put here by hand: the current version while it is there
//	NAME.wasm.minisig             its signature
//	versions/NAME@VERSION+SUM.wasm          an installed version, by its SHA-256
//	versions/NAME@VERSION+SUM.wasm.minisig  its signature
//	versions/NAME.current         which of them is current, and which were before it
//
// Whoever installs makes a version of what is there by hand, writes whole files
// beside those that are there, and then makes the new version current in one step,
// the rename of NAME.current. A crash before it leaves the old version, after it the
// new one, and what it leaves besides is never read and swept away by the next one
// who installs.
package shelf
