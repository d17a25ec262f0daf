#!/bin/sh
# Assembles the guests of the zoo; the results are committed. Needs wat2wasm
# (Debian: wabt).
#
# Three comments of a .wat are words to this script. ";;common" is common.inc,
# ";;repeat N text" is the text N times, with %i for 0 to N-1 and %n for the one
# after, and ";;again" goes round the loop $again as long as $left is not zero.
# A first line ";;unchecked" assembles what no validator takes.
set -eu
cd "$(dirname "$0")"
beyond="--enable-threads --enable-exceptions --enable-tail-call --enable-memory64 --enable-multi-memory"
expanded=$(mktemp)
trap 'rm -f "$expanded"' EXIT
for guest in ${*:-*.wat}; do
	awk '
		$1 == ";;common" { while ((getline line < "common.inc") > 0) print line; close("common.inc"); next }
		$1 == ";;again" { print "(br_if $again (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0)))"; next }
		$1 == ";;repeat" {
			n = $2; text = $0; sub(/^ *;;repeat [0-9]+ /, "", text)
			for (i = 0; i < n; i++) { out = text; gsub(/%i/, i, out); gsub(/%n/, i + 1, out); print out }
			next
		}
		{ print }' "$guest" >"$expanded"
	check=
	if [ "$(head -n 1 "$guest")" = ";;unchecked" ]; then check=--no-check; fi
	wat2wasm $beyond $check "$expanded" -o "${guest%.wat}.wasm"
done
