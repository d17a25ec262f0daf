#!/bin/sh
# Measures what a flood of forgeries costs the honest callbacks and writes
# flood.txt. Give it a quiet machine: the senders run beside the server.
set -eu
cd "$(dirname "$0")"
revision=${revision:-$(git describe --tags --always --dirty)}
{
	echo "# bench/flood.sh: $(go version), revision $revision"
	echo "# Honest callbacks at 300/s, alone and with 3,000 forgeries/s, turn about, 4 x 3 s each."
	echo "# ratio: accepts/s under the flood by accepts/s alone. shed: forgeries answered 503."
	go test -run '^$' -bench Flood -benchtime 1x -count 2 . | while IFS= read -r line; do
		case $line in goos:* | goarch:* | cpu:* | Benchmark*) echo "$line" ;; esac
	done
} | tee flood.txt
