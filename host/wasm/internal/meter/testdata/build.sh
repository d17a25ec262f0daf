#!/bin/sh
# Assembles the modules of the tests; the results are committed. Needs wat2wasm
# (Debian: wabt).
set -eu
cd "$(dirname "$0")"
for module in *.wat; do
	wat2wasm --debug-names "$module" -o "${module%.wat}.wasm"
done
