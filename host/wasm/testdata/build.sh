#!/bin/sh
# Assembles the guests of the tests; the results are committed. Needs wat2wasm
# (Debian: wabt).
set -eu
cd "$(dirname "$0")"
for guest in *.wat; do
	wat2wasm "$guest" -o "${guest%.wat}.wasm"
done
