#!/bin/sh
# Builds the guests of the measurements but the one in Go, which they build
# themselves; the results are committed. Needs clang and wasm-ld (Debian:
# clang-14, lld-14) and wat2wasm (wabt).
set -eu
cd "$(dirname "$0")"
${CLANG:-clang-14} --target=wasm32 -O2 -nostdlib -Wall -Wextra \
	-Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=16384 -o pay.wasm pay.c
wat2wasm work.wat -o work.wasm
